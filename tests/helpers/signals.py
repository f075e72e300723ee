"""Side modules that each show one signal of the ABI, with what must be called so that it comes to what the audit says.

Every signal is a small program that answers 42 where all is right. What becomes of it on a Pyodide is one word: `load` (it is
not loaded), `fatal` (the call ends the interpreter), `wrong` (another answer), `odd` (right, but by luck), `right`. The names of
all modules, libraries and symbols differ from signal to signal, so that one interpreter can try many of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from conda2wheel.wasm import dylink
from conda2wheel.wasm.binary import Module, encode_name, encode_uleb
from tests.helpers import zig

Came = Literal["load", "fatal", "wrong", "odd", "right"]
PYTHONS = {"0.27.7": "312", "0.29.5": "313", "314.0.7": "314"}
VERSIONS = tuple(PYTHONS)
BUILT = zig.suffix("313")  # one build for all: nothing but the file's name knows the CPython
CXX = ("-x", "c++")
WASM_EXCEPTIONS = (*CXX, "-fwasm-exceptions")
JS_EXCEPTIONS = (*CXX, "-fexceptions", "-mllvm", "-enable-emscripten-cxx-exceptions")
HEAD = """
#ifdef __cplusplus
#define INIT extern "C" __attribute__((visibility("default")))
extern "C" {
#include "python.h"
}
#else
#define INIT __attribute__((visibility("default")))
#include "python.h"
#endif
"""
WASM_LONGJMP = ("-mllvm", "-wasm-enable-sjlj", "-mexception-handling")
JS_LONGJMP = ("-mllvm", "-enable-emscripten-sjlj")
NO_EXCEPTIONS = (*CXX, "-fignore-exceptions")  # what emcc does unless it is told otherwise


@dataclass(frozen=True)
class Signal:
    """One signal. `wheels` are the files of each distribution, in their order; `came` what becomes of it on each of
    `VERSIONS`; `code` the finding that says so, or that the audit makes of it all the same (one of several words); `script`
    is Python that leaves the answer in `result`."""

    name: str
    wheels: Mapping[str, Mapping[str, bytes]]
    came: tuple[Came, Came, Came]
    code: str | None
    script: str

    def __str__(self) -> str:
        return self.name

    def files(self, pyodide: str) -> dict[str, dict[str, bytes]]:
        """The wheels with the file names of that Pyodide's CPython."""
        suffix = zig.suffix(PYTHONS[pyodide])
        return {
            wheel: {path.replace(BUILT, suffix): data for path, data in files.items()} for wheel, files in self.wheels.items()
        }


def module(
    name: str,
    body: str,
    declarations: str = "",
    *,
    flags: Sequence[str] = (),
    needed: Sequence[str] = (),
    rpath: Sequence[str] = (),
    ldflags: Sequence[str] = (),
    exports: Sequence[str] = (),
) -> dict[str, bytes]:
    """An extension module whose go() has this C body; nothing but its init function and `exports` is visible. `needed` are
    names; a slash in one is written into the finished module."""
    source = (
        f"{HEAD}{declarations}\n"
        f"static PyObject *go(PyObject *self, PyObject *args) {{ {body} }}\n"
        'static PyMethodDef methods[] = { {"go", go, METH_NOARGS, 0}, NO_METHOD };\n'
        f'static PyModuleDef definition = MODULE("{name}", methods);\n'
        f"INIT PyObject *PyInit_{name}(void) {{ return PyModule_Create(&definition); }}\n"
    )
    made = zig.side_module(
        name,
        source,
        needed=[entry.rpartition("/")[2] for entry in needed],
        rpath=rpath,
        exports=exports,
        cflags=["-fvisibility=hidden", *flags],
        ldflags=ldflags,
    )
    data = made.read_bytes()
    if any("/" in entry for entry in needed):
        data = relinked(data, needed)
    return {made.name: data}


def answer(expression: str) -> str:
    """A body that returns a C expression as an int."""
    return f"return PyLong_FromLong((long)({expression}));"


def library(name: str, source: str, exports: Iterable[str], **options: Sequence[str]) -> dict[str, bytes]:
    """A shared library."""
    return {name: zig.shared_library(name, source, exports=tuple(exports), **options).read_bytes()}


def relinked(data: bytes, needed: Sequence[str]) -> bytes:
    """The module with these NEEDED entries."""
    parsed = Module.parse(data)
    return dylink.write(parsed, dylink.read(parsed).with_needed(needed))


def legacy(data: bytes) -> bytes:
    """The module with the `dylink` section that Emscripten wrote before 2.0.31."""
    parsed = Module.parse(data)
    info = dylink.read(parsed).mem_info
    assert info is not None
    numbers = (info.memory_size, info.memory_align, info.table_size, info.table_align, 0)
    body = encode_name("dylink") + b"".join(encode_uleb(number) for number in numbers)
    return data[:8] + b"\0" + encode_uleb(len(body)) + body + data[parsed.sections[0].end :]


def placed(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files in a folder."""
    return {f"{folder}/{name}": data for name, data in files.items()}


class Shelf:
    """Where the signals are put together, each by its name."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    def one(self, name: str, files: Mapping[str, bytes], came: str, code: str | None = None, module: str = "") -> None:
        """A signal of one wheel. `came` has a word for each version, or one for all."""
        self.many(name, {name: files}, came, code, module)

    def many(
        self,
        name: str,
        wheels: Mapping[str, Mapping[str, bytes]],
        came: str,
        code: str | None = None,
        module: str = "",
        script: str = "",
    ) -> None:
        """A signal of several wheels, installed in this order. The script imports `module` and calls its go()."""
        words = came.split() if " " in came else [came] * len(VERSIONS)
        script = script or f"import {module or name} as module\nresult = module.go()"
        self.signals.append(Signal(name, wheels, tuple(words), code, script))  # type: ignore[arg-type]


@cache
def signals() -> tuple[Signal, ...]:
    """Every signal."""
    from tests.helpers import signals_of_files, signals_of_imports, signals_of_libraries, signals_of_symbols

    shelf = Shelf()
    for part in (signals_of_imports, signals_of_files, signals_of_libraries, signals_of_symbols):
        part.put(shelf)
    return tuple(shelf.signals)
