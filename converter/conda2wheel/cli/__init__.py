"""The command line: one module per command, which parses options and renders results.

A command imports what it needs when it runs, so that `--help` stays quick.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from conda2wheel._version import __version__
from conda2wheel.cli.audit import audit
from conda2wheel.cli.bundle import bundle
from conda2wheel.cli.check import check
from conda2wheel.cli.convert import convert
from conda2wheel.cli.inspect import inspect
from conda2wheel.cli.mirror import app as mirror
from conda2wheel.cli.names import names
from conda2wheel.cli.recipe import app as recipe
from conda2wheel.cli.repair import repair
from conda2wheel.cli.serve import ServeCommand, serve
from conda2wheel.cli.verify import verify

app = typer.Typer(
    name="conda2wheel",
    help="Turn emscripten-forge conda packages into wheels that install and run in Pyodide.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(convert)
app.command()(inspect)
app.command()(audit)
app.command()(repair)
app.command()(verify)
app.command()(check)
app.command()(names)
app.command()(bundle)
app.command(cls=ServeCommand)(serve)
app.add_typer(recipe)
app.add_typer(mirror)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"conda2wheel {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn emscripten-forge conda packages into wheels that install and run in Pyodide."""


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # an exception, so that temporary files are removed


def main() -> None:
    """Run the console script. Exit status: 0 done, 1 something was refused or failed, 2 wrong command line."""
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout, such as `head`, has ended
        _discard_stdout()
        raise SystemExit(1) from None
    except OSError as error:
        _discard_stdout()
        print(f"conda2wheel: error: cannot write the result: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


def _discard_stdout() -> None:
    """Send the rest of stdout to the null device; Python would report the error again when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
