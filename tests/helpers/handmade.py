"""Side modules written by hand, section by section: valid, and with nothing in them but what a test is about.

A type is written as in `conda2wheel.wasm.signature`: `ii>j` of a function, `i` or `i*` (mutable) of a global, `tag i>` of a tag.
Function bodies are `unreachable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from conda2wheel.wasm.binary import HEADER, encode_name, encode_uleb
from conda2wheel.wasm.dylink import EXPORT_INFO, IMPORT_INFO, MEM_INFO, NEEDED, RUNTIME_PATH, WEAK

VALUES = {"i": b"\x7f", "j": b"\x7e", "f": b"\x7d", "d": b"\x7c"}
GOT = "i*"
Flags = tuple[tuple[str, ...], int]  # the names of an entry of dylink.0, and its flags


def section(number: int, body: bytes) -> bytes:
    """A section."""
    return bytes([number]) + encode_uleb(len(body)) + body


def custom(name: str, body: bytes) -> bytes:
    """A custom section."""
    return section(0, encode_name(name) + body)


def vector(items: Iterable[bytes]) -> bytes:
    """A vector."""
    found = list(items)
    return encode_uleb(len(found)) + b"".join(found)


def subsections(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """A sequence of `type length payload`, as in dylink.0 and in the name section."""
    return b"".join(section(number, body) for number, body in parts)


def flagged(entries: Iterable[Flags]) -> bytes:
    """EXPORT_INFO or IMPORT_INFO."""
    return vector(b"".join(map(encode_name, names)) + encode_uleb(flags) for names, flags in entries)


def names(entries: Mapping[int, str]) -> bytes:
    """A name map."""
    return vector(encode_uleb(index) + encode_name(name) for index, name in entries.items())


def module(
    imports: Sequence[tuple[str, str, str]] = (),
    exports: Mapping[str, str] | None = None,
    *,
    needed: Sequence[str] = (),
    rpath: Sequence[str] = (),
    weak: Sequence[tuple[str, str]] = (),
    strings: Sequence[str] = (),
    export_flags: Sequence[Flags] = (),
    dylink: Sequence[tuple[int, bytes]] = (),
    tail: bytes = b"",
) -> bytes:
    """A side module. `imports` are (module, symbol, type); a memory and what positions need are there anyway. `weak` are those
    imports that may stay unresolved, `strings` what is in the data, zero-terminated; `dylink` more subsections, `tail` more
    sections at the end."""
    exports = exports or {}
    all_imports = [("env", "__memory_base", "i"), *imports]
    types = list(dict.fromkeys(_function(t) for t in [*(t for _, _, t in all_imports), *exports.values()] if ">" in t))
    kinds = {kind: [t for t in exports.values() if _kind(t) == kind] for kind in (0, 3, 4)}
    before = {kind: sum(_kind(t) == kind for _, _, t in all_imports) for kind in kinds}
    next_index = dict(before)
    exported = []
    for name, type_ in exports.items():
        kind = _kind(type_)
        exported.append(encode_name(name) + bytes([kind]) + encode_uleb(next_index[kind]))
        next_index[kind] += 1
    info = [(MEM_INFO, b"\x80\x02\x00\x00\x00"), (NEEDED, vector(map(encode_name, needed)))]
    info += [(EXPORT_INFO, flagged(export_flags))] if export_flags else []
    info += [(IMPORT_INFO, flagged((pair, WEAK | 0x10) for pair in weak))] if weak else []
    info += [(RUNTIME_PATH, vector(map(encode_name, rpath)))] if rpath else []
    data = b"".join(text.encode() + b"\0" for text in strings)
    parts = [
        custom("dylink.0", subsections([*info, *dylink])),
        section(1, vector(b"\x60" + _values(t.partition(">")[0]) + _values(t.partition(">")[2]) for t in types)),
        section(
            2, vector([encode_name("env") + encode_name("memory") + b"\x02\x00\x00", *(_import(i, types) for i in all_imports)])
        ),
        section(3, vector(encode_uleb(types.index(t)) for t in kinds[0])),
        section(13, vector(b"\0" + encode_uleb(types.index(_function(t))) for t in kinds[4])) if kinds[4] else b"",
        section(6, vector(_global(t) + b"\x41\x00\x0b" for t in kinds[3])),
        section(7, vector(exported)),
        section(10, vector(b"\x03\x00\x00\x0b" for _ in kinds[0])),
        section(11, vector([b"\x00\x41\x00\x0b" + encode_uleb(len(data)) + data])) if data else b"",
    ]
    return HEADER + b"".join(parts) + tail


def _kind(type_: str) -> int:
    return 4 if type_.startswith("tag ") else 0 if ">" in type_ else 3


def _function(type_: str) -> str:
    return type_.removeprefix("tag ")


def _values(letters: str) -> bytes:
    return vector(VALUES[letter] for letter in letters)


def _global(type_: str) -> bytes:
    return VALUES[type_[0]] + (b"\1" if type_.endswith("*") else b"\0")


def _import(entry: tuple[str, str, str], types: Sequence[str]) -> bytes:
    module_, field, type_ = entry
    kind = _kind(type_)
    index = encode_uleb(types.index(_function(type_))) if kind != 3 else b""
    description = {0: b"\0" + index, 3: b"\3" + _global(type_) if kind == 3 else b"", 4: b"\4\0" + index}[kind]
    return encode_name(module_) + encode_name(field) + description
