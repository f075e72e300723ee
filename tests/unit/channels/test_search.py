"""Match specs: looked up in a real channel, indexed by rattler and served over HTTP on loopback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rattler.index import index_fs

from conda2wheel.channels.search import find, is_spec, locate
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from tests.helpers import conda, judges
from tests.helpers.served import serve


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("channel")
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir).mkdir()
    about = {"license": "MIT", "summary": "a demo"}
    for version in ("1.0", "1.2", "1.10"):
        made = conda.assemble(
            "demo", version, {"site-packages/demo.py": "x = 1\n"}, noarch="python", string="pyh1_0", about=about
        )
        shutil.copy(made, root / "noarch" / made.name)
    newer = conda.assemble(
        "demo", "1.2", {"site-packages/demo.py": "x = 2\n"}, noarch="python", string="pyh1_1", number=1, about=about
    )
    shutil.copy(newer, root / "noarch" / newer.name)
    asyncio.run(index_fs(root))
    with serve(root) as server:
        yield server.url, root


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("numpy", True),
        ("numpy=2.4", True),
        ("numpy >=2,<3", True),
        ("emscripten-forge-4x::numpy=2.4", True),
        ("numpy[version='>=2']", True),
        ("./numpy", False),
        ("dir/numpy", False),
        ("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", False),
        ("numpy-2.4.4-py313hcf5bae3_0.conda", False),
        ("https://example.org/numpy", False),
    ],
)
def test_a_match_spec_is_told_from_a_path(text: str, spec: bool) -> None:
    assert is_spec(text) is spec


def test_an_existing_path_is_a_path_even_if_it_reads_as_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy").mkdir()
    assert locate("numpy", ["http://127.0.0.1:9"]) == "numpy"


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ("demo", "demo-1.10-pyh1_0"),  # 1.10 is newer than 1.2
        ("demo=1.2", "demo-1.2-pyh1_1"),  # the higher build number
        ("demo <1.2", "demo-1.0-pyh1_0"),
        ("demo 1.2 pyh1_0", "demo-1.2-pyh1_0"),
    ],
)
def test_the_newest_build_that_fits_is_found_twice_over(channel: tuple[str, Path], spec: str, file: str) -> None:
    """Twice: the second time the repodata is in py-rattler's cache and only revalidated."""
    url, root = channel
    for address in (url, url, root.as_uri()):
        assert find(spec, [address]).url.endswith(f"/noarch/{file}.tar.bz2")


def test_a_spec_is_converted_with_its_hash_checked(channel: tuple[str, Path], tmp_path: Path) -> None:
    result = convert("demo=1.10", channels=[channel[0]], out=tmp_path)
    assert result.wheel == tmp_path / "demo-1.10-py3-none-any.whl"
    judges.judge(result.wheel)
    assert "#sha256=" in result.source


def test_the_first_channel_that_has_it_wins(channel: tuple[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    for subdir in ("noarch", "emscripten-wasm32"):
        (empty / subdir).mkdir(parents=True)
    asyncio.run(index_fs(empty))
    assert find("demo", [empty.as_uri(), channel[0]]).channel == channel[0]


def test_what_cannot_be_found_is_one_clear_failure(channel: tuple[str, Path]) -> None:
    with pytest.raises(Failed, match="no such package in") as caught:
        find("nodemo", [channel[0]])
    assert caught.value.code == "not-found"
    with pytest.raises(Failed) as caught:
        find("demo", ["http://127.0.0.1:9/nobody"])
    assert caught.value.code == "network"
    assert "\n" not in caught.value.message
    with pytest.raises(Failed) as caught:
        find("demo=>1", [channel[0]])
    assert caught.value.code in ("usage", "not-found")


def test_it_works_inside_a_running_event_loop(channel: tuple[str, Path]) -> None:
    async def inside() -> str:
        return find("demo", [channel[0]]).url

    assert asyncio.run(inside()).endswith("demo-1.10-pyh1_0.tar.bz2")
