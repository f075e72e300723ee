"""What the wheels of a bundle require from each other, from Pyodide and from PyPI.

Conda's depends choose the packages of a bundle, and installers follow METADATA; the two may differ. So Requires-Dist of every
wheel is evaluated for the target Pyodide and compared with the bundle before anything is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.bundle.packages import ShippedPackage
from conda2wheel.bundle.pypi import PyPIDownloader, PyPIWheel
from conda2wheel.errors import Failed
from conda2wheel.files.pypa import applies, parse_pep440, parse_requirement

ROUNDS = 200  # of downloads from PyPI; each adds requirements


@dataclass(frozen=True)
class BundleMember:
    """A distribution of a bundle: its normalised name, version and Requires-Dist lines."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequiredProject:
    """A project that members of a bundle require.

    Attributes:
        name: its normalised name.
        specifier: the version specifiers of all members that require it.
        extras: the extras that they require.
        users: each member that requires it, with its Requires-Dist line.
    """

    name: str
    specifier: SpecifierSet
    extras: frozenset[str]
    users: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras}{self.specifier}"

    @property
    def why(self) -> str:
        """Which members require it, with their lines."""
        return "; ".join(f"{user} requires {line}" for user, line in self.users)

    def admits(self, version: str) -> bool:
        """Whether a version fits the specifiers. A pre-release may fit, since installers accept one that is installed."""
        parsed = parse_pep440(version)
        return parsed is not None and self.specifier.contains(parsed, prereleases=True)


@dataclass(frozen=True)
class RequirementCheck:
    """The projects that members require, transitively.

    Attributes:
        met: projects that the bundle has in an admitted version.
        missing: projects that the bundle does not have.
        conflicts: projects that the bundle has in a version that is not admitted, with that member.
    """

    met: tuple[RequiredProject, ...] = ()
    missing: tuple[RequiredProject, ...] = ()
    conflicts: tuple[tuple[RequiredProject, BundleMember], ...] = ()


