"""Packages of a channel that have a NEEDED library: looked up by file name in what the packages have inside (`contents`).

In this order: what the package depends on, what it was built with, what is called like the library, everything that the channel
has for emscripten-wasm32. The first three only save looking into everything: of several packages that have the file they would be
taken first anyway. Of one package the newest build counts that the platform, the user's depends and the pins of what it was built
with admit. A name that only symlinks had (`same_library`) counts where nothing has the file itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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

BUILDS = 3  # of one package: how many are looked into, newest first, to see whether it has the library at all
DEEP = 24  # of one that has it: how many, to find the file itself
Has = Callable[[PackageContents], bool]


@dataclass(frozen=True)
class Candidate:
    """A package that has the library, opened, and why it is this one."""

    package: CondaPackage
    why: str


@dataclass
class ChannelLibraries:
    """Where to look; and, for one package that is converted, what was opened for it and what could not be looked into, by URL."""

    listing: ChannelListing
    opened: dict[str, CondaPackage] = field(default_factory=dict)
    broken: dict[str, ConversionWarning] = field(default_factory=dict)
    searched: dict[str, None] = field(default_factory=dict)  # names, in the order in which they were looked for

    def candidates(self, needed: str, package: LibraryUser, platform: Platform) -> Iterator[Candidate]:
        """The packages that have a library of this file name for `package`, the likeliest first; each is downloaded when it is
        asked for. Raises `Failed` for accidents.
        """
        query = _Query(self, package, platform)
        likely = query.likely(needed)
        self.searched |= dict.fromkeys(likely)
        others: Iterable[str] = ()
        for has in (_has(needed), _has_near(needed)):
            for name in query.carriers(likely, needed):
                yield from self._opened(query.having(name, has), likely[name], query)
            others = others or [name for name in self.listing.package_names() if name not in likely]
            for name in query.carriers(others, needed):
                yield from self._opened(query.having(name, has), "it has that file", query)

    def named(self, name: str, package: LibraryUser) -> CondaPackage | None:
        """The newest build of that name that `package` may use, whatever is in it. Raises `Failed` for accidents."""
        query = _Query(self, package, None)
        self.searched.setdefault(name)
        found = next(self._opened(query.builds(name), "", query), None)
        return found.package if found else None

    def inside(self, builds: Iterable[ChannelBuild]) -> Mapping[str, PackageContents]:
        """As `ChannelListing.inside`, remembering what was broken."""
        wanted = list(builds)
        found = self.listing.inside(wanted)
        self.broken |= {each.url: self.listing.broken[each.url] for each in wanted if each.url in self.listing.broken}
        return found

    def _opened(self, builds: Iterable[ChannelBuild], why: str, query: _Query) -> Iterator[Candidate]:
        for build in builds:
            if build.url not in self.opened:
                where = f"{build.url}#sha256={build.sha256}" if build.sha256 else build.url
                try:
                    self.opened[build.url] = open_package(where, self.listing.limits, self.listing.downloads)
                except (Refused, Failed) as error:
                    if is_accident(error):
                        raise
                    self.broken[build.url] = skipped_warning(build.url, error)
                    continue
            yield Candidate(self.opened[build.url], "; ".join(filter(None, (why, query.built.reason(build.name)))))

    def __str__(self) -> str:
        """What was searched, for a message."""
        unasked = f"; {len(self.listing.unasked)} packages not, being offline" if self.listing.unasked else ""
        first = f", first in {', '.join(self.searched)}" if self.searched else ""
        return f"{', '.join(self.listing.channels)} (looked for by its file name{first}{unasked})"


class _Query:
    """One package's view of a channel: which builds it may use."""

    def __init__(self, libraries: ChannelLibraries, package: LibraryUser, platform: Platform | None) -> None:
        """Without a platform any package may be one to use, also one that can have no library."""
        self.libraries = libraries
        self.package = package
        self.platform = platform
        self.built: BuiltWith = built_with(package.rendered_recipe if isinstance(package, CondaPackage) else {})

    def likely(self, needed: str) -> dict[str, str]:
        """Names of packages that may have it, with the reason, the likeliest first."""
        from conda2wheel.conda.names import is_marker

        called = _namesakes(needed)
        depends = {spec_name(spec): f"{self.package.name} depends on {spec}" for spec in self.package.depends}
        found = {name: depends[name] for name in sorted(depends, key=lambda name: name not in called)}
        for name in sorted({*self.built.versions, *self.built.pins}, key=lambda name: (name not in called, name)):
            found.setdefault(name, "")
        for name in called:
            found.setdefault(name, "it is called like it")
        return {name: why for name, why in found.items() if name and not is_marker(name)}

    def carriers(self, names: Iterable[str], needed: str) -> Iterator[str]:
        """Those packages that have the library, in any version of it, in one of their newest builds. The newest of all are
        looked into first, at once."""
        has = _has_near(needed)
        fitting = self._fitting(names)
        given: set[str] = set()
        for number in range(BUILDS):
            inside = self.libraries.inside(build for builds in fitting.values() for build in builds[number : number + 1])
            for name, builds in fitting.items():
                here = (inside[build.url] for build in builds[number : number + 1] if build.url in inside)
                if name not in given and any(map(has, here)):
                    given.add(name)
                    yield name

    def having(self, name: str, has: Has) -> list[ChannelBuild]:
        """The builds of a package that have it, the best first."""
        builds = self.builds(name)
        inside = self.libraries.inside(builds[:DEEP])
        return [build for build in builds if build.url in inside and has(inside[build.url])]

    def builds(self, name: str) -> list[ChannelBuild]:
        """The builds of a package that this one may use, the best first."""
        self._learn(name)
        return self._fitting([name])[name]

    def _learn(self, name: str) -> None:
        """The pin of the build that this package was built with, from its own run_exports, where the recipe does not tell."""
        version = self.built.versions.get(name)
        if version is None or name in self.built.pins:
            return
        build = next((each for each in self.libraries.listing.builds([name])[name] if each.version == version), None)
        inside = self.libraries.inside([build] if build else [])
        self.built = self.built.with_run_exports(name, [spec for each in inside.values() for spec in each.exports])

    def _fitting(self, names: Iterable[str]) -> Mapping[str, list[ChannelBuild]]:
        """By name the builds that this package may use, the best first."""
        listed = self.libraries.listing.builds(names)
        return {name: self._best([each for each in builds if self._fits(each)]) for name, builds in listed.items()}

    def _best(self, builds: list[ChannelBuild]) -> list[ChannelBuild]:
        """Newest first. Where nothing says which versions are compatible, the one that it was built with comes before all."""
        if not builds or builds[0].name in self.built.pins:
            return builds
        version = self.built.versions.get(builds[0].name)
        return sorted(builds, key=lambda build: build.version != version)

    def _fits(self, build: ChannelBuild) -> bool:
        """Whether its repodata admit a build: packages of Python code and for no particular system have no library for others;
        nor has one for another Emscripten, or in a version that depends or pins forbid."""
        own = [spec for spec in self.package.depends if spec_name(spec) == build.name]
        if self.built.excluding_pin(build.name, build.version) or not all(map(build.admitted_by, own)):
            return False
        if self.platform is None:
            return True
        if "/noarch/" in build.url or {"python", "python_abi"} & set(map(spec_name, build.depends)):
            return False
        told = CondaPackage(build.url, (), {"name": build.name, "version": build.version, "depends": list(build.depends)})
        emscripten = self.platform.emscripten
        return all(claim.level != "package" or emscripten in claim.emscriptens for claim in claims(told))


def _has(needed: str) -> Has:
    return lambda inside: needed in inside.library_names


def _has_near(needed: str) -> Has:
    return lambda inside: any(same_library(needed, name) for name in inside.library_names)


def _namesakes(needed: str) -> tuple[str, ...]:
    """`libhdf5_hl.so.310` may be in libhdf5_hl, hdf5_hl, libhdf5, hdf5; `libz.so.1` in libz and zlib."""
    stem = needed.rpartition("/")[2].partition(".so")[0].lower()
    plain = stem.removeprefix("lib")
    first = re.split(r"[_-]", plain)[0]
    return tuple(dict.fromkeys([stem, plain, f"{plain}lib", f"lib{first}", first]))
