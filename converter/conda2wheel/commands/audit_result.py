"""The result of an audit, as JSON, as one line and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

HEADINGS = {  # meaning and colour of each severity
    Severity.LOAD: ("does not load", "bold red"),
    Severity.FATAL: ("loads, and ends the interpreter when it is reached", "bold red"),
    Severity.SUSPICIOUS: ("runs, perhaps with wrong results", "yellow"),
    Severity.NOTE: ("worth knowing", "cyan"),
}
ROWS = {Severity.LOAD: 12, Severity.FATAL: 12, Severity.SUSPICIOUS: 8, Severity.NOTE: 3}  # of one severity, without -v
PLACES = 3  # modules that one row names, without -v


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
        others: how many more findings stop the input from running.
    """

    pyodide: str
    platform: str
    worst: Severity | None
    tagged: bool = True
    code: str = ""
    module: str = ""
    reason: str = ""
    others: int = 0

    @property
    def runs(self) -> bool:
        """Whether no module fails to load and no function is fatal."""
        return self.worst is None or self.worst.runs

    def json(self) -> dict[str, Any]:
        """Return `{"pyodide", "platform", "runs", "tagged", "worst", "code", "module", "reason", "others"}`."""
        return {
            "pyodide": self.pyodide,
            "platform": self.platform,
            "runs": self.runs,
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
        pyodide: the version that `findings` are about.
        modules: the number of side modules.
        findings: the findings, worst first.
        matrix: a row for each known Pyodide; empty without side modules.
        warnings: what limits the result.
        seconds: how long it took.
    """

    source: str
    kind: Literal["wheel", "package", "module"]
    platform: str | None
    pyodide: str | None
    modules: int
    findings: tuple[Finding, ...] = ()
    matrix: tuple[MatrixRow, ...] = ()
    warnings: tuple[ConversionWarning, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the input would run in its Pyodide; without one, in any.

        An input for a platform that no Pyodide has is not installed by any, whatever the matrix says.
        """
        if self.pyodide is not None:
            return all(finding.severity.runs for finding in self.findings)
        return self.modules == 0 or (self.platform is None and any(row.runs for row in self.matrix))

    def count(self, severity: Severity) -> int:
        """Return the number of findings of a severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """Return one entry of `results`.

        It is `{"source", "status" ("audited"), "ok", "kind", "platform", "pyodide", "modules", "findings", "matrix", "warnings",
        "seconds"}`.
        """
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

    def line(self) -> str:
        """Return the verdict as one line."""
        if self.modules == 0:
            return f"{self.source}: nothing native in it, runs in any Pyodide whose Python it admits"
        if self.pyodide is None:
            runs = [row.pyodide for row in self.matrix if row.runs]
            where = f"would run on Pyodide {', '.join(runs)}" if runs else "would run on no Pyodide that is known"
            if self.platform is not None:
                where = f"would NOT run: no Pyodide has {self.platform}" + (
                    f" (as a build for another it {where})" if runs else ""
                )
            return f"{self.source}: {where}"
        if self.ok:
            counts = [
                _several(self.count(kind), str(kind)) for kind in Severity if kind is Severity.SUSPICIOUS and self.count(kind)
            ]
            return f"{self.source}: would run on Pyodide {self.pyodide}" + (f" ({counts[0]})" if counts else "")
        words = ((Severity.LOAD, "fail to load"), (Severity.FATAL, "fatal when reached"))
        found = ", ".join(f"{self.count(severity)} {word}" for severity, word in words if self.count(severity))
        return f"{self.source}: would NOT run on Pyodide {self.pyodide} ({found})"

    def tables(self, everything: bool = False) -> Iterator[RenderableType]:
        """Yield tables for rich: the findings by severity, then the matrix. Long lists are shortened, unless `everything`."""
        from rich.text import Text

        if self.modules:
            yield Text(self.source, style="bold")
        for severity in Severity:
            found = [finding for finding in self.findings if finding.severity is severity]
            if found:
                title, style = HEADINGS[severity]
                yield Text(f"  {severity}: {title} ({_several(len(found), 'finding')})", style=style)
                yield _findings(_grouped(found), None if everything else ROWS[severity])
        if self.matrix:
            yield Text("  in which Pyodide would it run?", style="bold")
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
        message = Text(finding.message)
        if finding.hint:
            message.append(f"\n{finding.hint}", style="italic")
        message.append("".join(f"\nin {module}" for module in shown) + more, style="dim")
        table.add_row(Text(f"    {finding.code}"), message)
    if limit is not None and len(groups) > limit:
        rest = sum(len(modules) for _, modules in groups[limit:])
        table.add_row(Text("    ..."), Text(f"and {_several(rest, 'finding')} more: -v shows all", style="dim"))
    return table


def _matrix(rows: Sequence[MatrixRow], everything: bool) -> Table:
    """Return a table with a row for each Pyodide, shortened to one line unless `everything`."""
    from rich.text import Text

    table = _plain()
    table.expand = True  # the last column gets the remaining width, instead of narrowing the others
    known = [(f"  {row.pyodide}", row.platform.removesuffix("_wasm32"), "runs" if row.runs else "no") for row in rows]
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=not everything, overflow="fold" if everything else "ellipsis", ratio=1)
    for row, (pyodide, platform, verdict) in zip(rows, known, strict=True):
        note = "" if row.tagged else "but it is not tagged for this platform, so micropip does not install it"
        if not row.runs:
            more = f" and {row.others} more" if row.others else ""
            place = f"{row.module} " if everything else ""
            note = f"{row.code}{more}: {place}{row.reason}"
        table.add_row(pyodide, platform, Text(verdict, style="green" if row.runs else "red"), Text(note))
    return table
