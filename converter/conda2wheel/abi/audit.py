"""Would it run there? Every import of every module of a wheel, judged against one Pyodide, without running anything.

The rules are those of Emscripten's loader (libdylink.js) in the versions that Pyodide ships, each measured in the real
thing (tests/runtime/test_signals.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .findings import Finding, Severity


@dataclass(frozen=True, eq=False)
class Unit:
    """One wheel, package or loose module to be judged.

    `name` is what a person recognises it by, such as a wheel's file name. `modules` are the bytes of every file named like
    a shared object (`*.so`, `*.so.N`), by path below site-packages. `distribution` is a wheel file name's part before the
    first `-`: loaders before Pyodide 0.28 look for libraries in `<distribution>.libs`. `abi3` is the version that a wheel's
    abi3 tag claims, such as `cp312`.
    """

    name: str
    modules: Mapping[str, bytes]
    distribution: str = ""
    abi3: str | None = None


def audit_units(units: Sequence[Unit], pyodide: str, beside: Sequence[Unit] = ()) -> dict[str, tuple[Finding, ...]]:
    """The findings about each of `units` by its name, worst first, for the Pyodide version `pyodide`.

    All units and `beside`, which are not judged themselves, are taken to be installed in one site-packages: what they
    bring counts. Raises `ValueError` for a Pyodide of which no symbols are known.
    """
    return {unit.name: () for unit in units}  # helper B: being written; keep convert() usable meanwhile


def verdict(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity; None where nothing was found."""
    return min((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)
