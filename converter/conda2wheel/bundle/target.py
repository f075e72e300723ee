"""What a set is made for: a platform, and with it the Pyodide whose own packages it may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from conda2wheel.abi.platforms import Platform, for_emscripten, parse, platforms, toolchains, unknown
from conda2wheel.channels.repodata import channel_url
from conda2wheel.conda.abi_evidence import channel_name
from conda2wheel.errors import Failed

if TYPE_CHECKING:
    from conda2wheel.pyodide.lock import Runtime


@dataclass(frozen=True)
class Target:
    """A platform, and its Pyodide: the one whose packages count (`pyodide` is its version), or, where the set shall stand by
    itself (None), the newest as our table knows it, without packages."""

    platform: Platform
    runtime: Runtime
    pyodide: str | None = None

    @property
    def ships(self) -> Mapping[str, str]:
        """What Pyodide brings, version by normalised name."""
        return {name: each.version for name, each in self.runtime.packages.items() if _is_version(each.version)}

    @property
    def environment(self) -> Mapping[str, str]:
        """What PEP 508's markers see there."""
        return self.runtime.markers


def platform_of(asked: str, channels: Iterable[str]) -> Platform:
    """The platform that somebody names (a tag or a Pyodide version), or with "auto" the one that the channels are built for: by
    their names, else the newest that emscripten-forge has a toolchain for and a released Pyodide runs.

    Raises `Failed` (usage).
    """
    if asked != "auto":
        row = parse(asked)
        if row is None:
            raise Failed("usage", unknown(asked), "see conda2wheel bundle -h")
        return row
    named = {channel_name(channel_url(channel)) for channel in channels}
    built = [each for each in toolchains() if named & set(each.channels)]
    rows = {for_emscripten(each.emscripten).name: for_emscripten(each.emscripten) for each in built or toolchains()}
    runs = [row for row in platforms() if row.name in rows and row.pyodide and not row.prerelease]
    if not runs or (built and len(runs) > 1):
        which = ", ".join(sorted(named))
        tags = ", ".join(row.tag for row in runs) or "no Pyodide runs what it was built for"
        raise Failed("usage", f"the platform does not follow from {which}: {tags}", "give --platform")
    return runs[-1]


def target(asked: str, channels: Iterable[str], with_pyodide: bool) -> Target:
    """The target of a set. Raises `Failed`: usage, and where a Pyodide's own packages are asked for, what fetching it raises."""
    from conda2wheel.net.cache import cache_folder
    from conda2wheel.pyodide.fetch import pyodide
    from conda2wheel.pyodide.lock import of_platform
    from conda2wheel.pyodide.node import find_node

    row = platform_of(asked, channels)
    if not row.pyodide or row.python is None:
        raise Failed("usage", f"no Pyodide is known for {row.tag}, so nothing can be chosen for it", "take another --platform")
    if not with_pyodide:
        return Target(row, of_platform(row))
    own = asked if asked != "auto" and _is_version(asked) else None
    version = own or max((version for version, _ in row.pyodide), key=Version)
    return Target(row, pyodide(version, find_node(), cache_folder()), version)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
