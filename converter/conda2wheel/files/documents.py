"""Read JSON, YAML and TOML of untrusted origin: bounded in length, nesting and number of values, before a parser builds them.

Every document of a package goes through here. A parser's own exceptions (RecursionError of nested arrays, ValueError of integers
with more digits than Python converts, OverflowError of times) become `DocumentError`. Lone surrogates, which JSON can spell and
UTF-8 cannot, become U+FFFD, so that every text can be written again.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from functools import cache
from typing import Any

from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Blob
from conda2wheel.files.reading import corrupt

MAX_JSON = 64 << 20  # bytes; a paths.json has about 250 a file
MAX_VALUES = 4_000_000  # of a JSON document: a paths.json has 7 a file, and an empty object takes 64 bytes of memory
MAX_YAML = 4 << 20  # bytes; the longest rendered_recipe.yaml of emscripten-forge has a few hundred thousand
MAX_NODES = 100_000  # of a YAML document, with every alias written out; PyYAML reads about as many in a second
MAX_TOML = 1 << 20  # bytes
MAX_DEPTH = 100  # levels; PyYAML's C loader recurses without a bound: 30,000 levels end the process (measured)
MAX_NUMBER = 100  # characters of a number in YAML; longer ones stay text (one in base 60 takes time in the square of its length)
_SURROGATE = re.compile("[\ud800-\udfff]")
# A key of more than MAX_DEPTH parts; tomllib takes time and memory in the square of their number.
_LONG_KEY = re.compile(
    rf"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}""",
)
_SPELLED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class DocumentError(ValueError):
    """The text is damaged or exceeds a bound; the message says which, and follows the name of the document."""


def parse_json(data: bytes | str) -> Any:
    r"""Parse a JSON document. NaN, Infinity and numbers beyond the range of floats are None.

    >>> parse_json(b'{"a": "\\ud800", "b": 1e999}')
    {'a': '�', 'b': None}

    Raises:
        DocumentError: it is no JSON, or exceeds a bound.
    """
    if len(data) > MAX_JSON:
        raise DocumentError(f"has {len(data)} bytes, more than {MAX_JSON}")
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data), "surrogatepass")
    except ValueError as error:
        raise DocumentError(f"is not JSON ({error})") from None
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
    opened = text.count("[") + text.count("{")
    if opened + text.count(",") > MAX_VALUES:
        raise DocumentError(f"has more than {MAX_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_nothing, parse_float=_finite)
    except ValueError as error:
        raise DocumentError(f"is not JSON ({error})") from None
    except RecursionError:
        raise DocumentError("is not JSON (nested too deeply)") from None
    if opened > MAX_DEPTH and _is_deep(value):
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels")
    return _mended(value) if _SPELLED_SURROGATE.search(text) else value


def json_object(source: str, name: str, blob: Blob) -> dict[str, Any]:
    """Read a JSON object of a package.

    Args:
        source: what messages call the package.
        name: the path of the document in it.
        blob: its bytes.

    Raises:
        Refused: corrupt-archive, too-large.
    """
    if blob.size > MAX_JSON:
        raise Refused("too-large", f"{source}: {name} has {blob.size} bytes", "a real package has no document of that size")
    try:
        value = parse_json(blob.read())
    except DocumentError as error:
        raise corrupt(source, f"{name} {error}") from None
    if not isinstance(value, dict):
        raise corrupt(source, f"{name} is not a JSON object")
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    Raises:
        DocumentError: it is no TOML, or exceeds a bound.
    """
    if len(text) > MAX_TOML:
        raise DocumentError(f"has more than {MAX_TOML} characters")
    if _LONG_KEY.search(text):
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels")
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and integers with too many digits
        raise DocumentError(str(error)) from None
    if _is_deep(document):
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels")
    return document


def parse_yaml(blob: Blob) -> Any:
    """Parse a file with one YAML document.

    Raises:
        DocumentError: it is no YAML, or exceeds a bound: a few anchors can expand to gigabytes.
    """
    import yaml

    if blob.size > MAX_YAML:
        raise DocumentError(f"has {blob.size} bytes, more than {MAX_YAML}")
    data = blob.read()
    try:
        _require_bounded(data)
        value = yaml.load(data, Loader=_loader())  # noqa: S506 - a safe loader
        _count(value, {}, set())
        return _mended(value)
    except DocumentError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1}: {str(problem)[:200]})" if mark and problem else ""
        raise DocumentError(f"is not YAML{where}") from error


def _nothing(_: str) -> None:
    """The value of NaN and Infinity, which are not JSON."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _mended(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate; the same object if it has none."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(each) for key, each in value.items()}
    return value


def _require_bounded(data: bytes) -> None:
    import yaml

    depth = nodes = 0
    for event in yaml.parse(data, Loader=_loader()):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise DocumentError(f"has more than {MAX_NODES} nodes")


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class BoundedLoader(base):  # type: ignore[misc]
        """A safe loader with bounds on merge keys (`<<`), which multiply nodes, and on the length of numbers."""

        merged = 0  # nodes that merge keys have copied

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:merge":
                    continue
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(part, yaml.MappingNode):
                        self.flatten_mapping(part)
                        self.merged += len(part.value)
                    if self.merged > MAX_NODES:
                        raise DocumentError("has merge keys that expand to too many nodes")
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
    """Count the nodes of a value with every alias expanded. Raises `DocumentError` past the bound and for a value in itself."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in open_:
        raise DocumentError("has a value that contains itself")
    if id(value) in known:
        return known[id(value)]
    open_.add(id(value))
    inner = (*value, *value.values()) if isinstance(value, dict) else value
    total = 1
    for item in inner:
        total += _count(item, known, open_)
        if total > MAX_NODES:
            raise DocumentError("has aliases that expand to too many nodes")
    open_.discard(id(value))
    known[id(value)] = total
    return total
