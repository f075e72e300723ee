"""Programs and libraries of PyPI that only single tests need, pinned, in the tests' cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.cache import cached

ROOT = Path(__file__).parents[2]


@cache
def newer_python() -> Path:
    """A CPython from 3.12 on, which some tools need; the test is skipped where the machine has none."""
    if sys.version_info >= (3, 12):
        return Path(sys.executable)
    command = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "--no-project", ">=3.12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    of_pyenv = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3"))
    if done.returncode and not of_pyenv:
        pytest.skip("there is no Python 3.12 or newer")
    return of_pyenv[0] if done.returncode else Path(done.stdout.strip())


def tools(*requirements: str, python: Path | None = None) -> Path:
    """A folder to put on PYTHONPATH, with these requirements and what they require; their programs are in `bin`."""
    interpreter = str(python or sys.executable)

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "uv", "--no-config", "--quiet", "pip", "install", "--python", interpreter]
        done = subprocess.run([*command, "--target", str(folder), *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"uv pip install {' '.join(requirements)}: {done.stderr.strip()[-2000:]}")

    return cached("tools", (requirements, interpreter), make)


@cache
def _dependencies() -> tuple[str, ...]:
    """What this project requires, in the versions that are tested."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert wanted is not None
    names = re.findall(r'"([A-Za-z0-9._-]+)', wanted[1])
    return tuple(f"{name}=={pinned[name.lower()]}" for name in names)


def with_this_project(folder: Path, *requirements: str, python: Path) -> Path:
    """A folder with requirements, and with a wheel of this project as it is, unpacked beside them."""
    command = [sys.executable, "-m", "uv", "--no-config", "--quiet", "build", "--wheel", "--no-build-isolation", "--out-dir"]
    there = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    done = subprocess.run([*command, str(folder), str(ROOT)], capture_output=True, text=True, check=False, env=there)
    assert done.returncode == 0, done.stderr
    place = folder / "site"
    shutil.copytree(tools(*requirements, *_dependencies(), python=python), place, symlinks=True)
    (wheel,) = folder.glob("conda2wheel_wasm-*.whl")
    shutil.unpack_archive(wheel, place, "zip")
    return place


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
