"""`audit`: do wheels, packages and side modules run in Pyodide?

    open      commands.audit_subjects   wheels, packages as `convert` would write them, single modules
    choose    here                      the Pyodide that each input is built for, unless the caller names one
    audit     abi.audit                 every import of every module, in that Pyodide and, for the matrix, in all others
    report    audit_result, sarif       one value for people, machines and CI

No input is run. Inputs of one call that are built for the same platform are audited as if they were installed in one
site-packages, so that the audit finds clashes between them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from conda2wheel.abi import symbols
from conda2wheel.abi.audit.engine import audit_units, findings_if_ignored
from conda2wheel.abi.audit.findings import Finding, RunVerdict, Severity, unusable_parts
from conda2wheel.abi.audit.shared_names import NamesInCommon
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.choice import forced_platform
from conda2wheel.abi.platforms import Platform, for_pyodide, platforms, whole_version
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.commands.audit_result import Audited, MatrixRow
from conda2wheel.commands.audit_subjects import Subject, newest, open_subjects, wheels_in
from conda2wheel.commands.excluded import exclude_warnings, unseen_libraries, without_unseen
from conda2wheel.errors import Conda2WheelError, Failed, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.reading import unreadable
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from conda2wheel.commands.pipeline import Context
    from conda2wheel.link.library_index import LibraryIndex

Index = Literal["pypi"]
INDEXES: tuple[Index, ...] = ("pypi",)
CONSEQUENCES = frozenset({"broken-library"})  # findings that follow from another one, which explains more


def audit(  # noqa: PLR0913 - a public function
    path: str | Path,
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    exclude: Iterable[str] = (),
    index: Index | None = None,
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Audited:
    """Audit one wheel, conda package (file, unpacked folder, URL) or side module. Nothing is run and nothing is written.

    Args:
        path: the wheel, package or module.
        platform: "auto" (a wheel's tag, a package's evidence), a platform tag, a Pyodide version, or a `Platform`. A tag selects
            the newest Pyodide of its platform.
        find_links: wheels, or folders of wheels, that are installed beside it. Wheels for other platforms are ignored.
        libdirs: where a package's NEEDED libraries are looked up, as for `convert`.
        exclude: patterns of file names, as `repair` takes them: NEEDED libraries that something else brings. What is not found is
            taken to be there.
        index: "pypi": also say of a wheel what PyPI would refuse.
        limits: bounds on members, sizes and ratios of archives.
        downloads: as for `convert`.

    Raises:
        Refused: the input is damaged or hostile.
        Failed: usage (an unknown platform, or a path with several inputs, which `audit_each` takes), not-found, unreadable.

    >>> audit("dist/numpy-2.4.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl").ok  # doctest: +SKIP
    True
    """
    results = [
        result
        for _, result in audit_each(
            [path],
            platform,
            find_links,
            libdirs=libdirs,
            exclude=exclude,
            index=index,
            limits=limits,
            downloads=downloads,
        )
    ]
    if len(results) != 1:
        raise Failed("usage", f"{path}: contains {len(results)} inputs", "audit_each takes several")
    if isinstance(results[0], Conda2WheelError):
        raise results[0]
    return results[0]


def audit_each(  # noqa: PLR0913 - a public function
    paths: Iterable[str | Path],
    platform: str | Platform = "auto",
    find_links: Iterable[str | Path] = (),
    *,
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    exclude: Iterable[str] = (),
    index: Index | None = None,
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Iterator[tuple[str, Audited | Conda2WheelError]]:
    """Audit several inputs, with the arguments of `audit`. Folders of wheels and prefixes stand for what they contain.

    Inputs for one platform are audited as if they were installed together; of several versions of a project, the newest.

    Yields:
        Each input, in order, with its result or its error.

    Raises:
        Failed: for wrong arguments (usage, not-found), never for an input.
    """
    for name, values in (("paths", paths), ("find_links", find_links), ("libdirs", libdirs), ("exclude", exclude)):
        require_several(name, values)
    bounds = limits or Limits()
    if index not in (None, *INDEXES):
        raise Failed("usage", f"index {index!r}: unknown", f"one of {', '.join(INDEXES)}")
    request = replace(_request(platform), index=index)
    places = tuple(libdirs) if isinstance(libdirs, Iterable) else libdirs
    installed, notes = wheels_in(find_links, bounds)

    @cache
    def context() -> Context:
        from conda2wheel.commands.pipeline import Context
        from conda2wheel.wheel.name_sources import NameSources

        # Whether a module loads does not depend on the PyPI names of dependencies, so nothing is searched for them.
        return replace(Context.of(places, limits=bounds, downloads=downloads), names=NameSources((), bounds, downloads))

    if places:
        context()  # a libdir that does not exist is an error, even if no library is looked up
    opened = open_subjects(map(str, paths), request.platform, bounds, context)
    joint = _JointAudit([each for each in opened.values() if isinstance(each, Subject)], installed, tuple(exclude))
    for source, subject in opened.items():
        yield source, subject if isinstance(subject, Conda2WheelError) else _audit_or_error(subject, request, joint, notes)


@dataclass(frozen=True)
class _Request:
    """The platform that the caller names, and the Pyodide that represents it. Both are None if each input determines its own.

    `index` is the index for which it is judged, too.
    """

    platform: Platform | None = None
    pyodide: str | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    index: Index | None = None


def _request(text: str | Platform) -> _Request:
    platform = forced_platform(text)
    if platform is None:
        return _Request()
    if isinstance(text, str):
        text = whole_version(text) or text
    if text in symbols.known():
        return _Request(platform, str(text))
    pyodide = symbols.newest_pyodide(platform)
    warnings: tuple[ConversionWarning, ...] = ()
    if pyodide is not None and isinstance(text, str) and for_pyodide(text) is platform:
        why = f"the symbols of Pyodide {text} are not known; those of {pyodide} are used, which has the same platform"
        warnings = (ConversionWarning("other-pyodide", why),)
    return _Request(platform, pyodide, warnings)


@dataclass
class _JointAudit:
    """Audits inputs for one Pyodide after another, those of one platform together.

    Each input is audited once for a Pyodide, and only by the names of its modules if they are built for another CPython.

    Attributes:
        subjects: the inputs.
        installed: the wheels of --find-links.
        exclude: patterns of libraries that something else brings.
        audited: the findings, by Pyodide version and input.
        in_common: what the names of modules have in common in every Pyodide.
    """

    subjects: Sequence[Subject]
    installed: Sequence[Subject]
    exclude: tuple[str, ...] = ()
    audited: dict[str, dict[Subject, tuple[Finding, ...]]] = field(default_factory=dict)
    in_common: NamesInCommon = field(default_factory=NamesInCommon)

    def findings(self, subject: Subject, pyodide: str) -> tuple[Finding, ...]:
        """Return the findings about an input, worst first."""
        if pyodide not in self.audited:
            together = newest(each for each in self.subjects if _platform_of(pyodide) in each.platforms)
            try:
                with unexpected_as_failed(subject.source):
                    self.audited[pyodide] = self._audit(together, pyodide) if together else {}
            except Conda2WheelError:  # of one of them: each is then audited by itself, and that one alone has an error
                self.audited[pyodide] = {}
        found = self.audited[pyodide]
        if subject not in found:
            quick = findings_if_ignored(subject.unit(_platform_of(pyodide)), pyodide)
            found[subject] = quick or self._audit([subject], pyodide)[subject]
        return (*subject.findings, *found[subject])

    def _audit(self, subjects: Sequence[Subject], pyodide: str) -> dict[Subject, tuple[Finding, ...]]:
        platform = _platform_of(pyodide)
        projects = {subject.project for subject in subjects}
        others = [each for each in newest(e for e in self.installed if platform in e.platforms) if each.project not in projects]
        units = {subject: subject.unit(platform) for subject in subjects}
        found = audit_units(list(units.values()), pyodide, [each.unit(platform) for each in others], self.in_common)
        return {subject: self._without_excluded(unit, found[unit.name]) for subject, unit in units.items()}

    def _without_excluded(self, unit: AuditUnit, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return without_unseen(findings, unseen_libraries(unit, findings, self.exclude)) if self.exclude else findings


def _platform_of(pyodide: str) -> Platform:
    return next(row for row in platforms() if any(version == pyodide for version, _ in row.pyodide))


def _audit_or_error(
    subject: Subject, request: _Request, joint: _JointAudit, notes: Sequence[ConversionWarning]
) -> Audited | Conda2WheelError:
    """Return the result or the error. A bug does not stop the audit of the other inputs."""
    started = time.monotonic()
    try:
        with unexpected_as_failed(subject.source):
            result = _audit_subject(subject, request, joint, notes, started)
            return result if request.index is None else _for_pypi(subject, result)
    except Conda2WheelError as error:
        return error


def _for_pypi(subject: Subject, audited: Audited) -> Audited:
    """The result with what PyPI would say of the upload."""
    from conda2wheel.wheel.pypi import pypi_findings

    if subject.kind != "wheel":
        why = "PyPI takes wheels: convert it, and audit the wheel"
        return replace(audited, warnings=(*audited.warnings, ConversionWarning("not-for-pypi", why)), index="pypi")
    try:
        found = pypi_findings(Path(subject.source))
    except OSError as error:
        raise unreadable(subject.source, error) from None
    findings = sorted((*audited.findings, *found), key=lambda finding: finding.severity.rank)
    return replace(audited, findings=tuple(findings), index="pypi")


def _audit_subject(
    subject: Subject, request: _Request, joint: _JointAudit, notes: Sequence[ConversionWarning], started: float
) -> Audited:
    rows = (request.platform,) if request.platform else subject.platforms
    unit = subject.unit((rows or platforms())[-1])
    if not unit.modules:
        return Audited(
            subject.source,
            subject.kind,
            None,
            None,
            0,
            subject.findings,
            warnings=subject.warnings,
            programs=subject.programs,
            only_programs=subject.only_programs,
        )
    # Where a tag names several platforms, it must run on each.
    requested = [request.pyodide] if request.platform else [symbols.newest_pyodide(row) for row in rows]
    pyodides = [pyodide for pyodide in requested if pyodide is not None]
    matrix = tuple(_row(subject, pyodide, joint) for pyodide in symbols.known())
    findings = [*_findings(subject, pyodides, joint), *_any_tag(subject, matrix)]
    return Audited(
        source=subject.source,
        kind=subject.kind,
        platform=_platform_of(pyodides[-1]).tag if pyodides else rows[-1].tag if rows else None,
        pyodide=pyodides[-1] if pyodides else None,
        pyodides=tuple(pyodides),
        modules=len(unit.modules),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity.rank)),
        matrix=matrix,
        warnings=tuple(
            dict.fromkeys(
                (
                    *subject.warnings,
                    *request.warnings,
                    *exclude_warnings(unit, joint.exclude),
                    *_warnings(rows, pyodides),
                    *notes,
                )
            )
        ),
        seconds=time.monotonic() - started,
        programs=subject.programs,
    )


def _findings(subject: Subject, pyodides: Sequence[str], joint: _JointAudit) -> list[Finding]:
    """The findings in these Pyodides, each once; one about some of them names them."""
    where: dict[Finding, list[str]] = {}
    for pyodide in pyodides:
        for finding in joint.findings(subject, pyodide):
            where.setdefault(finding, []).append(pyodide)
    return [
        finding if len(some) == len(pyodides) else replace(finding, message=f"{finding.message} (in Pyodide {', '.join(some)})")
        for finding, some in where.items()
    ]


def _any_tag(subject: Subject, matrix: Sequence[MatrixRow]) -> Iterator[Finding]:
    """Yield the finding about a wheel that is tagged any and has side modules."""
    tag = subject.any_tag
    if tag is None:
        return
    fails = {row.platform for row in matrix if not row.runs}
    tags = [f"--platform {row.tag}" for row in tag.platforms if row.tag not in fails and not row.prerelease]
    others = f" and {len(tag.modules) - 1} more" if len(tag.modules) > 1 else ""
    broken = ", ".join(row.pyodide for row in matrix if row.verdict is RunVerdict.DOES_NOT_LOAD)
    nowhere = f", nor does Pyodide {broken} load it" if broken else ""
    why = (
        f"is a side module{others} in a wheel that is tagged any: every system installs it and only Pyodide can load it{nowhere}"
    )
    hint = f"repair it with {'one of ' if tag.exact and len(tags) > 1 else ''}{' '.join(tags)}" if tags else ""
    yield Finding("any-tag", Severity.SUSPICIOUS, tag.modules[0], why, hint=hint)


def _warnings(rows: Sequence[Platform], pyodides: Sequence[str]) -> Iterator[ConversionWarning]:
    if rows and not pyodides:
        emscriptens = " or ".join(row.emscripten for row in rows)
        why = f"no Pyodide is built with Emscripten {emscriptens}; the matrix shows what other versions do"
        yield ConversionWarning("no-pyodide", why)
    if len(pyodides) > 1:
        yield ConversionWarning(
            "several-platforms", f"tagged for several platforms; the findings are those of Pyodide {', '.join(pyodides)}"
        )


def _row(subject: Subject, pyodide: str, joint: _JointAudit) -> MatrixRow:
    platform = _platform_of(pyodide)
    findings = joint.findings(subject, pyodide)
    tagged = platform in subject.platforms or not subject.platforms
    bad = [finding for finding in findings if finding.severity.verdict is not RunVerdict.RUNS]
    if not bad:
        return MatrixRow(pyodide, platform.tag, findings[0].severity if findings else None, tagged)
    worst = min(bad, key=lambda finding: (finding.severity.rank, finding.code in CONSEQUENCES))
    unusable = unusable_parts(bad) if worst.severity.verdict is RunVerdict.EXCEPT else ()
    row = MatrixRow(pyodide, platform.tag, worst.severity, tagged, worst.code, worst.module, worst.message, len(bad) - 1)
    return replace(row, unusable=unusable)
