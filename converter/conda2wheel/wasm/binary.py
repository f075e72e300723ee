"""Read WebAssembly modules: sections, imports, exports. Nothing is executed and nothing is validated beyond what is read.

Formats: the WebAssembly core specification, 5.4 (values) and 5.5 (modules); tool-conventions DynamicLinking.md for
what makes a module a side module. A module is given as `bytes`; offsets count from its first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property

from conda2wheel.wasm.encoding import Reader, Spend, WasmError, damage, encode_name, encode_uleb, unmetered
from conda2wheel.wasm.signature import (
    UNKNOWN,
    Feature,
    UnknownEncodingError,
    element_type,
    read_limits,
    read_recursive_type,
    skip_constant,
    value_type,
)

__all__ = [
    "CUSTOM",
    "EXPORT",
    "HEADER",
    "IMPORT",
    "MAGIC",
    "Export",
    "FileKind",
    "Import",
    "Kind",
    "Module",
    "Reader",
    "Section",
    "Spend",
    "WasmError",
    "encode_name",
    "encode_uleb",
    "file_kind",
]

MAGIC = b"\0asm"
HEADER = MAGIC + b"\x01\0\0\0"
CUSTOM, TYPE, IMPORT, FUNCTION, GLOBAL, EXPORT, DATA, TAG = 0, 1, 2, 3, 6, 7, 11, 13
LISTED = 100  # the weight of a section, of which no real module has many
NAMED = 20  # the weight of an entry with a name, which is looked up in several modules, beside that of a number


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


@dataclass(frozen=True)
class Section:
    """A section: `data[start:end]` is all of it.

    `data[payload:end]` is what follows its id and length (and, for a custom section, its name).
    """

    id: int
    name: str
    start: int
    payload: int
    end: int


@dataclass(slots=True, unsafe_hash=True)  # not frozen: a module has thousands, and freezing makes each three times slower to make
class Import:
    """An import.

    Attributes:
        shared: the flag of a memory's limits; False for other kinds.
        is64: the flag of a memory's limits; False for other kinds.
        index: the type index of a function or tag.
        type: the type of a global (`i`, or `i*` if it is mutable) or of a table's elements.
        minimum: the lower limit of a memory, in pages of 64 KiB.
        maximum: the upper limit of a memory, in pages of 64 KiB; None: without.
    """

    module: str
    field: str
    kind: Kind
    shared: bool = False
    is64: bool = False
    index: int = 0
    type: str = ""
    minimum: int = 0
    maximum: int | None = None


@dataclass(slots=True, unsafe_hash=True)
class Export:
    """An export and its index in the index space of its kind, which begins with the imports of that kind."""

    name: str
    kind: Kind
    index: int = 0


@dataclass(frozen=True)
class Module:
    """A module and its sections; imports and exports are read on first use. `spend` is called before entries are read."""

    data: bytes
    sections: tuple[Section, ...]
    spend: Spend = field(default=unmetered, compare=False, repr=False)

    @classmethod
    def parse(cls, data: bytes, spend: Spend = unmetered) -> Module:
        """Walk the sections of `data`. Raises `WasmError`."""
        if not data.startswith(MAGIC):
            raise WasmError("not a WebAssembly module")
        if not data.startswith(HEADER):
            raise WasmError("not a core module of version 1")
        return cls(data, tuple(_sections(data, spend)), spend)

    def reader(self, section: Section) -> Reader:
        """A reader of a section's payload."""
        return Reader(self.data, section.payload, section.end, self.spend)

    def custom(self, name: str) -> Section | None:
        """The first custom section of that name."""
        return next((s for s in self.sections if s.id == CUSTOM and s.name == name), None)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import, in order. Raises `WasmError`."""
        return self._imports[0]

    @property
    def import_features(self) -> frozenset[Feature]:
        """The features that the types of the imports need. Raises `WasmError`."""
        return self._imports[1]

    @cached_property
    def _imports(self) -> tuple[tuple[Import, ...], frozenset[Feature]]:
        found: set[Feature] = set()
        with damage():
            return tuple(e for s in self.sections if s.id == IMPORT for e in _imports(self.reader(s), found)), frozenset(found)

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """Every export, in order. Raises `WasmError`."""
        with damage():
            return tuple(entry for s in self.sections if s.id == EXPORT for entry in _exports(self.reader(s)))

    @property
    def types(self) -> tuple[str, ...]:
        """Return every function type as `PARAMETERS>RESULTS` (see `signature`).

        A type that is not a function is `?`.

        Raises:
            WasmError: the section is damaged.
        """
        return self._types[0]

    @property
    def type_features(self) -> frozenset[Feature]:
        """The features that the types need, up to one of a proposal that is not known. Raises `WasmError`."""
        return self._types[1]

    @cached_property
    def _types(self) -> tuple[tuple[str, ...], frozenset[Feature]]:
        found: set[Feature] = set()
        with damage():
            return tuple(text for s in self.sections if s.id == TYPE for text in _types(self.reader(s), found)), frozenset(found)

    @cached_property
    def _functions(self) -> tuple[int, ...]:
        """The type index of every function, imported ones first."""
        imported = tuple(entry.index for entry in self.imports if entry.kind == Kind.FUNC)
        with damage():
            return imported + tuple(index for s in self.sections if s.id == FUNCTION for index in _indices(self.reader(s)))

    @cached_property
    def _tags(self) -> tuple[int, ...]:
        """The type index of every tag, imported ones first."""
        imported = tuple(entry.index for entry in self.imports if entry.kind == Kind.TAG)
        with damage():
            return imported + tuple(entry for s in self.sections if s.id == TAG for entry in _tag_indices(self.reader(s)))

    @cached_property
    def _globals(self) -> tuple[str, ...]:
        """The type of every global, imported ones first."""
        imported = tuple(entry.type for entry in self.imports if entry.kind == Kind.GLOBAL)
        with damage():
            return imported + tuple(entry for s in self.sections if s.id == GLOBAL for entry in _global_types(self.reader(s)))

    def signature(self, entry: Import | Export) -> str:
        """The type of an import or export: `ii>j` of a function or tag, `i` or `i*` (mutable) of a global, else "".

        Raises `WasmError` where the module has no such type, function or global.
        """
        try:
            if isinstance(entry, Import):
                return self.types[entry.index] if entry.kind in (Kind.FUNC, Kind.TAG) else entry.type
            if entry.kind == Kind.FUNC:
                return self.types[self._functions[entry.index]]
            if entry.kind == Kind.TAG:
                return self.types[self._tags[entry.index]]
            return self._globals[entry.index] if entry.kind == Kind.GLOBAL else ""
        except IndexError:
            name = entry.field if isinstance(entry, Import) else entry.name
            raise WasmError(f"{name} has a type that does not exist") from None

    def import_signatures(self) -> list[str]:
        """The type of each import, as `signature` returns it. Raises `WasmError`."""
        types = self.types
        try:
            return [types[e.index] if e.kind is Kind.FUNC or e.kind is Kind.TAG else e.type for e in self.imports]
        except IndexError:
            return [self.signature(entry) for entry in self.imports]

    def export_signatures(self) -> list[str]:
        """The type of each export, as `signature` returns it. Raises `WasmError`."""
        types, functions = self.types, self._functions
        try:
            return [types[functions[e.index]] if e.kind is Kind.FUNC else self.signature(e) for e in self.exports]
        except IndexError:
            return [self.signature(entry) for entry in self.exports]

    def exports_named(self, prefix: str) -> tuple[str, ...]:
        """The names of the exports that start with `prefix`, such as `PyInit_`."""
        return tuple(e.name for e in self.exports if e.name.startswith(prefix))


def _sections(data: bytes, spend: Spend) -> Iterator[Section]:
    reader = Reader(data, len(HEADER))
    while reader.pos < reader.end:
        spend(LISTED)
        start = reader.pos
        section_id = reader.u8()
        size = reader.uleb()
        payload = reader.pos
        if size > reader.end - payload:
            raise WasmError(
                f"section {section_id} at byte {start} is truncated: {size} bytes announced, {reader.end - payload} present"
            )
        end = payload + size
        name = ""
        if section_id == CUSTOM:
            inner = Reader(data, payload, end)
            name = inner.name()
            payload = inner.pos
        yield Section(section_id, name, start, payload, end)
        reader.pos = end


def _imports(reader: Reader, found: set[Feature]) -> list[Import]:
    """Read the import section. The most frequent forms are read here, all others and what is damaged by `read_import`."""
    data, end = reader.data, reader.end
    func, global_ = Kind.FUNC, Kind.GLOBAL
    modules: dict[bytes, str] = {}
    entries = []
    for _ in range(reader.count(smallest=4, weight=NAMED)):
        start = reader.pos + 1
        after = start + data[reader.pos]
        if after + 1 < end and after - start < 0x80:
            first, begin = data[after], after + 1
            if first >= 0x80:
                first, begin = first & 0x7F | data[begin] << 7, begin + 1
            # Two bytes of a length whose second has the high bit give 2^14 or more.
            if first < 0x4000 and (at := begin + first) + 3 <= end:
                raw, kind, index = data[start:after], data[at], data[at + 1]
                if raw not in modules:
                    modules[raw] = Reader(data, reader.pos, end).name()
                if kind == 0 and (index < 0x80 or data[at + 2] < 0x80):
                    reader.pos = at + 2 if index < 0x80 else at + 3
                    index = index if index < 0x80 else index & 0x7F | data[at + 2] << 7
                    entries.append(Import(modules[raw], _text(data, begin, at), func, False, False, index))
                    continue
                if kind == 3 and index == 0x7F and data[at + 2] < 2:
                    reader.pos = at + 3
                    entries.append(Import(modules[raw], _text(data, begin, at), global_, type="i*" if data[at + 2] else "i"))
                    continue
        entries.append(read_import(reader, found))
    return entries


def _text(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise WasmError(f"name at byte {start} is not UTF-8") from None


def read_import(reader: Reader, found: set[Feature] | None = None) -> Import:
    """Read the import at the reader's position, and add the features that its type needs. Raises `WasmError`."""
    module, field, kind = reader.name(), reader.name(), reader.u8()
    shared = is64 = False
    index, type_ = 0, ""
    minimum, maximum = 0, None
    if kind == Kind.FUNC:
        index = reader.uleb()
    elif kind == Kind.TABLE:
        type_ = element_type(reader, found)
        read_limits(reader, found, of_table=True)
    elif kind == Kind.MEMORY:
        shared, is64, minimum, maximum = read_limits(reader, found)
    elif kind == Kind.GLOBAL:
        type_ = value_type(reader, found) + ("*" if reader.u8() else "")
    elif kind == Kind.TAG:
        reader.u8()
        index = reader.uleb()
    else:
        raise WasmError(f"import {module}.{field} is of unknown kind {kind}")
    return Import(module, field, Kind(kind), shared, is64, index, type_, minimum, maximum)


