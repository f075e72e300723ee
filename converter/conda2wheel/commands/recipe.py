"""`check_recipes` checks conversion recipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.recipes.model import Recipe, read_recipe


def check_recipes(paths: Iterable[Path]) -> Iterator[tuple[Path, Recipe | Failed]]:
    """Read conversion recipes.

    Args:
        paths: recipes, and folders whose `*.toml` files are recipes.

    Yields:
        Each file with its recipe, or with the error that makes it invalid; each folder without recipes with that error.
    """
    for given in paths:
        found = sorted(given.glob("*.toml")) if given.is_dir() else [given]
        if not found:
            yield given, Failed("not-found", f"{given}: no recipes in this folder", "a recipe is a file NAME.toml")
        for path in found:
            try:
                yield path, read_recipe(path)
            except Failed as error:
                yield path, error
