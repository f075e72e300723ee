"""From npm's package of a Pyodide version to its symbol data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from conda2wheel.abi import platforms
from conda2wheel.abi.extract import ExtractError, extract
from conda2wheel.abi.symbols import Origin, Symbol, encode
from conda2wheel.errors import Failed
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.fetch import pyodide
from conda2wheel.wasm.binary import WasmError

SCRIPTS = ("pyodide.asm.mjs", "pyodide.asm.js")  # the first since 314


def make(version: str, cache: Path | None = None) -> tuple[bytes, dict[str, Symbol]]:
    """The data file of a version, and what is in it.

    Raises `Failed`: usage for a version without an integrity in the table (the data must name its origin),
    unreadable for a package of another shape, and what `runtime.fetch` raises.
    """
    integrity = platforms.integrity(version)
    if integrity is None:
        raise Failed("usage", f"Pyodide {version} is not in the table", "add it to abi/platforms.toml with npm's integrity")
    folder = pyodide(version, cache_folder(cache)).folder
    script = next((folder / name for name in SCRIPTS if (folder / name).is_file()), None)
    if script is None:
        raise Failed("unreadable", f"Pyodide {version} has neither of {', '.join(SCRIPTS)}", "this is a bug of conda2wheel")
    wasm, text = (folder / "pyodide.asm.wasm").read_bytes(), script.read_bytes()
    try:
        found = extract(wasm, text.decode())
    except (ExtractError, WasmError) as error:
        raise Failed("unreadable", f"Pyodide {version}: {error}", "abi/extract.py has to learn this shape") from error
    made_from = Origin(version, integrity, hashlib.sha256(wasm).hexdigest(), hashlib.sha256(text).hexdigest())
    return encode(made_from, found), found
