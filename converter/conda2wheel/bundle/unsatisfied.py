"""What a bundle was asked for and does not have: a metapackage whose parts no channel has, a library that nothing uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from packaging.utils import canonicalize_name

from conda2wheel.bundle.packages import INTERPRETER, ChosenPackage, SolvedBundle
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import is_marker, map_name
from conda2wheel.errors import Refused
from conda2wheel.results import Converted


@dataclass(frozen=True)
class UnsatisfiedRequest:
    """A requested package without a wheel in the bundle: its conda name, the code of the refusal, and the reason."""

    name: str
    code: str
    message: str

    def json(self) -> dict[str, Any]:
        """Return `{"name", "code", "message"}`."""
        return asdict(self)


@dataclass
class RequestCheck:
    """Compares what was requested with the wheels of a bundle.

    Attributes:
        solved: the solver's answer.
        wheels: the wheels that were converted, with the URL of the package of each.
        projects: the normalised names of all distributions of the bundle.
        refused: why packages have no wheel, by URL.
    """

    solved: SolvedBundle
    wheels: Sequence[tuple[str, Converted]]
    projects: frozenset[str]
    refused: Mapping[str, Refused]
    _chosen: dict[str, ChosenPackage] = field(init=False)

    def __post_init__(self) -> None:
        self._chosen = {each.name: each for each in self.solved.chosen}

    def unsatisfied(self) -> tuple[UnsatisfiedRequest, ...]:
        """Return the requested packages that have no wheel, directly or through another one."""
        found: list[UnsatisfiedRequest] = []
        for name in sorted(self.solved.requested):
            if name in self._chosen and (reason := self._reason(self._chosen[name], set())) is not None:
                found.append(UnsatisfiedRequest(name, *reason))
        return tuple(found)

    def _reason(self, package: ChosenPackage, seen: set[str]) -> tuple[str, str] | None:
        """The code and the reason why nothing of a package is in the bundle; None if something is."""
        project = map_name(package.name).pypi
        has_wheel = any(url == package.url for url, _ in self.wheels)
        if has_wheel or package.name in seen or (project is not None and canonicalize_name(project) in self.projects):
            return None
        seen.add(package.name)
        refused = self.refused.get(package.url)
        if refused is not None and refused.code == "metapackage":
            return self._metapackage(package, refused, seen)
        if any(library.source.startswith(f"{package.stem}:") for _, wheel in self.wheels for library in wheel.vendored):
            return None
        if refused is not None:
            return refused.code, f"{package.stem}: {refused.message.partition(': ')[2]}"
        if package.is_noarch:
            return None  # nothing asked for its wheel
        return "not-python", f"{package.stem}: is a library, and no wheel of the set uses it"

    def _metapackage(self, package: ChosenPackage, refused: Refused, seen: set[str]) -> tuple[str, str] | None:
        """Why a metapackage stands for nothing in the bundle: one of its dependencies is not there, or it has none."""
        absent = {each.name for each in self.solved.absent}
        names = [spec_name(spec) for spec in package.depends]
        parts = [name for name in names if name not in INTERPRETER and not is_marker(name)]
        if missing := [name for name in parts if name in absent]:
            return (
                "metapackage",
                f"{package.stem}: is a metapackage, and no channel has {', '.join(missing)}, on which it depends",
            )
        for name in parts:
            if name in self._chosen and (reason := self._reason(self._chosen[name], seen)) is not None:
                return reason
        return None if parts else (refused.code, f"{package.stem}: {refused.message.partition(': ')[2]}")


def nothing_to_write(unsatisfied: Iterable[UnsatisfiedRequest], requested: Iterable[str]) -> Refused:
    """Return the error for a bundle that would be empty."""
    found = list(unsatisfied)
    if not found:
        asked = ", ".join(sorted(requested)) or "what was given"
        return Refused("interpreter", f"{asked}: Pyodide has it itself, and there is nothing to convert", "name a package for it")
    more = f" (and {len(found) - 1} more without a wheel)" if len(found) > 1 else ""
    return Refused(
        found[0].code, f"no wheel for {found[0].name}: {found[0].message}{more}", "add a --channel that has what it needs"
    )
