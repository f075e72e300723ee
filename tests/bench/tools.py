"""The libraries of floors and peers, pinned, in the tests' cache: what is measured cannot import them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.helpers.cache import cached

FLOOR = ("rapidgzip==0.16.2", "isal==1.9.1")
PLOTS = (
    "matplotlib==3.11.2",
    "contourpy==1.3.3",
    "cycler==0.12.1",
    "fonttools==4.68.0",
    "kiwisolver==1.5.1",
    "numpy==2.4.6",
    "packaging==26.4",
    "pillow==13.0.0",
    "pyparsing==3.3.3",
    "python-dateutil==4.0.0",
)
# pyodide-build asks for Python 3.12 and for what builds packages; its retagging calls `wheel tags`.
RETAG = ("pyodide-build==0.39.2", "wheel==0.48.0", "packaging==26.3")


def installed(*requirements: str) -> Path:
    """A folder to put on a path, with these distributions."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        command += ["--no-deps", "--ignore-requires-python", "--target", str(folder), *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip install {' '.join(requirements)}: {done.stderr.strip()[-2000:]}")

    return cached("bench-tools", (requirements, sys.version_info[:2], sys.executable), make)


@cache
def library(name: str) -> ModuleType:
    """A module of `FLOOR`, which no other import in this process finds."""
    return hidden(installed(*FLOOR), name, ("rapidgzip", "isal"))


def hidden(folder: Path, name: str, packages: tuple[str, ...]) -> ModuleType:
    """A module of a folder; what is measured finds neither the folder nor any of its `packages`."""
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for each in [loaded for loaded in list(sys.modules) if loaded.partition(".")[0] in packages]:
            del sys.modules[each]
