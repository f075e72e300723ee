"""`conda2wheel bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import Noted, echo, exit_status, print_error, print_json, print_warnings

if TYPE_CHECKING:
    from conda2wheel.bundle.output import Bundle
    from conda2wheel.files.packagefile import Limits


@options.with_limits
def bundle(
    specs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Match specs, package files, folders of packages, requirements.txt, environment.yml.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Write the bundle to this folder; an older bundle is replaced.")
    ] = Path("bundle"),
    channel: options.Channels = None,
    libdir: options.Libdirs = None,
    platform: options.TargetPlatform = "auto",
    complete: Annotated[
        bool,
        typer.Option("--complete", help="Include pure Python dependencies: noarch packages of the channels, and wheels of PyPI."),
    ] = False,
    with_pyodide: Annotated[
        bool,
        typer.Option("--with-pyodide", help="Use the packages of the Pyodide distribution, in its versions, where it has them."),
    ] = False,
    share_libs: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Put libraries that several wheels need into one wheel of this name."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The URL that the folder will be served at: the index then has absolute URLs."),
    ] = None,
    pyodide_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where browsers find Pyodide's own packages, for the lock file of --with-pyodide."),
    ] = None,
    locked: Annotated[
        Path | None,
        typer.Option("--locked", metavar="FILE", help="Build the bundle of this bundle.lock again, with the same bytes."),
    ] = None,
    tags: options.Tags = None,
    compat_tags: options.CompatTags = None,
    level: options.Level = 6,
    isolate: options.Isolate = True,
    provided: options.Provided = True,
    bridge: options.Bridge = True,
    recipes: options.Recipes = None,
    allow: options.Allow = None,
    strict: options.Strict = False,
    pins: options.Pins = options.PinsChoice.METADATA,
    offline: options.Offline = False,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each step and every warning.")] = False,
    *,
    limits: Limits,
) -> None:
    """Build a folder of wheels that work together, with an index and lock files.

    Prints the path of the folder on stdout; everything else goes to stderr.
    """
    from conda2wheel.bundle.build import bundle_locked, bundle_specs
    from conda2wheel.cli.progress import show_progress
    from conda2wheel.errors import Conda2WheelError, Refused, unexpected_as_failed
    from conda2wheel.results import document, error_json

    if bool(specs) == bool(locked):
        raise typer.BadParameter("give match specs or files, or a lock with --locked", param_hint="SOURCE")
    options.require_libdirs(libdir or ())
    options.require_file(locked, "--locked")
    options.require_recipes(recipes or ())
    options.require_platform(platform)
    codes = options.allowed(allow)
    source = " ".join(specs or [str(locked)])
    try:
        with unexpected_as_failed(source), show_progress(1, "reading the indexes of the channels") as display:
            downloads = options.downloads(offline, display)

            def progress(line: str) -> None:
                display.step(line, permanent=verbose)

            if locked:
                result = bundle_locked(
                    locked, out=out, libdirs=libdir or (), limits=limits, downloads=downloads, progress=progress
                )
            else:
                result = bundle_specs(
                    specs or [],
                    out=out,
                    channels=channel or (),
                    libdirs=libdir or (),
                    platform=platform,
                    complete=complete,
                    with_pyodide=with_pyodide,
                    share_libs=share_libs,
                    url=url,
                    pyodide_url=pyodide_url,
                    tags=None if tags is None else tags.value,
                    compat_tags=compat_tags,
                    level=level,
                    isolate=isolate,
                    provided=provided,
                    bridge=bridge,
                    allow=codes,
                    strict=strict,
                    pins=pins.value,
                    recipes=recipes or (),
                    limits=limits,
                    downloads=downloads,
                    progress=progress,
                )
    except Conda2WheelError as error:
        if as_json:
            print_json(document([{**error_json(source, error, 0.0), "folder": None}]))
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None
    if as_json:
        print_json(document([result.json()]))
    else:
        echo(str(result.folder))
        _print_summary(result, verbose)
    for each in result.unsatisfied:
        print_error(Refused(each.code, f"no wheel for {each.name}: {each.message}", "the rest of the set is complete"))
    raise typer.Exit(1 if result.unsatisfied else 0)


def _print_summary(result: Bundle, verbose: bool) -> None:
    from conda2wheel.abi.audit.findings import listed_parts

    lock = result.lock
    counts = f"{len(result.wheels)} converted, {len(lock.pypi)} from PyPI, {len(lock.shipped)} from Pyodide"
    echo(f"conda2wheel: {counts}", err=True)
    for each in lock.external:
        echo(f"conda2wheel: not in the folder: {each.requirement} ({each.why})", err=True)
    for wheel in result.wheels:
        if wheel.unusable:
            echo(f"conda2wheel: {wheel.filename}: runs except for {listed_parts(wheel.unusable)}", err=True)
    warnings = [*result.warnings, *(warning for wheel in result.wheels for warning in wheel.warnings if verbose)]
    print_warnings([Noted(warning) for warning in warnings], verbose)
