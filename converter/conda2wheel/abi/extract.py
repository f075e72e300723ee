"""Reads from the npm package of a Pyodide what its main module provides to side modules; nothing is run.

At run time it is the object that `pyodide._module.LDSO.loadedLibsByName.__main__.exports` holds: the object literal
`wasmImports` of pyodide.asm.js (the functions in JavaScript) and, over it, the exports of pyodide.asm.wasm. JavaScript functions
that only forward to a wasm export that is not there carry `NAME.stub=true` and do not count. Compared with that object for
every version of the table (tests/runtime/test_symbol_data.py).
"""

from __future__ import annotations

import re

from conda2wheel.abi.symbols import Symbol
from conda2wheel.wasm.binary import Export, Kind, Module

_TABLE = re.compile(r"\b(?:wasmImports|asmLibraryArg|wasmExportsOverlay)\s*=\s*\{")
_ENTRY = re.compile(
    r"""\s*(?:"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<name>[\w$]+))\s*(?::\s*(?P<value>[\w$]+)\s*)?(?P<end>[,}])"""
)
_STUB = re.compile(r"\b([\w$]+)\.stub\s*=\s*(?:true|!0)")
_SIGNATURE = re.compile(r"""\b([\w$]+)\.sig\s*=\s*["']([a-z]*)["']""")
_ALIAS = re.compile(r"\b(?:var|let|const)\s+([\w$]+)\s*=\s*([\w$]+)\s*[;,]")
_TAG = re.compile(r"\b([\w$]+)\s*=\s*new WebAssembly\.Tag\(\s*\{\s*[\"']?parameters[\"']?\s*:\s*\[([^\]]*)\]")
_OBJECT = re.compile(r"\b([\w$]+)\s*=\s*new WebAssembly\.(Memory|Table|Global)\b")
_NUMBER = re.compile(r"\b(?:var|let|const)\s+([\w$]+)\s*=\s*\d+\b")  # an address, such as ___heap_base
_ARRAY = re.compile(r"\b(?:var|let|const)\s+([\w$]+)\s*=\s*\[")
# Emscripten's letters for a JavaScript function: the result first; p is a pointer, e an externref.
_LETTERS = {"i": "i", "p": "i", "j": "j", "f": "f", "d": "d", "e": "X", "v": ""}  # some write v for no parameters
_TAG_TYPES = {"i32": "i", "i64": "j", "f32": "f", "f64": "d", "externref": "X"}
# Names that the runtime adds beside the table's: `main` is exported as __main_argc_argv, `open` is open64.
ALIASES = {"__main_argc_argv": "main", "open": "open64"}


class ExtractError(ValueError):
    """The files do not have the form of the known Pyodides' files."""


def extract(wasm: bytes, script: str) -> dict[str, Symbol]:
    """The symbols of one Pyodide, sorted by name, from its pyodide.asm.wasm and pyodide.asm.js or .mjs.

    Raises `ExtractError` where the script has no table of imports, and `WasmError` for a damaged module.
    """
    found = _from_script(script)
    module = Module.parse(wasm)
    for export in module.exports:
        found[export.name] = Symbol(_kind(module, export), module.signature(export))
    for name, alias in ALIASES.items():
        if name in found:
            found.setdefault(alias, found[name])
    return dict(sorted(found.items()))


def _kind(module: Module, export: Export) -> str:
    if export.kind == Kind.GLOBAL:
        return "global" if module.signature(export).endswith("*") else "data"
    return {Kind.FUNC: "func", Kind.TAG: "tag", Kind.MEMORY: "memory", Kind.TABLE: "table"}[export.kind]


def _from_script(script: str) -> dict[str, Symbol]:
    table = _TABLE.search(script)
    if table is None:
        raise ExtractError("the script has no object wasmImports")
    names = _Names(script)
    found: dict[str, Symbol] = {}
    at = table.end()
    while entry := _ENTRY.match(script, at):
        key = entry["name"] or entry["quoted"] or entry["single"]
        value = entry["value"] or key
        at = entry.end()
        if value not in names.stubs:
            found[key] = names.symbol(value)
        if entry["end"] == "}":
            return found
    raise ExtractError(f"wasmImports has an entry of an unknown form: {script[at : at + 60]!r}")


class _Names:
    """What the script says about its own names."""

    def __init__(self, script: str) -> None:
        self.stubs = set(_STUB.findall(script))
        self.tags = dict(_TAG.findall(script))
        self.objects = dict.fromkeys(_ARRAY.findall(script), "object") | {
            name: word.lower() for name, word in _OBJECT.findall(script)
        }
        self.numbers = set(_NUMBER.findall(script))
        self.aliases = dict(_ALIAS.findall(script))
        self.signatures = dict(_SIGNATURE.findall(script))
        for alias, name in self.aliases.items():  # the signature is a property of the function, whose names are several
            if alias in self.signatures:
                self.signatures.setdefault(name, self.signatures[alias])

    def symbol(self, name: str) -> Symbol:
        """The symbol for a value of the table."""
        seen: set[str] = set()
        known = (self.signatures, self.tags, self.objects, self.numbers)
        while not any(name in table for table in known) and name in self.aliases and name not in seen:
            seen.add(name)
            name = self.aliases[name]
        if name in self.tags:
            words = [word.strip(" \"'") for word in self.tags[name].split(",") if word.strip()]
            return Symbol("tag", "".join(_TAG_TYPES[word] for word in words) + ">")
        if name in self.objects:
            return Symbol(self.objects[name], "")
        if name in self.numbers:
            return Symbol("data", "i")
        return Symbol("js", _signature(self.signatures.get(name, "")))


def _signature(text: str) -> str:
    """Emscripten's `viji` as `iji>`.

    >>> _signature("viji"), _signature("d"), _signature("ipe")
    ('iji>', '>d', 'iX>i')
    """
    if not text:
        return ""
    result = _LETTERS[text[0]]
    return "".join(_LETTERS[letter] for letter in text[1:]) + ">" + result
