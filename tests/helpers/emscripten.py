"""Debian's Emscripten, for programs of every form that its builds have. Installed where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.cache import cached

ACORN = "8.15.0"  # Emscripten's optimiser needs it; Debian only recommends the package that has it


@cache
def compiler() -> str:
    """`emcc`, installed if it can be; else the test is skipped."""
    found = shutil.which("emcc")
    if found is None and os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "emscripten"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for line in (["apt-get", "update", "--quiet"], command):
            done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
        found = shutil.which("emcc")
        if found is None:
            pytest.skip(f"emscripten cannot be installed: {done.stderr.strip()[-300:]}")
    if found is None:
        pytest.skip("emcc is not there, and only root can install Debian's emscripten")
    return found


def _acorn() -> Path:
    def make(folder: Path) -> None:
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), f"acorn@{ACORN}"], check=True, capture_output=True)

    return cached("acorn", (ACORN, Path(__file__)), make) / "node_modules"


def build(outputs: str, *sources: tuple[str, str], flags: tuple[str, ...] = (), beside: tuple[Path, ...] = ()) -> Path:
    """The folder with what emcc makes of these sources (name, text): `outputs` is the name that is given with -o."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            for name, text in sources:
                (work / name).write_text(text)
            for path in beside:
                shutil.copy(path, work)
            names = [name for name, _ in sources] + [path.name for path in beside]
            environment = {**os.environ, "NODE_PATH": str(_acorn())}
            command = [emcc, *names, *flags, "-o", str(folder / outputs)]
            done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")

    emcc = compiler()
    return cached("emcc", (outputs, sources, flags, *beside, Path(__file__)), make)
