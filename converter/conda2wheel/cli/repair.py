"""`conda2wheel repair`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import bug_traceback, error_line, print_evidence, print_json, warning_line

if TYPE_CHECKING:
    from conda2wheel.cli.progress import ProgressDisplay
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.results import Repaired


@options.with_limits
def repair(
    wheels: Annotated[list[Path], typer.Argument(metavar="WHEEL", help="Wheels of any build tool.", show_default=False)],
    out: options.Out = Path("dist"),
    libdir: options.Libdirs = None,
    platform: options.TargetPlatforms = None,
    compat_tags: options.AddCompatTags = False,
    isolate: options.Isolate = True,
    provided: options.Provided = True,
    bridge: options.Bridge = True,
    allow: options.Allow = None,
    strict: options.Strict = False,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show the evidence for the platform, the vendored libraries, and tracebacks of bugs."
        ),
    ] = False,
    *,
    limits: Limits,
) -> None:
    """Vendor shared libraries into wheels of other build tools, and correct their tags.

    Prints the paths of the new wheels on stdout; everything else goes to stderr. A wheel that needs no change is copied.
    """
    import time

    from conda2wheel.cli.progress import show_progress
    from conda2wheel.commands.repair import repair_each
    from conda2wheel.results import Repaired, document, error_json

    platforms = options.require_platforms(platform)
    options.require_libdirs(libdir or ())
    codes = options.allowed(allow)
    results = []
    good = True
    started = time.monotonic()
    with show_progress(len(wheels), "repairing") as display:
        outcomes = repair_each(
            wheels,
            out=out,
            libdirs=libdir or (),
            platform=platforms,
            compat_tags=compat_tags,
            isolate=isolate,
            provided=provided,
            bridge=bridge,
            allow=codes,
            strict=strict,
            limits=limits,
            downloads=options.downloads(offline, display),
        )
        for source, outcome in outcomes:
            if isinstance(outcome, Repaired):
                results.append(outcome.json())
                _print_repaired(display, outcome, as_json, verbose)
            else:
                good = False
                results.append(error_json(source, outcome, time.monotonic() - started))
                _print_error(display, outcome, verbose)
            display.advance()
            started = time.monotonic()
    if as_json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)


def _print_error(display: ProgressDisplay, error: Conda2WheelError, verbose: bool) -> None:
    display.echo(error_line(error), err=True)
    if verbose and (traceback := bug_traceback(error)) is not None:
        display.echo(traceback, err=True)


def _print_repaired(display: ProgressDisplay, repaired: Repaired, as_json: bool, verbose: bool) -> None:
    if not as_json:
        display.echo(str(repaired.wheel))
    for warning in repaired.warnings:
        display.echo(warning_line(warning, repaired.filename, warning.file), err=True)
    if verbose:
        print_evidence(display, repaired)
        if not repaired.changed:
            display.echo(f"{repaired.filename}: needed no change, copied", err=True)
