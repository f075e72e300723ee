"""Finds the packages of a channel that have a NEEDED library, by file name in the lists of the packages' files (`contents`).

Packages are searched in this order: the dependencies of the library's user, the packages that it was built with, packages with
the library's name, all packages of the channel for emscripten-wasm32. The first three only save reading every list: of several
packages with the file they would be taken first anyway. Of one package the newest build is taken that the platform, the user's
depends and the pins of what it was built with admit. A name that only symlinks had (`same_library`) counts if no package has the
file itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conda2wheel.abi.side_module import same_library
from conda2wheel.channels.contents import PackageContents, is_accident, skipped_warning
from conda2wheel.channels.listing import ChannelListing
from conda2wheel.channels.open import open_package
from conda2wheel.channels.search import ChannelBuild
from conda2wheel.conda.abi_evidence import claims
from conda2wheel.conda.match_spec import BuiltWith, built_with, spec_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Failed, Refused
from conda2wheel.link.library import LibraryUser
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.abi.platforms import Platform

BUILDS = 3  # builds of a package that are searched for any version of the library, newest first
DEEP = 24  # builds of a package with the library that are searched for the file itself
Has = Callable[[PackageContents], bool]


@dataclass(frozen=True)
class Candidate:
    """An opened package that has the library, and why it was chosen."""

    package: CondaPackage
    why: str


@dataclass
class ChannelLibraries:
    """The libraries of the channels' packages, for one package that is converted.

    Attributes:
        listing: the channels' packages.
        opened: the packages that were opened, by URL.
        broken: warnings about packages that could not be read, by URL.
        searched: the names of the packages that were searched first, in order.
    """

    listing: ChannelListing
    opened: dict[str, CondaPackage] = field(default_factory=dict)
    broken: dict[str, ConversionWarning] = field(default_factory=dict)
    searched: dict[str, None] = field(default_factory=dict)

    def candidates(self, needed: str, package: LibraryUser, platforms: Sequence[Platform]) -> Iterator[Candidate]:
        """Yield the packages that have a library of this file name for `package`, the likeliest first.

        Each is downloaded when the iterator reaches it.

        Raises:
            Failed: a network or disk error.
        """
        query = _Query(self, package, platforms)
        likely = query.likely(needed)
        self.searched |= dict.fromkeys(likely)
        others: Iterable[str] = ()
        for has in (_has(needed), _has_near(needed)):
            for name in query.packages_with(likely, needed):
                yield from self._opened(query.builds_with(name, has), likely[name], query)
            others = others or [name for name in self.listing.package_names() if name not in likely]
            for name in query.packages_with(others, needed):
                yield from self._opened(query.builds_with(name, has), "it has that file", query)

    def newest(self, name: str, package: LibraryUser) -> CondaPackage | None:
        """The newest build of the package `name` that `package` may use.

        Raises:
            Failed: a network or disk error.
        """
        query = _Query(self, package, ())
        self.searched.setdefault(name)
        found = next(self._opened(query.builds(name), "", query), None)
        return found.package if found else None

    def inside(self, builds: Iterable[ChannelBuild]) -> Mapping[str, PackageContents]:
        """As `ChannelListing.inside`, remembering what was broken."""
        wanted = list(builds)
        found = self.listing.contents(wanted)
        self.broken |= {each.url: self.listing.unreadable[each.url] for each in wanted if each.url in self.listing.unreadable}
        return found

    def _opened(self, builds: Iterable[ChannelBuild], why: str, query: _Query) -> Iterator[Candidate]:
        for build in builds:
            if build.url not in self.opened:
                try:
                    where = build.url.with_sha256(build.sha256)
                    self.opened[build.url] = open_package(where, self.listing.limits, self.listing.downloads)
                except (Refused, Failed) as error:
                    if is_accident(error):
                        raise
                    self.broken[build.url] = skipped_warning(build.url, error)
                    continue
            yield Candidate(self.opened[build.url], "; ".join(filter(None, (why, query.built.reason(build.name)))))

    def __str__(self) -> str:
        """The channels that were searched, for a message."""
        unasked = (
            f"; {len(self.listing.skipped_offline)} packages not, because of --offline" if self.listing.skipped_offline else ""
        )
        first = f", first in {', '.join(self.searched)}" if self.searched else ""
        return f"{', '.join(self.listing.channels)} (looked for by its file name{first}{unasked})"


class _Query:
    """The builds of a channel that one package may use."""

    def __init__(self, libraries: ChannelLibraries, package: LibraryUser, platforms: Sequence[Platform]) -> None:
        """Without platforms the package may use any build, also one that can have no library."""
        self.libraries = libraries
        self.package = package
        self.platforms = platforms
        self.built: BuiltWith = built_with(package.rendered_recipe if isinstance(package, CondaPackage) else {})

    def likely(self, needed: str) -> dict[str, str]:
        """The names of packages that may have the library, with the reason, the likeliest first."""
        from conda2wheel.conda.names import is_marker

        named_like_it = _names_for(needed)
        depends = {spec_name(spec): f"{self.package.name} depends on {spec}" for spec in self.package.depends}
        found = {name: depends[name] for name in sorted(depends, key=lambda name: name not in named_like_it)}
        for name in sorted({*self.built.versions, *self.built.pins}, key=lambda name: (name not in named_like_it, name)):
            found.setdefault(name, "")
        for name in named_like_it:
            found.setdefault(name, "it has the name of the library")
        return {name: why for name, why in found.items() if name and not is_marker(name)}

    def packages_with(self, names: Iterable[str], needed: str) -> Iterator[str]:
        """Yield the packages that have any version of the library in one of their newest builds.

        The newest builds of all packages are searched first, at once.
        """
        has = _has_near(needed)
        fitting = self._fitting(names)
        yielded: set[str] = set()
        for number in range(BUILDS):
            inside = self.libraries.inside(build for builds in fitting.values() for build in builds[number : number + 1])
            for name, builds in fitting.items():
                here = (inside[build.url] for build in builds[number : number + 1] if build.url in inside)
                if name not in yielded and any(map(has, here)):
                    yielded.add(name)
                    yield name

    def builds_with(self, name: str, has: Has) -> list[ChannelBuild]:
        """The builds of a package for whose files `has` is true, the best first."""
        builds = self.builds(name)
        inside = self.libraries.inside(builds[:DEEP])
        return [build for build in builds if build.url in inside and has(inside[build.url])]

    def builds(self, name: str) -> list[ChannelBuild]:
        """The builds of a package that the package may use, the best first."""
        self._read_pin(name)
        return self._fitting([name])[name]

    def _read_pin(self, name: str) -> None:
        """Read the pin of the build that the package was built with from that build's run_exports, unless the recipe has it."""
        version = self.built.versions.get(name)
        if version is None or name in self.built.pins:
            return
        build = next((each for each in self.libraries.listing.builds([name])[name] if each.version == version), None)
        inside = self.libraries.inside([build] if build else [])
        self.built = self.built.with_run_exports(name, [spec for each in inside.values() for spec in each.exports])

    def _fitting(self, names: Iterable[str]) -> Mapping[str, list[ChannelBuild]]:
        """The builds that the package may use by name, the best first."""
        listed = self.libraries.listing.builds(names)
        return {name: self._best([each for each in builds if self._fits(each)]) for name, builds in listed.items()}

    def _best(self, builds: list[ChannelBuild]) -> list[ChannelBuild]:
        """Sort builds, the newest first.

        Without a pin that says which versions are compatible, the one that the package was built with comes first.
        """
        if not builds or builds[0].name in self.built.pins:
            return builds
        version = self.built.versions.get(builds[0].name)
        return sorted(builds, key=lambda build: build.version != version)

    def _fits(self, build: ChannelBuild) -> bool:
        """Tell whether a build may be used, by its repodata.

        Excluded are a build of Python code or for any system, which has no libraries for others, one for another Emscripten than
        those of the platforms, and one in a version that depends or pins exclude.
        """
        own = [spec for spec in self.package.depends if spec_name(spec) == build.name]
        if self.built.excluding_pin(build.name, build.version) or not all(map(build.admitted_by, own)):
            return False
        if not self.platforms:
            return True
        if "/noarch/" in build.url or {"python", "python_abi"} & set(map(spec_name, build.depends)):
            return False
        listed = CondaPackage(build.url, (), {"name": build.name, "version": build.version, "depends": list(build.depends)})
        emscriptens = {row.emscripten for row in self.platforms}
        return all(claim.level != "package" or emscriptens & claim.emscriptens for claim in claims(listed))


def _has(needed: str) -> Has:
    return lambda inside: needed in inside.library_names


def _has_near(needed: str) -> Has:
    return lambda inside: any(same_library(needed, name) for name in inside.library_names)


def _names_for(needed: str) -> tuple[str, ...]:
    """Return the names of packages that may have a library.

    They are libhdf5_hl, hdf5_hl, hdf5 for `libhdf5_hl.so.310`, and libz and zlib for `libz.so.1`.
    """
    name = needed.rpartition("/")[2].lower()
    stem = name.partition(".so" if ".so" in name else ".")[0]
    plain = stem.removeprefix("lib")
    first = re.split(r"[_-]", plain)[0]
    return tuple(dict.fromkeys([stem, plain, f"{plain}lib", f"lib{first}", first]))
