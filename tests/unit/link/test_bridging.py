"""Which wheels get an unwinding bridge, what it is given to, and what the wheel and the audit say of it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import audit, convert, repair, verify
from conda2wheel.abi.audit.engine import audit_units
from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.bridging import HELPERS, has_bridge
from conda2wheel.abi.platforms import Platform, for_emscripten, platforms
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.symbols import Symbol
from conda2wheel.channels.open import open_package
from conda2wheel.files.packagefile import BytesBlob, Limits, PackageFile
from conda2wheel.link.common_wheel import CommonWheel, SetMember, share
from conda2wheel.link.library import Library
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.library_wheel import LibraryWheel
from conda2wheel.link.linker import link, link_library_wheel
from conda2wheel.link.resolution import WheelModules, resolve
from conda2wheel.results import Converted, Repaired
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.bridge import LONGJMP, MOST, is_bridge, make_bridge, offered
from tests.helpers import judges, zig
from tests.helpers.foreign import Foreign
from tests.helpers.handmade import GOT, module
from tests.unit.link.test_linker import library, python

MODULE = "_m" + zig.suffix("313")
OTHER = "_n" + zig.suffix("313")
SETJMP = [("env", "__wasm_setjmp", "iii>"), ("env", "__wasm_setjmp_test", "ii>i"), ("GOT.mem", "__THREW__", GOT)]


def extension(name: str, *imports: str, needed: tuple[str, ...] = ()) -> bytes:
    """An extension module that imports functions of JavaScript unwinding."""
    wanted = [("env", each, offered(each) or "i>i") for each in imports]
    return module([*SETJMP, *wanted], {f"PyInit_{name}": ">i"}, needed=needed)


def inside(wheel: Path | None) -> dict[str, Module]:
    """The side modules of a wheel by path."""
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        return {name: Module.parse(archive.read(name)) for name in archive.namelist() if name.endswith(".so")}


def bridges(wheel: Path | None) -> dict[str, Module]:
    return {path: found for path, found in inside(wheel).items() if is_bridge(found)}


def document(wheel: Path | None, name: str) -> Any:
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        return json.loads(archive.read(f"demo-1.0.dist-info/{name}"))


def findings_of(result: Converted, pyodide: str = "0.29.5") -> tuple[Finding, ...]:
    """What the audit of the wheel finds for one Pyodide."""
    return audit(str(result.wheel), pyodide).findings


def made(folder: Path, **options: Any) -> Converted:
    """The wheel of two extension modules and a library, all of the JavaScript kind."""
    package = python(
        {
            f"pkg/{MODULE}": extension("_m", "invoke_vi", LONGJMP),
            OTHER: extension("_n", "invoke_iii", "invoke_vi", needed=("libj.so",)),
            "pkg/__init__.py": "",
        },
        name="demo",
    )
    jumper = library("libj", {"lib/libj.so": module([*SETJMP, ("env", LONGJMP, "ii>")], {"jump": "ii>"})})
    result: Converted = convert(package, out=folder, libdirs=[jumper], **options)
    return result


def test_every_module_of_the_javascript_kind_needs_the_one_bridge_of_its_wheel(tmp_path: Path) -> None:
    result = made(tmp_path)
    judges.judge(result.wheel)
    ((path, bridge),) = bridges(result.wheel).items()
    tag = path.removesuffix(".so").rpartition("-")[2]
    assert path == f"demo.libs/unwinding_bridge-{tag}.so"
    assert {e.name for e in bridge.exports} == {f"{name}.{tag}" for name in (LONGJMP, "invoke_vi", "invoke_iii")}
    users = {each: found for each, found in inside(result.wheel).items() if each != path}
    assert len(users) == 3
    for found in users.values():
        section = dylink.read(found)
        assert Path(path).name in section.needed
        assert "/lib/python3.13/site-packages/demo.libs" in section.runtime_path or "$ORIGIN" in section.runtime_path
        names = {entry.field for entry in found.imports}
        assert not names & {LONGJMP, "invoke_vi", "invoke_iii"}
        assert {"__wasm_setjmp", "__THREW__"} <= names


def test_the_wheel_says_what_it_is_and_can_be_made_again(tmp_path: Path) -> None:
    result = made(tmp_path)
    (path,) = bridges(result.wheel)
    (vendored,) = (each for each in result.vendored if each.name == path)
    assert (vendored.source, len(vendored.needed_by)) == ("conda2wheel:unwinding_bridge.so", 3)
    provenance = document(result.wheel, "conda2wheel.json")
    assert provenance["members"][path] == {"source": None}
    assert provenance["options"]["bridge"] is True
    assert path in [each["name"] for each in provenance["vendored"]]
    sbom = document(result.wheel, "sboms/conda2wheel.cdx.json")
    (component,) = (each for each in sbom["components"] if each["name"] == "unwinding bridge")
    assert [each["name"] for each in component["components"]] == [path]
    assert component["bom-ref"] in {ref for each in sbom["dependencies"] for ref in each.get("dependsOn", ())}
    assert not [warning for warning in result.warnings if warning.file == path]
    assert made(tmp_path / "again").sha256 == result.sha256


def test_two_wheels_do_not_share_their_bridges_and_without_isolation_the_names_stay(tmp_path: Path) -> None:
    packages = [python({MODULE: extension("_m", "invoke_vi")}, name=name) for name in ("one", "two")]
    one, two = (next(iter(bridges(convert(each, out=tmp_path).wheel).values())) for each in packages)
    assert {e.name for e in one.exports}.isdisjoint(e.name for e in two.exports)
    plain = convert(packages[0], out=tmp_path / "plain", isolate=False)
    assert [e.name for each in bridges(plain.wheel).values() for e in each.exports] == ["invoke_vi"]


def test_the_audit_notes_a_bridged_module_and_finds_one_that_is_not(tmp_path: Path) -> None:
    result = made(tmp_path)
    for pyodide in ("0.28.3", "0.29.5"):
        findings = findings_of(result, pyodide)
        assert {finding.severity for finding in findings} == {Severity.NOTE}
        assert len(findings) == 3
        assert all(finding.code == "bridged" and "unwinding_bridge" in finding.message for finding in findings)


def test_without_a_bridge_the_findings_stay(tmp_path: Path) -> None:
    result = made(tmp_path, bridge=False, allow=["abi-conflict"])
    assert bridges(result.wheel) == {}
    assert document(result.wheel, "conda2wheel.json")["options"]["bridge"] is False
    assert {f.code for f in findings_of(result) if f.severity is Severity.FATAL} == {"unwinding"}


@pytest.mark.parametrize(("py", "tag"), [("312", "pyemscripten_2024_0"), ("313", "emscripten_3_1_73")])
def test_a_platform_with_javascript_unwinding_needs_none(py: str, tag: str, tmp_path: Path) -> None:
    files = {"_m" + zig.suffix(py): extension("_m", "invoke_vi", LONGJMP)}
    package = python(files, name="demo", py=py, abi="3.1.73" if py == "313" else None)
    result = convert(package, out=tmp_path)
    assert tag in result.filename
    assert bridges(result.wheel) == {}


def test_the_helpers_are_a_fact_of_every_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [row.name for row in platforms() if has_bridge(row)] == [
        "pyemscripten_2025_0",
        "pyemscripten_2026_0",
        "pyemscripten_2026_5",
    ]
    row = next(row for row in platforms() if row.name == "pyemscripten_2025_0")
    for changed in ({}, {**HELPERS, "setThrew": Symbol("func", "ij>")}, {**HELPERS, "__c_longjmp": Symbol("func", "i>")}):
        monkeypatch.setattr("conda2wheel.abi.bridging.main_symbols", lambda _, found=changed: found)
        assert not has_bridge.__wrapped__(row)
    monkeypatch.setattr("conda2wheel.abi.bridging.main_symbols", lambda _: HELPERS)
    assert has_bridge.__wrapped__(row)


@pytest.mark.parametrize(
    "imports",
    [("invoke_vi", "__cxa_find_matching_catch_2"), ("invoke_vi", "invoke_vV"), (LONGJMP, "saveSetjmp")],
    ids=["exceptions", "letter", "older"],
)
def test_a_module_that_a_bridge_cannot_help_stays_as_it_is(imports: tuple[str, ...], tmp_path: Path) -> None:
    """Another module of the wheel has a bridge all the same, and does not lend it."""
    files = {MODULE: extension("_m", *imports), OTHER: extension("_n", "invoke_vi", LONGJMP)}
    result = convert(python(files, name="demo"), out=tmp_path, allow=["abi-conflict", "unresolved-symbol"])
    found = inside(result.wheel)
    assert len(bridges(result.wheel)) == 1
    assert found[MODULE].data == files[MODULE]
    assert found[OTHER].data != files[OTHER]
    fatal = {(f.module, f.code) for f in findings_of(result) if f.severity is Severity.FATAL}
    assert fatal == {(MODULE, "unwinding")}


def test_what_would_make_a_bridge_too_large_is_left_out(tmp_path: Path) -> None:
    names = [f"invoke_v{'i' * (number // 100)}{'j' * (number // 10 % 10)}{'f' * (number % 10)}" for number in range(MOST)]
    files = {MODULE: extension("_m", *names), OTHER: extension("_n", "invoke_di")}
    result = convert(python(files, name="demo"), out=tmp_path, allow=["abi-conflict"])
    (bridge,) = bridges(result.wheel).values()
    assert len(bridge.exports) == MOST
    assert inside(result.wheel)[OTHER].data == files[OTHER]


def test_a_library_that_brings_its_own_bridge_is_the_one_that_is_used(tmp_path: Path) -> None:
    own = library("libown", {"lib/libown.so": make_bridge(["invoke_vi", LONGJMP])})
    package = python({MODULE: extension("_m", "invoke_vi", LONGJMP, needed=("libown.so",))}, name="demo")
    result = convert(package, out=tmp_path, libdirs=[own])
    assert [each.name.partition("-")[0] for each in result.vendored] == ["demo.libs/libown"]
    assert [f.code for f in findings_of(result)] == ["bridged"]


def test_repair_makes_one_and_leaves_it_alone_the_next_time(tmp_path: Path) -> None:
    wheel = Foreign("cp313-cp313-pyodide_2025_0_wasm32", {MODULE: extension("_m", "invoke_vi", LONGJMP)}, name="demo").write(
        tmp_path
    )
    once: Repaired = repair(wheel, out=tmp_path / "once")
    (path,) = bridges(once.wheel)
    assert [each.name for each in once.vendored] == [path]
    assert once.wheel is not None
    assert verify(once.wheel, [wheel]).identical
    twice = repair(once.wheel, out=tmp_path / "twice")
    assert (twice.changed, twice.sha256) == (False, once.sha256)
    assert bridges(repair(wheel, out=tmp_path / "without", bridge=False, allow=["abi-conflict"]).wheel) == {}


@dataclass(frozen=True)
class OneWheel:
    """Library wheels: this one for each library that it has."""

    wheel: LibraryWheel

    def of(self, library: Library, platform: Platform) -> LibraryWheel | None:
        return self.wheel if library.content in self.wheel.libraries else None


@pytest.mark.parametrize("names", [("invoke_vi",), (LONGJMP,)], ids=["another bridge", "the same bridge"])
def test_a_wheel_of_libraries_has_its_own_bridge_and_its_users_have_theirs(names: tuple[str, ...]) -> None:
    """Where both want the same names, the user takes the library wheel's."""
    jumper = library("libj", {"lib/libj.so": module([*SETJMP, ("env", LONGJMP, "ii>")], {"jump": "ii>"})})
    opened, index, row = open_package(jumper), LibraryIndex([jumper], Limits()), for_emscripten("4.0.9")
    root = Library(SideModule(opened.files[0]), opened.stem, opened)
    shared, _ = link_library_wheel("shared-libj", WheelModules(opened, (row,), {}, {}, "shared_libj", roots=(root,)), index)
    assert sorted(path.partition("-")[0] for path in shared.files) == [
        "shared_libj.libs/libj",
        "shared_libj.libs/unwinding_bridge",
    ]
    user = SideModule(PackageFile(MODULE, BytesBlob(extension("_m", *names, needed=("libj.so",)))))
    modules = WheelModules(opened, (row,), {MODULE: user}, {}, "demo")
    linked = link(modules, index, library_wheels=OneWheel(replace(shared, version="1.0")))
    own = [path for path in linked.libraries if "unwinding_bridge" in path]
    assert len(own) == (0 if names == (LONGJMP,) else 1)
    files = {**linked.rewritten, **linked.libraries}
    unit = AuditUnit("demo", {path: SideModule(file) for path, file in files.items()}, "demo")
    findings = audit_units([unit], "0.29.5", linked.installed)["demo"]
    assert [(finding.module, finding.code) for finding in findings] == [(MODULE, "bridged")]


def test_a_library_with_a_bridge_is_not_shared_by_a_set() -> None:
    jumper = library("libj", {"lib/libj.so": module([*SETJMP, ("env", LONGJMP, "ii>")], {"jump": "ii>"})})
    plain = library("libk", {"lib/libk.so": module([], {"plain": "ii>"})})
    index, row = LibraryIndex([jumper, plain], Limits()), for_emscripten("4.0.9")
    members = []
    for name in ("one", "two"):
        wanted = [("env", "jump", "ii>"), ("env", "plain", "ii>")]
        data = module(wanted, {"PyInit__m": ">i"}, needed=("libj.so", "libk.so"))
        native = {MODULE: SideModule(PackageFile(MODULE, BytesBlob(data)))}
        resolution = resolve(WheelModules(open_package(jumper), (row,), native, {}, name), index)
        members.append(SetMember(resolution, {}))
    shared = {bridge: share(CommonWheel("common", row), members, True, True, bridge).common for bridge in (True, False)}
    assert [path.partition("-")[0] for path in shared[True].files] == ["common.libs/libk"]
    assert sorted(path.partition("-")[0] for path in shared[False].files) == ["common.libs/libj", "common.libs/libk"]
