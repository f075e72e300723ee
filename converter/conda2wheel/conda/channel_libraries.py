"""Packages of a channel that may bring a NEEDED library: what the package itself depends on, then what is called like it.

No repodata says which files a package has. A library is nearly always in something that its user depends on, or in a package that
has its name (`libhdf5.so` in hdf5 or libhdf5); only those are downloaded and looked into, the likeliest first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conda2wheel.outcome import Failed

from .channel import Found, builds
from .downloads import DOWNLOADS, Downloads
from .evidence import claims
from .files import Limits
from .info import CondaPackage
from .source import open_package

if TYPE_CHECKING:
    from conda2wheel.abi.platforms import Platform
    from conda2wheel.libdirs import Subject

BUILDS = 3  # of one package that are looked into


@dataclass
class ChannelLibraries:
    """Channels to look in, by name or URL; and what was looked at so far."""

    channels: Sequence[str]
    limits: Limits
    downloads: Downloads = DOWNLOADS
    builds: dict[str, list[Found]] = field(default_factory=dict)  # by spec; none: no channel has it
    opened: dict[str, CondaPackage] = field(default_factory=dict)  # by URL

    def candidates(self, needed: str, package: Subject, platform: Platform) -> Iterator[CondaPackage]:
        """The packages that may have a library of this file name for `package`, the likeliest first, of each the newest builds
        for the platform; each is downloaded when it is asked for.

        Raises `Failed` and `Refused` as `builds` and `open_package` do, but for what no channel has.
        """
        seen: set[str] = set()
        for spec in (*_depends(needed, package), *_namesakes(needed)):
            name = _name(spec)
            if name in seen:
                continue
            seen.add(name)
            for build in [each for each in self._builds(spec) if _fits(each, platform)][:BUILDS]:
                if build.url not in self.opened:
                    where = f"{build.url}#sha256={build.sha256}" if build.sha256 else build.url
                    self.opened[build.url] = open_package(where, self.limits, self.downloads)
                yield self.opened[build.url]

    def _builds(self, spec: str) -> list[Found]:
        if spec not in self.builds:
            try:
                self.builds[spec] = builds(spec, self.channels, self.downloads)
            except Failed as error:
                if error.code not in ("not-found", "usage"):
                    raise
                self.builds[spec] = []
        return self.builds[spec]

    def __str__(self) -> str:
        """What was searched, for a message."""
        return f"{', '.join(self.channels)} (looked for {', '.join(self.builds) or 'nothing yet'})"


def _depends(needed: str, package: Subject) -> list[str]:
    """The specs of `package` that are no markers, those that are called like the library first."""
    from conda2wheel.wheel.names import is_marker

    likely = set(_namesakes(needed))
    specs = [spec for spec in package.depends if not is_marker(_name(spec))]
    return sorted(specs, key=lambda spec: _name(spec) not in likely)


def _namesakes(needed: str) -> tuple[str, ...]:
    """`libhdf5_hl.so.310` may be in libhdf5_hl, hdf5_hl, libhdf5, hdf5; `libz.so.1` in libz and zlib."""
    stem = needed.rpartition("/")[2].partition(".so")[0].lower()
    plain = stem.removeprefix("lib")
    first = re.split(r"[_-]", plain)[0]
    return tuple(dict.fromkeys([stem, plain, f"{plain}lib", f"lib{first}", first]))


def _fits(build: Found, platform: Platform) -> bool:
    """Whether a build may have a library for the platform, by its repodata: no package of Python code, none for no particular
    system, none for another Emscripten."""
    if "/noarch/" in build.url or {"python", "python_abi"} & set(map(_name, build.depends)):
        return False
    told = CondaPackage(build.url, (), {"name": build.name, "version": build.version, "depends": list(build.depends)})
    return all(claim.level != "package" or platform.emscripten in claim.emscriptens for claim in claims(told))


def _name(spec: str) -> str:
    words = spec.rpartition("::")[2].split()
    return re.split(r"[<>=!~\[]", words[0])[0].lower() if words else ""
