"""`conda2wheel names`: what conda packages are called on PyPI, and who says so."""

from __future__ import annotations

from typing import Annotated

import typer

from conda2wheel.cli.options import Json, Offline, complaint, downloads, print_json, require_places


def names(
    conda_names: Annotated[
        list[str], typer.Argument(metavar="CONDA-NAME...", help="Names, without versions.", show_default=False)
    ],
    channel: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Channels whose packages are looked into. Repeatable.")
    ] = None,
    libdir: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Packages to look into: one, a folder of them, a prefix. Repeatable."),
    ] = None,
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Say what conda packages are called on PyPI, and who says so.

    Prints a line for each: the conda name, its PyPI name (- where nothing on PyPI is this), the source, a note: of dist-info, the
    package that has it.
    """
    from conda2wheel.conda.names import answer, is_valid_name
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.results import document
    from conda2wheel.wheel.name_sources import Surroundings

    for name in conda_names:
        if not is_valid_name(name.lstrip("_")):
            raise typer.BadParameter(
                f"{name!r} is no package's name; give it without version and channel", param_hint="CONDA-NAME"
            )
    require_places(libdir or ())
    try:
        around = Surroundings(libdir or (), Limits(), downloads(offline))
        seen, warnings = around.seen({name.lower(): name.lower() for name in conda_names}, channel or ())
    except Conda2WheelError as error:
        typer.echo(complaint(error), err=True)
        raise typer.Exit(1) from None
    for warning in warnings:
        typer.echo(f"conda2wheel: warning: {warning.message} [{warning.code}]", err=True)
    answers = [answer(name, seen.get(name.lower())) for name in conda_names]
    if json:
        print_json(document([each.json() for each in answers]))
        return
    for each in answers:
        typer.echo("  ".join(filter(None, (each.conda, each.pypi or "-", each.source, each.note and f"({each.note})"))))
