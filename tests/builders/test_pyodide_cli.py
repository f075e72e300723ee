"""`pyodide conda2wheel ...`, with pyodide-cli, pyodide-build and auditwheel-emscripten from PyPI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import conda, judges, zig
from tests.helpers.foreign import unvendored
from tests.helpers.tools import environment, newer_python, with_this_project

pytestmark = pytest.mark.long

TOOLS = ("pyodide-cli==0.5.0", "pyodide-build==0.39.2", "auditwheel-emscripten==0.3.0")
PLATFORM = "pyemscripten_2025_0_wasm32"
# What `pyodide build` does to the wheel of the build backend, in its own code.
RETAG = """
import sys
from pathlib import Path
from pyodide_build.common import retag_wheel
print(retag_wheel(Path(sys.argv[1]), sys.argv[2]))
"""


def test_pyodide_has_the_command_beside_its_own(tmp_path: Path) -> None:
    python = newer_python()
    site = with_this_project(tmp_path / "tools", *TOOLS, python=python)
    there = environment(site, first=[python.parent])

    def pyodide(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-m", "pyodide_cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=there, cwd=tmp_path)

    listed = pyodide("--help").stdout
    assert "Registered by conda2wheel-wasm:\n  conda2wheel  Convert, repair and audit wheels" in listed
    assert "\n  build  " in listed
    chain = zig.chain()
    conda.lay(tmp_path / "lib", {chain.ALIAS: chain.count, "libbase.so": chain.base})
    built = unvendored(chain, "313", "emscripten_4_0_9_wasm32").write(tmp_path / "dist")
    command = [str(python), "-c", RETAG, str(built), PLATFORM]
    retagged = subprocess.run(command, capture_output=True, text=True, check=True, env=there).stdout.strip()
    assert retagged.endswith(f"{PLATFORM}.whl")
    repaired = pyodide("conda2wheel", "repair", retagged, "--libdir", "lib", "-o", "wheelhouse")
    assert repaired.returncode == 0, repaired.stderr
    judges.judge(tmp_path / repaired.stdout.strip())
    audited = pyodide("conda2wheel", "audit", "wheelhouse", "--for", "pypi", "--json")
    (row,) = json.loads(audited.stdout)["results"]
    assert (audited.returncode, row["verdict"], row["accepted"]) == (0, "runs", True)
    refused = pyodide("conda2wheel", "repair", retagged, "-o", "none")
    assert (refused.returncode, refused.stderr.count("error: missing-library")) == (1, 1)
    assert "Traceback" not in refused.stderr
    assert pyodide("conda2wheel", "repair", "--libdir").returncode == 2
    help_text = pyodide("conda2wheel", "repair", "--help").stdout
    assert "repair [OPTIONS] {WHEEL}..." in help_text
    shown = pyodide("auditwheel", "show", tmp_path / repaired.stdout.strip())
    assert (shown.returncode, "pkg.libs/" in shown.stdout) == (0, True), shown.stdout + shown.stderr
