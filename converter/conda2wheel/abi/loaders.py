"""How the loader of each Pyodide version behaves: the rows of `loaders.toml`, each with its platform."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from conda2wheel.abi.platforms import Platform, for_pyodide, release


class PyodideLoader(NamedTuple):
    """One row of `loaders.toml`, for one Pyodide version; its fields are explained there."""

    pyodide: str
    platform: Platform
    since: str
    needed_first: bool
    nested: Literal["global", "local", "lost"]
    basenames: Literal["global", "all", "none"]
    subfolders: bool
    path_libs: bool
    synthesised: tuple[str, ...]
    skips_foreign: bool
    own_weak: bool
    late_check: bool
    memory_pages: int

    @property
    def searches_by_path(self) -> bool:
        """Whether NEEDED libraries are searched for by dlopen's own rules: LD_LIBRARY_PATH, then RUNTIME_PATH.

        Each is then searched for from the folder of its user; otherwise in folders that depend on the module that is opened.
        """
        return self.platform.runtime_path

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The endings of the file names of modules that Python imports; it ignores files with another CPython's tag."""
        tag = (self.platform.python_tag or "").removeprefix("cp")
        newer = (".abi3-wasm32-emscripten.so", ".abi3t-wasm32-emscripten.so", ".abi3t.so")  # CPython 3.15, PEP 803
        also = newer if release(self.platform.python or "0") >= (3, 15) else ()
        return (f".cpython-{tag}-wasm32-emscripten.so", ".abi3.so", *also, ".so")


@cache
def loader(pyodide: str) -> PyodideLoader:
    """The loader of a Pyodide version. Raises `ValueError` for one that is in no row of the ABI table."""
    platform = for_pyodide(pyodide)
    rows = [row for row in _rows() if release(row["since"]) <= release(pyodide)]
    if platform is None or not rows:
        raise ValueError(f"the loader of Pyodide {pyodide} is not known")
    row = rows[-1]
    return PyodideLoader(pyodide=pyodide, platform=platform, **{**row, "synthesised": tuple(row["synthesised"])})


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    return tuple(tomllib.loads(files(__package__).joinpath("loaders.toml").read_text(encoding="utf-8"))["loader"])
