"""The report for people: tables on a terminal, aligned lines elsewhere, with the same sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conda2wheel.abi.audit.findings import listed_parts
from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.files.escape import format_seconds, format_size, printable, shortened
from conda2wheel.mirror.report.missing import KINDS
from conda2wheel.mirror.report.model import CHANGES, COUNTS, DAMAGED, MirrorReport

if TYPE_CHECKING:
    from conda2wheel.files.terminal import PlainConsole

NAMES = 10  # of a list, where not all are requested
WIDEST = 90  # a wider cell shifts its own line to the right, and no other


@dataclass(frozen=True)
class TextSection:
    """A heading and a table. Columns whose name begins with `>` are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def with_short_cells(self) -> TextSection:
        """The section with shortened hashes and URLs; -v and the JSON have them in full."""
        return replace(self, rows=tuple(tuple(map(shortened, row)) for row in self.rows))


def sections(report: MirrorReport, every: bool = False) -> list[TextSection]:
    """The sections that are not empty, with complete lists if `every`, else with their beginnings."""
    most = None if every else NAMES
    found = [
        TextSection("Needs attention", ("why",), tuple((reason,) for reason in report.attention)),
        TextSection("Notes", ("what",), tuple((note,) for note in report.notes)),
        TextSection("Counts", ("what", ">now", ">before"), tuple(_counts(report))),
        TextSection("Changes", ("what", ">packages", "which"), tuple(_changes(report, most))),
        TextSection(
            "Refused",
            ("code", ">packages", "meaning"),
            tuple(
                (code, str(len(items)), REFUSAL_CODES[code].meaning if code in REFUSAL_CODES else "")
                for code, items in report.refused.items()
            ),
        ),
        TextSection("Newly refused", ("package", "code", "why"), tuple(_newly_refused(report, most))),
        TextSection(
            "Failed",
            ("class", ">packages", "last", "error"),
            tuple(
                (code, str(len(items)), items[-1].label, (items[-1].result and items[-1].result.message) or "")
                for code, items in report.failed.items()
            ),
        ),
        TextSection("Records that cannot be used", ("file", "why"), tuple(_left_out(report, most))),
        TextSection("Runs except for a part", ("finding", ">wheels", "first"), tuple(_runs_except(report))),
        TextSection("Time and bytes", ("stage", ">items", ">time", ">each"), tuple(_stages(report))),
        TextSection(
            "Slowest", (">time", "package"), tuple((format_seconds(item.seconds), item.label) for item in report.slowest())
        ),
        TextSection("Largest", (">size", "wheel"), tuple(_largest(report))),
        TextSection("Shared libraries", (">wheels", ">size", "library wheel", "package"), tuple(_libraries(report, most))),
        TextSection("Missing", ("distribution", ">wheels", "what is known", "first"), tuple(_missing(report, most))),
    ]
    if not every:
        found = [section.with_short_cells() for section in found]
    return [section for section in found if section.rows]


def _left_out(report: MirrorReport, most: int | None) -> Iterator[tuple[str, ...]]:
    for record in report.left_out[:most]:
        yield f"{record.subdir}/{record.filename}", record.why
    if most is not None and len(report.left_out) > most:
        yield f"{len(report.left_out) - most} more", ""


def headline(report: MirrorReport) -> str:
    """The outcome of the run, in one line."""
    counts = report.counts
    line = f"{counts['packages']} packages of {', '.join(report.channels)}: "
    line += f"{counts['wheels']} wheels of {counts['projects']} projects"
    if report.run is not None:
        line += f"; {report.run.worked} worked on in {format_seconds(report.run.seconds)}"
    if report.generation is not None:
        line += f"; generation {report.generation}"
    return printable(line)


def text(report: MirrorReport, every: bool = False) -> str:
    """The report as plain lines, for logs, mail and files."""
    lines = [headline(report)]
    for section in sections(report, every):
        lines += ["", section.title, *_aligned(section)]
    return "\n".join(lines) + "\n"


