"""Which symbols of a wheel's vendored libraries get names of their own, in which modules, and which are left alone."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.results import Planned
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from tests.helpers import judges, zig
from tests.helpers.handmade import GOT, module
from tests.unit.link.test_linker import library, python

MODULE = "_m" + zig.suffix("313")
INIT = {"PyInit__m": ">i"}
Imports = Sequence[tuple[str, str, str]]


def converted(
    tmp_path: Path, user: bytes, libraries: Mapping[str, bytes], files: Mapping[str, str] | None = None, **options: Any
) -> Planned:
    """The wheel of an extension module, each library from a package of its own."""
    package = python({MODULE: user, **(files or {})})
    libdirs = [library(name.partition(".")[0], {f"lib/{name}": data}) for name, data in libraries.items()]
    result: Planned = convert(package, out=tmp_path, libdirs=libdirs, **options)
    assert result.wheel is not None
    judges.judge(result.wheel)
    return result


def inside(result: Planned) -> dict[str, Module]:
    """Every side module of a wheel, libraries by their stem."""
    assert result.wheel is not None
    with zipfile.ZipFile(result.wheel) as archive:
        return {
            name.rpartition("/")[2].partition("-")[0].partition(".")[0]: Module.parse(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".so")
        }


def tags(result: Planned) -> dict[str, str]:
    """The hash in each library's file name, by its stem."""
    names = [lib.name.rpartition("/")[2].removesuffix(".so") for lib in result.vendored]
    return {name.rpartition("-")[0]: name.rpartition("-")[2] for name in names}


def exports(found: Module) -> set[str]:
    return {export.name for export in found.exports}


def imports(found: Module) -> set[tuple[str, str]]:
    return {(entry.module, entry.field) for entry in found.imports if not entry.field.startswith(("__memory_base", "memory"))}


def warned(result: Planned, code: str) -> list[str]:
    return [warning.message for warning in result.warnings if warning.code == code]


LIB = module(
    [
        ("env", "malloc", "i>i"),
        ("GOT.func", "lib_f", GOT),
        ("GOT.mem", "PyExc_ValueError", GOT),
        ("GOT.mem", "zlibVersion_d", GOT),
    ],
    {
        "lib_f": "i>i",
        "lib_d": "i",
        "zlibVersion": ">i",
        "zlibVersion_d": "i",
        "__wasm_call_ctors": ">",
        "__wasm_apply_data_relocs": ">",
    },
)
USER = module(
    [
        ("env", "lib_f", "i>i"),
        ("env", "zlibVersion", ">i"),
        ("env", "PyLong_FromLong", "i>i"),
        ("GOT.func", "lib_f", GOT),
        ("GOT.mem", "lib_d", GOT),
        ("GOT.mem", "PyExc_ValueError", GOT),
    ],
    INIT | {"own": ">"},
    needed=["liba.so"],
)


def test_what_a_library_defines_is_renamed_in_it_and_in_its_users(tmp_path: Path) -> None:
    """Also what Pyodide's main module has under the same name (zlibVersion); not what the library takes from there."""
    result = converted(tmp_path, USER, {"liba.so": LIB})
    found, tag = inside(result), tags(result)["liba"]
    assert exports(found["liba"]) == {
        *(f"{name}.{tag}" for name in ("lib_f", "lib_d", "zlibVersion", "zlibVersion_d")),
        "__wasm_call_ctors",
        "__wasm_apply_data_relocs",
    }
    assert imports(found["liba"]) == {
        ("env", "malloc"),
        ("GOT.func", f"lib_f.{tag}"),
        ("GOT.mem", "PyExc_ValueError"),
        ("GOT.mem", f"zlibVersion_d.{tag}"),
    }
    assert exports(found["_m"]) == {"PyInit__m", "own"}
    assert imports(found["_m"]) == {
        ("env", f"lib_f.{tag}"),
        ("env", f"zlibVersion.{tag}"),
        ("env", "PyLong_FromLong"),
        ("GOT.func", f"lib_f.{tag}"),
        ("GOT.mem", f"lib_d.{tag}"),
        ("GOT.mem", "PyExc_ValueError"),
    }
    assert warned(result, "not-isolated") == []


