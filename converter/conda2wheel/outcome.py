"""What a conversion ends in: a wheel, a verdict about the package, or an accident; and how `--json` prints each.

`Refused` is a verdict with a stable code; the same input gives the same verdict tomorrow. `Failed` is an accident
(network, disk, a bug of ours) that another try may not meet. Both carry one line of what, where and why, and a hint
of what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
ALLOWED = "allowed"  # the code of a warning that would be a refusal if nobody had allowed it

REFUSAL_CODES: dict[str, str] = {
    "not-python": "nothing in it belongs into site-packages",
    "metapackage": "it has no files of its own, only dependencies",
    "interpreter": "an interpreter, or code bound to another main module than Pyodide's",
    "executable": "a command line program (.js with .wasm), which Pyodide cannot start",
    "static-library": "only static libraries, headers and build files",
    "unknown-abi": "no platform follows from the evidence",
    "abi-conflict": "the binaries, or two pieces of evidence, contradict the platform",
    "missing-library": "a NEEDED library is nowhere to be found",
    "unresolved-symbol": "an import that nobody provides: it does not load, or ends the interpreter when reached",
    "signature-mismatch": "an import whose type is another than what is provided",
    "fake-dylib": "a file named `.so` that is no side module",
    "bad-version": "the conda version has no PEP 440 form",
    "bad-name": "no metadata, and its conda name means another project on PyPI",
    "several-distributions": "more than one project in it, none named like it; or a prefix of several packages",
    "unsafe-archive": "a member that points or writes outside of the package",
    "corrupt-archive": "the archive is truncated, damaged or not a conda package",
    "too-large": "a bound on members, size or ratio is exceeded",
}
# What to do about each; README's table is held to both by a test.
REFUSAL_ADVICE: dict[str, str] = {
    "not-python": "give it as `--libdir` if it is a library",
    "metapackage": "convert what it depends on",
    "interpreter": "leave it out",
    "executable": "leave it out; Pyodide starts none",
    "static-library": "leave it out; it is linked in already",
    "unknown-abi": "give `--platform`; the hint lists candidates",
    "abi-conflict": "take a build that was made for it",
    "missing-library": "give its package as `--libdir`",
    "unresolved-symbol": "take a build for that Pyodide, or `--allow` it if that code is never reached",
    "signature-mismatch": "take a build for that Pyodide, or `--allow` it if that code is never reached",
    "fake-dylib": "link it with `-sSIDE_MODULE`",
    "bad-version": "rebuild it with one",
    "bad-name": "give it a dist-info",
    "several-distributions": "split it, or name one",
    "unsafe-archive": "do not trust it",
    "corrupt-archive": "download it again",
    "too-large": "raise the bound if you trust it",
}


class Conda2WheelError(Exception):
    """Base of `Refused` and `Failed`: one line (`message`), and what to do about it (`hint`, may be empty)."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, self.hint))  # exceptions cross process borders by pickle


class Refused(Conda2WheelError):  # noqa: N818 - the contract's word for a verdict
    """A verdict about the input, with one of `REFUSAL_CODES`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in REFUSAL_CODES:
            raise ValueError(f"unknown refusal code {code!r}")
        super().__init__(code, message, hint)


class Failed(Conda2WheelError):  # noqa: N818
    """An accident. `code` says of which class: network, not-found, unreadable, disk, store, locked, usage,
    dependency, tool, internal."""


@dataclass(frozen=True)
class Warned:
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
class Converted:
    """A wheel, written or (with `dry_run`) only planned: then `wheel` and `sha256` are None. `shared` are the libraries that it
    takes from a common wheel, one of those that it requires."""

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
    warnings: tuple[Warned, ...] = ()
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
