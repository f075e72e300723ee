"""`conda2wheel repair`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli.options import (
    Allow,
    Given,
    Isolate,
    Json,
    MaxMembers,
    MaxMemberSize,
    MaxRatio,
    MaxSize,
    Offline,
    allowed,
    complaint,
    downloads,
    limits,
    print_json,
    require_places,
    require_platform,
)

if TYPE_CHECKING:
    from conda2wheel.cli.progress import Watched
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import Repaired


def repair(
    wheels: Annotated[list[Path], typer.Argument(metavar="WHEEL...", help="Wheels that any builder made.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where wheels are written; not over their own originals.")
    ] = Path("dist"),
    libdir: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Where NEEDED libraries may be found: a package, a folder of packages or libraries, a prefix. Repeatable.",
        ),
    ] = None,
    platform: Annotated[str, typer.Option(metavar="auto|TAG|PYODIDE", help="A platform tag or a Pyodide version.")] = "auto",
    compat_tags: Annotated[bool, typer.Option("--compat-tags", help="Add older names of the platform to the tag.")] = False,
    isolate: Isolate = True,
    provided: Given = True,
    allow: Allow = None,
    offline: Offline = False,
    json: Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the evidence, what travels, and where a bug is.")
    ] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Vendor shared libraries into wheels that someone else built, and correct their tags.

    Prints the new wheels' paths on stdout; everything else goes to stderr. A wheel that needs nothing is copied.
    """
    import time

    from conda2wheel.cli.progress import bar
    from conda2wheel.commands.repair import repair_each
    from conda2wheel.results import Repaired, document, error_json

    require_platform(platform)
    require_places(libdir or ())
    codes = allowed(allow)
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    results = []
    good = True
    started = time.monotonic()
    with bar(len(wheels), "repairing") as watched:
        outcomes = repair_each(
            wheels,
            out=out,
            libdirs=libdir or (),
            platform=platform,
            compat_tags=compat_tags,
            isolate=isolate,
            provided=provided,
            allow=codes,
            limits=bounds,
            downloads=downloads(offline, watched),
        )
        for source, outcome in outcomes:
            if isinstance(outcome, Repaired):
                results.append(outcome.json())
                _show(watched, outcome, json, verbose)
            else:
                good = False
                results.append(error_json(source, outcome, time.monotonic() - started))
                _complain(watched, outcome, verbose)
            watched.advance()
            started = time.monotonic()
    if json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)


def _complain(watched: Watched, error: Conda2WheelError, verbose: bool) -> None:
    watched.echo(complaint(error), err=True)
    if verbose and error.code == "internal" and error.__cause__ is not None:
        import traceback

        watched.echo("".join(traceback.format_exception(error.__cause__)), err=True)


def _show(watched: Watched, repaired: Repaired, json: bool, verbose: bool) -> None:
    if not json:
        watched.echo(str(repaired.wheel))
    for warning in repaired.warnings:
        where = f"{warning.file}: " if warning.file else ""
        watched.echo(f"conda2wheel: warning: {repaired.filename}: {where}{warning.message} [{warning.code}]", err=True)
    if verbose:
        if repaired.evidence:
            watched.echo(f"{repaired.filename}: {repaired.platform}, by this: {'; '.join(repaired.evidence)}", err=True)
        for library in repaired.vendored:
            users = ", ".join(library.needed_by)
            watched.echo(f"{repaired.filename}: vendored {library.name} from {library.source}, NEEDED by {users}", err=True)
        if not repaired.changed:
            watched.echo(f"{repaired.filename}: needed nothing, copied", err=True)
