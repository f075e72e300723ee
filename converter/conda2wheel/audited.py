"""What an audit ends in: `Audited`, which knows its own JSON, its own line and its own tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conda2wheel.abi.findings import Finding, Severity

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# What a severity means, as a heading.
HEADINGS = {
    Severity.LOAD: ("does not load", "bold red"),
    Severity.FATAL: ("loads, and ends the interpreter when it is reached", "bold red"),
    Severity.SUSPICIOUS: ("runs, perhaps with wrong results", "yellow"),
    Severity.NOTE: ("worth knowing", "cyan"),
}
PLACES = 3  # modules that one row names
ROWS = {Severity.LOAD: 12, Severity.FATAL: 12, Severity.SUSPICIOUS: 8, Severity.NOTE: 3}  # of one severity


@dataclass(frozen=True)
class Row:
    """One row of the matrix: would it run in that Pyodide? `why` not, in one line, with the `code` of the worst finding.
    `tagged`: it was made for that Pyodide's platform, so that micropip and PyPI would give it to its users."""

    pyodide: str
    platform: str
    runs: bool
    tagged: bool
    code: str | None = None
    why: str | None = None

    def json(self) -> dict[str, Any]:
        """`{"pyodide", "platform", "runs", "tagged", "code", "why"}`."""
        return {
            "pyodide": self.pyodide,
            "platform": self.platform,
            "runs": self.runs,
            "tagged": self.tagged,
            "code": self.code,
            "why": self.why,
        }


@dataclass(frozen=True)
class Audited:
    """The verdict about one wheel, package or module.

    `pyodide` is the version that `findings` are about, None where no Pyodide follows from the input or the request: then the
    matrix is the answer. `platform` is that Pyodide's, or the one that no Pyodide has. `modules` counts side modules.
    """

    source: str
    kind: Literal["wheel", "package", "module"]
    platform: str | None
    pyodide: str | None
    modules: int
    findings: tuple[Finding, ...] = ()
    matrix: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        """Would it run there? Without a Pyodide to ask about: would it run anywhere? What a platform that no Pyodide has was
        named for, or made for, runs nowhere that is known."""
        if not self.modules:
            return True
        if self.pyodide is None:
            return self.platform is None and any(row.runs for row in self.matrix)
        return all(finding.severity.runs for finding in self.findings)

    def count(self, severity: Severity) -> int:
        """How many findings have that severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """One entry of `results`: `{"source", "status" ("passed" or "failed"), "ok", "kind", "platform", "pyodide",
        "modules", "findings", "matrix", "notes", "seconds"}`."""
        return {
            "source": self.source,
            "status": "passed" if self.ok else "failed",
            "ok": self.ok,
            "kind": self.kind,
            "platform": self.platform,
            "pyodide": self.pyodide,
            "modules": self.modules,
            "findings": [finding.json() for finding in self.findings],
            "matrix": [row.json() for row in self.matrix],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """One line: the verdict, the input, which Pyodide it is about, and how many findings of which kind."""
        counts = [f"{self.count(severity)} {severity}" for severity in Severity if self.count(severity)]
        if not self.modules:
            said = ["no side modules"]
        elif self.pyodide is not None:
            said = [f"Pyodide {self.pyodide}", _several(self.modules, "module"), *counts]
        elif self.platform is not None:
            said = [f"no Pyodide has {self.platform}"]
        else:
            runs = [row.pyodide for row in self.matrix if row.runs]
            said = [f"would run in Pyodide {', '.join(runs)}" if runs else "would run in no Pyodide"]
        return f"{'ok' if self.ok else 'FAILED'} {self.source} ({', '.join(said)})"

    def tables(self, everything: bool = False) -> Iterator[RenderableType]:
        """What a person wants to see, for rich: notes, findings by severity, the matrix. Long lists are folded, unless
        `everything` is asked for."""
        from rich.text import Text

        yield Text(self.source, style="bold")
        for note in self.notes:
            yield Text(f"  {note}")
        for severity in Severity:
            found = [finding for finding in self.findings if finding.severity is severity]
            if found:
                title, style = HEADINGS[severity]
                yield Text(f"  {severity}: {title} ({_several(len(found), 'finding')})", style=style)
                yield _table(_grouped(found), None if everything else ROWS[severity])
        if self.matrix:
            yield Text("  where it would run", style="bold")
            yield _matrix(self.matrix)


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _grouped(findings: Iterable[Finding]) -> list[tuple[Finding, list[str]]]:
    """Findings that say the same of several modules, with these; most modules first."""
    groups: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.message, finding.hint), (finding, []))[1].append(finding.module)
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def _table(groups: Sequence[tuple[Finding, list[str]]], limit: int | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for finding, modules in groups[:limit]:
        shown = modules if limit is None else modules[:PLACES]
        more = f"\nand {len(modules) - len(shown)} more" if len(modules) > len(shown) else ""
        message = Text(finding.message)
        if finding.hint:
            message.append(f"\n{finding.hint}", style="dim")
        table.add_row(Text(f"    {finding.code}"), Text("\n".join(shown) + more), message)
    if limit is not None and len(groups) > limit:
        rest = sum(len(modules) for _, modules in groups[limit:])
        table.add_row(Text("    ..."), Text(f"and {_several(rest, 'finding')} more"), Text("-v shows all", style="dim"))
    return table


def _matrix(rows: Iterable[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for overflow in ("ellipsis", "ellipsis", "ellipsis", "fold"):
        table.add_column(overflow=overflow, no_wrap=overflow == "ellipsis")  # type: ignore[arg-type]
    for row in rows:
        verdict = Text("runs", style="green") if row.runs else Text("no", style="red")
        note = row.why or ("" if row.tagged else "but it was not made for this platform, and micropip would not take it")
        table.add_row(Text(f"    {row.pyodide}"), Text(row.platform), verdict, Text(note))
    return table
