"""The Run station: wheels in a real Pyodide, under node."""

from conda2wheel.pyodide.check import check_each, check_wheels, pyodide_for
from conda2wheel.pyodide.report import Checked, Crash, Imported, Installer, Ran

__all__ = ["Checked", "Crash", "Imported", "Installer", "Ran", "check_each", "check_wheels", "pyodide_for"]
