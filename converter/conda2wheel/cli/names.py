"""`conda2wheel names`."""

from __future__ import annotations

from typing import Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import Noted, echo, exit_status, print_error, print_json, print_warnings


def names(
    conda_names: Annotated[
        list[str], typer.Argument(metavar="CONDA-NAME", help="Names of conda packages, without versions.", show_default=False)
    ],
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Read the names from the packages of this channel, too. Repeatable."),
    ] = None,
    libdir: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Read the names from this package, folder of packages or prefix, too. Repeatable."),
    ] = None,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every warning, and tracebacks of bugs.")] = False,
) -> None:
    """Show the PyPI names of conda packages, and the source of each answer.

    Prints one line per name: the conda name, the PyPI name (- where PyPI has no such project), the source, and a note: for
    dist-info, the package that contains it.
    """
    from conda2wheel.commands.names import look_up_names
    from conda2wheel.conda.names import is_valid_name
    from conda2wheel.errors import Conda2WheelError, unexpected_as_failed
    from conda2wheel.results import document

    for name in conda_names:
        if not is_valid_name(name.lstrip("_")):
            message = f"{name!r} is not the name of a package; give it without version and channel"
            raise typer.BadParameter(message, param_hint="CONDA-NAME")
    options.require_libdirs(libdir or ())
    try:
        with unexpected_as_failed(" ".join(conda_names)):
            answers, warnings = look_up_names(conda_names, channel or (), libdir or (), options.downloads(offline))
    except Conda2WheelError as error:
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None
    print_warnings([Noted(warning) for warning in warnings], verbose)
    if as_json:
        print_json(document([each.json() for each in answers]))
        return
    guessed = [each for each in answers if each.source == "identity"]
    for each in answers:
        note = f"({each.note})" if each.note and each not in guessed else ""
        echo("  ".join(filter(None, (each.conda, each.pypi or "-", each.source, note))))
    if guessed:
        which = ", ".join(each.conda for each in guessed)
        echo(f"conda2wheel: {which}: {guessed[0].note}; --channel or --libdir names one to read", err=True)
