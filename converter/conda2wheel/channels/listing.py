"""The builds of channels by name, and their contents, requested once for all packages of one command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from conda2wheel.channels.contents import Build, PackageContents, read_contents
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.repodata import channel_url, package_names
from conda2wheel.channels.search import ChannelBuild, records
from conda2wheel.files.packagefile import Limits
from conda2wheel.results import ConversionWarning

_NAME = re.compile(r"_?[a-z0-9_][a-z0-9_.-]*")


@dataclass
class ChannelListing:
    """Channels, the preferred one first, and the answers that they gave so far. Not thread-safe.

    Attributes:
        channels: Names or URLs.
        limits: Bounds on downloads.
        downloads: How packages are downloaded.
        unreadable: A warning for each package whose contents could not be read, by URL.
        skipped_offline: URLs of packages whose contents were not requested because of --offline.
    """

    channels: Sequence[str]
    limits: Limits
    downloads: Downloads = DOWNLOADS
    unreadable: dict[str, ConversionWarning] = field(default_factory=dict)
    skipped_offline: set[str] = field(default_factory=set)
    _builds: dict[str, list[ChannelBuild]] = field(default_factory=dict)
    _contents: dict[str, PackageContents] = field(default_factory=dict)
    _requested: set[str] = field(default_factory=set)
    _names: list[str] | None = None

    def builds(self, wanted: Iterable[str]) -> Mapping[str, list[ChannelBuild]]:
        """Return all builds of packages by name: of the first channel, newest first, then of the next.

        Raises:
            Failed: network.
        """
        wanted = list(dict.fromkeys(wanted))
        new = [name for name in wanted if name not in self._builds]
        self._builds |= {name: [] for name in new}
        if asked := [name for name in new if _NAME.fullmatch(name)]:
            for channel in self.channels:
                for found in records(channel_url(channel), asked, self.downloads, ", ".join(asked[:3])):
                    self._builds[found.name].append(found)
        return {name: self._builds[name] for name in wanted}

    def package_names(self) -> list[str]:
        """Return the names of all packages that the channels have for emscripten-wasm32, sorted. Raises `Failed` (network)."""
        if self._names is None:
            self._names = sorted(
                {name for channel in self.channels for name in package_names(channel_url(channel), self.downloads)}
            )
        return self._names

    def contents(self, builds: Iterable[ChannelBuild]) -> Mapping[str, PackageContents]:
        """Return what packages contain, by URL, without those that could not be read. Raises `Failed` (network, disk)."""
        wanted = list(builds)
        if new := [Build(each.url, each.sha256, each.size) for each in wanted if each.url not in self._requested]:
            result = read_contents(new, self.downloads, self.limits.download)
            self._requested |= {each.url for each in new}
            self._contents |= result.found
            self.unreadable |= result.unreadable
            self.skipped_offline |= result.skipped_offline
        return {each.url: self._contents[each.url] for each in wanted if each.url in self._contents}
