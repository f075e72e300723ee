"""Read from a wheel what a check needs: name and tags, requirements, and the modules that users import."""

from __future__ import annotations

import keyword
import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import BuildTag, InvalidWheelFilename, NormalizedName, parse_wheel_filename
from packaging.version import Version

from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.documents import parse_json
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.files.reading import not_found
from conda2wheel.files.zips import WheelArchive, is_folder
from conda2wheel.wasm.signature import Feature
from conda2wheel.wheel.metadata import read_metadata
from conda2wheel.wheel.reader import NO_WHEEL, choose_core, not_installed

METADATA_LIMIT = 16 << 20
MEMBER_LIMIT = 512 << 20
NO_MODULES = re.compile(r".*\.(dist-info|data|libs)|__pycache__|.*-stubs")
SUFFIX = re.compile(r"\.(py|pyc|(?:cpython-(?P<python>\d+)t?-\w+-\w+\.|abi3t?(?:-\w+-\w+)?\.)so|(?P<plain>so))")


@dataclass(frozen=True)
class WheelFile:
    """A wheel on disk, as its file name describes it; nothing of it is read yet."""

    path: Path
    name: NormalizedName
    version: Version
    build: BuildTag
    tags: frozenset[Tag]


@dataclass(frozen=True)
class WheelRequirements:
    """What METADATA asks for: `Requires-Dist` lines as they stand, and `Requires-Python` or None."""

    requires: tuple[str, ...]
    python: str | None


def open_wheel(path: Path) -> WheelFile:
    """A wheel that was named by a user. Raises `Failed("not-found")`, `Refused("corrupt-archive")`."""
    if not path.is_file():
        raise not_found(path)
    try:
        wheel = wheel_file(path)
    except ValueError as error:
        raise Refused("corrupt-archive", f"{path}: not a wheel: {error}", NO_WHEEL) from error
    requirements_of(wheel)
    return wheel


def wheel_file(path: Path) -> WheelFile:
    """A wheel by its file name alone. Raises ValueError if that is not one of the binary distribution format."""
    try:
        name, version, build, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise ValueError(str(error)) from error
    return WheelFile(path.absolute(), name, version, build, tags)


def requirements_of(wheel: WheelFile) -> WheelRequirements:
    """Read METADATA. Raises `Refused("corrupt-archive")`, `Refused("too-large")`, `Failed("unreadable")`."""
    with WheelArchive(wheel.path) as archive:
        core = choose_core(wheel.name, wheel.version, archive.namelist())
        if core is None:
            raise Refused("corrupt-archive", f"{wheel.path} has no METADATA in a .dist-info folder")
        if (size := archive.getinfo(core).file_size) > METADATA_LIMIT:
            raise Refused("too-large", f"{wheel.path}: METADATA has {size} bytes")
        document = read_metadata(str(wheel.path), PackageFile(core, BytesBlob(archive.read(core))))
    return WheelRequirements(tuple(document.all("Requires-Dist")), document.get("Requires-Python"))


def recipe_test(wheel: WheelFile) -> str | None:
    """The smoke test of the conversion recipe that a wheel was made by (its `conda2wheel.json`), None where it has none."""
    with WheelArchive(wheel.path) as archive:
        found = [info for info in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/conda2wheel\.json", info.filename)]
        if len(found) != 1 or found[0].file_size > METADATA_LIMIT:
            return None
        try:
            test = parse_json(archive.read(found[0]))["options"]["recipe"]["test"]["script"]
        except (ValueError, KeyError, TypeError):  # no recipe, no test, or another tool's file
            return None
    return test if isinstance(test, str) else None


def modules(wheel: WheelFile, python: str) -> tuple[str, ...]:
    """The top-level modules of a wheel for a Python (`3.13`), sorted: packages, modules, extension modules.

    A folder without `__init__` is a namespace, where the first real packages and modules below it count. A plain `.so`
    is a module only if it has the `PyInit_` of its own name: otherwise it is a library.
    """
    with WheelArchive(wheel.path) as archive:
        files = [info for info in archive.infolist() if not is_folder(info)]
        places = not_installed(info.filename for info in files)  # other installers move them, so they are meant to be imported
        real = _packages([places.get(info.filename, info.filename) for info in files])
        found = set()
        for info in files:
            *folders, file = places.get(info.filename, info.filename).split("/")
            stem, dot, rest = file.partition(".")
            match = SUFFIX.fullmatch(dot + rest)
            if match is None or any(NO_MODULES.fullmatch(folder) for folder in folders):
                continue
            if match["python"] and match["python"] != python.replace(".", ""):
                continue
            package = next((folders[: n + 1] for n in range(len(folders)) if "/".join(folders[: n + 1]) in real), None)
            parts = package or [*folders, stem]
            if not _importable(parts) or (package is None and match["plain"] and not _has_init(archive, info, stem)):
                continue
            found.add(".".join(parts))
    return tuple(sorted(found))


def engine_features(wheel: WheelFile) -> dict[str, frozenset[Feature]]:
    """The WebAssembly features that each side module of a wheel needs; nothing of an archive or a member that cannot be read."""
    found = {}
    with suppress(Refused, Failed), WheelArchive(wheel.path) as archive:
        for info in archive.infolist():
            if SHARED_OBJECT.search(info.filename) and info.file_size <= MEMBER_LIMIT:
                module = SideModule(PackageFile(info.filename, BytesBlob(archive.read(info))))
                found[info.filename] = module.engine_features
    return found


def _packages(names: Iterable[str]) -> set[str]:
    """Folders that have an `__init__` of any kind."""
    packages = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        stem, dot, rest = file.partition(".")
        if folder and stem == "__init__" and SUFFIX.fullmatch(dot + rest):
            packages.add(folder)
    return packages


def _importable(parts: list[str]) -> bool:
    if parts[-1] in ("__init__", "__main__"):
        return False
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


def _has_init(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stem: str) -> bool:
    if info.file_size > MEMBER_LIMIT:
        return False
    return b"PyInit_" + stem.encode() in archive.read(info)
