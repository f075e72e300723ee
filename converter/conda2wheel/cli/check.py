"""`conda2wheel check`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import console, echo, exit_status, print_error, print_json, print_summary


class InstallerChoice(str, enum.Enum):  # noqa: UP042 - typer shows and takes the values
    """What installs a wheel: Pyodide's loader, which does not check tags, or micropip, which does."""

    loadPackage = "loadPackage"  # noqa: N815 - the name of Pyodide's function
    micropip = "micropip"


def check(
    wheels: Annotated[
        list[Path],
        typer.Argument(metavar="WHEEL|DIR", help="Wheels, or folders of them; each is checked in a Pyodide of its own."),
    ],
    *,
    pyodide: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="The version of Pyodide, or its series (0.29), instead of the newest one for the wheel's tag."
        ),
    ] = None,
    find_links: options.FindLinks = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="NAME", help="Import this module instead of those in the wheel. Repeatable."),
    ] = None,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="Run this Python file after the imports.")] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="Of wheels of programs, run the test of the recipe and Emscripten programs with your rights, not confined.",
        ),
    ] = False,
    installer: Annotated[InstallerChoice, typer.Option(help="What installs the wheel.")] = InstallerChoice.loadPackage,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.1, help="Limit the time of one step: start, install, an import, the script."),
    ] = 120.0,
    as_json: options.Json = False,
) -> None:
    """Install wheels into a real Pyodide and import their modules.

    Prints one verdict per line on stdout; tables and tracebacks go to stderr.
    """
    import time

    from conda2wheel.cli.progress import show_progress
    from conda2wheel.errors import Conda2WheelError, unexpected_as_failed
    from conda2wheel.pyodide import Checked, CheckOptions, check_each
    from conda2wheel.pyodide.report import table
    from conda2wheel.results import document, error_json

    options.require_pyodide(pyodide)
    options.require_libdirs(find_links or (), "--find-links", urls=False)
    options.require_file(run, "--run")
    started = time.monotonic()
    entries, checked = [], []
    status = 0
    folders = [Path(each) for each in find_links or ()]
    arguments: dict[str, Any] = {"pyodide": pyodide, "find_links": folders, "imports": imports or (), "script": run}
    arguments["native"] = native
    try:
        with unexpected_as_failed("check"), show_progress(len(wheels), "running in Pyodide") as display:
            for wheel, result in check_each(wheels, CheckOptions(**arguments, installer=installer.value, timeout=timeout)):
                display.advance()
                if isinstance(result, Checked):
                    checked.append(result)
                    entries.append(result.json())
                    status = max(status, 0 if result.ok else 1)
                    if not as_json:
                        display.echo(result.line())
                else:
                    print_error(result, display=display)
                    entries.append({**error_json(str(wheel), result, time.monotonic() - started), "ok": False})
                    status = max(status, exit_status(result))
    except Conda2WheelError as error:  # it concerns all wheels
        print_error(error)
        status = exit_status(error)
        entries = [{**error_json(str(wheel), error, 0.0), "ok": False} for wheel in wheels]
    if as_json:
        print_json(document(entries))
    elif checked:
        console(err=True, width=80).print(table(checked))
        for result in checked:
            for detail in result.details():
                echo(detail, err=True)
    print_summary(entries)
    raise typer.Exit(status)
