"""The target of a bundle: a platform, and the Pyodide whose own packages the bundle may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from conda2wheel.abi.platforms import Platform, for_emscripten, parse, platforms, toolchains, unknown, whole_version
from conda2wheel.channels.repodata import channel_url
from conda2wheel.conda.abi_evidence import channel_name
from conda2wheel.errors import Failed

if TYPE_CHECKING:
    from conda2wheel.pyodide.lock import Runtime


@dataclass(frozen=True)
class BundleTarget:
    """What a bundle is built for.

    Attributes:
        platform: the platform.
        runtime: the Pyodide distribution of version `pyodide`; without one, the newest Pyodide of the platform, without packages.
        pyodide: the version of the Pyodide distribution whose packages are used; None if the bundle uses none of them.
    """

    platform: Platform
    runtime: Runtime
    pyodide: str | None = None

    @property
    def shipped_versions(self) -> Mapping[str, str]:
        """The packages of the Pyodide distribution: version by normalised PyPI name."""
        return {name: each.version for name, each in self.runtime.packages.items() if _is_version(each.version)}

    @property
    def environment(self) -> Mapping[str, str]:
        """The values of PEP 508's marker variables."""
        return self.runtime.markers

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags that wheels may have: the platform's own, then its older names."""
        return (self.platform.tag, *self.platform.alias_tags)


def choose_platform(text: str, channels: Iterable[str]) -> Platform:
    """Return the platform of a bundle.

    Args:
        text: a platform tag or a Pyodide version; or "auto" for the platform that the channels are built for: by their names,
            else the newest one that emscripten-forge has a toolchain for and a released Pyodide runs.
        channels: names, URLs or folders.

    Raises:
        Failed: usage (an unknown platform, or channels that are built for several).
    """
    if text != "auto":
        row = parse(text)
        if row is None:
            raise Failed("usage", *unknown(text))
        return row
    names = {channel_name(channel_url(channel)) for channel in channels}
    built = [each for each in toolchains() if names & set(each.channels)]
    rows = {for_emscripten(each.emscripten).name: for_emscripten(each.emscripten) for each in built or toolchains()}
    runs = [row for row in platforms() if row.name in rows and row.pyodide and not row.prerelease]
    if not runs or (built and len(runs) > 1):
        which = ", ".join(sorted(names))
        tags = ", ".join(row.tag for row in runs) or "no Pyodide runs what they are built for"
        raise Failed("usage", f"the channels {which} do not determine the platform: {tags}", "give --platform")
    return runs[-1]


def choose_target(text: str, channels: Iterable[str], with_pyodide: bool) -> BundleTarget:
    """Return the target of a bundle, and download its Pyodide distribution if `with_pyodide`.

    Args:
        text: as for `choose_platform`.
        channels: as for `choose_platform`.
        with_pyodide: whether the bundle uses packages of the Pyodide distribution.

    Raises:
        Failed: usage, and as the download of Pyodide.
    """
    from conda2wheel.net.cache import cache_folder
    from conda2wheel.pyodide.fetch import pyodide
    from conda2wheel.pyodide.lock import runtime_of_platform

    row = choose_platform(text, channels)
    if not row.pyodide or row.python is None:
        raise Failed(
            "usage", f"no Pyodide is known for {row.tag}, so no packages can be chosen for it", "give another --platform"
        )
    if not with_pyodide:
        return BundleTarget(row, runtime_of_platform(row))
    version = whole_version(text) or max((version for version, _ in row.pyodide), key=Version)
    return BundleTarget(row, pyodide(version, cache_folder()), version)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
