"""Judges every import of every module of a wheel against one Pyodide, without running anything.

The rules are those of Emscripten's loader (libdylink.js) in the versions that Pyodide ships. Each module is checked by itself
(`checks`); then loading is simulated (`simulation`), and the result shows what each import and NEEDED entry gets (`dependencies`)
and which definitions collide (`clashes`). Each rule was measured in a real Pyodide (tests/runtime/test_signals.py): where a run
contradicts a verdict, the verdict is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from conda2wheel.abi.audit import checks, clashes, dependencies
from conda2wheel.abi.audit.dependencies import ImportIssue
from conda2wheel.abi.audit.findings import Finding, Severity, listed
from conda2wheel.abi.audit.shared_names import NamesInCommon
from conda2wheel.abi.audit.simulation import Simulation, simulate
from conda2wheel.abi.audit.unit import AuditUnit, InstalledModule
from conda2wheel.abi.loaders import loader

SINGLE = 4  # symbols with the same problem that get a finding each; more get one together
PLURAL = {
    "function": "functions",
    "function pointer": "function pointers",
    "data": "names of data",
    "global": "globals",
    "exception tag": "exception tags",
    "table": "tables",
    "import": "names",
}


def audit_units(
    units: Sequence[AuditUnit], pyodide: str, installed: Sequence[AuditUnit] = (), in_common: NamesInCommon | None = None
) -> dict[str, tuple[Finding, ...]]:
    """The findings about each of `units` by its name, worst first, for the Pyodide version `pyodide`.

    All units and `installed`, which are not judged themselves, are taken to be installed in one site-packages: what they
    bring counts. Who judges the same units in several Pyodides gives the same `in_common` each time, which is much faster.

    Raises:
        ValueError: no symbols of that Pyodide are known, or two units have one name.
    """
    everything = [*installed, *units]
    if len({unit.name for unit in everything}) < len(everything):
        raise ValueError("two units have the same name")
    try:
        rules = loader(pyodide)
        in_common = in_common or NamesInCommon()
        simulation = simulate(pyodide, everything, in_common)
    except LookupError as error:
        raise ValueError(str(error)) from None
    found: dict[str, list[Finding]] = {unit.name: [] for unit in units}
    for unit in units:
        found[unit.name] += _unit(unit, simulation)
    judged = frozenset(found)
    for rule in (clashes.main_wins, clashes.symbol_clashes, clashes.library_clashes, clashes.duplicates):
        for name, finding in rule(simulation, judged):
            found[name].append(finding)
    if not rules.path_libs:
        for name, finding in dependencies.order_findings(simulation, simulate(pyodide, everything, in_common, by_path=True)):
            if name in judged:
                found[name].append(finding)
    return {name: tuple(sorted(dict.fromkeys(findings), key=_order)) for name, findings in found.items()}


def findings_if_ignored(unit: AuditUnit, pyodide: str) -> tuple[Finding, ...]:
    """Return the findings about a unit if that Pyodide's CPython ignores all of its extension modules because of their names.

    Nothing else of the unit matters there. The result is empty where that CPython imports one of them.
    """
    there = loader(pyodide)
    extensions = [module for module in unit.installed if module.side.is_extension]
    found = [finding for module in extensions for finding in checks.wrong_python(module, there)]
    return tuple(found) if extensions and len(found) == len(extensions) else ()


def verdict(findings: Iterable[Finding]) -> Severity | None:
    """The worst severity; None where nothing was found."""
    return min((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)


def _order(finding: Finding) -> tuple[int, str, str, str]:
    return finding.severity.rank, finding.module, finding.code, finding.message


def _unit(unit: AuditUnit, simulation: Simulation) -> Iterator[Finding]:
    """Yield the findings about one unit's modules by themselves.

    A module whose NEEDED library is broken gets one about that library.
    """
    broken: set[InstalledModule] = set()
    found: dict[InstalledModule, list[Finding]] = {}
    for module in unit.installed:
        found[module] = [*checks.own_findings(module, unit, simulation.loader), *_imports(module, simulation)]
        if simulation.of(module):
            found[module] += checks.cpython_findings(module, unit.abi3)
        if any(finding.severity is Severity.LOAD for finding in found[module]):
            broken.add(module)
    for module in unit.installed:
        yield from found[module]
        for instance in simulation.of(module):
            yield from dependencies.needed_findings(instance, simulation, broken)
            yield from dependencies.bridged_findings(instance, simulation)


def _imports(module: InstalledModule, simulation: Simulation) -> Iterator[Finding]:
    """Yield the findings about the imports of every instance that is used.

    Of an instance that an installation opens and no module uses, they are only those that keep it from being loaded.
    """
    instances = simulation.of(module)
    used = [instance for instance in instances if instance.users] or instances
    issues: dict[ImportIssue, None] = {}
    for instance in instances:
        for issue in dependencies.issues(instance, simulation):
            if instance in used or issue.severity is Severity.LOAD:
                issues.setdefault(issue)
    groups: dict[tuple[str, Severity, str, str, str], list[str]] = defaultdict(list)
    for issue in issues:
        groups[issue.code, issue.severity, issue.what, issue.why, issue.hint].append(issue.symbol)
    for (code, severity, what, why, hint), names in groups.items():
        for finding in _symbol_findings(module, code, severity, what, why, names):
            yield replace(finding, hint=hint)


def _symbol_findings(
    module: InstalledModule, code: str, severity: Severity, what: str, why: str, names: Sequence[str]
) -> Iterator[Finding]:
    if len(names) <= SINGLE:
        for name in names:
            yield Finding(code, severity, module.path, f"imports {what} {name}, which {why}", name)
    else:
        message = f"imports {len(names)} {PLURAL[what]} ({listed(names)}), each of which {why}"
        yield Finding(code, severity, module.path, message, symbols=tuple(names))
