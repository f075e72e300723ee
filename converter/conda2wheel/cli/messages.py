"""How results, warnings and errors are printed: every line of a command goes through `echo`, `print_json` or a `console`.

Names, versions, file names and messages come from packages, channels and servers, so control characters are escaped here.
What goes to stderr has a level, and `settings` says which levels are shown.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.escape import printable, printable_lines, shortened

if TYPE_CHECKING:
    from conda2wheel.files.terminal import PlainConsole
    from conda2wheel.results import ConversionWarning, Planned

WIDTH = 240  # columns of a table that is not shown on a terminal
NAMES = 3  # what a folded warning names
UNUSED = frozenset({"exclude-unused", "add-needed-unused"})  # warnings that an option fits nothing
LONGEST = 200  # characters of a folded warning
_COLOURS = {"error:": "\x1b[1;31m", "warning:": "\x1b[33m"}
_PLAIN = "\x1b[0m"


class Level(IntEnum):
    """How important a line on stderr is."""

    ERROR = 40
    WARNING = 30
    INFO = 20


class LogLevel(StrEnum):
    """The values of --log-level: the least important lines that stderr shows."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


@dataclass
class Settings:
    """What one run of the command line shows on stderr."""

    level: LogLevel = LogLevel.INFO

    def shows(self, level: Level) -> bool:
        """Whether lines of a level are shown."""
        return self.level is LogLevel.DEBUG or level >= Level[self.level.name]


settings = Settings()


class LinePrinter(Protocol):
    """Prints lines, such as below a progress bar."""

    def echo(self, line: str, err: bool = False, level: Level = Level.INFO) -> None:
        """Print a line on stdout, or on stderr if `err`."""


def echo(text: str = "", err: bool = False, level: Level = Level.INFO) -> None:
    """Print text and the end of its line on stdout, or on stderr if `err` and its level is shown.

    Raises:
        OSError: stdout is closed, full, or its reader has ended. Nothing depends on messages, so those that cannot be printed on
            stderr are dropped.
    """
    if err and not settings.shows(level):
        return
    stream = sys.stderr if err else sys.stdout
    line = printable_lines(text)
    if err and has_colour():
        line = _PREFIX.sub(lambda match: f"{match[1]}{_COLOURS[match[2]]}{match[2]}{_PLAIN}", line)
    try:
        stream.write(line + "\n")
        stream.flush()
    except OSError:
        if not err:
            raise


_PREFIX = re.compile(r"\A(conda2wheel: )(error:|warning:)")


