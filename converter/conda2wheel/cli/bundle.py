"""`conda2wheel bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli.convert import Pins
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
    require_recipes,
)

if TYPE_CHECKING:
    from conda2wheel.bundle.output import Bundle


def bundle(
    specs: Annotated[list[str] | None, typer.Argument(metavar="SPEC...", help="Match specs.", show_default=False)] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the set; replaced whole.")] = Path(
        "bundle"
    ),
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where packages are; else emscripten-forge-4x. Repeatable, the preferred one first."),
    ] = None,
    libdir: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Where NEEDED libraries may be found beside the set. Repeatable.")
    ] = None,
    platform: Annotated[str, typer.Option(metavar="auto|TAG|PYODIDE", help="A platform tag or a Pyodide version.")] = "auto",
    complete: Annotated[
        bool, typer.Option("--complete", help="Take along pure Python packages: the channels', and PyPI's wheels.")
    ] = False,
    with_pyodide: Annotated[
        bool, typer.Option("--with-pyodide", help="Take from the Pyodide distribution what it ships; its versions hold.")
    ] = False,
    share_libs: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Put libraries that several wheels would carry into a wheel of this name."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the folder will be served: the index then has whole addresses.")
    ] = None,
    pyodide_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where browsers find Pyodide's own packages, for the lock of --with-pyodide."),
    ] = None,
    locked: Annotated[
        Path | None, typer.Option("--locked", metavar="FILE", help="Make the set of a bundle.lock again: the same bytes.")
    ] = None,
    compat_tags: Annotated[
        bool, typer.Option("--compat-tags/--no-compat-tags", help="Add older names of the platform to the tags.")
    ] = True,
    level: Annotated[int, typer.Option(min=1, max=12, help="Compression level.")] = 6,
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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each step, every warning, what is left.")] = False,
    max_members: MaxMembers = None,
    max_size: MaxSize = None,
    max_member_size: MaxMemberSize = None,
    max_ratio: MaxRatio = None,
) -> None:
    """Make a folder of wheels that work together, with an index and lock files.

    Prints the folder's path on stdout; everything else goes to stderr.
    """
    from conda2wheel.bundle.build import bundle_locked
    from conda2wheel.bundle.build import bundle_specs as make
    from conda2wheel.cli.progress import bar
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.results import document, error_json

    if bool(specs) == bool(locked):
        raise typer.BadParameter("give match specs, or a lock with --locked", param_hint="SPEC...")
    require_places(libdir or ())
    require_recipes(recipes or ())
    bounds = limits(max_members, max_size, max_member_size, max_ratio)
    codes = allowed(allow)
    try:
        with bar(1, "reading what the channels list") as watched:
            brought = downloads(offline, watched)

            def tell(line: str) -> None:
                watched.step(line, keep=verbose)

            if locked:
                made = bundle_locked(locked, out=out, libdirs=libdir or (), limits=bounds, downloads=brought, progress=tell)
            else:
                made = make(
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
                    compat_tags=compat_tags,
                    level=level,
                    isolate=isolate,
                    provided=provided,
                    allow=codes,
                    pins=pins.value,
                    recipes=recipes or (),
                    limits=bounds,
                    downloads=brought,
                    progress=tell,
                )
    except Conda2WheelError as error:
        if json:
            print_json(document([{**error_json(" ".join(specs or [str(locked)]), error, 0.0), "folder": None}]))
        typer.echo(complaint(error), err=True)
        raise typer.Exit(1) from None
    if json:
        print_json(document([made.json()]))
    else:
        typer.echo(str(made.folder))
        _show(made, verbose)


def _show(made: Bundle, verbose: bool) -> None:
    lock = made.lock
    count = f"{len(made.wheels)} converted, {len(lock.pypi)} of PyPI, {len(lock.shipped)} of Pyodide's own"
    typer.echo(f"conda2wheel: {count}", err=True)
    for each in lock.left:
        typer.echo(f"conda2wheel: not in the folder: {each.requirement} ({each.why})", err=True)
    shown = [*made.warnings, *(w for wheel in made.wheels for w in wheel.warnings if verbose)]
    for warning in shown:
        typer.echo(f"conda2wheel: warning: {warning.message} [{warning.code}]", err=True)
