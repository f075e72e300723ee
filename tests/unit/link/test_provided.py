"""A library of which Pyodide's main module has all that is taken stays at home; of anything less it travels."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.abi.platforms import Platform, for_pyodide
from conda2wheel.abi.symbols import main_names, main_symbols
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.results import Converted, Provided
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from tests.helpers import zig
from tests.helpers.handmade import GOT, module, section, vector
from tests.unit.link.test_linker import library, python

MODULE = "_m" + zig.suffix("313")
INIT = {"PyInit__m": ">i"}
VERSION, CRC = ("env", "zlibVersion", ">i"), ("env", "crc32", "iii>i")
ZLIB = module([], {"zlibVersion": ">i", "crc32": "iii>i", "z_errmsg": "i", "zlib_more": ">i"})


def converted(tmp_path: Path, user: bytes, libraries: Mapping[str, bytes], **options: Any) -> Converted:
    """The wheel of an extension module, each library from a package of its own."""
    libdirs = [library(name.partition(".")[0], {f"lib/{name}": data}) for name, data in libraries.items()]
    result: Converted = convert(python({MODULE: user}), out=tmp_path, libdirs=libdirs, **options)
    return result


def needed(result: Converted) -> dict[str, tuple[str, ...]]:
    """NEEDED of each side module in a wheel, libraries by their stem, hashes left out."""
    assert result.wheel is not None
    with zipfile.ZipFile(result.wheel) as archive:
        modules = {name: Module.parse(archive.read(name)) for name in archive.namelist() if name.endswith(".so")}
    return {stem(name): tuple(map(stem, dylink.read(found).needed)) for name, found in modules.items()}


def stem(name: str) -> str:
    return name.rpartition("/")[2].partition("-")[0].partition(".")[0]


def codes(result: Converted) -> set[str]:
    return {warning.code for warning in result.warnings}


def test_what_main_has_every_symbol_of_is_left_out(tmp_path: Path) -> None:
    user = module([VERSION, CRC, ("GOT.mem", "z_errmsg", GOT), ("GOT.func", "crc32", GOT)], INIT, needed=["libz.so"])
    result = converted(tmp_path, user, {"libz.so": ZLIB})
    assert needed(result) == {"_m": ()}
    assert result.vendored == ()
    assert result.provided == (Provided("libz.so", "the main module of pyemscripten_2025_0_wasm32", 3, (MODULE,)),)
    assert result.json()["provided"][0]["name"] == "libz.so"


def test_no_provided_vendors_it(tmp_path: Path) -> None:
    result = converted(tmp_path, module([VERSION], INIT, needed=["libz.so"]), {"libz.so": ZLIB}, provided=False)
    assert needed(result) == {"_m": ("libz",), "libz": ()}
    assert result.provided == ()


@pytest.mark.parametrize(
    "more",
    [
        ("env", "zlib_more", ">i"),
        ("GOT.func", "zlib_more", GOT),
        ("GOT.mem", "crc32_table", GOT),  # data of a name that main does not have
        ("GOT.mem", "inflate", GOT),  # data here, a function there
        ("GOT.func", "adler32", GOT),  # a function of another type
        ("env", "adler32", "ii>i"),
    ],
    ids=["function", "pointer", "data", "of another kind", "pointer of another type", "of another type"],
)
def test_one_symbol_that_main_lacks_or_has_otherwise_makes_it_vendored(more: tuple[str, str, str], tmp_path: Path) -> None:
    names = {"zlibVersion": ">i", "zlib_more": ">i", "crc32_table": "i", "inflate": "i", "adler32": "ii>i"}
    result = converted(tmp_path, module([VERSION, more], INIT, needed=["libz.so"]), {"libz.so": module([], names)})
    assert needed(result) == {"_m": ("libz",), "libz": ()}
    assert result.provided == ()


def test_one_user_of_two_that_needs_more_keeps_it_for_both(tmp_path: Path) -> None:
    other = "_n" + zig.suffix("313")
    first = module([VERSION], INIT, needed=["libz.so"])
    second = module([VERSION, ("env", "zlib_more", ">i")], {"PyInit__n": ">i"}, needed=["libz.so"])
    package = python({MODULE: first, other: second})
    result = convert(package, out=tmp_path, libdirs=[library("libz", {"lib/libz.so": ZLIB})])
    assert needed(result) == {"_m": ("libz",), "_n": ("libz",), "libz": ()}


def test_a_library_of_which_nothing_is_taken_is_vendored(tmp_path: Path) -> None:
    """It may be there for its constructors, or for somebody who asks by name."""
    result = converted(tmp_path, module([], INIT, needed=["libz.so"]), {"libz.so": ZLIB})
    assert needed(result) == {"_m": ("libz",), "libz": ()}


@pytest.mark.parametrize(
    ("symbol", "travels"), [("nobodys", False), ("zlib_more", True)], ids=["that nobody has", "that the library has"]
)
def test_a_weak_import_counts_if_the_library_has_it(symbol: str, travels: bool, tmp_path: Path) -> None:
    """It would be null without the library, and the module would go another way."""
    user = module([VERSION, ("env", symbol, ">i")], INIT, needed=["libz.so"], weak=[("env", symbol)])
    assert ("libz" in needed(converted(tmp_path, user, {"libz.so": ZLIB}))) == travels


def test_a_weak_import_is_not_missed_where_the_library_is_nowhere(tmp_path: Path) -> None:
    user = module([VERSION, ("env", "zlib_more", ">i")], INIT, needed=["libz.so"], weak=[("env", "zlib_more")])
    assert needed(converted(tmp_path, user, {})) == {"_m": ()}


def test_a_vendored_library_s_own_library_is_left_out(tmp_path: Path) -> None:
    png = module([CRC], {"png_f": ">"}, needed=["libz.so"])
    result = converted(tmp_path, module([("env", "png_f", ">")], INIT, needed=["libpng.so"]), {"libz.so": ZLIB, "libpng.so": png})
    assert needed(result) == {"_m": ("libpng",), "libpng": ()}
    assert [(each.name, each.symbols, each.needed_by) for each in result.provided] == [("libz.so", 1, ("lib/libpng.so",))]


def test_what_only_a_provided_library_needs_is_left_out_with_it(tmp_path: Path) -> None:
    below = module([], {"below": ">"})
    above = module([("env", "below", ">")], {"zlibVersion": ">i"}, needed=["libbelow.so"])
    result = converted(tmp_path, module([VERSION], INIT, needed=["libz.so"]), {"libz.so": above, "libbelow.so": below})
    assert needed(result) == {"_m": ()}
    assert [each.name for each in result.provided] == ["libz.so"]


def test_libraries_that_need_each_other_are_left_out_together(tmp_path: Path) -> None:
    below = module([("env", "zlib_more", ">i")], {"below": ">"}, needed=["libz.so"])
    above = module([("env", "below", ">")], {"zlibVersion": ">i", "zlib_more": ">i"}, needed=["libbelow.so"])
    user = module([VERSION], INIT, needed=["libz.so"])
    result = converted(tmp_path, user, {"libz.so": above, "libbelow.so": below})
    assert needed(result) == {"_m": ()}
    assert [(each.name, each.needed_by) for each in result.provided] == [("libz.so", (MODULE,))]


def test_what_another_module_needs_as_well_is_vendored_for_it(tmp_path: Path) -> None:
    other = "_n" + zig.suffix("313")
    below = module([], {"below": ">"})
    above = module([("env", "below", ">")], {"zlibVersion": ">i"}, needed=["libbelow.so"])
    first = module([VERSION], INIT, needed=["libz.so"])
    second = module([("env", "below", ">")], {"PyInit__n": ">i"}, needed=["libbelow.so"])
    libdirs = [library("libz", {"lib/libz.so": above}), library("libbelow", {"lib/libbelow.so": below})]
    result = convert(python({MODULE: first, other: second}), out=tmp_path, libdirs=libdirs)
    assert needed(result) == {"_m": (), "_n": ("libbelow",), "libbelow": ()}


def test_a_library_is_vendored_that_brings_what_its_user_takes_of_another(tmp_path: Path) -> None:
    """The module NEEDs libz.so alone and takes data of what that NEEDs: without libz.so nothing would bring it.

    For a call it would NEED libbelow.so itself, and then libz.so can stay out.
    """
    below = module([], {"below": ">", "table": "i"})
    above = module([("env", "below", ">")], {"zlibVersion": ">i"}, needed=["libbelow.so"])
    for wanted, expected in (
        (("GOT.mem", "table", GOT), {"_m": ("libz",), "libz": ("libbelow",), "libbelow": ()}),
        (("env", "below", ">"), {"_m": ("libbelow",), "libbelow": ()}),
    ):
        user = module([VERSION, wanted], INIT, needed=["libz.so"])
        result = converted(tmp_path / wanted[0], user, {"libz.so": above, "libbelow.so": below})
        assert needed(result) == expected


@pytest.mark.parametrize("directly", [True, False], ids=["needed by a library", "needed by the module"])
def test_a_library_is_vendored_of_which_another_module_takes_more_without_needing_it(directly: bool, tmp_path: Path) -> None:
    """The loader finds it all the same: through what one NEEDs, or in the scope of one's user."""
    more = ("env", "zlib_more", ">i")
    if directly:  # the module takes it, libpng.so NEEDs it
        png = module([CRC], {"png_f": ">"}, needed=["libz.so"])
        user = module([("env", "png_f", ">"), more], INIT, needed=["libpng.so"])
    else:
        png = module([more], {"png_f": ">"})
        user = module([("env", "png_f", ">"), CRC], INIT, needed=["libz.so", "libpng.so"])
    result = converted(tmp_path, user, {"libz.so": ZLIB, "libpng.so": png})
    assert set(needed(result)) == {"_m", "libpng", "libz"}
    assert result.provided == ()


