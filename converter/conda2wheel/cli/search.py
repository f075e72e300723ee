"""`conda2wheel search`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conda2wheel.cli import options
from conda2wheel.cli.messages import echo, exit_status, print_error, print_json

if TYPE_CHECKING:
    from conda2wheel.index.pages.catalogue import CataloguePackage, PackageCatalogue

CONFIG = Path("mirror.toml")
SUMMARY = 76  # characters


class StateChoice(StrEnum):
    """The names of `conda2wheel.index.pages.catalogue.STATES`, repeated here because importing that module is slow."""

    RUNS = "runs"
    PARTLY = "partly"
    PROGRAMS = "programs"
    NOWHERE = "nowhere"
    PENDING = "pending"
    FAILED = "failed"
    REFUSED = "refused"


class LacksChoice(StrEnum):
    """What may lack a package."""

    PYODIDE = "pyodide"
    PYPI = "pypi"


def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="Words of names, modules and summaries.", show_default=False)
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="The address of an index, a store's folder or URL, or a mirror's configuration. By default mirror.toml.",
        ),
    ] = None,
    state: Annotated[StateChoice | None, typer.Option(metavar="STATE", help="Only packages of this state.")] = None,
    pyodide: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Only what runs in this Pyodide, such as 0.29.5 or 0.29.")
    ] = None,
    platform: Annotated[str | None, typer.Option(metavar="TAG", help="Only what has a wheel for this platform, or any.")] = None,
    lacks: Annotated[
        list[LacksChoice] | None,
        typer.Option(
            metavar="pyodide|pypi", help="Only what Pyodide's own distribution, or PyPI for Pyodide, lacks. Repeatable."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="Sort by name, state, size or updated; with - in front, downwards.")
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Show so many packages; 0: all.")] = 25,
    as_json: options.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks of bugs.")] = False,
) -> None:
    """Search an index of wheels, as its search page does.

    Prints one line for each package, the best match first: name, version, the Pyodides in which it runs or what became of it,
    and its summary or the reason. Exit status: 0 something was found, 1 nothing.
    """
    from conda2wheel.abi.platforms import whole_version
    from conda2wheel.errors import Conda2WheelError, Failed
    from conda2wheel.index.pages.ranking import COLUMNS, SearchQuery, search_json
    from conda2wheel.index.pages.ranking import search as find
    from conda2wheel.mirror.search import find_catalogue

    if sort.removeprefix("-") not in ("", *COLUMNS):
        raise typer.BadParameter(f"{sort!r} is none of {', '.join(COLUMNS)}", param_hint="--sort")
    options.require_pyodide(pyodide)
    query = SearchQuery(
        " ".join(words or ()),
        state or "",
        whole_version(pyodide or "") or "",
        platform or "",
        ",".join(dict.fromkeys(lacks or ())),
        sort,
    )
    try:
        if index is None and not CONFIG.is_file():
            raise Failed("usage", "no index to search, and no mirror.toml here", "give --index ADDRESS")
        catalogue = find_catalogue(index or str(CONFIG))
    except Conda2WheelError as error:
        print_error(error, verbose)
        raise typer.Exit(exit_status(error)) from None
    found = find(catalogue, query)
    if not found:
        asked = f" {query.q!r}" if query.q.strip() else ""
        limits = " with these options" if query != SearchQuery(query.q, sort=query.sort) else ""
        echo(f"conda2wheel: nothing matches{asked}{limits} among {len(catalogue.packages)} packages", err=True)
    if as_json:
        print_json(search_json(catalogue, query, limit))
    else:
        for line in _lines(catalogue, found[:limit] if limit else found):
            echo(line)
        if limit and len(found) > limit:
            echo(f"conda2wheel: {len(found) - limit} more (--limit 0 shows all)", err=True)
    raise typer.Exit(0 if found else 1)


def _lines(catalogue: PackageCatalogue, found: list[CataloguePackage]) -> Iterator[str]:
    """Lines of four columns."""
    from conda2wheel.files.escape import printable
    from conda2wheel.index.pages.catalogue import STATES

    short = {each.version: each.short for each in catalogue.pyodides if each.column}
    rows = []
    for package in found:
        names = [short[each] for each in reversed(package.runs) if each in short]
        names += [f"{short[each]} in part" for each in reversed(package.partly) if each in short]
        other = STATES[package.state] if package.state != "failed" else "failed"
        text = package.summary or (f"{package.reason[0] or ''}: {package.reason[1]}".removeprefix(": ") if package.reason else "")
        name = package.name if package.project in (None, package.name) else f"{package.name} ({package.project})"
        line = printable(" ".join(text.split()))
        rows.append(
            (
                printable(name),
                printable(package.version),
                ", ".join(names) or other,
                line if len(line) <= SUMMARY else f"{line[: SUMMARY - 3]}...",
            )
        )
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
