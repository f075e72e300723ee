"""The command line: one module per command, which parses options and renders results.

A command is imported when it is asked for (`commands.py`), and imports what it needs when it runs, so that each starts quickly.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from conda2wheel._version import __version__
from conda2wheel.cli.habits import PREFIX, RootGroup
from conda2wheel.cli.messages import echo, exit_status, print_error, wrong_use
from conda2wheel.errors import Conda2WheelError, failed_unexpectedly

app = typer.Typer(
    name="conda2wheel",
    cls=RootGroup,
    help="Turn emscripten-forge conda packages into wheels that install and run in Pyodide.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Objects before garbage is looked for. Modules make some 45,000, all of which stay, and with Python's 700 they are looked at over
# and over while they are imported: a twentieth of the time of a short command.
GARBAGE = 50_000


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"conda2wheel {__version__}")
        raise typer.Exit


@app.callback(
    epilog=f"Each option has a variable, such as {PREFIX}_LEVEL or {PREFIX}_CONVERT_LEVEL, and a key in conda2wheel.toml and in "
    "[tool.conda2wheel] of pyproject.toml. The command line comes before the environment, and that before the file."
)
def _root(
    context: typer.Context,
    defaults: Annotated[
        Path | None,
        typer.Option(
            "--defaults",
            metavar="FILE",
            help="Take defaults of options from this file, instead of one in this folder or above it. An empty one has none.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn emscripten-forge conda packages into wheels that install and run in Pyodide."""
    from conda2wheel.cli import defaults as files

    with wrong_use():
        file = files.find() if defaults is None else files.read(defaults)
    if file is not None:
        context.meta["defaults"] = str(file.path)
        context.default_map = files.default_map(context.command, file)


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # an exception, so that temporary files are removed


def main() -> None:
    """Run the console script. Exit status: 0 done, 1 something was refused or failed, 2 wrong use (docs/reference/codes.md)."""
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    gc.set_threshold(GARBAGE)
    _open_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout, such as `head`, has ended
        _discard_stdout()
        raise SystemExit(1) from None
    except Conda2WheelError as error:  # it concerns all inputs
        print_error(error)
        raise SystemExit(exit_status(error)) from None
    except OSError as error:
        if error.filename is not None:
            _end_of_a_bug(error)
        _discard_stdout()
        echo(f"conda2wheel: error: cannot write the result: {error.strerror or error}", err=True)
        raise SystemExit(1) from None
    except Exception as bug:  # noqa: BLE001 - it is reported whole with -v
        _end_of_a_bug(bug)


def _end_of_a_bug(bug: Exception) -> NoReturn:
    print_error(failed_unexpectedly("conda2wheel", bug), verbose=bool({"-v", "--verbose"} & {*sys.argv}))
    with suppress(OSError):
        sys.stdout.flush()
    raise SystemExit(1) from None


def _open_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the caller did to them.

    Where one is closed, the next file that is opened would get its number, and what is printed would go there. Writing to a
    closed stdout is an error. A character that the encoding of a stream lacks is escaped.
    """
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 - it stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    """Send the rest of stdout to the null device; Python would report the error again when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
