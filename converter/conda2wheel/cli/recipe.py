"""`conda2wheel recipe`: conversion recipes, looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conda2wheel.cli.options import Json, complaint, print_json

app = typer.Typer(
    name="recipe", help="Conversion recipes.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback()
def _group() -> None:
    """Conversion recipes: what a package needs beyond the rules."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recipes, or folders of them.", show_default=False)],
    json: Json = False,
) -> None:
    """Say whether recipes are as they should be, and where not.

    Prints `ok FILE` for each that is. Exit status: 0 all are, 1 one is not.
    """
    from conda2wheel.errors import Failed
    from conda2wheel.recipes.model import read_recipe
    from conda2wheel.results import document, error_json

    paths = [path for given in files for path in (sorted(given.glob("*.toml")) if given.is_dir() else [given])]
    results = []
    good = True
    for path in paths:
        try:
            recipe = read_recipe(path)
        except Failed as error:
            good = False
            typer.echo(complaint(error), err=True)
            results.append(error_json(str(path), error, 0.0))
            continue
        results.append({"source": str(path), "status": "ok", "package": recipe.package, "why": recipe.why})
        if not json:
            typer.echo(f"ok {path}")
    if json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)
