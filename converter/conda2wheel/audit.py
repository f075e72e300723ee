"""Would it run there? `audit` asks the engine (`abi.audit`) about wheels, packages and modules, and says where they would.

    open      subjects        wheels, packages as `convert` would link them, loose modules
    choose    here            which Pyodide each was made for, unless the caller names one
    judge     abi.audit       every import of every module, in that Pyodide and, for the matrix, in all others
    tell      audited, sarif  one value for people, machines and CI

Nothing is run. What is asked about in one call is taken to be installed in one site-packages, as far as it was made for the
same platform: so wheels are found that disturb each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conda2wheel.abi.audit import audit_units
from conda2wheel.abi.findings import Finding
from conda2wheel.abi.platforms import Platform, for_pyodide, platforms
from conda2wheel.abi.symbols import known
from conda2wheel.audited import Audited, Row
from conda2wheel.conda.files import Limits
from conda2wheel.convert import forced_platform
from conda2wheel.libdirs import LibraryIndex
from conda2wheel.outcome import Conda2WheelError, Failed
from conda2wheel.subjects import Subject, newest, open_subjects, open_wheels

Findings = Mapping[str, tuple[Finding, ...]]


def audit(
    path: str | Path,
    platform: str = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    limits: Limits | None = None,
) -> Audited:
    """Judge one wheel, conda package (file, unpacked folder, URL) or side module; nothing is run or written.

    platform: "auto" (what a wheel's tag or a package's evidence says), a platform tag (its newest Pyodide), or a Pyodide
        version.
    find_links: folders of wheels that are taken to be installed beside it, where they are for the same platform.
    libdirs: where a package's NEEDED libraries may be found, as for `convert`.

    Raises `Refused` for damaged or hostile input, `Failed` for what cannot be read, and `Failed` (usage) for a path that
    names several things: `audit_each` takes those.

    >>> audit("pandas-3.1.1-cp312-cp312-pyemscripten_2024_0_wasm32.whl").ok  # doctest: +SKIP
    True
    """
    results = list(audit_each([path], platform, find_links, libdirs=libdirs, limits=limits))
    if len(results) != 1:
        raise Failed("usage", f"{path}: there are {len(results)} things to audit in it", "audit_each takes several")
    result = results[0][1]
    if isinstance(result, Conda2WheelError):
        raise result
    return result


def audit_each(
    paths: Iterable[str | Path],
    platform: str = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    limits: Limits | None = None,
) -> Iterator[tuple[str, Audited | Conda2WheelError]]:
    """Judge several, with the arguments of `audit`, a folder of wheels or a prefix among them; each with its result or error.

    Wheels for one platform are taken to be installed together; of one project, its newest version. Raises for no input, only
    `Failed` for the arguments themselves.
    """
    limits = limits or Limits()
    request = _request(platform)
    index = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, limits)
    beside = [wheel for folder in find_links for wheel in open_wheels(Path(folder), limits)]
    opened = _open(paths, request, index, limits)
    court = _Court(list(dict.fromkeys(each for each in opened.values() if isinstance(each, Subject))), beside)
    for source, subject in opened.items():
        started = time.monotonic()
        if isinstance(subject, Conda2WheelError):
            yield source, subject
            continue
        try:
            result = _audited(subject, request, court)
        except Conda2WheelError as error:
            yield source, error
        except Exception as bug:  # noqa: BLE001 - a bug of ours must not stop the others; it is reported whole
            failed = Failed("internal", f"{source}: {type(bug).__name__}: {bug}", "this is a bug of conda2wheel; -v shows where")
            failed.__cause__ = bug
            yield source, failed
        else:
            yield source, replace(result, seconds=time.monotonic() - started)


@dataclass(frozen=True)
class _Request:
    """What a caller asked about: a platform, and its Pyodide where it was named by one. Both None: what each was made for."""

    platform: Platform | None = None
    pyodide: str | None = None
    notes: tuple[str, ...] = ()


def _request(text: str) -> _Request:
    """Raises `Failed` (usage) for what is neither a tag nor a Pyodide version."""
    platform = forced_platform(text)
    if platform is None:
        return _Request()
    pyodide = latest(platform)
    if text in known():
        return _Request(platform, text)
    notes: tuple[str, ...] = ()
    if pyodide is not None and for_pyodide(text) is platform:
        notes = (f"what Pyodide {text} provides is not known here; judged by {pyodide}, of the same platform",)
    return _Request(platform, pyodide, notes)


def latest(platform: Platform) -> str | None:
    """The newest Pyodide of a platform; None where none has it. (A platform with a released Pyodide has no pre-releases in
    the table.)"""
    return next((version for version, _ in reversed(platform.pyodide) if version in known()), None)


def _open(
    paths: Iterable[str | Path], request: _Request, index: LibraryIndex, limits: Limits
) -> dict[str, Subject | Conda2WheelError]:
    """Every subject by its source, in order; one that is named twice is there once."""
    found: dict[str, Subject | Conda2WheelError] = {}
    for path in map(str, paths):
        try:
            for subject in open_subjects(path, request.platform, index, limits):
                found.setdefault(subject.source, subject)
        except Conda2WheelError as error:
            found.setdefault(path, error)
    return found


class _Court:
    """Judges subjects in one Pyodide after the other, those together that would be installed together; each once."""

    def __init__(self, subjects: Sequence[Subject], beside: Sequence[Subject]) -> None:
        self._subjects = subjects
        self._beside = beside
        self._together: dict[str, Findings] = {}

    def findings(self, subject: Subject, pyodide: str) -> tuple[Finding, ...]:
        """What is found in a subject, worst first."""
        platform = _platform_of(pyodide)
        if pyodide not in self._together:
            mates = self._mates(platform)
            beside = [each for each in self._others(platform) if each.project not in {mate.project for mate in mates}]
            self._together[pyodide] = _judge(mates, pyodide, platform, beside)
        found = self._together[pyodide].get(subject.source)
        if found is not None:
            return found
        beside = [each for each in self._others(platform) if each.project != subject.project]
        return _judge([subject], pyodide, platform, beside)[subject.source]

    def _mates(self, platform: Platform) -> list[Subject]:
        """Wheels that were made for this platform, one of each project."""
        return list(newest(each for each in self._subjects if each.kind == "wheel" and platform in each.platforms).values())

    def _others(self, platform: Platform) -> list[Subject]:
        return list(newest(each for each in self._beside if platform in each.platforms).values())


def _judge(subjects: Sequence[Subject], pyodide: str, platform: Platform, beside: Sequence[Subject]) -> Findings:
    judged = {subject.source for subject in subjects}
    units = [each.unit(platform) for each in beside if each.source not in judged]
    return audit_units([subject.unit(platform) for subject in subjects], pyodide, units)


def _platform_of(pyodide: str) -> Platform:
    return next(row for row in platforms() if any(version == pyodide for version, _ in row.pyodide))


def _audited(subject: Subject, request: _Request, court: _Court) -> Audited:
    rows = (request.platform,) if request.platform else subject.platforms
    # Where a tag names several platforms, it must run on each.
    asked = [request.pyodide] if request.platform else [latest(row) for row in rows]
    pyodides = [pyodide for pyodide in asked if pyodide is not None]
    modules = len(subject.unit((rows or platforms())[-1]).modules)
    if not modules:
        return Audited(subject.source, subject.kind, "any", None, 0, notes=subject.notes)
    notes = [*subject.notes, *request.notes, *_notes(rows, pyodides)]
    findings = dict.fromkeys(finding for pyodide in pyodides for finding in court.findings(subject, pyodide))
    return Audited(
        source=subject.source,
        kind=subject.kind,
        platform=_platform_of(pyodides[-1]).tag if pyodides else rows[-1].tag if rows else None,
        pyodide=pyodides[-1] if pyodides else None,
        modules=modules,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity.rank)),
        matrix=tuple(_row(subject, pyodide, court) for pyodide in known()),
        notes=tuple(notes),
    )


def _notes(rows: Sequence[Platform], pyodides: Sequence[str]) -> Iterator[str]:
    if not rows:
        yield "nothing says for which Pyodide it was made: see where it would run, or give --platform"
    elif not pyodides:
        tags = ", ".join(row.tag for row in rows)
        yield f"no Pyodide has the platform {tags}, so nothing is known to run it; --platform VERSION asks about one"
    elif len(pyodides) > 1:
        yield f"made for several platforms: the findings are those of Pyodide {' and '.join(pyodides)}"


def _row(subject: Subject, pyodide: str, court: _Court) -> Row:
    platform = _platform_of(pyodide)
    bad = [finding for finding in court.findings(subject, pyodide) if not finding.severity.runs]
    tagged = platform in subject.platforms or subject.kind == "module"
    if not bad:
        return Row(pyodide, platform.tag, True, tagged)
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return Row(pyodide, platform.tag, False, tagged, bad[0].code, f"{bad[0].module} {bad[0].message}{more}")
