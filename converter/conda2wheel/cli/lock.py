"""`conda2wheel lock`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import Noted, echo, exit_status, print_error, print_json, print_warnings

if TYPE_CHECKING:
    from conda2wheel.files.packagefile import Limits


@options.with_limits
def lock(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Wheels and folders of wheels; or match specs, packages, requirements.txt, environment.yml as for bundle.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Write the lock files to this folder, instead of that of the wheels.",
            show_default=False,
        ),
    ] = None,
    pyodide: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="The version of Pyodide, or its series (0.29), instead of the newest for the wheels."
        ),
    ] = None,
    with_pyodide: Annotated[
        bool, typer.Option("--with-pyodide", help="Merge pyodide-lock.json with that of the Pyodide distribution.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The URL of the folder of wheels, instead of paths relative to the lock files."),
    ] = None,
    pyodide_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The URL of the folder that has Pyodide's own packages.")
    ] = None,
    channel: options.Channels = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Include pure Python dependencies of packages, as bundle does.")
    ] = False,
    tags: options.Tags = None,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every warning.")] = False,
    *,
    limits: Limits,
) -> None:
    """Write pyodide-lock.json and pylock.toml for wheels.

    Prints the paths of the two files on stdout; everything else goes to stderr. Exit status: 0 done, 1 a wheel or a request
    that was named is not in them, 2 wrong command line.
    """
    from conda2wheel.bundle.lock import lock as write_locks
    from conda2wheel.cli.progress import show_progress
    from conda2wheel.errors import Conda2WheelError, Refused, unexpected_as_failed
    from conda2wheel.results import document, error_json

    options.require_pyodide(pyodide)
    source = " ".join(sources)
    try:
        with unexpected_as_failed(source), show_progress(1, "reading the wheels") as display:
            result = write_locks(
                sources,
                out=out,
                pyodide=pyodide,
                with_pyodide=with_pyodide,
                url=url,
                pyodide_url=pyodide_url,
                complete=complete,
                channels=channel or (),
                tags=None if tags is None else tags.value,
                limits=limits,
                downloads=options.downloads(offline, display),
                progress=display.step,
            )
    except Conda2WheelError as error:
        if as_json:
            print_json(document([error_json(source, error, 0.0)]))
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None
    if as_json:
        print_json(document([result.json()]))
    else:
        for path in result.files:
            echo(str(path))
        echo(f"conda2wheel: {len(result.entries)} wheels for Pyodide {result.pyodide} ({result.platform})", err=True)
    print_warnings([Noted.of(warning, warning.file) for warning in result.warnings], verbose)
    for each in result.unsatisfied:
        print_error(Refused(each.code, f"{each.name} is not locked: {each.message}", "the lock files have the others"))
    raise typer.Exit(1 if result.unsatisfied else 0)
