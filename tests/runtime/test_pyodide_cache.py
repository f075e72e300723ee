"""The cache of Pyodides repairs itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch

pytestmark = [pytest.mark.runtime, pytest.mark.cold]
PYODIDE = "0.29.5"


@pytest.mark.parametrize("spoil", ["cut", pytest.param("robbed", marks=pytest.mark.long)])
def test_a_pyodide_that_was_cut_or_robbed_in_the_cache_is_fetched_again(spoil: str, tmp_path: Path) -> None:
    folder = tmp_path / "pyodide" / PYODIDE
    shutil.copytree(fetch.pyodide(PYODIDE, cache_folder()).folder, folder)
    assert fetch.is_complete(folder)
    if spoil == "cut":
        with (folder / "pyodide.asm.wasm").open("rb+") as file:
            file.truncate(1000)
    else:
        (folder / "pyodide.mjs").unlink()
    assert not fetch.is_complete(folder)
    assert fetch.is_complete(fetch.pyodide(PYODIDE, tmp_path).folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == [f".users-of-{PYODIDE}", PYODIDE]  # the first is a file lock
