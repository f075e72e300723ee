"""conda2wheel: convert emscripten-forge conda packages into wheels that install and run in Pyodide.

>>> from conda2wheel import convert, Refused
>>> result = convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", out="dist", libdirs=["pkgs/"])  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from conda2wheel._version import __version__
from conda2wheel.errors import Failed, Refused
from conda2wheel.results import Converted, Repaired, Vendored, Warned

if TYPE_CHECKING:
    from conda2wheel.bundle.build import bundle_locked, bundle_specs
    from conda2wheel.commands.audit import audit
    from conda2wheel.commands.convert import convert
    from conda2wheel.commands.inspect import inspect
    from conda2wheel.commands.repair import repair
    from conda2wheel.commands.verify import verify

__all__ = [
    "Converted",
    "Failed",
    "Refused",
    "Repaired",
    "Vendored",
    "Warned",
    "__version__",
    "audit",
    "bundle_locked",
    "bundle_specs",
    "convert",
    "inspect",
    "repair",
    "verify",
]

# Imported when they are first asked for (PEP 562), so that `import conda2wheel` and `conda2wheel --help` stay quick.
_LAZY = {
    "audit": "commands.audit",
    "bundle_locked": "bundle.build",
    "bundle_specs": "bundle.build",
    "convert": "commands.convert",
    "inspect": "commands.inspect",
    "repair": "commands.repair",
    "verify": "commands.verify",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
