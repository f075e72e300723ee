"""`conda2wheel recipe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import echo, print_error, print_json, print_summary

app = typer.Typer(
    name="recipe",
    help="Check conversion recipes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Check conversion recipes: files that change how one package is converted."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recipes, or folders of recipes.", show_default=False)],
    as_json: options.Json = False,
) -> None:
    """Check whether conversion recipes are valid, and show the errors with their lines.

    Prints `ok FILE` for each valid recipe. Exit status: 0 all are valid, 1 one is not.
    """
    from conda2wheel.commands.recipe import check_recipes
    from conda2wheel.errors import Failed
    from conda2wheel.results import document, error_json

    results = []
    good = True
    for path, outcome in check_recipes(files):
        if isinstance(outcome, Failed):
            good = False
            print_error(outcome)
            results.append(error_json(str(path), outcome, 0.0))
            continue
        results.append({"source": str(path), "status": "ok", "package": outcome.package, "why": outcome.why})
        if not as_json:
            echo(f"ok {path}")
    if as_json:
        print_json(document(results))
    print_summary(results)
    raise typer.Exit(0 if good else 1)
