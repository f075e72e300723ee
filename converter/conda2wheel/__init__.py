"""conda2wheel: convert emscripten-forge conda packages into wheels that install and run in Pyodide.

>>> from conda2wheel import convert, Refused
>>> result = convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", out="dist", libdirs=["pkgs/"])  # doctest: +SKIP
"""

import logging
from typing import TYPE_CHECKING, Any

from conda2wheel._version import __version__
from conda2wheel.errors import REFUSAL_CODES, Conda2WheelError, Failed, Refused

if TYPE_CHECKING:
    from conda2wheel.abi.audit.findings import Finding, RunVerdict, Severity
    from conda2wheel.abi.platforms import Platform
    from conda2wheel.bundle.build import bundle_locked, bundle_specs
    from conda2wheel.bundle.lock import Locked, lock
    from conda2wheel.bundle.output import Bundle
    from conda2wheel.bundle.unsatisfied import UnsatisfiedRequest
    from conda2wheel.channels.downloads import Downloads
    from conda2wheel.commands.audit import audit, audit_each
    from conda2wheel.commands.audit_result import Audited, MatrixRow
    from conda2wheel.commands.convert import ConvertKeywords, ConvertOutcome, convert, convert_each
    from conda2wheel.commands.inspect import Inspection, ModuleReport, inspect
    from conda2wheel.commands.pipeline import PipelineKeywords
    from conda2wheel.commands.repair import repair, repair_each
    from conda2wheel.commands.verify import Difference, Verified, verify
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.index.folder import WheelEntry, WheelIndex, index_wheels
    from conda2wheel.index.pyodide_lock import LockEntry
    from conda2wheel.link.library_index import LibraryIndex
    from conda2wheel.options import ALLOWABLE
    from conda2wheel.recipes.model import RecipeBook
    from conda2wheel.results import (
        ConversionWarning,
        Converted,
        Planned,
        Provided,
        Repaired,
        UnusablePart,
        Vendored,
        WheelProgram,
    )

__all__ = [
    "ALLOWABLE",
    "REFUSAL_CODES",
    "Audited",
    "Bundle",
    "Conda2WheelError",
    "ConversionWarning",
    "ConvertKeywords",
    "ConvertOutcome",
    "Converted",
    "Difference",
    "Downloads",
    "Failed",
    "Finding",
    "Inspection",
    "LibraryIndex",
    "Limits",
    "LockEntry",
    "Locked",
    "MatrixRow",
    "ModuleReport",
    "PipelineKeywords",
    "Planned",
    "Platform",
    "Provided",
    "RecipeBook",
    "Refused",
    "Repaired",
    "RunVerdict",
    "Severity",
    "UnsatisfiedRequest",
    "UnusablePart",
    "Vendored",
    "Verified",
    "WheelEntry",
    "WheelIndex",
    "WheelProgram",
    "__version__",
    "audit",
    "audit_each",
    "bundle_locked",
    "bundle_specs",
    "convert",
    "convert_each",
    "index_wheels",
    "inspect",
    "lock",
    "repair",
    "repair_each",
    "verify",
]

# Imported when they are first used (PEP 562), so that `import conda2wheel` and `conda2wheel --help` stay quick.
_LAZY = {
    "ALLOWABLE": "options",
    "Audited": "commands.audit_result",
    "Bundle": "bundle.output",
    "ConvertKeywords": "commands.convert",
    "ConvertOutcome": "commands.convert",
    "Converted": "results",
    "Difference": "commands.verify",
    "Downloads": "channels.downloads",
    "Finding": "abi.audit.findings",
    "Inspection": "commands.inspect",
    "LibraryIndex": "link.library_index",
    "Limits": "files.packagefile",
    "LockEntry": "index.pyodide_lock",
    "WheelEntry": "index.folder",
    "Locked": "bundle.lock",
    "MatrixRow": "commands.audit_result",
    "ModuleReport": "commands.inspect",
    "PipelineKeywords": "commands.pipeline",
    "Planned": "results",
    "Platform": "abi.platforms",
    "Provided": "results",
    "RecipeBook": "recipes.model",
    "Repaired": "results",
    "RunVerdict": "abi.audit.findings",
    "Severity": "abi.audit.findings",
    "UnsatisfiedRequest": "bundle.unsatisfied",
    "UnusablePart": "results",
    "Vendored": "results",
    "WheelProgram": "results",
    "Verified": "commands.verify",
    "WheelIndex": "index.folder",
    "ConversionWarning": "results",
    "audit": "commands.audit",
    "audit_each": "commands.audit",
    "bundle_locked": "bundle.build",
    "bundle_specs": "bundle.build",
    "convert": "commands.convert",
    "convert_each": "commands.convert",
    "index_wheels": "index.folder",
    "inspect": "commands.inspect",
    "lock": "bundle.lock",
    "repair": "commands.repair",
    "repair_each": "commands.repair",
    "verify": "commands.verify",
}

# A library is silent unless its user configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
