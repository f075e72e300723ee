"""The unwinding bridge: a side module that gives longjmp of the JavaScript kind to a main module with WebAssembly unwinding.

Code compiled for JavaScript unwinding calls a function that may longjmp as `invoke_SIG(function, arguments...)`, and longjmp as
`emscripten_longjmp`. Main modules with WebAssembly unwinding have neither; they throw the tag `__c_longjmp` with a pointer to
`{env, value}` (Emscripten's system/lib/compiler-rt/emscripten_setjmp.c). The bridge translates:

- `invoke_SIG` calls the function through the table, inside a legacy `try`. On `__c_longjmp` it restores the stack pointer, calls
  main's `setThrew(env, value)` and returns zero; its caller looks at `__THREW__` next, as after Emscripten's own invoke_* in
  JavaScript (LLVM's WebAssemblyLowerEmscriptenEHSjLj). Every other exception passes.
- `emscripten_longjmp` is main's `__wasm_longjmp` under its older name, which makes 1 of the value 0. It does not call `setThrew`:
  a setjmp of the WebAssembly kind would leave `__THREW__` set, and an outer invoke_* that returns normally would jump once more.

SIG is the result's letter and those of the parameters; p is a pointer, which is an i32.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import NamedTuple

from conda2wheel.wasm.binary import CUSTOM, EXPORT, FUNCTION, HEADER, IMPORT, TYPE, Kind, Module
from conda2wheel.wasm.code import CODE
from conda2wheel.wasm.dylink import MEM_INFO, Subsection
from conda2wheel.wasm.encoding import encode_name, encode_uleb
from conda2wheel.wasm.signature import FUNCTION_TYPE, value_code

LONGJMP = "emscripten_longjmp"
LONGEST = 127  # parameters of a function; the least that C promises (C11 5.2.4.1), and below every engine's limit
MOST = 1000  # names in one bridge
TAG, STACK, TABLE, MEMORY = "__c_longjmp", "__stack_pointer", "__indirect_function_table", "memory"
JUMP, THROW = "__wasm_longjmp", "setThrew"
IMPORTED = {JUMP: "ii>", THROW: "ii>"}  # main's functions that the bridge calls
# JavaScript unwinding: what code calls that was compiled for it, and what a main module with WebAssembly unwinding does not have.
_JAVASCRIPT = re.compile(
    r"invoke_[vijfdpVFXE]+|emscripten_longjmp|__cxa_find_matching_catch\w*|llvm_eh_typeid_for|__resumeException|saveSetjmp|testSetjmp"
)
_INVOKE = re.compile(r"invoke_([vijfdp])([ijfdp]*)")
SYMBOLS = ("env", "GOT.func")  # where functions and their addresses are imported from
_EXPORTED = re.compile(rf"(?:{_INVOKE.pattern}|{LONGJMP})(?:\.[0-9a-f]+)?")
_I32, _VOID_BLOCK, _MUTABLE = 0x7F, 0x40, 1
_ZERO = {"": b"", "i": b"\x41\x00", "j": b"\x42\x00", "f": b"\x43" + bytes(4), "d": b"\x44" + bytes(8)}  # constants
_TRY, _CATCH, _END, _CALL, _CALL_INDIRECT = 0x06, 0x07, 0x0B, 0x10, 0x11
_LOCAL_GET, _LOCAL_SET, _GLOBAL_GET, _GLOBAL_SET, _I32_LOAD = 0x20, 0x21, 0x23, 0x24, 0x28


class Invoke(NamedTuple):
    """The type of a function that `invoke_SIG` calls, in the letters of `signature`."""

    parameters: str
    result: str

    @property
    def called(self) -> str:
        """The type of the function in the table."""
        return f"{self.parameters}>{self.result}"

    @property
    def offered(self) -> str:
        """The type of `invoke_SIG` itself, whose first parameter is the function."""
        return f"i{self.called}"


def invoke(name: str) -> Invoke | None:
    """Read a name `invoke_SIG`; None for any other, for unknown letters, and for more than `LONGEST` parameters.

    >>> invoke("invoke_viij").offered, invoke("invoke_v").called, invoke("invoke_vV")
    ('iiij>', '>', None)
    """
    match = _INVOKE.fullmatch(name)
    if match is None or len(match[2]) > LONGEST:
        return None
    return Invoke(match[2].replace("p", "i"), match[1].replace("p", "i").replace("v", ""))


def offered(name: str) -> str | None:
    """The type of a function that a bridge can give; None for one that it cannot."""
    if name == LONGJMP:
        return IMPORTED[JUMP]
    found = invoke(name)
    return found.offered if found else None


def is_javascript(name: str) -> bool:
    """Whether a symbol belongs to JavaScript unwinding alone."""
    return _JAVASCRIPT.fullmatch(name) is not None


def bridged_names(module: Module, defined: Container[str] = ()) -> frozenset[str]:
    """The names of JavaScript unwinding that a module imports, if a bridge can give all of them, with their types.

    Those in `defined`, which other modules give it, do not count.

    None of them where it cannot: C++ exceptions of the JavaScript kind, the older `saveSetjmp`, unknown letters, more than `MOST`
    names. Raises `WasmError` for a damaged module.
    """
    table = module.import_table
    positions = [
        n for n, name in enumerate(table.fields) if is_javascript(name) and table.modules[n] in SYMBOLS and name not in defined
    ]
    found = list(map(table.entry, positions))
    names = frozenset(entry.field for entry in found)
    if len(names) > MOST or None in map(offered, names):
        return frozenset()
    typed = (entry for entry in found if entry.kind == Kind.FUNC)  # the address of one has no type
    return names if all(module.signature(entry) == offered(entry.field) for entry in typed) else frozenset()


def is_bridge(module: Module) -> bool:
    """Whether a module is a bridge, whatever its file is called and with whichever suffix on its symbols."""
    names = module.export_names
    return (
        0 < len(names) <= MOST
        and all(map(_EXPORTED.fullmatch, names))
        and any(entry.kind == Kind.TAG and entry.field == TAG for entry in module.other_imports)
    )


def make_bridge(names: Iterable[str]) -> bytes:
    """The bridge that exports these names; the same names give the same bytes.

    Raises:
        ValueError: there are no names, more than `MOST`, or one that it cannot give.
    """
    wanted = sorted(set(names))
    if not 0 < len(wanted) <= MOST or not all(map(offered, wanted)):
        raise ValueError("a bridge exports invoke_SIG of known letters and emscripten_longjmp, at least one, and not too many")
    invokes = {name: found for name in wanted if (found := invoke(name))}
    types = list(dict.fromkeys(["ii>", "i>", *(each for found in invokes.values() for each in (found.offered, found.called))]))
    functions = {name: number for number, name in enumerate(IMPORTED)}  # indices: imported ones first
    caught = len(functions)
    functions |= {name: caught + 1 + number for number, name in enumerate(invokes)}
    bodies = [_caught(functions[THROW]), *(_invoke(each, types.index(each.called), caught) for each in invokes.values())]
    exports = {name: functions.get(name, functions[JUMP]) for name in wanted}
    return b"".join(
        (
            HEADER,
            _section(CUSTOM, encode_name("dylink.0") + Subsection.encode(MEM_INFO, bytes(4)).raw),
            _section(TYPE, _vector(map(_type, types))),
            _section(IMPORT, _vector(_imports(types))),
            _section(
                FUNCTION, _vector(encode_uleb(types.index(each)) for each in ("ii>", *(i.offered for i in invokes.values())))
            ),
            _section(EXPORT, _vector(encode_name(n) + bytes([Kind.FUNC]) + encode_uleb(i) for n, i in exports.items())),
            _section(CODE, _vector(encode_uleb(len(body)) + body for body in bodies)),
        )
    )


def _imports(types: list[str]) -> Iterable[bytes]:
    def entry(name: str, kind: Kind, rest: bytes) -> bytes:
        return encode_name("env") + encode_name(name) + bytes([kind]) + rest

    yield entry(MEMORY, Kind.MEMORY, b"\0\0")  # of any size
    yield entry(TABLE, Kind.TABLE, b"\x70\0\0")  # of function references, of any size
    yield entry(STACK, Kind.GLOBAL, bytes([_I32, _MUTABLE]))
    yield entry(TAG, Kind.TAG, b"\0" + encode_uleb(types.index("i>")))
    for name, signature in IMPORTED.items():
        yield entry(name, Kind.FUNC, encode_uleb(types.index(signature)))


def _caught(throw: int) -> bytes:
    """The body of the function (payload, stack pointer) that a catch calls."""
    loads = b"".join(bytes([_LOCAL_GET, 0, _I32_LOAD, 2, offset]) for offset in (0, 4))  # env and value, aligned to 4 bytes
    return bytes([0, _LOCAL_GET, 1, _GLOBAL_SET, 0]) + loads + bytes([_CALL]) + encode_uleb(throw) + bytes([_END])


def _invoke(each: Invoke, called: int, caught: int) -> bytes:
    """The body of one invoke_SIG; a local after its parameters keeps the stack pointer."""
    count = len(each.parameters)
    stack = encode_uleb(count + 1)
    block = value_code(each.result) if each.result else _VOID_BLOCK
    arguments = b"".join(bytes([_LOCAL_GET]) + encode_uleb(number) for number in (*range(1, count + 1), 0))
    return b"".join(
        (
            bytes([1, 1, _I32, _GLOBAL_GET, 0, _LOCAL_SET]) + stack,
            bytes([_TRY, block]) + arguments + bytes([_CALL_INDIRECT]) + encode_uleb(called) + b"\0",
            bytes([_CATCH, 0, _LOCAL_GET]) + stack + bytes([_CALL]) + encode_uleb(caught) + _ZERO[each.result],
            bytes([_END, _END]),
        )
    )


def _type(signature: str) -> bytes:
    parameters, _, results = signature.partition(">")
    return bytes([FUNCTION_TYPE]) + b"".join(
        encode_uleb(len(part)) + bytes(map(value_code, part)) for part in (parameters, results)
    )


def _vector(entries: Iterable[bytes]) -> bytes:
    found = list(entries)
    return encode_uleb(len(found)) + b"".join(found)


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + encode_uleb(len(content)) + content