def test_no_isolate_leaves_every_name(tmp_path: Path) -> None:
    found = inside(converted(tmp_path, USER, {"liba.so": LIB}, isolate=False))
    assert exports(found["liba"]) == exports(Module.parse(LIB))
    assert imports(found["_m"]) == imports(Module.parse(USER))


def test_the_same_library_in_two_wheels_has_two_names(tmp_path: Path) -> None:
    other = "_n" + zig.suffix("313")
    user = module([("env", "lib_f", "i>i")], {"PyInit__n": ">i"}, needed=["liba.so"])
    libdir = library("liba", {"lib/liba.so": LIB})
    again = convert(python({other: user}, name="other"), out=tmp_path, libdirs=[libdir])
    assert exports(inside(again)["liba"]).isdisjoint(
        exports(inside(converted(tmp_path, USER, {"liba.so": LIB}))["liba"]) - {"__wasm_call_ctors", "__wasm_apply_data_relocs"}
    )


BY_THREADPOOLCTL = ("openblas_get_num_threads", "scipy_openblas_get_config64_", "omp_get_max_threads")
RESERVED = ("PyInit__lib", "PyModExport__lib", "__wasm_call_ctors", "__em_js__alert", "_initialize", *BY_THREADPOOLCTL)


def test_names_that_a_loader_looks_for_are_left(tmp_path: Path) -> None:
    lib = module([], dict.fromkeys((*RESERVED, "f"), ">") | {"__dso_handle": "i"})
    user = module([("env", "f", ">")], INIT, needed=["liba.so"])
    result = converted(tmp_path, user, {"liba.so": lib})
    assert exports(inside(result)["liba"]) == {*RESERVED, "__dso_handle", f"f.{tags(result)['liba']}"}


def test_a_tag_a_thread_s_variable_and_a_weak_import_are_renamed_with_their_flags(tmp_path: Path) -> None:
    lib = module([], {"its_tag": "tag i>", "its_tls": "i", "perhaps": ">i"}, export_flags=[(("its_tls",), 0x100)])
    weak = [("env", "perhaps"), ("env", "nowhere")]
    user = module(
        [("GOT.mem", "its_tls", GOT), ("env", "perhaps", ">i"), ("env", "nowhere", ">i")],
        INIT,
        needed=["liba.so"],
        weak=weak,
    )
    result = converted(tmp_path, user, {"liba.so": lib})
    found, tag = inside(result), tags(result)["liba"]
    library_info, user_info = dylink.read(found["liba"]), dylink.read(found["_m"])
    assert isinstance(library_info, dylink.Dylink)
    assert isinstance(user_info, dylink.Dylink)
    assert library_info.exports == ((f"its_tls.{tag}", 0x100),)
    assert exports(found["liba"]) == {f"its_tag.{tag}", f"its_tls.{tag}", f"perhaps.{tag}"}
    assert [(each.field, each.weak) for each in user_info.imports] == [(f"perhaps.{tag}", True), ("nowhere", True)]
    assert imports(found["_m"]) == {
        ("GOT.mem", f"its_tls.{tag}"),
        ("env", f"perhaps.{tag}"),
        ("env", "nowhere"),
    }


def test_a_library_s_library_is_renamed_in_whoever_reaches_it(tmp_path: Path) -> None:
    """libb takes a symbol of liba and exports another; the module takes both and NEEDs libb alone."""
    below = module([], {"a": ">", "a_only": ">"})
    above = module([("env", "a", ">"), ("GOT.func", "a", GOT)], {"b": ">"}, needed=["liba.so"])
    user = module([("env", "a", ">"), ("env", "b", ">")], INIT, needed=["libb.so"])
    result = converted(tmp_path, user, {"liba.so": below, "libb.so": above})
    found, tag = inside(result), tags(result)
    assert imports(found["_m"]) == {("env", f"a.{tag['liba']}"), ("env", f"b.{tag['libb']}")}
    assert imports(found["libb"]) == {("env", f"a.{tag['liba']}"), ("GOT.func", f"a.{tag['liba']}")}
    assert exports(found["liba"]) == {f"a.{tag['liba']}", f"a_only.{tag['liba']}"}


