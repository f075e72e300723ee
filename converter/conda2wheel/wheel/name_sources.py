"""Look up the names of dependencies in the packages of the libdirs, in the other sources of a call, and in the channels.

A dependency's own dist-info knows its name best. So as not to open every package, one is looked for by its archive's file name
(NAME-VERSION-BUILD), as channels and conda itself do, and only its list of files is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda2wheel.channels.contents import PackageContents
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.listing import ChannelListing
from conda2wheel.channels.open import open_package
from conda2wheel.channels.remote_info import read_local_info
from conda2wheel.channels.search import ChannelBuild
from conda2wheel.conda.formats import CHANNEL_SUFFIXES, PACKAGE_SUFFIXES
from conda2wheel.conda.match_spec import admits, spec_name
from conda2wheel.conda.names import Names, PackageDistributions, is_marker, map_name
from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.packagefile import Limits
from conda2wheel.net.download import is_url
from conda2wheel.results import ConversionWarning


@dataclass(frozen=True)
class _Near:
    """A package in one of the places."""

    place: str
    name: str
    version: str
    stem: str

    @classmethod
    def of(cls, place: str, filename: str) -> _Near | None:
        """By a file name NAME-VERSION-BUILD, with or without its suffix."""
        ending = next((each for each in (*PACKAGE_SUFFIXES, ".json") if filename.endswith(each)), "")
        stem = filename.removesuffix(ending)
        parts = stem.rsplit("-", 2)
        return cls(place, parts[0].lower(), parts[1], stem) if ending and len(parts) == 3 else None


@dataclass(frozen=True)
class DependencyNames:
    """What dependencies are called where that is not what the rows say, by conda name; and what a person should know."""

    names: Names
    warnings: tuple[ConversionWarning, ...] = ()


class NameSources:
    """Places whose packages can say what they are called, and channels, each listed once. For one thread."""

    def __init__(self, places: Iterable[str | Path], limits: Limits, downloads: Downloads = DOWNLOADS) -> None:
        """Opens none of the places, and is quiet about what is none: match specs, for one."""
        self._places = tuple(dict.fromkeys(map(str, places)))
        self._limits = limits
        self._downloads = downloads
        self._near: dict[str, list[_Near]] | None = None
        self._inside: dict[str, PackageContents | None] = {}
        self._listings: dict[tuple[str, ...], ChannelListing] = {}

    def listing(self, channels: Sequence[str]) -> ChannelListing:
        """What these channels have."""
        key = tuple(channels)
        return self._listings.setdefault(key, ChannelListing(key, self._limits, self._downloads))

    def names(self, depends: Iterable[str], channels: Sequence[str]) -> DependencyNames:
        """What the dependencies that match specs name are called on PyPI, where what lies in them says otherwise than the rows.

        Raises `Failed` (network, disk): without an accident the name could be another one.
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
        asked = {name: spec for name, spec in wanted.items() if name and not is_marker(name)}
        found = {name: seen for name, spec in asked.items() if (seen := self._in_places(name, spec)) is not None}
        missing = {name: spec for name, spec in asked.items() if name not in found}
        if not channels or not missing:
            return found, ()
        listing = self.listing(channels)
        builds = [_best(builds, missing[name]) for name, builds in listing.builds(missing).items() if builds]
        inside = listing.contents(builds)
        for build in builds:
            if build.url in inside:
                found[build.name] = _seen(build.stem, inside[build.url])
        return found, tuple(listing.unreadable[build.url] for build in builds if build.url in listing.unreadable)

    def _in_places(self, name: str, spec: str) -> PackageDistributions | None:
        if self._near is None:
            self._near = {}
            for near in (each for place in self._places for each in _packages(place)):
                self._near.setdefault(near.name, []).append(near)
        for near in sorted(
            self._near.get(name, ()), key=lambda each: (admits(spec, each.version), _order(each.version)), reverse=True
        ):
            if near.place not in self._inside:
                self._inside[near.place] = self._look(near.place)
            if (inside := self._inside[near.place]) is not None:
                return _seen(near.stem, inside)
        return None

    def _look(self, place: str) -> PackageContents | None:
        """None for what cannot be read: that is told when it is opened as what it was given for."""
        try:
            if place.endswith(CHANNEL_SUFFIXES) and not is_url(place):
                listed = read_local_info(Path(place), place)
                return PackageContents.of(listed.paths)
            files = open_package(place, self._limits, self._downloads).files
        except Conda2WheelError:
            return None
        return PackageContents.of(path for file in files for path in (file.path, *file.aliases))


def _packages(place: str) -> Iterator[_Near]:
    """The packages of a place, by their names alone."""
    if is_url(place):
        yield from filter(None, [_Near.of(place, re.split(r"[?#]", place)[0].rpartition("/")[2])])  # urlsplit refuses some
        return
    path, meta = Path(place), os.path.join(place, "conda-meta")
    if not os.path.isdir(place):
        yield from filter(None, [_Near.of(place, path.name)])
    elif os.path.isfile(path / "info" / "index.json"):
        yield from filter(None, [_unpacked(path)])
    else:
        folder, suffixes = (meta, (".json",)) if os.path.isdir(meta) else (place, PACKAGE_SUFFIXES)
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(suffixes))
        except OSError:
            return  # told when it is opened
        yield from filter(None, (_Near.of(os.path.join(folder, name), name) for name in names))


def _unpacked(path: Path) -> _Near | None:
    try:
        index: Any = json.loads((path / "info" / "index.json").read_bytes())
        name, version, build = (str(index[key]) for key in ("name", "version", "build"))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return _Near(str(path), name.lower(), version, f"{name}-{version}-{build}")


def _best(builds: Sequence[ChannelBuild], spec: str) -> ChannelBuild:
    """The newest that the spec admits, else the newest: they are called the same."""
    return next((build for build in builds if build.admitted_by(spec)), builds[0])


def _seen(stem: str, inside: PackageContents) -> PackageDistributions:
    return PackageDistributions(stem, inside.distributions, inside.empty)


def _order(version: str) -> Any:
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return Version(version)
    except InvalidVersionError:
        return Version("0")
