"""What the wheels of a set require, as it holds in one Pyodide: what the set has itself, what is missing, what contradicts.

Conda's depends chose the set, and METADATA is what installers follow; the two may differ (facts of each package: `pins`). So what
was chosen by the one is held against the other before anybody installs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Member:
    """A distribution that an installer of the set can have: its normalised name, version, and Requires-Dist lines."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """A project that is required: the joined bounds, the extras, and who requires it in which words."""

    name: str
    specifier: SpecifierSet
    extras: frozenset[str]
    users: tuple[tuple[str, str], ...]  # (name of the member, its line)

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras}{self.specifier}"

    @property
    def why(self) -> str:
        """Who requires it, in their words."""
        return "; ".join(f"{user} requires {line}" for user, line in self.users)


@dataclass(frozen=True)
class Needs:
    """All that is required, transitively: `met` by the members, `missing` from them, and `broken`: a member is there, in a
    version that somebody does not admit."""

    met: tuple[Need, ...] = ()
    missing: tuple[Need, ...] = ()
    broken: tuple[tuple[Need, Member], ...] = ()


@dataclass
class _Gathered:
    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: set[str] = field(default_factory=set)
    users: dict[tuple[str, str], None] = field(default_factory=dict)


def needs(members: Iterable[Member], environment: Mapping[str, str], extras: Mapping[str, Iterable[str]] | None = None) -> Needs:
    """Follow every Requires-Dist of `members` as it holds in `environment` (PEP 508's marker variables).

    `extras` are those that somebody asked for, by member. Lines that are no requirements (installers refuse them) are passed
    over: `convert` told of them.
    """
    there = {each.name: each for each in members}
    found: dict[str, _Gathered] = {}
    queue: list[tuple[str, str]] = [(name, "") for name in sorted(there)]
    queue += [(name, extra) for name, wanted in (extras or {}).items() for extra in sorted(wanted)]
    seen: set[tuple[str, str]] = set()
    while queue:
        name, extra = queue.pop(0)
        if (name, extra) in seen or name not in there:
            continue
        seen.add((name, extra))
        for line in there[name].requires:
            requirement = _parsed(line)
            if requirement is None or not _holds(requirement, environment, extra):
                continue
            other = str(canonicalize_name(requirement.name))
            gathered = found.setdefault(other, _Gathered())
            gathered.specifier &= requirement.specifier
            gathered.extras |= requirement.extras
            gathered.users[name, str(requirement)] = None
            queue += [(other, str(canonicalize_name(each))) for each in sorted(requirement.extras)]
    every = [Need(name, each.specifier, frozenset(each.extras), tuple(each.users)) for name, each in sorted(found.items())]
    return Needs(
        met=tuple(need for need in every if need.name in there and admits(need.specifier, there[need.name].version)),
        missing=tuple(need for need in every if need.name not in there),
        broken=tuple(
            (need, there[need.name])
            for need in every
            if need.name in there and not admits(need.specifier, there[need.name].version)
        ),
    )


def admits(specifier: SpecifierSet, version: str) -> bool:
    """Whether bounds admit a version that is there already: a pre-release, too, as installers take what is installed."""
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _holds(requirement: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    """A line holds for the bare distribution (extra ""), or for the extra alone."""
    if requirement.marker is None:
        return not extra
    bare = requirement.marker.evaluate({**environment, "extra": ""})
    return bare if not extra else not bare and requirement.marker.evaluate({**environment, "extra": extra})
