"""conda2wheel: emscripten-forge conda packages become wheels that install and run in Pyodide.

>>> from conda2wheel import convert, Refused
>>> result = convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", out="dist", libdirs=["pkgs/"])  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from conda2wheel._version import __version__
from conda2wheel.outcome import Converted, Failed, Refused, Vendored, Warned

if TYPE_CHECKING:
    from conda2wheel.convert import convert
    from conda2wheel.inspect import inspect

__all__ = ["Converted", "Failed", "Refused", "Vendored", "Warned", "__version__", "convert", "inspect"]


def __getattr__(name: str) -> Any:
    """Import the heavy functions when they are first asked for, so that `conda2wheel --help` stays quick."""
    if name in ("convert", "inspect"):
        from importlib import import_module

        return getattr(import_module(f"conda2wheel.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
