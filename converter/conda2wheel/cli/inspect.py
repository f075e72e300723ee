"""`conda2wheel inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import error_line, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from conda2wheel.commands.inspect import Inspection
    from conda2wheel.files.packagefile import Limits

WIDTH = 240  # columns of a table where stdout is no terminal


@options.with_limits
def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Conda packages (files, folders, URLs), wheels or side modules.", show_default=False),
    ],
    offline: options.Offline = False,
    as_json: options.Json = False,
    *,
    limits: Limits,
) -> None:
    """Show the contents of a package, a wheel or a side module.

    Of a package it also shows the wheel that convert would write.
    """
    import sys
    import time

    from rich.console import Console

    from conda2wheel.commands.convert import expand_all
    from conda2wheel.commands.inspect import inspect as inspect_path
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    results = []
    good = True
    downloads = options.downloads(offline)
    for path in expand_all(paths):
        started = time.monotonic()
        try:
            report = inspect_path(path, limits, downloads)
        except Conda2WheelError as error:
            typer.echo(error_line(error), err=True)
            good = False
            results.append(error_json(path, error, time.monotonic() - started))
            continue
        results.append(report.json())
        if not as_json:
            _print_report(console, report)
    if as_json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)


def _print_report(console: Console, report: Inspection) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(f"[bold]{escape(report.source)}[/bold] ({report.kind})")
    facts = Table(box=None, show_header=False, pad_edge=False)
    for label, value in report.facts:
        if value not in (None, (), ""):
            facts.add_row(
                f"  {label.replace('_', ' ')}", escape("\n".join(map(str, value)) if isinstance(value, tuple) else str(value))
            )
    console.print(facts)
    if report.modules:
        table = Table("side module", "bytes", "NEEDED", "RUNTIME_PATH", "functions", "GOT", "unwinding", box=None, pad_edge=False)
        for module in report.modules:
            kind = "" if module.kind == "side module" else f" ({module.kind}{': ' + module.problem if module.problem else ''})"
            table.add_row(
                escape(f"  {module.path}{kind}"),
                str(module.size),
                escape("\n".join(module.needed)),
                escape("\n".join(module.runtime_path)),
                str(module.functions),
                str(module.got_entries),
                module.unwinding,
            )
        console.print(table)
    if report.files:
        headings = ("member", "change") if report.kind == "wheel" else ("file", "in the wheel")
        table = Table(*headings, box=None, pad_edge=False)
        for path, fate in report.files:
            table.add_row(escape(f"  {path}"), escape(fate))
        console.print(table)
