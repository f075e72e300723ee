"""JSON Schema, imported when it is used: its import builds the grammars of all kinds of IRIs, for two seconds."""

from __future__ import annotations

from typing import Any


def problems(schema: Any, document: Any) -> list[str]:
    """What is wrong with a document by a schema of draft 2020-12. A schema that is none raises SchemaError."""
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]
