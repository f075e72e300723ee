"""`conda2wheel repair`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import (
    UNUSED,
    Noted,
    exit_status,
    noted_before,
    print_error,
    print_evidence,
    print_json,
    print_summary,
    print_warnings,
    unused_by_all,
)

if TYPE_CHECKING:
    from conda2wheel.cli.progress import ProgressDisplay
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.results import Repaired


@options.with_limits
def repair(
    wheels: Annotated[
        list[Path], typer.Argument(metavar="WHEEL|DIR", help="Wheels of any build tool, or folders of them.", show_default=False)
    ],
    out: options.Out = Path("dist"),
    libdir: options.Libdirs = None,
    platform: options.TargetPlatforms = None,
    tags: options.Tags = None,
    compat_tags: options.CompatTags = None,
    isolate: options.Isolate = True,
    provided: options.Provided = True,
    bridge: options.Bridge = True,
    allow: options.Allow = None,
    strict: options.Strict = False,
    exclude: options.Exclude = None,
    add_needed: Annotated[
        list[str] | None,
        typer.Option(
            "--add-needed",
            metavar="[MODULE:]LIBRARY",
            help="Add a NEEDED entry to every module, or to those of this path or file name, which may be a pattern. Repeatable.",
        ),
    ] = None,
    find_links: Annotated[
        list[str] | None,
        typer.Option(
            "--find-links",
            metavar="DIR|WHEEL|URL",
            help="Take NEEDED libraries from these wheels, which the result then requires, and do not vendor them. Repeatable.",
        ),
    ] = None,
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
    options.require_libdirs(find_links or (), "--find-links")
    options.require_add_needed(add_needed or ())
    codes = options.allowed(allow)
    results = []
    noted: list[Noted] = []
    errors = []
    native = 0
    started = time.monotonic()
    with show_progress(len(wheels), "repairing") as display:
        outcomes = repair_each(
            wheels,
            out=out,
            libdirs=libdir or (),
            platform=platforms,
            tags=None if tags is None else tags.value,
            compat_tags=compat_tags,
            isolate=isolate,
            provided=provided,
            bridge=bridge,
            allow=codes,
            strict=strict,
            exclude=exclude or (),
            add_needed=add_needed or (),
            find_links=find_links or (),
            limits=limits,
            downloads=options.downloads(offline, display),
        )
        for source, outcome in outcomes:
            if isinstance(outcome, Repaired):
                results.append(outcome.json())
                native += outcome.platform != "any"
                noted += _print_repaired(display, outcome, as_json, verbose)
            else:
                errors.append(outcome)
                results.append(error_json(source, outcome, time.monotonic() - started))
                print_error(outcome, verbose, display)
                noted += noted_before(outcome, source)
            display.advance()
            started = time.monotonic()
    print_warnings(unused_by_all(noted, native), verbose)
    if as_json:
        print_json(document(results))
    print_summary(results)
    raise typer.Exit(exit_status(*errors))


def _print_repaired(display: ProgressDisplay, repaired: Repaired, as_json: bool, verbose: bool) -> list[Noted]:
    """Print a result; returns the warnings that are printed in the end, folded."""
    if not as_json:
        display.echo(str(repaired.wheel))
    noted = [Noted.of(warning, repaired.filename, warning.file) for warning in repaired.warnings]
    if not verbose:
        return noted
    print_warnings([each for each in noted if each.warning.code not in UNUSED], verbose, display)
    print_evidence(display, repaired)
    if not repaired.changed:
        display.echo(f"{repaired.filename}: needed no change, copied", err=True)
    return [each for each in noted if each.warning.code in UNUSED]
