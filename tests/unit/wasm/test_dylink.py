"""dylink.0: what is not changed comes back byte for byte, and what is changed is what every reader sees."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import HEADER, Module, WasmError, encode_name, encode_uleb
from conda2wheel.wasm.dylink import EXPORT_INFO, IMPORT_INFO, MEM_INFO, NEEDED, RUNTIME_PATH, Dylink, LegacyDylink
from tests.helpers import real, zig

MEM = bytes([MEM_INFO, 4, 16, 2, 1, 0])
names = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30), max_size=4)


def section(payload: bytes, name: str = "dylink.0", rest: bytes = b"") -> bytes:
    body = encode_name(name) + payload
    return HEADER + b"\0" + encode_uleb(len(body)) + body + rest


def sub(type_: int, payload: bytes) -> bytes:
    return bytes([type_]) + encode_uleb(len(payload)) + payload


def strings(*values: str) -> bytes:
    return encode_uleb(len(values)) + b"".join(map(encode_name, values))


def read(data: bytes) -> Dylink | LegacyDylink:
    return dylink.read(Module.parse(data))


def padded(value: int, width: int = 5) -> bytes:
    """The same number in more bytes than it needs, as linkers write it where they fill it in later."""
    return bytes([(value >> 7 * n) & 0x7F | (0x80 if n < width - 1 else 0) for n in range(width)])


@given(st.lists(st.tuples(st.integers(6, 255), st.binary(max_size=40)), max_size=5), names, names)
def test_unknown_subsections_are_carried_byte_for_byte(
    unknown: list[tuple[int, bytes]], needed: list[str], paths: list[str]
) -> None:
    payload = MEM + sub(NEEDED, strings("liba.so")) + b"".join(sub(*pair) for pair in unknown)
    module = Module.parse(section(payload, rest=b"\x01\x04\x01\x60\0\0"))
    before = dylink.read(module)
    assert dylink.write(module, before) is module.data
    changed = dylink.write(module, before.with_needed(needed).with_runtime_path(paths))
    after = read(changed)
    assert isinstance(after, Dylink)
    assert (list(after.needed), list(after.runtime_path)) == (needed, paths)
    assert [(s.type, s.payload) for s in after.subsections if s.type > RUNTIME_PATH] == unknown
    assert isinstance(before, Dylink)
    assert after.mem_info == before.mem_info
    assert changed.endswith(b"\x01\x04\x01\x60\0\0")


def test_numbers_longer_than_needed_stay_as_they_are_where_nothing_changes() -> None:
    mem = bytes([MEM_INFO]) + padded(4) + bytes([16, 2, 1, 0])
    needed = bytes([NEEDED]) + padded(9) + strings("liba.so")
    data = HEADER + b"\0" + padded(9 + len(mem + needed)) + encode_name("dylink.0") + mem + needed
    module = Module.parse(data)
    assert dylink.write(module, dylink.read(module)) == data
    changed = dylink.write(module, dylink.read(module).with_needed(["libb.so"]))
    assert mem in changed
    assert read(changed).needed == ("libb.so",)


def test_two_and_more_weak_imports_survive_a_change_of_the_runtime_path() -> None:
    """auditwheel-emscripten 0.3.0 writes the number of modules in the place of the number of entries."""
    weak = b"".join(encode_name("env") + encode_name(f) + encode_uleb(0x11) for f in ("a", "b", "c"))
    payload = MEM + sub(IMPORT_INFO, encode_uleb(3) + weak)
    module = Module.parse(section(payload))
    after = read(dylink.write(module, dylink.read(module).with_runtime_path(["$ORIGIN/../x.libs"])))
    assert isinstance(after, Dylink)
    assert [(i.module, i.field, i.weak) for i in after.imports] == [("env", "a", True), ("env", "b", True), ("env", "c", True)]
    assert after.runtime_path == ("$ORIGIN/../x.libs",)


def test_a_new_runtime_path_stands_where_the_linker_would_put_it() -> None:
    payload = (
        MEM + sub(NEEDED, strings("a.so")) + sub(EXPORT_INFO, encode_uleb(1) + encode_name("t") + b"\x80\x02") + sub(9, b"x")
    )
    after = dylink.Dylink.decode(payload).with_runtime_path(["$ORIGIN"])
    assert [part.type for part in after.subsections] == [MEM_INFO, NEEDED, EXPORT_INFO, RUNTIME_PATH, 9]
    assert after.exports == (("t", 256),)


def test_no_entries_means_no_subsection() -> None:
    both = dylink.Dylink.decode(MEM + sub(NEEDED, strings("a.so")) + sub(RUNTIME_PATH, strings("$ORIGIN")))
    assert both.with_needed([]).with_runtime_path([]).encode() == MEM


def test_repeated_subsections_are_read_together_as_the_loader_does_and_written_once() -> None:
    twice = dylink.Dylink.decode(sub(NEEDED, strings("a.so")) + MEM + sub(NEEDED, strings("b.so")))
    assert twice.needed == ("a.so", "b.so")
    assert twice.with_needed(["c.so"]).encode() == sub(NEEDED, strings("c.so")) + MEM


@pytest.mark.parametrize(
    "payload",
    [
        sub(NEEDED, b"\x02" + encode_name("a.so")),  # a count too high
        sub(NEEDED, strings("a.so") + b"x"),  # bytes too many
        sub(NEEDED, b"\x01\x05ab"),  # a name cut
        sub(NEEDED, b"\x01\x02\xff\xfe"),  # not UTF-8
        sub(NEEDED, b"\xff\xff\xff\xff\x0f"),  # four billion names
        sub(NEEDED, b"\xff\xff\xff\xff\xff\x0f"),  # a number of six bytes
        bytes([NEEDED, 200, 1]),  # a subsection longer than its section
        bytes([NEEDED]),
        bytes([MEM_INFO, 2, 1, 1]),
    ],
)
def test_a_damaged_section_is_told_and_not_guessed(payload: bytes) -> None:
    with pytest.raises(WasmError):
        read(section(payload))


def test_the_legacy_section_is_read_and_its_needed_entries_can_be_changed() -> None:
    payload = bytes([16, 2, 1, 0]) + strings("liba.so")
    module = Module.parse(section(payload + b"tail", name="dylink"))
    before = dylink.read(module)
    assert isinstance(before, LegacyDylink)
    assert before.needed == ("liba.so",)
    assert before.mem_info.memory_size == 16
    assert dylink.write(module, before) is module.data
    changed = dylink.write(module, before.with_needed(["libb-12345678.so"]))
    assert read(changed).needed == ("libb-12345678.so",)
    assert changed.endswith(b"tail")
    with pytest.raises(WasmError, match="RUNTIME_PATH"):
        before.with_runtime_path(["$ORIGIN"])


@pytest.mark.parametrize("data", [HEADER, HEADER + b"\x01\x01\0", section(b"", name="linking"), b"!<arch>\n", b""])
def test_what_is_no_side_module_has_no_dylink_section(data: bytes) -> None:
    with pytest.raises(WasmError):
        read(data)


def test_what_the_linker_wrote_is_what_is_read() -> None:
    library = zig.shared_library("libbase.so", "int base(void) { return 1; }", exports=["base"])
    path = zig.side_module(
        "_x",
        zig.extension(
            "_x", {"f": zig.integer("base()")}, declarations="extern int base(void); extern int maybe __attribute__((weak));"
        ),
        needed=[library, "libother.so.2"],
        rpath=["$ORIGIN/../x.libs", "/lib"],
    )
    module = Module.parse(path.read_bytes())
    found = dylink.read(module)
    assert found.needed == ("libbase.so", "libother.so.2")
    assert found.runtime_path == ("$ORIGIN/../x.libs", "/lib")
    assert module.exports_named("PyInit_") == ("PyInit__x",)
    assert ("env", "base") in [(entry.module, entry.field) for entry in module.imports]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is the judge here; scripts/test needs it anyway")
@pytest.mark.parametrize("wheel", ["msgpack", "contourpy", "awkward-cpp", "pydantic-core"])
def test_a_rewritten_real_module_compiles_and_its_other_sections_are_the_same(wheel: str) -> None:
    with zipfile.ZipFile(real.pypi_wheel(wheel)) as archive:
        modules = [archive.read(name) for name in archive.namelist() if name.endswith(".so")]
    assert modules
    script = (
        "let s='';process.stdin.on('data',d=>s+=d).on('end',()=>{const m=new WebAssembly.Module(Buffer.from(s,'base64'));"
        "console.log(JSON.stringify([WebAssembly.Module.imports(m).length,WebAssembly.Module.exports(m).length,"
        "Buffer.from(WebAssembly.Module.customSections(m,'dylink.0')[0]).toString('base64')]))})"
    )
    for data in modules:
        module = Module.parse(data)
        changed = dylink.write(
            module, dylink.read(module).with_needed(["libx-01234567.so"]).with_runtime_path(["$ORIGIN/../x.libs"])
        )
        told = subprocess.run(["node", "-e", script], input=base64.b64encode(changed), capture_output=True, check=True).stdout
        imports, exports, raw = json.loads(told)
        assert (imports, exports) == (len(module.imports), len(module.exports))
        assert Dylink.decode(base64.b64decode(raw)).needed == ("libx-01234567.so",)
        again = Module.parse(changed)
        assert [data[s.start : s.end] for s in module.sections[1:]] == [changed[s.start : s.end] for s in again.sections[1:]]
