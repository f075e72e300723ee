"""The imports and NEEDED entries of a loaded module, against what the main module and the other loaded modules provide.

An import of the main module's WebAssembly functions binds directly, and another type is a LinkError when the module is loaded.
Functions of other modules, and those in JavaScript, are called through JavaScript, which converts each value (ToWebAssemblyValue
of the WebAssembly JavaScript interface): numbers to numbers, missing ones to 0 or NaN, and drops superfluous ones. Only i64 and
numbers are not converted to each other, and v128 cannot be passed at all: that throws, and the interpreter ends. Measured with
every pair of kinds on 0.27.7, 0.29.5 and 314.0.7.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from conda2wheel.abi.audit.findings import Finding, Severity, listed
from conda2wheel.abi.audit.shared_names import NOT_PASSED
from conda2wheel.abi.audit.simulation import Instance, Simulation
from conda2wheel.abi.audit.unit import InstalledModule
from conda2wheel.abi.loader_search import misread
from conda2wheel.abi.side_module import GOT, PYTHON, TypedExport, TypedImport
from conda2wheel.abi.signals import is_unwinding
from conda2wheel.abi.symbols import Symbol
from conda2wheel.wasm.binary import Kind
from conda2wheel.wasm.signature import describe

GIVEN = frozenset({"__memory_base", "__table_base"})  # by the loader, to each module its own
SOURCES = frozenset({"env", "wasi_snapshot_preview1", *GOT})
CALLED = "loads, and the interpreter ends when it is called"
UNIQUE = re.compile(r"-[0-9a-f]{8}$")  # what conda2wheel and auditwheel add to the names of vendored libraries
FEW = 16  # function imports that are judged one by one at once
CallResult = Literal["same", "converted", "throws"]


class ImportIssue(NamedTuple):
    """A problem of one import.

    `what` is the kind of import (function, data ...). `why` and `hint` are the same for all imports with this problem.
    """

    code: str
    severity: Severity
    symbol: str
    what: str
    why: str
    hint: str = ""


def issues(instance: Instance, simulation: Simulation) -> Iterator[ImportIssue]:
    """The problems of the imports of one instance, in their order."""
    yield from issues_of(open_imports(instance, simulation), instance, simulation)


def open_imports(instance: Instance, simulation: Simulation) -> Sequence[TypedImport]:
    """The imports of one instance that may have a problem, in their order: sets of names show that all others have none.

    These are functions that the main module has with that type or, if it has no such name, the module in which a call finds
    them; and entries of the GOT that a module has defined when they are checked, or that the main module has.
    """
    side, main = instance.module.side, simulation.main
    if not side.import_modules <= SOURCES:
        return side.imports
    calls = side.called - simulation.main_names.every
    if len(calls) > FEW:  # what many modules have in common takes time, too
        shared = [each.module.side for each in simulation.shared]
        around = (each.module.side for each in (*reversed(instance.scope), instance))
        searched = tuple(dict.fromkeys((*shared, *around)))
        calls &= simulation.names.open_calls(side, tuple(shared[: instance.bound]), searched)
    wanted = side.called_types
    in_main = (name for name in side.called & simulation.called_in_main if main[name] != ("func", wanted[name]))
    entries = simulation.open_entries(side).difference(simulation.main_names.pointable)
    return side.imports_of({*calls, *in_main, *side.called_apart, *entries, *instance.undefined})


def issues_of(imports: Iterable[TypedImport], instance: Instance, simulation: Simulation) -> Iterator[ImportIssue]:
    """The problems of some imports of one instance."""
    missing = instance.undefined
    for wanted in imports:
        if wanted.module not in SOURCES:
            yield ImportIssue(
                "unresolved-symbol",
                Severity.LOAD,
                f"{wanted.module}.{wanted.name}",
                "import",
                f"is imported from {wanted.module!r}, which no loader has (only {', '.join(sorted(SOURCES))}): not loaded",
            )
        elif wanted.module in GOT:
            yield from _entry(wanted, instance, simulation, missing)
        elif wanted.kind == Kind.FUNC:
            yield from _function(wanted, instance, simulation)
        elif wanted.kind == Kind.TAG:
            yield from _tag(wanted, simulation.main.get(wanted.name))
        elif wanted.kind == Kind.GLOBAL and wanted.name not in GIVEN:
            yield from _global(wanted, simulation.main.get(wanted.name))
        elif wanted.kind == Kind.TABLE and wanted.name != "__indirect_function_table":
            yield _absent(wanted.name, "table", Severity.LOAD, "not loaded")


def _entry(wanted: TypedImport, instance: Instance, simulation: Simulation, missing: Collection[str]) -> Iterator[ImportIssue]:
    """A function pointer or an address of data, imported through the global offset table."""
    name = wanted.name
    what = "function pointer" if wanted.module == "GOT.func" else "data"
    symbol = simulation.main.get(name)
    if symbol is not None and name not in missing and name not in simulation.owners:
        if symbol.kind == "js" and not symbol.signature:
            why = "is a function in JavaScript whose type is not recorded, so nothing can point to it: not loaded"
            yield ImportIssue("unresolved-symbol", Severity.LOAD, name, what, why)
        elif symbol.kind not in ("func", "js", "data"):
            yield ImportIssue(
                "unresolved-symbol", Severity.LOAD, name, what, f"is a {symbol.kind} of the main module: not loaded"
            )
    elif name in missing and name in instance.forgotten:
        why = (
            "is weak and not defined anywhere, which would do; but this loader forgets what is weak when it loads a NEEDED "
            "library first, and does not load the module"
        )
        yield ImportIssue("unresolved-symbol", Severity.LOAD, name, what, why)
    elif name in missing:
        then = "not loaded, and nor is anything after it in that interpreter"
        yield _absent(name, what, Severity.LOAD, then, _definers(name, instance, simulation))
    elif not simulation.defined(name):
        yield _weak(name, what)


def _function(wanted: TypedImport, instance: Instance, simulation: Simulation) -> Iterator[ImportIssue]:
    name = wanted.name
    symbol = simulation.main.get(name)
    if symbol is not None:
        yield from _of_main(wanted, symbol)
        return
    direct = simulation.bound_to(name, instance)
    if direct is not None:
        yield from _of_library(wanted, direct, direct.module.side.exports[name], direct=True)
        return
    if name.startswith(simulation.loader.synthesised):
        return
    found = simulation.global_functions.get(name) or instance.lookup(name)
    if found is not None:
        yield from _of_library(wanted, found, found.module.side.exports[name], direct=False)
    elif wanted.weak:
        yield _weak(name, "function")
    else:
        yield _absent(name, "function", Severity.FATAL, CALLED, _definers(name, instance, simulation))


def _of_main(wanted: TypedImport, symbol: Symbol) -> Iterator[ImportIssue]:
    """A function import that the main module has."""
    name = wanted.name
    if symbol.kind == "js":
        if _call_javascript(wanted.signature, symbol.signature) == "throws":
            why = _differs(wanted.signature, symbol.signature, "Pyodide's, in JavaScript,")
            yield ImportIssue("signature-mismatch", Severity.FATAL, name, "function", f"{why}: {CALLED}")
    elif symbol.kind != "func":
        why = f"is {symbol.kind} in Pyodide's main module, not a function: not loaded"
        yield ImportIssue("signature-mismatch", Severity.LOAD, name, "function", why)
    elif symbol.signature != wanted.signature:
        if wanted.signature == legalised(symbol.signature):
            why = f"takes or returns i64 as two i32 ({describe(wanted.signature)}), built without WASM_BIGINT: not loaded"
            yield ImportIssue("no-bigint", Severity.LOAD, name, "function", why)
        else:
            why = _differs(wanted.signature, symbol.signature, "that of Pyodide's main module")
            yield ImportIssue("signature-mismatch", Severity.LOAD, name, "function", f"{why}: not loaded")


def _of_library(wanted: TypedImport, found: Instance, offered: TypedExport, direct: bool) -> Iterator[ImportIssue]:
    """A function import that another module, or the module itself, defines."""
    name, whose = wanted.name, f"that of {found.module.path}"
    if offered.kind != Kind.FUNC:
        yield ImportIssue("signature-mismatch", Severity.FATAL, name, "function", f"is data in {found.module.path}: {CALLED}")
    elif not offered.signature:  # written in JavaScript: takes any arguments
        return
    elif direct:
        if wanted.signature != offered.signature:
            why = _differs(wanted.signature, offered.signature, whose)
            yield ImportIssue("signature-mismatch", Severity.LOAD, name, "function", f"{why}: not loaded")
    else:
        outcome = call_result(wanted.signature, offered.signature)
        if outcome == "throws" and wanted.signature == offered.signature:
            why = f"has a v128 in its type ({describe(wanted.signature)}), which cannot pass from module to module: {CALLED}"
            yield ImportIssue("signature-mismatch", Severity.FATAL, name, "function", why)
        elif outcome != "same":
            why = _differs(wanted.signature, offered.signature, whose)
            severity = Severity.FATAL if outcome == "throws" else Severity.SUSPICIOUS
            then = CALLED if outcome == "throws" else "runs, with values that JavaScript converts"
            yield ImportIssue("signature-mismatch", severity, name, "function", f"{why}: {then}")


def _tag(wanted: TypedImport, symbol: Symbol | None) -> Iterator[ImportIssue]:
    if symbol is None or symbol.kind != "tag":
        yield _absent(wanted.name, "exception tag", Severity.LOAD, "not loaded")
    elif symbol.signature != wanted.signature:
        why = _differs(wanted.signature, symbol.signature, "that of Pyodide's main module")
        yield ImportIssue("signature-mismatch", Severity.LOAD, wanted.name, "exception tag", f"{why}: not loaded")


def _global(wanted: TypedImport, symbol: Symbol | None) -> Iterator[ImportIssue]:
    """Yield the problems of a global that is not imported through the GOT.

    It is the address of main's data if it is not mutable, or one of main's own globals.
    """
    if symbol is None or symbol.kind not in ("data", "global"):
        yield _absent(wanted.name, "global", Severity.LOAD, "not loaded")
        return
    offered = symbol.signature or ("i*" if symbol.kind == "global" else "i")
    if wanted.signature != offered:
        why = _differs(wanted.signature, offered, "that of Pyodide's main module")
        yield ImportIssue("signature-mismatch", Severity.LOAD, wanted.name, "global", f"{why}: not loaded")


def _definers(name: str, instance: Instance, simulation: Simulation) -> tuple[str, ...]:
    """The libraries of the wheel that define a symbol, and those that could have been vendored: the module NEEDs none of them."""
    unit = instance.module.unit
    return (*simulation.names.definers(unit, name), *simulation.undecided[unit].get(name, ()))


def _absent(name: str, what: str, severity: Severity, then: str, definers: tuple[str, ...] = ()) -> ImportIssue:
    if is_unwinding(name):
        why = f"is of a kind of exceptions or longjmp that this Pyodide does not have: {then}"
        return ImportIssue("unwinding", severity, name, what, why)
    if PYTHON.fullmatch(name):
        return ImportIssue("cpython-symbol", severity, name, what, f"is not in this CPython: {then}")
    if definers:
        why = f"is not defined in what the module NEEDs, but in {' and '.join(definers)}: {then}"
        return ImportIssue("unresolved-symbol", severity, name, what, why, _to_link(definers))
    return ImportIssue("unresolved-symbol", severity, name, what, f"is not defined anywhere: {then}")


def _to_link(definers: tuple[str, ...]) -> str:
    """What to do where libraries, each by its path or as `FILE of PACKAGE`, define what a module takes.

    >>> _to_link(("demo.libs/libz-0a1b2c3d.so", "libblas.so.3 of blas-1.0-h_0"))
    'link the module with -lz or -lblas, so that it NEEDs the library'
    """
    files = (posixpath.basename(each.partition(" of ")[0]) for each in definers)
    stems = [UNIQUE.sub("", file.partition(".so")[0]) for file in files]
    flags = dict.fromkeys(f"-l{stem[3:]}" if stem.startswith("lib") else f"-l:{stem}.so" for stem in stems)
    return f"link the module with {' or '.join(flags)}, so that it NEEDs the library"


def _weak(name: str, what: str) -> ImportIssue:
    return ImportIssue(
        "weak-missing", Severity.NOTE, name, what, "is weak and not defined anywhere: null, which the code is expected to check"
    )


def _differs(wanted: str, offered: str, whose: str) -> str:
    return f"is imported as {describe(wanted)}, {whose} is {describe(offered)}"


def _split(signature: str) -> tuple[str, str]:
    """Split a function type into its parameters and its results."""
    parameters, _, results = signature.partition(">")
    return parameters, results


def call_result(wanted: str, offered: str) -> CallResult:
    """The result of a call through JavaScript, compiled for the type `wanted`, of a WebAssembly function of the type `offered`.

    >>> call_result("ij>d", "ij>d"), call_result("ii>i", "i>i"), call_result("i>i", "j>j")
    ('same', 'converted', 'throws')
    """
    if any(letter in NOT_PASSED for letter in wanted + offered):
        return "throws"
    if wanted == offered:
        return "same"
    given, expected = _split(wanted)
    taken, returned = _split(offered)
    for position, letter in enumerate(taken):
        if _clash(given[position : position + 1], letter):
            return "throws"
    return _results(expected, returned)


def _call_javascript(wanted: str, signature: str) -> CallResult:
    """Return the result of a call of a JavaScript function.

    It takes any arguments, and what it returns is converted. `signature` is Emscripten's record of its type.
    """
    if any(letter in NOT_PASSED for letter in wanted):
        return "throws"
    if not signature or wanted == signature:
        return "same"
    return _results(_split(wanted)[1], _split(signature)[1])


def _results(expected: str, returned: str) -> CallResult:
    if len(expected) > 1 and len(expected) != len(returned):
        return "throws"
    if any(_clash(returned[position : position + 1], letter) for position, letter in enumerate(expected)):
        return "throws"
    return "converted"


def _clash(given: str, taken: str) -> bool:
    """Whether a value of one kind ("": a missing one, undefined) cannot be converted to the other."""
    return (given == "j") != (taken == "j") and "X" not in (given, taken)


def legalised(signature: str) -> str:
    """The type of a function whose i64 were split in two i32 for a JavaScript without BigInt.

    >>> legalised("ij>j")
    'iii>i'
    """
    parameters, results = _split(signature)
    return f"{parameters.replace('j', 'ii')}>{results.replace('j', 'i')}"


def bridged_findings(instance: Instance, simulation: Simulation) -> Iterator[Finding]:
    """The finding about a module to which an unwinding bridge gives longjmp of the JavaScript kind."""
    if not simulation.names.has_bridge:
        return
    names: dict[str, set[str]] = {}
    for wanted in instance.module.side.imports:
        by = simulation.owners.get(wanted.name) if wanted.module in GOT else instance.lookup(wanted.name)
        if by is not None and by is not instance and wanted.name not in simulation.main and by.module.side.is_bridge:
            names.setdefault(by.module.path, set()).add(wanted.name)
    for bridge, found in names.items():
        symbols = tuple(sorted(found))
        why = f"has longjmp of the JavaScript kind ({listed(symbols)}), which {bridge} gives it: runs"
        yield Finding("bridged", Severity.NOTE, instance.module.path, why, symbols=symbols)


def needed_findings(instance: Instance, simulation: Simulation, broken: Collection[InstalledModule]) -> Iterator[Finding]:
    """The findings about the libraries that one instance NEEDs; `broken` are the files that cannot be loaded themselves."""
    module = instance.module
    missing = False
    for name, found in instance.needed.items():
        if found is None:
            missing = True
            yield _missing(name, module, simulation)
        elif found.module in broken:
            why = f"NEEDs {name}, and {found.module.path} cannot be loaded itself: not loaded"
            yield Finding("broken-library", Severity.LOAD, module.path, why)
        elif "/" in name:
            why = f"NEEDs {name}, with its folder: found where it is now, and nowhere else"
            yield Finding("needed-path", Severity.NOTE, module.path, why)
    yield from _runtime_path(module, simulation, missing)


def _missing(name: str, module: InstalledModule, simulation: Simulation) -> Finding:
    file = posixpath.basename(name)
    elsewhere = [path for path in simulation.files if posixpath.basename(path) == file]
    note = f"; there is {elsewhere[0]}" if elsewhere else ""
    if simulation.loader.searches_by_path and "/" in name:
        why = f"NEEDs {name}, and names with a slash are not searched for{note}: not loaded"
        return Finding("needed-path", Severity.LOAD, module.path, why, hint="NEEDED must be the file name alone")
    hint = "conda2wheel repair --libdir puts it there"
    if simulation.loader.searches_by_path:
        where = (
            "site-packages and RUNTIME_PATH" if module.side.loaded_runtime_path else "site-packages, and there is no RUNTIME_PATH"
        )
        if module.side.is_miscounted:
            where = "site-packages; a subsection of dylink.0 has more entries than it counts, and what follows it is not read"
            hint = "build it again: the tool that changed this section last damaged it"
    else:
        where = "<distribution>.libs, site-packages and the folder of the module; RUNTIME_PATH is not read"
    why = f"NEEDs {name}, which is not where this loader looks ({where}){note}: not loaded"
    return Finding("missing-library", Severity.LOAD, module.path, why, hint=hint)


def order_findings(found: Simulation, by_path: Simulation) -> Iterator[tuple[str, Finding]]:
    """Yield the findings, each with its unit, about libraries that a loader finds only where it gets the wheel by name.

    `found` is what it does by name, `by_path` what it does with the path or URL of the wheel.
    """
    for instance in by_path.loaded:
        module = instance.module
        for name, library in instance.needed.items():
            same = next((other.needed.get(name) for other in found.of(module) if other.needed.get(name)), None)
            if library is None and same is not None:
                why = (
                    f"NEEDs {name}, and comes before {same.module.path} in the wheel: loadPackage of Pyodide "
                    f"{found.loader.pyodide} loads it by its name in pyodide-lock.json alone, and not from a path or URL"
                )
                hint = "the members of <distribution>.libs must come first: conda2wheel repair writes them so"
                yield module.unit, Finding("libs-order", Severity.LOAD, module.path, why, hint=hint)


def _runtime_path(module: InstalledModule, simulation: Simulation, missing: bool) -> Iterator[Finding]:
    if not simulation.loader.platform.runtime_path:
        return
    for entry in module.side.loaded_runtime_path:
        wrong = misread(entry)
        if wrong:
            severity = Severity.SUSPICIOUS if missing else Severity.NOTE
            yield Finding("runtime-path-form", severity, module.path, f"has the RUNTIME_PATH entry {entry}: {wrong}")
