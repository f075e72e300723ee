"""`conda2wheel check`: install wheels into a real Pyodide and import what is in them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Installer(str, enum.Enum):  # noqa: UP042 - typer shows and takes the values
    """Who installs: Pyodide's loader, which checks no tags, or micropip, which does."""

    loadPackage = "loadPackage"  # noqa: N815 - the name of Pyodide's function
    micropip = "micropip"


def check(
    wheels: Annotated[list[Path], typer.Argument(metavar="WHEEL...", help="Wheels to try, each in a fresh interpreter.")],
    *,
    pyodide: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Which Pyodide; else the one that the wheel's tag names.")
    ] = None,
    find_links: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder with wheels that may be required. Repeatable.")
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="NAME", help="Import this instead of the wheel's own modules. Repeatable."),
    ] = None,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="A Python file to run after the imports.")] = None,
    installer: Annotated[Installer, typer.Option(help="Who installs.")] = Installer.loadPackage,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, help="How long one step may take: the start, an install, an import, the script."
        ),
    ] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Install wheels into a real Pyodide and import what is in them."""
    import time

    from rich.console import Console

    from conda2wheel.cli.options import complaint, print_json
    from conda2wheel.cli.progress import bar
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.pyodide import Checked, check_each
    from conda2wheel.pyodide.report import table
    from conda2wheel.results import document, error_json

    people = Console(stderr=True)
    started = time.monotonic()
    entries, checked = [], []
    good = True
    options: dict[str, Any] = {"pyodide": pyodide, "find_links": find_links or (), "imports": imports or (), "script": run}
    try:
        with bar(len(wheels), "running in Pyodide") as watched:
            for wheel, result in check_each(wheels, **options, installer=installer.value, timeout=timeout):
                watched.advance()
                if isinstance(result, Checked):
                    checked.append(result)
                    entries.append(result.json())
                    good &= result.ok
                    if not json:
                        watched.echo(result.line())
                else:
                    watched.echo(complaint(result), err=True)
                    entries.append({**error_json(str(wheel), result, time.monotonic() - started), "ok": False})
                    good = False
    except Conda2WheelError as error:  # it concerns all wheels
        typer.echo(complaint(error), err=True)
        good = False
        entries = [{**error_json(str(wheel), error, 0.0), "ok": False} for wheel in wheels]
    if json:
        print_json(document(entries))
    elif checked:
        people.print(table(checked))
        for result in checked:
            for detail in result.details():
                people.print(detail, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if good else 1)
