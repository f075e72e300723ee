"""Read and write the dylink.0 section: NEEDED and RUNTIME_PATH can change, every other byte stays as it is.

Format: tool-conventions DynamicLinking.md. The section is a sequence of `type:u8 length:uleb payload`:
1 MEM_INFO, 2 NEEDED, 3 EXPORT_INFO, 4 IMPORT_INFO, 5 RUNTIME_PATH. Loaders skip unknown types, so
they are kept. Emscripten's JavaScript reader does not resynchronise at the end of a subsection: after one wrong
count it misreads all that follows. So a subsection without changes is not encoded again.

Before Emscripten 2.0.31 the section was called `dylink` and was `memsize memalign tablesize tablealign NEEDED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from conda2wheel.wasm.binary import CUSTOM, LISTED, NAMED, Module, Reader, Spend, WasmError, encode_name, encode_uleb
from conda2wheel.wasm.encoding import damage, unmetered

MEM_INFO, NEEDED, EXPORT_INFO, IMPORT_INFO, RUNTIME_PATH = 1, 2, 3, 4, 5
_PLAIN = 16  # subsections that are looked at
WEAK = 0x01  # Linking.md symbol flags
SOUGHT = 500  # the weight of a NEEDED entry, for which a library is looked up, beside that of a number


class MemInfo(NamedTuple):
    """What the loader allocates: bytes of data and slots of table; alignments are powers of two, as exponents."""

    memory_size: int
    memory_align: int
    table_size: int
    table_align: int


class ImportInfo(NamedTuple):
    """The flags of one import; a WEAK import may stay unresolved and is then 0."""

    module: str
    field: str
    flags: int

    @property
    def weak(self) -> bool:
        """May stay unresolved."""
        return bool(self.flags & WEAK)


class Subsection(NamedTuple):
    """One subsection: its original bytes (`raw`: type, length and payload) and its payload."""

    type: int
    raw: bytes
    payload: bytes

    @classmethod
    def encode(cls, type_: int, payload: bytes) -> Subsection:
        """A new subsection with the shortest length."""
        return cls(type_, bytes([type_]) + encode_uleb(len(payload)) + payload, payload)


@dataclass(frozen=True)
class Dylink:
    """A dylink.0 section as the list of its subsections. `spend` is called before their entries are read."""

    subsections: tuple[Subsection, ...]
    spend: Spend = field(default=unmetered, compare=False, repr=False)

    @classmethod
    def decode(cls, payload: bytes, spend: Spend = unmetered) -> Dylink:
        """From the section's bytes after its name. Every known subsection is read once. Raises `WasmError`."""
        reader = Reader(payload, spend=spend)
        found = []
        while reader.pos < reader.end:
            spend(LISTED)
            start = reader.pos
            type_ = reader.u8()
            body = reader.take(reader.uleb())
            found.append(Subsection(type_, payload[start : reader.pos], body))
        result = cls(tuple(found), spend)
        _ = (result.mem_info, result.needed, result.exports, result.imports, result.runtime_path)
        return result

    def encode(self) -> bytes:
        """The section's bytes after its name."""
        return b"".join(part.raw for part in self.subsections)

    def _of(self, type_: int) -> list[Reader]:
        return [Reader(part.payload, spend=self.spend) for part in self.subsections if part.type == type_]

    @property
    def mem_info(self) -> MemInfo | None:
        """The memory and table that the loader must allocate."""
        for reader in self._of(MEM_INFO):
            return MemInfo(reader.uleb(), reader.uleb(), reader.uleb(), reader.uleb())
        return None

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The libraries to load first, in order, by the file names that they had when this was linked."""
        return self._names(NEEDED)

    @cached_property
    def runtime_path(self) -> tuple[str, ...]:
        """Folders to look for NEEDED libraries, in order (`-rpath`)."""
        return self._names(RUNTIME_PATH)

    @cached_property
    def exports(self) -> tuple[tuple[str, int], ...]:
        """(name, flags) of the exports that have any."""
        return tuple((r.name(), r.uleb()) for r in self._of(EXPORT_INFO) for _ in range(r.count(2, NAMED)))

    @cached_property
    def imports(self) -> tuple[ImportInfo, ...]:
        """The flags of the imports that have any; the count is of entries, not of modules."""
        return tuple(ImportInfo(r.name(), r.name(), r.uleb()) for r in self._of(IMPORT_INFO) for _ in range(r.count(3, NAMED)))

    @cached_property
    def as_loaded(self) -> Dylink:
        """The section as Emscripten's loader reads it: nothing after a subsection with more entries than its count."""
        for number, part in enumerate(self.subsections, 1):
            if _has_more(part):
                return replace(self, subsections=self.subsections[:number])
        return self

    def _names(self, type_: int) -> tuple[str, ...]:
        names = []
        for reader in self._of(type_):
            names += [reader.name() for _ in range(reader.count(weight=SOUGHT))]
            if reader.pos != reader.end:
                raise WasmError(f"dylink.0 subsection {type_}: {reader.end - reader.pos} bytes too many")
        return tuple(names)

    def with_needed(self, names: Sequence[str]) -> Dylink:
        """The same with other NEEDED entries; no entries, no subsection."""
        return self if tuple(names) == self.needed else self._replace(NEEDED, names)

    def with_runtime_path(self, paths: Sequence[str]) -> Dylink:
        """The same with another RUNTIME_PATH, one entry per path; no entries, no subsection."""
        return self if tuple(paths) == self.runtime_path else self._replace(RUNTIME_PATH, paths)

    def _replace(self, type_: int, names: Sequence[str]) -> Dylink:
        """Replace the first subsection of that type, or insert one where wasm-ld would write it (sorted by type)."""
        new = Subsection.encode(type_, encode_uleb(len(names)) + b"".join(map(encode_name, names))) if names else None
        out: list[Subsection] = []
        had = any(part.type == type_ for part in self.subsections)
        for part in self.subsections:
            if part.type == type_ or (not had and part.type > type_):
                if new is not None:
                    out.append(new)
                    new = None
                if part.type == type_:
                    continue
                had = True
            out.append(part)
        if new is not None:
            out.append(new)
        return replace(self, subsections=tuple(out))


