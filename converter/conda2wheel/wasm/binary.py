"""Read WebAssembly modules: sections, imports, exports. Nothing is executed and nothing is validated beyond what is read.

Formats: the WebAssembly core specification, 5.4 (values) and 5.5 (modules); tool-conventions DynamicLinking.md for
what makes a module a side module. A module is given as `bytes`; offsets count from its first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property

MAGIC = b"\0asm"
HEADER = MAGIC + b"\x01\0\0\0"
CUSTOM, IMPORT, EXPORT = 0, 2, 7
_REF_HEAP = (0x63, 0x64)  # (ref null ht), (ref ht): a heap type follows


class WasmError(ValueError):
    """The bytes are no WebAssembly module, or a damaged one; the text says where."""


class Kind(IntEnum):
    """What an import or export is (core specification 5.5.5; 4 is from the exception handling proposal)."""

    FUNC = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4


class FileKind(StrEnum):
    """What a file is by its first bytes, whatever it is called."""

    SIDE_MODULE = "side module"
    LEGACY_SIDE_MODULE = "legacy side module"
    OBJECT = "WebAssembly object file"
    OTHER_WASM = "WebAssembly module without dylink.0"
    BROKEN_WASM = "damaged WebAssembly module"
    AR = "ar archive"
    ELF = "ELF"
    MACH_O = "Mach-O"
    PE = "PE"
    EMPTY = "empty file"
    OTHER = "other"

    @property
    def is_wasm(self) -> bool:
        """Starts with the WebAssembly magic number."""
        return self in (self.SIDE_MODULE, self.LEGACY_SIDE_MODULE, self.OBJECT, self.OTHER_WASM, self.BROKEN_WASM)

    @property
    def is_loadable(self) -> bool:
        """Has a dylink section, so that a loader may take it."""
        return self in (self.SIDE_MODULE, self.LEGACY_SIDE_MODULE)

    @property
    def is_foreign(self) -> bool:
        """Machine code of another platform."""
        return self in (self.ELF, self.MACH_O, self.PE)


class Reader:
    """A cursor over bytes; every read is bounded by `end` and raises `WasmError` past it."""

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = start
        self.end = len(data) if end is None else end

    def u8(self) -> int:
        """One byte."""
        if self.pos >= self.end:
            raise WasmError(f"truncated at byte {self.pos}")
        value = self.data[self.pos]
        self.pos += 1
        return value

    def uleb(self, bits: int = 32) -> int:
        """An unsigned LEB128 number of at most `bits` bits, padded or not."""
        result = shift = 0
        start = self.pos
        while True:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits + 7 - bits % 7:
                raise WasmError(f"number too long at byte {start}")
        if result >> bits:
            raise WasmError(f"number too large at byte {start}")
        return result

    def sleb(self) -> int:
        """A signed LEB128 number (heap types)."""
        result = shift = 0
        while True:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result - (1 << shift) if byte & 0x40 else result
            if shift > 70:
                raise WasmError(f"number too long at byte {self.pos}")

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.pos:
            raise WasmError(f"{size} bytes announced at byte {self.pos}, {self.end - self.pos} there")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def name(self) -> str:
        """A length and that many bytes of UTF-8."""
        start = self.pos
        raw = self.take(self.uleb())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise WasmError(f"name at byte {start} is not UTF-8") from None

    def count(self, smallest: int = 1) -> int:
        """A vector's length, refused where that many elements of `smallest` bytes cannot follow."""
        start = self.pos
        value = self.uleb()
        if value * smallest > self.end - self.pos:
            raise WasmError(f"{value} elements announced at byte {start}, no room for them")
        return value


def encode_uleb(value: int) -> bytes:
    """The shortest unsigned LEB128 form."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def encode_name(name: str) -> bytes:
    """A length and the name in UTF-8."""
    raw = name.encode()
    return encode_uleb(len(raw)) + raw


@dataclass(frozen=True)
class Section:
    """A section: `data[start:end]` is all of it, `data[payload:end]` what follows its id and length (and, for a custom
    section, its name)."""

    id: int
    name: str
    start: int
    payload: int
    end: int


@dataclass(frozen=True, slots=True)
class Import:
    """An import. For a memory, `shared` and `is64` are its limits' flags; else they are False."""

    module: str
    field: str
    kind: Kind
    shared: bool = False
    is64: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """An export."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Module:
    """A module and its sections; imports and exports are read when first asked for."""

    data: bytes
    sections: tuple[Section, ...]

    @classmethod
    def parse(cls, data: bytes) -> Module:
        """Walk the sections of `data`. Raises `WasmError`."""
        if not data.startswith(MAGIC):
            raise WasmError("not a WebAssembly module")
        if not data.startswith(HEADER):
            raise WasmError("not a core module of version 1")
        return cls(data, tuple(_sections(data)))

    def custom(self, name: str) -> Section | None:
        """The first custom section of that name."""
        return next((s for s in self.sections if s.id == CUSTOM and s.name == name), None)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import, in order. Raises `WasmError`."""
        return tuple(entry for s in self.sections if s.id == IMPORT for entry in _imports(self.data, s))

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """Every export, in order. Raises `WasmError`."""
        return tuple(entry for s in self.sections if s.id == EXPORT for entry in _exports(self.data, s))

    def exports_named(self, prefix: str) -> tuple[str, ...]:
        """The names of the exports that start with `prefix`, such as `PyInit_`."""
        return tuple(e.name for e in self.exports if e.name.startswith(prefix))


