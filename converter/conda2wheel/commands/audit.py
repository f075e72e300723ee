"""Would it run there? Wheels, packages and side modules are opened, judged together, and each verdict explains itself.

    open      auditable       wheels, packages as `convert` would write them, lone modules
    choose    here            which Pyodide each was made for, unless the caller names one
    judge     abi.audit       every import of every module, in that Pyodide and, for the matrix, in all others
    tell      audited, sarif  one value for people, machines and CI

Nothing is run. What is asked about in one call is taken to be installed in one site-packages, as far as it was made for the
same platform: so it shows where wheels disturb each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from conda2wheel.abi import symbols
from conda2wheel.abi.audit.engine import audit_units, findings_if_ignored
from conda2wheel.abi.audit.findings import Finding
from conda2wheel.abi.choice import forced_platform
from conda2wheel.abi.platforms import Platform, for_pyodide, platforms
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.commands.audit_result import Audited, MatrixRow
from conda2wheel.commands.audit_subjects import Subject, newest, open_subjects, wheels_in
from conda2wheel.errors import Conda2WheelError, Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.commands.pipeline import Context
    from conda2wheel.link.library_index import LibraryIndex

CONSEQUENCES = frozenset({"broken-library"})  # of a finding that says more


def audit(
    path: str | Path,
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Audited:
    """Judge one wheel, conda package (file, unpacked folder, URL) or side module; nothing is run and nothing is written.

    platform: "auto" (a wheel's tag, a package's evidence), a platform tag, a Pyodide version, or a `Platform`; a tag stands
        for the newest Pyodide that has it.
    find_links: folders of wheels that are installed beside it, those that were made for the same platform.
    libdirs: as for `convert`, where a package's NEEDED libraries may be found.
    downloads: as for `convert`, how what lies elsewhere is had.

    Raises `Refused` for damaged or hostile input, `Failed` for what cannot be read, and `Failed` (usage) for a wrong
    `platform` and for a path that names several things, which `audit_each` takes.

    >>> audit("dist/numpy-2.4.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl").ok  # doctest: +SKIP
    True
    """
    results = [
        result for _, result in audit_each([path], platform, find_links, libdirs=libdirs, limits=limits, downloads=downloads)
    ]
    if len(results) != 1:
        raise Failed("usage", f"{path}: there are {len(results)} things to audit in it", "audit_each takes several")
    if isinstance(results[0], Conda2WheelError):
        raise results[0]
    return results[0]


def audit_each(
    paths: Iterable[str | Path],
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Iterator[tuple[str, Audited | Conda2WheelError]]:
    """Judge several inputs, with the arguments of `audit`, a folder of wheels or a prefix among them: each with its result or
    error, in order.

    What was made for one platform is judged as if it were installed together; of one project, the newest version. Raises
    only for the arguments themselves: `Failed` (usage, not-found).
    """
    bounds = limits or Limits()
    request = _request(platform)
    places = tuple(libdirs) if isinstance(libdirs, Iterable) else libdirs
    beside, notes = wheels_in(find_links, bounds)

    @cache
    def context() -> Context:
        from conda2wheel.commands.pipeline import Context
        from conda2wheel.wheel.name_sources import Surroundings

        # What dependencies are called on PyPI says nothing about whether a module loads: no place is searched for it.
        return replace(Context.of(places, limits=bounds, downloads=downloads), names=Surroundings((), bounds, downloads))

    if places:
        context()  # a libdir that does not exist is an error, even if no library is looked for
    opened = open_subjects(map(str, paths), request.platform, bounds, context)
    court = _Court([each for each in opened.values() if isinstance(each, Subject)], beside)
    for source, subject in opened.items():
        yield source, subject if isinstance(subject, Conda2WheelError) else _tried(subject, request, court, notes)


@dataclass(frozen=True)
class _Request:
    """What a caller asked about: a platform, and the Pyodide that stands for it. Both None: what each input was made for."""

    platform: Platform | None = None
    pyodide: str | None = None
    warnings: tuple[ConversionWarning, ...] = ()


def _request(text: str | Platform) -> _Request:
    platform = forced_platform(text)
    if platform is None:
        return _Request()
    if text in symbols.known():
        return _Request(platform, str(text))
    pyodide = symbols.newest_pyodide(platform)
    warnings: tuple[ConversionWarning, ...] = ()
    if pyodide is not None and isinstance(text, str) and for_pyodide(text) is platform:
        why = f"what Pyodide {text} provides is not known here; it is judged as {pyodide}, of the same platform"
        warnings = (ConversionWarning("other-pyodide", why),)
    return _Request(platform, pyodide, warnings)


@dataclass
class _Court:
    """Judges in one Pyodide after the other, those together that would be installed together; each once, and only by its
    modules' names where another CPython is asked."""

    subjects: Sequence[Subject]
    beside: Sequence[Subject]
    judged: dict[str, dict[Subject, tuple[Finding, ...]]] = field(default_factory=dict)

    def findings(self, subject: Subject, pyodide: str) -> tuple[Finding, ...]:
        """What is found in a subject, worst first."""
        if pyodide not in self.judged:
            mates = newest(each for each in self.subjects if _platform_of(pyodide) in each.platforms)
            self.judged[pyodide] = self._judge(mates, pyodide) if mates else {}
        found = self.judged[pyodide]
        if subject not in found:
            quick = findings_if_ignored(subject.unit(_platform_of(pyodide)), pyodide)
            found[subject] = quick or self._judge([subject], pyodide)[subject]
        return found[subject]

    def _judge(self, subjects: Sequence[Subject], pyodide: str) -> dict[Subject, tuple[Finding, ...]]:
        platform = _platform_of(pyodide)
        projects = {subject.project for subject in subjects}
        others = [each for each in newest(e for e in self.beside if platform in e.platforms) if each.project not in projects]
        units = {subject: subject.unit(platform) for subject in subjects}
        found = audit_units(list(units.values()), pyodide, [each.unit(platform) for each in others])
        return {subject: found[unit.name] for subject, unit in units.items()}


