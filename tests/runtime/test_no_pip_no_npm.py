"""An environment as `uv tool` and `uvx` make it: no pip in it, and no npm on the PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conda2wheel.pyodide.node import find_node
from tests.helpers import sets

pytestmark = [pytest.mark.runtime, pytest.mark.long]
TOP = Path(__file__).parents[2]


def test_every_command_works_without_pip_and_npm(tmp_path: Path) -> None:
    venv, tools = tmp_path / "venv", tmp_path / "bin"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(venv)], check=True)
    python = venv / "bin" / "python"
    pins = tmp_path / "pins.txt"
    pins.write_text("\n".join(re.findall(r"^[\w.-]+==[^ ;\\]+", (TOP / "requirements.lock").read_text(), re.MULTILINE)))
    subprocess.run([*uv, "pip", "install", "--python", str(python), "--constraint", str(pins), str(TOP)], check=True)
    tools.mkdir()
    (tools / "node").symlink_to(Path(find_node().path).resolve())
    environ = {**os.environ, "PATH": str(tools), "CONDA2WHEEL_CACHE": str(tmp_path / "cache")}
    assert shutil.which("npm", path=environ["PATH"]) is None
    assert subprocess.run([str(python), "-c", "import pip"], capture_output=True, check=False).returncode == 1

    def run(*arguments: object) -> str:
        command = [str(venv / "bin" / "conda2wheel"), *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    package = sets.native("lonely", requires=["six<1.17"])
    channel = sets.indexed(tmp_path / "channel", [package])
    run("convert", package, "-o", "dist")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run("bundle", "lonely", "--channel", channel, "--complete", "-o", "set")
    (six,) = (tmp_path / "set").rglob("six-1.16.0-*.whl")
    for installer in ("loadPackage", "micropip"):
        assert run("check", "--installer", installer, "--find-links", six.parent, wheel).startswith("ok ")
