"""The symbols that the main module of each Pyodide provides to side modules, each with its kind and type.

One file a Pyodide version in `data/`, made by `scripts/update-abi` from its npm package (see `extract`): compressed with
zstandard, a JSON line with the origin, then a line for each kind and type: `KIND SIGNATURE` and the names, separated
by tabs. All ten versions together are as large as one medium-sized wheel, and a version is read in milliseconds.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

import zstandard

from conda2wheel.abi.platforms import Platform, platforms

SUFFIX = ".symbols.zst"
LEVEL = 22
MAX_SIZE = 16 << 20  # bytes of one version, unpacked
_FINAL = re.compile(r"[\d.]+")


class Symbol(NamedTuple):
    """One name.

    `kind` is func (a WebAssembly function), js (a JavaScript function), data (the address of data), global (a mutable one, such
    as __stack_pointer), tag, memory, table, or object (a JavaScript value that no import can be).

    `signature` is as in `wasm.signature`: `ij>d` of a function or tag, `i` of data. For a JavaScript function it is what
    Emscripten wrote in `.sig`, or "": without it, the function has no place in the table and cannot be pointed to.
    """

    kind: str
    signature: str


class Origin(NamedTuple):
    """The origin of the data of one version.

    It is the npm package with its integrity (sha512-...), and the sha256 of the two files in it that were read.
    """

    pyodide: str
    integrity: str
    wasm_sha256: str
    script_sha256: str


@cache
def _groups(pyodide: str) -> tuple[tuple[Symbol, tuple[str, ...]], ...]:
    """The names of each kind and type. Raises `LookupError`."""
    rows = (line.split("\t") for line in _text(pyodide).split("\n")[1:])
    return tuple((Symbol(kind, signature), tuple(names)) for kind, signature, *names in rows)


@cache
def symbols(pyodide: str) -> Mapping[str, Symbol]:
    """Every symbol by name. Raises `LookupError` for a version without data."""
    found: dict[str, Symbol] = {}
    for symbol, names in _groups(pyodide):
        found.update(zip(names, itertools.repeat(symbol)))
    return MappingProxyType(found)


@dataclass(frozen=True, eq=False)
class MainNames:
    """The names of a main module's symbols.

    Attributes:
        every: all of them.
        defined: functions in WebAssembly and data, which it enters into the global offset table itself.
        pointable: what imports through that table get of it: these, and the functions in JavaScript whose type is recorded.
    """

    every: frozenset[str]
    defined: frozenset[str]
    pointable: frozenset[str]


@cache
def main_names_of(pyodide: str) -> MainNames:
    """The names of the symbols of a Pyodide version. Raises `LookupError` for a version without data."""
    groups = _groups(pyodide)
    defined = frozenset().union(*(names for symbol, names in groups if symbol.kind in ("func", "data")))
    typed = (names for symbol, names in groups if symbol.kind == "js" and symbol.signature)
    return MainNames(frozenset(symbols(pyodide)), defined, defined.union(*typed))


def known() -> tuple[str, ...]:
    """The Pyodide versions with data, in the order of the table: oldest first."""
    folder = files(__package__) / "data"
    return tuple(v for row in platforms() for v, _ in row.pyodide if (folder / f"{v}{SUFFIX}").is_file())


def newest_pyodide(platform: Platform) -> str | None:
    """Return the Pyodide version by which wheels of a platform are judged.

    It is the newest final release whose symbols are known, else the newest pre-release; None where none is known.
    """
    data = known()
    versions = [version for version, _ in platform.pyodide if version in data]
    final = [version for version in versions if _FINAL.fullmatch(version)]
    return next(reversed(final or versions), None)


@cache
def main_names(*platforms: Platform) -> frozenset[str] | None:
    """Every name that the main module of any Pyodide with one of the platforms has; None where no Pyodide has one of them."""
    versions = _versions(platforms)
    return frozenset(name for version in versions for name in symbols(version)) if versions else None


@cache
def main_symbols(*platforms: Platform) -> Mapping[str, Symbol]:
    """Return the symbols that the main module of every Pyodide with one of the platforms has, with one kind and type in all.

    There are none where no Pyodide has one of the platforms.
    """
    versions = _versions(platforms)
    if not versions:
        return {}
    first, *others = (symbols(version) for version in versions)
    return {name: symbol for name, symbol in first.items() if all(other.get(name) == symbol for other in others)}


def _versions(rows: Sequence[Platform]) -> list[str]:
    """The versions of Pyodide that have one of the platforms; none if one of the platforms has no Pyodide."""
    versions = [[version for version, _ in row.pyodide if version in known()] for row in rows]
    return [version for each in versions for version in each] if all(versions) else []


def origin(pyodide: str) -> Origin:
    """The origin of the data of a version. Raises `LookupError`."""
    return Origin(**json.loads(_text(pyodide).partition("\n")[0]))


def encode(made_from: Origin, found: Mapping[str, Symbol]) -> bytes:
    """The data file of one version; the same symbols give the same bytes."""
    groups: dict[Symbol, list[str]] = {}
    for name, symbol in sorted(found.items()):
        groups.setdefault(symbol, []).append(name)
    lines = [json.dumps(made_from._asdict()), *("\t".join([*symbol, *groups[symbol]]) for symbol in sorted(groups))]
    return zstandard.ZstdCompressor(level=LEVEL).compress("\n".join(lines).encode())


def _text(pyodide: str) -> str:
    file = files(__package__) / "data" / f"{pyodide}{SUFFIX}"
    if not file.is_file():
        raise LookupError(f"no symbol data of Pyodide {pyodide}; there is of {', '.join(known())}")
    return zstandard.ZstdDecompressor().decompress(file.read_bytes(), max_output_size=MAX_SIZE).decode()
