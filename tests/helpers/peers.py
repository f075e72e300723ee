"""auditwheel-emscripten, the other tool that vendors libraries into Pyodide's wheels, as PyPI has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import command
from tests.helpers.cache import cached

# It asks for Python 3.12, and nothing in it does: its code runs on 3.11 as it is.
VERSION = "0.3.0"
REQUIRED = ("leb128==1.0.9", "packaging==26.3", "wheel==0.48.0", "click==8.3.1")
MAIN = "from auditwheel_emscripten.cli import main; main.app()"  # without pyodide-cli around it, which takes longer to start


def auditwheel_emscripten() -> Path:
    """A folder to put on PYTHONPATH, with it and what it requires."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = [f"auditwheel-emscripten=={VERSION}", *REQUIRED]
        done = subprocess.run(
            [*command, "--ignore-requires-python", "--target", str(folder), *wanted], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"pip install auditwheel-emscripten: {done.stderr.strip()[-2000:]}")

    return cached("auditwheel-emscripten", (VERSION, REQUIRED, sys.version_info[:2], sys.executable), make)


def environment() -> dict[str, str]:
    """What its process needs to find itself, and the `wheel` program that it calls."""
    folder = auditwheel_emscripten()
    return {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def theirs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One call of its command line."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def ours(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One call of our command line."""
    return command.run(*arguments)
