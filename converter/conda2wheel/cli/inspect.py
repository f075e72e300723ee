"""`conda2wheel inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli.options import (
    Json,
    MaxMembers,
    MaxMemberSize,
    MaxRatio,
    MaxSize,
    Offline,
    complaint,
    downloads,
    limits,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from conda2wheel.commands.inspect import Inspection


def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Conda packages (files, folders, URLs), wheels or side modules.", show_default=False
        ),
    ],
    offline: Offline = False,
    json: Json = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Show what a package, a wheel or a side module is made of."""
    import sys
    import time

    from rich.console import Console

    from conda2wheel.commands.convert import expand_all
    from conda2wheel.commands.inspect import inspect as look
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 240)
    results = []
    good = True
    brought = downloads(offline)
    for path in expand_all(paths):
        started = time.monotonic()
        try:
            report = look(path, bounds, brought)
        except Conda2WheelError as error:
            typer.echo(complaint(error), err=True)
            good = False
            results.append(error_json(path, error, time.monotonic() - started))
            continue
        results.append(report.json())
        if not json:
            _show(console, report)
    if json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)


def _show(console: Console, report: Inspection) -> None:
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
        heads = ("member", "was changed") if report.kind == "wheel" else ("file", "becomes")
        table = Table(*heads, box=None, pad_edge=False)
        for path, fate in report.files:
            table.add_row(escape(f"  {path}"), escape(fate))
        console.print(table)
