"""What is missing: distributions that the wheels of an index require, and that nobody has who was asked.

Asked are the index itself, the channel that it was made of, and the lock file of a Pyodide. PyPI is not: what it has is known to
whoever installs, and a wheel of pure Python from there will do. So each missing distribution is told with what is known of it.
Requirements count as their markers hold in that Pyodide, without extras.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from conda2wheel.conda.names import pypi_name
from conda2wheel.mirror.state.model import MirrorWheel
from conda2wheel.pyodide.lock import Runtime

# What is known of a missing distribution, the word first that says most.
KINDS: dict[str, str] = {
    "unreadable": "a requirement that no installer can read",
    "address": "required by its address, which was not asked",
    "version": "here or in Pyodide, in no version that fits",
    "platform": "here, for another platform or Python only",
    "refused": "in the channel, and refused",
    "failed": "in the channel, and its conversion failed",
    "pending": "in the channel, and not tried yet",
    "elsewhere": "neither in the channel nor in Pyodide; PyPI may have it, as pure Python",
}


@dataclass(frozen=True)
class MissingDistribution:
    """A distribution that `pyodide` (versions) will not find here. `kind` is one of `KINDS`; `code` is why the channel's own
    package gave no wheel; `there` are the versions that do not fit; `wanted` are (file name, requirement) of who requires it."""

    name: str
    kind: str
    pyodide: tuple[str, ...]
    wanted: tuple[tuple[str, str], ...]
    there: tuple[str, ...] = ()
    code: str | None = None

    def json(self) -> dict[str, Any]:
        """`{"name", "kind", "code", "there", "pyodide", "wanted": [{"wheel", "requirement"}]}`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "code": self.code,
            "there": list(self.there),
            "pyodide": list(self.pyodide),
            "wanted": [{"wheel": wheel, "requirement": line} for wheel, line in self.wanted],
        }


@dataclass(frozen=True)
class _Gap:
    name: str
    kind: str
    there: tuple[str, ...] = ()
    code: str | None = None


def missing(
    wheels: Iterable[MirrorWheel], wheelless: Mapping[str, tuple[str, str | None]], runtimes: Iterable[Runtime]
) -> tuple[tuple[MissingDistribution, ...], int]:
    """What the wheels require and who was asked has not, most wanted first; and how many wheels fit none of the `runtimes`, so
    that nothing is said of them. `wheelless` has the channel's packages without a wheel, as `without_wheel` gives them."""
    wheels = tuple(wheels)
    here: dict[str, list[MirrorWheel]] = defaultdict(list)
    for wheel in wheels:
        here[wheel.project].append(wheel)
    judged: set[str] = set()
    wanted: dict[_Gap, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for runtime in runtimes:
        fitting = {wheel.filename: wheel for wheel in wheels if _fits(wheel, runtime)}
        judged |= fitting.keys()
        asked: dict[str, _Gap | None] = {}
        for wheel in fitting.values():
            for line in wheel.requires:
                if line not in asked:
                    asked[line] = _gap(line, here, fitting, wheelless, runtime)
                if (gap := asked[line]) is not None:
                    wanted[gap][runtime.version].append((wheel.filename, line))
    found = [_told(gap, wanters) for gap, wanters in wanted.items()]
    return (
        tuple(sorted(found, key=lambda each: (-len(each.wanted), each.name, each.kind, each.there))),
        sum(wheel.filename not in judged for wheel in wheels),
    )


def without_wheel(packages: Iterable[tuple[str, str, str | None]]) -> dict[str, tuple[str, str | None]]:
    """(conda name, status, code) of packages that gave no wheel, by the name that they have on PyPI; where builds differ, the
    last one given. C libraries have no name there and are left out."""
    return {canonicalize_name(name): (status, code) for conda, status, code in packages if (name := pypi_name(conda)) is not None}


def _told(gap: _Gap, wanters: Mapping[str, list[tuple[str, str]]]) -> MissingDistribution:
    pairs = sorted({pair for pairs in wanters.values() for pair in pairs})
    return MissingDistribution(gap.name, gap.kind, tuple(wanters), tuple(pairs), gap.there, gap.code)


def _gap(
    line: str,
    here: Mapping[str, list[MirrorWheel]],
    fitting: Mapping[str, MirrorWheel],
    wheelless: Mapping[str, tuple[str, str | None]],
    runtime: Runtime,
) -> _Gap | None:
    """What stands between a requirement and its fulfilment; None where nothing does, or where it does not hold there."""
    requirement = _requirement(line)
    try:
        if requirement is None:
            return _Gap(line, "unreadable")
        if requirement.marker is not None and not requirement.marker.evaluate({**runtime.markers, "extra": ""}):
            return None
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion):
        return _Gap(line, "unreadable")
    name = canonicalize_name(requirement.name)
    if requirement.url:
        return _Gap(name, "address")
    own = here.get(name, [])
    usable = {wheel.version for wheel in own if wheel.filename in fitting}
    locked = runtime.packages.get(name)
    versions = [*usable, *([locked.version] if locked else [])]
    if any(_contains(requirement.specifier, version) for version in versions):
        return None
    there = (
        *(f"{version} here" for version in sorted(usable, key=Version)),
        *([f"{locked.version} in Pyodide"] if locked else []),
    )
    if there:
        return _Gap(name, "version", there)
    if own:
        return _Gap(name, "platform", tuple(sorted({wheel.platform for wheel in own})))
    if name in wheelless:
        status, code = wheelless[name]
        return _Gap(name, status, code=code)
    return _Gap(name, "elsewhere")


@lru_cache(maxsize=65536)
def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _contains(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _fits(wheel: MirrorWheel, runtime: Runtime) -> bool:
    """Whether an installer in that Pyodide would take the wheel at all."""
    try:
        tags = parse_wheel_filename(wheel.filename)[3]
    except (InvalidWheelFilename, InvalidVersion):
        return False
    if not tags & runtime.tags.keys():
        return False
    try:
        return SpecifierSet(wheel.requires_python or "").contains(runtime.python, prereleases=True)
    except InvalidSpecifier:
        return True  # pip ignores it too
