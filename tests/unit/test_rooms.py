"""The package is built of rooms: imports go one way, names are unique, signatures are short, and CONTRIBUTING.md shows it."""

from __future__ import annotations

import inspect
from collections import defaultdict

import pytest

import conda2wheel
from conda2wheel import pyodide
from tests.helpers import rooms

MOST_MODULES = 8  # beside the rooms
MOST_PARAMETERS = 7


def test_every_room_has_a_place_in_the_order() -> None:
    found = {rooms.room(name) for name in rooms.modules()} - {"", "__main__"}
    assert sorted(found - {*rooms.ORDER, *rooms.ANYWHERE}) == []


def test_imports_go_one_way() -> None:
    assert rooms.relative_imports() == []
    assert rooms.upward(rooms.between()) == []


def test_no_modules_import_each_other() -> None:
    assert rooms.cycles(rooms.imports()) == []


def test_few_modules_are_beside_the_rooms() -> None:
    assert len(list(rooms.PACKAGE.glob("*.py"))) <= MOST_MODULES


def test_no_class_name_is_used_twice() -> None:
    found = defaultdict(list)
    for name, module in rooms.classes():
        found[name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_signatures_are_short() -> None:
    """The public functions and the command line take what people may say; all others take values of such things."""
    exported = [*(getattr(conda2wheel, name) for name in conda2wheel.__all__), pyodide.check_wheels]  # docs/reference/api.md
    public = {(each.__module__, each.__name__) for each in exported if inspect.isfunction(each)}
    wide = [
        f"{each.module}.{each.name}: {each.parameters}"
        for each in rooms.functions()
        if each.parameters > MOST_PARAMETERS
        and not each.module.startswith("conda2wheel.cli.")
        and (each.module, each.name) not in public
    ]
    assert wide == []


def test_the_picture_is_of_the_code() -> None:
    """`./scripts/rooms --write` brings it up to date."""
    text = rooms.PAGE.read_text(encoding="utf-8")
    assert rooms.PICTURE.search(text)
    assert rooms.with_picture(text) == text


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": ["b"], "b": ["c"], "c": []}, []),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, [("b", "c")]),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, [("a", "b", "c")]),
    ],
)
def test_a_cycle_is_found(edges: dict[str, list[str]], found: list[tuple[str, ...]]) -> None:
    assert rooms.cycles(edges) == found


def test_an_upward_import_is_found() -> None:
    edges = {"files": frozenset({"errors", "wheel"}), "cli": frozenset({"files", "_version"})}
    assert rooms.upward(edges) == ["files imports wheel"]
