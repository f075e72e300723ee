"""Linked wheels in every Pyodide: one instance of each library, whichever loader and installer."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.convert import convert
from conda2wheel.runtime import check_wheels
from tests.build import conda, judges, zig
from tests.unit.test_link import chain_packages

pytestmark = pytest.mark.runtime

RUNS = [
    ("311", "0.24.1", ("loadPackage",)),  # micropip 0.5.0 does not know of .libs folders there
    ("312", "0.26.4", ("loadPackage",)),  # its micropip needs Pyodide's own patched packaging, from the CDN only
    ("312", "0.27.7", ("loadPackage", "micropip")),
    ("313", "0.28.3", ("loadPackage", "micropip")),
    ("313", "0.29.5", ("loadPackage", "micropip")),
    ("314", "314.0.7", ("loadPackage", "micropip")),
]


@pytest.mark.parametrize("cycle", [False, True], ids=["chain", "cycle"])
@pytest.mark.parametrize(("python", "pyodide", "installers"), RUNS, ids=[pyodide for _, pyodide, _ in RUNS])
def test_two_modules_share_one_instance_of_each_library(
    python: str, pyodide: str, installers: tuple[str, ...], cycle: bool, tmp_path: Path
) -> None:
    """Private state is counted by both modules, by calls, by function pointers and as data; an exception comes out of C."""
    package, count, base = chain_packages(zig.chain(python, cycle=cycle), python)
    result = convert(package, out=tmp_path, libdirs=[count, base], compat_tags=True)
    assert result.wheel is not None
    judges.judge(result.wheel)
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    for installer in installers:
        (checked,) = check_wheels([result.wheel], pyodide=pyodide, installer=installer, script=script)  # type: ignore[arg-type]
        assert checked.ok, checked.json()
        assert checked.script is not None
        assert checked.script.stdout == "one instance of each library\n"


def test_as_shipped_the_same_module_does_not_load(tmp_path: Path) -> None:
    """What the work is for: without its libraries vendored, the loader says that it does not find them."""
    package, _, _ = chain_packages(zig.chain())
    files = {name: content for name, content in conda.members(package).items() if name.startswith("lib/") and "_top" in name}
    ((name, content),) = files.items()
    bare = zig.shared_library("libcount.so.1", "int unrelated;", exports=[])
    result = convert(package, out=tmp_path, libdirs=[_stand_in(bare)])
    assert result.wheel is not None
    (checked,) = check_wheels([result.wheel], imports=["pkg._top"])
    assert not checked.ok
    assert isinstance(content, bytes)
    assert name.endswith("_top.cpython-313-wasm32-emscripten.so")


def _stand_in(library: Path) -> Path:
    return conda.assemble("libcount", "1.0", {"lib/libcount.so.1": library}, depends=["emscripten-abi >=4,<5.0a0"])
