"""How results, warnings and errors are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from conda2wheel.files.escape import printable

if TYPE_CHECKING:
    from conda2wheel.cli.progress import ProgressDisplay
    from conda2wheel.results import ConversionWarning, Planned


def error_line(error: Exception) -> str:
    """Return an error as one line, with its hint."""
    line = printable(str(error).replace("\n", " "))
    return f"conda2wheel: error: {line}"


def warning_line(warning: ConversionWarning, *subjects: str | None) -> str:
    """Return a warning as one line, with its code; `subjects` are what it is about, such as a wheel and a file of it."""
    about = "".join(f"{subject}: " for subject in subjects if subject)
    return f"conda2wheel: warning: {printable(f'{about}{warning.message}')} [{warning.code}]"


def bug_traceback(error: BaseException) -> str | None:
    """Return the traceback behind an `internal` error, and None for any other error."""
    if getattr(error, "code", None) != "internal" or error.__cause__ is None:
        return None
    import traceback

    return "".join(traceback.format_exception(error.__cause__))


def print_evidence(display: ProgressDisplay, wheel: Planned) -> None:
    """Print what the platform of a wheel follows from, and the libraries that are vendored into it."""
    if wheel.evidence:
        display.echo(f"{wheel.filename}: {wheel.platform}, because: {'; '.join(wheel.evidence)}", err=True)
    for library in wheel.vendored:
        users = ", ".join(library.needed_by)
        display.echo(f"{wheel.filename}: vendored {library.name} from {library.source}, NEEDED by {users}", err=True)


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
