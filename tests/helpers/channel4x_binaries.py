"""Side modules for many packages from few compilations: the linker's output under another name, with another text in it."""

from __future__ import annotations

from functools import cache

from conda2wheel.wasm.binary import encode_name, encode_uleb
from tests.helpers import zig
from tests.helpers.channel4x_outputs import others

TEXT = "@" * 64  # in every binary: says of which build it is
EXPORTS = 7
PLACE = "place_holder"
THROWS = """
extern "C" {
#include "python.h"
}
#define INIT extern "C" __attribute__((visibility("default")))
static int thrown(int n) { if (n > 0) throw n; return n; }
static PyObject *f_value(PyObject *, PyObject *) {
  try { return PyLong_FromLong(thrown(42)); } catch (int n) { return PyLong_FromLong(n); }
}
static PyObject *f_build(PyObject *, PyObject *) { return PyUnicode_FromString("%TEXT%"); }
static PyMethodDef methods[] = {{"value", f_value, METH_NOARGS, 0}, {"build", f_build, METH_NOARGS, 0}, {0, 0, 0, 0}};
static PyModuleDef definition = {{1, 0}, 0, 0, 0, "place_holder", 0, -1, methods, 0, 0, 0, 0};
INIT PyObject *PyInit_place_holder(void) { return PyModule_Create(&definition); }
""".replace("%TEXT%", TEXT)


def extension(name: str, build: str, needed: tuple[str, ...] = (), *, throws: bool = False) -> bytes:
    """An extension module `name` with value() (42, or what it takes from the libraries that it NEEDs) and build()."""
    return _said(_exported(_template(needed, throws), f"PyInit_{PLACE}", f"PyInit_{name}"), build)


def library(package: str, file: str, build: str) -> bytes:
    """A shared library of a row of `[shared]`."""
    return _said(_library(package, file), build)


def plain(symbol: str, build: str) -> bytes:
    """A shared library that nothing NEEDs, with one function."""
    return _said(_exported(_plain(), PLACE, symbol), build)


@cache
def _template(needed: tuple[str, ...], throws: bool) -> bytes:
    if throws:
        return zig.side_module(PLACE, THROWS, cflags=("-x", "c++", "-fwasm-exceptions")).read_bytes()
    uses = [others()["uses"][file] for file in needed]
    value = " + ".join(each[1] for each in uses) or "42"
    source = zig.extension(
        PLACE, {"value": zig.integer(value), "build": zig.text(TEXT)}, declarations="\n".join(each[0] for each in uses)
    )
    return zig.side_module(PLACE, source, needed=needed).read_bytes()


@cache
def _library(package: str, file: str) -> bytes:
    ((_, _, needed, source),) = [row for row in others()["shared"][package] if row[0] == file]
    keep = f'\n__attribute__((visibility("default"))) const char {_symbol(file)}_build[] = "{TEXT}";\n'
    exports = [f"{_symbol(file)}_build", *_defined(source)]
    return zig.shared_library(file.rpartition("/")[2], source + keep, exports=exports, needed=needed).read_bytes()


@cache
def _plain() -> bytes:
    source = f'const char *{PLACE}(void) {{ return "{TEXT}"; }}\n'
    return zig.shared_library("libplace.so", source, exports=[PLACE]).read_bytes()


def _defined(source: str) -> list[str]:
    """The functions and data that a row's C defines: what stands at a line's beginning and is neither extern nor static."""
    names = []
    for line in source.splitlines():
        head = line.partition("(")[0].partition(" =")[0].split()
        if head and head[0] not in ("extern", "static", "{") and not line.startswith((" ", "{")):
            names.append(head[-1].lstrip("*"))
    return names


def _symbol(file: str) -> str:
    return file.rpartition("/")[2].partition(".so")[0].replace("-", "_")


def _said(binary: bytes, build: str) -> bytes:
    assert TEXT.encode() in binary
    return binary.replace(TEXT.encode(), build.encode()[: len(TEXT)].ljust(len(TEXT), b" "))


def _exported(binary: bytes, old: str, new: str) -> bytes:
    """The same module with an export renamed: only the export section changes its size."""
    result, position = bytearray(binary[:8]), 8
    while position < len(binary):
        number = binary[position]
        size, start = _uleb(binary, position + 1)
        body = binary[start : start + size]
        if number == EXPORTS:
            assert body.count(encode_name(old)) == 1, old
            body = body.replace(encode_name(old), encode_name(new))
        result += bytes([number]) + encode_uleb(len(body)) + body
        position = start + size
    return bytes(result)


def _uleb(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
