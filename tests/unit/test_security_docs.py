"""The page about security says what the code does: the numbers of its bounds, and tests that exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest

from conda2wheel.files.packagefile import Limits
from tests.fuzz.targets import TARGETS
from tests.helpers.rooms import REPOSITORY

TEXT = (REPOSITORY / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def rows(heading: str) -> Iterator[list[str]]:
    """The rows of the table below a heading."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


BOUNDS = list(rows("Bounds"))[1:]


@pytest.mark.parametrize("row", BOUNDS, ids=lambda row: row[2].strip("`"))
def test_a_bound_is_the_number_of_the_code(row: list[str]) -> None:
    module, _, name = row[2].strip("`").rpartition(".")
    holder = Limits if module.endswith(".Limits") else importlib.import_module(f"conda2wheel.{module}")
    number, _, unit = row[1].replace(",", "").partition(" ")
    assert int(number) * UNITS.get(unit, 1) == getattr(holder, name)


def test_every_bound_of_limits_is_in_the_table() -> None:
    assert set(Limits.__dataclass_fields__) - {row[2].strip("`").rpartition(".")[2] for row in BOUNDS} == {"ratio_from"}


def test_the_tests_that_it_names_are_there() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", TEXT))
    assert len(named) > 10
    assert sorted(path for path in named if not (REPOSITORY / path).is_file()) == []
    assert all(
        re.search(r"tests/[\w/]+\.py", row[-1])
        for row in [*BOUNDS, *list(rows("What is promised, and the test that holds it"))[1:]]
    )


def test_every_target_is_in_the_table_of_fuzzing() -> None:
    assert {row[0].strip("`") for row in list(rows("Fuzzing"))[1:]} == set(TARGETS)
