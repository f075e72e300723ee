"""The libraries in `--libdir` folders and packages, by every file name that they have there.

A libdir is a package file, a folder of package files, an unpacked package, or a prefix (with or without conda-meta).
Libdirs are opened when the first library is looked up: most packages NEED nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conda2wheel.abi.choice import names_platform
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
from conda2wheel.conda.parsing import InvalidSpecError, parse_version
from conda2wheel.conda.prefix import open_folder
from conda2wheel.errors import Failed, Refused, require_several
from conda2wheel.files.packagefile import Limits, PackageFile
from conda2wheel.link.library import Library, LibraryUser, otherwise_named
from conda2wheel.net.urls import is_url, redacted, source_of
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.link.channel_lookup import ChannelLibraries

SHOWN = 3  # libdirs that a message names


_Opened = tuple[str, CondaPackage | None, tuple[PackageFile, ...]]
_Others = tuple[str, CondaPackage | None, dict[str, PackageFile]]


class LibraryIndex:
    """The libraries of all libdirs by file name, the best first; then those of a channel, if there is one."""

    def __init__(
        self,
        libdirs: Iterable[str | Path],
        limits: Limits,
        opened: Iterable[CondaPackage] = (),
        downloads: Downloads = DOWNLOADS,
    ) -> None:
        """Open nothing yet.

        Args:
            libdirs: paths and URLs.
            limits: the bounds on what is opened.
            opened: packages that are open already, and searched first.
            downloads: the download cache, and whether the network may be used.

        Raises:
            Failed: not-found, for a libdir that does not exist.
        """
        require_several("libdirs", libdirs)
        self.libdirs = tuple(source_of(str(libdir)) for libdir in libdirs)
        self._opened = tuple((package.stem, package, package.files) for package in opened)
        for libdir in self.libdirs:  # libraries are looked up late or never; a mistyped path is reported at once
            if not is_url(libdir) and not os.path.exists(libdir):
                raise Failed("not-found", f"--libdir {libdir}: no such file or folder", "check the path")
        self._limits = limits
        self._downloads = downloads
        self._by_name: dict[str, list[Library]] | None = None
        self._contents: list[_Opened] | None = None
        self._others: list[_Others] | None = None
        self._channel: ChannelLibraries | None = None
        self._base: LibraryIndex | None = None
        self._from_channel: set[str] = set()
        self._exporters: dict[str, set[str]] = {}  # file names of libraries by a symbol that they export
        self.warnings: list[ConversionWarning] = []

    def with_channel(self, channel: ChannelLibraries) -> LibraryIndex:
        """Return an index of the same libdirs, then a channel, for one package.

        What is downloaded for this package is not found for another one.
        """
        index = LibraryIndex((), self._limits, (), self._downloads)
        index.libdirs, index._base, index._channel = self.libdirs, self, channel
        return index

    @property
    def notes(self) -> tuple[ConversionWarning, ...]:
        """The warnings about the libdirs and about what was looked up."""
        broken = self._channel.broken.values() if self._channel else ()
        return (*(self._base.warnings if self._base else ()), *self.warnings, *broken)

    @property
    def from_channel(self) -> Mapping[str, CondaPackage]:
        """The packages that were opened in the channels, by URL."""
        return self._channel.opened if self._channel else {}

    @property
    def searched(self) -> tuple[str, ...]:
        """What was searched, for a message; of many libdirs the first."""
        libdirs = [redacted(libdir).partition("#")[0] if is_url(libdir) else libdir for libdir in self.libdirs]
        if len(libdirs) > SHOWN:
            libdirs = [*libdirs[:SHOWN], f"{len(libdirs) - SHOWN} more"]
        return (*libdirs, *([str(self._channel)] if self._channel else ()))

    def find(self, name: str, package: LibraryUser, platforms: Sequence[Platform]) -> tuple[Library | None, list[str]]:
        """The best library of that file name for a package and its platforms, and why others of that name were rejected.

        Rejected are a library of another toolchain than those of the platforms, one that one of them cannot load, and one in a
        version that the package's depends exclude. Of the others, those come first that the pins of what the package was built
        with admit, then those of its dependencies, then the highest version and build number. If there is none, the channel's
        packages are searched.
        """
        found, rejected = self._find_opened(name, package, platforms)
        for candidate in self._channel.candidates(name, package, platforms) if found is None and self._channel else ():
            source = candidate.package
            if source.stem not in self._from_channel:
                self._from_channel.add(source.stem)
                self._add((source.stem, source, source.files))
                self._other_files().append((source.stem, source, otherwise_named(source.files)))
            found, rejected = self._find_opened(name, package, platforms)
            if found is not None:
                why = f"{name} is {found.side.file.path} of {found.origin}, from {source.channel}: {candidate.why}"
                self.warnings.append(ConversionWarning("library-from-channel", why))
                break
        return found, rejected

    def _find_opened(self, name: str, package: LibraryUser, platforms: Sequence[Platform]) -> tuple[Library | None, list[str]]:
        rejected: list[str] = []
        fitting: list[tuple[Any, Library]] = []
        built = _built(package)
        for library in self._libraries().get(name) or self._by_other_name(name) or self._by_lost_link(name):
            pin = built.excluding_pin(library.package.name, library.package.version) if library.package else ""
            why = _unfit(library, platforms) or _forbidden(library.package, package)
            if why or (pin and library.origin in self._from_channel):  # downloaded for another package
                rejected.append(f"{library.origin}: {why or pin}")
            else:
                fitting.append(((not pin, *_order(library.package, package), library.content), library))
        fitting.sort(key=lambda pair: pair[0], reverse=True)
        return (fitting[0][1] if fitting else None), rejected

    def exporting(self, symbols: Iterable[str], package: LibraryUser, platforms: Sequence[Platform]) -> list[Library]:
        """The libraries in the libdirs that export one of these symbols: of each file name the best for a package.

        The channel is not searched, only what was opened in it for this package.
        """
        names = self._exporting(tuple(symbols))
        libraries = (self._find_opened(name, package, platforms)[0] for name in names)
        return list({library.content: library for library in libraries if library is not None}.values())

    def holding(
        self, symbols: Collection[str], package: LibraryUser, platforms: Sequence[Platform]
    ) -> Iterator[tuple[str, Library, str]]:
        """Yield each library in the libdirs that exports one of the symbols, with it, and why it cannot be taken, or ""."""
        libraries = (each for name in self._exporting(symbols) for each in self._libraries().get(name, ()))
        for library in {(each.content, each.origin): each for each in libraries}.values():
            why = _unfit(library, platforms) or _forbidden(library.package, package)
            for symbol in sorted(library.side.exports.keys() & symbols):
                yield symbol, library, why

    def _exporting(self, symbols: Iterable[str]) -> list[str]:
        """The file names of libraries that export one of these symbols. What was searched once is not read again."""
        if self._base is not None:
            own = (library for libraries in self._libraries().values() for library in libraries)
            fetched = [library for library in own if library.origin in self._from_channel]
            return sorted(
                {*self._base._exporting(symbols), *(name for names in _exporters(fetched, symbols).values() for name in names)}
            )
        new = [symbol for symbol in symbols if symbol not in self._exporters]
        if new:
            self._exporters |= _exporters((each for libraries in self._libraries().values() for each in libraries), new)
        return sorted({name for symbol in symbols for name in self._exporters[symbol]})

    def package(self, name: str, wanted_by: LibraryUser) -> CondaPackage | None:
        """Return the best package of a conda name that the depends of `wanted_by` admit.

        It is the highest version in the libdirs, else the channel's newest.
        """
        packages = (package for _, package, _ in self._everything() if package is not None)
        fitting = [each for each in packages if each.name == name and not _forbidden(each, wanted_by)]
        found = max(fitting, key=lambda each: _order(each, wanted_by), default=None)
        if found is None and self._channel is not None and (found := self._channel.newest(name, wanted_by)) is not None:
            why = f"{found.stem} is from {found.channel}: the recipe takes files of it"
            self.warnings.append(ConversionWarning("library-from-channel", why))
        return found

    def _everything(self) -> list[_Opened]:
        """The packages that were open already and those of the libdirs, opened once."""
        if self._base is not None:
            return self._base._everything()
        if self._contents is None:
            self._contents = [*self._opened, *(each for libdir in self.libdirs for each in self._open(libdir))]
        return self._contents

    def _by_other_name(self, name: str) -> list[Library]:
        """Return the side modules of a name that no loader takes for a library, such as `libx.wasm`."""
        if SHARED_OBJECT.search(name):
            return []
        there = [each for each in self._other_files() if name in each[2]]
        found = [Library(SideModule(files[name]), origin, package) for origin, package, files in there]
        return [library for library in found if library.side.kind.is_loadable]

    def _other_files(self) -> list[_Others]:
        """The files of every package whose names no loader takes for a library, by name."""
        if self._others is None:
            self._others = [(origin, package, otherwise_named(files)) for origin, package, files in self._everything()]
        return self._others

    def _by_lost_link(self, name: str) -> list[Library]:
        """Return libraries of which the name could be that of a lost symlink.

        empack's filters and copies lose symlinks: a real libbrotlidec.so NEEDs libbrotlicommon.so.1.0.9, and only
        libbrotlicommon.so is there.
        """
        found = {
            (library.content, library.origin): library
            for other, libraries in self._libraries().items()
            if same_library(name, other)
            for library in libraries
        }
        return list(found.values())

    def _libraries(self) -> dict[str, list[Library]]:
        """Every library by each of its names."""
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
            raise RuntimeError("libraries are added to an index that was not read")
        for file in files:
            if any(SHARED_OBJECT.search(name) for name in file.names):
                library = Library(SideModule(file), origin, package)
                for name in sorted(file.names):
                    self._by_name.setdefault(name, []).append(library)

    def _open(self, libdir: str) -> Iterator[_Opened]:
        path = Path(libdir)
        if is_url(libdir) or path.is_file():
            package = open_package(libdir, self._limits, self._downloads)
            yield package.stem, package, package.files
            return
        archives = sorted(p for p in path.iterdir() if p.name.endswith(PACKAGE_SUFFIXES) and p.is_file())
        if (path / "info" / "index.json").is_file() or any((path / "conda-meta").glob("*.json")):
            for source in expand(libdir):
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
            yield libdir, None, open_folder(path, libdir, self._limits).files


def _exporters(libraries: Iterable[Library], symbols: Iterable[str]) -> dict[str, set[str]]:
    """The file names of the libraries that export each of these symbols. Each file is read once, and not kept in memory."""
    found: dict[str, set[str]] = {symbol: set() for symbol in symbols}
    for library in {library.content: library for library in libraries}.values():
        module = SideModule(library.side.file).module
        for export in module.exports if module is not None else ():
            if export.name in found:
                found[export.name] |= library.side.file.names
    return found


def _unfit(library: Library, platforms: Sequence[Platform]) -> str:
    """Why a library cannot be loaded on one of the platforms, or was built for none of them; "" if neither is so."""
    side = library.side
    if not side.kind.is_loadable:
        return f"is no side module ({side.kind}{': ' + side.problem if side.problem else ''})"
    own = claims(library.package) if library.package is not None else []
    for platform in platforms:
        named = names_platform(own, platform)
        for each in contradictions([(side.file.path, side.signals)], platform):
            if not (named and each.loads):
                return each.why
    for claim in own:
        if claim.level == "package" and not any(row.emscripten in claim.emscriptens for row in platforms):
            return f"it {claim.text}, not Emscripten {' or '.join(row.emscripten for row in platforms)}"
    return ""


def _forbidden(found: CondaPackage | None, package: LibraryUser) -> str:
    """The dependency of `package` that excludes a build of another package; "" if none does."""
    spec = excluding_spec(found.name, found.version, package.depends) if found is not None else ""
    return f"{package.name} depends on {spec}" if spec else ""


def _built(package: LibraryUser) -> BuiltWith:
    return built_with(package.rendered_recipe if isinstance(package, CondaPackage) else {})


def _order(found: CondaPackage | None, package: LibraryUser) -> tuple[Any, ...]:
    """A sort key, higher is better: dependencies of the package, then versions and builds; libraries of no package come last."""
    if found is None:
        return (False, parse_version("0"), 0)
    named = any(spec_name(spec) == found.name for spec in package.depends)
    build = found.index.get("build_number")
    try:
        version = parse_version(found.version)
    except InvalidSpecError:
        version = parse_version("0")
    return (named, version, build if isinstance(build, int) else 0)
