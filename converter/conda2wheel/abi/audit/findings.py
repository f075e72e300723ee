"""The findings of an audit: a severity, a stable code, the module, and one line that says what would happen and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from conda2wheel.results import UnusablePart


class RunVerdict(StrEnum):
    """What an audit says of an input in one Pyodide."""

    RUNS = "runs"
    EXCEPT = "runs-except"  # it loads, and some functions of its modules end the interpreter when they are called
    DOES_NOT_LOAD = "does-not-load"


class Severity(StrEnum):
    """How bad a finding is, worst first. With the first a wheel does not load, with the second it runs except for a part."""

    LOAD = "load"  # the module cannot be loaded at all
    FATAL = "fatal"  # it loads; the interpreter ends when that code is reached
    UPLOAD = "upload"  # it runs, and the index that it is meant for refuses it
    SUSPICIOUS = "suspicious"  # it runs, perhaps with wrong results
    NOTE = "note"  # worth knowing, nothing to do

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)

    @property
    def verdict(self) -> RunVerdict:
        """The verdict about an input whose worst finding has this severity."""
        if self is Severity.LOAD:
            return RunVerdict.DOES_NOT_LOAD
        return RunVerdict.EXCEPT if self is Severity.FATAL else RunVerdict.RUNS


class FindingRule(NamedTuple):
    """The meaning of a finding's code.

    `refusal` is the code with which `convert` refuses a wheel that does not load for it, and with `--strict` one of which a part
    does not run.
    """

    meaning: str
    refusal: str | None = None


RULES: dict[str, FindingRule] = {
    "missing-library": FindingRule("a NEEDED library is not where the loader looks", "missing-library"),
    "libs-order": FindingRule(
        "a library in `<distribution>.libs` is NEEDED by one that lies elsewhere and comes before it in the wheel",
        "missing-library",
    ),
    "broken-library": FindingRule("a NEEDED library is there and cannot be loaded itself", "missing-library"),
    "unresolved-symbol": FindingRule("an import that is not defined anywhere", "unresolved-symbol"),
    "signature-mismatch": FindingRule("an import whose type differs from what is provided", "signature-mismatch"),
    "fake-dylib": FindingRule(
        "a file named .so that is no side module: an object file, an archive, another system's", "fake-dylib"
    ),
    "not-installed": FindingRule("a file in `.data/platlib` or `.data/purelib`, which Pyodide does not install"),
    "damaged-module": FindingRule("a module that cannot be read", "corrupt-archive"),
    "legacy-dylink": FindingRule(
        "a `dylink` section of Emscripten before 2.0.31, which this loader no longer takes", "abi-conflict"
    ),
    "unwinding": FindingRule("exceptions or longjmp of the other kind, JavaScript's or WebAssembly's", "abi-conflict"),
    "bridged": FindingRule("longjmp of the JavaScript kind, which the unwinding bridge in the wheel gives it"),
    "cannot-catch": FindingRule("throws C++ exceptions and was built without any way to catch one", "abi-conflict"),
    "shared-memory": FindingRule("built with -pthread; Pyodide has no threads", "abi-conflict"),
    "memory64": FindingRule("built for 64-bit memory; Pyodide is wasm32", "abi-conflict"),
    "memory-limits": FindingRule("its memory's limits do not admit Pyodide's memory", "abi-conflict"),
    "no-bigint": FindingRule("i64 legalised: built without WASM_BIGINT, which every Pyodide has", "abi-conflict"),
    "engine": FindingRule("needs WebAssembly features that not every engine has", "abi-conflict"),
    "exnref": FindingRule("the newer exception opcodes (try_table), which not every engine compiles", "abi-conflict"),
    "simd": FindingRule("uses 128-bit SIMD: needs an engine that has it"),
    "wrong-python": FindingRule("its file suffix or tag is of another CPython, whose import system ignores it", "abi-conflict"),
    "any-tag": FindingRule("a side module in a wheel that is tagged any: it is installed where nothing can load it"),
    "cpython-symbol": FindingRule("a function of CPython that this version does not have", "unresolved-symbol"),
    "private-api": FindingRule("imports private functions of CPython (_Py*)"),
    "not-abi3": FindingRule("is tagged abi3 and imports what is not in the limited API of that version"),
    "duplicate-instance": FindingRule("one library would be loaded more than once, each with its own state"),
    "main-wins": FindingRule("a library's symbol that the main module has too: the main module's is taken"),
    "symbol-clash": FindingRule(
        "a symbol that another library defines too: data and function pointers of the first loaded are taken"
    ),
    "library-clash": FindingRule("a NEEDED library that another wheel brings under the same file name: that one is taken"),
    "runtime-path-form": FindingRule("a RUNTIME_PATH entry that the loader does not read as it was meant"),
    "needed-path": FindingRule("a NEEDED entry with a slash, which is not searched for", "missing-library"),
    "pypi-filename": FindingRule("PyPI: a file name that is not the normalised name and the version of METADATA"),
    "pypi-tag": FindingRule("PyPI: a platform tag that it does not take"),
    "pypi-size": FindingRule("PyPI: larger than a project's files may be without asking for more"),
    "pypi-ratio": FindingRule("PyPI: unpacks to so much more that it counts as a bomb"),
    "pypi-compression": FindingRule("PyPI: a member that is compressed in another way than deflate"),
    "pypi-zip": FindingRule("PyPI: a zip that readers see differently"),
    "pypi-dist-info": FindingRule("PyPI: WHEEL, METADATA or RECORD is missing or cannot be read"),
    "pypi-record": FindingRule("PyPI: RECORD does not list what is in the wheel; it takes it, and writes to the owners"),
    "pypi-entry-points": FindingRule("PyPI: entry_points.txt cannot be read, or has a script of an impossible name"),
    "pypi-metadata": FindingRule("PyPI: a field of METADATA that it does not take"),
    "pypi-classifier": FindingRule("PyPI: a classifier that it does not know, or that is deprecated"),
    "pypi-local-version": FindingRule("PyPI: a local version"),
    "pypi-direct-reference": FindingRule("PyPI: a requirement with a URL"),
    "pypi-license-file": FindingRule("PyPI: a License-File that is not in the wheel"),
    "pypi-description": FindingRule("PyPI: a description that cannot be rendered"),
    "pypi-name": FindingRule("PyPI: the name of a module of the standard library, of which it makes no project"),
    "weak-missing": FindingRule("a weak import that is not defined anywhere: it is null, which the code is expected to check"),
}


SHOWN = 4  # names in a message


def listed(names: Sequence[str]) -> str:
    """The first few names for a message, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e", "f"])
    ('a, b', 'a, b, c, d and 2 more')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: one of `RULES`.
        severity: how bad it is.
        module: the path of the module in its wheel or package.
        message: one line for people.
        symbol: the symbol that it is about, if it is one.
        hint: what to do.
        symbols: all symbols, if there are several, of which the message names a few.
    """

    code: str
    severity: Severity
    module: str
    message: str
    symbol: str | None = None
    hint: str = ""
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.code not in RULES:
            raise ValueError(f"unknown finding code {self.code!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every symbol that it is about."""
        return self.symbols or ((self.symbol,) if self.symbol else ())

    def json(self) -> dict[str, Any]:
        """`{"code", "severity", "module", "symbol", "symbols", "message", "hint"}`; `symbols` lists every one."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "module": self.module,
            "symbol": self.symbol,
            "symbols": list(self.names),
            "message": self.message,
            "hint": self.hint or None,
        }


def listed_parts(parts: Sequence[UnusablePart]) -> str:
    """Name parts for a message, by module, with the functions that are missing.

    >>> listed_parts([UnusablePart("p/a.so", "unresolved-symbol", ("f", "g"), ""), UnusablePart("p/b.so", "unwinding", (), "")])
    'p/a.so (f, g), p/b.so'
    """
    modules: dict[str, dict[str, None]] = {}
    for part in parts:
        modules.setdefault(part.module, {}).update(dict.fromkeys(part.symbols))
    words = [f"{module} ({listed(list(symbols))})" if symbols else module for module, symbols in modules.items()]
    more = f" and {len(words) - SHOWN} more modules" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def unusable_parts(findings: Iterable[Finding]) -> tuple[UnusablePart, ...]:
    """The parts of an input that end the interpreter when they are reached, where the rest of it runs."""
    fatal = (finding for finding in findings if finding.severity is Severity.FATAL)
    return tuple(UnusablePart(each.module, each.code, each.names, each.message) for each in fatal)