def _exports(reader: Reader) -> list[Export]:
    """Read the export section; most entries here, longer ones and what is damaged one by one."""
    data, end = reader.data, reader.end
    kinds = tuple(Kind)
    entries = []
    for _ in range(reader.count(smallest=3, weight=NAMED)):
        begin = reader.pos + 1
        size = data[reader.pos]
        if size >= 0x80 and begin < end:
            size, begin = size & 0x7F | data[begin] << 7, begin + 1
        # Two bytes of a length whose second has the high bit give 2^14 or more.
        if size < 0x4000 and (at := begin + size) + 4 <= end and data[at] <= Kind.TAG:
            index, second, third = data[at + 1 : at + 4]
            if index < 0x80:
                reader.pos = at + 2
            elif second < 0x80:
                reader.pos, index = at + 3, index & 0x7F | second << 7
            elif third < 0x80:
                reader.pos, index = at + 4, index & 0x7F | (second & 0x7F) << 7 | third << 14
            else:
                entries.append(_export(reader))
                continue
            entries.append(Export(_text(data, begin, at), kinds[data[at]], index))
        else:
            entries.append(_export(reader))
    return entries


def _export(reader: Reader) -> Export:
    name, kind = reader.name(), reader.u8()
    if kind > Kind.TAG:
        raise WasmError(f"export {name} is of unknown kind {kind}")
    return Export(name, Kind(kind), reader.uleb())


