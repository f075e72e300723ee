"""METADATA beside `depends`: where the two sides of one package require different things, and whose bounds hold.

Upstream's METADATA wins: it knows markers and extras, and conda's depends name what the channel needs. But conda knows with what
the binaries were built: numpy's run_exports say from which version on a module's C API is there. `--pins conda` joins conda's
bounds to METADATA's, and requires what only conda does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.conda.names import NO_NAMES, Names
from conda2wheel.options import Pins
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.requirements import from_depends


@dataclass(frozen=True)
class Compared:
    """The Requires-Dist lines that hold, and a warning for each difference, with both texts."""

    requires: tuple[str, ...]
    warnings: tuple[ConversionWarning, ...]


def compare(
    own: Sequence[str],
    depends: Iterable[str],
    environment: Mapping[str, str],
    pins: Pins = "metadata",
    names: Names = NO_NAMES,
) -> Compared:
    """METADATA's own Requires-Dist beside conda's match specs, as they apply in an environment (PEP 508's marker variables);
    `names` as for `from_depends`.

    A bound differs if conda's leaves out a version that METADATA's admits; that it admits more is no difference. Lines that are
    no requirements pass through.
    """
    parsed = [(line, _parsed(line)) for line in own]
    here = {line for line, each in parsed if each is not None and _applies(each, environment)}
    theirs: dict[str, Requirement] = {
        canonicalize_name(each.name): each for each in map(Requirement, from_depends(depends, names).requires)
    }
    ours: dict[str, list[Requirement]] = {}
    for line, each in parsed:
        if each is not None and line in here:
            ours.setdefault(canonicalize_name(each.name), []).append(each)
    elsewhere: dict[str, str] = {
        canonicalize_name(each.name): line for line, each in parsed if each is not None and line not in here
    }
    tighter = {
        name for name in ours.keys() & theirs.keys() if _excludes(theirs[name].specifier, [r.specifier for r in ours[name]])
    }
    warnings = [*_told(ours, theirs, tighter, elsewhere)]
    if pins == "metadata":
        return Compared(tuple(own), tuple(warnings))
    lines = [
        _joined(each, theirs[canonicalize_name(each.name)].specifier)
        if each is not None and line in here and canonicalize_name(each.name) in tighter
        else line
        for line, each in parsed
    ]
    return Compared((*lines, *(str(theirs[name]) for name in sorted(theirs.keys() - ours.keys()))), tuple(warnings))


def _told(
    ours: Mapping[str, Sequence[Requirement]],
    theirs: Mapping[str, Requirement],
    tighter: Iterable[str],
    elsewhere: Mapping[str, str],
) -> Iterable[ConversionWarning]:
    for name in sorted(tighter):
        why = f"METADATA requires {'; '.join(map(str, ours[name]))}, conda {theirs[name]}, which admits less"
        yield ConversionWarning("requirement-differs", why, "METADATA")
    for name in sorted(theirs.keys() - ours.keys()):
        more = f"; METADATA has it as {elsewhere[name]}" if name in elsewhere else ""
        yield ConversionWarning("requirement-differs", f"only conda requires {theirs[name]}{more}", "METADATA")
    for name in sorted(ours.keys() - theirs.keys()):
        yield ConversionWarning("requirement-differs", f"only METADATA requires {'; '.join(map(str, ours[name]))}", "METADATA")


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    """Whether it holds there without any extra."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})


def _excludes(conda: SpecifierSet, own: Iterable[SpecifierSet]) -> bool:
    """Whether conda's bounds leave out something that METADATA's admit."""
    admitted = SpecifierSet()
    for each in own:
        admitted &= each
    return not admitted.to_range().is_subset(conda.to_range())


def _joined(requirement: Requirement, conda: SpecifierSet) -> str:
    joined = Requirement(str(requirement))
    joined.specifier &= conda
    return str(joined)