def _has_more(part: Subsection) -> bool:
    """Whether it has more entries than its count; auditwheel-emscripten 0.3.0 writes the count of modules to IMPORT_INFO."""
    names = {EXPORT_INFO: 1, IMPORT_INFO: 2}.get(part.type)
    if names is None:
        return False
    reader = Reader(part.payload)
    for _ in range(reader.count()):
        for _ in range(names):
            reader.name()
        reader.uleb()
    return reader.pos != reader.end


class LegacyDylink(NamedTuple):
    """The `dylink` section of Emscripten before 2.0.31: no RUNTIME_PATH, no flags."""

    head: bytes
    needed: tuple[str, ...]
    tail: bytes
    mem_info: MemInfo

    @classmethod
    def decode(cls, payload: bytes, spend: Spend = unmetered) -> LegacyDylink:
        """From the section's bytes after its name. Raises `WasmError`."""
        reader = Reader(payload, spend=spend)
        info = MemInfo(reader.uleb(), reader.uleb(), reader.uleb(), reader.uleb())
        head = payload[: reader.pos]
        needed = tuple(reader.name() for _ in range(reader.count(weight=SOUGHT)))
        return cls(head, needed, payload[reader.pos :], info)

    @property
    def runtime_path(self) -> tuple[str, ...]:
        """Empty; the format has none."""
        return ()

    def with_needed(self, names: Sequence[str]) -> LegacyDylink:
        """The same with other NEEDED entries."""
        return self._replace(needed=tuple(names))

    def with_runtime_path(self, paths: Sequence[str]) -> LegacyDylink:
        """Return itself for no paths. Raises `WasmError` for any, which the format cannot hold."""
        if paths:
            raise WasmError("a legacy dylink section cannot hold a RUNTIME_PATH")
        return self

    def encode(self) -> bytes:
        """The section's bytes after its name."""
        return self.head + encode_uleb(len(self.needed)) + b"".join(map(encode_name, self.needed)) + self.tail


def read(module: Module) -> Dylink | LegacyDylink:
    """Read the dylink section of a side module. Raises `WasmError` if it is missing or damaged."""
    if not module.sections or module.sections[0].id != CUSTOM:
        raise WasmError("no dylink.0 section: not a side module")
    first = module.sections[0]
    payload = module.data[first.payload : first.end]
    with damage():
        if first.name == "dylink.0":
            return Dylink.decode(payload, module.spend)
        if first.name == "dylink":
            return LegacyDylink.decode(payload, module.spend)
    raise WasmError("no dylink.0 section: not a side module")


def has_needed(data: bytes) -> bool:
    """Whether a file is a side module with NEEDED entries, by the first bytes of its first section, dylink.0.

    True also where that is not plain at once: for a damaged module, a `dylink` section, or many subsections.
    """
    if not data.startswith(b"\0asm"):
        return False
    reader = Reader(data, 8)
    try:
        if reader.u8() != CUSTOM:
            return False  # no side module
        reader.end = min(reader.end, reader.uleb() + reader.pos)
        if reader.name() != "dylink.0":
            return True
        for _ in range(_PLAIN):
            if reader.pos == reader.end:
                return False
            type_, size = reader.u8(), reader.uleb()
            if type_ == NEEDED:
                return reader.uleb() > 0
            reader.pos += size
    except WasmError:
        return True
    return True


def write(module: Module, dylink: Dylink | LegacyDylink) -> bytes:
    """Return the module with this dylink section in place of its own; the same object if nothing changed."""
    first = module.sections[0]
    payload = dylink.encode()
    if payload == module.data[first.payload : first.end]:
        return module.data
    body = encode_name(first.name) + payload
    return module.data[: first.start] + bytes([CUSTOM]) + encode_uleb(len(body)) + body + module.data[first.end :]
