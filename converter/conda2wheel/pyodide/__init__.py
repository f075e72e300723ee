"""Run wheels in a real Pyodide, under node."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conda2wheel.pyodide.check import CheckOptions, check_each, check_wheels, pyodide_for
    from conda2wheel.pyodide.report import Checked, Crash, Imported, Installer, Ran

__all__ = [
    "CheckOptions",
    "Checked",
    "Crash",
    "Imported",
    "Installer",
    "Ran",
    "check_each",
    "check_wheels",
    "pyodide_for",
]

_CHECK = ("CheckOptions", "check_each", "check_wheels", "pyodide_for")


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562): who reads a lock file of this room needs none of what runs wheels."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{'check' if name in _CHECK else 'report'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
