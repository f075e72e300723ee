"""Look up the PyPI names of dependencies in the libdirs, the other sources of the call, and the channels.

The dist-info of a dependency has its name. A package is found by the file name of its archive (NAME-VERSION-BUILD), as in
channels and in conda itself, and only its list of files is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.conda.formats import CHANNEL_SUFFIXES, PACKAGE_SUFFIXES
from conda2wheel.conda.match_spec import admits, spec_name
from conda2wheel.conda.names import Names, PackageDistributions, is_marker, map_name
from conda2wheel.conda.parsing import InvalidSpecError, parse_version
from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.documents import parse_json
from conda2wheel.files.packagefile import Limits
from conda2wheel.net.urls import is_url
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.channels.contents import PackageContents
    from conda2wheel.channels.listing import ChannelListing
    from conda2wheel.channels.search import ChannelBuild


class _Candidate(NamedTuple):
    """A package in one of the locations."""

    location: str
    name: str
    version: str
    stem: str

    @classmethod
    def of(cls, location: str, filename: str) -> _Candidate | None:
        """By a file name NAME-VERSION-BUILD, with or without its suffix."""
        ending = next((each for each in (*PACKAGE_SUFFIXES, ".json") if filename.endswith(each)), "")
        stem = filename.removesuffix(ending)
        parts = stem.rsplit("-", 2)
        return cls(location, parts[0].lower(), parts[1], stem) if ending and len(parts) == 3 else None


class DependencyNames(NamedTuple):
    """PyPI names of dependencies that differ from the name table, by conda name, and warnings."""

    names: Names
    warnings: tuple[ConversionWarning, ...] = ()


class NameSources:
    """Locations of packages, and channels, in which names are looked up; each channel is listed once. For one thread."""

    def __init__(self, locations: Iterable[str | Path], limits: Limits, downloads: Downloads = DOWNLOADS) -> None:
        """Opens no location; one that does not exist, such as a match spec, is ignored."""
        self._locations = tuple(dict.fromkeys(map(str, locations)))
        self._limits = limits
        self._downloads = downloads
        self._candidates: dict[str, list[_Candidate]] | None = None
        self._inside: dict[str, PackageContents | None] = {}
        self._listings: dict[tuple[str, ...], ChannelListing] = {}

    def listing(self, channels: Sequence[str]) -> ChannelListing:
        """What these channels have."""
        from conda2wheel.channels.listing import ChannelListing

        key = tuple(channels)
        return self._listings.setdefault(key, ChannelListing(key, self._limits, self._downloads))

    def names(self, depends: Iterable[str], channels: Sequence[str]) -> DependencyNames:
        """The PyPI names of the dependencies in match specs, where their distributions differ from the name table.

        Raises:
            Failed: network, disk; the names depend on what is read.
        """
        wanted = {spec_name(spec): spec for spec in depends}
        seen, warnings = self.seen(wanted, channels)
        differing = {
            name: map_name(name, each).pypi for name, each in seen.items() if map_name(name, each).pypi != map_name(name).pypi
        }
        return DependencyNames(dict(sorted(differing.items())), warnings)

    def seen(
        self, wanted: Mapping[str, str], channels: Sequence[str]
    ) -> tuple[dict[str, PackageDistributions], tuple[ConversionWarning, ...]]:
        """Return the packages that were looked into, by name (with a match spec that chooses among versions).

        They are those in the folders, else the newest build in the channels. It raises what `names` raises.
        """
        wanted_names = {name: spec for name, spec in wanted.items() if name and not is_marker(name)}
        found = {name: seen for name, spec in wanted_names.items() if (seen := self._in_locations(name, spec)) is not None}
        missing = {name: spec for name, spec in wanted_names.items() if name not in found}
        if not channels or not missing:
            return found, ()
        listing = self.listing(channels)
        builds = [_best(builds, missing[name]) for name, builds in listing.builds(missing).items() if builds]
        inside = listing.contents(builds)
        for build in builds:
            if build.url in inside:
                found[build.name] = _seen(build.stem, inside[build.url])
        return found, tuple(listing.unreadable[build.url] for build in builds if build.url in listing.unreadable)

    def _in_locations(self, name: str, spec: str) -> PackageDistributions | None:
        if self._candidates is None:
            self._candidates = {}
            for candidate in (each for location in self._locations for each in _packages(location)):
                self._candidates.setdefault(candidate.name, []).append(candidate)
        for candidate in sorted(
            self._candidates.get(name, ()), key=lambda each: (admits(spec, each.version), _order(each.version)), reverse=True
        ):
            if candidate.location not in self._inside:
                self._inside[candidate.location] = self._contents(candidate.location)
            if (inside := self._inside[candidate.location]) is not None:
                return _seen(candidate.stem, inside)
        return None

    def _contents(self, location: str) -> PackageContents | None:
        """The files of a package; None if it cannot be read, which is an error where it is used."""
        from conda2wheel.channels.contents import PackageContents
        from conda2wheel.channels.open import open_package
        from conda2wheel.channels.remote_info import read_local_info

        try:
            if location.endswith(CHANNEL_SUFFIXES) and not is_url(location):
                listed = read_local_info(Path(location), location)
                return PackageContents.of(listed.paths)
            files = open_package(location, self._limits, self._downloads).files
        except Conda2WheelError:
            return None
        return PackageContents.of(path for file in files for path in (file.path, *file.aliases))


def _packages(location: str) -> Iterator[_Candidate]:
    """The packages in a location, by their file names."""
    if is_url(location):
        yield from filter(
            None, [_Candidate.of(location, re.split(r"[?#]", location)[0].rpartition("/")[2])]
        )  # urlsplit refuses some
        return
    path, meta = Path(location), os.path.join(location, "conda-meta")
    if not os.path.isdir(location):
        yield from filter(None, [_Candidate.of(location, path.name)])
    elif os.path.isfile(path / "info" / "index.json"):
        yield from filter(None, [_unpacked(path)])
    else:
        folder, suffixes = (meta, (".json",)) if os.path.isdir(meta) else (location, PACKAGE_SUFFIXES)
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(suffixes))
        except OSError:
            return  # an error where it is used
        yield from filter(None, (_Candidate.of(os.path.join(folder, name), name) for name in names))


def _unpacked(path: Path) -> _Candidate | None:
    try:
        index: Any = parse_json((path / "info" / "index.json").read_bytes())
        name, version, build = (str(index[key]) for key in ("name", "version", "build"))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return _Candidate(str(path), name.lower(), version, f"{name}-{version}-{build}")


def _best(builds: Sequence[ChannelBuild], spec: str) -> ChannelBuild:
    """The newest that the spec admits, else the newest: they are called the same."""
    return next((build for build in builds if build.admitted_by(spec)), builds[0])


def _seen(stem: str, inside: PackageContents) -> PackageDistributions:
    return PackageDistributions(stem, inside.distributions, inside.empty)


def _order(version: str) -> Any:
    try:
        return parse_version(version)
    except InvalidSpecError:
        return parse_version("0")
