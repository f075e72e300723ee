"""`conda2wheel inspect`."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import console, exit_status, print_error, print_json, print_summary
from conda2wheel.files.escape import printable

if TYPE_CHECKING:
    from rich.table import Table

    from conda2wheel.commands.inspect import Inspection
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.files.terminal import PlainConsole

LINES = 100  # of a cell, at most


@options.with_limits
def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Conda packages (files, folders, URLs), wheels or side modules.", show_default=False),
    ],
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks of bugs.")] = False,
    *,
    limits: Limits,
) -> None:
    """Show the contents of a package, a wheel or a side module.

    Of a package it also shows the wheel that convert would write.
    """
    import time

    from conda2wheel.commands.convert import expand_all
    from conda2wheel.commands.inspect import inspect as inspect_path
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    tables = console(soft_wrap=True)
    results = []
    status = 0
    downloads = options.downloads(offline)
    for path in expand_all(paths):
        started = time.monotonic()
        try:
            report = inspect_path(path, limits, downloads)
        except Conda2WheelError as error:
            print_error(error, verbose)
            status = max(status, exit_status(error))
            results.append(error_json(path, error, time.monotonic() - started))
            continue
        results.append(report.json())
        if not as_json:
            _print_report(tables, report)
    if as_json:
        print_json(document(results))
    print_summary(results)
    raise typer.Exit(status)


def _print_report(tables: PlainConsole, report: Inspection) -> None:
    from rich.table import Table
    from rich.text import Text

    tables.print(Text.assemble((printable(report.source), "bold"), f" ({report.kind})"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    for label, value in report.facts:
        if value not in (None, (), ""):
            values = value if isinstance(value, tuple) else (value,)
            _add_rows(facts, [f"  {label.replace('_', ' ')}"], [printable(str(each)) for each in values])
    tables.print(facts)
    if report.modules:
        table = Table("side module", "bytes", "NEEDED", "RUNTIME_PATH", "functions", "GOT", "unwinding", box=None, pad_edge=False)
        for module in report.modules:
            kind = "" if module.kind == "side module" else f" ({module.kind}{': ' + module.problem if module.problem else ''})"
            _add_rows(
                table,
                [f"  {printable(module.path)}{printable(kind)}"],
                [str(module.size)],
                list(map(printable, module.needed)),
                list(map(printable, module.runtime_path)),
                [str(module.functions)],
                [str(module.got_entries)],
                [module.unwinding],
            )
        tables.print(table)
    if report.files:
        headings = ("member", "change") if report.kind == "wheel" else ("file", "in the wheel")
        table = Table(*headings, box=None, pad_edge=False)
        for path, fate in report.files:
            table.add_row(f"  {printable(path)}", printable(fate))
        tables.print(table)


def _add_rows(table: Table, *cells: list[str]) -> None:
    """Add cells of many lines, in rows of some lines each: the time that rich takes for a cell is quadratic in its lines."""
    parts = ([cell[start : start + LINES] for start in range(0, max(len(cell), 1), LINES)] for cell in cells)
    for row in zip_longest(*parts, fillvalue=[]):
        table.add_row(*map("\n".join, row))