def test_what_a_module_defines_itself_it_does_not_take(tmp_path: Path) -> None:
    """An inline function's copies: the module has its own, so it needs no library for it."""
    own = {"zlib_inline": ">i"}
    user = module([VERSION, ("GOT.func", "zlib_inline", GOT)], INIT | own, needed=["libz.so"])
    lib = module([], {"zlibVersion": ">i"} | own)
    assert needed(converted(tmp_path, user, {"libz.so": lib})) == {"_m": ()}


def test_two_provided_libraries_are_both_listed(tmp_path: Path) -> None:
    user = module([VERSION, ("env", "ffi_call", "iiii>")], INIT, needed=["libz.so", "libffi.so"])
    result = converted(tmp_path, user, {"libz.so": ZLIB, "libffi.so": module([], {"ffi_call": "iiii>"})})
    assert needed(result) == {"_m": ()}
    assert sorted(each.name for each in result.provided) == ["libffi.so", "libz.so"]


def test_a_library_that_is_missing_and_not_used_is_listed(tmp_path: Path) -> None:
    result = converted(tmp_path, module([VERSION, CRC], INIT, needed=["libz.so"]), {})
    assert needed(result) == {"_m": ()}
    assert codes(result) >= {"provided-unseen"}
    assert [(each.name, each.symbols) for each in result.provided] == [("libz.so", 0)]


