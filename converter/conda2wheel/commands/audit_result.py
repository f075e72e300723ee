"""The result of an audit, as JSON, as one line and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conda2wheel.abi.audit.findings import Finding, RunVerdict, Severity, listed_parts, unusable_parts
from conda2wheel.files.escape import printable
from conda2wheel.results import ConversionWarning, UnusablePart

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

HEADINGS = {  # meaning and colour of each severity
    Severity.LOAD: ("does not load", "bold red"),
    Severity.FATAL: ("loads, and ends the interpreter when it is reached", "bold red"),
    Severity.UPLOAD: ("runs, and the index refuses it", "bold red"),
    Severity.SUSPICIOUS: ("runs, perhaps with wrong results", "yellow"),
    Severity.NOTE: ("worth knowing", "cyan"),
}
ROWS = {
    Severity.LOAD: 12,
    Severity.FATAL: 12,
    Severity.UPLOAD: 12,
    Severity.SUSPICIOUS: 8,
    Severity.NOTE: 3,
}  # of one severity, without -v
PLACES = 3  # modules that one row names, without -v
WORDS = {  # a verdict in the matrix, with its colour
    RunVerdict.RUNS: ("runs", "green"),
    RunVerdict.EXCEPT: ("runs except", "yellow"),
    RunVerdict.DOES_NOT_LOAD: ("does not load", "red"),
}
COUNTED = {  # a verdict of several inputs
    RunVerdict.RUNS: "run",
    RunVerdict.EXCEPT: "run except for a part",
    RunVerdict.DOES_NOT_LOAD: "do not load",
}


@dataclass(frozen=True)
class MatrixRow:
    """One row of the matrix: the verdict for one Pyodide.

    Attributes:
        pyodide: the version.
        platform: its platform tag.
        worst: the severity of the worst finding; None without findings.
        tagged: whether the input's tags, if it has any, include the platform, so that micropip would install it.
        code: the code of the worst finding; empty if the input runs. So are `module` and `reason`.
        module: the module that it is about.
        reason: its message.
        others: how many more findings of the severities `load` and `fatal` there are.
        unusable: the parts that do not run, if the input loads.
    """

    pyodide: str
    platform: str
    worst: Severity | None
    tagged: bool = True
    code: str = ""
    module: str = ""
    reason: str = ""
    others: int = 0
    unusable: tuple[UnusablePart, ...] = ()

    @property
    def verdict(self) -> RunVerdict:
        """Whether the input runs, runs except for its `unusable` parts, or does not load."""
        return RunVerdict.RUNS if self.worst is None else self.worst.verdict

    @property
    def runs(self) -> bool:
        """Whether no module fails to load and no function is fatal."""
        return self.verdict is RunVerdict.RUNS

    def passes(self, fail_on: Severity) -> bool:
        """Whether no finding has this severity or a worse one."""
        return self.worst is None or self.worst.rank > fail_on.rank

    def json(self) -> dict[str, Any]:
        """Return a row of `matrix`.

        It is `{"pyodide", "platform", "verdict", "runs", "unusable", "tagged", "worst", "code", "module", "reason", "others"}`.
        """
        return {
            "pyodide": self.pyodide,
            "platform": self.platform,
            "verdict": str(self.verdict),
            "runs": self.runs,
            "unusable": [part.json() for part in self.unusable],
            "tagged": self.tagged,
            "worst": None if self.worst is None else str(self.worst),
            "code": self.code or None,
            "module": self.module or None,
            "reason": self.reason or None,
            "others": self.others,
        }


@dataclass(frozen=True)
class Audited:
    """The verdict about one wheel, package or side module.

    Attributes:
        source: the input.
        kind: what it is.
        platform: the tag of the platform that it was audited for. Without a `pyodide` it is the tag of a platform that no Pyodide
            has, or None if the input does not determine one; then the matrix is the result.
        pyodide: the version that `findings` are about; the newest of `pyodides`.
        modules: the number of side modules.
        findings: the findings, worst first.
        matrix: a row for each known Pyodide; empty without side modules.
        warnings: what limits the result.
        pyodides: the versions that `findings` are about: several for a wheel that is tagged for several platforms.
        index: the index that it was judged for, too ("pypi"); None for none.
        seconds: how long it took.
        programs: the number of its programs (`convert`), which Pyodide does not start.
        only_programs: whether it has nothing else.
    """

    source: str
    kind: Literal["wheel", "package", "module"]
    platform: str | None
    pyodide: str | None
    modules: int
    findings: tuple[Finding, ...] = ()
    matrix: tuple[MatrixRow, ...] = ()
    warnings: tuple[ConversionWarning, ...] = ()
    pyodides: tuple[str, ...] = ()
    index: str | None = None
    seconds: float = field(default=0.0, compare=False)
    programs: int = 0
    only_programs: bool = False

    @property
    def ok(self) -> bool:
        """Whether the whole input runs in its Pyodide, or without one in any, and the index that was asked for takes it."""
        return self.passes(Severity.FATAL)

    def passes(self, fail_on: Severity) -> bool:
        """Whether the input has no finding of this severity or a worse one in its Pyodide; without one, in any.

        An input for a platform that no Pyodide has is not installed by any, whatever the matrix says. One that the index refuses
        for which it was judged never passes.
        """
        return self.accepted is not False and self._runs_well(fail_on)

    @property
    def accepted(self) -> bool | None:
        """Whether the index takes it that it was judged for; None for none."""
        return None if self.index is None else self.kind == "wheel" and not self.count(Severity.UPLOAD)

    def _runs_well(self, fail_on: Severity) -> bool:
        if any(finding.severity.rank <= fail_on.rank for finding in self.findings):
            return False
        if self.pyodide is not None or self.modules == 0:
            return True
        return self.platform is None and any(row.passes(fail_on) for row in self.matrix)

    @property
    def verdict(self) -> RunVerdict | None:
        """Whether the input runs in its Pyodide, runs except for its `unusable` parts, or does not load.

        Without a Pyodide it is the best verdict of the matrix; None for a platform that no Pyodide has.
        """
        if self.pyodide is not None or self.modules == 0:
            worst = min((finding.severity for finding in self.findings), key=lambda each: each.rank, default=Severity.NOTE)
            return worst.verdict
        found = [] if self.platform is not None else [row.verdict for row in self.matrix]
        return next((verdict for verdict in RunVerdict if verdict in found), None)

    @property
    def unusable(self) -> tuple[UnusablePart, ...]:
        """The parts that end the interpreter of its Pyodide when they are reached, if the input loads."""
        return unusable_parts(self.findings) if self.verdict is RunVerdict.EXCEPT else ()

    @property
    def as_meant(self) -> bool:
        """Whether the input runs in every Pyodide that its tags name."""
        return self.modules == 0 or (
            self.pyodide is not None
            and self._runs_well(Severity.FATAL)
            and not any(row.tagged and not row.runs for row in self.matrix)
        )

    def count(self, severity: Severity) -> int:
        """Return the number of findings of a severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """Return one entry of `results`.

        It is `{"source", "status" ("audited"), "ok", "verdict", "unusable", "kind", "platform", "pyodide", "pyodides", "modules",
        "findings", "matrix", "warnings", "index", "accepted", "seconds"}`.
        """
        return {
            "source": self.source,
            "status": "audited",
            "ok": self.ok,
            "verdict": None if self.verdict is None else str(self.verdict),
            "unusable": [part.json() for part in self.unusable],
            "kind": self.kind,
            "platform": self.platform,
            "pyodide": self.pyodide,
            "pyodides": list(self.pyodides),
            "modules": self.modules,
            "findings": [finding.json() for finding in self.findings],
            "matrix": [row.json() for row in self.matrix],
            "warnings": [warning.json() for warning in self.warnings],
            "index": self.index,
            "accepted": self.accepted,
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """Return the verdict as one line."""
        why = f"{self.count(Severity.UPLOAD)} upload" if self.kind == "wheel" else "no wheel"
        taken = {None: "", True: "; PyPI takes it", False: f"; PyPI refuses it ({why})"}
        outside = "; its programs run outside of Pyodide alone" if self.programs and not self.only_programs else ""
        return printable(self._line() + outside + taken[self.accepted])

    def _line(self) -> str:
        if self.only_programs:
            count = f"{self.programs} program{'s' if self.programs > 1 else ''}"
            return f"{self.source}: nothing in it but {count}, for outside of Pyodide alone"
        if self.modules == 0:
            return f"{self.source}: nothing native in it, runs in any Pyodide whose Python it admits"
        doubts = f" ({self.count(Severity.SUSPICIOUS)} suspicious)" if self.count(Severity.SUSPICIOUS) else ""
        if self.pyodide is None:
            where = self._in_the_matrix()
            if self.platform is not None:
                known = any(row.verdict is not RunVerdict.DOES_NOT_LOAD for row in self.matrix)
                where = f"no Pyodide has {self.platform}" + (f"; as a build for another it {where}" if known else "")
            return f"{self.source}: {where}{doubts}"
        if len(self.pyodides) > 1:
            return f"{self.source}: {self._in_each()}{doubts}"
        if self.verdict is RunVerdict.DOES_NOT_LOAD:
            counts = ", ".join(f"{self.count(each)} {each}" for each in (Severity.LOAD, Severity.FATAL) if self.count(each))
            return f"{self.source}: does not load on Pyodide {self.pyodide} ({counts})"
        parts = f" except for {listed_parts(self.unusable)}" if self.unusable else ""
        return f"{self.source}: runs on Pyodide {self.pyodide}{parts}{doubts}"

    def _in_each(self) -> str:
        """Say what the input does in each of several Pyodides that it is tagged for."""
        rows = [row for row in self.matrix if row.pyodide in self.pyodides]
        runs = [row.pyodide for row in rows if row.verdict is RunVerdict.RUNS]
        words = [
            f"does not load on Pyodide {row.pyodide} ({row.code})" for row in rows if row.verdict is RunVerdict.DOES_NOT_LOAD
        ]
        words += [
            f"runs on Pyodide {row.pyodide} except for {listed_parts(row.unusable)}"
            for row in rows
            if row.verdict is RunVerdict.EXCEPT
        ]
        return "; ".join([*words, *([f"runs on Pyodide {', '.join(runs)}"] if runs else [])])

    def _in_the_matrix(self) -> str:
        """Say in which Pyodides the input runs, where none of them is its own."""
        runs = [row.pyodide for row in self.matrix if row.verdict is RunVerdict.RUNS]
        partly = [row.pyodide for row in self.matrix if row.verdict is RunVerdict.EXCEPT]
        words = [f"runs on Pyodide {', '.join(runs)}"] if runs else []
        words += [f"runs except for a part on Pyodide {', '.join(partly)}"] if partly else []
        return "; ".join(words) or "loads on no Pyodide that is known"

    def tables(self, everything: bool = False) -> Iterator[RenderableType]:
        """Yield tables for rich: the findings by severity, then the matrix.

        Unless `everything`, there are no notes, no matrix of an input that runs as it is meant to, and long lists are shortened.
        """
        from rich.text import Text

        severities = [severity for severity in Severity if everything or severity is not Severity.NOTE]
        if not everything and self.as_meant and not any(map(self.count, severities)):
            return
        if self.modules:
            yield Text(printable(self.source), style="bold")
        for severity in severities:
            found = [finding for finding in self.findings if finding.severity is severity]
            if found:
                title, style = HEADINGS[severity]
                yield Text(f"  {severity}: {title} ({_several(len(found), 'finding')})", style=style)
                yield _findings(_grouped(found), None if everything else ROWS[severity])
        if self.matrix and (everything or not self.as_meant):
            yield Text("  in which Pyodide does it run?", style="bold")
            yield _matrix(self.matrix, everything)


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _grouped(findings: Iterable[Finding]) -> list[tuple[Finding, list[str]]]:
    """Return each finding with the modules that have it, starting with the finding of most modules."""
    groups: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.message, finding.hint), (finding, []))[1].append(finding.module)
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def _plain() -> Table:
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _findings(groups: Sequence[tuple[Finding, list[str]]], limit: int | None) -> Table:
    """Return a table of findings: the code; beside it the message, the hint and the modules."""
    from rich.text import Text

    table = _plain()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding, modules in groups[:limit]:
        shown = modules if limit is None else modules[:PLACES]
        more = f" and {len(modules) - len(shown)} more" if len(modules) > len(shown) else ""
        message = Text(printable(finding.message))
        if finding.hint:
            message.append(f"\n{printable(finding.hint)}", style="italic")
        message.append("".join(f"\nin {printable(module)}" for module in shown) + more, style="dim")
        table.add_row(Text(f"    {finding.code}"), message)
    if limit is not None and len(groups) > limit:
        rest = sum(len(modules) for _, modules in groups[limit:])
        table.add_row(Text("    ..."), Text(f"and {_several(rest, 'finding')} more: -v shows all", style="dim"))
    return table


