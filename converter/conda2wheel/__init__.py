"""conda2wheel: emscripten-forge conda packages become wheels that install and run in Pyodide.

>>> from conda2wheel import convert, Refused
>>> result = convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", out="dist", libdirs=["pkgs/"])  # doctest: +SKIP
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from conda2wheel._version import __version__
from conda2wheel.outcome import Converted, Failed, Refused, Repaired, Vendored, Warned

if TYPE_CHECKING:
    from conda2wheel.audit import audit
    from conda2wheel.bundle import bundle
    from conda2wheel.convert import convert
    from conda2wheel.inspect import inspect
    from conda2wheel.repair import repair
    from conda2wheel.verify import verify

__all__ = [
    "Converted",
    "Failed",
    "Refused",
    "Repaired",
    "Vendored",
    "Warned",
    "__version__",
    "audit",
    "bundle",
    "convert",
    "inspect",
    "repair",
    "verify",
]
_FUNCTIONS = ("audit", "bundle", "convert", "inspect", "repair", "verify")


class _Package(ModuleType):
    """This package, whose heavy functions are imported when they are first asked for: `conda2wheel --help` stays quick.

    Each lies in a module of its own name, and importing a module sets it as an attribute of its package. So that
    `conda2wheel.convert` is the function whoever imported what before, the function is set in the module's place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FUNCTIONS and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{name}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
