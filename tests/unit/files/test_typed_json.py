"""JSON as dataclasses: values of the types of their fields, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from conda2wheel.files.typed_json import read_document


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    size: int
    when: float | None
    pairs: tuple[tuple[str, int], ...] = ()
    inner: tuple[Inner, ...] = ()
    one: Inner | None = None
    own: Mapping[str, str] | None = None
    is_new: bool = False
    either: str | int = 0
    more: tuple[str, ...] = field(default_factory=tuple)


SOUND: dict[str, Any] = {"kind": "a", "size": 1, "when": None}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Outer("a", 1, None)),
        ({"when": 1, "later": "than this version"}, Outer("a", 1, 1)),
        ({"pairs": [["x", 1]], "own": {"a": "b"}, "is_new": True}, Outer("a", 1, None, (("x", 1),), own={"a": "b"}, is_new=True)),
        ({"inner": [{"name": "x"}], "one": {"name": "y"}}, Outer("a", 1, None, (), (Inner("x"),), Inner("y"))),
        ({"either": "x"}, Outer("a", 1, None, either="x")),
        ({"either": 3, "own": None}, Outer("a", 1, None, either=3)),
    ],
)
def test_sound_documents_are_read(change: dict[str, Any], expected: Outer) -> None:
    assert read_document(Outer, {**SOUND, **change}) == expected


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**SOUND, "kind": "c"},
        {**SOUND, "kind": ["a"]},
        {**SOUND, "size": 1.5},
        {**SOUND, "size": True},
        {**SOUND, "size": None},
        {**SOUND, "when": "now"},
        {**SOUND, "pairs": "xy"},
        {**SOUND, "pairs": [["x"]]},
        {**SOUND, "pairs": [["x", 1, 2]]},
        {**SOUND, "inner": [{}]},
        {**SOUND, "inner": {"name": "x"}},
        {**SOUND, "one": "x"},
        {**SOUND, "own": {"a": 1}},
        {**SOUND, "own": ["a"]},
        {**SOUND, "is_new": 1},
        {**SOUND, "either": None},
        {**SOUND, "more": ("x",)},
    ],
)
def test_values_of_other_types_are_none(document: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever text
        read_document(Outer, document)
