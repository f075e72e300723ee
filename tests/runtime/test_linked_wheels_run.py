"""Linked wheels in every Pyodide: one instance of each library, whichever loader and installer."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.pyodide import check_wheels
from tests.helpers import conda, judges, zig
from tests.unit.link.test_linker import chain_packages

pytestmark = pytest.mark.runtime

BOTH = ("loadPackage", "micropip")
RUNS = [
    pytest.param("310", "0.22.1", BOTH[:1], id="0.22.1", marks=pytest.mark.long),
    pytest.param("311", "0.23.4", BOTH[:1], id="0.23.4", marks=pytest.mark.long),
    pytest.param("311", "0.24.1", BOTH[:1], id="0.24.1"),  # micropip 0.5.0 does not know of .libs folders
    pytest.param("311", "0.25.1", BOTH[:1], id="0.25.1", marks=pytest.mark.long),
    pytest.param(
        "312", "0.26.4", BOTH[:1], id="0.26.4", marks=pytest.mark.long
    ),  # its micropip needs Pyodide's patched packaging, from the CDN only
    pytest.param("312", "0.27.7", BOTH[:1], id="0.27.7"),
    pytest.param("312", "0.27.7", BOTH[1:], id="0.27.7-micropip", marks=pytest.mark.long),
    pytest.param("313", "0.28.3", BOTH, id="0.28.3", marks=pytest.mark.long),
    pytest.param("313", "0.29.5", BOTH, id="0.29.5"),
    pytest.param("314", "314.0.7", BOTH[:1], id="314.0.7"),
    pytest.param("314", "314.0.7", BOTH[1:], id="314.0.7-micropip", marks=pytest.mark.long),
    pytest.param("315", "315.0.0-alpha.2", BOTH[:1], id="315.0.0-alpha.2", marks=pytest.mark.long),
]


@pytest.mark.parametrize("cycle", [False, pytest.param(True, marks=pytest.mark.long)], ids=["chain", "cycle"])
@pytest.mark.parametrize(("python", "pyodide", "installers"), RUNS)
def test_two_modules_share_one_instance_of_each_library(
    python: str, pyodide: str, installers: tuple[str, ...], cycle: bool, tmp_path: Path
) -> None:
    """Private state is counted by both modules, by calls, by function pointers and as data; an exception comes out of C."""
    # 0.23.4 and 0.25.1 have the CPython of 0.24.1 and another Emscripten, so the evidence is said here.
    abi = {"0.23.4": ">=3.1.32,<3.1.33.0a0", "0.25.1": ">=3.1.46,<3.1.47.0a0"}.get(pyodide)
    package, count, base = chain_packages(zig.chain(python, cycle=cycle), python, abi)
    result = convert(package, out=tmp_path, libdirs=[count, base], tags="both")
    assert result.wheel is not None
    judges.judge(result.wheel)
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    for installer in installers:
        (checked,) = check_wheels([result.wheel], pyodide=pyodide, installer=installer, script=script)  # type: ignore[arg-type]
        assert checked.ok, checked.json()
        assert checked.script is not None
        assert checked.script.stdout == "one instance of each library\n"


def test_without_its_library_the_same_module_does_not_work(tmp_path: Path) -> None:
    """What the work is for: a library of the right name and without the symbols is noticed at the first call, not before."""
    package, _, _ = chain_packages(zig.chain())
    bare = zig.shared_library("libcount.so.1", "int unrelated;")
    stand_in = conda.assemble("libcount", "1.0", {"lib/libcount.so.1": bare}, depends=["emscripten-abi >=4,<5.0a0"])
    result = convert(package, out=tmp_path, libdirs=[stand_in], allow=["unresolved-symbol"])  # the audit knows, of course
    assert result.wheel is not None
    (checked,) = check_wheels([result.wheel], imports=["pkg._top"])
    assert not checked.ok