def show(report: MirrorReport, console: PlainConsole, every: bool = False) -> None:
    """Print the report: as tables on a terminal, otherwise as `text`."""
    if not console.is_terminal:
        console.print(text(report, every), end="", soft_wrap=True)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(headline(report))
    for section in sections(report, every):
        urgent = section.title == "Needs attention"
        table = Table(
            title=section.title,
            title_justify="left",
            title_style="bold red" if urgent else "bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in section.columns:
            table.add_column(Text(column.lstrip(">")), justify="right" if column.startswith(">") else "left", overflow="fold")
        for row in section.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        console.print(table)


def _aligned(section: TextSection) -> Iterator[str]:
    rows = [tuple(printable(cell) for cell in row) for row in section.rows]
    widths = [min(WIDEST, max(len(row[column]) for row in rows)) for column in range(len(section.columns))]
    for row in rows:
        cells = (
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for column, cell, width in zip(section.columns, row, widths, strict=True)
        )
        yield "  " + "  ".join(cells).rstrip()


def _counts(report: MirrorReport) -> Iterator[tuple[str, ...]]:
    for name in COUNTS:
        now, before = report.counts[name], report.before.get(name)
        form = format_size if name == "bytes" else str
        yield name, form(now), "" if before is None else "the same" if before == now else f"was {form(before)}"


def _changes(report: MirrorReport, most: int | None) -> Iterator[tuple[str, ...]]:
    for kind, packages in report.changes.items():
        if packages:
            labels = [f"{package.subdir}/{package.stem}" for package in packages[:most]]
            yield kind, str(len(packages)), _listed(labels, len(packages)) + f" ({CHANGES[kind]})"


def _newly_refused(report: MirrorReport, most: int | None) -> Iterator[tuple[str, ...]]:
    """The packages that were not refused before; of a first run, which refuses hundreds by their kind, the damaged ones."""
    found = [item for item in report.newly_refused if report.history or item.code in DAMAGED]
    for item in found[:most]:
        yield item.label, item.code or "", (item.result and item.result.message) or ""
    if left := len(found) - len(found[:most]):
        yield f"{left} more", "", ""


def _runs_except(report: MirrorReport) -> Iterator[tuple[str, ...]]:
    for code, items in report.runs_except.items():
        wheel = items[0].wheel
        parts = [part for part in wheel.unusable if part.code == code] if wheel is not None else []
        yield code, str(len(items)), f"{items[0].label}: {listed_parts(parts)}"


def _stages(report: MirrorReport) -> Iterator[tuple[str, ...]]:
    for stage in report.stages:
        yield stage.name, str(stage.items), format_seconds(stage.seconds), format_seconds(stage.seconds / stage.items)
    if report.downloaded:
        yield "downloaded", "", format_size(report.downloaded), ""


def _largest(report: MirrorReport) -> Iterator[tuple[str, ...]]:
    for item in report.largest():
        if item.wheel is not None:
            yield format_size(item.wheel.size), item.wheel.filename


def _libraries(report: MirrorReport, most: int | None) -> Iterator[tuple[str, ...]]:
    for library, users in report.libraries[:most]:
        package = library.package
        yield str(users), format_size(library.wheel.size), library.wheel.filename, f"{package.subdir}/{package.stem}"
    if left := len(report.libraries) - len(report.libraries[:most]):
        yield str(left), "", "more", ""


def _missing(report: MirrorReport, most: int | None) -> Iterator[tuple[str, ...]]:
    for each in (report.missing or ())[:most]:
        known = (
            KINDS[each.kind]
            + (f" ({each.code})" if each.code else "")
            + (f": {', '.join(each.available)}" if each.available else "")
        )
        wheel, requirement = each.required_by[0]
        yield each.name, str(len(each.required_by)), known, f"{wheel} requires {requirement}"
    left = len(report.missing or ()) - len((report.missing or ())[:most])
    if left:
        yield f"{left} more", "", "", ""
    if report.unjudged:
        yield "not judged", str(report.unjudged), "they fit no Pyodide that was searched", ""


def _listed(labels: Sequence[str], total: int) -> str:
    return ", ".join(labels) + (f" and {total - len(labels)} more" if total > len(labels) else "")
