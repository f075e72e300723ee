"""Gives the symbols that vendored libraries define unique names, so that two wheels in one interpreter do not share them.

Functions are bound module by module, but the global offset table is one map by name for the whole interpreter: pointers to
functions and addresses of data are those of the first library that was loaded, and the main module wins over all. Two wheels
with two versions of one library corrupt each other, and a library whose symbols the main module has too is half replaced by it
(measured in Pyodide 0.26 to 315). The symbols that a library defines are renamed, in it and in all modules of the wheel that NEED
it; what it imports from the main module keeps its name.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Container, Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from conda2wheel.abi.side_module import SideModule
from conda2wheel.wasm.binary import DATA, Kind, Module

HASH_LENGTH = 8  # hexadecimal digits in the file names of vendored libraries and in their symbols
_STRING = re.compile(rb"[\x21-\x7e]++")
_BY_NAME = re.compile(rb"\bctypes\b|\bcffi\b|\bdlopen\b|\bcdll\b", re.IGNORECASE)


@cache
def _pattern(table: Literal["reserved", "common"]) -> re.Pattern[str]:
    rows = tomllib.loads(files(__package__).joinpath("isolation.toml").read_text(encoding="utf-8"))[table]
    return re.compile("|".join(f"(?:{row['pattern']})" for row in rows))


class IsolatedModule(NamedTuple):
    """A module whose symbols are renamed.

    `needs` are the keys that its NEEDED entries mean. `tag` is the hash in the name of a vendored library, None for a module of
    the wheel's own.
    """

    side: SideModule
    needs: tuple[str, ...]
    tag: str | None = None


def defined(side: SideModule) -> frozenset[str]:
    """The symbols that a library defines and that may be renamed."""
    exports = side.module.exports if side.module else ()
    kinds = (Kind.FUNC, Kind.GLOBAL, Kind.TAG)
    return frozenset(e.name for e in exports if e.kind in kinds and not _pattern("reserved").fullmatch(e.name))


def new_names(
    modules: Mapping[str, IsolatedModule],
    unchanged: Iterable[str],
    main: Container[str] | None = None,
    given: Mapping[str, str] | None = None,
    owned: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, dict[str, str]]:
    """New names by module and symbol.

    A symbol that several vendored libraries define (inline functions, typeinfo, virtual tables) stays one: it gets one name
    with a hash of all their hashes. A symbol that an unchanged library defines keeps its name, and so does one that the main
    module has as well and that C++ makes one for the whole program. A module that imports a symbol and does not NEED its library
    (its users do, and share one scope with it) imports it under the new name if no other module can define it.

    Args:
        modules: every module of the wheel and every vendored library, by key.
        unchanged: the keys of libraries whose symbols keep their names.
        main: the names of the main module's symbols; None if they are not known.
        given: names that symbols were given before, whichever library defines them.
        owned: by key of a library of a library wheel, the names of the symbols that it defines. Where two of them have one
            symbol under two names, each module takes that of the library that it reaches first through NEEDED.
    """
    definers: dict[str, list[str]] = {}
    for key, module in modules.items():
        if module.tag is not None:
            for symbol in defined(module.side):
                definers.setdefault(symbol, []).append(key)
    fixed = set(unchanged)
    names: dict[str, str] = {}
    for symbol, keys in definers.items():
        is_common = main is not None and symbol in main and _pattern("common").fullmatch(symbol)
        if not (fixed.intersection(keys) or is_common):
            names[symbol] = f"{symbol}.{mark_of(modules[key].tag or '' for key in keys)}"
    names |= {symbol: name for symbol, name in (given or {}).items() if symbol in definers}
    choices: dict[str, set[str]] = {}
    for owner, own_names in (owned or {}).items():
        for symbol, name in own_names.items() if owner in modules else ():  # an unwinding bridge is not among them
            choices.setdefault(symbol, set()).add(name)
    names |= {symbol: min(found) for symbol, found in choices.items()}
    ambiguous = {symbol for symbol, found in choices.items() if len(found) > 1}
    result: dict[str, dict[str, str]] = {}
    for key, module in modules.items():
        below = _closure(modules, key)
        nearest = _nearest(below, ambiguous, owned or {})
        present = _symbols(module.side.module) if module.side.module else set()
        own = set(module.side.module.export_names) if module.side.module else set()
        renamed = {
            symbol: nearest.get(symbol, names[symbol])
            for symbol in sorted(present & names.keys())
            if nearest.get(symbol, names[symbol]) != symbol
            and (not set(below).isdisjoint(definers[symbol]) or not (main is None or symbol in main or symbol in own))
            and not (key in fixed and symbol in own)
        }
        if renamed:
            result[key] = renamed
    return result


def _closure(modules: Mapping[str, IsolatedModule], key: str) -> list[str]:
    """A module and all that it NEEDs, directly or not, in the order in which a loader looks for symbols."""
    seen = [key]
    for user in seen:
        seen += [target for target in dict.fromkeys(modules[user].needs) if target not in seen and target in modules]
    return seen


def _nearest(below: Iterable[str], symbols: Container[str], owned: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The name of each of these symbols in the first library of a library wheel that defines it."""
    found: dict[str, str] = {}
    for key in below if symbols else ():
        for symbol, name in owned.get(key, {}).items():
            if symbol in symbols:
                found.setdefault(symbol, name)
    return found


def used_by_name(
    libraries: Mapping[str, tuple[SideModule, str]], users: Iterable[SideModule], texts: Iterable[tuple[str, bytes]]
) -> dict[str, str]:
    """Why the symbols of libraries must keep their names, by key: code looks them up by name at run time.

    Args:
        libraries: by key, the side module and the stem of its name.
        users: all modules of the wheel, libraries included.
        texts: the wheel's Python files (path, bytes).
    """
    found: dict[str, str] = {}
    symbols = {symbol.encode() for side, _ in libraries.values() for symbol in defined(side)}
    for user in users:
        module = user.module
        if module is None or "dlsym" not in module.import_names:
            continue
        strings = _strings(module, symbols)
        for key, (side, _) in libraries.items():
            if names := sorted(strings & defined(side)):
                found.setdefault(key, f"{user.file.path} calls dlsym and has the name of {names[0]} in its data")
    for path, text in texts:
        if _BY_NAME.search(text):
            for key, (_, stem) in libraries.items():
                if re.search(rb"\b" + re.escape(stem.encode()) + rb"\b", text):
                    found.setdefault(key, f"{path} opens libraries by name and names {stem}")
    return found


def mark_of(tags: Iterable[str]) -> str:
    """What the name of a symbol gets that the libraries with these hashes define: the hash of one, or a hash of several."""
    ordered = sorted(tags)
    return ordered[0] if len(ordered) == 1 else hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:HASH_LENGTH]


def _symbols(module: Module) -> set[str]:
    return {*module.import_names, *module.export_names}


def _strings(module: Module, symbols: Container[bytes]) -> set[str]:
    """The zero-terminated strings in the data that are among these symbols."""
    found: set[str] = set()
    for section in module.sections:
        for text in _STRING.finditer(module.data, section.payload, section.end) if section.id == DATA else ():
            if text.end() < section.end and module.data[text.end()] == 0 and text[0] in symbols:
                found.add(text[0].decode())
    return found
