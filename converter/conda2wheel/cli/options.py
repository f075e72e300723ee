"""Options that several commands share, and the checks of their values.

A wrong value raises `typer.BadParameter`, which ends the command with exit status 2 before any work starts.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from conda2wheel.channels.downloads import Downloads
    from conda2wheel.cli.progress import ProgressDisplay
    from conda2wheel.files.packagefile import Limits


class PinsChoice(StrEnum):
    """The values of `conda2wheel.options.PINS`, repeated here because importing that module would slow `--help` down."""

    METADATA = "metadata"
    CONDA = "conda"


class TagsChoice(StrEnum):
    """The values of `conda2wheel.abi.platforms.TAG_FORMS`."""

    PEP783 = "pep783"
    BOTH = "both"
    PYODIDE = "pyodide"


Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Write the wheels to this folder.")]
Libdirs = Annotated[
    list[str] | None,
    typer.Option(
        "--libdir",
        metavar="PATH",
        help="Search this package, folder of packages or libraries, or prefix for NEEDED libraries. Repeatable.",
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="URL",
        help="Search this channel for packages, instead of emscripten-forge-4x. Repeatable; earlier channels take precedence.",
    ),
]
FindLinks = Annotated[
    list[str] | None,
    typer.Option(
        "--find-links", metavar="DIR|WHEEL", help="Use this wheel, or those in this folder, as dependencies. Repeatable."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="LIBRARY",
        help="NEEDED libraries of this file name or pattern (libomp*) are brought by something else, and not in the wheel. "
        "Repeatable.",
    ),
]
TargetPlatform = Annotated[
    str,
    typer.Option(
        "--platform",
        metavar="auto|TAG|PYODIDE",
        help="Target platform: a platform tag, a Pyodide version or series, or auto to detect it.",
    ),
]
TargetPlatforms = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="auto|TAG|PYODIDE",
        help="Target platform: a platform tag, a Pyodide version, or auto (the default) to detect it. Repeatable: an abi3 or "
        "ctypes wheel gets the tags of all, if it runs on each.",
    ),
]
Tags = Annotated[
    TagsChoice | None,
    typer.Option(
        "--tags",
        metavar="pep783|both|pyodide",
        help="The names of the platform in the tag: pep783, which PyPI wants; pyodide, the older ones; or both, for micropip "
        "before 0.11.1.",
    ),
]
CompatTags = Annotated[
    bool | None,
    typer.Option("--compat-tags/--no-compat-tags", help="The older name of --tags both and --tags pep783.", hidden=True),
]
Level = Annotated[int, typer.Option("--level", min=1, max=12, help="Compression level of the wheels.")]
Isolate = Annotated[
    bool,
    typer.Option(
        "--isolate/--no-isolate", help="Rename the symbols of vendored libraries, so that they cannot clash with other wheels."
    ),
]
Provided = Annotated[
    bool,
    typer.Option(
        "--provided/--no-provided",
        help="Do not bundle a library if Pyodide already provides every symbol used from it.",
    ),
]
Bridge = Annotated[
    bool,
    typer.Option(
        "--bridge/--no-bridge",
        help="Give modules whose longjmp is of the JavaScript kind an unwinding bridge.",
    ),
]
Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipes",
        metavar="DIR",
        help="Use the conversion recipes in this folder; they take precedence over the built-in ones. Repeatable.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="CODE", help="Turn this refusal into a warning, and record it in the wheel. Repeatable."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a wheel of which a part ends the interpreter when it is reached.")]
Programs = Annotated[
    bool | None,
    typer.Option(
        "--programs/--no-programs",
        help="Bring the WebAssembly programs of a package along as commands; by default those of a package without Python alone.",
        show_default=False,
    ),
]
Pins = Annotated[
    PinsChoice,
    typer.Option(
        "--pins",
        metavar="metadata|conda",
        help="metadata: keep Requires-Dist as it is. conda: add conda's version limits and conda-only dependencies to it.",
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Do not use the network: read channels and packages from the cache only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
_LIMIT_OPTIONS = {  # by the field of `Limits`: what it is called in --help, whether it is in bytes, the default as text
    "members": ("the number of files in a package", False, "200000"),
    "size": ("the unpacked size of a package", True, "8G"),
    "member_size": ("the size of one file in a package", True, "2G"),
    "ratio": ("the ratio of unpacked to packed size", False, "250"),
    "depth": ("the number of folders that a file lies in", False, "128"),
    "path_bytes": ("the length of all paths in a package together", True, "16M"),
    "aliases": ("the number of other names that links give to files", False, "50000"),
    "entries": ("what the WebAssembly modules of a package list (types, imports, exports ...)", False, "8000000"),
}


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each bound of `Limits`; the command takes the bounds as its keyword argument `limits`."""
    hints = {name: hint for name, hint in command.__annotations__.items() if name not in ("limits", "return")}
    own = get_type_hints(SimpleNamespace(__annotations__=hints), command.__globals__, include_extras=True)
    parameters = [
        parameter.replace(annotation=own[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "limits"
    ]
    for field, (what, in_bytes, default) in _LIMIT_OPTIONS.items():
        option = typer.Option(
            f"--max-{field.replace('_', '-')}",
            metavar="SIZE" if in_bytes else "N",
            min=None if in_bytes else 1,
            help=f"Limit {what}; {default} if not given.",
            rich_help_panel="Limits",
        )
        kind = Annotated[str | None, option] if in_bytes else Annotated[int | None, option]
        parameters.append(inspect.Parameter(f"max_{field}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))

    def limited(**arguments: Any) -> None:
        given = {field: arguments.pop(f"max_{field}") for field in _LIMIT_OPTIONS}
        command(**arguments, limits=_limits(given))

    limited.__name__, limited.__doc__ = command.__name__, command.__doc__
    limited.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    limited.__annotations__ = {each.name: each.annotation for each in parameters}
    return limited


def _limits(given: Mapping[str, Any]) -> Limits:
    """Return the default limits, changed by those given on the command line.

    Raises:
        typer.BadParameter: a size cannot be parsed.
    """
    from conda2wheel.files.packagefile import Limits

    found: dict[str, Any] = {
        field: _bytes(f"--max-{field.replace('_', '-')}", value) if _LIMIT_OPTIONS[field][1] else value
        for field, value in given.items()
        if value is not None
    }
    if (
        "size" in found
    ):  # a package is smaller than its contents, so whoever allows the unpacked size allows a download of that size
        found["download"] = found["size"]
    return Limits(**found)


def downloads(offline: bool, display: ProgressDisplay | None = None) -> Downloads:
    """Return the downloads of one command: it reads the index of each channel once, and reports received bytes to `display`."""
    from conda2wheel.channels.downloads import FRESH, Downloads

    return Downloads(offline=offline, watch=None if display is None else display.received, fresh=FRESH)


def require_libdirs(libdirs: Iterable[str], option: str = "--libdir", *, urls: bool = True) -> None:
    """Check that every --libdir exists, even if no library will be searched for; or every value of another such option.

    Unless `urls`, the option takes none.

    Raises:
        typer.BadParameter: a path does not exist, or may not be read.
    """
    from conda2wheel.net.urls import is_url, redacted

    for path in libdirs:
        if is_url(path) and not urls:
            raise typer.BadParameter(f"{redacted(path)}: an address; give wheels, or folders of them", param_hint=option)
        if is_url(path):
            continue
        if not os.path.exists(path):
            raise typer.BadParameter(f"{path}: no such file or folder", param_hint=option)
        if not os.access(path, os.R_OK):
            raise typer.BadParameter(f"{path}: may not be read", param_hint=option)


def require_file(path: str | Path | None, option: str) -> None:
    """Check that the file of an option can be read.

    Raises:
        typer.BadParameter: it does not exist, is a folder, or may not be read.
    """
    if path is None:
        return
    if not os.path.exists(path):
        raise typer.BadParameter(f"{path}: no such file", param_hint=option)
    if not os.path.isfile(path):
        raise typer.BadParameter(f"{path}: is no file", param_hint=option)
    if not os.access(path, os.R_OK):
        raise typer.BadParameter(f"{path}: may not be read", param_hint=option)


def require_add_needed(given: Iterable[str]) -> None:
    """Check the values of --add-needed.

    Raises:
        typer.BadParameter: one names no library.
    """
    from conda2wheel.errors import Failed
    from conda2wheel.options import Options

    try:
        Options(add_needed=tuple(given))
    except Failed as error:
        raise typer.BadParameter(
            f"{error.message.removeprefix('--add-needed ')}; {error.hint}", param_hint="--add-needed"
        ) from None


def require_platform(platform: str) -> None:
    """Check the value of --platform.

    Raises:
        typer.BadParameter: it is no known platform; the message lists the known ones.
    """
    from conda2wheel.abi.platforms import parse, unknown

    if platform != "auto" and parse(platform) is None:
        raise typer.BadParameter("; ".join(unknown(platform)), param_hint="--platform")


def require_platforms(given: list[str] | None) -> list[str]:
    """Return the values of a repeatable --platform, "auto" if it is not given.

    Raises:
        typer.BadParameter: one is no known platform, or auto is given beside others.
    """
    from conda2wheel.abi.choice import forced_platforms
    from conda2wheel.errors import Failed

    try:
        forced_platforms(given or "auto")
    except Failed as error:
        message = f"{error.message.removeprefix('platform: ')}; {error.hint}"
        raise typer.BadParameter(message, param_hint="--platform") from None
    return given or ["auto"]


def require_pyodide(version: str | None) -> None:
    """Check the value of --pyodide.

    Raises:
        typer.BadParameter: it is no version of Pyodide.
    """
    from conda2wheel.abi.platforms import unknown_pyodide, whole_version

    if version is not None and whole_version(version) is None:
        raise typer.BadParameter("; ".join(unknown_pyodide(version)), param_hint="--pyodide")


def require_recipes(folders: Collection[str]) -> None:
    """Check the recipes of every --recipes folder before a package is converted.

    Raises:
        typer.BadParameter: a folder is missing or a recipe is not valid.
    """
    from conda2wheel.errors import Failed
    from conda2wheel.recipes.model import RecipeBook

    if not folders:
        return
    try:
        RecipeBook(folders)
    except Failed as error:
        raise typer.BadParameter(f"{error.message.removeprefix('--recipes ')}; {error.hint}", param_hint="--recipes") from None


def allowed(codes: Iterable[str] | None) -> frozenset[str]:
    """Return the codes of --allow.

    Raises:
        typer.BadParameter: a code is unknown, or is a refusal that cannot be allowed.
    """
    from conda2wheel.errors import Failed
    from conda2wheel.options import check_allow

    try:
        return check_allow(codes or ())
    except Failed as error:
        raise typer.BadParameter(f"{error.message.removeprefix('--allow ')}; {error.hint}", param_hint="--allow") from None


def _bytes(option: str, text: str | None) -> int | None:
    from conda2wheel.files import toml as tomlfile

    if text is None:
        return None
    try:
        return tomlfile.parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
