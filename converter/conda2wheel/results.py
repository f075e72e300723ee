"""Result types, and the JSON document that `--json` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel.errors import Conda2WheelError, Refused

SCHEMA_VERSION = 1
ALLOWED = "allowed"  # the code of a warning that would be a refusal without `allow`


@dataclass(frozen=True)
class ConversionWarning:
    """A warning about a wheel that was written; a value, not a Python warning.

    Attributes:
        code: Which warning it is; the documentation lists them.
        message: One line.
        file: The member that it is about, if any.
    """

    code: str
    message: str
    file: str | None = None

    def json(self) -> dict[str, Any]:
        """`{"code", "message", "file"}`."""
        return {"code": self.code, "message": self.message, "file": self.file}


@contextmanager
def explained(collected: Callable[[], Iterable[ConversionWarning]]) -> Iterator[None]:
    """Give an error of the block the warnings that were collected until then, which may say why it came to it."""
    try:
        yield
    except Conda2WheelError as error:
        error.warnings = tuple(dict.fromkeys((*collected(), *error.warnings)))
        raise


@dataclass(frozen=True)
class UnusablePart:
    """A part of a wheel that ends the interpreter when it is reached. The wheel loads, and the rest of it runs.

    Attributes:
        module: the path of the module in its wheel.
        code: the code of the audit's finding.
        symbols: the functions that the module calls and that Pyodide does not have; empty if it is about no symbol.
        message: one line.
    """

    module: str
    code: str
    symbols: tuple[str, ...]
    message: str

    def json(self) -> dict[str, Any]:
        """`{"module", "code", "symbols", "message"}`."""
        return {"module": self.module, "code": self.code, "symbols": list(self.symbols), "message": self.message}


@dataclass(frozen=True)
class Vendored:
    """A shared library in the wheel: its path there, the package it was taken from, and the members that NEED it."""

    name: str
    source: str
    needed_by: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """`{"name", "from", "needed_by"}`."""
        return {"name": self.name, "from": self.source, "needed_by": list(self.needed_by)}


@dataclass(frozen=True)
class WheelProgram:
    """A program that a wheel has as a command.

    Attributes:
        name: the command.
        kind: "wasi" or "emscripten".
        file: its file in the wheel.
        files: how it sees files: "folders" (WASI), "noderawfs", "nodefs", "fs" (both mounted by the launcher) or "none".
    """

    name: str
    kind: str
    file: str
    files: str

    def json(self) -> dict[str, Any]:
        """`{"name", "kind", "file", "files"}`."""
        return {"name": self.name, "kind": self.kind, "file": self.file, "files": self.files}


@dataclass(frozen=True)
class TakenLibrary:
    """A library of another conda package that a wheel needs, in the wheel or beside it.

    Attributes:
        package: The package's name.
        file: The library's name without `.so` and what follows.
        needs: The names of other packages whose libraries it NEEDs.
        by_name: Whether the wheel looks symbols of it up by name.
    """

    package: str
    file: str
    needs: tuple[str, ...] = ()
    by_name: bool = False


@dataclass(frozen=True)
class Provided:
    """A NEEDED library that is left out because the main module has every symbol that is used from it.

    Attributes:
        name: Its NEEDED name.
        by: What provides its symbols.
        symbols: How many of its symbols are used.
        needed_by: The members that NEEDed it.
    """

    name: str
    by: str
    symbols: int
    needed_by: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """`{"name", "by", "symbols", "needed_by"}`."""
        return {"name": self.name, "by": self.by, "symbols": self.symbols, "needed_by": list(self.needed_by)}


@dataclass(frozen=True)
class Planned:
    """A wheel that a dry run planned: `wheel` (its path) and `sha256` are None.

    `vendored` are the libraries in the wheel, `provided` those that Pyodide's main module replaces, `shared` those that it takes
    from other wheels, which are among `requires`. `taken` are the libraries of other packages that it needs, wherever they are.
    `unusable` are the parts that end the interpreter when they are reached.
    `evidence` says why it has its `platform`. `programs` are its commands that are WebAssembly.
    """

    source: str
    wheel: Path | None
    filename: str
    sha256: str | None
    platform: str
    name: str
    version: str
    tags: frozenset[str]
    requires: tuple[str, ...] = ()
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    shared: tuple[Vendored, ...] = ()
    unusable: tuple[UnusablePart, ...] = ()
    warnings: tuple[ConversionWarning, ...] = ()
    evidence: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    taken: tuple[TakenLibrary, ...] = field(default=(), repr=False)
    programs: tuple[WheelProgram, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the entry of `results` in the JSON document."""
        return {
            "source": self.source,
            "status": "converted",
            "code": None,
            "message": None,
            "hint": None,
            "wheel": None if self.wheel is None else str(self.wheel),
            "filename": self.filename,
            "sha256": self.sha256,
            "platform": self.platform,
            "name": self.name,
            "version": self.version,
            "requires": list(self.requires),
            "vendored": [lib.json() for lib in self.vendored],
            "provided": [lib.json() for lib in self.provided],
            "shared": [lib.json() for lib in self.shared],
            "unusable": [part.json() for part in self.unusable],
            "programs": [program.json() for program in self.programs],
            "warnings": [warning.json() for warning in self.warnings],
            "evidence": list(self.evidence),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Converted(Planned):
    """A wheel that was written: `wheel` is its path, `sha256` the hash of its bytes in hexadecimal."""

    wheel: Path
    sha256: str


@dataclass(frozen=True)
class Repaired(Converted):
    """A repaired wheel of another builder; not `changed` if it needed no repair and was copied byte for byte."""

    changed: bool = True

    def json(self) -> dict[str, Any]:
        """Return the entry of `results`: that of `Converted` with the status "repaired" or "copied"."""
        return {**super().json(), "status": "repaired" if self.changed else "copied"}


def error_json(source: str, error: Conda2WheelError, seconds: float) -> dict[str, Any]:
    """Return the entry of `results` for a source without a wheel: the same keys, null or empty but for `warnings`."""
    return {
        "source": source,
        "status": "refused" if isinstance(error, Refused) else "failed",
        "code": error.code,
        "message": error.message,
        "hint": error.hint or None,
        "wheel": None,
        "filename": None,
        "sha256": None,
        "platform": None,
        "name": None,
        "version": None,
        "requires": [],
        "vendored": [],
        "provided": [],
        "shared": [],
        "unusable": [],
        "programs": [],
        "warnings": [warning.json() for warning in error.warnings],
        "evidence": [],
        "seconds": round(seconds, 3),
    }


def document(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document that `--json` prints: `{"schema": 1, "results": [...]}`; later versions only add keys."""
    return {"schema": SCHEMA_VERSION, "results": results}
