"""Pyodides that start from a snapshot of their own memory: a start takes a quarter of the processor time.

`loadPyodide` of such a folder brings back what a first start had in memory when it was done, CPython included, and goes on as any
other: packages, modules and errors are the real thing. `./scripts/test --long` starts every Pyodide anew.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from conda2wheel.pyodide.fetch import SIZES
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.pyodide.node import find_node
from tests.helpers.cache import cached

OLDEST = Version("0.27.0")  # whose loadPyodide makes snapshots of use
MAKE = """
import fs from 'node:fs';
const [entry, index, file] = process.argv.slice(1);
const { loadPyodide } = await import(entry);
const py = await loadPyodide({ indexURL: `${index}/`, _makeSnapshot: true });
fs.writeFileSync(file, py.makeMemorySnapshot());
process.exit(0);
"""
ENTRY = """// The same Pyodide, from a snapshot.
import fs from 'node:fs';
import * as cold from %(cold)s;
export * from %(cold)s;
export const snapshot = fs.readFileSync(new URL('memory.snapshot', import.meta.url));
export const loadPyodide = (options) => cold.loadPyodide({ _loadSnapshot: snapshot, ...options });
"""


def warm(runtime: Runtime) -> Runtime:
    """The same Pyodide in a folder whose `loadPyodide` takes a snapshot; unchanged where it is too old for that."""
    if Version(runtime.version) < OLDEST:
        return runtime
    entry = (runtime.folder / "pyodide.mjs").resolve().as_uri()

    def make(folder: Path) -> None:
        for file in runtime.folder.iterdir():
            if file.name not in ("pyodide.mjs", SIZES):
                (folder / file.name).symlink_to(file.resolve())
        command = [find_node().path, "--input-type=module", "--eval", MAKE, entry, str(runtime.folder)]
        subprocess.run([*command, str(folder / "memory.snapshot")], check=True, capture_output=True, text=True)
        (folder / "pyodide.mjs").write_text(ENTRY % {"cold": json.dumps(entry)})

    return replace(runtime, folder=cached("warm", (runtime.version, entry, MAKE, ENTRY, find_node().version), make))
