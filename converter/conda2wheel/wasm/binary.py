"""Read WebAssembly modules: sections, imports, exports. Nothing is executed and nothing is validated beyond what is read.

Formats: the WebAssembly core specification, 5.4 (values) and 5.5 (modules); tool-conventions DynamicLinking.md for
what makes a module a side module. A module is given as `bytes`; offsets count from its first byte.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import NamedTuple

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
    "ExportTable",
    "FileKind",
    "Import",
    "ImportTable",
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
NAMED = 10  # the weight of an entry with a name, which is looked up in several modules, beside that of a number


_PLAIN_GLOBAL = rb"\x7f([\x00\x01])\x41[\x80-\xff]{0,4}[\x00-\x7f]\x0b"  # an i32 with a constant; the group: mutable
_PLAIN_GLOBALS = re.compile(_PLAIN_GLOBAL, re.DOTALL), re.compile(rb"(?:" + _PLAIN_GLOBAL + rb"){0,8192}+", re.DOTALL)


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


class Section(NamedTuple):
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


class ImportTable(NamedTuple):
    """The imports of a module as columns, which are faster to make and to look through than an object for each.

    Attributes:
        modules: the module of each.
        fields: the name of each.
        kinds: the type index of a function, the type of a global (`i` or `i*`), or all of another import.
        features: the features that their types need.
    """

    modules: list[str]
    fields: list[str]
    kinds: list[int | str | Import]
    features: frozenset[Feature]

    def entry(self, position: int) -> Import:
        """One import."""
        kind = self.kinds[position]
        if isinstance(kind, Import):
            return kind
        module, field = self.modules[position], self.fields[position]
        if isinstance(kind, str):
            return Import(module, field, Kind.GLOBAL, type=kind)
        return Import(module, field, Kind.FUNC, index=kind)


class ExportTable(NamedTuple):
    """The exports of a module as columns: the name of each; its index, times 8, and its kind."""

    names: list[str]
    keys: list[int]


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
        table = self.import_table
        return tuple(map(table.entry, range(len(table.fields))))

    @property
    def import_features(self) -> frozenset[Feature]:
        """The features that the types of the imports need. Raises `WasmError`."""
        return self.import_table.features

    @cached_property
    def import_table(self) -> ImportTable:
        """Every import, in order, as columns. Raises `WasmError`."""
        found: set[Feature] = set()
        table = ImportTable([], [], [], frozenset())
        with damage():
            for section in self.sections:
                if section.id == IMPORT:
                    _read_imports(self.reader(section), table, found)
        return table._replace(features=frozenset(found))

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """Every export, in order. Raises `WasmError`."""
        kinds = tuple(Kind)
        table = self.export_table
        return tuple(Export(name, kinds[key & 7], key >> 3) for name, key in zip(table.names, table.keys, strict=True))

    @cached_property
    def export_table(self) -> ExportTable:
        """Every export, in order, as columns. Raises `WasmError`."""
        table = ExportTable([], [])
        with damage():
            for section in self.sections:
                if section.id == EXPORT:
                    _read_exports(self.reader(section), table)
        return table

    @property
    def import_names(self) -> list[str]:
        """The name of each import. Raises `WasmError`."""
        return self.import_table.fields

    @property
    def export_names(self) -> list[str]:
        """The name of each export. Raises `WasmError`."""
        return self.export_table.names

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
    def _functions(self) -> list[int]:
        """The type index of every function, imported ones first."""
        functions = [kind for kind in self.import_table.kinds if isinstance(kind, int)]
        with damage():
            for section in self.sections:
                if section.id == FUNCTION:
                    functions += _indices(self.reader(section))
        return functions

    @cached_property
    def _tags(self) -> tuple[int, ...]:
        """The type index of every tag, imported ones first."""
        imported = tuple(entry.index for entry in self.other_imports if entry.kind == Kind.TAG)
        with damage():
            return imported + tuple(entry for s in self.sections if s.id == TAG for entry in _tag_indices(self.reader(s)))

    @cached_property
    def imported_globals(self) -> tuple[str, ...]:
        """The type of every global that is imported. Raises `WasmError`."""
        kinds = self.import_table.kinds
        return tuple(
            kind if isinstance(kind, str) else kind.type
            for kind in kinds
            if isinstance(kind, str) or (isinstance(kind, Import) and kind.kind is Kind.GLOBAL)
        )

    @cached_property
    def _globals(self) -> tuple[str, ...]:
        """The type of every global, imported ones first."""
        with damage():
            own = (entry for s in self.sections if s.id == GLOBAL for entry in _global_types(self.reader(s)))
            return (*self.imported_globals, *own)

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

    @cached_property
    def other_imports(self) -> tuple[Import, ...]:
        """The imports that are neither functions nor globals of the usual types. Raises `WasmError`."""
        return tuple(kind for kind in self.import_table.kinds if isinstance(kind, Import))

    def import_signatures(self) -> list[str]:
        """The type of each import, as `signature` returns it. Raises `WasmError`."""
        types = self.types
        kinds = self.import_table.kinds
        try:
            return [types[e] if isinstance(e, int) else e if isinstance(e, str) else self.signature(e) for e in kinds]
        except IndexError:
            return [self.signature(entry) for entry in self.imports]

    def export_signatures(self) -> list[str]:
        """The type of each export, as `signature` returns it. Raises `WasmError`."""
        types, functions = self.types, self._functions
        table = self.export_table
        globals_ = self._globals if any(key & 7 == Kind.GLOBAL for key in table.keys) else ()
        try:
            return [
                types[functions[key >> 3]]
                if not (kind := key & 7)
                else globals_[key >> 3]
                if kind == 3
                else self.signature(Export(name, Kind(kind), key >> 3))
                for name, key in zip(table.names, table.keys, strict=True)
            ]
        except IndexError:
            return [self.signature(entry) for entry in self.exports]

    def exports_named(self, prefix: str) -> tuple[str, ...]:
        """The names of the exports that start with `prefix`, such as `PyInit_`."""
        return tuple(name for name in self.export_names if name.startswith(prefix))


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


def _read_imports(reader: Reader, table: ImportTable, found: set[Feature]) -> None:
    """Read an import section into a table. The most frequent forms are read here, all others by `read_import`.

    The names are cut from one text, a character a byte. If one of them is not ASCII, they are read again one by one.
    """
    count = reader.count(smallest=4, weight=NAMED)
    base = reader.pos
    raw = reader.data[base : reader.end]
    text = raw.decode("latin-1")
    size, pos = len(raw), 0
    prefixes: dict[bytes, str] = {}  # the length and the name of a module
    modules: list[str] = []
    fields: list[str] = []
    kinds: list[int | str | Import] = []
    for _ in range(count):
        after = pos + 1 + raw[pos] if pos < size else size
        if after + 1 < size:
            module = prefixes.get(raw[pos:after])
            if module is None and after - pos <= 0x80:
                module = prefixes[raw[pos:after]] = Reader(reader.data, base + pos, reader.end).name()
            first, begin = raw[after], after + 1
            if first >= 0x80:
                first, begin = first & 0x7F | raw[begin] << 7, begin + 1
            # Two bytes of a length whose second has the high bit give 2^14 or more.
            if module is not None and first < 0x4000 and (at := begin + first) + 3 <= size:
                kind, index = raw[at], raw[at + 1]
                if kind == 0 and (index < 0x80 or raw[at + 2] < 0x80):
                    modules.append(module)
                    fields.append(text[begin:at])
                    if index < 0x80:
                        pos = at + 2
                        kinds.append(index)
                    else:
                        pos = at + 3
                        kinds.append(index & 0x7F | raw[at + 2] << 7)
                    continue
                if kind == 3 and index == 0x7F and raw[at + 2] < 2:
                    pos = at + 3
                    modules.append(module)
                    fields.append(text[begin:at])
                    kinds.append("i*" if raw[at + 2] else "i")
                    continue
        reader.pos = base + pos
        entry = read_import(reader, found)
        pos = reader.pos - base
        modules.append(entry.module)
        fields.append(entry.field)
        kinds.append(_kind_of(entry))
    if not "".join(fields).isascii():
        reader.pos = base
        entries = [read_import(reader, found) for _ in range(count)]
        fields = [entry.field for entry in entries]
        kinds = list(map(_kind_of, entries))
    table.modules.extend(modules)
    table.fields.extend(fields)
    table.kinds.extend(kinds)


def _kind_of(entry: Import) -> int | str | Import:
    """What a table of imports has of an import."""
    if entry.kind is Kind.FUNC:
        return entry.index
    return entry.type if entry.kind is Kind.GLOBAL and entry.type in ("i", "i*") else entry


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


def _read_exports(reader: Reader, table: ExportTable) -> None:
    """Read an export section into a table; most entries here, longer ones one by one, as of imports."""
    count = reader.count(smallest=3, weight=NAMED)
    base = reader.pos
    raw = reader.data[base : reader.end]
    text = raw.decode("latin-1")
    end, pos = len(raw), 0
    names: list[str] = []
    keys: list[int] = []
    for _ in range(count):
        begin = pos + 1
        size = raw[pos] if begin < end else 0x4000
        if size >= 0x80 and begin < end:
            size, begin = size & 0x7F | raw[begin] << 7, begin + 1
        # Two bytes of a length whose second has the high bit give 2^14 or more.
        if size < 0x4000 and (at := begin + size) + 4 <= end and (kind := raw[at]) <= 4:
            index = raw[at + 1]
            if index < 0x80:
                pos = at + 2
            elif (second := raw[at + 2]) < 0x80:
                pos, index = at + 3, index & 0x7F | second << 7
            elif (third := raw[at + 3]) < 0x80:
                pos, index = at + 4, index & 0x7F | (second & 0x7F) << 7 | third << 14
            else:
                at = -1
            if at >= 0:
                names.append(text[begin:at])
                keys.append(index << 3 | kind)
                continue
        reader.pos = base + pos
        entry = _export(reader)
        pos = reader.pos - base
        names.append(entry.name)
        keys.append(entry.index << 3 | entry.kind)
    if not "".join(names).isascii():
        reader.pos = base
        names = [_export(reader).name for _ in range(count)]
    table.names.extend(names)
    table.keys.extend(keys)


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


def plain_globals(reader: Reader, most: int) -> list[bool]:
    """Whether each of the next globals is mutable: those that are i32 with a constant as value, `most` of them or fewer."""
    one, run = _PLAIN_GLOBALS
    found = run.match(reader.data, reader.pos, reader.end)
    end = found.end() if found else reader.pos
    mutable = one.findall(reader.data, reader.pos, end)
    if len(mutable) > most:  # as bytes behind the section's last entry may look
        end = [each.end() for each in itertools.islice(one.finditer(reader.data, reader.pos), most)][-1]
        mutable = mutable[:most]
    reader.spend(2 * len(mutable))
    reader.pos = end
    return [flag == b"\1" for flag in mutable]


def _global_types(reader: Reader) -> Iterator[str]:
    """Yield the types; initial values, which are constant expressions, are skipped."""
    left = reader.count(smallest=3)
    while left:
        plain = plain_globals(reader, left)
        yield from ("i*" if mutable else "i" for mutable in plain)
        left -= len(plain)
        if left:
            yield value_type(reader) + ("*" if reader.u8() else "")
            skip_constant(reader)
            left -= 1


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
