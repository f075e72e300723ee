"""What really becomes of signals: wheels made of them, installed into a Pyodide under node and called."""

from __future__ import annotations

import json
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide import fetch
from conda2wheel.pyodide.node import find_node
from tests.helpers.signals import PYTHONS, Signal

HARNESS = Path(__file__).with_name("load.mjs")
ANSWER = "42"
PATIENCE = 3600.0  # seconds for all cases together: a hundred starts on a slow machine


def tried(pyodide: str, signals: Sequence[Signal]) -> dict[str, tuple[str, str]]:
    """What came of each signal, `load`, `fatal`, `wrong` or `right`, and what was said."""
    with tempfile.TemporaryDirectory() as name:
        cases = []
        for signal in signals:
            folder = Path(name) / signal.name
            folder.mkdir()
            wheels = [str(_wheel(folder, wheel, files, pyodide)) for wheel, files in signal.files(pyodide).items()]
            cases.append({"name": signal.name, "wheels": wheels, "code": signal.script})
        return {str(result["name"]): _came(result) for result in played(pyodide, cases, at_once=2)}


def played(pyodide: str, cases: Sequence[Mapping[str, Any]], at_once: int = 1) -> list[dict[str, str | None]]:
    """What load.mjs says of cases, in its words and their order. With `at_once` processes each has every so many-th case, and
    the order is theirs."""
    node = find_node()
    runtime = fetch.pyodide(pyodide, cache_folder())
    parts = [cases[first::at_once] for first in range(at_once)]
    with ThreadPoolExecutor(at_once) as pool:
        return [result for part in pool.map(partial(_play, node.path, runtime.folder), parts) for result in part]


def _play(node: str, pyodide: Path, cases: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
    with tempfile.TemporaryDirectory() as name:
        job = Path(name) / "job.json"
        job.write_text(json.dumps({"pyodide": str(pyodide), "cases": cases}))
        done = subprocess.run([node, str(HARNESS), str(job)], capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{HARNESS.name}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _came(result: Mapping[str, str | None]) -> tuple[str, str]:
    if result["load"] is not None:
        return "load", result["load"]
    if result["fatal"] is not None:
        return "fatal", result["fatal"]
    if result["raised"] is not None:  # an import that Python itself refuses: the module was not loaded
        last = result["raised"].strip().splitlines()[-1]
        return ("load" if "ImportError" in last or "ModuleNotFoundError" in last else "wrong"), last
    return ("right" if result["value"] == ANSWER else "wrong"), f"answered {result['value']}"


def _wheel(folder: Path, name: str, files: Mapping[str, bytes], pyodide: str) -> Path:
    """A wheel with these files, in this order."""
    python = f"cp{PYTHONS[pyodide]}"
    path = folder / f"{name}-1.0-{python}-{python}-emscripten_wasm32.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in files.items():
            archive.writestr(place, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
