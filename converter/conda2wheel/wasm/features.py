"""The WebAssembly proposals that a module needs, as far as its sections other than code say so.

A proposal is seen by its encodings: types, limits, constant expressions, forms of segments (core specification 3.0, 5.3 to
5.5, and the proposals that are not part of it). `wasm.code` has the instructions.
"""

from __future__ import annotations

from contextlib import suppress

from conda2wheel.wasm.binary import DATA, GLOBAL, TAG, Kind, Module, Section, plain_globals
from conda2wheel.wasm.encoding import Reader, damage
from conda2wheel.wasm.signature import (
    Feature,
    UnknownEncodingError,
    element_type,
    read_limits,
    skip_constant,
    value_type,
)

__all__ = ["Feature", "declared"]

TABLE, MEMORY, ELEMENTS, DATA_COUNT = 4, 5, 9, 12
WITH_INIT = 0x40  # a table with an initial value of its elements
PASSIVE, INDEXED, EXPRESSIONS = 1, 2, 4  # flags of an element segment; of a data segment the first two


def declared(module: Module) -> frozenset[Feature]:
    """The features that the sections other than code need.

    A section is read up to something of a proposal that is not known here.

    Raises:
        WasmError: a section is truncated.
    """
    with damage():
        reader = _Declarations(module)
        for section in module.sections:
            with suppress(UnknownEncodingError):
                reader.read(section)
        return frozenset(reader.finish())


class _Declarations:
    """Reads sections one after the other; what an expression may refer to depends on those before."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.found: set[Feature] = set()
        self.tables = self.memories = 0
        self.mutable = [kind.endswith("*") for kind in module.imported_globals]
        self.imported = len(self.mutable)
        if any(self.mutable):
            self.found.add(Feature.MUTABLE_GLOBALS)
        self.found |= module.import_features
        for entry in module.other_imports:
            if entry.kind is Kind.TABLE:
                self.tables += 1
            elif entry.kind is Kind.MEMORY:
                self.memories += 1
            elif entry.kind is Kind.TAG:
                self.found.add(Feature.LEGACY_EXCEPTIONS)
        self.found |= module.type_features

    def read(self, section: Section) -> None:
        """Add the features of one section. Raises `WasmError`."""
        entries = {
            TABLE: (2, self._table),
            MEMORY: (2, self._memory),
            TAG: (2, self._tag),
            ELEMENTS: (2, self._elements),
            DATA: (2, self._data),
        }
        if section.id == DATA_COUNT:
            self.found.add(Feature.BULK_MEMORY)
        elif section.id == GLOBAL:
            self._globals(self.module.reader(section))
        elif section.id in entries:
            smallest, read_entry = entries[section.id]
            reader = self.module.reader(section)
            for _ in range(reader.count(smallest)):
                read_entry(reader)

    def finish(self) -> set[Feature]:
        """Return what was found, with what follows from all sections together."""
        for key in self.module.export_table.keys if any(self.mutable) else ():
            if key & 7 == Kind.GLOBAL and key >> 3 < len(self.mutable) and self.mutable[key >> 3]:
                self.found.add(Feature.MUTABLE_GLOBALS)
        if self.tables > 1:
            self.found.add(Feature.REFERENCE_TYPES)
        if self.memories > 1:
            self.found.add(Feature.MULTI_MEMORY)
        return self.found

    def _table(self, reader: Reader) -> None:
        self.tables += 1
        has_init = reader.pos < reader.end and reader.data[reader.pos] == WITH_INIT
        if has_init:
            self.found.add(Feature.TYPED_REFERENCES)
            reader.take(2)
        element_type(reader, self.found)
        read_limits(reader, self.found, of_table=True)
        if has_init:
            self._constant(reader)

    def _memory(self, reader: Reader) -> None:
        self.memories += 1
        read_limits(reader, self.found)

    def _tag(self, reader: Reader) -> None:
        self.found.add(Feature.LEGACY_EXCEPTIONS)  # of both kinds of exceptions; the newer kind has instructions of its own
        reader.u8()
        reader.uleb()

    def _globals(self, reader: Reader) -> None:
        left = reader.count(3)
        while left:
            plain = plain_globals(reader, left)
            self.mutable += plain
            left -= len(plain)
            if left:
                value_type(reader, self.found)
                self.mutable.append(bool(reader.u8()))
                self._constant(reader)
                left -= 1

    def _elements(self, reader: Reader) -> None:
        flags = reader.uleb()
        if flags > (PASSIVE | INDEXED | EXPRESSIONS):
            raise UnknownEncodingError(f"element segment with flags {flags:#x} at byte {reader.pos - 1}")
        if flags & PASSIVE:
            self.found.add(Feature.REFERENCE_TYPES if flags & INDEXED else Feature.BULK_MEMORY)
        else:
            if flags & INDEXED and reader.uleb():
                self.found.add(Feature.REFERENCE_TYPES)
            self._constant(reader)
        if flags & (PASSIVE | INDEXED):
            _ = element_type(reader, self.found) if flags & EXPRESSIONS else reader.u8()
        count = reader.count()
        if not flags & EXPRESSIONS:
            reader.skip_numbers(count)
            return
        for _ in range(count):
            self._constant(reader)

    def _data(self, reader: Reader) -> None:
        flags = reader.uleb()
        if flags > INDEXED:
            raise UnknownEncodingError(f"data segment with flags {flags:#x} at byte {reader.pos - 1}")
        if flags == INDEXED:
            reader.uleb()  # the memory's index: there are several
        if flags == PASSIVE:
            self.found.add(Feature.BULK_MEMORY)
        else:
            self._constant(reader)
        reader.take(reader.uleb())

    def _constant(self, reader: Reader) -> None:
        skip_constant(reader, self.found, self.imported)
