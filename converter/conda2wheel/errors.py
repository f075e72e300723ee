"""Errors: `Refused` is a verdict about a package, `Failed` an accident; and the table of all codes.

A refused package is refused again with the same code; a failed command may succeed on the next try. Both errors carry one line
that says what is wrong and where (`message`), and what to do about it (`hint`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple


class ErrorCode(NamedTuple):
    """A row of the table of codes: the kind of error that has the code, what it means, and what to do about it."""

    kind: Literal["refused", "failed"]
    meaning: str
    advice: str


CODES: dict[str, ErrorCode] = {
    "not-python": ErrorCode(
        "refused",
        "it has no files for site-packages",
        "if it is a library, give it with `--libdir`",
    ),
    "metapackage": ErrorCode(
        "refused",
        "it has no files of its own, only dependencies",
        "convert its dependencies",
    ),
    "interpreter": ErrorCode(
        "refused",
        "an interpreter, or code linked for another main module than Pyodide's",
        "leave it out",
    ),
    "executable": ErrorCode(
        "refused",
        "a command line program, which Pyodide cannot start, and that no launcher can start (or `--no-programs`)",
        "leave it out",
    ),
    "static-library": ErrorCode(
        "refused",
        "only static libraries, headers and build files",
        "leave it out; it is already linked into its users",
    ),
    "incomplete": ErrorCode(
        "refused",
        "its own metadata lists modules, and none of them is in it",
        "take the channel's package instead of one that a tool has filtered",
    ),
    "unknown-abi": ErrorCode(
        "refused",
        "no evidence says for which platform it was built",
        "give `--platform`; the hint lists candidates",
    ),
    "abi-conflict": ErrorCode(
        "refused",
        "its binaries, or two pieces of evidence, contradict the platform",
        "take a build made for that platform",
    ),
    "missing-library": ErrorCode(
        "refused",
        "a NEEDED library was not found",
        "give its package with `--libdir`",
    ),
    "unresolved-symbol": ErrorCode(
        "refused",
        "an import that nothing provides: the module does not load (or, with `--strict`, the interpreter ends at a call of it)",
        "take a build for that Pyodide; without `--strict` a function that is missing is a warning",
    ),
    "signature-mismatch": ErrorCode(
        "refused",
        "an import whose type differs from that of the provided symbol",
        "take a build for that Pyodide",
    ),
    "fake-dylib": ErrorCode(
        "refused",
        "a file named `.so` that is not a side module",
        "link it with `-sSIDE_MODULE`",
    ),
    "bad-version": ErrorCode(
        "refused",
        "the conda version has no PEP 440 form",
        "rebuild it with a version that has one",
    ),
    "bad-name": ErrorCode(
        "refused",
        "it has no metadata, and its conda name is another project on PyPI",
        "give it a dist-info",
    ),
    "several-distributions": ErrorCode(
        "refused",
        "more than one project in it, none of them named like it; or a prefix with several packages",
        "split it, or name one",
    ),
    "unsafe-archive": ErrorCode(
        "refused",
        "a member that points or writes outside of the package",
        "do not trust it",
    ),
    "corrupt-archive": ErrorCode(
        "refused",
        "the archive is truncated, damaged or not a conda package",
        "download it again",
    ),
    "too-large": ErrorCode(
        "refused",
        "it exceeds a limit on members, size or compression ratio",
        "raise the limit if you trust it",
    ),
    "network": ErrorCode(
        "failed",
        "a server could not be reached, or its answer was an error",
        "check the network and the address, and try again",
    ),
    "not-found": ErrorCode(
        "failed",
        "no such file, package or channel",
        "check the path or the name",
    ),
    "unreadable": ErrorCode(
        "failed",
        "a file or folder cannot be read, or has another content than its format demands",
        "check its permissions and its content",
    ),
    "disk": ErrorCode(
        "failed",
        "a file could not be written",
        "check permissions and free space",
    ),
    "usage": ErrorCode(
        "failed",
        "an option, a match spec or a configuration file is invalid",
        "correct it as the message says",
    ),
    "dependency": ErrorCode(
        "failed",
        "an optional Python package or a program that the command needs is not installed",
        "install it",
    ),
    "conflict": ErrorCode(
        "failed",
        "the requested packages cannot be installed together, or two different wheels have one file name",
        "loosen one of the specs; give one of the wheels",
    ),
    "store": ErrorCode(
        "failed",
        "the mirror's store could not be read or written",
        "check its address and its credentials",
    ),
    "state": ErrorCode(
        "failed",
        "the mirror's state is damaged, or another program or a newer conda2wheel wrote it",
        "choose another state, or update conda2wheel",
    ),
    "locked": ErrorCode(
        "failed",
        "another process holds the mirror's lease or the lock of a file",
        "wait until it ends",
    ),
    "busy": ErrorCode(
        "failed",
        "another run uses the same mirror state",
        "wait until it ends, or end it",
    ),
    "vanished": ErrorCode(
        "failed",
        "the channel lost more packages than the configuration allows",
        "check the channel, or run once with `--accept-vanished`",
    ),
    "interrupted": ErrorCode(
        "failed",
        "a signal stopped the run",
        "run it again; it continues",
    ),
    "memory": ErrorCode(
        "failed",
        "there is less memory than the package needs",
        "give it more memory, or lower `--max-size`",
    ),
    "check": ErrorCode(
        "failed",
        "a wheel did not pass its check in Pyodide",
        "run `conda2wheel check` on it",
    ),
    "internal": ErrorCode(
        "failed",
        "a bug of conda2wheel",
        "report it with the output of `-v`",
    ),
}
REFUSAL_CODES = {code: row for code, row in CODES.items() if row.kind == "refused"}
FAILURE_CODES = {code: row for code, row in CODES.items() if row.kind == "failed"}


class Conda2WheelError(Exception):
    """Base of `Refused` and `Failed`.

    Attributes:
        code: A key of `CODES`.
        message: One line that says what is wrong and where.
        hint: What to do about it; may be empty.
        warnings: What was noticed before, as `results.ConversionWarning`s: some of it may explain the error.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.warnings: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"warnings": self.warnings}
        return (type(self), (self.code, self.message, self.hint), state)  # pickle carries exceptions between processes


