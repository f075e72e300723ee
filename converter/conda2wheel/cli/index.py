"""`conda2wheel index`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import Noted, echo, exit_status, print_error, print_json, print_warnings

if TYPE_CHECKING:
    from conda2wheel.files.packagefile import Limits


@options.with_limits
def index(
    wheels: Annotated[
        list[str], typer.Argument(metavar="DIR|WHEEL", help="Wheels of any build tool, or folders of them.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Copy the wheels to this folder and write the index there."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The URL that the folder will be served at: the index then has absolute URLs."),
    ] = None,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Write real files only, no symbolic links, as hosts such as GitHub Pages want them."),
    ] = False,
    jupyterlite: Annotated[
        bool,
        typer.Option(
            "--jupyterlite", help="Also write all.json for JupyterLite's piplite; copies get names that jupyter lite build takes."
        ),
    ] = False,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every warning, and tracebacks of bugs.")] = False,
    *,
    limits: Limits,
) -> None:
    """Write a package index (simple/, in HTML and JSON) of wheels, for any server of files.

    Prints the path of the index on stdout; everything else goes to stderr. Wheels that cannot be read are reported, and the
    others are indexed; the exit status is 1 then.
    """
    from conda2wheel.errors import Conda2WheelError, unexpected_as_failed
    from conda2wheel.index.folder import index_wheels, refused_json
    from conda2wheel.results import document

    try:
        with unexpected_as_failed("index"):
            result = index_wheels(wheels, out=out, url=url, flat=flat, jupyterlite=jupyterlite, limits=limits)
    except Conda2WheelError as error:
        if as_json:
            print_json({**document([refused_json(None, error)]), "index": None})
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None
    for _, problem in result.errors:
        print_error(problem, verbose)
    print_warnings([Noted.of(warning, warning.file) for warning in result.warnings], verbose)
    if as_json:
        results = [*(each.json() for each in result.wheels), *(refused_json(source, each) for source, each in result.errors)]
        print_json({**document(results), "index": result.json() if result.wheels else None})
    elif result.wheels:
        echo(str(result.simple))
        echo(f"conda2wheel: {_summary(len(result.wheels), len(result.projects), result.written, result.removed)}", err=True)
    raise typer.Exit(1 if result.errors else 0)


def _summary(wheels: int, projects: int, written: int, removed: tuple[str, ...]) -> str:
    text = f"{_count(wheels, 'wheel')} of {_count(projects, 'project')}; {_count(written, 'file')} written"
    return f"{text}; removed {', '.join(removed)}" if removed else text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
