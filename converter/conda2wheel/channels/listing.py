"""What channels have: builds by name, and what these have inside; each asked for once, for all packages of one call."""

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
    """Channels, by name or URL, the preferred first; and what is known of them so far. For one thread."""

    channels: Sequence[str]
    limits: Limits
    downloads: Downloads = DOWNLOADS
    broken: dict[str, ConversionWarning] = field(default_factory=dict)  # by URL: what could not be looked into, and why
    unasked: set[str] = field(default_factory=set)  # URLs of what would have been looked into, were it not for --offline
    _builds: dict[str, list[ChannelBuild]] = field(default_factory=dict)
    _inside: dict[str, PackageContents] = field(default_factory=dict)
    _looked: set[str] = field(default_factory=set)
    _names: list[str] | None = None

    def builds(self, wanted: Iterable[str]) -> Mapping[str, list[ChannelBuild]]:
        """All builds of packages by name: those of the first channel, newest first, then those of the next. Raises `Failed`
        (network)."""
        wanted = list(dict.fromkeys(wanted))
        new = [name for name in wanted if name not in self._builds]
        self._builds |= {name: [] for name in new}
        if asked := [name for name in new if _NAME.fullmatch(name)]:
            for channel in self.channels:
                for found in records(channel_url(channel), asked, self.downloads, ", ".join(asked[:3])):
                    self._builds[found.name].append(found)
        return {name: self._builds[name] for name in wanted}

    def package_names(self) -> list[str]:
        """The names of all that the channels have for emscripten-wasm32, sorted. Raises `Failed` (network)."""
        if self._names is None:
            self._names = sorted(
                {name for channel in self.channels for name in package_names(channel_url(channel), self.downloads)}
            )
        return self._names

    def inside(self, builds: Iterable[ChannelBuild]) -> Mapping[str, PackageContents]:
        """What packages have inside, by URL, without those that could not be looked into. Raises `Failed` (network, disk)."""
        wanted = list(builds)
        if new := [Build(each.url, each.sha256, each.size) for each in wanted if each.url not in self._looked]:
            looked = read_contents(new, self.downloads, self.limits.download)
            self._looked |= {each.url for each in new}
            self._inside |= looked.found
            self.broken |= looked.broken
            self.unasked |= looked.unasked
        return {each.url: self._inside[each.url] for each in wanted if each.url in self._inside}
