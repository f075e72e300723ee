"""Targets: WebAssembly modules, their dylink.0 section, their instructions."""

from __future__ import annotations

import random
from collections.abc import Iterator

from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.wasm import code, dylink
from conda2wheel.wasm.binary import HEADER, Module, WasmError, file_kind
from conda2wheel.wasm.dylink import Dylink
from conda2wheel.wasm.encoding import Reader, encode_uleb
from conda2wheel.wasm.features import declared
from conda2wheel.wasm.rename import rename
from tests.fuzz import seeds
from tests.fuzz.model import Target, require
from tests.fuzz.mutate import Change, either, module, plain, sections, tokens
from tests.helpers import engine_modules, handmade


def _module_seeds() -> Iterator[bytes]:
    yield from (seeds.extension(), seeds.library(), seeds.legacy())
    for path in seeds.given(seeds.PACKAGES):
        found = [each.content for each in seeds.small(path) if each.content.startswith(b"\0asm")]
        yield from found[:3]


def _run_module(data: bytes) -> None:
    file_kind(data)
    side = SideModule(PackageFile("x.so", BytesBlob(data)))
    _ = (
        side.kind,
        side.problem,
        side.is_intact,
        side.is_extension,
        side.is_bridge,
        side.signals,
        side.imports,
        side.exports,
        side.weak,
    )
    _ = (side.got_imports, side.loaded_needed, side.loaded_runtime_path, side.is_miscounted, side.memories, side.data_size)
    _ = (side.features, side.engine_features)
    require(side.module is None or side.dylink is not None, "a module without dylink.0")
    parsed = Module.parse(data)
    declared(parsed)
    section = dylink.read(parsed)
    require(dylink.write(parsed, section) is data, "the same section is written anew")
    _renamed(parsed)
    if isinstance(section, Dylink):
        changed = dylink.write(parsed, section.with_needed(("libq.so",)).with_runtime_path(("$ORIGIN/x",)))
        again = dylink.read(Module.parse(changed))
        require((again.needed, again.runtime_path) == (("libq.so",), ("$ORIGIN/x",)), "what is written is not what is read")
        back = dylink.write(Module.parse(changed), section)
        require(sections(back)[1:] == sections(data)[1:], "a change of dylink.0 changes other sections")


def _renamed(parsed: Module) -> None:
    require(rename(parsed, {}) is parsed.data, "no renaming changes bytes")
    names = {each.name: f"{each.name}_1234abcd" for each in parsed.exports}
    try:
        new = Module.parse(rename(parsed, names))
    except ValueError as error:
        if isinstance(error, WasmError):
            raise
        return
    require([each.name for each in new.exports] == [names[each.name] for each in parsed.exports], "exports are not renamed")
    require(len(new.imports) == len(parsed.imports), "renaming changes the number of imports")


def _section(body: bytes) -> bytes:
    return HEADER + handmade.custom("dylink.0", body)


def _run_dylink(data: bytes) -> None:
    found = Dylink.decode(data)
    require(found.encode() == data, "decoding and encoding changes bytes")
    _ = (found.mem_info, found.needed, found.exports, found.imports, found.runtime_path, found.as_loaded)
    require(found.with_needed(found.needed).encode() == data, "the same NEEDED changes bytes")
    require(found.with_runtime_path(found.runtime_path).encode() == data, "the same RUNTIME_PATH changes bytes")
    for names in ((), ("a.so",), ("a.so", "é.so", *found.needed)):
        new = Dylink.decode(found.with_needed(names).encode())
        require(new.needed == names, "NEEDED is not what was written")
        require((new.mem_info, new.exports, new.imports, new.runtime_path) == _others(found), "NEEDED changes another subsection")
        require(new.with_needed(names) == new, "NEEDED is written twice")
    whole = Module.parse(_section(data))
    require(dylink.write(whole, dylink.read(whole)) is whole.data, "the same section is written anew")


def _others(found: Dylink) -> object:
    return found.mem_info, found.exports, found.imports, found.runtime_path


def _dylink_seeds() -> Iterator[bytes]:
    for data in _module_seeds():
        number, body = sections(data)[0] if sections(data) else (1, b"")
        if number == 0 and body.startswith(b"\x08dylink.0"):
            yield body[9:]


def _subsections(data: bytes, dice: random.Random, change: Change) -> bytes:
    """A subsection changed, and its length with it."""
    reader = Reader(data)
    parts = []
    try:
        while reader.pos < reader.end:
            parts.append((reader.u8(), reader.take(reader.uleb())))
    except WasmError:
        return change(data)
    if not parts:
        return change(data)
    at = dice.randrange(len(parts))
    number, body = parts[at]
    parts[at] = (dice.choice((number, number, number, dice.randrange(8))), change(body or b"\0"))
    if dice.random() < 0.2:
        parts.insert(dice.randrange(len(parts)), parts[at])
    return b"".join(bytes([number]) + encode_uleb(len(body)) + body for number, body in parts)


def _run_code(data: bytes) -> None:
    """The input is the body of a function, without its length."""
    parsed = Module.parse(HEADER + handmade.section(10, handmade.vector([encode_uleb(len(data)) + data])))
    whole = code.scan(parsed)
    some = code.scan(parsed, code.NEWER)
    require(some.features <= whole.features, f"the quick scan finds more: {some.features - whole.features}")


def _code_seeds() -> Iterator[bytes]:
    yield b"\0\x0b"
    yield b"\x01\x02\x7f\x20\x00\x41\x7f\x0e\x02\x00\x01\x02\x10\x80\x80\x00\x1c\x01\x7f\x0b"
    yield b"\0\x1f\x40\x02\x00\x01\x02\x02\x03\x0b\xfd\x0c" + bytes(16) + b"\xfb\x02\x01\x02\xfe\x10\x02\x00\x0b"
    for data in engine_modules.MODULES.values() if hasattr(engine_modules, "MODULES") else ():
        for number, body in sections(data):
            if number == 10:
                yield body[2:]


TARGETS = [
    Target(
        "module",
        "a WebAssembly module: sections, types, imports, exports, dylink.0; renaming",
        _run_module,
        _module_seeds,
        module,
        (WasmError,),
        size=128 << 10,
        minute=2_000,
    ),
    Target(
        "dylink",
        "the subsections of dylink.0: read and written",
        _run_dylink,
        _dylink_seeds,
        either(_subsections, plain, tokens),
        (WasmError,),
        size=8 << 10,
        minute=10_000,
    ),
    Target(
        "code",
        "the instructions of a function",
        _run_code,
        _code_seeds,
        either(plain, plain, tokens),
        (WasmError,),
        size=16 << 10,
        minute=20_000,
    ),
]
