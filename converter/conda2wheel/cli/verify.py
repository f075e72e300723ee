"""`conda2wheel verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import echo, exit_status, print_error, print_json, print_summary

if TYPE_CHECKING:
    from conda2wheel.files.packagefile import Limits

DIFFERENCES = 10  # shown of one wheel without -v


@options.with_limits
def verify(
    wheels: Annotated[list[str], typer.Argument(metavar="WHEEL", help="Wheels that conda2wheel wrote.", show_default=False)],
    packages: Annotated[
        list[str],
        typer.Option(
            "--from", metavar="PATH", help="Look for the source packages here: files, folders of packages, prefixes. Repeatable."
        ),
    ],
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every difference.")] = False,
    *,
    limits: Limits,
) -> None:
    """Convert the source packages of wheels again, and compare the bytes.

    Prints one verdict per line on stdout; differences go to stderr. Exit status: 0 all are identical, 1 one differs or cannot be
    converted again, 2 wrong command line.
    """
    import time

    from conda2wheel._version import __version__
    from conda2wheel.commands.verify import verify as verify_wheel
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    options.require_libdirs(packages, "--from")
    results = []
    status = 0
    for wheel in wheels:
        started = time.monotonic()
        try:
            result = verify_wheel(wheel, packages, limits=limits)
        except Conda2WheelError as error:
            print_error(error, verbose)
            results.append(error_json(wheel, error, time.monotonic() - started))
            status = max(status, exit_status(error))
            continue
        status = max(status, 0 if result.identical else 1)
        results.append(result.json())
        if not as_json:
            echo(f"{'identical' if result.identical else 'different'} {result.source}")
        for difference in result.differences if verbose else result.differences[:DIFFERENCES]:
            echo(f"conda2wheel: {result.source}: {difference.member}: {difference.what}: {difference.message}", err=True)
        if len(result.differences) > DIFFERENCES and not verbose:
            more = len(result.differences) - DIFFERENCES
            echo(f"conda2wheel: {result.source}: and {more} more; -v shows all", err=True)
        if result.differences and result.other_version:
            note = f"conda2wheel {result.made_by} wrote it; this is {__version__}, which may write different bytes"
            echo(f"conda2wheel: {result.source}: {note}", err=True)
    if as_json:
        print_json(document(results))
    print_summary(results)
    raise typer.Exit(status)
