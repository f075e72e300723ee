"""`conda2wheel audit`: would it run there, and every reason why not."""

from __future__ import annotations

from pathlib import Path
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
    require_places,
    require_platform,
)

if TYPE_CHECKING:
    from conda2wheel.commands.audit_result import Audited
    from conda2wheel.errors import Conda2WheelError

STDOUT = "-"
WIDTH = 130  # of tables where nobody knows how wide: a log, a pipe


def audit(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Wheels, folders of wheels, conda packages, side modules.", show_default=False),
    ],
    platform: Annotated[str, typer.Option(metavar="auto|TAG|PYODIDE", help="A platform tag or a Pyodide version.")] = "auto",
    find_links: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="A folder of wheels that are installed beside: what they bring counts. Repeatable."),
    ] = None,
    libdir: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Where a package's NEEDED libraries may be found. Repeatable.")
    ] = None,
    sarif: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the findings as SARIF 2.1.0 for CI, too; - is stdout.")
    ] = None,
    offline: Offline = False,
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every finding, and where a bug is.")] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Say whether wheels would run in a Pyodide, and every reason why not.

    Nothing is run. Prints a verdict a line on stdout; the findings go to stderr. Exit status: 0 they would run, 1 one would
    not, 2 the command line is wrong.
    """
    import sys

    from rich.console import Console

    from conda2wheel.cli.progress import bar
    from conda2wheel.commands.audit import audit_each
    from conda2wheel.commands.audit_result import Audited
    from conda2wheel.results import document, error_json

    require_platform(platform)
    require_places(libdir or ())
    for folder in find_links or ():
        if not Path(folder).is_dir():
            raise typer.BadParameter(f"{folder}: no such folder", param_hint="--find-links")
    if json and sarif == STDOUT:
        raise typer.BadParameter("stdout cannot be both JSON and SARIF", param_hint="--sarif")
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    people = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    quiet = json or sarif == STDOUT
    entries = []
    audited: list[Audited] = []
    results = []
    with bar(len(paths), "auditing") as watched:
        brought = downloads(offline, watched)
        for outcome in audit_each(paths, platform, find_links or (), libdirs=libdir or (), limits=bounds, downloads=brought):
            results.append(outcome)
            watched.advance()
    for source, result in results:
        if not isinstance(result, Audited):
            _complain(result, verbose)
            entries.append({**error_json(source, result, 0.0), "ok": False})
            continue
        audited.append(result)
        entries.append(result.json())
        for warning in result.warnings:
            typer.echo(f"conda2wheel: warning: {result.source}: {warning.message} [{warning.code}]", err=True)
        if not quiet:
            watched.echo(result.line())
            for table in result.tables(verbose):
                people.print(table)
    if json:
        print_json(document(entries))
    if sarif is not None:
        _write_sarif(sarif, audited, [(source, result) for source, result in results if not isinstance(result, Audited)])
    raise typer.Exit(0 if len(audited) == len(results) and all(result.ok for result in audited) else 1)


def _complain(error: Conda2WheelError, verbose: bool) -> None:
    typer.echo(complaint(error), err=True)
    if verbose and error.code == "internal" and error.__cause__ is not None:
        import traceback

        typer.echo("".join(traceback.format_exception(error.__cause__)), err=True)


def _write_sarif(target: str, audited: list[Audited], errors: list[tuple[str, Conda2WheelError]]) -> None:
    import json

    from conda2wheel.commands.sarif import sarif
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.writing import write_file

    text = json.dumps(sarif(audited, errors), indent=2, ensure_ascii=False) + "\n"
    if target == STDOUT:
        typer.echo(text, nl=False)
        return
    try:
        write_file(Path(target), lambda: iter([text.encode()]))
    except Conda2WheelError as error:
        typer.echo(complaint(error), err=True)
        raise typer.Exit(1) from None