@pytest.mark.parametrize(
    ("entry", "provided"),
    [(("env", "zlib_more", ">i"), True), (("env", "crc32", "ii>i"), True), (VERSION, False)],
    ids=["a symbol that main lacks", "another type", "no-provided"],
)
def test_a_library_that_is_missing_and_used_is_refused(entry: tuple[str, str, str], provided: bool, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"NEEDs libz\.so") as caught:
        converted(tmp_path, module([entry], INIT, needed=["libz.so"]), {}, provided=provided)
    assert caught.value.code == "missing-library"


def platform(pyodide: str) -> Platform:
    found = for_pyodide(pyodide)
    assert found is not None
    return found


def test_only_what_every_pyodide_of_a_platform_has_counts() -> None:
    row = platform("0.29.5")
    assert len(row.pyodide) > 1
    names = main_names(row)
    assert names is not None
    assert main_symbols(row).keys() < names
    assert "zlibVersion" in main_symbols(row)


def test_where_no_pyodide_is_known_everything_is_vendored() -> None:
    row = Platform(**{**vars(platform("0.29.5")), "pyodide": ()})
    assert main_symbols(row) == {}
    assert main_names(row) is None


@pytest.mark.parametrize("of_library", [True, False])
def test_types_that_do_not_exist_are_a_verdict(of_library: bool, tmp_path: Path) -> None:
    """An export names a function that the function section does not have, so that its type is unknown."""

    def without_functions(data: bytes) -> bytes:
        return data.replace(section(3, vector([b"\0"])), section(3, b"\0"))

    user, provider = module([VERSION], INIT, needed=["libz.so"]), module([], {"zlibVersion": ">i"})
    if of_library:
        provider = without_functions(provider)
    else:
        user = without_functions(user)
    with pytest.raises(Refused) as caught:
        converted(tmp_path, user, {"libz.so": provider})
    assert caught.value.code == ("missing-library" if of_library else "corrupt-archive")
