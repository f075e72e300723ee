"""Rename symbols of a side module; every other byte stays as it is, since code refers to indices, not to names.

A symbol's name stands in the import section (module `env` for functions, tags and globals; `GOT.func` and `GOT.mem` for
addresses in the global offset table), in the export section, in dylink.0's EXPORT_INFO and IMPORT_INFO, and, where it is
not stripped, in the `name` section. Formats: core specification 5.5.5, 5.5.10 and 7.4.1; tool-conventions DynamicLinking.md; the
extended name section proposal. A section in which nothing changes is not encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from conda2wheel.wasm.binary import CUSTOM, EXPORT, IMPORT, Kind, Module, Section, WasmError, read_import
from conda2wheel.wasm.dylink import EXPORT_INFO, IMPORT_INFO, Subsection
from conda2wheel.wasm.encoding import Reader, damage, encode_name, encode_uleb

SYMBOL_MODULES = frozenset({"env", "GOT.func", "GOT.mem"})
_NAMED = frozenset({1, 7, 11})  # name maps of functions, globals and tags; the others name no symbols


def rename(module: Module, names: Mapping[str, str]) -> bytes:
    """Return the module's bytes with the symbols in `names` renamed; `module.data` itself if it has none of them.

    Raises `WasmError` for damaged sections, and `ValueError` if two exports would get the same name.
    """
    exported = [names.get(export.name, export.name) for export in module.exports]
    if len(set(exported)) < len(exported) and len({export.name for export in module.exports}) == len(exported):
        raise ValueError("two exports would have the same name")
    parts: list[bytes] = [module.data[:8]]
    changed = False
    with damage():
        for number, section in enumerate(module.sections):
            new = _section(module, section, names, number == 0)
            changed |= new is not None
            parts.append(module.data[section.start : section.end] if new is None else new)
    return b"".join(parts) if changed else module.data


def _section(module: Module, section: Section, names: Mapping[str, str], first: bool) -> bytes | None:
    """Rename the symbols in a section; None if nothing changes."""
    body: bytes | None = None
    if section.id == IMPORT:
        body = _entries(module, section, names, _import)
    elif section.id == EXPORT:
        body = _entries(module, section, names, _export)
    elif section.id == CUSTOM and section.name == "dylink.0" and first:
        body = _subsections(module, section, names, {EXPORT_INFO: _export_info, IMPORT_INFO: _import_info})
    elif section.id == CUSTOM and section.name == "name":
        try:
            body = _subsections(module, section, names, dict.fromkeys(_NAMED, _name_map))
        except WasmError:  # loaders ignore it, and a damaged one does not make a module invalid
            return None
    if body is None:
        return None
    content = encode_name(section.name) + body if section.id == CUSTOM else body
    return bytes([section.id]) + encode_uleb(len(content)) + content


EntryRenamer = Callable[[Reader, Mapping[str, str]], tuple[bytes, bool]]  # returns an entry's bytes, and whether they changed


def _entries(module: Module, section: Section, names: Mapping[str, str], rename_entry: EntryRenamer) -> bytes | None:
    return _vector(module.reader(section), names, rename_entry)


def _vector(reader: Reader, names: Mapping[str, str], rename_entry: EntryRenamer) -> bytes | None:
    """Rename the entries of a vector; None if none changes. Bytes after the vector stay."""
    start = reader.pos
    count = reader.count()
    head = reader.data[start : reader.pos]
    found = [rename_entry(reader, names) for _ in range(count)]
    if not any(changed for _, changed in found):
        return None
    return head + b"".join(raw for raw, _ in found) + reader.data[reader.pos : reader.end]


def _import(reader: Reader, names: Mapping[str, str]) -> tuple[bytes, bool]:
    start = reader.pos
    reader.name()
    before = reader.pos
    reader.name()
    after = reader.pos
    reader.pos = start
    entry = read_import(reader)
    new = names.get(entry.field)
    if new is None or entry.module not in SYMBOL_MODULES or entry.kind not in (Kind.FUNC, Kind.GLOBAL, Kind.TAG):
        return reader.data[start : reader.pos], False
    return reader.data[start:before] + encode_name(new) + reader.data[after : reader.pos], True


def _export(reader: Reader, names: Mapping[str, str]) -> tuple[bytes, bool]:
    return _named(reader, names, lambda rest: (rest.u8(), rest.uleb()))


def _export_info(reader: Reader, names: Mapping[str, str]) -> tuple[bytes, bool]:
    return _named(reader, names, lambda rest: rest.uleb())


def _named(reader: Reader, names: Mapping[str, str], skip: Callable[[Reader], object]) -> tuple[bytes, bool]:
    """Rename an entry that begins with its name."""
    start = reader.pos
    name = reader.name()
    after = reader.pos
    skip(reader)
    new = names.get(name)
    if new is None:
        return reader.data[start : reader.pos], False
    return encode_name(new) + reader.data[after : reader.pos], True


def _import_info(reader: Reader, names: Mapping[str, str]) -> tuple[bytes, bool]:
    start = reader.pos
    module = reader.name()
    before = reader.pos
    field = reader.name()
    after = reader.pos
    reader.uleb()
    new = names.get(field)
    if new is None or module not in SYMBOL_MODULES:
        return reader.data[start : reader.pos], False
    return reader.data[start:before] + encode_name(new) + reader.data[after : reader.pos], True


def _name_map(reader: Reader, names: Mapping[str, str]) -> tuple[bytes, bool]:
    start = reader.pos
    reader.uleb()
    before = reader.pos
    new = names.get(reader.name())
    if new is None:
        return reader.data[start : reader.pos], False
    return reader.data[start:before] + encode_name(new), True


def _subsections(module: Module, section: Section, names: Mapping[str, str], entries: Mapping[int, EntryRenamer]) -> bytes | None:
    """Rename the entries in subsections (`type length payload`) of these types; None if nothing changes."""
    parts: list[bytes] = []
    changed = False
    for type_, raw, payload in _split(module, section):
        new = _vector(Reader(payload, spend=module.spend), names, entries[type_]) if type_ in entries else None
        changed |= new is not None
        parts.append(raw if new is None else Subsection.encode(type_, new).raw)
    return b"".join(parts) if changed else None


def _split(module: Module, section: Section) -> Iterator[tuple[int, bytes, bytes]]:
    reader = module.reader(section)
    while reader.pos < reader.end:
        reader.spend(1)
        start = reader.pos
        type_ = reader.u8()
        payload = reader.take(reader.uleb())
        yield type_, module.data[start : reader.pos], payload
