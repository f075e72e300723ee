"""`conda2wheel verify`: was a wheel made of the packages that it names, and of nothing else?"""

from __future__ import annotations

from typing import Annotated

import typer

from conda2wheel.cli.options import Json, MaxMembers, MaxMemberSize, MaxRatio, MaxSize, complaint, limits, print_json

SHOWN = 10  # differences of one wheel, unless -v asks for all


def verify(
    wheels: Annotated[list[str], typer.Argument(metavar="WHEEL...", help="Wheels that conda2wheel made.", show_default=False)],
    packages: Annotated[
        list[str],
        typer.Option(
            "--from", metavar="PATH", help="The packages that they were made of: files, folders of them, prefixes. Repeatable."
        ),
    ],
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every difference.")] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Make wheels again from the packages that they name, and compare the bytes.

    Prints a verdict a line on stdout; differences go to stderr. Exit status: 0 all are identical, 1 one is not or could not be
    made again, 2 the command line is wrong.
    """
    import os
    import time

    from conda2wheel._version import __version__
    from conda2wheel.commands.verify import verify as replay
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    for place in packages:
        if not os.path.lexists(place):
            raise typer.BadParameter(f"{place}: no such file or folder", param_hint="--from")
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    results = []
    good = True
    for wheel in wheels:
        started = time.monotonic()
        try:
            result = replay(wheel, packages, limits=bounds)
        except Conda2WheelError as error:
            typer.echo(complaint(error), err=True)
            results.append(error_json(wheel, error, time.monotonic() - started))
            good = False
            continue
        good &= result.identical
        results.append(result.json())
        if not json:
            typer.echo(f"{'identical' if result.identical else 'different'} {result.source}")
        for difference in result.differences if verbose else result.differences[:SHOWN]:
            typer.echo(f"conda2wheel: {result.source}: {difference.member}: {difference.what}: {difference.message}", err=True)
        if len(result.differences) > SHOWN and not verbose:
            typer.echo(f"conda2wheel: {result.source}: and {len(result.differences) - SHOWN} more: -v shows all", err=True)
        if result.differences and result.other_version:
            note = f"it was made by conda2wheel {result.made_by}; this is {__version__}, which need not give the same bytes"
            typer.echo(f"conda2wheel: {result.source}: {note}", err=True)
    if json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)
