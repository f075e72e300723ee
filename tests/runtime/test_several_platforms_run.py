"""One wheel for several platforms in the Pyodide of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import repair
from conda2wheel.pyodide import check_wheels
from conda2wheel.pyodide.report import Installer
from tests.helpers import conda, zig
from tests.helpers.foreign import Foreign

pytestmark = pytest.mark.runtime

PYODIDES = ("0.27.7", "0.28.3", "0.29.5", "314.0.7")
CTYPES = """
import ctypes, pathlib
lib = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libx.so")))
"""


@pytest.mark.parametrize(
    ("pyodide", "installer"),
    [
        pytest.param(pyodide, installer, marks=() if (pyodide, installer) == ("0.29.5", "loadPackage") else pytest.mark.long)
        for pyodide in PYODIDES
        for installer in ("loadPackage", "micropip")
    ],
)
def test_abi3_modules_with_libraries_and_a_ctypes_library_run_in_each(pyodide: str, installer: Installer, tmp_path: Path) -> None:
    inits = dict.fromkeys(("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/deep/__init__.py"), "")
    chain = {path.replace(zig.suffix("313"), ".abi3.so"): file for path, file in zig.chain().package().items()}
    opened = zig.shared_library("libx.so", "int x_answer(void) { return 42; }", exports=["x_answer"])
    conda.lay(tmp_path / "prefix" / "lib", {zig.Chain.ALIAS: zig.chain().count, "libbase.so": zig.chain().base})
    wheels = [
        Foreign("cp312-abi3-pyemscripten_2025_0_wasm32", {**inits, **chain}).write(tmp_path),
        Foreign("py3-none-any", {"opens/__init__.py": CTYPES, "opens/libx.so": opened}, name="opens").write(tmp_path),
    ]
    scripts = (zig.SCRIPT, "import opens\nassert opens.lib.x_answer() == 42\n")
    for wheel, text in zip(wheels, scripts, strict=True):
        result = repair(wheel, out=tmp_path / "out", libdirs=[tmp_path / "prefix" / "lib"], platform=PYODIDES, tags="both")
        script = tmp_path / "script.py"
        script.write_text(text)
        (checked,) = check_wheels([result.wheel or wheel], pyodide=pyodide, installer=installer, script=script)
        assert checked.ok, checked.json()
