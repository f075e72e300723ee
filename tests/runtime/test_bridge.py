"""Longjmp of the JavaScript kind in Pyodides whose unwinding is WebAssembly's: with the bridge it runs, without it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from conda2wheel.abi.audit.findings import Severity
from conda2wheel.commands.audit import audit
from conda2wheel.commands.convert import convert
from tests.helpers import judges, longjmps
from tests.helpers.installers import install

pytestmark = pytest.mark.runtime

PYTHONS = {"0.28.3": "313", "0.29.5": "313", "314.0.7": "314"}
Installer = Literal["loadPackage", "micropip"]


def wheel(pyodide: str, folder: Path, bridge: bool = True) -> Path:
    """The fixture's wheel; micropip of 0.28.3 knows the older tag alone."""
    package, libraries = longjmps.packages(PYTHONS[pyodide])
    result = convert(package, out=folder, libdirs=[libraries], tags="both", bridge=bridge, allow=["abi-conflict"])
    judges.judge(result.wheel)
    return result.wheel


@pytest.mark.parametrize(
    ("pyodide", "by"),
    [
        pytest.param(pyodide, by, marks=() if (pyodide, by) == ("0.29.5", "loadPackage") else pytest.mark.long)
        for pyodide in PYTHONS
        for by in ("loadPackage", "micropip")
    ],
)
def test_every_longjmp_lands_where_it_should(pyodide: str, by: Installer, tmp_path: Path) -> None:
    made = wheel(pyodide, tmp_path)
    answer = install(made, pyodide, by, longjmps.SCRIPT)
    assert (answer.errors, json.loads(answer.result or "null")) == ((), longjmps.EXPECTED)
    findings = audit(made, pyodide).findings
    assert {finding.code for finding in findings} == {"bridged"}


@pytest.mark.long
@pytest.mark.parametrize("pyodide", PYTHONS)
def test_without_a_bridge_a_module_that_points_to_longjmp_is_not_loaded(pyodide: str, tmp_path: Path) -> None:
    """One that only calls it is `js_longjmp` in test_signals.py."""
    made = wheel(pyodide, tmp_path, bridge=False)
    answer = install(made, pyodide, "loadPackage", "from jumps import _jumps")
    assert answer.result is None
    assert "emscripten_longjmp" in "\n".join(answer.errors)
    worst = (Severity.LOAD, Severity.FATAL)
    bad = {(finding.code, finding.severity) for finding in audit(made, pyodide).findings if finding.severity in worst}
    assert bad == {("unwinding", Severity.FATAL), ("unwinding", Severity.LOAD)}
