"""How results, warnings and errors are printed: every line of a command goes through `echo`, `print_json` or a `console`.

Names, versions, file names and messages come from packages, channels and servers, so control characters are escaped here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.escape import printable, printable_lines

if TYPE_CHECKING:
    from conda2wheel.files.terminal import PlainConsole
    from conda2wheel.results import ConversionWarning, Planned

WIDTH = 240  # columns of a table that is not shown on a terminal


class LinePrinter(Protocol):
    """Prints lines, such as below a progress bar."""

    def echo(self, line: str, err: bool = False) -> None:
        """Print a line on stdout, or on stderr if `err`."""


def echo(text: str = "", err: bool = False) -> None:
    """Print text and the end of its line on stdout, or on stderr if `err`.

    Raises:
        OSError: stdout is closed, full, or its reader has ended. Nothing depends on messages, so those that cannot be printed on
            stderr are dropped.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        stream.write(printable_lines(text) + "\n")
        stream.flush()
    except OSError:
        if not err:
            raise


def console(err: bool = False, width: int = WIDTH, **options: Any) -> PlainConsole:
    """Return a console of rich on stdout, or on stderr if `err`; `width` is that of tables where it is no terminal."""
    from conda2wheel.files.terminal import PlainConsole

    stream = sys.stderr if err else sys.stdout
    return PlainConsole(stderr=err, width=None if stream.isatty() else width, **options)


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on stdout."""
    from conda2wheel.files.json_text import json_text

    encoding = (sys.stdout.encoding or "ascii").lower()
    echo(json_text(document, indent=2, ascii_only=not encoding.startswith("utf")))


def error_line(error: Exception) -> str:
    """Return an error as one line, with its hint."""
    line = printable(str(error).replace("\n", " "))
    return f"conda2wheel: error: {line}"


def print_error(error: Conda2WheelError, verbose: bool = False, display: LinePrinter | None = None) -> None:
    """Print an error on stderr; if `verbose`, with the traceback of the bug behind it."""
    lines = [error_line(error)]
    if verbose and (traceback := bug_traceback(error)) is not None:
        lines.append(traceback)
    for line in lines:
        echo(line, err=True) if display is None else display.echo(line, err=True)


def bug_traceback(error: BaseException) -> str | None:
    """Return the traceback behind an `internal` error, and None for any other error."""
    if getattr(error, "code", None) != "internal" or error.__cause__ is None:
        return None
    import traceback

    return "".join(traceback.format_exception(error.__cause__)).rstrip("\n")


class Noted(NamedTuple):
    """A warning, and what it is about, such as a wheel and a file of it."""

    warning: ConversionWarning
    subjects: tuple[str, ...] = ()

    @classmethod
    def of(cls, warning: ConversionWarning, *subjects: str | None) -> Noted:
        """Make one of subjects of which some may be missing."""
        return cls(warning, tuple(filter(None, subjects)))


def noted_before(error: Conda2WheelError, source: str) -> list[Noted]:
    """The warnings that were collected before an error, but for those that its line has."""
    return [Noted.of(warning, source, warning.file) for warning in error.warnings if warning.message not in error.message]


def warning_lines(noted: Sequence[Noted], verbose: bool = False) -> Iterable[str]:
    """Yield a line for each code of warnings: the first warning, and how many more there are; if `verbose`, a line for each."""
    counts = Counter(each.warning.code for each in noted)
    for each in noted:
        code = each.warning.code
        more = 0 if verbose else counts[code] - 1
        if more < 0:
            continue  # folded into the line of the first one
        about = "".join(f"{subject}: " for subject in each.subjects)
        rest = f"; and {more} more (-v)" if more else ""
        yield f"conda2wheel: warning: {printable(f'{about}{each.warning.message}')}{rest} [{code}]"
        if not verbose:
            counts[code] = 0


def print_warnings(noted: Sequence[Noted], verbose: bool = False, display: LinePrinter | None = None) -> None:
    """Print warnings on stderr, one line a code unless `verbose`."""
    for line in warning_lines(noted, verbose):
        echo(line, err=True) if display is None else display.echo(line, err=True)


def print_evidence(display: LinePrinter, wheel: Planned) -> None:
    """Print what the platform of a wheel follows from, and the libraries that are vendored into it."""
    if wheel.evidence:
        display.echo(f"{wheel.filename}: {wheel.platform}, because: {printable('; '.join(wheel.evidence))}", err=True)
    for library in wheel.vendored:
        users = ", ".join(library.needed_by)
        line = f"{wheel.filename}: vendored {library.name} from {library.source}, NEEDED by {users}"
        display.echo(printable(line), err=True)
