"""Linking: found by any name, vendored once, under a name of its own, reached by one path; and nothing else touched."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.commands.repair import repair
from conda2wheel.errors import Refused
from conda2wheel.results import Planned, error_json
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from tests.helpers import conda, handmade, installed, judges, zig
from tests.helpers.foreign import unvendored

ABI = {
    "310": ">=3.1.27,<3.1.28.0a0",
    "315": ">=6.0.5,<6.0.6.0a0",
    "311": ">=3.1.45,<3.1.46.0a0",
    "312": ">=3.1.58,<3.1.59.0a0",
    "313": ">=4,<5.0a0",
    "314": ">=5,<6.0a0",
}


def python(
    files: conda.Files, *, name: str = "pkg", py: str = "313", depends: tuple[str, ...] = (), abi: str | None = None
) -> Path:
    """A package of one extension module's project, with files by place in site-packages, or in the prefix if they start so."""
    dot = f"{py[0]}.{py[1:]}"
    placed = {
        path if path.startswith(("lib/", "bin/")) else f"lib/python{dot}/site-packages/{path}": content
        for path, content in files.items()
    }
    needs = (f"emscripten-abi {abi or ABI[py]}", f"python_abi {dot}.* *_cp{py}", *depends)
    return conda.assemble(
        name, "1.0", placed, string=f"py{py}h1234567_0", depends=needs, about={"license": "MIT", "summary": "x"}
    )


def library(
    name: str, files: conda.Files, *, version: str = "1.0", py: str = "313", number: int = 0, abi: str | None = None
) -> Path:
    return conda.assemble(
        name,
        version,
        files,
        number=number,
        depends=[f"emscripten-abi {abi or ABI[py]}"],
        licenses={"COPYING": f"{name}'s license\n"},
    )


def chain_packages(chain: zig.Chain, py: str = "313", abi: str | None = None) -> tuple[Path, Path, Path]:
    count: conda.Files = {"lib/libcount.so.1.2.3": chain.count, "lib/libcount.so.1": conda.Link("libcount.so.1.2.3")}
    return (
        python(
            {"pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/deep/__init__.py": "", **chain.package()}, py=py, abi=abi
        ),
        library("libcount", {**count, "lib/libcount.so": conda.Link("libcount.so.1")}, py=py, abi=abi),
        library("libbase", {"lib/libbase.so": chain.base}, py=py, abi=abi),
    )