def test_libraries_that_need_each_other_find_each_other(tmp_path: Path) -> None:
    one = module([("env", "b", ">")], {"a": ">"}, needed=["libb.so"])
    two = module([("env", "a", ">")], {"b": ">"}, needed=["liba.so"])
    user = module([("env", "a", ">")], INIT, needed=["liba.so"])
    result = converted(tmp_path, user, {"liba.so": one, "libb.so": two})
    found, tag = inside(result), tags(result)
    assert tag["liba"] != tag["libb"]
    assert (imports(found["liba"]), exports(found["liba"])) == ({("env", f"b.{tag['libb']}")}, {f"a.{tag['liba']}"})
    assert (imports(found["libb"]), exports(found["libb"])) == ({("env", f"a.{tag['liba']}")}, {f"b.{tag['libb']}"})


def test_what_two_libraries_and_the_module_define_stays_one(tmp_path: Path) -> None:
    """Inline functions and typeinfo: each has its copy, and the table makes them one. It does under the new name as well."""
    entry = ("GOT.mem", "_ZTI3Own", GOT)
    first = module([entry], {"_ZTI3Own": "i", "a": ">"})
    second = module([entry], {"_ZTI3Own": "i", "b": ">"})
    user = module([entry, ("env", "a", ">"), ("env", "b", ">")], INIT | {"_ZTI3Own": "i"}, needed=["liba.so", "libb.so"])
    found = inside(converted(tmp_path, user, {"liba.so": first, "libb.so": second}))
    (name,) = {field for one in found.values() for module_, field in imports(one) if module_ == "GOT.mem"}
    assert name.startswith("_ZTI3Own.")
    assert all(name in exports(one) for one in found.values())


def test_typeinfo_and_allocation_that_main_has_are_main_s(tmp_path: Path) -> None:
    """A library with the standard library inside: exceptions of the main module are caught by the address of main's typeinfo."""
    common = {"_ZTISt9exception": "i", "_ZTSSt9exception": "i", "_Znwm": "i>i", "_ZdlPv": "i>"}
    lib = module([], common | {"_ZTI3Own": "i", "_ZTVSt9exception": "i"})
    user = module(
        [("GOT.mem", "_ZTISt9exception", GOT), ("GOT.mem", "_ZTI3Own", GOT), ("env", "_Znwm", "i>i")], INIT, needed=["liba.so"]
    )
    result = converted(tmp_path, user, {"liba.so": lib})
    found, tag = inside(result), tags(result)["liba"]
    assert exports(found["liba"]) == {*common, f"_ZTI3Own.{tag}", f"_ZTVSt9exception.{tag}"}
    assert imports(found["_m"]) == {("GOT.mem", "_ZTISt9exception"), ("GOT.mem", f"_ZTI3Own.{tag}"), ("env", "_Znwm")}


def test_a_library_that_does_not_need_what_it_takes_still_finds_it(tmp_path: Path) -> None:
    """Its users NEED both, and the loader resolves for all in their scope. What main has it takes from main, as before."""
    below = module([], {"a": ">", "crc32": "iii>i"})
    above = module([("env", "a", ">"), ("env", "crc32", "iii>i")], {"b": ">"})
    user = module([("env", "b", ">")], INIT, needed=["liba.so", "libb.so"])
    result = converted(tmp_path, user, {"liba.so": below, "libb.so": above})
    found, tag = inside(result), tags(result)
    assert imports(found["libb"]) == {("env", f"a.{tag['liba']}"), ("env", "crc32")}


