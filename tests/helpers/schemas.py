"""The JSON Schemas of the manual: which one a command's document has, and whether it is valid.

jsonschema is imported when it is used, and without the grammars of IRIs, whose building takes two seconds: no schema has one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
FOLDER = REFERENCE / "schemas"
SLOW = ("rfc3987", "rfc3987_syntax")


def schema(name: str) -> dict[str, Any]:
    """A schema as it is published: objects may grow."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def closed(value: Any) -> Any:
    """The schema without the freedom to grow: an object has the keys that are named and no others."""
    if isinstance(value, dict):
        made = {key: closed(each) for key, each in value.items()}
        return {"additionalProperties": False, **made} if value.get("type") == "object" and "properties" in value else made
    return [closed(each) for each in value] if isinstance(value, list) else value


def problems(schema: Any, document: Any) -> list[str]:
    """What is wrong with a document by a schema of draft 2020-12. A schema that is none raises SchemaError."""
    _validators().check_schema(schema)
    return [error.message for error in _validators()(schema).iter_errors(document)]


@cache
def commands() -> dict[str, str]:
    """The schema of each command with --json, by its words, as the manual's table has them."""
    rows = re.findall(
        r"^\| (.+?) \| \[.*\]\(schemas/([\w-]+)\.json\) \|$", (REFERENCE / "json.md").read_text("utf-8"), re.MULTILINE
    )
    return {words: name for cell, name in rows for words in re.findall(r"`([a-z ]+)`", cell)}


def check_printed(words: Sequence[str], text: str) -> None:
    """Assert that what a command printed with --json is valid by its schema, and that it has one."""
    known = commands()
    name = next((known[" ".join(words[:count])] for count in (3, 2, 1) if " ".join(words[:count]) in known), None)
    assert name is not None, f"the manual has no schema for {words}"
    errors = [error.message for error in _closed_validator(name).iter_errors(json.loads(text))]
    assert errors == [], (name, errors)


@cache
def _closed_validator(name: str) -> Any:
    return _validators()(closed(schema(name)))


@cache
def _validators() -> Any:
    with mock.patch.dict(sys.modules, dict.fromkeys(SLOW)):
        from jsonschema import Draft202012Validator

    return Draft202012Validator
