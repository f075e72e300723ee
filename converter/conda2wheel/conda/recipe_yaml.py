"""Read the YAML of `info/recipe/`, bounded: a few anchors in a hostile file can expand to gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from conda2wheel.files.packagefile import Blob

MAX_TEXT = 4 << 20  # bytes; the longest rendered_recipe.yaml of emscripten-forge has a few hundred thousand
MAX_DEPTH = 100  # PyYAML's C loader follows nesting by recursion without a bound: 30,000 levels end the process (measured)
MAX_NODES = 200_000  # nodes with every alias written out
MAX_NUMBER = 100  # characters; longer ones stay text (a number in base 60 takes time in the square of its length)


class RecipeError(ValueError):
    """The file is not YAML or exceeds a bound; the text says which."""


def load(blob: Blob) -> Any:
    """Read the value of one YAML document. Raises `RecipeError`."""
    import yaml

    if blob.size > MAX_TEXT:
        raise RecipeError(f"has {blob.size} bytes, more than {MAX_TEXT}")
    data = blob.read()
    try:
        _require_shallow(data)
        value = yaml.load(data, Loader=_loader())  # noqa: S506 - a safe loader
        _count(value, {}, set())
    except RecipeError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError("is not YAML") from error
    return value


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


def _require_shallow(data: bytes) -> None:
    import yaml

    depth = 0
    for event in yaml.parse(data, Loader=_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecipeError(f"is nested deeper than {MAX_DEPTH} levels")


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class BoundedLoader(base):  # type: ignore[misc]
        """A safe loader with bounds on merge keys (`<<`), which multiply nodes, and on the length of numbers."""

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:merge":
                    continue
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                total = 0
                for part in merged:
                    if isinstance(part, yaml.MappingNode):
                        self.flatten_mapping(part)
                        total += len(part.value)
                    if total > MAX_NODES:
                        raise RecipeError("has merge keys that expand to too many nodes")
            super().flatten_mapping(node)

    def number(kind: str) -> None:
        original = base.yaml_constructors[f"tag:yaml.org,2002:{kind}"]

        def construct(loader: Any, node: Any) -> Any:
            return original(loader, node) if len(node.value) <= MAX_NUMBER else str(node.value)

        BoundedLoader.add_constructor(f"tag:yaml.org,2002:{kind}", construct)

    number("int")
    number("float")
    return BoundedLoader


def _count(value: Any, known: dict[int, int], open_: set[int]) -> int:
    """Count the nodes of a value with every alias expanded. Raises `RecipeError` past the bound and for a value in itself."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in open_:
        raise RecipeError("has a value that contains itself")
    if id(value) in known:
        return known[id(value)]
    open_.add(id(value))
    inner = (*value, *value.values()) if isinstance(value, dict) else value
    total = 1
    for item in inner:
        total += _count(item, known, open_)
        if total > MAX_NODES:
            raise RecipeError("has aliases that expand to too many nodes")
    open_.discard(id(value))
    known[id(value)] = total
    return total
