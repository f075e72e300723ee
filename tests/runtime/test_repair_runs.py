"""Repaired wheels in real Pyodides: what another builder left unvendored, or led to in a way that the loader misreads."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import repair
from conda2wheel.pyodide import check_wheels
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from tests.helpers import conda, judges, zig
from tests.helpers.foreign import Foreign, unvendored

pytestmark = pytest.mark.runtime

RUNS = [
    pytest.param("312", "0.27.7", "emscripten_3_1_58_wasm32", id="0.27.7", marks=pytest.mark.long),
    pytest.param("313", "0.29.5", "pyodide_2025_0_wasm32", id="0.29.5"),
    pytest.param("314", "314.0.7", "linux_wasm32", id="314.0.7", marks=pytest.mark.long),
]


def libdir(folder: Path, chain: zig.Chain) -> Path:
    """The build machine's own libraries, without any package."""
    alias = conda.Link(chain.count.name)
    conda.lay(folder / "lib", {chain.count.name: chain.count, chain.ALIAS: alias, chain.base.name: chain.base})
    return folder


def runs(wheel: Path, pyodide: str, script: Path) -> bool:
    (checked,) = check_wheels([wheel], pyodide=pyodide, script=script)
    return checked.ok and checked.script is not None and checked.script.stdout == "one instance of each library\n"


@pytest.mark.parametrize(("python", "pyodide", "platform"), RUNS)
def test_an_unvendored_wheel_runs_after_its_repair(python: str, pyodide: str, platform: str, tmp_path: Path) -> None:
    chain = zig.chain(python)
    wheel = unvendored(chain, python, platform).write(tmp_path / "built")
    result = repair(wheel, out=tmp_path, libdirs=[libdir(tmp_path / "prefix", chain)])
    assert result.wheel is not None
    judges.judge(result.wheel)
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    assert not runs(wheel, pyodide, script)
    assert runs(result.wheel, pyodide, script)


@pytest.mark.parametrize("pyodide", ["0.29.5"])
def test_libraries_inside_that_were_two_instances_are_one(pyodide: str, tmp_path: Path) -> None:
    """As auditwheel-emscripten and `-rpath` leave them: $ORIGIN with `..`, which that loader takes for another file."""
    up = "$ORIGIN/../../../pkg.libs"
    chain = zig.chain(rpath_top=["$ORIGIN/../pkg.libs"], rpath_deep=[up], rpath_libraries=["$ORIGIN"])
    files = {**unvendored(chain, "313", "").files, f"pkg.libs/{chain.ALIAS}": chain.count, "pkg.libs/libbase.so": chain.base}
    wheel = Foreign("cp313-cp313-pyemscripten_2025_0_wasm32", files).write(tmp_path / "built")
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    assert not runs(wheel, pyodide, script)
    result = repair(wheel, out=tmp_path)
    assert (result.changed, result.vendored, result.wheel is not None) == (True, (), True)
    assert runs(result.wheel or wheel, pyodide, script)


@pytest.mark.parametrize(("python", "pyodide"), [("313", "0.29.5"), pytest.param("314", "314.0.7", marks=pytest.mark.long)])
def test_copies_of_one_library_are_one_instance(python: str, pyodide: str, tmp_path: Path) -> None:
    """One library under each of its names: the modules, and what goes through the global offset table, mean the same one."""
    chain = zig.chain(python, rpath_libraries=["$ORIGIN"])
    names = ("libcount.so", "libcount.so.1", "libcount.so.1.2.3")
    files = {**unvendored(chain, python, "").files, "pkg.libs/libbase.so": chain.base}
    files |= {f"pkg.libs/{name}": chain.count for name in names}
    wheel = Foreign(f"cp{python}-cp{python}-linux_wasm32", files).write(tmp_path / "built")
    result = repair(wheel, out=tmp_path)
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    assert runs(result.wheel or wheel, pyodide, script)


@pytest.mark.long
@pytest.mark.parametrize(("pyodide", "python"), [("0.27.7", "312"), ("0.29.5", "313"), ("314.0.7", "314")])
def test_a_library_named_wasm_runs_after_the_repair(pyodide: str, python: str, tmp_path: Path) -> None:
    chain = zig.chain(python)
    wheel = unvendored(chain, python, "")
    files: dict[str, conda.Content] = dict(wheel.files)
    for path, content in chain.package().items():
        module = Module.parse(content.read_bytes())
        before = dylink.read(module)
        files[path] = dylink.write(module, before.with_needed([n.replace(chain.ALIAS, "libcount.wasm") for n in before.needed]))
    conda.lay(tmp_path / "lib", {"libcount.wasm": chain.count, chain.base.name: chain.base})
    tag = {"312": "emscripten_3_1_58_wasm32", "313": "pyodide_2025_0_wasm32", "314": "linux_wasm32"}[python]
    built = Foreign(f"cp{python}-cp{python}-{tag}", files).write(tmp_path / "built")
    result = repair(built, out=tmp_path, libdirs=[tmp_path / "lib"])
    script = tmp_path / "script.py"
    script.write_text(zig.SCRIPT)
    assert not runs(built, pyodide, script)
    assert runs(result.wheel, pyodide, script)