class Refused(Conda2WheelError):  # noqa: N818 - "refused" is the documented word
    """A verdict about a package, with one of `REFUSAL_CODES`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in REFUSAL_CODES:
            raise ValueError(f"unknown refusal code {code!r}")
        super().__init__(code, message, hint)


class Failed(Conda2WheelError):  # noqa: N818 - "failed" is the documented word
    """An accident (network, disk, wrong usage, a bug), with one of `FAILURE_CODES`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in FAILURE_CODES:
            raise ValueError(f"unknown failure code {code!r}")
        super().__init__(code, message, hint)


@contextmanager
def unexpected_as_failed(source: str) -> Iterator[None]:
    """Raise an unexpected exception of the block as `failed_unexpectedly` returns it, so that a bad input is never a traceback.

    Args:
        source: the input that the block reads.
    """
    try:
        yield
    except (Conda2WheelError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as bug:  # a panic of a library in Rust is no `Exception`
        raise failed_unexpectedly(source, bug) from bug


def failed_unexpectedly(source: str, bug: BaseException) -> Failed:
    """Return an unexpected exception as a `Failed`, with the exception as its cause.

    The code is internal, but for what no program can prevent: memory, unreadable and disk.
    """
    if isinstance(bug, MemoryError):
        failed = Failed("memory", f"{source}: out of memory", "give it more memory, or lower --max-size")
    elif isinstance(bug, OSError) and bug.filename is not None:
        where = "" if str(bug.filename) == source else f"{bug.filename}: "
        if bug.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            failed = Failed("disk", f"{source}: {where}{bug.strerror}", "check permissions and free space")
        else:
            failed = Failed("unreadable", f"{source}: {where}{bug.strerror}", "check its permissions")
    else:
        said = next(iter(str(bug).splitlines()), "")
        failed = Failed("internal", f"{source}: {type(bug).__name__}: {said}", "this is a bug of conda2wheel; -v shows where")
    failed.__cause__ = bug
    return failed


def require_several(name: str, values: object) -> None:
    """Raise `Failed` (usage) if an argument that takes several texts is one text: its letters would be taken one by one."""
    if isinstance(values, str):
        raise Failed("usage", f"{name}: one text where a list is wanted", f"{name}=[{values!r}]")
