"""`--libdir`: where NEEDED libraries may be found, by every file name that they have there.

A place is a package file, a folder of package files, an unpacked package, or a prefix (with or without conda-meta).
Places are opened when the first library is looked for, not before: most packages NEED nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, same_library
from conda2wheel.abi.signals import contradictions
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.open import open_package
from conda2wheel.conda.abi_evidence import claims
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.match_spec import BuiltWith, built_with, excluding_spec, spec_name
from conda2wheel.conda.open import expand
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.prefix import open_folder
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits, PackageFile
from conda2wheel.link.channel_lookup import ChannelLibraries
from conda2wheel.link.library import Library, LibraryUser
from conda2wheel.net.download import is_url, redacted
from conda2wheel.results import ConversionWarning

SHOWN = 3  # places that a message names


_Opened = tuple[str, CondaPackage | None, tuple[PackageFile, ...]]


class LibraryIndex:
    """Libraries by file name over all places, best first."""

    def __init__(
        self,
        places: Iterable[str | Path],
        limits: Limits,
        opened: Iterable[CondaPackage] = (),
        downloads: Downloads = DOWNLOADS,
    ) -> None:
        """`opened` are packages that somebody has open already. Opens none; raises `Failed` (not-found) for a missing place."""
        self.places = tuple(str(place) for place in places)
        self._opened = tuple((package.stem, package, package.files) for package in opened)
        for place in self.places:  # the libraries are looked for late or never; a mistyped place is told at once
            if not is_url(place) and not os.path.exists(place):
                raise Failed("not-found", f"--libdir {place}: no such file or folder", "check the path")
        self._limits = limits
        self._downloads = downloads
        self._by_name: dict[str, list[Library]] | None = None
        self._contents: list[_Opened] | None = None
        self._channel: ChannelLibraries | None = None
        self._base: LibraryIndex | None = None
        self._looked_into: set[str] = set()
        self.warnings: list[ConversionWarning] = []

    def with_channel(self, channel: ChannelLibraries) -> LibraryIndex:
        """The same places, and where they have nothing, a channel: for one package, so that none sees what another looked up."""
        twin = LibraryIndex((), self._limits, (), self._downloads)
        twin.places, twin._base, twin._channel = self.places, self, channel
        return twin

    @property
    def notes(self) -> tuple[ConversionWarning, ...]:
        """What a person should know of the places, and of what was looked up."""
        broken = self._channel.broken.values() if self._channel else ()
        return (*(self._base.warnings if self._base else ()), *self.warnings, *broken)

    @property
    def from_channel(self) -> Mapping[str, CondaPackage]:
        """The packages that were opened in the channels, by URL."""
        return self._channel.opened if self._channel else {}

    @property
    def searched(self) -> tuple[str, ...]:
        """Where libraries were looked for, as a person would name it; of many places the first."""
        places = [redacted(place).partition("#")[0] if is_url(place) else place for place in self.places]
        if len(places) > SHOWN:
            places = [*places[:SHOWN], f"{len(places) - SHOWN} more"]
        return (*places, *([str(self._channel)] if self._channel else ()))

    def find(self, name: str, package: LibraryUser, platform: Platform) -> tuple[Library | None, list[str]]:
        """The best library of that file name for a package and a platform, and why others of that name were passed over.

        A library of another toolchain does not fit, nor one in a version that the package's depends forbid. Of the others,
        one comes first that the pins of what the package was built with admit, then one that the package depends on, then the
        highest version and build number. Where there is none, the channel's packages are looked up.
        """
        found, rejected = self._at_hand(name, package, platform)
        for candidate in self._channel.candidates(name, package, platform) if found is None and self._channel else ():
            brought = candidate.package
            if brought.stem not in self._looked_into:
                self._looked_into.add(brought.stem)
                self._add((brought.stem, brought, brought.files))
            found, rejected = self._at_hand(name, package, platform)
            if found is not None:
                why = f"{name} is {found.side.file.path} of {found.origin}, from {brought.channel}: {candidate.why}"
                self.warnings.append(ConversionWarning("library-from-channel", why))
                break
        return found, rejected

    def _at_hand(self, name: str, package: LibraryUser, platform: Platform) -> tuple[Library | None, list[str]]:
        rejected: list[str] = []
        fitting: list[tuple[Any, Library]] = []
        built = _built(package)
        for library in self._libraries().get(name) or self._by_lost_link(name):
            pin = built.excluding_pin(library.package.name, library.package.version) if library.package else ""
            why = _unfit(library, platform) or _forbidden(library.package, package)
            if why or (pin and library.origin in self._looked_into):  # what another package had looked up
                rejected.append(f"{library.origin}: {why or pin}")
            else:
                fitting.append(((not pin, *_order(library.package, package), library.content), library))
        fitting.sort(key=lambda pair: pair[0], reverse=True)
        return (fitting[0][1] if fitting else None), rejected

    def package(self, name: str, wanted_by: LibraryUser) -> CondaPackage | None:
        """The best package of that conda name that `wanted_by` may have: one that its depends admit, the highest version; else
        the channel's."""
        packages = (package for _, package, _ in self._everything() if package is not None)
        fitting = [each for each in packages if each.name == name and not _forbidden(each, wanted_by)]
        found = max(fitting, key=lambda each: _order(each, wanted_by), default=None)
        if found is None and self._channel is not None and (found := self._channel.named(name, wanted_by)) is not None:
            why = f"{found.stem} is from {found.channel}: the recipe takes files of it"
            self.warnings.append(ConversionWarning("library-from-channel", why))
        return found

    def _everything(self) -> list[_Opened]:
        """What was opened and what is in the places, opened once."""
        if self._base is not None:
            return self._base._everything()
        if self._contents is None:
            self._contents = [*self._opened, *(each for place in self.places for each in self._open(place))]
        return self._contents

    def _by_lost_link(self, name: str) -> list[Library]:
        """Libraries whose names could be symlinks' names of this one. empack's filters and copies lose symlinks: a real
        libbrotlidec.so NEEDs libbrotlicommon.so.1.0.9, and only libbrotlicommon.so is there."""
        found = {
            (library.content, library.origin): library
            for other, libraries in self._libraries().items()
            if same_library(name, other)
            for library in libraries
        }
        return list(found.values())

    def _libraries(self) -> dict[str, list[Library]]:
        """Every library by each of its names, read once."""
        if self._by_name is None and self._base is not None:
            self._by_name = {name: list(found) for name, found in self._base._libraries().items()}
        elif self._by_name is None:
            self._by_name = {}
            for opened in self._everything():
                self._add(opened)
        return self._by_name if self._by_name is not None else {}

    def _add(self, opened: _Opened) -> None:
        origin, package, files = opened
        if self._by_name is None:
            raise RuntimeError("libraries are added to an index that was read")
        for file in files:
            if any(SHARED_OBJECT.search(name) for name in file.names):
                library = Library(SideModule(file), origin, package)
                for name in sorted(file.names):
                    self._by_name.setdefault(name, []).append(library)

    def _open(self, place: str) -> Iterator[_Opened]:
        path = Path(place)
        if is_url(place) or path.is_file():
            package = open_package(place, self._limits, self._downloads)
            yield package.stem, package, package.files
            return
        archives = sorted(p for p in path.iterdir() if p.name.endswith(PACKAGE_SUFFIXES) and p.is_file())
        if (path / "info" / "index.json").is_file() or any((path / "conda-meta").glob("*.json")):
            for source in expand(place):
                package = open_package(source, self._limits)
                yield package.stem, package, package.files
        elif archives:
            for archive in archives:
                try:
                    package = open_package(archive, self._limits)
                except Refused as error:
                    self.warnings.append(ConversionWarning("libdir-skipped", str(error), str(archive)))
                    continue
                yield package.stem, package, package.files
        else:
            yield place, None, open_folder(path, place, self._limits)


