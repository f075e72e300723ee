"""Programs and libraries of PyPI that only single tests need, pinned, in the tests' cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.cache import cached


def tools(*requirements: str) -> Path:
    """A folder to put on PYTHONPATH, with these requirements and what they require; their programs are in `bin`."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python"]
        done = subprocess.run(
            [*command, "--target", str(folder), *requirements],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RuntimeError(f"pip install {' '.join(requirements)}: {done.stderr.strip()[-2000:]}")

    return cached("tools", (requirements, sys.version_info[:2], sys.executable), make)


def environment(*folders: Path, first: Sequence[Path] = (), more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which the tools of these folders, this project's command line and `first` are found."""
    programs = [*first, *(folder / "bin" for folder in folders), Path(sys.executable).parent]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        **(more or {}),
    }


def run_python(script: str, folder: Path, stdin: str = "") -> str:
    """What a script prints that imports what a folder of `tools` has."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout
