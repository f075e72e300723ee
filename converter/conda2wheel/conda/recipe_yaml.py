"""The build and host environments in rattler-build's `info/recipe/rendered_recipe.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


def environment(rendered_recipe: Mapping[str, Any], name: Literal["build", "host"]) -> Mapping[str, Any]:
    """Return `finalized_dependencies.NAME` of a rendered_recipe.yaml, empty if it has none.

    It has `specs` as the recipe lists them, and `resolved`, the repodata records of all packages in that environment.
    """
    section = rendered_recipe.get("finalized_dependencies")
    found = section.get(name) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}


def resolved_records(rendered_recipe: Mapping[str, Any], name: Literal["build", "host"]) -> list[Mapping[str, Any]]:
    """Return the repodata records of the packages in the build or host environment, those with a name."""
    resolved = environment(rendered_recipe, name).get("resolved")
    records = resolved if isinstance(resolved, list) else ()
    return [each for each in records if isinstance(each, dict) and isinstance(each.get("name"), str)]
