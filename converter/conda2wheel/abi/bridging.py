"""The platforms for which a wheel may have an unwinding bridge (`wasm.bridge`): a fact of their main modules' symbols."""

from __future__ import annotations

from functools import cache

from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.symbols import Symbol, main_symbols

# What the bridge imports, and what code of the JavaScript kind imports beside it, with their types.
HELPERS = {
    "__wasm_longjmp": Symbol("func", "ii>"),
    "setThrew": Symbol("func", "ii>"),
    "__c_longjmp": Symbol("tag", "i>"),
    "__stack_pointer": Symbol("global", "i*"),
    "__indirect_function_table": Symbol("table", ""),
    "__wasm_setjmp": Symbol("func", "iii>"),
    "__wasm_setjmp_test": Symbol("func", "ii>i"),
    "getTempRet0": Symbol("func", ">i"),
    "setTempRet0": Symbol("func", "i>"),
    "__THREW__": Symbol("data", "i"),
    "__threwValue": Symbol("data", "i"),
}


@cache
def has_bridge(platform: Platform) -> bool:
    """Whether longjmp of the JavaScript kind can be bridged: WebAssembly unwinding, and all helpers in every main module.

    An object that the main module's JavaScript makes has no type in the symbol data.
    """
    main = main_symbols(platform)
    return platform.unwinding == "wasm" and all(
        name in main and main[name].kind == kind and main[name].signature in (signature, "")
        for name, (kind, signature) in HELPERS.items()
    )
