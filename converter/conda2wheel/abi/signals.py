"""How a side module was compiled, by its imports and exports (each row was built with clang and run).

| seen | meaning |
| --- | --- |
| tag import `__cpp_exception`, `__c_longjmp` | WebAssembly exception handling, wasm longjmp (Emscripten 4.0.9 builds) |
| function import `invoke_*`, `emscripten_longjmp` | JavaScript unwinding (3.1.x builds); fatal when reached elsewhere |
| `__cxa_throw` without either | throws but cannot catch |
| memory import with the flags shared or 64-bit | built with -pthread, for memory64: no Pyodide loads it |
| export `orig$...` | i64 legalised: not built with WASM_BIGINT, which every Pyodide has |

The Emscripten version itself is nowhere in a module: -O2 strips `producers` and `target_features`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from conda2wheel.abi.bridging import has_bridge
from conda2wheel.abi.platforms import Platform, release
from conda2wheel.wasm.binary import Import, Kind, Module, WasmError
from conda2wheel.wasm.bridge import LONGJMP, bridged_names

WASM_UNWINDING_TAGS = frozenset({"__cpp_exception", "__c_longjmp"})
_CALLED_PREFIXES = ("invoke_", LONGJMP)
_CALLED = re.compile(rf"invoke_[vijfdpVFXE]+|{LONGJMP}")
_UNWINDING = re.compile(
    r"invoke_\w+|__cxa_find_matching_catch\w*|emscripten_longjmp|llvm_eh_typeid_for|__resumeException|__THREW__|__threwValue"
    r"|saveSetjmp|testSetjmp|__cpp_exception|__c_longjmp|__wasm_(setjmp\w*|longjmp|lpad_context)|_Unwind_\w+"
)


class Signals(NamedTuple):
    """The ABI signals of one module. `can_be_bridged`: all of its JavaScript unwinding is longjmp that a bridge can give it."""

    wasm_unwinding: bool = False
    js_unwinding: tuple[str, ...] = ()
    can_be_bridged: bool = False
    throws: bool = False
    shared_memory: bool = False
    memory64: bool = False
    legalised: bool = False
    legacy_dylink: bool = False
    python_module: bool = False


def is_unwinding(name: str) -> bool:
    """Whether a symbol belongs to the machinery of exceptions and longjmp, of either kind."""
    return _UNWINDING.fullmatch(name) is not None


def read_signals(module: Module) -> Signals:
    """The signals of a parsed module. Raises `WasmError` for damaged import or export sections."""
    js, wasm, throws, shared, is64 = [], False, False, False, False
    for name, kind in zip(module.import_names, module.import_table.kinds, strict=True):
        if isinstance(kind, int):
            if name.startswith(_CALLED_PREFIXES) and _CALLED.fullmatch(name):
                js.append(name)
            elif name == "__cxa_throw":
                throws = True
        elif isinstance(kind, Import):
            if kind.kind is Kind.TAG:
                wasm = wasm or name in WASM_UNWINDING_TAGS
            elif kind.kind is Kind.MEMORY:
                shared, is64 = shared or kind.shared, is64 or kind.is64
    return Signals(
        wasm_unwinding=wasm,
        js_unwinding=tuple(js),
        can_be_bridged=bool(js) and _can_be_bridged(module),
        throws=throws,
        shared_memory=shared,
        memory64=is64,
        legalised=bool(module.exports_named("orig$")),
        legacy_dylink=module.custom("dylink.0") is None and module.custom("dylink") is not None,
        python_module=bool(module.exports_named("PyInit_")),
    )


def _can_be_bridged(module: Module) -> bool:
    try:
        return bool(bridged_names(module))
    except WasmError:  # the audit says what is wrong with its types
        return False


class Contradiction(NamedTuple):
    """Why a module cannot have been built for a platform.

    Attributes:
        code: the code of the audit's finding about it.
        module: the name of the module.
        why: the reason, which begins with the name.
        loads: whether the module loads there all the same.
    """

    code: str
    module: str
    why: str
    loads: bool = False


def contradictions(modules: Iterable[tuple[str, Signals]], platform: Platform, bridge: bool = True) -> list[Contradiction]:
    """Why these modules (name, signals) cannot have been built for `platform`; empty if nothing contradicts it.

    Longjmp of the JavaScript kind, from a static library of another toolchain, does not where it can be bridged (`bridge`).

    A module that only throws is no contradiction while another module of the same package has unwinding tags: a leaf
    library may leave catching to its callers (awkward-cpp's kernels do).
    """
    found = []
    modules = list(modules)
    any_tags = any(s.wasm_unwinding for _, s in modules)
    for name, s in modules:
        if s.shared_memory:
            why = f"{name} imports a shared memory (built with -pthread); Pyodide has no threads"
            found.append(Contradiction("shared-memory", name, why))
        if s.memory64:
            found.append(Contradiction("memory64", name, f"{name} imports a 64-bit memory; Pyodide is wasm32"))
        if s.legalised:
            found.append(Contradiction("no-bigint", name, f"{name} exports orig$ functions (built without WASM_BIGINT)", True))
        if s.legacy_dylink and not platform.legacy_dylink:
            why = f"{name} has a legacy dylink section, which {platform.tag} no longer loads"
            found.append(Contradiction("legacy-dylink", name, why))
        if platform.unwinding == "wasm" and s.js_unwinding and not (bridge and s.can_be_bridged and has_bridge(platform)):
            names = ", ".join(s.js_unwinding[:3]) + (" ..." if len(s.js_unwinding) > 3 else "")
            why = f"{name} unwinds through JavaScript ({names}), {platform.tag} through WebAssembly exceptions"
            found.append(Contradiction("unwinding", name, why, True))
        if platform.unwinding == "js" and s.wasm_unwinding:
            why = f"{name} imports WebAssembly exception tags, which {platform.tag} does not have"
            found.append(Contradiction("unwinding", name, why))
        if platform.unwinding == "wasm" and s.python_module and s.throws and not s.js_unwinding and not any_tags:
            why = f"{name} throws C++ exceptions (__cxa_throw) but was built without any way to catch one"
            found.append(Contradiction("cannot-catch", name, why, True))
    return found


def cannot_catch(modules: Iterable[tuple[str, Signals]]) -> list[str]:
    """The extension modules that throw C++ exceptions while nothing in the package can catch one, whichever the platform.

    They load and work until they throw, and then the interpreter ends (a real kiwisolver of 3.1.45 does).
    """
    modules = list(modules)
    if any(s.wasm_unwinding or s.js_unwinding for _, s in modules):
        return []
    return [name for name, s in modules if s.throws and s.python_module]


def choose(candidates: Iterable[Platform], modules: Iterable[tuple[str, Signals]]) -> list[Platform]:
    """The candidates that the modules do not contradict, newest Emscripten last; bridged ones only if no other is left."""
    modules, candidates = list(modules), list(candidates)
    own, bridged = ([row for row in candidates if not contradictions(modules, row, bridge)] for bridge in (False, True))
    fit = own or bridged
    return sorted(fit, key=lambda platform: release(platform.emscripten))
