"""`conda2wheel inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import console, exit_status, print_error, print_json, print_summary
from conda2wheel.files.escape import printable

if TYPE_CHECKING:
    from conda2wheel.commands.inspect import Inspection
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.files.terminal import PlainConsole


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
            facts.add_row(f"  {label.replace('_', ' ')}", "\n".join(printable(str(each)) for each in values))
    tables.print(facts)
    if report.modules:
        table = Table("side module", "bytes", "NEEDED", "RUNTIME_PATH", "functions", "GOT", "unwinding", box=None, pad_edge=False)
        for module in report.modules:
            kind = "" if module.kind == "side module" else f" ({module.kind}{': ' + module.problem if module.problem else ''})"
            table.add_row(
                f"  {printable(module.path)}{printable(kind)}",
                str(module.size),
                "\n".join(map(printable, module.needed)),
                "\n".join(map(printable, module.runtime_path)),
                str(module.functions),
                str(module.got_entries),
                module.unwinding,
            )
        tables.print(table)
    if report.files:
        headings = ("member", "change") if report.kind == "wheel" else ("file", "in the wheel")
        table = Table(*headings, box=None, pad_edge=False)
        for path, fate in report.files:
            table.add_row(f"  {printable(path)}", printable(fate))
        tables.print(table)
