"""Choose the wheels to install with a wheel: its requirements, found among other wheels and Pyodide's own packages.

Requires-Dist is evaluated for the Pyodide of the check. This is no resolver: the best version is taken where a requirement first
occurs, and a later requirement that it does not satisfy is a warning. A set that `bundle` resolved has no such conflict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from conda2wheel.errors import Failed
from conda2wheel.files.pypa import applies, parse_requirement, parse_specifiers
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.wheelfile import WheelFile, requirements_of, wheel_file
from conda2wheel.results import ConversionWarning

Pool = dict[NormalizedName, list[WheelFile]]


@dataclass(frozen=True)
class InstallPlan:
    """What is installed for one wheel: `names` of Pyodide's own packages, then `wheels`, requirements before requirers."""

    names: tuple[str, ...]
    wheels: tuple[WheelFile, ...]
    warnings: tuple[ConversionWarning, ...]


def wheels_by_name(find_links: Iterable[Path], given: Iterable[WheelFile]) -> Pool:
    """The wheels in some folders (not below them; a path may also be a wheel itself), and those given, by name.

    Raises `Failed("not-found")` for a folder that is not there. Files with no wheel's name are passed over.
    """
    pool: Pool = {}
    for wheel in given:
        pool.setdefault(wheel.name, []).append(wheel)
    for path in find_links:
        if path.is_dir():
            files = sorted(path.glob("*.whl"))
        elif path.is_file():
            files = [path]
        else:
            raise Failed("not-found", f"{path}: there is no such folder to find wheels in")
        for file in files:
            try:
                wheel = wheel_file(file)
            except ValueError:
                continue
            pool.setdefault(wheel.name, []).append(wheel)
    return pool


def plan_installation(wheel: WheelFile, pool: Pool, runtime: Runtime) -> InstallPlan:
    """Find what `wheel` needs in `runtime`, recursively. What is missing becomes a warning, not an error."""
    walk = _Walk(pool, runtime)
    walk.chosen[wheel.name] = wheel
    walk.enter(wheel, frozenset())
    if not wheel.tags & runtime.tags.keys():
        tags = ", ".join(sorted(str(tag) for tag in wheel.tags))
        message = f"{tags} does not fit Pyodide {runtime.version} ({runtime.platform}, Python {runtime.python_version})"
        walk.warn("tag-mismatch", message, wheel)
    python = requirements_of(wheel).python
    if not fits_python(python, runtime.python):
        walk.warn("requires-python", f"Requires-Python {python} does not admit Python {runtime.python}", wheel)
    return InstallPlan(tuple(walk.names), tuple(walk.order), tuple(walk.warnings))


def fits_python(specifier: str | None, python: str) -> bool:
    """Whether Requires-Python (None: there is none) admits a Python such as `3.13.2`."""
    bounds = parse_specifiers(specifier or "")
    return bounds is None or bounds.contains(python, prereleases=True)  # pip ignores an invalid one too


def holds(requirement: Requirement, extras: Collection[str], runtime: Runtime) -> bool:
    """Whether a requirement applies in this Pyodide, for a project that is required with these extras."""
    return any(applies(requirement, runtime.markers, extra) for extra in extras or {""})


@dataclass
class _Walk:
    """A depth-first walk: a wheel is put in order after what it requires; a cycle ends at what is already chosen."""

    pool: Pool
    runtime: Runtime
    chosen: dict[NormalizedName, WheelFile] = field(default_factory=dict)
    order: list[WheelFile] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    warnings: list[ConversionWarning] = field(default_factory=list)
    seen: set[tuple[NormalizedName, frozenset[str]]] = field(default_factory=set)

    def warn(self, code: str, message: str, wheel: WheelFile) -> None:
        warning = ConversionWarning(code, message, wheel.path.name)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def enter(self, wheel: WheelFile, extras: frozenset[str]) -> None:
        if (wheel.name, extras) in self.seen:
            return
        self.seen.add((wheel.name, extras))
        for line in requirements_of(wheel).requires:
            requirement = parse_requirement(line)
            if requirement is None:
                self.warn("bad-requirement", f"{line[:200]}: no requirement of PEP 508", wheel)
                continue
            if holds(requirement, extras, self.runtime):
                self.require(requirement, wheel)
        if wheel not in self.order:
            self.order.append(wheel)

    def require(self, requirement: Requirement, wheel: WheelFile) -> None:
        name = canonicalize_name(requirement.name)
        extras = frozenset(canonicalize_name(extra) for extra in requirement.extras)
        if chosen := self.chosen.get(name):
            if not requirement.specifier.contains(chosen.version, prereleases=True):
                self.warn("conflict", f"{requirement} is required, {chosen.path.name} is there", wheel)
            self.enter(chosen, extras)
        elif best := self.best(name, requirement.specifier):
            self.chosen[name] = best
            self.enter(best, extras)
        elif self.pyodide_has(name, requirement.specifier):
            if name not in self.names:
                self.names.append(name)
        else:
            there = [other.path.name for other in self.pool.get(name, ())]
            if locked := self.runtime.packages.get(name):
                there.append(f"Pyodide's own {locked.version}")
            also = f" (there is only {', '.join(there)}, which does not fit Pyodide {self.runtime.version})" if there else ""
            self.warn("missing-requirement", f"{requirement}{also}", wheel)

    def best(self, name: NormalizedName, specifier: SpecifierSet) -> WheelFile | None:
        """The newest version that fits, then the best tag, then the highest build; final releases before others (PEP 440)."""
        fitting = [wheel for wheel in self.pool.get(name, ()) if wheel.tags & self.runtime.tags.keys()]
        versions: Sequence[Version] = list(specifier.filter({wheel.version for wheel in fitting}))
        if not versions:
            return None
        newest = [wheel for wheel in fitting if wheel.version == max(versions)]
        tags = self.runtime.tags
        return min(newest, key=lambda wheel: (min(tags[tag] for tag in wheel.tags if tag in tags), _highest(wheel)))

    def pyodide_has(self, name: NormalizedName, specifier: SpecifierSet) -> bool:
        locked = self.runtime.packages.get(name)
        if locked is None:
            return False
        try:
            return specifier.contains(locked.version, prereleases=True)
        except InvalidVersion:
            return False


def _highest(wheel: WheelFile) -> tuple[int, str]:
    return (-wheel.build[0], wheel.build[1]) if wheel.build else (0, "")