def modules(result: Planned, ignore: tuple[str, ...] = ()) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """NEEDED and RUNTIME_PATH of every side module of a wheel."""
    assert result.wheel is not None
    judges.judge(result.wheel, ignore=ignore)
    found = {}
    with zipfile.ZipFile(result.wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                section = dylink.read(Module.parse(archive.read(name)))
                found[name] = (section.needed, section.runtime_path)
    return found


def test_a_chain_of_libraries_is_found_through_aliases_and_vendored_once(tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    result = convert(package, out=tmp_path, libdirs=[count, base])
    found = modules(result)
    libcount, libbase = (next(n for n in found if f"/{stem}-" in n) for stem in ("libcount", "libbase"))
    assert sorted(found) == sorted([libcount, libbase, *zig.chain().package()])
    assert {lib.name: lib.source for lib in result.vendored} == {
        libbase: "libbase-1.0-h1234567_0:lib/libbase.so",
        libcount: "libcount-1.0-h1234567_0:lib/libcount.so.1.2.3",
    }
    site = "/lib/python3.13/site-packages/pkg.libs"
    top, deep = zig.chain().package()
    assert found[top] == ((libcount.removeprefix("pkg.libs/"),), (site, "$ORIGIN/../pkg.libs"))
    assert found[deep] == ((libcount.removeprefix("pkg.libs/"),), (site, "$ORIGIN/../../../pkg.libs"))
    assert found[libcount] == ((libbase.removeprefix("pkg.libs/"),), ("$ORIGIN",))
    assert found[libbase] == ((), ())
    assert set(result.vendored[1].needed_by) == {top, deep}
    with zipfile.ZipFile(tmp_path / result.filename) as archive:
        texts = {name: archive.read(name) for name in archive.namelist() if "/licenses/" in name}
    assert texts["pkg-1.0.dist-info/licenses/libcount-1.0/COPYING"] == b"libcount's license\n"


@pytest.mark.parametrize(
    ("py", "path"),
    [
        ("311", ()),
        ("312", ()),
        ("313", ("/lib/python3.13/site-packages/pkg.libs", "$ORIGIN/../pkg.libs")),
        ("314", ("$ORIGIN/../pkg.libs",)),
    ],
)
def test_the_runtime_path_is_the_one_that_the_platform_s_loader_reads(py: str, path: tuple[str, ...], tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain(py), py)
    found = modules(convert(package, out=tmp_path, libdirs=[count, base]))
    assert next(paths for name, (_, paths) in found.items() if "_top" in name) == path


@pytest.mark.parametrize("form", ["folder of packages", "unpacked", "prefix", "bare prefix", "empack", "file url"])
def test_libraries_are_found_in_every_form_of_a_libdir(form: str, tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    places: list[Path | str]
    if form == "folder of packages":
        (tmp_path / "pkgs").mkdir()
        for source in (count, base):
            (tmp_path / "pkgs" / source.name).write_bytes(source.read_bytes())
        places = [tmp_path / "pkgs"]
    elif form == "unpacked":
        places = [conda.unpack(count), conda.unpack(base)]
    elif form == "prefix":
        places = [installed.prefix(tmp_path / "env", [count, base])]
    elif form == "bare prefix":
        conda.lay(tmp_path / "env", {"lib/libcount.so.1": zig.chain().count, "lib/libbase.so": zig.chain().base})
        places = [tmp_path / "env"]
    elif form == "empack":
        files: conda.Files = {"lib/libcount.so.1.2.3": zig.chain().count, "lib/libcount.so.1": conda.Link("libcount.so.1.2.3")}
        copies = installed.empack_targz("libcount", "1.0", "h1_0", {**files, "lib/libcount.so": conda.Link("libcount.so.1.2.3")})
        places = [copies, installed.empack_targz("libbase", "1.0", "h1_0", {"lib/libbase.so": zig.chain().base})]
    else:
        places = [count.as_uri(), base.as_uri()]
    result = convert(package, out=tmp_path / "dist", libdirs=places)
    assert sorted(lib.name.partition("-")[0] for lib in result.vendored) == ["pkg.libs/libbase", "pkg.libs/libcount"]


def test_copies_in_the_place_of_links_are_one_library(tmp_path: Path) -> None:
    """empack writes libz.so, libz.so.1 and libz.so.1.3 as three files; auditwheel-emscripten makes three instances of them."""
    lib = zig.shared_library("libz.so.1.3", "int z(void) { return 1; }", exports=["z"])
    users = {
        f"pkg/_{n}.cpython-313-wasm32-emscripten.so": zig.side_module(
            f"_{n}", zig.extension(f"_{n}", {"f": zig.integer("z()")}, declarations="extern int z(void);"), needed=[needed]
        )
        for n, needed in enumerate(["libz.so", "libz.so.1", "libz.so.1.3"])
    }
    brought = installed.empack_targz("zlib", "1.3", "h1_0", {"lib/libz.so": lib, "lib/libz.so.1": lib, "lib/libz.so.1.3": lib})
    result = convert(python({"pkg/__init__.py": "", **users}), out=tmp_path, libdirs=[brought])
    assert [lib.name.partition("-")[0] for lib in result.vendored] == ["pkg.libs/libz"]
    assert len({needed for name, (needed, _) in modules(result).items() if ".libs" not in name}) == 1


def test_a_library_needed_under_two_names_by_one_module_is_named_once(tmp_path: Path) -> None:
    lib = zig.shared_library("libz.so.1.3", "int z(void) { return 1; }", exports=["z"])
    source = zig.extension("_m", {"f": zig.integer("z()")}, declarations="extern int z(void);")
    module = zig.side_module("_m", source, needed=["libz.so", "libz.so.1"])
    files: conda.Files = {
        "lib/libz.so.1.3": lib,
        "lib/libz.so.1": conda.Link("libz.so.1.3"),
        "lib/libz.so": conda.Link("libz.so.1"),
    }
    result = convert(python({module.name: module}), out=tmp_path, libdirs=[library("zlib", files)])
    assert len(modules(result)[module.name][0]) == 1


def test_the_hash_in_the_name_covers_what_the_library_needs(tmp_path: Path) -> None:
    """Two builds of libbase under one name: libcount's bytes are equal, but it is another library with the other one."""
    package, count, base = chain_packages(zig.chain())
    other = zig.shared_library(
        "libbase.so", "static int calls = 7; int base_touch(void) { return 2000 + ++calls; }", exports=["base_touch"]
    )
    one = convert(package, out=tmp_path / "1", libdirs=[count, base])
    two = convert(package, out=tmp_path / "2", libdirs=[count, library("libbase", {"lib/libbase.so": other})])
    names = [{lib.name.partition("-")[0]: lib.name for lib in result.vendored} for result in (one, two)]
    assert names[0]["pkg.libs/libcount"] != names[1]["pkg.libs/libcount"]
    assert names[0]["pkg.libs/libbase"] != names[1]["pkg.libs/libbase"]


def test_a_cycle_ends_and_has_names(tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain(cycle=True))
    found = modules(convert(package, out=tmp_path, libdirs=[count, base]))
    libcount, libbase = (next(n.removeprefix("pkg.libs/") for n in found if f"/{stem}-" in n) for stem in ("libcount", "libbase"))
    assert found[f"pkg.libs/{libcount}"][0] == (libbase,)
    assert found[f"pkg.libs/{libbase}"][0] == (libcount,)


def test_a_cycle_is_a_warning_where_the_loader_may_make_two_instances(tmp_path: Path) -> None:
    for py, expected in (("312", 2), ("313", 0)):
        package, count, base = chain_packages(zig.chain(py, cycle=True), py)
        result = convert(package, out=tmp_path / py, libdirs=[count, base])
        assert sum(warning.code == "library-cycle" for warning in result.warnings) == expected


def test_a_library_that_is_nowhere_is_named_with_who_needs_it_and_where_was_looked(tmp_path: Path) -> None:
    package, count, _ = chain_packages(zig.chain())
    with pytest.raises(Refused) as caught:
        convert(package, out=tmp_path / "dist")
    assert caught.value.code == "missing-library"
    assert "pkg/_top.cpython-313-wasm32-emscripten.so NEEDs libcount.so.1, which is not in the package" in caught.value.message
    with pytest.raises(Refused) as caught:
        convert(package, out=tmp_path / "dist", libdirs=[count])
    assert (
        f"lib/libcount.so.1.2.3 of libcount-1.0-h1234567_0 NEEDs libbase.so, which is not in the package, {count}"
        in caught.value.message
    )
    assert "--libdir" in caught.value.hint
    assert not (tmp_path / "dist").exists()


def test_the_package_s_own_library_is_vendored_and_an_unused_one_is_a_warning(tmp_path: Path) -> None:
    lib = zig.shared_library("libown.so", "int own(void) { return 3; }", exports=["own"])
    lost = zig.shared_library("liblost.so", "int lost(void) { return 4; }", exports=["lost"])
    source = zig.extension("_m", {"f": zig.integer("own()")}, declarations="extern int own(void);")
    module = zig.side_module("_m", source, needed=[lib])
    result = convert(python({f"pkg/{module.name}": module, "lib/libown.so": lib, "lib/liblost.so": lost}), out=tmp_path)
    assert [lib.source for lib in result.vendored] == ["pkg-1.0-py313h1234567_0:lib/libown.so"]
    assert [(w.code, w.file) for w in result.warnings if w.code == "unused-library"] == [("unused-library", "lib/liblost.so")]


def test_a_module_that_needs_no_change_is_copied_as_it_is(tmp_path: Path) -> None:
    lib = zig.shared_library("libnear.so", "int near(void) { return 3; }", exports=["near"])
    source = zig.extension("_m", {"f": zig.integer("near()")}, declarations="extern int near(void);")
    for folder, py, rpath in (("pkg", "313", ["$ORIGIN"]), ("pkg/sub", "314", ["$ORIGIN/../"])):
        module = zig.side_module("_m", source, python=py, needed=[lib], rpath=rpath)
        package = python({f"{folder}/{module.name}": module, "pkg/libnear.so": lib}, py=py)
        result = convert(package, out=tmp_path / folder)
        assert result.vendored == ()
        with zipfile.ZipFile(tmp_path / folder / result.filename) as archive:
            assert archive.read(f"{folder}/{module.name}") == module.read_bytes()
            assert archive.read("pkg/libnear.so") == lib.read_bytes()


def test_a_library_in_the_package_s_folder_is_found_where_no_runtime_path_does(tmp_path: Path) -> None:
    """emscripten-forge's loader looks in /lib by default, so its builds have no RUNTIME_PATH at all."""
    lib = zig.shared_library("libnear.so", "int near(void) { return 3; }", exports=["near"])
    source = zig.extension("_m", {"f": zig.integer("near()")}, declarations="extern int near(void);")
    module = zig.side_module("_m", source, needed=[lib])
    result = convert(python({f"pkg/sub/{module.name}": module, "pkg/lib/libnear.so": lib}), out=tmp_path)
    assert modules(result)[f"pkg/sub/{module.name}"] == (
        ("libnear.so",),
        ("/lib/python3.13/site-packages/pkg/lib", "$ORIGIN/../lib"),
    )


def test_of_several_versions_the_one_that_the_package_depends_on_is_taken(tmp_path: Path) -> None:
    def build(value: int) -> Path:
        return zig.shared_library("libz.so", f"int z(void) {{ return {value}; }}", exports=["z"])

    source = zig.extension("_m", {"f": zig.integer("z()")}, declarations="extern int z(void);")
    module = zig.side_module("_m", source, needed=["libz.so"])
    places = [library("zlib", {"lib/libz.so": build(n)}, version=f"1.{n}") for n in (2, 3, 4)]
    newest = convert(python({module.name: module}, depends=("zlib",)), out=tmp_path, libdirs=places)
    assert newest.vendored[0].source.startswith("zlib-1.4-")
    pinned = convert(python({module.name: module}, depends=("zlib >=1.2,<1.4.0a0",)), out=tmp_path, libdirs=places)
    assert pinned.vendored[0].source.startswith("zlib-1.3-")


def test_a_library_of_another_toolchain_is_rejected_with_the_reason(tmp_path: Path) -> None:
    lib = zig.shared_library("libz.so", "int z(void) { return 1; }", exports=["z"])
    source = zig.extension("_m", {"f": zig.integer("z()")}, declarations="extern int z(void);")
    module = zig.side_module("_m", source, needed=[lib])
    with pytest.raises(Refused) as caught:
        convert(python({module.name: module}), out=tmp_path, libdirs=[library("zlib", {"lib/libz.so": lib}, py="312")])
    assert caught.value.code == "missing-library"
    assert "passed over: zlib-1.0-h1234567_0" in caught.value.message
    assert "3.1.58" in caught.value.message


@pytest.mark.parametrize("named", [True, False])
def test_a_library_with_the_other_unwinding_is_taken_where_its_own_package_names_the_platform(
    named: bool, tmp_path: Path
) -> None:
    """A static library of another toolchain in it does not keep it from loading; the audit names what does not run."""
    code = "extern void invoke_vi(int, int), __cxa_find_matching_catch_2(void);"
    lib = zig.shared_library(
        "libz.so", f"{code} int z(void) {{ invoke_vi(1, 2); __cxa_find_matching_catch_2(); return 1; }}", exports=["z"]
    )
    source = zig.extension("_m", {"f": zig.integer("z()")}, declarations="extern int z(void);")
    module = zig.side_module("_m", source, needed=[lib])
    if named:
        result = convert(python({module.name: module}), out=tmp_path, libdirs=[library("zlib", {"lib/libz.so": lib})])
        assert {symbol for part in result.unusable for symbol in part.symbols} >= {"invoke_vi"}
    else:
        conda.lay(tmp_path / "lib", {"libz.so": lib})
        with pytest.raises(Refused, match="unwinds through JavaScript") as caught:
            convert(python({module.name: module}), out=tmp_path, libdirs=[tmp_path / "lib"])
        assert caught.value.code == "missing-library"


def test_a_damaged_package_in_a_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    folder = tmp_path / "pkgs"
    folder.mkdir()
    for source in (count, base):
        (folder / source.name).write_bytes(source.read_bytes())
    (folder / "broken-1.0-0.tar.bz2").write_bytes(count.read_bytes()[:100])
    result = convert(package, out=tmp_path / "dist", libdirs=[folder])
    assert len(result.vendored) == 2
    assert [w.code for w in result.warnings if w.file and "broken" in w.file] == ["libdir-skipped"]


@pytest.mark.parametrize("command", ["convert", "repair", "worker"])
def test_a_damaged_package_that_may_have_had_the_library_is_in_the_refusal(command: str, tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    broken = tmp_path / "pkgs" / count.name
    conda.lay(tmp_path / "pkgs", {count.name: count.read_bytes()[:100], base.name: base.read_bytes()})
    options: dict[str, Any] = {"out": tmp_path / "dist", "libdirs": [tmp_path / "pkgs"]}
    run: Any = convert
    if command == "repair":
        run, package = repair, unvendored(zig.chain(), "313", "pyemscripten_2025_0_wasm32").write(tmp_path)
    with pytest.raises(Refused) as refused:
        run(package, **options)
    error = pickle.loads(pickle.dumps(refused.value)) if command == "worker" else refused.value  # noqa: S301 - as executors do
    assert error.code == "missing-library"
    assert f"not looked into, because it cannot be read: corrupt-archive: {broken}: " in error.message
    entry = error_json(str(package), error, 0.0)
    assert ("libdir-skipped", str(broken)) in {(each["code"], each["file"]) for each in entry["warnings"]}


def test_thousands_of_missing_libraries_are_counted(tmp_path: Path) -> None:
    needed = [f"lib{number}.so" for number in range(3000)]
    unused = handmade.module([], {"PyInit__m": ">i"}, needed=needed)
    result = convert(python({f"_m{zig.suffix('313')}": unused}), out=tmp_path)
    (unseen,) = (each.message for each in result.warnings if each.code == "provided-unseen")
    assert unseen.startswith("lib0.so, lib1.so, lib2.so, lib3.so and 2996 more were found nowhere; ")
    module = handmade.module([("GOT.mem", "lib_data", handmade.GOT)], {"PyInit__m": ">i"}, needed=needed)
    with pytest.raises(Refused, match=r"NEEDs lib19\.so, .*; and 2980 more \(") as refused:
        convert(python({f"_m{zig.suffix('313')}": module}), out=tmp_path)
    assert len(refused.value.message) < 5000


def test_a_name_that_only_a_lost_symlink_had_is_found_with_a_warning(tmp_path: Path) -> None:
    """A real libbrotlidec.so NEEDs libbrotlicommon.so.1.0.9, and empack left libbrotlicommon.so alone."""
    common = zig.shared_library("libcommon.so", "int common(void) { return 1; }", exports=["common"])
    wrong = zig.shared_library("libcommon.so.2", "int common(void) { return 2; }", exports=["common"])
    dec = zig.shared_library(
        "libdec.so", "int common(void); int dec(void) { return common(); }", exports=["dec"], needed=["libcommon.so.1.0.9"]
    )
    source = zig.extension("_m", {"f": zig.integer("dec()")}, declarations="extern int dec(void);")
    module = zig.side_module("_m", source, needed=[dec])
    brotli = library("brotli", {"lib/libdec.so": dec, "lib/libcommon.so": common})
    result = convert(python({module.name: module}), out=tmp_path, libdirs=[brotli])
    assert sorted(lib.source for lib in result.vendored) == [
        "brotli-1.0-h1234567_0:lib/libcommon.so",
        "brotli-1.0-h1234567_0:lib/libdec.so",
    ]
    assert [warning.code for warning in result.warnings if warning.code == "lost-link"] == ["lost-link"]
    other = library("brotli", {"lib/libdec.so": dec, "lib/libcommon.so.2": wrong})
    with pytest.raises(Refused, match=r"NEEDs libcommon\.so\.1\.0\.9"):
        convert(python({module.name: module}), out=tmp_path, libdirs=[other])


def test_a_message_names_the_first_of_many_libdirs(tmp_path: Path) -> None:
    package, count, _ = chain_packages(zig.chain())
    folders = [tmp_path / f"place{number}" for number in range(10)]
    for folder in folders:
        folder.mkdir()
    with pytest.raises(Refused) as caught:
        convert(package, out=tmp_path / "out", libdirs=[*folders, count])
    assert caught.value.code == "missing-library"
    assert "place0, " in caught.value.message
    assert "place2, 8 more" in caught.value.message
    assert "place3" not in caught.value.message
