"""Packages are read as conda-package-handling and py-rattler read them: the same files, bytes, links and executable bits."""

from __future__ import annotations

import bz2
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from conda_package_handling import api
from rattler.package_streaming import extract

from conda2wheel.conda.archive import open_archive
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Limits
from tests.helpers import cache, conda, installed
from tests.helpers.opened import FILES, demo, tar_bytes
from tests.helpers.systems import HAS_LINKS, IS_WINDOWS

Found = dict[str, tuple[bytes, bool]]
Judge = Callable[[Path, Path], object]
JUDGES: dict[str, Judge] = {
    "conda-package-handling": lambda package, folder: api.extract(str(package), str(folder)),
    "py-rattler": extract,
}
SUFFIXES = (".tar.bz2", ".conda")


def ours(package: Path) -> Found:
    found = open_archive(package, str(package), Limits())
    return {name: (file.blob.read(), file.executable) for file in found.files for name in (file.path, *file.aliases)}


def extracted(folder: Path) -> Found:
    """The files below a folder under every name that they have there through links, as Linux follows them."""

    def files(here: Path, seen: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
        for path in sorted(here.iterdir()):
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(root) or not real.exists():
                continue  # a link that leads nowhere
            if real.is_dir() and real not in seen and not (path.is_symlink() and here.is_relative_to(real)):
                yield from ((f"{path.name}/{name}", file) for name, file in files(path, (*seen, real)))
            elif real.is_file():
                yield path.name, real

    root = Path(os.path.realpath(folder))
    return {name: (file.read_bytes(), bool(file.stat().st_mode & stat.S_IXUSR)) for name, file in files(root, (root,))}


def require_same(package: Path, folder: Path) -> None:
    expected = ours(package)
    for name, judge in JUDGES.items():
        place = folder / name
        judge(package, place)
        assert extracted(place) == expected, f"{package.name}: {name} reads it otherwise"


def links_and_modes() -> installed.Members:
    script, plain = installed.entry("bin/run", b"#!/bin/sh\n"), installed.entry("share/demo/a.txt", b"one")
    script[0].mode, plain[0].mode = 0o755, 0o644
    links = {
        "lib/x": "../share/demo/a.txt",
        "lib/gone": "nowhere",
        "demo": "share/demo",
        "share/demo/b.txt": "a.txt",
        "all": "demo",
    }
    folder = installed.entry("share", kind=b"5")
    return [folder, script, plain, *(installed.entry(path, kind=b"2", link=target) for path, target in links.items())]


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no permissions of POSIX")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_links_and_modes_are_theirs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"evil-1.0-0{suffix}"
    if suffix == ".conda":
        installed.raw_conda(path, installed.honest(), links_and_modes())
    else:
        installed.raw_tar(path, [*installed.honest(), *links_and_modes()])
    assert {"demo/b.txt", "all/b.txt", "lib/x"} <= set(ours(path))
    require_same(path, tmp_path)


@pytest.mark.skipif(not HAS_LINKS, reason="conda-package-handling unpacks links")
@pytest.mark.parametrize("archive", ["tar.bz2", "conda"])
def test_a_package_of_rattler_build_is_read_as_they_read_it(archive: conda.ArchiveType, tmp_path: Path) -> None:
    package = demo(archive)
    assert set(FILES) - {"share/demo"} <= set(ours(package))
    require_same(package, tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_tar_without_end_blocks_is_read_as_they_read_it(suffix: str, tmp_path: Path) -> None:
    tar = tar_bytes([*installed.honest(), installed.entry("lib/a", b"one" * 999)])
    cut = tar[: -(-len(tar.rstrip(b"\0")) // 512) * 512]
    path = tmp_path / f"evil-1.0-0{suffix}"
    if suffix == ".conda":
        packed = zstandard.compress(cut)
        installed.raw_zip(path, [("info-evil-1.0-0.tar.zst", packed), ("pkg-evil-1.0-0.tar.zst", packed)])
    else:
        path.write_bytes(bz2.compress(cut))
    assert open_archive(path, "x", Limits()).unterminated
    require_same(path, tmp_path)


@pytest.mark.long
def test_every_package_that_the_tests_built_is_read_as_they_read_it(tmp_path: Path) -> None:
    kinds = [cache.root() / kind for kind in ("build", "assemble", "repack", "channel4x", "packages")]
    packages = [path for kind in kinds for suffix in SUFFIXES for path in sorted(kind.rglob(f"*{suffix}"))]
    compared = 0
    for number, package in enumerate(packages):
        try:
            open_archive(package, str(package), Limits())
        except Refused as error:  # a bomb of another test
            if error.code != "too-large":
                raise
            continue
        require_same(package, tmp_path / str(number))
        compared += 1
    assert compared
