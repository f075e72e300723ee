"""The symbol data of each Pyodide, and the table that goes with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conda2wheel.abi.extract import ExtractError, extract
from conda2wheel.abi.platforms import Platform, integrity, platforms
from conda2wheel.abi.symbols import Symbol, encode, known, newest_pyodide, origin, symbols
from conda2wheel.wasm.binary import HEADER

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "platforms.md"
MARKS = {
    "zlib": "deflate",
    "bzip2": "BZ2_bzCompress",
    "libffi": "ffi_call",
    "sqlite3": "sqlite3_open",
    "lzma": "lzma_code",
    "zstd": "ZSTD_compress",
}


def test_every_pyodide_of_the_table_has_data() -> None:
    assert list(known()) == [version for row in platforms() for version, _ in row.pyodide]


@pytest.mark.parametrize("version", known())
def test_the_data_names_its_origin(version: str) -> None:
    made = origin(version)
    assert (made.pyodide, made.integrity) == (version, integrity(version))
    assert re.fullmatch("[0-9a-f]{64}", made.wasm_sha256)
    assert re.fullmatch("[0-9a-f]{64}", made.script_sha256)


def test_types_are_what_c_says() -> None:
    found = symbols("0.29.5")
    assert found["PyLong_FromLong"] == Symbol("func", "i>i")
    assert found["PyFloat_FromDouble"] == Symbol("func", "d>i")
    assert found["PyLong_FromLongLong"] == Symbol("func", "j>i")
    assert found["PyExc_ValueError"] == Symbol("data", "i")
    assert found["__cpp_exception"] == Symbol("tag", "i>")
    assert found["emscripten_get_now"] == Symbol("js", ">d")
    assert "__cpp_exception" not in symbols("0.27.7")
    assert symbols("314.0.7")["__stack_pointer"] == Symbol("global", "i*")


@pytest.mark.parametrize("row", [row for row in platforms() if row.pyodide], ids=lambda row: row.name)
def test_provided_libraries_are_in_the_main_module(row: Platform) -> None:
    named = {library.split()[0] for library in row.provides}
    for version, _ in row.pyodide:
        assert {library for library, mark in MARKS.items() if mark in symbols(version)} == named


def test_a_version_without_data_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"no symbol data of Pyodide 0\.1\.2; there is of 0\.22\.1"):
        symbols("0.1.2")


def test_the_same_symbols_give_the_same_bytes() -> None:
    made, found = origin("0.29.5"), symbols("0.29.5")
    backwards = dict(reversed(list(found.items())))
    assert encode(made, found) == encode(made, backwards)
    assert encode(made._replace(pyodide="0.0.0"), found) != encode(made, found)


SCRIPT = """
function one(a){return a}one.sig="ii";function two(){}var three=one;var ___tag=new WebAssembly.Tag({"parameters":["i32"]});
function gone(...args){return wasmImports["gone"](...args)}gone.stub=true;var ___base=1024;var list=[1,2];
var table=new WebAssembly.Table({});var wasmImports={one,two:two,"three":three,__tag:___tag,gone:gone,base:___base,list,t:table};
"""


def test_the_table_in_the_script_is_read_in_every_form() -> None:
    assert extract(HEADER, SCRIPT) == {
        "one": Symbol("js", "i>i"),
        "two": Symbol("js", ""),
        "three": Symbol("js", "i>i"),
        "__tag": Symbol("tag", "i>"),
        "base": Symbol("data", "i"),
        "list": Symbol("object", ""),
        "t": Symbol("table", ""),
    }


@pytest.mark.parametrize("script", ["", "var wasmImports={a:b,...rest}", "var wasmImports={a:function(){}}"])
def test_another_shape_is_an_error_and_not_an_empty_table(script: str) -> None:
    with pytest.raises(ExtractError):
        extract(HEADER, script)


def test_the_page_about_platforms_is_the_table() -> None:
    def line(row: Platform) -> str:
        words = [
            f"`{row.tag}`",
            ", ".join(f"`{tag}`" for tag in row.alias_tags),
            ", ".join(version for version, _ in row.pyodide),
            row.python or "",
            row.emscripten,
            row.unwinding,
            *("yes" if yes else "no" for yes in (row.runtime_path, row.normalises_paths, row.legacy_dylink, row.libs_folder)),
            ", ".join(row.provides),
        ]
        return "|" + "|".join(f" {word} " if word else " " for word in words) + "|"

    page = PAGE.read_text()
    for row in platforms():
        assert line(row) in page
    assert {row.prefix for row in platforms()} == {"/"}
    assert all(row.site_packages == f"/lib/python{row.python}/site-packages" for row in platforms())


def test_wheels_are_judged_by_the_newest_final_release_with_known_symbols() -> None:
    def newest(*versions: str) -> str | None:
        return newest_pyodide(Platform("demo", "4.0.9", "3.13", pyodide=tuple((version, "") for version in versions)))

    assert newest("0.28.3", "0.29.5", "0.29.99", "315.0.0-alpha.2") == "0.29.5"
    assert newest("315.0.0-alpha.2") == "315.0.0-alpha.2"
    assert (newest("0.29.99"), newest()) == (None, None)
    rows = {row.name: newest_pyodide(row) for row in platforms()}
    assert (rows["pyemscripten_2024_0"], rows["pyemscripten_2025_0"]) == ("0.27.7", "0.29.5")