def summary_lines(audited: Sequence[Audited], unread: int, everything: bool) -> Iterator[str]:
    """Yield where those run that run as they are meant to, and, of several inputs, how many do what."""
    well: dict[tuple[str, ...], list[Audited]] = {}
    for each in audited:
        if each.modules and each.as_meant and not everything:
            well.setdefault(tuple(row.pyodide for row in each.matrix if row.runs and row.tagged), []).append(each)
    for runs, those in well.items():
        what = f"{len(those)} wheels run" if len(those) > 1 else f"{those[0].source.rstrip('/').rpartition('/')[2]} runs"
        notes = sum(each.count(Severity.NOTE) for each in those)
        more = f"{_several(notes, 'note')} and the matrix" if notes else "the matrix"
        yield printable(f"{what} in Pyodide {', '.join(runs)} (-v shows {more})")
    if len(audited) + unread > 1:
        counts = Counter("of no known Pyodide" if each.verdict is None else COUNTED[each.verdict] for each in audited)
        counts["are refused by PyPI"] = sum(each.accepted is False for each in audited)
        counts["cannot be read"] = unread
        yield ", ".join(f"{count} {words}" for words, count in counts.items() if count)


def _matrix(rows: Sequence[MatrixRow], everything: bool) -> Table:
    """Return a table with a row for each Pyodide; unless `everything`, neighbours of one verdict share a row of one line."""
    from rich.text import Text

    table = _plain()
    table.expand = True  # the last column gets the remaining width, instead of narrowing the others
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=not everything, overflow="fold" if everything else "ellipsis", ratio=1)
    groups: list[list[MatrixRow]] = []
    for row in rows:
        if not everything and groups and _alike(groups[-1][0]) == _alike(row):
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        first, last = group[0], group[-1]
        pyodides = first.pyodide if first is last else f"{first.pyodide} to {last.pyodide}"
        platform = first.platform.removesuffix("_wasm32") if first.platform == last.platform else ""
        verdict, note = _shown(first, everything)
        words, style = WORDS[verdict]
        table.add_row(f"  {pyodides}", platform, Text(words, style=style), Text(printable(note)))
    return table


def _alike(row: MatrixRow) -> tuple[object, ...]:
    """Return what neighbours in the matrix have in common that share a row."""
    return row.verdict, row.code, row.unusable, row.verdict is RunVerdict.DOES_NOT_LOAD or row.tagged


def _shown(row: MatrixRow, everything: bool = False) -> tuple[RunVerdict, str]:
    """Return the verdict of a row, and the reason for it."""
    note = "" if row.tagged else "but it is not tagged for this platform, so micropip does not install it"
    if row.unusable:
        note = listed_parts(row.unusable) + (f": {row.reason}" if everything else "")
    elif not row.runs:
        more = f" and {row.others} more" if row.others else ""
        place = f"{row.module} " if everything else ""
        note = f"{row.code}{more}: {place}{row.reason}"
    return row.verdict, note
