"""Find the distributions that the wheels of an index require, but that are neither in the index nor in a Pyodide's lock file.

PyPI is not searched: the installer searches it, and a pure Python wheel from there works. So each missing distribution is
reported with what is known of it in the channel. Requirements are evaluated with the markers of that Pyodide, without extras.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from conda2wheel.conda.names import pypi_name
from conda2wheel.files.pypa import parse_requirement, parse_specifiers
from conda2wheel.mirror.state.model import MirrorWheel
from conda2wheel.pyodide.lock import Runtime

# What is known of a missing distribution, the most informative first.
KINDS: dict[str, str] = {
    "unreadable": "a requirement that no installer can read",
    "address": "required by a URL, which was not requested",
    "version": "here or in Pyodide, but in no version that fits",
    "platform": "here, but for another platform or Python only",
    "refused": "in the channel, but refused",
    "failed": "in the channel, but its conversion failed",
    "pending": "in the channel, but not tried yet",
    "elsewhere": "neither in the channel nor in Pyodide; PyPI may have it, as pure Python",
}


@dataclass(frozen=True)
class MissingDistribution:
    """A required distribution that some Pyodide versions do not find here.

    Attributes:
        pyodide: these Pyodide versions.
        kind: one of `KINDS`.
        code: why the channel's own package has no wheel.
        available: the versions that do not fit.
        required_by: pairs (file name, requirement).
    """

    name: str
    kind: str
    pyodide: tuple[str, ...]
    required_by: tuple[tuple[str, str], ...]
    available: tuple[str, ...] = ()
    code: str | None = None

    def json(self) -> dict[str, Any]:
        """Return `{"name", "kind", "code", "there", "pyodide", "wanted": [{"wheel", "requirement"}]}`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "code": self.code,
            "there": list(self.available),
            "pyodide": list(self.pyodide),
            "wanted": [{"wheel": wheel, "requirement": line} for wheel, line in self.required_by],
        }


@dataclass(frozen=True)
class _Gap:
    name: str
    kind: str
    available: tuple[str, ...] = ()
    code: str | None = None


def missing(
    wheels: Iterable[MirrorWheel], without_wheels: Mapping[str, tuple[str, str | None]], runtimes: Iterable[Runtime]
) -> tuple[tuple[MissingDistribution, ...], int]:
    """Find the missing distributions.

    Args:
        wheels: the wheels of the index.
        without_wheels: the channel's packages without a wheel, from `without_wheel`.
        runtimes: the Pyodides for which requirements are evaluated.

    Returns:
        The missing distributions, those that most wheels require first; and the number of wheels that fit no runtime.
    """
    wheels = tuple(wheels)
    in_index: dict[str, list[MirrorWheel]] = defaultdict(list)
    for wheel in wheels:
        in_index[wheel.project].append(wheel)
    judged: set[str] = set()
    requirers: dict[_Gap, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for runtime in runtimes:
        fitting = {wheel.filename: wheel for wheel in wheels if _fits(wheel, runtime)}
        judged |= fitting.keys()
        gaps: dict[str, _Gap | None] = {}
        for wheel in fitting.values():
            for line in wheel.requires:
                if line not in gaps:
                    gaps[line] = _find_gap(line, in_index, fitting, without_wheels, runtime)
                if (gap := gaps[line]) is not None:
                    requirers[gap][runtime.version].append((wheel.filename, line))
    found = [_missing_distribution(gap, by_runtime) for gap, by_runtime in requirers.items()]
    return (
        tuple(sorted(found, key=lambda each: (-len(each.required_by), each.name, each.kind, each.available))),
        sum(wheel.filename not in judged for wheel in wheels),
    )


def without_wheel(packages: Iterable[tuple[str, str, str | None]]) -> dict[str, tuple[str, str | None]]:
    """Index packages without a wheel, given as (conda name, status, code), by their PyPI name.

    Of several builds the last counts. C libraries have no PyPI name and are left out.
    """
    return {canonicalize_name(name): (status, code) for conda, status, code in packages if (name := pypi_name(conda)) is not None}


def _missing_distribution(gap: _Gap, by_runtime: Mapping[str, list[tuple[str, str]]]) -> MissingDistribution:
    pairs = sorted({pair for pairs in by_runtime.values() for pair in pairs})
    return MissingDistribution(gap.name, gap.kind, tuple(by_runtime), tuple(pairs), gap.available, gap.code)


def _find_gap(
    line: str,
    in_index: Mapping[str, list[MirrorWheel]],
    fitting: Mapping[str, MirrorWheel],
    without_wheels: Mapping[str, tuple[str, str | None]],
    runtime: Runtime,
) -> _Gap | None:
    """Why a requirement is not met in a Pyodide; None where it is met, or its marker does not hold."""
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
    own = in_index.get(name, [])
    usable = {wheel.version for wheel in own if wheel.filename in fitting}
    locked = runtime.packages.get(name)
    versions = [*usable, *([locked.version] if locked else [])]
    if any(_contains(requirement.specifier, version) for version in versions):
        return None
    available = (
        *(f"{version} here" for version in sorted(usable, key=Version)),
        *([f"{locked.version} in Pyodide"] if locked else []),
    )
    if available:
        return _Gap(name, "version", available)
    if own:
        return _Gap(name, "platform", tuple(sorted({wheel.platform for wheel in own})))
    if name in without_wheels:
        status, code = without_wheels[name]
        return _Gap(name, status, code=code)
    return _Gap(name, "elsewhere")


@lru_cache(maxsize=65536)
def _requirement(line: str) -> Requirement | None:
    return parse_requirement(line)


def _contains(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _fits(wheel: MirrorWheel, runtime: Runtime) -> bool:
    """Whether an installer in that Pyodide accepts the wheel."""
    try:
        tags = parse_wheel_filename(wheel.filename)[3]
    except (InvalidWheelFilename, InvalidVersion):
        return False
    if not tags & runtime.tags.keys():
        return False
    bounds = parse_specifiers(wheel.requires_python or "")
    return bounds is None or bounds.contains(runtime.python, prereleases=True)  # pip ignores an invalid Requires-Python, too
