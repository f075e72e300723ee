"""Every import of a loaded module, against what the main module and the other loaded modules provide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from conda2wheel.abi.audit import calls
from conda2wheel.abi.audit.findings import Severity
from conda2wheel.abi.audit.load import Instance, Session
from conda2wheel.abi.side_module import TypedExport, TypedImport
from conda2wheel.abi.signals import is_unwinding
from conda2wheel.abi.symbols import Symbol
from conda2wheel.wasm.binary import Kind
from conda2wheel.wasm.signature import describe

TABLE = ("GOT.func", "GOT.mem")
GIVEN = frozenset({"__memory_base", "__table_base"})  # by the loader, to each module its own
SOURCES = frozenset({"env", "wasi_snapshot_preview1", *TABLE})
CALLED = "loads, and the interpreter ends when it is called"
PYTHON = re.compile(r"_?Py[A-Z_]\w*")


@dataclass(frozen=True)
class Issue:
    """Something about one import: `what` it is (a function, data ...), and what `why` says of it, the same of several."""

    code: str
    severity: Severity
    symbol: str
    what: str
    why: str


def issues(instance: Instance, session: Session) -> Iterator[Issue]:
    """What is wrong with the imports of one instance, in their order."""
    missing = set(instance.undefined)
    for wanted in instance.module.side.imports:
        if wanted.module not in SOURCES:
            yield Issue(
                "unresolved-symbol",
                Severity.LOAD,
                f"{wanted.module}.{wanted.name}",
                "import",
                f"is of the module {wanted.module!r}, which no loader has (only {', '.join(sorted(SOURCES))}): not loaded",
            )
        elif wanted.module in TABLE:
            yield from _entry(wanted, instance, session, missing)
        elif wanted.kind == Kind.FUNC:
            yield from _function(wanted, instance, session)
        elif wanted.kind == Kind.TAG:
            yield from _tag(wanted, session.main.get(wanted.name))
        elif wanted.kind == Kind.GLOBAL and wanted.name not in GIVEN:
            yield from _global(wanted, session.main.get(wanted.name))
        elif wanted.kind == Kind.TABLE and wanted.name != "__indirect_function_table":
            yield _absent(wanted.name, "table", Severity.LOAD, "not loaded")


def _entry(wanted: TypedImport, instance: Instance, session: Session, missing: set[str]) -> Iterator[Issue]:
    """A function pointer or an address of data, through the global offset table."""
    name = wanted.name
    what = "function pointer" if wanted.module == "GOT.func" else "data"
    symbol = session.main.get(name)
    if name not in missing and name not in session.owners and symbol is not None:
        if symbol.kind == "js" and not symbol.signature:
            why = "is a function in JavaScript whose type is not recorded, so nothing can point to it: not loaded"
            yield Issue("unresolved-symbol", Severity.LOAD, name, what, why)
        elif symbol.kind not in ("func", "js", "data"):
            yield Issue("unresolved-symbol", Severity.LOAD, name, what, f"is a {symbol.kind} of the main module: not loaded")
    elif name in missing and name in instance.forgotten:
        why = (
            "is weak and provided by nobody, which would do; but this loader forgets what is weak when it loads a NEEDED library "
            "first, and does not load the module"
        )
        yield Issue("unresolved-symbol", Severity.LOAD, name, what, why)
    elif name in missing:
        yield _absent(name, what, Severity.LOAD, "not loaded, and nothing that is loaded after it in that interpreter, either")
    elif not session.defined(name):
        yield _weak(name, what)


def _function(wanted: TypedImport, instance: Instance, session: Session) -> Iterator[Issue]:
    name = wanted.name
    symbol = session.main.get(name)
    if symbol is not None:
        yield from _of_main(wanted, symbol)
        return
    direct = instance.bound.get(name)
    if direct is not None:
        yield from _of_library(wanted, direct, direct.module.side.exports[name], direct=True)
        return
    if name.startswith(session.loader.synthesised):
        return
    found = session.everyones.get(name) or instance.seen(name)
    if found is not None:
        yield from _of_library(wanted, found, found.module.side.exports[name], direct=False)
    elif wanted.weak:
        yield _weak(name, "function")
    else:
        yield _absent(name, "function", Severity.FATAL, CALLED)


def _of_main(wanted: TypedImport, symbol: Symbol) -> Iterator[Issue]:
    """A function import that the main module has."""
    name = wanted.name
    if symbol.kind == "js":
        if calls.to_javascript(wanted.signature, symbol.signature) == "throws":
            why = _differs(wanted.signature, symbol.signature, "Pyodide's, in JavaScript,")
            yield Issue("signature-mismatch", Severity.FATAL, name, "function", f"{why}: {CALLED}")
    elif symbol.kind != "func":
        why = f"is {symbol.kind} in Pyodide's main module, not a function: not loaded"
        yield Issue("signature-mismatch", Severity.LOAD, name, "function", why)
    elif symbol.signature != wanted.signature:
        if wanted.signature == calls.legalised(symbol.signature):
            why = f"takes or returns i64 as two i32 ({describe(wanted.signature)}), built without WASM_BIGINT: not loaded"
            yield Issue("no-bigint", Severity.LOAD, name, "function", why)
        else:
            why = _differs(wanted.signature, symbol.signature, "that of Pyodide's main module")
            yield Issue("signature-mismatch", Severity.LOAD, name, "function", f"{why}: not loaded")


def _of_library(wanted: TypedImport, found: Instance, offered: TypedExport, direct: bool) -> Iterator[Issue]:
    """A function import that another module, or its own, has."""
    name, whose = wanted.name, f"that of {found.module.path}"
    if offered.kind != Kind.FUNC:
        yield Issue("signature-mismatch", Severity.FATAL, name, "function", f"is data in {found.module.path}: {CALLED}")
    elif not offered.signature:  # written in JavaScript: takes what comes
        return
    elif direct:
        if wanted.signature != offered.signature:
            why = _differs(wanted.signature, offered.signature, whose)
            yield Issue("signature-mismatch", Severity.LOAD, name, "function", f"{why}: not loaded")
    else:
        outcome = calls.through_javascript(wanted.signature, offered.signature)
        if outcome == "throws" and wanted.signature == offered.signature:
            why = f"has a v128 in its type ({describe(wanted.signature)}), which cannot pass from module to module: {CALLED}"
            yield Issue("signature-mismatch", Severity.FATAL, name, "function", why)
        elif outcome != "same":
            why = _differs(wanted.signature, offered.signature, whose)
            severity = Severity.FATAL if outcome == "throws" else Severity.SUSPICIOUS
            then = CALLED if outcome == "throws" else "runs, with values that JavaScript converts on the way"
            yield Issue("signature-mismatch", severity, name, "function", f"{why}: {then}")


def _tag(wanted: TypedImport, symbol: Symbol | None) -> Iterator[Issue]:
    if symbol is None or symbol.kind != "tag":
        yield _absent(wanted.name, "exception tag", Severity.LOAD, "not loaded")
    elif symbol.signature != wanted.signature:
        why = _differs(wanted.signature, symbol.signature, "that of Pyodide's main module")
        yield Issue("signature-mismatch", Severity.LOAD, wanted.name, "exception tag", f"{why}: not loaded")


def _global(wanted: TypedImport, symbol: Symbol | None) -> Iterator[Issue]:
    """A global that is not of the table: the address of main's data, if it is not mutable, or one of main's own globals."""
    if symbol is None or symbol.kind not in ("data", "global"):
        yield _absent(wanted.name, "global", Severity.LOAD, "not loaded")
        return
    offered = symbol.signature or ("i*" if symbol.kind == "global" else "i")
    if wanted.signature != offered:
        why = _differs(wanted.signature, offered, "that of Pyodide's main module")
        yield Issue("signature-mismatch", Severity.LOAD, wanted.name, "global", f"{why}: not loaded")


def _absent(name: str, what: str, severity: Severity, then: str) -> Issue:
    if is_unwinding(name):
        why = f"is of a kind of exceptions or longjmp that this Pyodide does not have: {then}"
        return Issue("unwinding", severity, name, what, why)
    if PYTHON.fullmatch(name):
        return Issue("cpython-symbol", severity, name, what, f"is not in this CPython: {then}")
    return Issue("unresolved-symbol", severity, name, what, f"is provided by nobody: {then}")


def _weak(name: str, what: str) -> Issue:
    return Issue("weak-missing", Severity.NOTE, name, what, "is weak and provided by nobody: null, and code is expected to look")


def _differs(wanted: str, offered: str, whose: str) -> str:
    return f"is taken as {describe(wanted)}, {whose} is {describe(offered)}"
