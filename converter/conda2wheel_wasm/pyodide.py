"""`pyodide conda2wheel ...`: the command line as a command of pyodide-cli.

pyodide-cli takes the first part of an entry point's module for its distribution, and no command works if there is none of
that name (0.5.0). Hence this package.
"""

from __future__ import annotations

import sys
from typing import Any

import typer


def conda2wheel(context: typer.Context) -> None:
    """Convert, repair and audit wheels: --help lists the commands."""
    from conda2wheel.cli import main

    sys.argv = ["conda2wheel", *context.args]  # main has the exit status and the messages of every error
    main()


TYPER: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
}
conda2wheel.typer_kwargs = TYPER  # type: ignore[attr-defined] # pyodide-cli reads it
