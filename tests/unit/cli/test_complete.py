"""The shell completes values of options and arguments, as typer's scripts ask for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conda2wheel.abi.platforms import platforms
from conda2wheel.cli import app
from conda2wheel.errors import CODES

VERSIONS = [version for row in platforms() for version, _ in row.pyodide]


def completed(line: str) -> list[str]:
    words = line.split(" ")
    asked = {"_CONDA2WHEEL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = CliRunner().invoke(app, [], env=asked, prog_name="conda2wheel")
    assert done.exit_code == 0, done.output
    return done.stdout.split()


@pytest.mark.parametrize("name", ["convert", "audit", "repair", "bundle"])
def test_platforms(name: str) -> None:
    found = completed(f"conda2wheel {name} --platform ")
    assert found[0] == "auto"
    assert set(VERSIONS) | {row.tag for row in platforms()} <= set(found)
    assert completed(f"conda2wheel {name} --platform 0.29") == [each for each in VERSIONS if each.startswith("0.29")]


def test_other_values() -> None:
    assert completed("conda2wheel check --pyodide ") == VERSIONS
    assert completed("conda2wheel search --platform py") == [row.tag for row in platforms() if row.tag.startswith("py")]
    allowed = completed("conda2wheel convert x.conda --allow ")
    assert "missing-library" in allowed
    assert set(allowed) <= set(CODES)
    assert completed("conda2wheel audit --fail-on ") == ["load", "fatal", "suspicious"]
    assert completed("conda2wheel bundle --pins ") == ["metadata", "conda"]
    assert completed("conda2wheel audit --log-level w") == ["warning"]
    assert completed("conda2wheel cache clear p") == ["pyodide", "packages", "partial"]
    assert completed("conda2wheel search --sort n") == ["name"]
    assert {"convert", "cache"} <= set(completed("conda2wheel c"))
    assert "--platform" in completed("conda2wheel convert --pl")


def test_the_installed_command_completes() -> None:
    asked = {"_CONDA2WHEEL_COMPLETE": "complete_bash", "COMP_WORDS": "conda2wheel audit --platform 0.22", "COMP_CWORD": "3"}
    script = Path(sys.executable).with_name("conda2wheel")
    done = subprocess.run([script], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["0.22.1"], "")
