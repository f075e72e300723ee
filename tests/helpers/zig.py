"""Side modules from C, without Emscripten: the clang and wasm-ld of PyPI's ziglang."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.cache import cached, only

HEADER = Path(__file__).with_name("python.h")
COMPILE = ("clang", "--target=wasm32-unknown-emscripten", "-fPIC", "-O2", "-ffreestanding", "-nostdlibinc")
LINK = (
    "wasm-ld",
    "-shared",
    "--experimental-pic",
    "--unresolved-symbols=import-dynamic",
    "--export-if-defined=__wasm_call_ctors",
    "--export-if-defined=__wasm_apply_data_relocs",
    "--no-export-dynamic",
)


def suffix(python: str) -> str:
    """The file suffix of an extension module, for `python` such as "313"."""
    return f".cpython-{python}-wasm32-emscripten.so"


def shared_library(
    name: str,
    source: str,
    *,
    exports: Sequence[str] = (),
    needed: Sequence[Path | str] = (),
    rpath: Sequence[str] = (),
    cflags: Sequence[str] = (),
    ldflags: Sequence[str] = (),
) -> Path:
    """A shared side module with the file name `name`.

    `needed` gives the NEEDED entries in order: a path is linked against and lends its file name, a string is the name alone,
    which makes cycles easy. `rpath` gives the RUNTIME_PATH entries in order. A source is C, or C++ with `cflags=["-x", "c++"]`.
    """
    inputs = (
        name,
        source,
        *needed,
        tuple(exports),
        tuple(rpath),
        tuple(cflags),
        tuple(ldflags),
        HEADER,
        Path(__file__),
        _version(),
    )

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            shutil.copy(HEADER, work / "python.h")
            (work / "source.c").write_text(source)
            _zig(work, *COMPILE, *cflags, "-I.", "-c", "source.c", "-o", "source.o")
            names = [_provide(item, work) for item in needed]
            options = [f"--export={symbol}" for symbol in exports]
            options += [option for entry in rpath for option in ("-rpath", entry)]
            # The linker writes the names of shared libraries into NEEDED as the command line gives them.
            _zig(work, *LINK, *ldflags, *options, "source.o", *names, "-o", "made.wasm")
            shutil.move(work / "made.wasm", folder / name)

    return only(cached("zig", inputs, make))


def side_module(
    name: str,
    source: str,
    *,
    python: str = "313",
    needed: Sequence[Path | str] = (),
    rpath: Sequence[str] = (),
    exports: Sequence[str] = (),
    cflags: Sequence[str] = (),
    ldflags: Sequence[str] = (),
) -> Path:
    """An extension module: `name` is the module's own name, its file gets the suffix of `python` and exports PyInit_<name>."""
    return shared_library(
        name + suffix(python),
        source,
        exports=[f"PyInit_{name}", *exports],
        needed=needed,
        rpath=rpath,
        cflags=cflags,
        ldflags=ldflags,
    )


def extension(name: str, functions: Mapping[str, str], *, declarations: str = "") -> str:
    """The C source of an extension module whose functions without arguments evaluate these expressions of type PyObject *."""
    bodies = "".join(
        f"static PyObject *f_{key}(PyObject *self, PyObject *args) {{ return {value}; }}\n" for key, value in functions.items()
    )
    methods = "".join(f'  {{"{key}", f_{key}, METH_NOARGS, 0}},\n' for key in functions)
    return (
        f'#include "python.h"\n{declarations}\n{bodies}'
        f"static PyMethodDef methods[] = {{\n{methods}  NO_METHOD\n}};\n"
        f'static PyModuleDef definition = MODULE("{name}", methods);\n'
        f"PyObject *PyInit_{name}(void) {{ return PyModule_Create(&definition); }}\n"
    )


def integer(expression: str) -> str:
    """C for a Python int."""
    return f"PyLong_FromLong({expression})"


def text(value: str) -> str:
    """C for a Python str."""
    return f'PyUnicode_FromString("{value}")'


def error(message: str) -> str:
    """C that raises ValueError."""
    return f'(PyErr_SetString(PyExc_ValueError, "{message}"), (PyObject *)0)'