def _types(reader: Reader, found: set[Feature]) -> Iterator[str]:
    """Yield the types. One of a proposal that is not known makes it and the rest unknown."""
    for left in range(reader.count(), 0, -1):
        try:
            yield from read_recursive_type(reader, found)
        except UnknownEncodingError:
            yield from [UNKNOWN] * left
            return


def _indices(reader: Reader) -> list[int]:
    return reader.ulebs(reader.count())


def _tag_indices(reader: Reader) -> Iterator[int]:
    for _ in range(reader.count(smallest=2)):
        reader.u8()
        yield reader.uleb()


def _global_types(reader: Reader) -> Iterator[str]:
    """Yield the types; initial values, which are constant expressions, are skipped."""
    for _ in range(reader.count(smallest=3)):
        yield value_type(reader) + ("*" if reader.u8() else "")
        skip_constant(reader)


def file_kind(data: bytes, spend: Spend = unmetered) -> FileKind:
    """Return the kind of a file by its contents. Only section headers are read, so it is fast for large modules.

    A side module has `dylink.0` as its first section (tool-conventions DynamicLinking.md). A relocatable object named
    `.so` (`emcc -shared` before Emscripten 6, a "fake dylib") has `linking` instead.
    """
    if not data:
        return FileKind.EMPTY
    if not data.startswith(MAGIC):
        return _foreign_kind(data)
    try:
        sections = tuple(_sections(data, spend))
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
