"""Commands that open URLs: with --offline they read the cache, and an error is one line."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.bundle.build import bundle_specs
from conda2wheel.channels.downloads import FRESH, Downloads
from tests.helpers import sets, zig
from tests.helpers.foreign import unvendored
from tests.helpers.served import Served, serve
from tests.unit.bundle.test_bundle import contents
from tests.unit.cli.test_convert import one_line, run
from tests.unit.link.test_linker import chain_packages


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("channel")
    sets.indexed(root, sets.packages())
    return root


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Served]:
    """Packages on a server: two libraries of which one NEEDs the other, and a Python package."""
    _, count, base = chain_packages(zig.chain())
    root = tmp_path / "served"
    root.mkdir()
    for name, path in {"count": count, "base": base, "numeric": sets.native("numeric")}.items():
        shutil.copy(path, root / f"{name}.tar.bz2")
    with serve(root) as running:
        yield running


def url(served: Served, name: str) -> str:
    data = (served.root / f"{name}.tar.bz2").read_bytes()
    return f"{served.url}/{name}.tar.bz2#sha256={hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("command", ["inspect", "audit"])
def test_a_cached_package_is_opened_again_without_a_network(command: str, packages: Served, tmp_path: Path) -> None:
    source = url(packages, "numeric")
    refused = run(command, source, "--offline", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "network: " in one_line(refused)
    assert "--offline allows no download" in one_line(refused)
    assert not packages.requests
    first = run(command, source, cwd=tmp_path)
    assert packages.requests.total() == 1
    again = run(command, source, "--offline", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (first.returncode, first.stdout)
    assert first.stdout
    assert packages.requests.total() == 1


def test_libdirs_that_are_urls_come_from_the_cache(packages: Served, tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    places = [part for name in ("count", "base") for part in ("--libdir", url(packages, name))]
    refused = run("repair", wheel, *places, "--offline", "-o", tmp_path / "out")
    assert refused.returncode == 1
    assert "--offline allows no download" in one_line(refused)
    first = run("repair", wheel, *places, "-o", tmp_path / "one")
    assert (first.returncode, packages.requests.total()) == (0, 2), first.stderr
    again = run("repair", wheel, *places, "--offline", "-o", tmp_path / "two")
    assert (again.returncode, packages.requests.total()) == (0, 2), again.stderr
    (made,), (same,) = ((tmp_path / name).iterdir() for name in ("one", "two"))
    assert made.read_bytes() == same.read_bytes()


def test_a_cached_bundle_requests_only_repodata_and_offline_nothing(channel: Path, tmp_path: Path) -> None:
    with serve(channel) as site:
        first = bundle_specs(
            ["shapes-one", "strict"], channels=[site.url], out=tmp_path / "one", downloads=Downloads(fresh=FRESH)
        )
        assert all(count == 1 for path, count in site.requests.items() if "repodata" in path), site.requests
        site.forget()
        second = bundle_specs(
            ["shapes-one", "strict"], channels=[site.url], out=tmp_path / "two", downloads=Downloads(fresh=FRESH)
        )
        assert site.requests
        assert [path for path in site.asked() if "repodata" not in path] == []
        assert set(site.requests.values()) == {1}, site.requests
        site.forget()
        third = bundle_specs(
            ["shapes-one", "strict"], channels=[site.url], out=tmp_path / "three", downloads=Downloads(offline=True)
        )
        assert site.asked() == []
    assert contents(first.folder) == contents(second.folder) == contents(third.folder)
