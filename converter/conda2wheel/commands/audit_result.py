"""What an audit ends in: `Audited`, which knows its own JSON, its own line and its own tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

HEADINGS = {  # what a severity means, and its colour
    Severity.LOAD: ("does not load", "bold red"),
    Severity.FATAL: ("loads, and ends the interpreter when it is reached", "bold red"),
    Severity.SUSPICIOUS: ("runs, perhaps with wrong results", "yellow"),
    Severity.NOTE: ("worth knowing", "cyan"),
}
ROWS = {Severity.LOAD: 12, Severity.FATAL: 12, Severity.SUSPICIOUS: 8, Severity.NOTE: 3}  # of one severity, folded
PLACES = 3  # modules that one row names, folded


@dataclass(frozen=True)
class MatrixRow:
    """One line of the matrix: what would happen in one Pyodide.

    `code`, `module` and `reason` are the worst finding's, empty where it runs, and `others` how many more of its kind there
    are. `tagged`: it was made for that platform, as far as it says, so that micropip would take it.
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
        """Whether nothing in it fails to load or is fatal when reached."""
        return self.worst is None or self.worst.runs

    def json(self) -> dict[str, Any]:
        """`{"pyodide", "platform", "runs", "tagged", "worst", "code", "module", "reason", "others"}`."""
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
    """The verdict about one wheel, package or module.

    `pyodide` is the version that `findings` are about, and `platform` its tag. Without one, `platform` is the tag of a
    platform that no Pyodide has, or None where the input does not say; the matrix is the answer then. `modules` is how many
    side modules were judged; `matrix` has a row for each known Pyodide, none where there is nothing native.
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
        """Whether it would run in its Pyodide; without one, anywhere. What was made for a platform that no Pyodide has is
        taken by none, whatever the matrix says."""
        if self.pyodide is not None:
            return all(finding.severity.runs for finding in self.findings)
        return self.modules == 0 or (self.platform is None and any(row.runs for row in self.matrix))

    def count(self, severity: Severity) -> int:
        """How many findings of a severity there are."""
        return sum(finding.severity is severity for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """One entry of `results`: `{"source", "status" ("audited"), "ok", "kind", "platform", "pyodide", "modules",
        "findings", "matrix", "warnings", "seconds"}`."""
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
        """The verdict in a line, for people."""
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
        told = ", ".join(f"{self.count(severity)} {word}" for severity, word in words if self.count(severity))
        return f"{self.source}: would NOT run on Pyodide {self.pyodide} ({told})"

    def tables(self, everything: bool = False) -> Iterator[RenderableType]:
        """What a person wants to see, for rich: findings by severity, then the matrix. Long lists are folded, unless
        `everything` is asked for."""
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
    """What is said of several modules alike, with these; of most modules first."""
    groups: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.message, finding.hint), (finding, []))[1].append(finding.module)
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def _plain() -> Table:
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _findings(groups: Sequence[tuple[Finding, list[str]]], limit: int | None) -> Table:
    """A row for what is found: its code, and in the other column the message, what to do, and where it was found."""
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
    """A row for each Pyodide, in one line unless `everything` is asked for."""
    from rich.text import Text

    table = _plain()
    table.expand = True  # the last column takes what is left, instead of taking from the others
    known = [(f"  {row.pyodide}", row.platform.removesuffix("_wasm32"), "runs" if row.runs else "no") for row in rows]
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=not everything, overflow="fold" if everything else "ellipsis", ratio=1)
    for row, (pyodide, platform, verdict) in zip(rows, known, strict=True):
        note = "" if row.tagged else "but it was not made for this platform, and micropip does not take it"
        if not row.runs:
            more = f" and {row.others} more" if row.others else ""
            place = f"{row.module} " if everything else ""
            note = f"{row.code}{more}: {place}{row.reason}"
        table.add_row(pyodide, platform, Text(verdict, style="green" if row.runs else "red"), Text(note))
    return table