@dataclass
class _ProjectLines:
    """All lines that require one project."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: set[str] = field(default_factory=set)
    users: dict[tuple[str, str], None] = field(default_factory=dict)


def check_requirements(members: Iterable[BundleMember], environment: Mapping[str, str]) -> RequirementCheck:
    """Evaluate the Requires-Dist of every member, with the extras that members require.

    Lines that are no valid requirements are skipped, since `convert` warned about them.

    Args:
        members: the distributions of the bundle.
        environment: the values of PEP 508's marker variables.
    """
    by_name = {each.name: each for each in members}
    found: dict[str, _ProjectLines] = {}
    queue: list[tuple[str, str]] = [(name, "") for name in sorted(by_name)]  # member and extra
    seen: set[tuple[str, str]] = set()
    while queue:
        name, extra = queue.pop(0)
        if (name, extra) in seen or name not in by_name:
            continue
        seen.add((name, extra))
        for line in by_name[name].requires:
            requirement = parse_requirement(line)
            if requirement is None or not _applies(requirement, environment, extra):
                continue
            other = str(canonicalize_name(requirement.name))
            lines = found.setdefault(other, _ProjectLines())
            lines.specifier &= requirement.specifier
            lines.extras |= requirement.extras
            lines.users[name, str(requirement)] = None
            queue += [(other, str(canonicalize_name(each))) for each in sorted(requirement.extras)]
    projects = [
        RequiredProject(name, each.specifier, frozenset(each.extras), tuple(each.users)) for name, each in sorted(found.items())
    ]
    present = [(each, by_name[each.name]) for each in projects if each.name in by_name]
    return RequirementCheck(
        met=tuple(project for project, member in present if project.admits(member.version)),
        missing=tuple(each for each in projects if each.name not in by_name),
        conflicts=tuple((project, member) for project, member in present if not project.admits(member.version)),
    )


def _applies(requirement: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    """Whether a requirement applies without any extra (`extra` is ""), or only because of the extra `extra`."""
    bare = applies(requirement, environment)
    return bare if not extra else not bare and applies(requirement, environment, extra)


@dataclass(frozen=True)
class CompletedRequirements:
    """How the missing projects of a bundle are satisfied.

    Attributes:
        pypi: wheels that were downloaded from PyPI.
        shipped: packages of the Pyodide distribution.
        external: projects that an installer must find elsewhere.
        members: every distribution of the bundle, those of PyPI and Pyodide included.
    """

    pypi: tuple[PyPIWheel, ...] = ()
    shipped: tuple[ShippedPackage, ...] = ()
    external: tuple[RequiredProject, ...] = ()
    members: tuple[BundleMember, ...] = ()


def complete_requirements(
    members: Iterable[BundleMember],
    environment: Mapping[str, str],
    shipped_versions: Mapping[str, str],
    pypi: PyPIDownloader,
    folder: Path,
    wanted: Callable[[str], bool] = lambda _: True,
) -> CompletedRequirements:
    """Satisfy the missing projects: with Pyodide's package where its version is admitted, else with a wheel of PyPI.

    Args:
        members: the converted wheels.
        environment: the values of PEP 508's marker variables.
        shipped_versions: the packages of the Pyodide distribution, version by normalised name.
        pypi: where wheels are downloaded from.
        folder: where downloaded wheels are written.
        wanted: whether a project is downloaded, by its normalised name; the others are left to the installer.

    Raises:
        Failed: conflict (the requirements contradict each other), and as `PyPIDownloader.newest`.
    """
    by_name = {each.name: each for each in members}
    downloaded: dict[str, tuple[PyPIWheel, Path]] = {}
    shipped: dict[str, ShippedPackage] = {}
    for _ in range(ROUNDS):
        found = check_requirements(by_name.values(), environment)
        outdated = [project for project, member in found.conflicts if member.name in downloaded]
        if len(outdated) < len(found.conflicts):
            raise conflict(found)
        for each in outdated:  # a member that came later has a limit that was unknown when the wheel was downloaded
            downloaded.pop(each.name)[1].unlink()
            del by_name[each.name]
        missing = []
        for each in (*outdated, *found.missing):
            version = shipped_versions.get(each.name)
            if version is not None and each.admits(version):
                shipped[each.name] = ShippedPackage(each.name, each.name, version)
                by_name[each.name] = BundleMember(each.name, version)
            else:
                missing.append(each)
        downloads = [each for each in missing if wanted(each.name)]
        if not downloads:
            return CompletedRequirements(
                tuple(wheel for wheel, _ in downloaded.values()),
                tuple(shipped.values()),
                tuple(missing),
                tuple(by_name.values()),
            )
        for each in downloads:
            try:
                wheel, path, requires = pypi.newest(str(each), folder)
            except Failed as error:
                raise Failed(error.code, f"{error.message} ({each.why})", error.hint) from None
            downloaded[each.name] = (wheel, path)
            by_name[each.name] = BundleMember(each.name, wheel.version, requires)
    raise Failed(
        "conflict", f"no wheels of PyPI fit together after {ROUNDS} rounds of downloads", "give version limits in the specs"
    )


def conflict(found: RequirementCheck) -> Failed:
    """Return the error for a bundle whose wheels do not admit each other's versions."""
    lines = [f"{project.why}, and the bundle has {member.name} {member.version}" for project, member in found.conflicts]
    return Failed("conflict", "; ".join(lines), "loosen a spec, or give version limits that fit all of them")


def solver_constraints(found: RequirementCheck, conda_names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Translate METADATA's limits on the conflicting members into match specs for the solver.

    Args:
        found: the requirements of a bundle.
        conda_names: the conda packages of each project, by normalised name. Projects that no channel has are not in it.

    Returns:
        The match specs, each with the reason.
    """
    return {
        f"{name} {conda_clauses(project.specifier)}": project.why
        for project, member in found.conflicts
        for name in conda_names.get(member.name, ())
    }


def conda_clauses(specifiers: SpecifierSet) -> str:
    """Translate version specifiers of PEP 440 into the version part of a match spec."""
    return ",".join(sorted(map(_conda_clause, specifiers)))


def _conda_clause(specifier: object) -> str:
    """Translate one clause of PEP 440: `===` is `==` in conda, `==2.*` is `2.*`; the other operators are the same."""
    clause = str(next(iter(SpecifierSet(str(specifier))))).replace("===", "==")
    return clause.removeprefix("==") if clause.endswith(".*") else clause
