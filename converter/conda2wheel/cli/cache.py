"""`conda2wheel cache`: show and clear the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import echo, exit_status, print_error, print_json

if TYPE_CHECKING:
    from conda2wheel.commands.cache import CacheReport

app = typer.Typer(
    name="cache",
    help="Show and clear the cache.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Show and clear the cache of packages, lists of channels, and Pyodides."""


@app.command()
def info(as_json: options.Json = False) -> None:
    """Show where the cache is, and what it has.

    Prints a line for each kind: its name, size, number of files, and what it is.
    """
    from conda2wheel.commands.cache import cache_info

    _print(cache_info(), as_json)


@app.command()
def clear(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND", help="Kinds, as `cache info` names them; none: all.", show_default=False),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was not changed for this long: 12h, 30d.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; show what would be removed.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove what is in the cache, but for what a running process has locked.

    Prints what was removed, as `cache info` does. Nothing depends on the cache: what is missing is downloaded again.
    """
    from conda2wheel.commands.cache import clear_cache
    from conda2wheel.errors import Conda2WheelError
    from conda2wheel.files.toml import parse_duration

    try:
        older = None if older_than is None else parse_duration(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    try:
        report = clear_cache(kinds or (), older, dry_run)
    except Conda2WheelError as error:
        print_error(error)
        raise typer.Exit(exit_status(error)) from None
    _print(report, as_json)
    locked = sum(each.locked for each in report.uses)
    if locked:
        echo(f"conda2wheel: {locked} in use, not removed", err=True)


def _print(report: CacheReport, as_json: bool) -> None:
    from conda2wheel.files.escape import format_size

    if as_json:
        print_json(report.json())
        return
    rows = [(each.kind, format_size(each.size), str(each.files), each.what) for each in report.uses]
    rows.append(("all", format_size(report.size), str(sum(each.files for each in report.uses)), str(report.folder)))
    for kind, size, files, what in rows:
        echo(f"{kind:<9} {size:>8} {files:>7} files  {what}")
