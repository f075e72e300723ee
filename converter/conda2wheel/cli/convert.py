"""`conda2wheel convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli.options import (
    Allow,
    Given,
    Isolate,
    Json,
    MaxMembers,
    MaxMemberSize,
    MaxRatio,
    MaxSize,
    Offline,
    allowed,
    complaint,
    downloads,
    limits,
    print_json,
    require_places,
    require_platform,
    require_recipes,
)

if TYPE_CHECKING:
    from conda2wheel.cli.progress import Watched
    from conda2wheel.commands.convert import ConvertOutcome
    from conda2wheel.results import Planned


class Pins(StrEnum):
    """As `options.PINS`, which takes longer to import than --help may."""

    METADATA = "metadata"
    CONDA = "conda"


def convert(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Package files, unpacked packages, prefixes, URLs, match specs.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where wheels are written.")] = Path("dist"),
    libdir: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Where NEEDED libraries may be found: a package, a folder of packages, a prefix. Repeatable."
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where match specs are looked up; else emscripten-forge-4x. Repeatable."),
    ] = None,
    platform: Annotated[str, typer.Option(metavar="auto|TAG|PYODIDE", help="A platform tag or a Pyodide version.")] = "auto",
    compat_tags: Annotated[bool, typer.Option("--compat-tags", help="Add older names of the platform to the tag.")] = False,
    level: Annotated[int, typer.Option(min=1, max=12, help="Compression level.")] = 6,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and link, write nothing.")] = False,
    isolate: Isolate = True,
    provided: Given = True,
    recipes: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Conversion recipes that come before ours. Repeatable.")
    ] = None,
    allow: Allow = None,
    pins: Annotated[
        Pins, typer.Option(metavar="metadata|conda", help="Whose bounds on requirements hold; conda's join METADATA's.")
    ] = Pins.METADATA,
    offline: Offline = False,
    json: Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the evidence, every warning, and where a bug is.")
    ] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Convert conda packages into wheels.

    Prints the wheels' paths on stdout; everything else goes to stderr.
    """
    from conda2wheel.cli.progress import bar
    from conda2wheel.commands.convert import convert_each, expand_all
    from conda2wheel.results import document

    require_platform(platform)
    require_places(libdir or ())
    codes = allowed(allow)
    require_recipes(recipes or ())
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    names = expand_all(sources)
    results = []
    good = True
    with bar(len(names), "converting") as watched:
        outcomes = convert_each(
            names,
            out=out,
            libdirs=libdir or (),
            channels=channel or (),
            platform=platform,
            compat_tags=compat_tags,
            level=level,
            dry_run=dry_run,
            isolate=isolate,
            provided=provided,
            allow=codes,
            pins=pins.value,
            recipes=recipes or (),
            limits=bounds,
            downloads=downloads(offline, watched),
        )
        for outcome in outcomes:
            good &= outcome.error is None
            results.append(outcome.json())
            _show(watched, outcome, json, verbose)
            watched.advance()
    if json:
        print_json(document(results))
    raise typer.Exit(0 if good else 1)


def _show(watched: Watched, outcome: ConvertOutcome[Planned], json: bool, verbose: bool) -> None:
    if outcome.error is not None:
        watched.echo(complaint(outcome.error), err=True)
        if verbose and outcome.bug is not None:
            import traceback

            watched.echo("".join(traceback.format_exception(outcome.bug)), err=True)
        return
    converted = outcome.converted
    if converted is None:
        return
    if not json:
        watched.echo(str(converted.wheel or converted.filename))
    for warning in converted.warnings:
        if verbose or warning.code not in ("missing-license", "left-out", "dropped-requirement", "requirement-differs"):
            where = f"{warning.file}: " if warning.file else ""
            watched.echo(f"conda2wheel: warning: {converted.filename}: {where}{warning.message} [{warning.code}]", err=True)
    if verbose:
        if converted.evidence:
            watched.echo(f"{converted.filename}: {converted.platform}, by this: {'; '.join(converted.evidence)}", err=True)
        for library in converted.vendored:
            users = ", ".join(library.needed_by)
            watched.echo(f"{converted.filename}: vendored {library.name} from {library.source}, NEEDED by {users}", err=True)