def _platform_of(pyodide: str) -> Platform:
    return next(row for row in platforms() if any(version == pyodide for version, _ in row.pyodide))


def _tried(subject: Subject, request: _Request, court: _Court, notes: Sequence[ConversionWarning]) -> Audited | Conda2WheelError:
    """The verdict, or why there is none; a bug of ours does not stop the other inputs."""
    started = time.monotonic()
    try:
        return _audited(subject, request, court, notes, started)
    except Conda2WheelError as error:
        return error
    except Exception as bug:  # noqa: BLE001 - it is reported whole
        what = f"{subject.source}: {type(bug).__name__}: {bug}"
        failed = Failed("internal", what, "this is a bug of conda2wheel; -v shows where")
        failed.__cause__ = bug
        return failed


def _audited(subject: Subject, request: _Request, court: _Court, notes: Sequence[ConversionWarning], started: float) -> Audited:
    rows = (request.platform,) if request.platform else subject.platforms
    modules = len(subject.unit((rows or platforms())[-1]).modules)
    if not modules:
        return Audited(subject.source, subject.kind, None, None, 0, warnings=subject.warnings)
    # Where a tag names several platforms, it must run on each.
    asked = [request.pyodide] if request.platform else [symbols.newest_pyodide(row) for row in rows]
    pyodides = [pyodide for pyodide in asked if pyodide is not None]
    findings = dict.fromkeys(finding for pyodide in pyodides for finding in court.findings(subject, pyodide))
    matrix = tuple(_row(subject, pyodide, court) for pyodide in symbols.known())
    return Audited(
        source=subject.source,
        kind=subject.kind,
        platform=_platform_of(pyodides[-1]).tag if pyodides else rows[-1].tag if rows else None,
        pyodide=pyodides[-1] if pyodides else None,
        modules=modules,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity.rank)),
        matrix=matrix,
        warnings=tuple(dict.fromkeys((*subject.warnings, *request.warnings, *_warnings(rows, pyodides), *notes))),
        seconds=time.monotonic() - started,
    )


def _warnings(rows: Sequence[Platform], pyodides: Sequence[str]) -> Iterator[ConversionWarning]:
    if rows and not pyodides:
        emscriptens = " or ".join(row.emscripten for row in rows)
        why = f"no Pyodide has Emscripten {emscriptens}, so nothing is known to run it: the matrix says what others do"
        yield ConversionWarning("no-pyodide", why)
    if len(pyodides) > 1:
        yield ConversionWarning(
            "several-platforms", f"made for several platforms; the findings are those of Pyodide {', '.join(pyodides)}"
        )


def _row(subject: Subject, pyodide: str, court: _Court) -> MatrixRow:
    platform = _platform_of(pyodide)
    findings = court.findings(subject, pyodide)
    tagged = platform in subject.platforms or not subject.platforms
    bad = [finding for finding in findings if not finding.severity.runs]
    if not bad:
        return MatrixRow(pyodide, platform.tag, findings[0].severity if findings else None, tagged)
    worst = min(bad, key=lambda finding: (finding.severity.rank, finding.code in CONSEQUENCES))
    return MatrixRow(pyodide, platform.tag, worst.severity, tagged, worst.code, worst.module, worst.message, len(bad) - 1)
