"""Packages of given sizes, made of real content: PyPI's wheels for Pyodide, one as it is or several together.

The same bytes each time. A `.tar.bz2` has the level that conda-build and rattler-build write (9), a `.conda` zstd's 19 up to
`LEVEL_19`, which the time to make it allows.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.helpers import packed, real
from tests.helpers.cache import cached, only
from tests.helpers.conda import ArchiveType
from tests.helpers.pyemscripten import PUBLISHED

ARCHIVES: tuple[ArchiveType, ...] = ("conda", "tar.bz2")
PYTHON, COMPILER = "313", "4.0.9"
SITE = "lib/python3.13/site-packages"
MB = 1_000_000
LEVEL_19 = 60 * MB
COUNTS = (10, 100, 1_000, 10_000)
COUNTED = 10 * MB  # what the files of the series of counts have together
MANY, MANY_SIZE = 20_000, 1_000 * MB  # files and bytes of a package of which memory and time are measured alone
ENTRIES = 64_000_000  # --max-entries: 500 MB of side modules alone list more than Limits().entries
MAKING = 1  # raised where the same arguments give other bytes


@dataclass(frozen=True)
class Size:
    """One of the sizes that are measured: megabytes unpacked, and the wheel that it is, if it is one alone."""

    megabytes: float
    wheel: str | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.wheel or f"{self.megabytes:g} MB of several"

    def package(self, archive: ArchiveType) -> Path:
        """The file, from the cache or made."""
        if self.wheel is not None:
            return real.as_conda(real.pypi_wheel(self.wheel), archive)
        return together(round(self.megabytes * MB), archive)


SIZES = (Size(0.4, "contourpy"), Size(1.3, "awkward-cpp"), Size(10), Size(45, "pymupdf"), Size(128), Size(500))


def together(total: int, archive: ArchiveType) -> Path:
    """A package of all wheels of one platform, over and over, until it has that many bytes.

    The copies of a file differ: a side module by a custom section, any other file by its last line.
    """

    def make(folder: Path) -> None:
        _pack(folder, f"together-{total // MB}", together_files(total), archive)

    return only(cached("bench", ("together", total, archive, MAKING), make))


def counted(count: int, archive: ArchiveType, total: int = COUNTED) -> Path:
    """A package of that many files of Python, which have the same bytes together for any count."""

    def make(folder: Path) -> None:
        _pack(folder, f"counted-{count}", counted_files(count, total), archive)

    return only(cached("bench", ("counted", count, total, archive, MAKING), make))


def together_files(total: int) -> dict[str, bytes]:
    """At least that many bytes, by path below site-packages."""
    files, size = {}, 0
    for path, content in _endless():
        files[path] = content
        size += len(content)
        if size >= total:
            break
    return files


def counted_files(count: int, total: int) -> dict[str, bytes]:
    """That many files with exactly that many bytes, by path below site-packages, beside an empty `__init__.py`."""
    sources = b"".join(content for path, content in wheel_contents() if path.endswith(".py"))
    text = (sources * (total // len(sources) + 1))[:total]
    each = -(-total // count)
    files = {
        f"counted/part{number // 500}/file{number}.txt": text[number * each : (number + 1) * each] for number in range(count)
    }
    return {"counted/__init__.py": b"", **files}


@cache
def wheel_contents() -> tuple[tuple[str, bytes], ...]:
    """The files of the wheels of `PYTHON`'s platform, the small ones first, without their dist-info."""
    found = []
    wheels = [each.get() for each in PUBLISHED if each.platform == "pyemscripten_2025_0"]
    for wheel in sorted(wheels, key=lambda wheel: (wheel.stat().st_size, wheel.name)):
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                if not info.is_dir() and ".dist-info/" not in info.filename and ".data/" not in info.filename:
                    found.append((info.filename, archive.read(info)))
    return tuple(found)


def _endless() -> Iterator[tuple[str, bytes]]:
    for number in itertools.count():
        for path, content in wheel_contents():
            yield f"together/copy{number}/{path}", content if number == 0 else _changed(content, number)


def _changed(content: bytes, number: int) -> bytes:
    if content.startswith(b"\0asm"):
        name = f"copy{number}".encode()
        return content + bytes((0, len(name) + 1, len(name))) + name
    return content + f"\n# copy {number}\n".encode()


def _pack(folder: Path, name: str, files: dict[str, bytes], archive: ArchiveType) -> None:
    dist_info = f"{SITE}/{name.replace('-', '_')}-1.0.dist-info"
    inside = {f"{SITE}/{path}": content for path, content in files.items()} | {
        f"{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{dist_info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: false\n",
    }
    depends = [f"python_abi 3.13.* *_cp{PYTHON}", "emscripten-abi >=4,<5.0a0", "python >=3.13,<3.14.0a0"]
    index = {
        "name": name,
        "version": "1.0",
        "build": f"py{PYTHON}h1234567_0",
        "build_number": 0,
        "depends": depends,
        "subdir": "emscripten-wasm32",
        "arch": "wasm32",
        "platform": "emscripten",
        "license": "MIT",
        "timestamp": 1748736000000,
    }
    total = sum(map(len, inside.values()))
    level = 9 if archive == "tar.bz2" else 19 if total <= LEVEL_19 else 3
    info = packed.recipe(index, [], COMPILER)
    packed.pack(folder, index, inside, about={"license": "MIT"}, info=info, archive=archive, level=level)
