"""Symbols under other names: wherever a name stands it changes, and every other byte of the module stays."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conda2wheel.pyodide.node import find_node
from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.dylink import Dylink
from conda2wheel.wasm.rename import rename
from tests.helpers import clash
from tests.helpers.handmade import GOT, custom, module, names, subsections

CODE, DATA = 10, 11
TLS = 0x100
SYMBOLS = ("function", "pointer", "data", "tag", "weak", "tls")
Naming = Callable[[str], str]


def everything(name: Naming) -> bytes:
    """A module in which every symbol of `SYMBOLS` stands wherever it can, under the name that `name` gives it; and the same words
    in places where they are no symbols."""
    imports = [
        ("env", name("function"), "i>i"),
        ("env", name("data"), "i"),
        ("env", name("tag"), "tag i>"),
        ("env", name("weak"), "i>i"),
        ("GOT.func", name("pointer"), GOT),
        ("GOT.func", name("function"), GOT),
        ("GOT.mem", name("data"), GOT),
        ("GOT.mem", name("weak"), GOT),
        ("wasi_snapshot_preview1", "function", "i>i"),
        ("env", "other", "i>i"),
    ]
    exports = {
        name("function"): "i>i",
        name("pointer"): ">",
        name("data"): "i",
        name("tag"): "tag i>",
        name("tls"): "i",
        "PyInit_demo": ">i",
        "other": ">",
    }
    name_section = [
        (0, b"\x04data"),  # the module's name
        (1, names({0: name("function"), 3: "local_function", 4: name("pointer")})),
        (2, b"\x01\x00\x01\x00\x04data"),  # locals
        (7, names({0: "__memory_base", 1: name("data")})),
        (9, names({0: "data"})),  # data segments
        (11, names({0: name("tag")})),
    ]
    return module(
        imports,
        exports,
        needed=["function"],
        rpath=["data"],
        weak=[("env", name("weak")), ("GOT.mem", name("weak")), ("wasi_snapshot_preview1", "function")],
        export_flags=[((name("tls"),), TLS), (("other",), 0)],
        dylink=[(9, b"\x01\x08function"), (77, b"data")],
        strings=["function", "data"],
        tail=custom("name", subsections(name_section)) + custom("function", b"data") + custom("producers", b"\0"),
    )


@given(st.fixed_dictionaries({}, optional={symbol: st.text(min_size=1, max_size=150) for symbol in SYMBOLS}))
def test_a_name_changes_wherever_it_is_a_symbol_s_and_nowhere_else(mapping: dict[str, str]) -> None:
    """By the same module written with the new names from the start, byte for byte."""
    mapping = {symbol: f"{symbol}.{new}" for symbol, new in mapping.items()}
    before = everything(str)
    assert rename(Module.parse(before), mapping) == everything(lambda symbol: mapping.get(symbol, symbol))


def test_readers_see_the_new_names() -> None:
    new = Module.parse(rename(Module.parse(everything(str)), {symbol: f"{symbol}.0123abcd" for symbol in SYMBOLS}))
    info = dylink.read(new)
    assert isinstance(info, Dylink)
    assert (info.needed, info.runtime_path) == (("function",), ("data",))
    assert info.exports == (("tls.0123abcd", TLS), ("other", 0))
    assert [(each.module, each.field, each.weak) for each in info.imports] == [
        ("env", "weak.0123abcd", True),
        ("GOT.mem", "weak.0123abcd", True),
        ("wasi_snapshot_preview1", "function", True),
    ]
    assert {export.name for export in new.exports} == {f"{s}.0123abcd" for s in SYMBOLS if s != "weak"} | {"other", "PyInit_demo"}
    assert [entry.field for entry in new.imports if entry.module == "GOT.func"] == ["pointer.0123abcd", "function.0123abcd"]


def test_a_linker_s_module_keeps_its_code_and_its_data() -> None:
    before = Module.parse(clash.shapes(1).read_bytes())
    mapping = {export.name: f"{export.name}.0123abcd" for export in before.exports if not export.name.startswith("__wasm_")}
    after = Module.parse(rename(before, mapping))
    assert [(s.id, s.name) for s in after.sections] == [(s.id, s.name) for s in before.sections]
    unchanged = [
        (old.id, old.name)
        for old, new in zip(before.sections, after.sections, strict=True)
        if before.data[old.start : old.end] == after.data[new.start : new.end]
    ]
    assert {CODE, DATA} <= {number for number, _ in unchanged}
    changed = {(s.id, s.name) for s in before.sections} - set(unchanged)
    assert changed == {(2, ""), (7, ""), (0, "name")}
    types = {export.name: before.signature(export) for export in before.exports}
    assert {export.name: after.signature(export) for export in after.exports} == {
        mapping.get(name, name): type_ for name, type_ in types.items()
    }
    back = {new: old for old, new in mapping.items()}
    assert rename(after, back) == before.data


@pytest.mark.runtime
def test_an_engine_takes_the_module(tmp_path: Path) -> None:
    (tmp_path / "module.wasm").write_bytes(
        rename(Module.parse(everything(str)), {"function": "f", "tag": "t.0123abcd", "tls": "l"})
    )
    script = (
        "const m = new WebAssembly.Module(require('fs').readFileSync('module.wasm'));"
        "console.log(JSON.stringify([WebAssembly.Module.imports(m), WebAssembly.Module.exports(m)].map(l => l.map(e => e.name))))"
    )
    done = subprocess.run([find_node().path, "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    imports, exports = json.loads(done.stdout)
    assert imports == [
        "memory",
        "__memory_base",
        "f",
        "data",
        "t.0123abcd",
        "weak",
        "pointer",
        "f",
        "data",
        "weak",
        "function",
        "other",
    ]
    assert exports == ["f", "pointer", "data", "t.0123abcd", "l", "PyInit_demo", "other"]


@pytest.mark.parametrize("mapping", [{}, {"nobody": "somebody"}, {"memory": "m"}, {"wasi_snapshot_preview1": "w"}])
def test_without_any_of_the_names_the_same_bytes_come_back(mapping: dict[str, str]) -> None:
    before = Module.parse(everything(str))
    assert rename(before, mapping) is before.data


def test_a_section_that_does_not_change_keeps_its_padding() -> None:
    """Linkers write lengths in five bytes where they fill them in later; only what is written again is written short."""
    padding = custom("kept", b"x" * 5)
    wide = padding[:1] + bytes([padding[1] | 0x80, 0x80, 0x80, 0x80, 0x00]) + padding[2:]
    before = module(exports={"f": ">"}, tail=wide)
    after = rename(Module.parse(before), {"f": "f.0123abcd"})
    assert after == module(exports={"f.0123abcd": ">"}, tail=wide)


def test_two_exports_never_get_one_name() -> None:
    parsed = Module.parse(module(exports={"f": ">", "g": ">"}))
    for mapping in ({"f": "g"}, {"f": "h", "g": "h"}):
        with pytest.raises(ValueError, match="same name"):
            rename(parsed, mapping)
    swapped = Module.parse(rename(parsed, {"f": "g", "g": "f"}))
    assert [export.name for export in swapped.exports] == ["g", "f"]


def test_a_damaged_name_section_is_carried() -> None:
    before = module(exports={"f": ">"}, tail=custom("name", b"\x01\xff\xff"))
    assert rename(Module.parse(before), {"f": "g"}) == module(exports={"g": ">"}, tail=custom("name", b"\x01\xff\xff"))