def test_a_stranger_s_own_symbol_of_that_name_is_left(tmp_path: Path) -> None:
    """Another extension module of the wheel, which does not NEED the library and defines such a symbol itself."""
    other = "_n" + zig.suffix("313")
    stranger = module([("GOT.func", "a", GOT)], {"PyInit__n": ">i", "a": ">"})
    user = module([("env", "a", ">")], INIT, needed=["liba.so"])
    package = python({MODULE: user, other: stranger})
    result: Planned = convert(package, out=tmp_path, libdirs=[library("liba", {"lib/liba.so": module([], {"a": ">"})})])
    assert result.wheel is not None
    with zipfile.ZipFile(result.wheel) as archive:
        assert archive.read(other) == stranger


DLSYM = ("env", "dlsym", "ii>i")


@pytest.mark.parametrize(
    ("entries", "strings", "kept"),
    [
        ([DLSYM], ["lib_f"], True),
        ([DLSYM], ["x" * 2_000_000 + "\n", "lib_f"], True),  # a search that began again at each letter would take hours
        ([("GOT.func", "dlsym", GOT)], ["a", "lib_f", "b"], True),
        ([DLSYM], ["libre_f", "lib_fx"], False),
        ([], ["lib_f"], False),
    ],
    ids=["by call", "after a long text", "by pointer", "other names", "without dlsym"],
)
def test_a_library_whose_symbols_dlsym_asks_for_keeps_them(
    entries: Imports, strings: list[str], kept: bool, tmp_path: Path
) -> None:
    user = module([("GOT.mem", "lib_d", GOT), *entries], INIT, needed=["liba.so"], strings=strings)
    result = converted(tmp_path, user, {"liba.so": module([], {"lib_f": ">", "lib_d": "i"})})
    name = "lib_f" if kept else f"lib_f.{tags(result)['liba']}"
    assert name in exports(inside(result)["liba"])
    place = f"lib/python3.13/site-packages/{MODULE}"
    why = f"its symbols keep their names: {place} calls dlsym and has the name of lib_f in its data"
    assert warned(result, "not-isolated") == ([why] if kept else [])
    (path,) = (lib.name for lib in result.vendored)
    assert [w.file for w in result.warnings if w.code == "not-isolated"] == ([path] if kept else [])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("import ctypes\nlib = ctypes.CDLL('liba.so')\n", True),
        ("from cffi import FFI\nlib = FFI().dlopen('liba')\n", True),
        ("import ctypes\nlib = ctypes.CDLL('libanother.so')\n", False),
        ("'''liba is linked'''\n", False),
    ],
)
def test_a_library_that_python_opens_by_name_keeps_its_symbols(text: str, kept: bool, tmp_path: Path) -> None:
    user = module([("env", "f", ">")], INIT, needed=["liba.so", "libb.so"])
    user_of_b = module([], {"g": ">"})
    result = converted(tmp_path, user, {"liba.so": module([], {"f": ">"}), "libb.so": user_of_b}, {"opens.py": text})
    found, tag = inside(result), tags(result)
    assert exports(found["liba"]) == {"f" if kept else f"f.{tag['liba']}"}
    assert imports(found["_m"]) == {("env", "f" if kept else f"f.{tag['liba']}")}
    assert exports(found["libb"]) == {f"g.{tag['libb']}"}
    why = "its symbols keep their names: opens.py opens libraries by name and names liba"
    assert warned(result, "not-isolated") == ([why] if kept else [])


def test_a_symbol_that_a_kept_library_also_defines_keeps_its_name_everywhere(tmp_path: Path) -> None:
    both = {"both": ">"}
    first, second = module([], {"a": ">", **both}), module([], {"b": ">", **both})
    user = module([DLSYM, ("env", "both", ">"), ("env", "b", ">")], INIT, needed=["liba.so", "libb.so"], strings=["a"])
    result = converted(tmp_path, user, {"liba.so": first, "libb.so": second})
    found, tag = inside(result), tags(result)
    assert exports(found["liba"]) == {"a", "both"}
    assert exports(found["libb"]) == {f"b.{tag['libb']}", "both"}
    assert imports(found["_m"]) == {("env", "dlsym"), ("env", "both"), ("env", f"b.{tag['libb']}")}
