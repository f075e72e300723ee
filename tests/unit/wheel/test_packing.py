"""Members that threads compress: the same bytes for any number of threads, in order, and not all of them in memory."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import Blob, BytesBlob, FileBlob
from conda2wheel.files.threads import processors, threads, use_threads
from conda2wheel.wheel import packing
from conda2wheel.wheel.packing import Packing, pack
from conda2wheel.wheel.writer import Member, build_wheel
from tests.helpers import real

DICE = random.Random(11)  # noqa: S311 - reproducible, not secret
LARGE = [BytesBlob(DICE.randbytes(20_000) * 24 + DICE.randbytes(n)) for n in range(12)]
SMALL = [BytesBlob(b"%d" % n * n) for n in range(300)]
MIXED = [blob for n in range(12) for blob in (LARGE[n], *SMALL[n * 25 : n * 25 + 25])]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    use_threads(None)


def test_one_thread_a_processor_unless_the_process_chose() -> None:
    assert threads() == min(processors(), 8)
    use_threads(0)
    assert threads() == 1


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("begun", [(), LARGE[5:], (LARGE[3], LARGE[3], SMALL[1]), SMALL])
def test_files_come_in_order_and_the_same_whatever_was_begun(count: int, begun: tuple[Blob, ...]) -> None:
    use_threads(count)
    with Packing(6) as packed:
        packed.begin(begun)
        assert list(packed.packed([*MIXED, LARGE[3]])) == [pack(blob, 6) for blob in [*MIXED, LARGE[3]]]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 3 * LARGE[-1].size
    monkeypatch.setattr(packing, "HELD", most)
    use_threads(4)
    gate = threading.Event()
    with Packing(6) as packed:
        assert packed._pool is not None
        for _ in range(3):
            packed._pool.submit(gate.wait)
        packed.begin(LARGE)
        assert len(packed._begun) == 3
        gate.set()
        for number, _ in enumerate(packed.packed(MIXED)):
            assert packed._held._bytes <= most + LARGE[-1].size, number  # and the one that is asked for
        assert packed._held._bytes == 0


def test_the_asking_thread_compresses_what_no_other_has_begun() -> None:
    use_threads(2)
    gate = threading.Event()
    with Packing(6) as packed:
        assert packed._pool is not None
        packed._pool.submit(gate.wait)  # its only thread has no time
        packed.begin(LARGE)
        found = list(packed.packed(MIXED))
        gate.set()
    assert found == [pack(blob, 6) for blob in MIXED]


def test_a_file_that_changed_since_it_was_listed_is_an_error_wherever_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 600_000)
    blob = FileBlob(path, 600_000)
    path.write_bytes(b"y")
    for count in (1, 3):
        use_threads(count)
        with Packing(6) as packed:
            packed.begin([blob])
            with pytest.raises(Failed, match="changed while it was read"):
                list(packed.packed([blob, *MIXED]))


def test_a_file_of_the_same_size_with_other_bytes_has_the_hash_of_what_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 99)
    blob = FileBlob(path, 99)
    assert blob.sha256 == BytesBlob(b"x" * 99).sha256
    path.write_bytes(b"y" * 99)
    assert pack(blob, 6).sha256.hex() == BytesBlob(b"y" * 99).sha256


def test_what_is_not_asked_for_is_dropped() -> None:
    use_threads(3)
    with Packing(9) as packed:
        packed.begin(LARGE)
    assert all(batch.future.done() for batch in packed._begun.values())


@pytest.mark.parametrize("ended", [True, False])
def test_what_was_begun_and_is_no_member_takes_no_place(ended: bool) -> None:
    use_threads(2)
    gate = threading.Event()
    with Packing(6) as packed:
        assert packed._pool is not None
        if not ended:
            packed._pool.submit(gate.wait)
        packed.begin(LARGE)
        for batch in packed._begun.values() if ended else ():
            batch.future.result()
        gate.set()
        assert list(packed.packed(LARGE[:2])) == [pack(blob, 6) for blob in LARGE[:2]]
    assert packed._held._bytes == 0


def test_wheels_have_the_same_bytes_for_any_number_of_threads() -> None:
    members = [Member(f"p/m{n:03}", blob) for n, blob in enumerate(MIXED)]
    wheels = []
    for count in (1, 2, 4):
        use_threads(count)
        wheels.append(b"".join(build_wheel(members, "p-1.dist-info", 0)))
    assert wheels[0] == wheels[1] == wheels[2]


@pytest.mark.parametrize("kind", ["conda", "tar.bz2"])
def test_conversions_have_the_same_bytes_for_any_number_of_threads(kind: Literal["conda", "tar.bz2"], tmp_path: Path) -> None:
    package = real.as_conda(real.pypi_wheel("awkward-cpp"), kind)
    hashes = set()
    for count in (1, 2, 4):
        use_threads(count)
        hashes.add(convert(package, out=tmp_path / str(count)).sha256)
    assert len(hashes) == 1
