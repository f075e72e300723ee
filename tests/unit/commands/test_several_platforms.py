"""One wheel for several platforms: an abi3 or ctypes wheel gets the tags of all, if it runs on each."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Refused, bundle_specs, convert, repair, verify
from conda2wheel.commands.audit import audit
from conda2wheel.errors import Failed
from conda2wheel.options import Options
from conda2wheel.results import Planned
from tests.helpers import conda, zig
from tests.helpers.foreign import Foreign
from tests.unit.link.test_linker import library, modules, python

P24, P25, P26 = (f"pyemscripten_{year}_0_wasm32" for year in (2024, 2025, 2026))
BOTH = f"{P25}.{P26}"
INITS: conda.Files = dict.fromkeys(("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/deep/__init__.py"), "")


def abi3(name: str = "_x", expression: str = "42", declarations: str = "", needed: tuple[Path, ...] = ()) -> Path:
    source = zig.extension(name, {"answer": zig.integer(expression)}, declarations=declarations)
    return zig.side_module(name, source, needed=needed)


def chain_files() -> conda.Files:
    """The modules of a chain with the suffix of the stable ABI."""
    modules = {path.replace(zig.suffix("313"), ".abi3.so"): file for path, file in zig.chain().package().items()}
    return {**INITS, **modules}


def chain_libraries() -> list[Path]:
    count: conda.Files = {"lib/libcount.so.1.2.3": zig.chain().count, "lib/libcount.so.1": conda.Link("libcount.so.1.2.3")}
    return [library("libcount", count), library("libbase", {"lib/libbase.so": zig.chain().base})]


def info(result: Planned, name: str) -> str:
    assert result.wheel is not None
    with zipfile.ZipFile(result.wheel) as archive:
        return archive.read(next(path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))).decode()


def refusal(source: Path, out: Path, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        (repair if source.suffix == ".whl" else convert)(source, out=out, **options)
    assert not list(out.glob("*.whl"))
    return caught.value


@pytest.mark.parametrize("platforms", [[P26, "0.29.5"], [BOTH], (P25, P26, "0.28.3")], ids=str)
def test_an_abi3_package_and_its_libraries_are_one_wheel_for_several(platforms: list[str], tmp_path: Path) -> None:
    source = python(chain_files())
    result = convert(source, out=tmp_path, libdirs=chain_libraries(), platform=platforms)
    assert (result.filename, result.platform) == (f"pkg-1.0-cp313-abi3-{BOTH}.whl", BOTH)
    assert [line for line in info(result, "WHEEL").splitlines() if line.startswith("Tag")] == [
        f"Tag: cp313-abi3-{tag}" for tag in (P25, P26)
    ]
    top = next(paths for name, (_, paths) in modules(result).items() if "_top" in name)
    assert top == ("/lib/python3.13/site-packages/pkg.libs", "$ORIGIN/../pkg.libs")
    provenance = json.loads(info(result, "conda2wheel.json"))
    assert (provenance["platform"], provenance["judged_by"]) == (BOTH, ["0.29.5", "314.0.7"])
    assert Options.from_json(provenance["options"]).json() == provenance["options"]
    assert verify(result.wheel, [source, *chain_libraries()]).identical
    assert audit(result.wheel).ok


def test_loaders_without_runtime_path_and_with_it_are_served_by_one_wheel(tmp_path: Path) -> None:
    wheel = Foreign(f"cp312-abi3-{P25}", chain_files()).write(tmp_path)
    libraries = tmp_path / "prefix" / "lib"
    conda.lay(libraries, {zig.Chain.ALIAS: zig.chain().count, "libbase.so": zig.chain().base})
    result = repair(wheel, out=tmp_path / "out", libdirs=[libraries], platform=["0.27.7", P25, P26], tags="both")
    assert result.filename == f"pkg-1.0-cp312-abi3-{P24}.{BOTH}.pyodide_2024_0_wasm32.pyodide_2025_0_wasm32.whl"
    found = modules(result)
    assert {name.partition("/")[0] for name in found if "/lib" in name} == {"pkg.libs"}
    assert found["pkg/_top.abi3.so"][1] == ("/lib/python3.13/site-packages/pkg.libs", "$ORIGIN/../pkg.libs")
    again = repair(result.wheel, out=tmp_path / "again", platform=[P24, P25, P26])
    assert not again.changed


def test_ctypes_wheels_get_the_tags_that_are_true(tmp_path: Path) -> None:
    opens = "import ctypes, pathlib\nlib = ctypes.CDLL(str(pathlib.Path(__file__).with_name('libx.so')))\n"
    lib = zig.shared_library("libx.so", "int x_answer(void) { return 42; }", exports=["x_answer"])
    files: conda.Files = {"pkg/__init__.py": opens, "pkg/libx.so": lib}
    wheel = Foreign("py3-none-any", files, purelib=True).write(tmp_path)
    result = repair(wheel, out=tmp_path / "out", platform=["0.29.5", "314.0.7"])
    assert result.filename == f"pkg-1.0-py3-none-{BOTH}.whl"
    assert {"Root-Is-Purelib: false", f"Tag: py3-none-{P26}"} <= set(info(result, "WHEEL").splitlines())
    generated = convert(python(files), out=tmp_path / "conda", platform=[P25, P26])
    assert generated.filename == result.filename
    assert "Requires-Python: >=3.13\n" in info(generated, "METADATA")
    # Unlike the rest, a platform without a name of PEP 783 has no CPython to be checked.
    older = repair(wheel, out=tmp_path / "older", platform=["0.24.1", "0.27.7"])
    assert older.filename == f"pkg-1.0-py3-none-{P24}.emscripten_3_1_45_wasm32.whl"


def test_modules_of_one_cpython_are_for_one(tmp_path: Path) -> None:
    files: conda.Files = {**INITS, f"pkg/_x{zig.suffix('313')}": abi3()}
    for source in (python(files), Foreign(f"cp313-cp313-{P25}", files).write(tmp_path)):
        refused = refusal(source, tmp_path / "out", platform=[P25, P26])
        assert refused.code == "abi-conflict"
        assert f"CPython 3.13 alone, but {P25} has 3.13, {P26} has 3.14" in refused.message
    old: conda.Files = {f"pkg/_x{zig.suffix('311')}": abi3(), "pkg/__init__.py": ""}
    both = repair(Foreign("cp311-cp311-linux_wasm32", old).write(tmp_path), out=tmp_path / "out", platform=["0.24.1", "0.25.1"])
    assert both.filename == "pkg-1.0-cp311-cp311-emscripten_3_1_45_wasm32.emscripten_3_1_46_wasm32.whl"


def test_modules_without_an_abi_in_their_tags_are_judged_by_their_suffixes(tmp_path: Path) -> None:
    stable = Foreign("py3-none-any", {**INITS, "pkg/_x.abi3.so": abi3()}).write(tmp_path)
    result = repair(stable, out=tmp_path / "out", platform=["0.27.7", P26])
    assert result.filename == f"pkg-1.0-cp312-abi3-{P24}.{P26}.whl"
    bare = Foreign("py3-none-any", {**INITS, "pkg/_x.so": abi3()}, name="bare").write(tmp_path)
    assert "extension modules for CPython 3.13 alone" in refusal(bare, tmp_path / "bare", platform=[P25, P26]).message
    assert repair(bare, out=tmp_path / "one", platform=P25).filename == f"bare-1.0-cp313-cp313-{P25}.whl"


def test_the_refusal_says_which_platform_does_not_run_it_and_which_do(tmp_path: Path) -> None:
    pointer = "(int)(void *(*volatile)(void))sqlite3_libversion"
    files: conda.Files = {
        **INITS,
        "pkg/_x.abi3.so": abi3(expression=pointer, declarations="extern void *sqlite3_libversion(void);"),
    }
    wheel = Foreign(f"cp312-abi3-{P26}", files).write(tmp_path)
    refused = refusal(wheel, tmp_path / "out", platform=["0.27.7", P25, P26])
    assert refused.code == "unresolved-symbol"
    assert f"in Pyodide 0.27.7 ({P24}), pkg/_x.abi3.so: imports function pointer sqlite3_libversion" in refused.message
    assert f"it runs with --platform {P26}; " in refused.hint
    assert repair(wheel, out=tmp_path / "one", platform=P26).changed is False


def test_a_part_that_runs_on_some_of_the_platforms_only_is_refused_and_one_that_runs_on_none_is_a_warning(tmp_path: Path) -> None:
    calls = "sqlite3_libversion() != 0"  # a function of Pyodide 314 and later
    module = abi3(expression=calls, declarations="extern void *sqlite3_libversion(void);")
    wheel = Foreign(f"cp312-abi3-{P26}", {**INITS, "pkg/_x.abi3.so": module}).write(tmp_path)
    refused = refusal(wheel, tmp_path / "out", platform=[P25, P26])
    assert f"in Pyodide 0.29.5 ({P25}), pkg/_x.abi3.so: imports function sqlite3_libversion" in refused.message
    assert (f"it runs with --platform {P26}" in refused.hint, "--strict" in refused.hint) == (True, False)
    allowed = repair(wheel, out=tmp_path / "allowed", platform=[P25, P26], allow=["unresolved-symbol"])
    assert "allowed" in {warning.code for warning in allowed.warnings}
    nowhere = abi3(expression="nobody_has_this()", declarations="extern int nobody_has_this(void);")
    wheel = Foreign(f"cp312-abi3-{P26}", {**INITS, "pkg/_x.abi3.so": nowhere}).write(tmp_path)
    assert [part.symbols for part in repair(wheel, out=tmp_path / "out", platform=[P25, P26]).unusable] == [("nobody_has_this",)]


def test_a_library_is_provided_only_if_every_main_module_has_it(tmp_path: Path) -> None:
    lib = zig.shared_library(
        "libsqlite3.so", "int sqlite3_libversion_number(void) { return 7; }", exports=["sqlite3_libversion_number"]
    )
    module = abi3(
        expression="sqlite3_libversion_number()", declarations="extern int sqlite3_libversion_number(void);", needed=(lib,)
    )
    wheel = Foreign(f"cp313-abi3-{P26}", {**INITS, "pkg/_x.abi3.so": module}).write(tmp_path)
    conda.lay(tmp_path / "prefix" / "lib", {"libsqlite3.so": lib})
    options: dict[str, Any] = {"libdirs": [tmp_path / "prefix" / "lib"]}
    alone = repair(wheel, out=tmp_path / "alone", platform=P26, **options)
    both = repair(wheel, out=tmp_path / "both", platform=[P25, P26], **options)
    assert ([each.name for each in alone.provided], alone.vendored) == (["libsqlite3.so"], ())
    assert (both.provided, len(both.vendored)) == ((), 1)


def test_a_library_may_be_built_for_one_of_the_platforms(tmp_path: Path) -> None:
    """Nothing of it ties it to that one; the audit says whether it runs on the others."""
    other = library("libcount", {"lib/libcount.so.1": zig.chain().count}, abi="==3.1.73"), chain_libraries()[1]
    source = python(chain_files())
    assert refusal(source, tmp_path, libdirs=other, platform=[P25, P26]).code == "missing-library"
    assert len(convert(source, out=tmp_path, libdirs=chain_libraries(), platform=[P25, P26]).vendored) == 2


def test_requires_python_must_admit_each(tmp_path: Path) -> None:
    files: conda.Files = {**INITS, "pkg/_x.abi3.so": abi3()}
    metadata = "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\nRequires-Python: >=3.10,<3.14\n"
    source = python({**files, "pkg-1.0.dist-info/METADATA": metadata})
    refused = refusal(source, tmp_path, platform=[P25, P26])
    assert (refused.code, "Requires-Python >=3.10,<3.14 excludes CPython 3.14.2" in refused.message) == ("abi-conflict", True)
    assert convert(source, out=tmp_path, platform=P25).platform == P25


@pytest.mark.parametrize("choice", [["auto", P25], [], ["0.29.5", "0.999.0"], f"{P25}.x_1"], ids=str)
def test_a_wrong_choice_is_a_wrong_argument(choice: Any) -> None:
    with pytest.raises(Failed) as caught:
        Options.of(choice)
    assert caught.value.code == "usage"


def test_a_bundle_is_for_one_platform(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="a bundle is for one platform") as caught:
        bundle_specs(["demo"], out=tmp_path / "bundle", platform=[P25, P26])
    assert caught.value.code == "usage"


def test_an_abi3_wheel_for_a_newer_cpython_than_one_platform_has_is_refused(tmp_path: Path) -> None:
    wheel = Foreign(f"cp314-abi3-{P26}", {**INITS, "pkg/_x.abi3.so": abi3()}).write(tmp_path)
    assert f"{P25} has CPython 3.13" in refusal(wheel, tmp_path / "out", platform=[P25, P26]).message
