"""cibuildwheel's own road from build to repair to output, with nothing replaced but the compiler and its set-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import conda, judges, zig
from tests.helpers.foreign import cibuildwheel, unvendored

# What docs/how-to/cibuildwheel.md tells people to write.
PROJECT = """
[project]
name = "pkg"
version = "1.0"

[tool.cibuildwheel.pyodide]
repair-wheel-command = "conda2wheel repair {wheel} -o {dest_dir} --libdir {project}/native"
"""
# Instead of a download of Python, pyodide-build and Emscripten: the environment as it is.
DRIVER = """
import os, sys
sys.path.insert(0, {folder!r})
from cibuildwheel.__main__ import main
from cibuildwheel.platforms import pyodide
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


def build(folder: Path, builds: str) -> subprocess.CompletedProcess[str]:
    """`cibuildwheel --platform pyodide` in `folder`, whose project has its libraries in native/."""
    conda.lay(folder, {"project/pyproject.toml": PROJECT, "bin/pyodide": PYODIDE})
    (folder / "bin" / "pyodide").chmod(0o755)
    (folder / "project" / "native").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "BUILT": str(folder / "built"),
        "CIBW_BUILD": builds,
        "CIBW_ENABLE": "pyodide-eol",
        "CIBW_CACHE_PATH": str(folder / "cache"),
    }
    command = [sys.executable, "-c", DRIVER.format(folder=str(cibuildwheel())), "--platform", "pyodide"]
    command += ["--output-dir", str(folder / "wheelhouse")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder / "project")


def unrepaired(folder: Path) -> None:
    for identifier, (python, tag, _) in BUILDS.items():
        unvendored(zig.chain(python), python, tag).write(folder / "built" / identifier)


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


def test_a_refusal_stops_the_build_and_says_why(tmp_path: Path) -> None:
    unrepaired(tmp_path)
    done = build(tmp_path, "cp313-*")
    assert done.returncode != 0
    assert "NEEDs libcount.so.1, which is not in" in done.stdout + done.stderr
    assert not list((tmp_path / "wheelhouse").glob("*.whl"))
