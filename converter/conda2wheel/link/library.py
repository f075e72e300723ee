"""A shared library that was found, and the package or wheel on whose behalf it was looked up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from packaging.utils import canonicalize_name

from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import PackageFile


class LibraryUser(Protocol):
    """The package or wheel whose NEEDED libraries are looked up: a `CondaPackage`, or a `Wheel` from any builder."""

    @property
    def source(self) -> str:
        """The path, URL or match spec that the caller gave."""

    @property
    def name(self) -> str:
        """Its name, as match specs of other packages name it."""

    @property
    def stem(self) -> str:
        """Its name with version and build."""

    @property
    def depends(self) -> tuple[str, ...]:
        """Match specs of its dependencies; none where it has none."""


class Library(NamedTuple):
    """A shared library and its origin.

    `package` is None for a folder that is no package, and for a library that conda2wheel makes (`generated`).
    """

    side: SideModule
    origin: str
    package: CondaPackage | None
    generated: bool = False

    @property
    def content(self) -> str:
        """The sha256 of its bytes, which identifies a library under any name."""
        return self.side.file.blob.sha256

    @property
    def stem(self) -> str:
        """`libz` for libz.so.1.3.2 and libz.wasm. In archives with copies instead of links the shortest of its names counts."""
        name = min(self.side.file.names, key=lambda each: (len(each), each))
        return name.partition(".so")[0] if SHARED_OBJECT.search(name) else name.partition(".")[0] or name


def libraries_by_name(sides: Iterable[SideModule], origin: str, package: CondaPackage | None) -> dict[str, Library]:
    """The loadable ones among shared objects of one package, by every file name that they have."""
    return {name: Library(side, origin, package) for side in sides if side.kind.is_loadable for name in side.file.names}


def otherwise_named(files: Iterable[PackageFile]) -> dict[str, PackageFile]:
    """The files by those of their names that no loader takes for a library: CMake and emcc write `libx.wasm`, too."""
    return {name: file for file in files for name in sorted(file.names) if not SHARED_OBJECT.search(name)}


def file_part(name: str) -> str:
    """A distribution's name as in file names: PEP 503, with underscores."""
    return canonicalize_name(name).replace("-", "_")
