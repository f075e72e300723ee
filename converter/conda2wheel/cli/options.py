"""Options that several commands share, and how errors and results are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conda2wheel.channels.downloads import Downloads
    from conda2wheel.cli.progress import Watched
    from conda2wheel.files.packagefile import Limits

MaxMembers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Bound on the members of a package.", rich_help_panel="Bounds")
]
MaxSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Bound on what a package unpacks to: 8G.", rich_help_panel="Bounds")
]
MaxMemberSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Bound on one file of a package: 2G.", rich_help_panel="Bounds")
]
MaxRatio = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Bound on unpacked to packed size: 250.", rich_help_panel="Bounds")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="CODE", help="Make this refusal a warning, and record it in the wheel. Repeatable."),
]
Isolate = Annotated[
    bool, typer.Option("--isolate/--no-isolate", help="Give the symbols of vendored libraries names of their own.")
]
Given = Annotated[
    bool,
    typer.Option("--provided/--no-provided", help="Leave out libraries of which Pyodide's main module has all that is taken."),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask nothing of the network: channels and packages come from the cache alone.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def limits(members: int | None, size: str | None, member_size: str | None, ratio: int | None) -> Limits:
    """The bounds with what was given on the command line."""
    from conda2wheel.files.packagefile import Limits

    given: dict[str, Any] = {
        "members": members,
        "size": _bytes("--max-size", size),
        # What is packed is smaller than what it unpacks to: who allows the one allows the other.
        "download": _bytes("--max-size", size),
        "member_size": _bytes("--max-member-size", member_size),
        "ratio": ratio,
    }
    return Limits(**{key: value for key, value in given.items() if value is not None})


def downloads(offline: bool, watched: Watched | None = None) -> Downloads:
    """How one run of a command has packages: it asks a channel once, and shows what comes where somebody watches."""
    from conda2wheel.channels.downloads import FRESH, Downloads

    return Downloads(offline=offline, watch=None if watched is None else watched.received, fresh=FRESH)


def require_places(libdirs: Iterable[str]) -> None:
    """A mistyped --libdir is a wrong command line, even where no library will be looked for."""
    from conda2wheel.net.download import is_url

    for place in libdirs:
        if not is_url(place) and not os.path.exists(place):
            raise typer.BadParameter(f"{place}: no such file or folder", param_hint="--libdir")


def require_platform(platform: str) -> None:
    """A mistyped --platform is a wrong command line, which shows what it could be."""
    from conda2wheel.abi.platforms import parse, unknown

    if platform != "auto" and parse(platform) is None:
        raise typer.BadParameter(unknown(platform), param_hint="--platform")


def require_recipes(folders: Iterable[str]) -> None:
    """A recipe that is wrong is told before anything is converted."""
    from conda2wheel.errors import Failed
    from conda2wheel.recipes.model import RecipeBook

    try:
        RecipeBook(folders)
    except Failed as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--recipes") from None


def allowed(codes: Iterable[str] | None) -> frozenset[str]:
    """The codes of --allow; one that cannot be allowed is a wrong command line."""
    from conda2wheel.errors import Failed
    from conda2wheel.options import check_allow

    try:
        return check_allow(codes or ())
    except Failed as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--allow") from None


def _bytes(option: str, text: str | None) -> int | None:
    from conda2wheel.files import toml as tomlfile

    if text is None:
        return None
    try:
        return tomlfile.parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def complaint(error: Exception) -> str:
    """One line: what, where, why, and what to do."""
    line = str(error).replace("\n", " ")
    return f"conda2wheel: error: {line}"


def print_json(document: dict[str, Any]) -> None:
    """The result, alone on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
