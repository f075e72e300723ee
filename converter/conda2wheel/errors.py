"""Errors: `Refused` is a verdict about the input, `Failed` an accident; and the table of all codes.

The same input is refused with the same code tomorrow; another try may not fail again. Both errors carry one line that says what,
where and why (`message`), and what to do about it (`hint`).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class ErrorCode(NamedTuple):
    """One row of the table of codes: what it means, and what to do about it."""

    meaning: str
    advice: str


REFUSAL_CODES: dict[str, ErrorCode] = {
    "not-python": ErrorCode(
        "nothing in it belongs into site-packages",
        "give it as `--libdir` if it is a library",
    ),
    "metapackage": ErrorCode(
        "it has no files of its own, only dependencies",
        "convert what it depends on",
    ),
    "interpreter": ErrorCode(
        "an interpreter, or code bound to another main module than Pyodide's",
        "leave it out",
    ),
    "executable": ErrorCode(
        "a command line program (.js with .wasm), which Pyodide cannot start",
        "leave it out; Pyodide starts none",
    ),
    "static-library": ErrorCode(
        "only static libraries, headers and build files",
        "leave it out; it is linked in already",
    ),
    "unknown-abi": ErrorCode(
        "no platform follows from the evidence",
        "give `--platform`; the hint lists candidates",
    ),
    "abi-conflict": ErrorCode(
        "the binaries, or two pieces of evidence, contradict the platform",
        "take a build that was made for it",
    ),
    "missing-library": ErrorCode(
        "a NEEDED library is nowhere to be found",
        "give its package as `--libdir`",
    ),
    "unresolved-symbol": ErrorCode(
        "an import that nobody provides: it does not load, or ends the interpreter when reached",
        "take a build for that Pyodide, or `--allow` it if that code is never reached",
    ),
    "signature-mismatch": ErrorCode(
        "an import whose type is another than what is provided",
        "take a build for that Pyodide, or `--allow` it if that code is never reached",
    ),
    "fake-dylib": ErrorCode(
        "a file named `.so` that is no side module",
        "link it with `-sSIDE_MODULE`",
    ),
    "bad-version": ErrorCode(
        "the conda version has no PEP 440 form",
        "rebuild it with one",
    ),
    "bad-name": ErrorCode(
        "no metadata, and its conda name means another project on PyPI",
        "give it a dist-info",
    ),
    "several-distributions": ErrorCode(
        "more than one project in it, none named like it; or a prefix of several packages",
        "split it, or name one",
    ),
    "unsafe-archive": ErrorCode(
        "a member that points or writes outside of the package",
        "do not trust it",
    ),
    "corrupt-archive": ErrorCode(
        "the archive is truncated, damaged or not a conda package",
        "download it again",
    ),
    "too-large": ErrorCode(
        "a bound on members, size or ratio is exceeded",
        "raise the bound if you trust it",
    ),
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
