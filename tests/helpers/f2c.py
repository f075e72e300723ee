"""Modules of the shape of scipy and openblas in Pyodide 0.27: f2c's functions come from the BLAS, which not all users NEED."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.helpers import zig


@dataclass(frozen=True)
class Scipy:
    """The extension modules and libraries, by their files.

    `libflib.so` has state, data, and an import of MAIN__ that nothing defines and nothing calls. `libquad.so` takes from it
    without NEEDing it, as `_fitpack` does; `_flapack` NEEDs both. `_fitpack` and `_flapack` count with one counter.
    """

    flapack: Path
    fitpack: Path
    flib: Path
    quad: Path

    def package(self) -> dict[str, Path]:
        """The modules by their place in site-packages."""
        return {f"pkg/{module.name}": module for module in (self.flapack, self.fitpack)}


SCRIPT = """
import pkg._fitpack as fitpack, pkg._flapack as flapack
assert [flapack.solve(), fitpack.write(), flapack.solve(), fitpack.write()] == [1, 102, 3, 104]
assert (fitpack.by_pointer(), fitpack.data(), flapack.quad()) == (105, 7, 213)
print("one f2c")
"""


def scipy(python: str) -> Scipy:
    """The modules for one CPython."""
    flib = zig.shared_library(
        "libflib.so",
        "extern int MAIN__(void);\nint lib_units = 7;\nstatic int written;\nint dsolve_(void) { return ++written; }\n"
        "int do_lio(int *type, int *number) { return *type + *number + ++written; }\nint f2c_main(void) { return MAIN__(); }\n",
        exports=["dsolve_", "do_lio", "lib_units", "f2c_main"],
    )
    f2c = "extern int do_lio(int *, int *), lib_units;\nstatic int (*volatile pointer)(int *, int *) = do_lio;\n"
    f2c += "static int type = 60, number = 40;\n"
    twice = "do_lio(&type, &number) + pointer(&type, &number) - lib_units + 7"
    quad = zig.shared_library(
        "libquad.so",
        f"{f2c}int dqag_(void) {{ return {twice}; }}",
        exports=["dqag_"],
    )
    functions = {
        "write": zig.integer("do_lio(&type, &number)"),
        "by_pointer": zig.integer("pointer(&type, &number)"),
        "data": zig.integer("lib_units"),
    }
    fitpack = zig.side_module("_fitpack", zig.extension("_fitpack", functions, declarations=f2c), python=python)
    declared = "extern int dsolve_(void), dqag_(void);"
    uses = zig.extension("_flapack", {"solve": zig.integer("dsolve_()"), "quad": zig.integer("dqag_()")}, declarations=declared)
    flapack = zig.side_module("_flapack", uses, python=python, needed=["libflib.so", "libquad.so"])
    return Scipy(flapack, fitpack, flib, quad)


THROUGH = """
import pkg._below as module
assert (module.top(), module.below(), module.by_pointer(), module.data()) == (11, 12, 13, 7)
print("one below")
"""


def through(python: str) -> tuple[Path, list[Path]]:
    """A module that takes from a library which it NEEDs through another alone, and the two libraries."""
    below = zig.shared_library(
        "libbelow.so", "int units = 7;\nstatic int calls;\nint below(void) { return 10 + ++calls; }\n", exports=["below", "units"]
    )
    top = zig.shared_library(
        "libtop.so", "extern int below(void);\nint top(void) { return below(); }\n", exports=["top"], needed=["libbelow.so"]
    )
    functions = {
        "top": zig.integer("top()"),
        "below": zig.integer("below()"),
        "by_pointer": zig.integer("pointer()"),
        "data": zig.integer("units"),
    }
    declared = "extern int top(void), below(void), units;\nstatic int (*volatile pointer)(void) = below;"
    code = zig.extension("_below", functions, declarations=declared)
    return zig.side_module("_below", code, python=python, needed=["libtop.so"]), [below, top]
