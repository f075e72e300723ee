"""Run wheels in a real Pyodide, under node."""

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
    "pyodides_for",
]