def _unfit(library: Library, platform: Platform) -> str:
    """Why a library cannot be loaded on a platform; empty if it can."""
    side = library.side
    if not side.kind.is_loadable:
        return f"is no side module ({side.kind}{': ' + side.problem if side.problem else ''})"
    found = contradictions([(side.file.path, side.signals)], platform)
    if found:
        return found[0]
    if library.package is not None:
        for claim in claims(library.package):
            if claim.level == "package" and platform.emscripten not in claim.emscriptens:
                return f"it {claim.text}, not Emscripten {platform.emscripten}"
    return ""


def _forbidden(found: CondaPackage | None, package: LibraryUser) -> str:
    """The dependency of `package` that does not admit this build of another; empty if none speaks against it."""
    spec = excluding_spec(found.name, found.version, package.depends) if found is not None else ""
    return f"{package.name} depends on {spec}" if spec else ""


def _built(package: LibraryUser) -> BuiltWith:
    return built_with(package.rendered_recipe if isinstance(package, CondaPackage) else {})


def _order(found: CondaPackage | None, package: LibraryUser) -> tuple[Any, ...]:
    """Higher is better: what the package depends on, then versions and builds; what is no package comes last."""
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    if found is None:
        return (False, Version("0"), 0)
    named = any(spec_name(spec) == found.name for spec in package.depends)
    build = found.index.get("build_number")
    try:
        version = Version(found.version)
    except InvalidVersionError:
        version = Version("0")
    return (named, version, build if isinstance(build, int) else 0)
