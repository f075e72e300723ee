"""A module that takes symbols of a library without NEEDing it gets the entry, where it is clear which library is meant."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from conda2wheel import inspect, repair
from conda2wheel.abi.side_module import SideModule
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BytesBlob, Limits, PackageFile
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.results import Planned
from tests.helpers import conda, zig
from tests.helpers.foreign import Foreign
from tests.helpers.handmade import GOT, module
from tests.unit.link.test_linker import library, python

INIT = {"PyInit__m": ">i"}
USER, OTHER = "pkg/_m" + zig.suffix("313"), "pkg/_n" + zig.suffix("313")
F2C = ("env", "do_lio", "iiii>i")
BLAS = module([], {"dgemm": "ii>", "do_lio": "iiii>i", "table": "i", "crc32": "iii>i"})
USES_BLAS = module([("env", "dgemm", "ii>")], INIT, needed=["libblas.so"])


def without_entry(*imports: tuple[str, str, str], weak: tuple[tuple[str, str], ...] = ()) -> bytes:
    return module(imports, {"PyInit__n": ">i"}, weak=weak)


def sides(wheel: Path | None) -> dict[str, SideModule]:
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        return {n: SideModule(PackageFile(n, BytesBlob(archive.read(n)))) for n in archive.namelist() if n.endswith(".so")}


def added(result: Planned) -> dict[str | None, str]:
    return {warning.file: warning.message for warning in result.warnings if warning.code == "needed-added"}


def provenance(wheel: Path | None) -> dict[str, Mapping[str, object]]:
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/conda2wheel.json"))
        files = json.loads(archive.read(name))["members"]
    return {path: each.get("changes", {}) for path, each in files.items()}


def imported(side: SideModule) -> set[str]:
    return {entry.name for entry in side.imports} - {"memory", "__memory_base"}


def with_blas(tmp_path: Path, *modules: bytes, blas: bytes = BLAS) -> Planned:
    """A package of a module that NEEDs libblas.so and of others that do not."""
    package = python({"pkg/__init__.py": "", **dict(zip((USER, OTHER), modules, strict=True))})
    return convert(package, out=tmp_path, libdirs=[library("blas", {"lib/libblas.so": blas})])


def test_a_library_that_another_module_needs_is_needed_by_its_other_user_too(tmp_path: Path) -> None:
    result = with_blas(tmp_path, USES_BLAS, without_entry(F2C, ("GOT.mem", "table", GOT), ("GOT.func", "dgemm", GOT)))
    found = sides(result.wheel)
    (blas,) = (name for name in found if name.startswith("pkg.libs/"))
    tag = blas.removesuffix(".so").rpartition("-")[2]
    assert found[OTHER].needed == (blas.removeprefix("pkg.libs/"),) == found[USER].needed
    assert found[OTHER].runtime_path == found[USER].runtime_path != ()
    assert imported(found[OTHER]) == {f"do_lio.{tag}", f"table.{tag}", f"dgemm.{tag}"}
    assert added(result) == {OTHER: "takes do_lio, table, dgemm from libblas.so and does not NEED it: the entry is added"}
    assert result.vendored[0].needed_by == (USER, OTHER)
    changes = provenance(result.wheel)
    assert changes[OTHER]["needed_added"] == {found[OTHER].needed[0]: ["do_lio", "table", "dgemm"]}
    assert "needed_added" not in changes[USER]


def test_what_the_main_module_has_is_taken_from_it_as_before(tmp_path: Path) -> None:
    """An entry that is added says nothing about the names that libblas.so and the main module both have."""
    result = with_blas(tmp_path, USES_BLAS, without_entry(F2C, ("env", "crc32", "iii>i")))
    assert "crc32" in imported(sides(result.wheel)[OTHER])


@pytest.mark.parametrize(
    ("entry", "weak"),
    [
        (("env", "do_lio", "iii>i"), ()),
        (("GOT.mem", "do_lio", GOT), ()),
        (("GOT.func", "table", GOT), ()),
        (("env", "crc32", "iii>i"), ()),
        (F2C, (("env", "do_lio"),)),
    ],
    ids=["another type", "data that is a function", "a function that is data", "in the main module", "weak"],
)
def test_no_entry_is_added_for(entry: tuple[str, str, str], weak: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    package = python({"pkg/__init__.py": "", USER: USES_BLAS, OTHER: without_entry(entry, weak=weak)})
    blas = library("blas", {"lib/libblas.so": BLAS})
    result = convert(package, out=tmp_path, libdirs=[blas], allow=["unresolved-symbol", "signature-mismatch"])
    assert (sides(result.wheel)[OTHER].needed, added(result)) == ((), {})


def test_a_weak_import_takes_from_a_library_whose_entry_is_added_for_another(tmp_path: Path) -> None:
    other = without_entry(F2C, ("env", "dgemm", "ii>"), weak=(("env", "dgemm"),))
    side = sides(with_blas(tmp_path, USES_BLAS, other).wheel)[OTHER]
    assert {name.partition(".")[0] for name in imported(side)} == {"do_lio", "dgemm"}
    assert all("." in name for name in imported(side))


@pytest.mark.parametrize(
    ("taken", "py", "expected"),
    [
        (("GOT.mem", "table", GOT), "313", ["libtop"]),
        (("GOT.func", "do_lio", GOT), "313", ["libtop"]),
        (F2C, "313", ["libblas", "libtop"]),
        (F2C, "311", ["libtop"]),
    ],
    ids=["data", "pointer", "call", "call where libraries are global"],
)
def test_an_entry_below_what_a_module_needs_is_enough_but_for_calls(
    taken: tuple[str, str, str], py: str, expected: list[str], tmp_path: Path
) -> None:
    """libtop.so NEEDs libblas.so. Pyodide since 0.27 loads both first, and then a user of libtop.so can call that one alone."""
    top = module([("env", "dgemm", "ii>")], {"top": ">"}, needed=["libblas.so"])
    user = "pkg/_m" + zig.suffix(py)
    package = python({"pkg/__init__.py": "", user: module([("env", "top", ">"), taken], INIT, needed=["libtop.so"])}, py=py)
    blas = library("blas", {"lib/libblas.so": BLAS, "lib/libtop.so": top}, py=py)
    result = convert(package, out=tmp_path, libdirs=[blas])
    assert [entry.partition("-")[0] for entry in sides(result.wheel)[user].needed] == expected
    assert list(added(result)) == ([user] if len(expected) == 2 else [])


def test_a_vendored_library_gets_the_entry_that_it_lacks(tmp_path: Path) -> None:
    """Since 0.27 an installation opens each library by itself, so that the entries of its users do not help it."""
    below = module([("env", "deep", ">")], {"below": ">"})
    libraries = {"lib/libtop.so": module([("env", "below", ">")], {"top": ">"}, needed=[]), "lib/libbelow.so": below}
    libraries |= {"lib/libdeep.so": module([], {"deep": ">"})}
    package = python({"pkg/__init__.py": "", USER: module([("env", "top", ">")], INIT, needed=["libtop.so"])})
    result = convert(package, out=tmp_path, libdirs=[library("libs", libraries)])
    chain = {name.rpartition("/")[2].partition("-")[0]: side for name, side in sides(result.wheel).items()}
    needs = {stem: [entry.partition("-")[0] for entry in side.needed] for stem, side in chain.items()}
    assert {stem: needs[stem] for stem in ("libtop", "libbelow", "libdeep")} == {
        "libtop": ["libbelow"],
        "libbelow": ["libdeep"],
        "libdeep": [],
    }
    assert set(added(result)) == {"lib/libtop.so", "lib/libbelow.so"}
    assert all(
        "needed_added" in each for path, each in provenance(result.wheel).items() if "libtop" in path or "libbelow" in path
    )


@pytest.mark.parametrize("where", ["libdir", "own"])
def test_a_library_that_no_module_needs_is_vendored_for_what_is_taken_from_it(where: str, tmp_path: Path) -> None:
    files: conda.Files = {"pkg/__init__.py": "", USER: without_entry(F2C)}
    own: conda.Files = {"lib/libblas.so": BLAS} if where == "own" else {}
    others: conda.Files = {"lib/libother.so": module([], {"other": ">"}), **({} if own else {"lib/libblas.so": BLAS})}
    result = convert(python({**files, **own}), out=tmp_path, libdirs=[library("blas", others)])
    assert [vendored.source.rpartition(":")[2] for vendored in result.vendored] == ["lib/libblas.so"]
    assert list(added(result)) == [USER]
    assert not [warning for warning in result.warnings if warning.code == "unused-library"]


def test_a_library_that_travels_is_preferred_to_one_that_would_have_to(tmp_path: Path) -> None:
    package = python({"pkg/__init__.py": "", USER: USES_BLAS, OTHER: without_entry(F2C)})
    libdirs = [library("blas", {"lib/libblas.so": BLAS}), library("f2c", {"lib/libf2c.so": module([], {"do_lio": "iiii>i"})})]
    result = convert(package, out=tmp_path, libdirs=libdirs)
    assert [vendored.source.rpartition("/")[2] for vendored in result.vendored] == ["libblas.so"]


@pytest.mark.parametrize("travelling", [True, False])
def test_of_two_libraries_none_is_chosen_and_the_finding_names_both(travelling: bool, tmp_path: Path) -> None:
    f2c = module([], {"do_lio": "iiii>i", "s_wsle": "i>i"})
    user = module([("env", "s_wsle", "i>i"), ("env", "dgemm", "ii>")], INIT, needed=["libblas.so", "libf2c.so"])
    files: conda.Files = {USER: user, OTHER: without_entry(F2C)} if travelling else {OTHER: without_entry(F2C)}
    libdirs = [library("blas", {"lib/libblas.so": BLAS}), library("f2c", {"lib/libf2c.so": f2c})]
    result = convert(python({"pkg/__init__.py": "", **files}), out=tmp_path, libdirs=libdirs, allow=["unresolved-symbol"])
    assert (sides(result.wheel)[OTHER].needed, added(result)) == ((), {})
    (message,) = (each.message for each in result.warnings if each.file == OTHER)
    assert "is not defined in what the module NEEDs, but in " in message
    assert "libblas" in message
    assert "libf2c" in message


@pytest.mark.parametrize(
    ("exported", "depends", "why"),
    [("i>i", (), "with another type"), ("iiii>i", ("blas >=2",), "demo depends on blas >=2")],
)
def test_a_library_that_cannot_be_taken_is_named_with_the_reason(
    exported: str, depends: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    package = python({"pkg/__init__.py": "", OTHER: without_entry(F2C)}, name="demo", depends=depends)
    blas = library("blas", {"lib/libblas.so": module([], {"do_lio": exported})})
    with pytest.raises(Refused) as caught:
        convert(package, out=tmp_path, libdirs=[blas], strict=True)
    assert f"not defined in what the module NEEDs, but in libblas.so of blas-1.0-h1234567_0 ({why})" in caught.value.message
    assert "link the module with -lblas" in caught.value.hint


def test_a_symbol_that_needs_an_entry_decides_for_one_that_two_libraries_have(tmp_path: Path) -> None:
    f2c = module([], {"do_lio": "iiii>i", "s_wsle": "i>i"})
    package = python({"pkg/__init__.py": "", USER: without_entry(F2C, ("env", "s_wsle", "i>i"))})
    libdirs = [library("blas", {"lib/libblas.so": BLAS}), library("f2c", {"lib/libf2c.so": f2c})]
    result = convert(package, out=tmp_path, libdirs=libdirs)
    assert added(result) == {USER: "takes do_lio, s_wsle from libf2c.so and does not NEED it: the entry is added"}


def test_versions_of_one_library_are_one_candidate(tmp_path: Path) -> None:
    package = python({"pkg/__init__.py": "", USER: without_entry(F2C)}, depends=("blas <2",))
    old = library("blas", {"lib/libblas.so": BLAS})
    new = library("blas", {"lib/libblas.so": module([], {"do_lio": "iiii>i", "new": ">"})}, version="2.0")
    result = convert(package, out=tmp_path, libdirs=[old, new])
    assert [vendored.source.partition(":")[0] for vendored in result.vendored] == ["blas-1.0-h1234567_0"]


def test_extension_modules_and_objects_are_no_candidates(tmp_path: Path) -> None:
    extension = module([], {"PyInit_x": ">i", "do_lio": "iiii>i"})
    package = python({"pkg/__init__.py": "", USER: extension, OTHER: without_entry(F2C)})
    others = library("others", {"lib/python3.13/site-packages/x.so": extension, "lib/libobject.so": b"\x7fELF" + bytes(60)})
    result = convert(package, out=tmp_path, libdirs=[others])
    assert (result.vendored, added(result)) == ((), {})
    assert [
        each.message for each in result.warnings if each.code == "unresolved-symbol" and "not defined anywhere" in each.message
    ]


def test_a_module_whose_library_is_missing_is_left_alone(tmp_path: Path) -> None:
    """The symbols may be those of the library that was not found."""
    other = module([F2C], {"PyInit__n": ">i"}, needed=["libf2c.so"])
    package = python({"pkg/__init__.py": "", USER: USES_BLAS, OTHER: other})
    blas = library("blas", {"lib/libblas.so": BLAS})
    with pytest.raises(Refused, match=r"NEEDs libf2c\.so"):
        convert(package, out=tmp_path, libdirs=[blas])


@pytest.mark.parametrize(("py", "entry"), [("312", False), ("313", True)])
def test_no_cycle_is_made_where_the_loader_makes_two_instances_of_one(py: str, entry: bool, tmp_path: Path) -> None:
    name = f"_m{zig.suffix(py)}"
    low = module([("env", "callback", ">")], {"low": ">"})
    high = module([("env", "low", ">")], {"high": ">", "callback": ">"}, needed=["liblow.so"])
    package = python({"pkg/__init__.py": "", f"pkg/{name}": module([("env", "high", ">")], INIT, needed=["libhigh.so"])}, py=py)
    libraries = library("libs", {"lib/liblow.so": low, "lib/libhigh.so": high}, py=py)
    result = convert(package, out=tmp_path, libdirs=[libraries], allow=["unresolved-symbol"])
    assert bool(added(result)) is entry


def wheel(tmp_path: Path, files: conda.Files, py: str = "313") -> Path:
    platform = {"312": "pyodide_2024_0_wasm32", "313": "pyemscripten_2025_0_wasm32"}[py]
    return Foreign(f"cp{py}-cp{py}-{platform}", {"pkg/__init__.py": b"", **files}).write(tmp_path / "built")


def test_repair_adds_the_entry(tmp_path: Path) -> None:
    conda.lay(tmp_path / "libs", {"libblas.so": BLAS})
    result = repair(wheel(tmp_path, {USER: USES_BLAS, OTHER: without_entry(F2C)}), out=tmp_path, libdirs=[tmp_path / "libs"])
    found = sides(result.wheel)
    assert found[OTHER].needed == found[USER].needed
    assert [each.file for each in result.warnings if each.code == "needed-added"] == [OTHER]
    assert "needed_added" in provenance(result.wheel)[OTHER]
    shown = dict(inspect(result.wheel).files)[OTHER]
    assert f"NEEDED {found[OTHER].needed[0]} added" in shown


@pytest.mark.parametrize(("py", "folder", "entry"), [("313", "pkg/lib", True), ("312", "pkg", True), ("312", "other", False)])
def test_a_library_of_the_wheel_is_needed_where_the_loader_finds_it(py: str, folder: str, entry: bool, tmp_path: Path) -> None:
    name = f"pkg/_n{zig.suffix(py)}"
    built = wheel(tmp_path, {name: without_entry(F2C), f"{folder}/libblas.so": BLAS}, py)
    result = repair(built, out=tmp_path, allow=["unresolved-symbol"])
    assert sides(result.wheel)[name].needed == (("libblas.so",) if entry else ())


def test_a_wheel_whose_entries_are_complete_is_copied(tmp_path: Path) -> None:
    used = module([F2C], {"PyInit__n": ">i"}, needed=["libblas.so"], rpath=["/lib/python3.13/site-packages/pkg"])
    assert not repair(wheel(tmp_path, {OTHER: used, "pkg/libblas.so": BLAS}), out=tmp_path).changed


def test_libdirs_are_searched_for_a_symbol_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no library has is not looked for in every library again for the next package."""
    reads: list[str] = []

    def read(file: PackageFile) -> SideModule:
        reads.append(file.path)
        return SideModule(file)

    monkeypatch.setattr("conda2wheel.link.library_index.SideModule", read)
    index = LibraryIndex([library("blas", {"lib/libblas.so": BLAS})], Limits())
    for name in ("one", "two"):
        package = python({"pkg/__init__.py": "", USER: without_entry(("env", "nowhere", ">"))}, name=name)
        convert(package, out=tmp_path, libdirs=index, allow=["unresolved-symbol"])
    assert reads == ["lib/libblas.so"] * 2  # when it is indexed, and for its exports
