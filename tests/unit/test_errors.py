"""The table of codes, and the errors that carry them."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest

import conda2wheel
from conda2wheel.errors import CODES, FAILURE_CODES, REFUSAL_CODES, Conda2WheelError, Failed, Refused


@pytest.mark.parametrize(("error", "codes", "other"), [(Refused, REFUSAL_CODES, "network"), (Failed, FAILURE_CODES, "bad-name")])
def test_each_kind_of_error_takes_its_own_codes_alone(
    error: type[Conda2WheelError], codes: dict[str, object], other: str
) -> None:
    for code in codes:
        made = copy.copy(error(code, "what", "do this"))  # by __reduce__, as pickle does
        assert (type(made), str(made)) == (error, f"{code}: what (do this)")
    for unknown in (other, "no-such-code"):
        with pytest.raises(ValueError, match=unknown):
            error(unknown, "what")


def test_every_code_that_the_source_names_is_in_the_table_and_every_row_is_used() -> None:
    used: dict[str, set[str]] = {"Refused": set(), "Failed": set()}
    for path in Path(conda2wheel.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in used and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    used[node.func.id].add(code.value)
    assert used["Refused"] <= REFUSAL_CODES.keys()
    assert used["Failed"] == FAILURE_CODES.keys()
    assert all(row.meaning and row.advice for row in CODES.values())
