"""`conda2wheel names`: what conda packages are called on PyPI, and who says so."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json, print_json


def names(
    conda_names: Annotated[
        list[str], typer.Argument(metavar="CONDA-NAME...", help="Names, without versions.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Say what conda packages are called on PyPI, and who says so.

    Prints a line for each: the conda name, its PyPI name (- where nothing on PyPI is this), the source, a note.
    """
    from conda2wheel.outcome import document
    from conda2wheel.wheel.names import answer, is_valid_name

    for name in conda_names:
        if not is_valid_name(name.lstrip("_")):
            raise typer.BadParameter(
                f"{name!r} is no package's name; give it without version and channel", param_hint="CONDA-NAME"
            )
    answers = [answer(name) for name in conda_names]
    if json:
        print_json(document([each.json() for each in answers]))
        return
    for each in answers:
        typer.echo("  ".join(filter(None, (each.conda, each.pypi or "-", each.source, each.note and f"({each.note})"))))
