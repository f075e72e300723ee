"""Result types, and the JSON document that `--json` prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel.errors import Conda2WheelError, Refused

SCHEMA_VERSION = 1
ALLOWED = "allowed"  # the code of a warning that would be a refusal without `allow`


@dataclass(frozen=True)
class ConversionWarning:
    """Something that a person should know of a wheel that was made all the same."""

    code: str
    message: str
    file: str | None = None

    def json(self) -> dict[str, Any]:
        """`{"code", "message", "file"}`."""
        return {"code": self.code, "message": self.message, "file": self.file}


@dataclass(frozen=True)
class Vendored:
    """A shared library that travels in the wheel: its path there, where it came from, and which members NEED it."""

    name: str
    source: str
    needed_by: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """`{"name", "from", "needed_by"}`."""
        return {"name": self.name, "from": self.source, "needed_by": list(self.needed_by)}


@dataclass(frozen=True)
class Provided:
    """A NEEDED library that does not travel, since the main module has all that its users take from it: its NEEDED name,
    who has them, how many symbols they are, and which members NEEDed it."""

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
    from a common wheel, which is one of `requires`. `evidence` says why it has its `platform`.
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
    warnings: tuple[ConversionWarning, ...] = ()
    evidence: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    def json(self) -> dict[str, Any]:
        """One entry of `results`, with the keys of the contract."""
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
    """Someone else's wheel after its repair; not `changed`: a copy byte for byte, since it needed nothing."""

    changed: bool = True

    def json(self) -> dict[str, Any]:
        """One entry of `results`: as for `Converted`, with the status "repaired" or "copied"."""
        return {**super().json(), "status": "repaired" if self.changed else "copied"}


def error_json(source: str, error: Conda2WheelError, seconds: float) -> dict[str, Any]:
    """The entry of `results` for a source that gave no wheel: the same keys, null or empty where there is nothing."""
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
        "warnings": [],
        "evidence": [],
        "seconds": round(seconds, 3),
    }


def document(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The one document that `--json` prints: `{"schema": 1, "results": [...]}`; the schema only ever grows."""
    return {"schema": SCHEMA_VERSION, "results": results}
