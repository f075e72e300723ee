"""Symbols of vendored libraries get the library's hash in their names, so that two wheels in one interpreter cannot mix them up.

Functions bind module by module, but the global offset table is one map by name for the whole interpreter: pointers to
functions and addresses of data are those of the first library that was loaded, and the main module wins over all. Two wheels
with two versions of one library corrupt each other, and a library with a namesake in the main module is half replaced by it
(measured in Pyodide 0.26 to 315). Renamed is what a library defines, in it and in all that NEED it inside of the wheel; what
it takes from the main module keeps its name.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from conda2wheel.abi.side_module import SideModule
from conda2wheel.wasm.binary import DATA, Kind, Module

HASH_LENGTH = 8
_STRING = re.compile(rb"[\x21-\x7e]+(?=\0)")
_BY_NAME = re.compile(rb"\bctypes\b|\bcffi\b|\bdlopen\b|\bcdll\b", re.IGNORECASE)


@cache
def _pattern(table: Literal["reserved", "common"]) -> re.Pattern[str]:
    rows = tomllib.loads(files(__package__).joinpath("isolation.toml").read_text(encoding="utf-8"))[table]
    return re.compile("|".join(f"(?:{row['pattern']})" for row in rows))


@dataclass(frozen=True)
class Node:
    """A module of the wheel to come: its binary, and the keys of those that its NEEDED entries lead to. `tag` is the hash in
    the name of a vendored library, None for a module of the wheel's own."""

    binary: SideModule
    needs: tuple[str, ...]
    tag: str | None = None


def defined(binary: SideModule) -> frozenset[str]:
    """The symbols that a library defines and that may have another name."""
    exports = binary.module.exports if binary.module else ()
    kinds = (Kind.FUNC, Kind.GLOBAL, Kind.TAG)
    return frozenset(e.name for e in exports if e.kind in kinds and not _pattern("reserved").fullmatch(e.name))


def plan(
    nodes: Mapping[str, Node],
    keep: Iterable[str],
    main: Container[str] | None = None,
    fixed: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """New names by module and symbol. `nodes` by key; `keep` are the keys of libraries that stay as they are; `main` has the
    names of the main module's symbols, None if they are not known; `fixed` are names that were given before, whoever defines
    the symbols.

    A symbol that several vendored libraries define (inline functions, typeinfo, virtual tables) stays one: it gets one name
    made of all their hashes. One that a library in `keep` defines keeps its name, and so does one that the main module has as
    well and that C++ makes one for the whole program. A module that takes a symbol and does not NEED its library (its users
    do, and one scope is theirs) takes it under the new name, if nobody else can have it.
    """
    definers: dict[str, list[str]] = {}
    for key, node in nodes.items():
        if node.tag is not None:
            for symbol in defined(node.binary):
                definers.setdefault(symbol, []).append(key)
    kept = set(keep)
    names: dict[str, str] = {}
    for symbol, keys in definers.items():
        common = main is not None and symbol in main and _pattern("common").fullmatch(symbol)
        if not (kept.intersection(keys) or common):
            names[symbol] = f"{symbol}.{_mark(sorted(nodes[key].tag or '' for key in keys))}"
    names |= {symbol: name for symbol, name in (fixed or {}).items() if symbol in definers}
    result: dict[str, dict[str, str]] = {}
    for key, node in nodes.items():
        reached = closure(nodes, key)
        present = _symbols(node.binary.module) if node.binary.module else set()
        own = {export.name for export in node.binary.module.exports} if node.binary.module else set()
        mine = {
            symbol: names[symbol]
            for symbol in sorted(present & names.keys())
            if names[symbol] != symbol
            and (not reached.isdisjoint(definers[symbol]) or not (main is None or symbol in main or symbol in own))
            and not (key in kept and symbol in own)
        }
        if mine:
            result[key] = mine
    return result


def closure(nodes: Mapping[str, Node], key: str) -> set[str]:
    """A module and all that it NEEDs in the end."""
    seen = {key}
    todo = [key]
    while todo:
        for target in nodes[todo.pop()].needs:
            if target not in seen and target in nodes:
                seen.add(target)
                todo.append(target)
    return seen


def reached_by_name(
    libraries: Mapping[str, tuple[SideModule, str]], users: Iterable[SideModule], texts: Iterable[tuple[str, bytes]]
) -> dict[str, str]:
    """Why a library (by key: its binary and the stem of its name) must keep its symbols' names: somebody asks for them by name
    at run time. `users` are all modules of the wheel, `texts` its Python files by path."""
    found: dict[str, str] = {}
    for user in users:
        module = user.module
        if module is None or not any(entry.field == "dlsym" for entry in module.imports):
            continue
        strings = _strings(module)
        for key, (binary, _) in libraries.items():
            if asked := sorted(strings & defined(binary)):
                found.setdefault(key, f"{user.file.path} calls dlsym and has the name of {asked[0]} in its data")
    for path, text in texts:
        if _BY_NAME.search(text):
            for key, (_, stem) in libraries.items():
                if re.search(rb"\b" + re.escape(stem.encode()) + rb"\b", text):
                    found.setdefault(key, f"{path} opens libraries by name and names {stem}")
    return found


def _mark(tags: list[str]) -> str:
    if len(tags) == 1:
        return tags[0]
    return hashlib.sha256("\n".join(tags).encode()).hexdigest()[:HASH_LENGTH]


def _symbols(module: Module) -> set[str]:
    return {entry.field for entry in module.imports} | {entry.name for entry in module.exports}


def _strings(module: Module) -> set[str]:
    """Every string in the data that could be a symbol's name."""
    found: set[str] = set()
    for section in module.sections:
        if section.id == DATA:
            found |= {text.decode() for text in _STRING.findall(module.data, section.payload, section.end)}
    return found
