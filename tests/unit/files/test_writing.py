"""A file is the old one or the new one, whatever the system does with files that are open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from tests.helpers.systems import IS_WINDOWS


def test_a_file_is_replaced_whole_and_its_hash_is_returned(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    for data, digest in ((b"one", "7692c3ad"), (b"three", "8b5b9db0")):
        assert write_file(target, lambda data=data: iter([data])).startswith(digest)  # type: ignore[misc]
        assert target.read_bytes() == data
    assert [each.name for each in target.parent.iterdir()] == ["file"]


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_file(target, chunks)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Failed) as caught:
        write_file(tmp_path / "folder", lambda: iter([b"new"]))
    assert caught.value.code == "disk"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not IS_WINDOWS, reason="other systems replace files that are open")
def test_a_reader_that_has_the_file_open_is_waited_for(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    reader = target.open("rb")
    writer = threading.Thread(target=write_file, args=(target, lambda: iter([b"new"])))
    writer.start()
    while len(list(tmp_path.iterdir())) == 1 and writer.is_alive():
        pass  # until it has written, and tries to rename
    reader.close()
    writer.join()
    assert target.read_bytes() == b"new"