def _sections(data: bytes) -> Iterator[Section]:
    reader = Reader(data, len(HEADER))
    while reader.pos < reader.end:
        start = reader.pos
        section_id = reader.u8()
        size = reader.uleb()
        payload = reader.pos
        if size > reader.end - payload:
            raise WasmError(f"section {section_id} at byte {start} is cut: {size} bytes announced, {reader.end - payload} there")
        end = payload + size
        name = ""
        if section_id == CUSTOM:
            inner = Reader(data, payload, end)
            name = inner.name()
            payload = inner.pos
        yield Section(section_id, name, start, payload, end)
        reader.pos = end


def _limits(reader: Reader) -> tuple[bool, bool]:
    flags = reader.u8()
    reader.uleb(64)
    if flags & 1:
        reader.uleb(64)
    if flags & 8:  # custom page sizes proposal
        reader.uleb()
    return bool(flags & 2), bool(flags & 4)


def _value_type(reader: Reader) -> None:
    if reader.u8() in _REF_HEAP:
        reader.sleb()


def _imports(data: bytes, section: Section) -> Iterator[Import]:
    reader = Reader(data, section.payload, section.end)
    for _ in range(reader.count(smallest=4)):
        module, field, kind = reader.name(), reader.name(), reader.u8()
        shared = is64 = False
        if kind == Kind.FUNC:
            reader.uleb()
        elif kind == Kind.TABLE:
            _value_type(reader)
            _limits(reader)
        elif kind == Kind.MEMORY:
            shared, is64 = _limits(reader)
        elif kind == Kind.GLOBAL:
            _value_type(reader)
            reader.u8()
        elif kind == Kind.TAG:
            reader.u8()
            reader.uleb()
        else:
            raise WasmError(f"import {module}.{field} is of unknown kind {kind}")
        yield Import(module, field, Kind(kind), shared, is64)


def _exports(data: bytes, section: Section) -> Iterator[Export]:
    reader = Reader(data, section.payload, section.end)
    for _ in range(reader.count(smallest=3)):
        name, kind = reader.name(), reader.u8()
        if kind > Kind.TAG:
            raise WasmError(f"export {name} is of unknown kind {kind}")
        reader.uleb()
        yield Export(name, Kind(kind))


def file_kind(data: bytes) -> FileKind:
    """What `data` is. Reads the section headers only, so it is cheap on large modules.

    A side module has `dylink.0` as its first section (tool-conventions DynamicLinking.md). A relocatable object named
    `.so` (`emcc -shared` before Emscripten 6, a "fake dylib") has `linking` instead.
    """
    if not data:
        return FileKind.EMPTY
    if not data.startswith(MAGIC):
        return _foreign_kind(data)
    try:
        sections = tuple(_sections(data))
    except WasmError:
        return FileKind.BROKEN_WASM
    if not data.startswith(HEADER):
        return FileKind.BROKEN_WASM
    first = sections[0] if sections else None
    if first is not None and first.id == CUSTOM and first.name == "dylink.0":
        return FileKind.SIDE_MODULE
    if first is not None and first.id == CUSTOM and first.name == "dylink":
        return FileKind.LEGACY_SIDE_MODULE
    if any(s.id == CUSTOM and s.name == "linking" for s in sections):
        return FileKind.OBJECT
    return FileKind.OTHER_WASM


def _foreign_kind(data: bytes) -> FileKind:
    head = data[:8]
    if head.startswith((b"!<arch>\n", b"!<thin>\n")):
        return FileKind.AR
    if head.startswith(b"\x7fELF"):
        return FileKind.ELF
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return FileKind.MACH_O
    if head.startswith(b"MZ"):
        return FileKind.PE
    return FileKind.OTHER
