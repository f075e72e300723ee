"""The project's scripts import what there is: no linter and no type checker reads them."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PYTHON = sorted(
    path for path in SCRIPTS.iterdir() if path.is_file() and "python" in path.read_text(encoding="utf-8").split("\n")[0]
)


def imports(text: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each import of this project: in the code, and in the code that its strings hold."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in re.findall(r"from ((?:conda2wheel|tests)[\w.]*) import ([\w, ]+)", node.value):
                yield from ((module, name.strip()) for name in names.split(","))


@pytest.mark.parametrize("script", PYTHON, ids=lambda path: path.name)
def test_every_import_of_a_script_is_there(script: Path) -> None:
    found = {
        pair for pair in imports(script.read_text(encoding="utf-8")) if pair[0].partition(".")[0] in ("conda2wheel", "tests")
    }
    assert found
    for module, name in sorted(found):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
