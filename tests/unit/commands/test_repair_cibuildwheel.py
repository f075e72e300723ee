"""cibuildwheel's own road from build to repair to output, with nothing replaced but the compiler and its set-up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers import conda, judges, zig
from tests.helpers.foreign import CIBUILDWHEEL, Foreign, cibuildwheel, unvendored
from tests.helpers.systems import IS_WINDOWS

# What docs/how-to/cibuildwheel.md tells people to write.
PROJECT = """
[project]
name = "pkg"
version = "1.0"

[tool.cibuildwheel.pyodide]
repair-wheel-command = "conda2wheel repair {wheel} -o {dest_dir} --libdir {project}/native"
audit-command = "conda2wheel audit {wheel} --for pypi"
"""
on_its_systems = pytest.mark.skipif(IS_WINDOWS, reason="cibuildwheel builds for Pyodide on Linux and macOS")
HERE = {"CIBW_AUDIT_REQUIRES": ""}  # the audit finds this project's command line on PATH
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "cibuildwheel.md"
# Instead of a download of Python, pyodide-build and Emscripten: the environment as it is. The audit's environment is made by venv
# and not by a virtualenv.pyz from GitHub.
DRIVER = """
import os, subprocess, sys
sys.path.insert(0, {folder!r})
from cibuildwheel.__main__ import main
from cibuildwheel import audit, venv
from cibuildwheel.platforms import pyodide
def made(version, python, path, **_):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return venv.activate_virtualenv(path)
audit.virtualenv = made
pyodide.setup_python = lambda environment, **_: environment.as_dictionary(prev_environment=dict(os.environ))
main()
"""
# `pyodide build PACKAGE --outdir=DIR`: a wheel that was built before.
PYODIDE = """#!/bin/sh
for argument; do
  case "$argument" in --outdir=*) cp "$BUILT/$CIBUILDWHEEL_BUILD_IDENTIFIER"/*.whl "${argument#--outdir=}" ;; esac
done
"""
BUILDS = {
    "cp312-pyodide_wasm32": ("312", "pyodide_2024_0_wasm32", "pyemscripten_2024_0_wasm32"),
    "cp313-pyodide_wasm32": ("313", "pyodide_2025_0_wasm32", "pyemscripten_2025_0_wasm32"),
    "cp314-pyodide_wasm32": ("314", "pyemscripten_2026_0_wasm32", "pyemscripten_2026_0_wasm32"),
}


def build(folder: Path, builds: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`cibuildwheel --platform pyodide` in `folder`, whose project has its libraries in native/."""
    conda.lay(folder, {"project/pyproject.toml": PROJECT, "bin/pyodide": PYODIDE})
    (folder / "bin" / "pyodide").chmod(0o755)
    (folder / "project" / "native").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "BUILT": str(folder / "built"),
        "CIBW_BUILD": builds,
        **HERE,
        **(more or {}),
        "CIBW_ENABLE": "pyodide-eol",
        "CIBW_CACHE_PATH": str(folder / "cache"),
    }
    command = [sys.executable, "-c", DRIVER.format(folder=str(cibuildwheel())), "--platform", "pyodide"]
    command += ["--output-dir", str(folder / "wheelhouse")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder / "project")


def unrepaired(folder: Path) -> None:
    for identifier, (python, tag, _) in BUILDS.items():
        unvendored(zig.chain(python), python, tag).write(folder / "built" / identifier)


@on_its_systems
@pytest.mark.long
def test_every_build_is_repaired_and_moved_to_the_output(tmp_path: Path) -> None:
    unrepaired(tmp_path)
    chain = zig.chain()
    libraries = {chain.count.name: chain.count, chain.ALIAS: chain.count, "libbase.so": chain.base}
    conda.lay(tmp_path / "project" / "native", libraries)
    done = build(tmp_path, "cp31{2,3,4}-*")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("conda2wheel repair ") == 1 + len(BUILDS)  # once in the table of options
    wheels = sorted((tmp_path / "wheelhouse").iterdir())
    assert [wheel.name for wheel in wheels] == [f"pkg-1.0-cp{p}-cp{p}-{tag}.whl" for p, _, tag in BUILDS.values()]
    for wheel in wheels:
        judges.judge(wheel)
    assert done.stdout.count("; PyPI takes it\n") == len(BUILDS)


def test_the_manual_says_what_is_run_here() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [line for line in PROJECT.splitlines() if "-command" in line and line not in text] == []
    assert f"cibuildwheel {CIBUILDWHEEL}" in text


@on_its_systems
def test_an_audit_stops_the_build_and_says_why(tmp_path: Path) -> None:
    """Without a repair the older tag stays, which PyPI does not take."""
    files: dict[str, conda.Content] = {
        "pkg/__init__.py": "",
        f"pkg/_x{zig.suffix('313')}": zig.side_module("_x", zig.extension("_x", {})),
    }
    Foreign("cp313-cp313-pyodide_2025_0_wasm32", files).write(tmp_path / "built" / "cp313-pyodide_wasm32")
    done = build(tmp_path, "cp313-*", {"CIBW_REPAIR_WHEEL_COMMAND": ""})
    assert done.returncode != 0
    assert "has the platform tag pyodide_2025_0_wasm32, which PyPI does not take" in " ".join((done.stdout + done.stderr).split())
    assert not list((tmp_path / "wheelhouse").glob("*.whl"))


@on_its_systems
def test_a_refusal_stops_the_build_and_says_why(tmp_path: Path) -> None:
    unrepaired(tmp_path)
    done = build(tmp_path, "cp313-*")
    assert done.returncode != 0
    assert "NEEDs libcount.so.1, which is not in" in done.stdout + done.stderr
    assert not list((tmp_path / "wheelhouse").glob("*.whl"))