@dataclass(frozen=True)
class Chain:
    """Two extension modules at different depths, and the two libraries with private state that they share.

    Both modules have bump() (1, 2, 3, ... over both, if libcount is one instance), bump_by_pointer() (the same counter
    through the global offset table), total() (the counter as exported data), peek() (the counter, in the cycle read by
    libbase through libcount), base() (1001, 1002, ...: private state of libbase), hello() and fail(), which raises
    ValueError.
    """

    top: Path  # pkg/_top.<suffix>
    deep: Path  # pkg/sub/deep/_deep.<suffix>
    count: Path  # libcount.so.1.2.3, NEEDed as libcount.so.1
    base: Path  # libbase.so

    ALIAS = "libcount.so.1"

    def package(self) -> dict[str, Path]:
        """The modules by their place in site-packages."""
        return {f"pkg/{self.top.name}": self.top, f"pkg/sub/deep/{self.deep.name}": self.deep}


SCRIPT = """
import pkg._top as top, pkg.sub.deep._deep as deep
got = [top.bump(), deep.bump(), top.bump_by_pointer(), deep.bump_by_pointer(), top.total(), deep.total(), top.peek(), deep.peek()]
assert got == [1, 2, 3, 4, 4, 4, 4, 4], got
assert [top.base(), deep.base(), top.base()] == [1001, 1002, 1003]
assert (top.hello(), deep.hello()) == ("hello from _top", "hello from _deep")
for module in top, deep:
    try:
        module.fail()
    except ValueError as error:
        assert str(error) == "raised in C"
    else:
        raise AssertionError("fail() did not raise")
print("one instance of each library")
"""  # what a working installation of a Chain does


def chain(
    python: str = "313",
    *,
    cycle: bool = False,
    rpath_top: Sequence[str] = (),
    rpath_deep: Sequence[str] = (),
    rpath_libraries: Sequence[str] = (),
) -> Chain:
    """A `Chain` for one CPython; with `cycle`, libbase and libcount NEED each other."""
    base_peek = "extern int count_peek(void);\nint base_peek(void) { return count_peek(); }\n" if cycle else ""
    base = shared_library(
        "libbase.so",
        f"{base_peek}static int calls;\nint base_touch(void) {{ return 1000 + ++calls; }}\n",
        exports=["base_touch", *(["base_peek"] if cycle else [])],
        needed=[Chain.ALIAS] if cycle else [],
        rpath=rpath_libraries if cycle else (),
    )
    count = shared_library(
        "libcount.so.1.2.3",
        "extern int base_touch(void);\nint count_total;\nstatic int count;\n"
        "int count_bump(void) { count_total = ++count; return count; }\n"
        "int count_peek(void) { return count; }\n"
        "int count_base(void) { return base_touch(); }\n",
        exports=["count_total", "count_bump", "count_peek", "count_base"],
        needed=[base],
        rpath=rpath_libraries,
    )
    return Chain(
        top=_counter("_top", python, rpath_top, cycle=cycle),
        deep=_counter("_deep", python, rpath_deep, cycle=cycle),
        count=count,
        base=base,
    )


def _counter(name: str, python: str, rpath: Sequence[str], *, cycle: bool) -> Path:
    peek = "base_peek" if cycle else "count_peek"
    source = extension(
        name,
        {
            "bump": integer("count_bump()"),
            "bump_by_pointer": integer("pointer()"),
            "total": integer("count_total"),
            "peek": integer(f"{peek}()"),
            "base": integer("count_base()"),
            "hello": text(f"hello from {name}"),
            "fail": error("raised in C"),
        },
        declarations="extern int count_bump(void), count_base(void);\nextern int count_total;\n"
        f"extern int {peek}(void);\nstatic int (*volatile pointer)(void) = count_bump;",
    )
    return side_module(name, source, python=python, rpath=rpath, needed=[Chain.ALIAS, *(["libbase.so"] if cycle else [])])


def _provide(item: Path | str, work: Path) -> str:
    """Put a library to link against into the working folder: the real one, or an empty one with that name."""
    if isinstance(item, Path):
        shutil.copy(item, work / item.name)
        return item.name
    (work / "empty.c").write_text("")
    _zig(work, *COMPILE, "-c", "empty.c", "-o", "empty.o")
    _zig(work, *LINK, "empty.o", "-o", item)
    return item


def _zig(work: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", *arguments], cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"zig {_shown(arguments)}: {done.stderr.strip()}")


def _shown(arguments: Iterable[str]) -> str:
    return " ".join(arguments)


def _version() -> str:
    return importlib.metadata.version("ziglang")
