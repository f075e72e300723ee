"""The cache of Pyodides repairs itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.node import find_node

pytestmark = pytest.mark.runtime
PYODIDE = "0.29.5"


def test_a_pyodide_that_was_cut_or_robbed_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    node = find_node()
    runtime = fetch.pyodide(PYODIDE, node, tmp_path)
    assert fetch.is_complete(runtime.folder)
    for spoil in ("cut", "robbed"):
        wasm = runtime.folder / "pyodide.asm.wasm"
        if spoil == "cut":
            with wasm.open("rb+") as file:
                file.truncate(1000)
        else:
            (runtime.folder / "pyodide.mjs").unlink()
        assert not fetch.is_complete(runtime.folder)
        assert fetch.is_complete(fetch.pyodide(PYODIDE, node, tmp_path).folder)
        assert [path.name for path in (tmp_path / "pyodide").iterdir()] == [PYODIDE]