def has_colour() -> bool:
    """Whether stderr is shown in colour: a terminal, unless NO_COLOR is set; FORCE_COLOR does without a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def console(err: bool = False, width: int = WIDTH, **options: Any) -> PlainConsole:
    """Return a console of rich on stdout, or on stderr if `err`; `width` is that of tables where it is no terminal."""
    from conda2wheel.files.terminal import PlainConsole

    stream = sys.stderr if err else sys.stdout
    quiet = err and not settings.shows(Level.INFO)
    return PlainConsole(stderr=err, width=None if stream.isatty() else width, quiet=quiet, **options)


def print_json(document: dict[str, Any], indent: int | None = 2) -> None:
    """Print a JSON document on stdout. Very long ones are in one line: with an indent Python writes ten times as slowly."""
    from conda2wheel.files.json_text import json_text

    encoding = (sys.stdout.encoding or "ascii").lower()
    echo(json_text(document, indent, ascii_only=not encoding.startswith("utf")))


def error_line(error: Exception, whole: bool = True) -> str:
    """Return an error as one line, with its hint; unless `whole`, with shortened hashes. URLs stay: they may be to be tried."""
    line = printable(str(error).replace("\n", " "))
    return f"conda2wheel: error: {line if whole else shortened(line, urls=False)}"


def print_error(error: Conda2WheelError, verbose: bool = False, display: LinePrinter | None = None) -> None:
    """Print an error on stderr; if `verbose`, with the traceback of the bug behind it."""
    lines = [error_line(error, whole=verbose)]
    if verbose and (traceback := bug_traceback(error)) is not None:
        lines.append(traceback)
    _print_lines(lines, Level.ERROR, display)


def exit_status(*errors: Conda2WheelError) -> int:
    """The exit status of a command with these errors: 2 where one is a wrong use of it, 1 for any other, 0 for none."""
    return max((2 if error.code == "usage" else 1 for error in errors), default=0)


@contextmanager
def wrong_use() -> Iterator[None]:
    """Make every failure in the block a wrong use of the command (usage): a file of options or settings cannot be read."""
    from conda2wheel.errors import Failed

    try:
        yield
    except Failed as error:
        raise Failed("usage", error.message, error.hint) from error


def _print_lines(lines: Iterable[str], level: Level, display: LinePrinter | None) -> None:
    for line in lines:
        echo(line, err=True, level=level) if display is None else display.echo(line, err=True, level=level)


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
    """Yield a line for each code of warnings: how many there are, what they are about, and the first; if `verbose`, one for each.

    URLs and hashes are shortened unless `verbose`.
    """
    if verbose:
        yield from (f"conda2wheel: warning: {printable(_text(each))} [{each.warning.code}]" for each in noted)
        return
    codes: dict[str, list[Noted]] = {}
    for each in noted:
        codes.setdefault(each.warning.code, []).append(each)
    for code, those in codes.items():
        if len(set(those)) == 1:
            line = printable(shortened(_text(those[0])))
            if len(line) > LONGEST and len(those[0].subjects) > 1:
                line = printable(shortened(": ".join([_name(those[0]), *those[0].subjects[1:], those[0].warning.message])))
            yield f"conda2wheel: warning: {line} [{code}]"
            continue
        names = _listed([_name(each) for each in those])
        example = ", such as" if len({each.warning.message for each in those}) > 1 else ""
        about = "".join(f"{each}: " for each in (names, f"{len(those)} warnings{example}") if each)
        line = printable(shortened(f"{about}{those[0].warning.message}"))
        yield f"conda2wheel: warning: {line if len(line) <= LONGEST else line[: LONGEST - 3] + '...'} [{code}; -v shows all]"


def _text(noted: Noted) -> str:
    return "".join(f"{subject}: " for subject in dict.fromkeys(noted.subjects)) + noted.warning.message


def _name(noted: Noted) -> str:
    """What a warning is about, in a word: of a wheel its distribution's name."""
    subject = noted.subjects[0].rstrip("/").rpartition("/")[2] if noted.subjects else ""
    return subject.partition("-")[0] if subject.endswith(".whl") else subject


def _listed(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(filter(None, names)))
    more = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more


def unused_by_all(noted: Sequence[Noted], inputs: int) -> list[Noted]:
    """Return warnings, of those that an option fits nothing only the ones that each of so many inputs has, once.

    An option is for all inputs of a command; that it fits one of them is enough.
    """
    counts = Counter(each.warning.message for each in noted if each.warning.code in UNUSED)
    common = [each for each in noted if each.warning.code in UNUSED and counts[each.warning.message] == inputs]
    unused = dict.fromkeys(Noted(each.warning) if inputs > 1 else each for each in common)
    return [*(each for each in noted if each.warning.code not in UNUSED), *unused]


def print_warnings(noted: Sequence[Noted], verbose: bool = False, display: LinePrinter | None = None) -> None:
    """Print warnings on stderr, one line a code unless `verbose`."""
    _print_lines(warning_lines(noted, verbose), Level.WARNING, display)


def print_summary(results: Sequence[dict[str, Any]], display: LinePrinter | None = None) -> None:
    """Print how many of several results have which status, in the order in which the statuses come first."""
    if len(results) > 1:
        counts = Counter(str(each.get("status", "shown")) for each in results)
        listed = ", ".join(f"{count} {status}" for status, count in counts.items())
        _print_lines([f"conda2wheel: {listed}"], Level.INFO, display)


def print_evidence(display: LinePrinter, wheel: Planned) -> None:
    """Print what the platform of a wheel follows from, and the libraries that are vendored into it."""
    if wheel.evidence:
        display.echo(f"{wheel.filename}: {wheel.platform}, because: {printable('; '.join(wheel.evidence))}", err=True)
    for library in wheel.vendored:
        users = ", ".join(library.needed_by)
        line = f"{wheel.filename}: vendored {library.name} from {library.source}, NEEDED by {users}"
        display.echo(printable(line), err=True)
