"""Libraries that need not travel, because Pyodide's main module has all that is taken from them.

The main module wins over every library anyway: what it exports is taken from there, whoever else defines it. So a library of
which it has every symbol that is asked for, with the same types, would only be loaded for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.symbols import Symbol, known, symbols
from conda2wheel.wasm.binary import Import, Kind
from conda2wheel.wasm.dylink import Dylink

BY_THE_LOADER = frozenset({"memory", "__indirect_function_table", "__memory_base", "__table_base", "__stack_pointer"})
TABLE = ("GOT.func", "GOT.mem")


@cache
def main_names(platform: Platform) -> frozenset[str] | None:
    """Every name that the main module of any Pyodide with that platform has; None where none has it."""
    versions = [version for version, _ in platform.pyodide if version in known()]
    return frozenset(name for version in versions for name in symbols(version)) if versions else None


@cache
def main_symbols(platform: Platform) -> Mapping[str, Symbol]:
    """What the main module of every Pyodide with that platform has, of one kind and type in all; nothing where none has it."""
    versions = [version for version, _ in platform.pyodide if version in known()]
    if not versions:
        return {}
    first, *others = (symbols(version) for version in versions)
    return {name: symbol for name, symbol in first.items() if all(other.get(name) == symbol for other in others)}


def wanted(binary: SideModule, *, weak: bool = False) -> tuple[tuple[Import, str], ...]:
    """The imports that somebody has to provide, with their types: none of the loader's, and those that may stay undefined
    only with `weak`."""
    if binary.module is None:
        return ()
    optional = set()
    if isinstance(binary.dylink, Dylink) and not weak:
        optional = {(info.module, info.field) for info in binary.dylink.imports if info.weak}
    return tuple(
        (entry, binary.module.signature(entry))
        for entry in binary.module.imports
        if (entry.module, entry.field) not in optional and not (entry.module == "env" and entry.field in BY_THE_LOADER)
    )


def offered(binary: SideModule) -> dict[str, str]:
    """A library's exports with their types."""
    module = binary.module
    return {} if module is None else {export.name: module.signature(export) for export in module.exports}


def has(main: Mapping[str, Symbol], entry: Import, signature: str, export: str | None = None) -> bool:
    """Whether the main module has what an import asks for; `export` is the type that a library has it with, which for a
    function pointer is the only one that is written anywhere."""
    symbol = main.get(entry.field)
    if symbol is None:
        return False
    if entry.module == "GOT.mem":
        return symbol.kind == "data"
    if entry.module == "GOT.func":
        return bool(symbol.signature) and (export in (None, symbol.signature))
    if entry.kind == Kind.FUNC:
        return symbol.kind == "js" or (symbol.kind == "func" and symbol.signature == signature)
    if entry.kind == Kind.TAG:
        return symbol.kind == "tag" and symbol.signature == signature
    return entry.kind == Kind.GLOBAL and symbol.kind in ("data", "global")


def taken(users: Iterable[SideModule], library: Mapping[str, str]) -> dict[str, list[tuple[Import, str]]]:
    """What `users` take from a library with these exports: the imports by symbol. What they could do without they take, too,
    where the library is there to give it; not what they define themselves."""
    found: dict[str, list[tuple[Import, str]]] = {}
    for user in users:
        own = offered(user)
        for entry, signature in wanted(user, weak=True):
            if entry.field in library and entry.field not in own and (entry.module == "env" or entry.module in TABLE):
                found.setdefault(entry.field, []).append((entry, signature))
    return found


def covers(main: Mapping[str, Symbol], taken_: Mapping[str, list[tuple[Import, str]]], library: Mapping[str, str]) -> bool:
    """Whether the main module has all of it. Of nothing it does not: a library that is loaded for its constructors alone, or
    for somebody who asks by name, has to be there."""
    return bool(taken_) and all(
        has(main, entry, signature, library[name]) for name, entries in taken_.items() for entry, signature in entries
    )


def complete(main: Mapping[str, Symbol], user: SideModule, libraries: Iterable[SideModule], javascript: bool) -> bool:
    """Whether `user` needs nothing but what the main module, these libraries and it itself have. `javascript`: the loader
    makes the functions of unwinding through JavaScript as they are asked for."""
    synthesised = ("invoke_", "__cxa_find_matching_catch_") if javascript else ()
    exports = offered(user)
    for library in libraries:
        exports = {**offered(library), **exports}
    return all(
        entry.field in exports or has(main, entry, signature) or entry.field.startswith(synthesised)
        for entry, signature in wanted(user)
    )
