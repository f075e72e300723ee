"""Would it run there? Wheels, packages and side modules are opened, judged together, and each verdict explains itself.

`abi.audit` has the rules and does no I/O; here are the inputs, the choice of the Pyodide, and the matrix over all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel.abi import symbols
from conda2wheel.abi.audit import Unit, audit_units
from conda2wheel.abi.findings import Finding, Severity
from conda2wheel.abi.platforms import Platform, for_pyodide, parse
from conda2wheel.auditable import Subject, open_subjects, wheels_in
from conda2wheel.conda.files import Limits
from conda2wheel.gate import newest_pyodide
from conda2wheel.outcome import Conda2WheelError, Failed, Warned


@dataclass(frozen=True)
class Row:
    """One line of the matrix: what would happen in one Pyodide. `code`, `module` and `reason` are the worst finding's, empty
    where it runs."""

    pyodide: str
    platform: str
    worst: Severity | None
    code: str = ""
    module: str = ""
    reason: str = ""

    @property
    def runs(self) -> bool:
        """Whether nothing in it fails to load or is fatal when reached."""
        return self.worst is None or self.worst.runs

    def json(self) -> dict[str, Any]:
        """`{"pyodide", "platform", "runs", "worst", "code", "module", "reason"}`."""
        return {
            "pyodide": self.pyodide,
            "platform": self.platform,
            "runs": self.runs,
            "worst": None if self.worst is None else str(self.worst),
            "code": self.code or None,
            "module": self.module or None,
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class Audited:
    """The verdict about one input.

    `kind` is wheel, package or module; `pyodide` the version that `findings` are about and `platform` its tag (both None for
    a pure wheel, a lone module and a platform that no Pyodide has). `modules` is how many side modules were judged; `matrix`
    has a row for each known Pyodide, none where there is nothing native.
    """

    source: str
    kind: str
    platform: str | None
    pyodide: str | None
    modules: int
    findings: tuple[Finding, ...]
    matrix: tuple[Row, ...]
    warnings: tuple[Warned, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        """Whether it would run: in its Pyodide, else in any."""
        if self.pyodide is not None:
            return all(finding.severity.runs for finding in self.findings)
        return self.modules == 0 or any(row.runs for row in self.matrix)

    def count(self, severity: Severity) -> int:
        """How many findings of a severity there are."""
        return sum(finding.severity is severity for finding in self.findings)

    def line(self) -> str:
        """The verdict in a line, for people."""
        if self.modules == 0:
            return f"{self.source}: nothing native in it, runs in any Pyodide whose Python it admits"
        if self.pyodide is None:
            runs = [row.pyodide for row in self.matrix if row.runs]
            where = f"on Pyodide {', '.join(runs)}" if runs else "on no Pyodide that is known"
            return f"{self.source}: would run {where}"
        if self.ok:
            return f"{self.source}: would run on Pyodide {self.pyodide}"
        words = ((Severity.LOAD, "fail to load"), (Severity.FATAL, "fatal when reached"))
        told = ", ".join(f"{self.count(severity)} {word}" for severity, word in words if self.count(severity))
        return f"{self.source}: would NOT run on Pyodide {self.pyodide} ({told})"

    def json(self) -> dict[str, Any]:
        """One entry of `results`."""
        return {
            "source": self.source,
            "status": "audited",
            "ok": self.ok,
            "kind": self.kind,
            "platform": self.platform,
            "pyodide": self.pyodide,
            "modules": self.modules,
            "findings": [finding.json() for finding in self.findings],
            "matrix": [row.json() for row in self.matrix],
            "warnings": [warning.json() for warning in self.warnings],
            "seconds": round(self.seconds, 3),
        }


def audit(
    path: str | Path,
    *,
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    libdirs: Iterable[str | Path] = (),
    limits: Limits | None = None,
) -> Audited:
    """Judge one wheel, conda package or side module; nothing is run and nothing is written.

    platform: "auto" (a wheel's tag, a package's evidence), a platform tag, a Pyodide version, or a `Platform`; a tag stands
        for the newest Pyodide that has it.
    find_links: folders of wheels that are installed beside it: the libraries that they bring count.
    libdirs: as for `convert`, where a package's NEEDED libraries may be found.

    Raises `Refused` for damaged or hostile input, `Failed` (usage, not-found, unreadable ...) for accidents.

    >>> audit("dist/numpy-2.4.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl").ok  # doctest: +SKIP
    True
    """
    [result] = audit_each([path], platform=platform, find_links=find_links, libdirs=libdirs, limits=limits)
    if isinstance(result, Conda2WheelError):
        raise result
    return result


def audit_each(
    paths: Iterable[str | Path],
    *,
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    libdirs: Iterable[str | Path] = (),
    limits: Limits | None = None,
) -> list[Audited | Conda2WheelError]:
    """Judge several inputs as if they were installed together, so that clashes between them show; a folder stands for the
    wheels in it. What cannot be opened is its error, in its place. Raises `Failed` (usage) for a wrong `platform`."""
    limits = limits or Limits()
    forced = _pyodide(platform)
    opened = list(open_subjects(paths, forced[1] if forced else None, libdirs, limits))
    subjects = [subject for subject in opened if isinstance(subject, Subject)]
    beside, notes = wheels_in(find_links, {subject.source for subject in subjects}, limits)
    bench = _Bench([subject.unit for subject in subjects], beside)
    results: list[Audited | Conda2WheelError] = []
    for subject in opened:
        if isinstance(subject, Conda2WheelError):
            results.append(subject)
            continue
        started = time.monotonic()
        results.append(_judge(subject, forced, bench, notes, started))
    return results


class _Bench:
    """All units judged for one Pyodide at a time, each Pyodide once."""

    def __init__(self, units: Sequence[Unit], beside: Sequence[Unit]) -> None:
        self._units = list(units)
        self._beside = list(beside)
        self._found: dict[str, dict[str, tuple[Finding, ...]]] = {}

    def findings(self, unit: Unit, pyodide: str) -> tuple[Finding, ...]:
        if pyodide not in self._found:
            self._found[pyodide] = audit_units(self._units, pyodide, self._beside)
        return self._found[pyodide][unit.name]


def _judge(
    subject: Subject, forced: tuple[str | None, Platform] | None, bench: _Bench, notes: Sequence[Warned], started: float
) -> Audited:
    row = forced[1] if forced else subject.platform
    pyodide = forced[0] if forced else (newest_pyodide(row) if row else None)
    warnings = [*subject.warnings, *notes]
    if row is not None and pyodide is None and subject.unit.modules:
        warnings.append(Warned("no-pyodide", f"no Pyodide has Emscripten {row.emscripten}: the matrix says what others do"))
    native = bool(subject.unit.modules)
    return Audited(
        source=subject.source,
        kind=subject.kind,
        platform=row.tag if row and native else None,
        pyodide=pyodide if native else None,
        modules=len(subject.unit.modules),
        findings=bench.findings(subject.unit, pyodide) if native and pyodide else (),
        matrix=tuple(_row(version, bench.findings(subject.unit, version)) for version in symbols.known()) if native else (),
        warnings=tuple(dict.fromkeys(warnings)),
        seconds=time.monotonic() - started,
    )


def _row(pyodide: str, findings: Sequence[Finding]) -> Row:
    platform = for_pyodide(pyodide)
    if platform is None:
        raise ValueError(f"symbol data of Pyodide {pyodide}, which is in no row of the table")
    worst = findings[0] if findings else None
    if worst is None or worst.severity.runs:
        return Row(pyodide, platform.tag, worst.severity if worst else None)
    return Row(pyodide, platform.tag, worst.severity, worst.code, worst.module, worst.message)


def _pyodide(platform: str | Platform) -> tuple[str | None, Platform] | None:
    """The Pyodide to judge by and its row, None for "auto". A version that there is no data of is judged as the newest of
    its platform."""
    if platform == "auto":
        return None
    row = platform if isinstance(platform, Platform) else parse(platform)
    if row is None:
        known = ", ".join(symbols.known())
        raise Failed("usage", f"platform {platform!r} is neither a tag nor a Pyodide version", f"known Pyodides are {known}")
    if isinstance(platform, str) and platform in symbols.known():
        return platform, row
    return newest_pyodide(row), row
