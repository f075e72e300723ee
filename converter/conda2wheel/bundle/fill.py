"""What wheels of a set require and the set has not: from Pyodide, from PyPI, or left to whoever installs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from conda2wheel.bundle.chosen import Shipped
from conda2wheel.bundle.needs import Member, Need, Needs, admits, needs
from conda2wheel.bundle.pypi import FromPyPI, PyPI
from conda2wheel.errors import Failed

ROUNDS = 200  # of asking PyPI for one wheel more


@dataclass(frozen=True)
class Rest:
    """Wheels of PyPI that came along, packages that Pyodide brings, and requirements that are left."""

    pypi: tuple[FromPyPI, ...] = ()
    shipped: tuple[Shipped, ...] = ()
    left: tuple[Need, ...] = ()
    members: tuple[Member, ...] = ()  # of all that the set has in the end


def settle(
    members: Iterable[Member], environment: Mapping[str, str], ships: Mapping[str, str], pypi: PyPI | None, folder: Path
) -> Rest:
    """Satisfy what is missing: a package that Pyodide ships in a version that fits is Pyodide's; the rest comes from `pypi` into
    `folder`, or is left where that is None.

    Raises `Failed`: conflict where two members cannot go together, and what `PyPI.newest` raises.
    """
    there = {each.name: each for each in members}
    brought: dict[str, tuple[FromPyPI, Path]] = {}
    shipped: dict[str, Shipped] = {}
    for _ in range(ROUNDS):
        found = needs(there.values(), environment)
        again = [need for need, member in found.broken if member.name in brought]
        if found.broken and len(again) < len(found.broken):
            raise conflict(found)
        for need in again:  # another member has a bound that was not known when it was brought
            brought.pop(need.name)[1].unlink()
            del there[need.name]
        missing = [*again, *found.missing]
        for need in [need for need in missing if need.name in ships and admits(need.specifier, ships[need.name])]:
            shipped[need.name] = Shipped(need.name, need.name, ships[need.name])
            there[need.name] = Member(need.name, ships[need.name])
            missing.remove(need)
        if pypi is None or not missing:
            return Rest(
                tuple(wheel for wheel, _ in brought.values()),
                tuple(shipped.values()),
                tuple(missing),
                tuple(there.values()),
            )
        for need in missing:
            try:
                wheel, path, requires = pypi.newest(str(need), folder)
            except Failed as error:
                raise Failed(error.code, f"{error.message} ({need.why})", error.hint) from None
            brought[need.name] = (wheel, path)
            there[need.name] = Member(need.name, wheel.version, requires)
    raise Failed("conflict", "what PyPI has does not come to an end that fits", "give bounds in the specs")


def conflict(found: Needs) -> Failed:
    """What does not go together, in the words of METADATA."""
    lines = [f"{need.why}, and the set has {member.name} {member.version}" for need, member in found.broken]
    return Failed("conflict", "; ".join(lines), "loosen a spec, or give bounds that fit all of them")


def bounds(found: Needs, conda_names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """METADATA's bounds on members that do not fit, as match specs for the solver, each with who has it; for members that no
    channel has, none."""
    return {
        f"{name} {','.join(map(_conda, need.specifier))}": need.why
        for need, member in found.broken
        for name in conda_names.get(member.name, ())
    }


def _conda(specifier: object) -> str:
    """One clause of PEP 440 as conda writes it: `===` is conda's `==`, the others are alike."""
    return str(next(iter(SpecifierSet(str(specifier))))).replace("===", "==")
