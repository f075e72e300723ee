"""Libraries that lie in a package and NEED one of `<distribution>.libs`: the order of a wheel's members decides whether loaders
before Pyodide 0.27 load it from a path."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from conda2wheel import audit, repair
from conda2wheel.abi.audit.findings import Severity
from conda2wheel.abi.loaders import loader
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, zig
from tests.helpers.foreign import Foreign

pytestmark = pytest.mark.runtime

PYTHONS = {
    "0.23.4": ("311", "emscripten_3_1_32_wasm32"),
    "0.24.1": ("311", "emscripten_3_1_45_wasm32"),
    "0.25.1": ("311", "emscripten_3_1_46_wasm32"),
    "0.26.4": ("312", "pyemscripten_2024_0_wasm32"),
    "0.27.7": ("312", "pyemscripten_2024_0_wasm32"),
}
EACH = [pytest.param(each, marks=() if each == "0.24.1" else pytest.mark.long) for each in PYTHONS]
MODULE = "pkg/__init__.py"
BASE, MIDDLE = "zz.libs/libbase.so", "pkg/lib/libmiddle.so"


def files(python: str) -> dict[str, conda.Content]:
    """An extension module that NEEDs a library of its package, which NEEDs one of `zz.libs`."""
    base = zig.shared_library("libbase.so", "int base(int a) { return a + 1; }", exports=["base"])
    source = "extern int base(int); int middle(int a) { return base(a) + 1; }"
    middle = zig.shared_library("libmiddle.so", source, exports=["middle"], needed=[base])
    code = zig.extension("_m", {"answer": zig.integer("middle(40)")}, declarations="extern int middle(int);")
    module = zig.side_module("_m", code, python=python, needed=[middle])
    init = "from pkg import _m\nassert _m.answer() == 42\n"
    return {MODULE: init, f"pkg/{module.name}": module, MIDDLE: middle, BASE: base}


def wheel(pyodide: str, order: tuple[str, ...], folder: Path) -> Path:
    """A wheel whose members come in this order, the others after them."""
    python, platform = PYTHONS[pyodide]
    made = files(python)
    ordered = {path: made[path] for path in (*order, *(path for path in made if path not in order))}
    return Foreign(f"cp{python}-cp{python}-{platform}", ordered, name="zz").write(folder)


@pytest.mark.parametrize("pyodide", EACH)
@pytest.mark.parametrize("order", [(MIDDLE, BASE), (BASE, MIDDLE)], ids=["package first", "libs first"])
def test_the_audit_foresees_what_becomes_of_an_order(pyodide: str, order: tuple[str, ...], tmp_path: Path) -> None:
    made = wheel(pyodide, order, tmp_path)
    (checked,) = check_wheels([made], pyodide=pyodide)
    findings = audit(made, pyodide).findings
    found = [(finding.code, finding.severity, finding.module) for finding in findings if finding.severity is Severity.LOAD]
    assert checked.ok == (loader(pyodide).path_libs or order[0] == BASE)
    assert found == ([] if checked.ok else [("libs-order", Severity.LOAD, MIDDLE)])


def test_repair_puts_the_libraries_first_where_a_loader_minds(tmp_path: Path) -> None:
    made = wheel("0.24.1", (MIDDLE, BASE), tmp_path)
    repaired = repair(made, out=tmp_path / "out")
    assert repaired.wheel is not None
    assert repaired.changed
    assert zipfile.ZipFile(repaired.wheel).namelist()[:2] == [BASE, MODULE]
    assert not audit(repaired.wheel, "0.24.1").findings
    again = repair(repaired.wheel, out=tmp_path / "again")
    assert not again.changed
