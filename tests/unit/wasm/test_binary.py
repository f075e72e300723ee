"""WebAssembly modules: what they are by their bytes, what they import, and no way to hang or crash on damage."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conda2wheel.wasm import binary
from conda2wheel.wasm.binary import HEADER, FileKind, Kind, Module, Reader, WasmError, encode_name, encode_uleb, file_kind
from conda2wheel.wasm.features import declared
from conda2wheel.wasm.signature import Feature
from tests.helpers.handmade import section, vector

DYLINK = b"\0\x0f" + encode_name("dylink.0") + b"\x01\x04\0\0\0\0"


def imports(*entries: bytes) -> bytes:
    body = encode_uleb(len(entries)) + b"".join(entries)
    return HEADER + DYLINK + b"\x02" + encode_uleb(len(body)) + body


def entry(field: str, kind: int, rest: bytes) -> bytes:
    return encode_name("env") + encode_name(field) + bytes([kind]) + rest


def test_every_kind_of_import_is_read() -> None:
    module = Module.parse(
        imports(
            entry("f", 0, b"\x05"),
            entry("table", 1, b"\x70\x00\x01"),
            entry("typed", 1, b"\x63\x70\x01\x01\x02"),
            entry("plain", 2, b"\x00\x01"),
            entry("shared", 2, b"\x03\x01\x80\x80\x04"),
            entry("large", 2, b"\x04\x80\x80\x80\x80\x80\x80\x02"),
            entry("g", 3, b"\x7f\x01"),
            entry("tag", 4, b"\x00\x02"),
        )
    )
    assert [(i.field, i.kind) for i in module.imports] == [
        ("f", Kind.FUNC),
        ("table", Kind.TABLE),
        ("typed", Kind.TABLE),
        ("plain", Kind.MEMORY),
        ("shared", Kind.MEMORY),
        ("large", Kind.MEMORY),
        ("g", Kind.GLOBAL),
        ("tag", Kind.TAG),
    ]
    assert [(i.field, i.shared, i.is64) for i in module.imports if i.kind == Kind.MEMORY] == [
        ("plain", False, False),
        ("shared", True, False),
        ("large", False, True),
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", FileKind.EMPTY),
        (HEADER + DYLINK, FileKind.SIDE_MODULE),
        (HEADER + b"\0\x0b" + encode_name("dylink") + b"\0\0\0\0", FileKind.LEGACY_SIDE_MODULE),
        (HEADER + b"\0\x08" + encode_name("linking"), FileKind.OBJECT),
        (HEADER + b"\x01\x01\0" + DYLINK, FileKind.OTHER_WASM),  # dylink.0 counts only as the first section
        (HEADER, FileKind.OTHER_WASM),
        (HEADER + b"\x01\xff\x01\0", FileKind.BROKEN_WASM),
        (b"\0asm\x0d\0\x01\0", FileKind.BROKEN_WASM),  # a component
        (b"!<arch>\nx", FileKind.AR),
        (b"\x7fELF\x02", FileKind.ELF),
        (b"\xcf\xfa\xed\xfe", FileKind.MACH_O),
        (b"MZ\x90", FileKind.PE),
        (b"/* GNU ld script */", FileKind.OTHER),
    ],
)
def test_a_file_is_what_its_bytes_say_whatever_it_is_called(data: bytes, kind: FileKind) -> None:
    assert file_kind(data) == kind


@given(st.integers(0, 2**32 - 1))
def test_numbers_come_back(value: int) -> None:
    assert Reader(encode_uleb(value)).uleb() == value


@given(st.binary(max_size=200))
def test_damage_is_an_error_of_ours_and_never_a_hang_or_another_exception(noise: bytes) -> None:
    for data in (HEADER + noise, HEADER + DYLINK + b"\x02" + encode_uleb(len(noise)) + noise):
        try:
            module = Module.parse(data)
            _ = (module.imports, module.exports)
        except WasmError:
            pass
        assert isinstance(file_kind(data), FileKind)


def test_globals_of_every_form_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with a plain constant are read by a pattern, many at once, all others value by value."""
    forms = [
        b"\x7f\x00\x41\x05\x0b",
        b"\x7f\x01\x41\xff\xff\xff\xff\x07\x0b",
        b"\x7f\x00\x41\x85\x80\x80\x80\x80\x00\x0b",  # longer than needed
        b"\x7e\x01\x42\x00\x0b",
        b"\x7f\x00\x41\x01\x41\x02\x6a\x0b",  # an expression
        b"\x7d\x00\x43\x0b\x0b\x0b\x0b\x0b",
    ]
    names = [f"g{number}" for number in range(len(forms))]
    exported = vector(encode_name(name) + bytes([Kind.GLOBAL, number]) for number, name in enumerate(names))
    data = HEADER + section(6, vector(forms)) + section(7, exported)
    fast = (Module.parse(data).export_signatures(), declared(Module.parse(data)))
    assert fast[0] == ["i", "i*", "i", "j*", "i", "f"]
    never = re.compile(rb"(?!)"), re.compile(rb"")
    monkeypatch.setattr(binary, "_PLAIN_GLOBALS", never)
    assert (Module.parse(data).export_signatures(), declared(Module.parse(data))) == fast


@pytest.mark.parametrize("count", [0, 1, 8191, 8192, 8193, 20_000])
def test_any_number_of_globals_is_read(count: int) -> None:
    plain = [b"\x7f\x01\x41\x05\x0b", b"\x7f\x00\x41\x85\x01\x0b"] * (count // 2 + 1)
    exported = vector([encode_name("last") + bytes([Kind.GLOBAL]) + encode_uleb(count)])
    for after in (b"", plain[0] * 3):  # what follows the last entry counts for nothing
        body = vector([*plain[:count], b"\x7e\x01\x42\x00\x0b"]) + after
        module = Module.parse(HEADER + section(6, body) + section(7, exported))
        assert module.export_signatures() == ["j*"]
        assert declared(module) == {Feature.MUTABLE_GLOBALS}
    with pytest.raises(WasmError):
        Module.parse(
            HEADER + section(6, encode_uleb(count + 2) + b"".join(plain[: count + 1])) + section(7, exported)
        ).export_signatures()
