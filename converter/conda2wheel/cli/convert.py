"""`conda2wheel convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import (
    Noted,
    exit_status,
    noted_before,
    print_error,
    print_evidence,
    print_json,
    print_summary,
    print_warnings,
)

if TYPE_CHECKING:
    from conda2wheel.cli.progress import ProgressDisplay
    from conda2wheel.commands.convert import ConvertOutcome
    from conda2wheel.files.packagefile import Limits
    from conda2wheel.results import Planned

# Warnings that nearly every package has; -v shows them.
QUIET_WARNINGS = ("missing-license", "left-out", "dropped-requirement", "requirement-differs")


@options.with_limits
def convert(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Package files, unpacked packages, prefixes, URLs, match specs.", show_default=False
        ),
    ],
    out: options.Out = Path("dist"),
    libdir: options.Libdirs = None,
    channel: options.Channels = None,
    platform: options.TargetPlatforms = None,
    tags: options.Tags = None,
    compat_tags: options.CompatTags = None,
    level: options.Level = 6,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and link, but write no wheel.")] = False,
    isolate: options.Isolate = True,
    provided: options.Provided = True,
    bridge: options.Bridge = True,
    recipes: options.Recipes = None,
    allow: options.Allow = None,
    strict: options.Strict = False,
    programs: options.Programs = None,
    pins: options.Pins = options.PinsChoice.METADATA,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show the evidence for the platform, every warning, and tracebacks of bugs."),
    ] = False,
    *,
    limits: Limits,
) -> None:
    """Convert conda packages into wheels.

    Prints the paths of the wheels on stdout; everything else goes to stderr.
    """
    from conda2wheel.cli.progress import show_progress
    from conda2wheel.commands.convert import convert_each, expand_all
    from conda2wheel.results import document

    platforms = options.require_platforms(platform)
    options.require_libdirs(libdir or ())
    codes = options.allowed(allow)
    options.require_recipes(recipes or ())
    packages = expand_all(sources)
    results = []
    noted: list[Noted] = []
    errors = []
    with show_progress(len(packages), "converting") as display:
        outcomes = convert_each(
            packages,
            out=out,
            libdirs=libdir or (),
            channels=channel or (),
            platform=platforms,
            tags=None if tags is None else tags.value,
            compat_tags=compat_tags,
            level=level,
            dry_run=dry_run,
            isolate=isolate,
            provided=provided,
            bridge=bridge,
            allow=codes,
            strict=strict,
            programs=programs,
            pins=pins.value,
            recipes=recipes or (),
            limits=limits,
            downloads=options.downloads(offline, display),
        )
        for outcome in outcomes:
            errors += [outcome.error] if outcome.error is not None else []
            results.append(outcome.json())
            noted += _print_outcome(display, outcome, as_json, verbose)
            display.advance()
    print_warnings(noted, verbose)
    if as_json:
        print_json(document(results))
    print_summary(results)
    raise typer.Exit(exit_status(*errors))


def _print_outcome(display: ProgressDisplay, outcome: ConvertOutcome[Planned], as_json: bool, verbose: bool) -> list[Noted]:
    """Print an outcome; returns the warnings that are printed in the end, folded."""
    if outcome.error is not None:
        print_error(outcome.error, verbose, display)
        noted = noted_before(outcome.error, outcome.source)
        return noted if verbose else [each for each in noted if each.warning.code not in QUIET_WARNINGS]
    converted = outcome.converted
    if converted is None:
        return []
    if not as_json:
        display.echo(str(converted.wheel or converted.filename))
    noted = [Noted.of(warning, converted.filename, warning.file) for warning in converted.warnings]
    if not verbose:
        return [each for each in noted if each.warning.code not in QUIET_WARNINGS]
    print_warnings(noted, verbose, display)
    print_evidence(display, converted)
    return []
