"""The Run station: wheels in a real Pyodide, under node."""

from conda2wheel.runtime.check import check_each, check_wheels, pyodide_for
from conda2wheel.runtime.report import Checked, Crash, Imported, Installer, Ran

__all__ = ["Checked", "Crash", "Imported", "Installer", "Ran", "check_each", "check_wheels", "pyodide_for"]
