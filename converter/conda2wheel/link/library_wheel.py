"""Library wheels: one conda package's libraries in a wheel of their own, which the wheels of several projects require.

Unlike a common wheel (`common_wheel`), it depends on no user but for the files that it has: on its conda package, and on the
library wheels that its libraries NEED. Its users take from it what it says: where each library lies, what that NEEDs, and the new
names of the symbols that it defines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.library import Library, file_part

Entry = tuple[str, str]  # a module's key and an entry of its NEEDED


@dataclass(frozen=True)
class LibraryWheel:
    """The contents of a library wheel, as the wheels that require it use them.

    Attributes:
        name: its distribution name.
        platform: the platform of all its libraries.
        version: "" until its contents are known.
        libraries: its libraries as they were in their packages, by content.
        paths: where each lies below site-packages, by content.
        files: the libraries as they are in the wheel, by path.
        targets: the content that each entry of their NEEDED means, also in the wheels that it requires.
        dropped: the entries that they leave to the main module, with the content of the library.
        symbols: by content, the new name of each symbol that it defines, by the old name.
        requires: the library wheels that its libraries NEED directly.
    """

    name: str
    platform: Platform
    version: str = ""
    libraries: Mapping[str, Library] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, PackageFile] = field(default_factory=dict)
    targets: Mapping[Entry, str] = field(default_factory=dict)
    dropped: Mapping[Entry, str] = field(default_factory=dict)
    symbols: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    requires: tuple[LibraryWheel, ...] = ()

    @property
    def file_part(self) -> str:
        """Its name as in file names."""
        return file_part(self.name)

    @property
    def requirement(self) -> str:
        """The requirement of its users: exactly the libraries that they were linked to."""
        return f"{self.name}=={self.version}"

    @property
    def unit(self) -> AuditUnit:
        """Its side modules, for the audit."""
        modules = {path: SideModule(self.files[path]) for path in sorted(self.files)}
        return AuditUnit(f"{self.file_part}-{self.version}", modules, self.file_part)

    def owner(self, content: str) -> LibraryWheel:
        """The wheel that has a library: this one, or one that it requires. Raises `KeyError` if none has it."""
        for wheel in with_required([self]):
            if content in wheel.libraries:
                return wheel
        raise KeyError(content)


class LibraryWheels(Protocol):
    """Makes the library wheels that a wheel may take libraries from."""

    def of(self, library: Library, platform: Platform) -> LibraryWheel | None:
        """The library wheel that has this library; None if each wheel brings its own."""


class LibrariesBeside(Protocol):
    """The libraries in wheels that are installed beside the one that is linked: those of `--find-links`."""

    @property
    def searched(self) -> tuple[str, ...]:
        """What was searched, for a message."""

    def find(self, needed: str, platforms: Sequence[Platform]) -> tuple[str, LibraryWheel] | None:
        """The content of the library that a NEEDED entry means, and the wheel that has it; None if no wheel has one."""


def with_required(wheels: Sequence[LibraryWheel]) -> tuple[LibraryWheel, ...]:
    """These wheels and all that they require, directly or not, each once; the required ones last."""
    found: dict[str, LibraryWheel] = {}
    todo = list(wheels)
    while todo:
        wheel = todo.pop(0)
        if wheel.requirement not in found:
            found[wheel.requirement] = wheel
            todo += wheel.requires
    return tuple(found.values())


def direct(owners: Mapping[str, LibraryWheel], contents: Iterable[str]) -> tuple[LibraryWheel, ...]:
    """The wheels of these libraries, each once, by name."""
    found = {owners[content].requirement: owners[content] for content in contents}
    return tuple(found[each] for each in sorted(found))
