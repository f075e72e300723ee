"""What every command has: --quiet and --log-level, variables, keys of a file, completion of values, and checks of folders.

`RootGroup` gives it to all commands below it, so that a new command has it, too.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from conda2wheel.cli.commands import LateCommands, described
from conda2wheel.cli.complete import add_completion
from conda2wheel.cli.messages import Level, LogLevel, echo, settings
from conda2wheel.cli.values import convert_quickly
from conda2wheel.files.escape import printable

if TYPE_CHECKING:
    from logging import LogRecord

PREFIX = "CONDA2WHEEL"
# Variables that mean something else; no option without its command is named like them.
RESERVED = frozenset({"CACHE", "DATA", "NODE", "REPORT", "STATUS", "GENERATION", "DIRS", "PROGRAMS_CACHE"})
_OF_TESTS = frozenset({"TEST_CACHE", "TESTS_AS", "FUZZ_SEEDS"})  # variables of this project's tests
_NEAR = 0.7  # how alike two names are of which one may be meant for the other
_OWN = frozenset({"help", "version", "install_completion", "show_completion"})  # they end the command line at once


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command below one, with the words that lead to it."""
    below = {**getattr(command, "commands", {}), **getattr(command, "groups", {})}
    for name, each in below.items():
        yield from leaves(each, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


def options_of(command: Any) -> Iterator[Any]:
    """Yield the options of a command that have a variable and a key."""
    yield from (each for each in command.params if each.param_type_name == "option" and each.name not in _OWN)


def option_name(option: Any) -> str:
    """The long name of an option, without dashes: its key in a file."""
    return str(max(option.opts, key=len)).removeprefix("--")


def variables(words: tuple[str, ...], option: Any) -> list[str]:
    """The variables of an option: that of its command, and that of all commands."""
    name = option_name(option).replace("-", "_").upper()
    own = "_".join([PREFIX, *words, name]).replace("-", "_").upper()
    return [own] if name in RESERVED else list(dict.fromkeys([own, f"{PREFIX}_{name}"]))


def unknown_variables(root: Any, environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """Yield each variable that is named like one of an option and is none, with the nearest one; "" if none is near.

    Where there is none, no command is imported.
    """
    named = [name for name, value in environ.items() if value and name.startswith(f"{PREFIX}_")]
    names = sorted({*named} - {f"{PREFIX}_{name}" for name in RESERVED | _OF_TESTS})
    if not names:
        return
    known = {each for option in options_of(root) for each in variables((), option)} | {f"{PREFIX}_{name}" for name in RESERVED}
    known |= {each for words, command in leaves(root) for option in options_of(command) for each in variables(words, option)}
    ends = {each.removeprefix(f"{PREFIX}_"): each for each in sorted(known)}
    for name in names:
        if name not in known:
            near = get_close_matches(name.removeprefix(f"{PREFIX}_"), ends, 1, _NEAR)
            yield name, ends[near[0]] if near else ""


def _warn_of_variables(root: Any) -> None:
    for name, near in unknown_variables(root):
        meant = f"did you mean {near}?" if near else "conda2wheel COMMAND --help lists the options"
        echo(
            f"conda2wheel: warning: {printable(name)} is set, and no option has this variable; {meant}",
            err=True,
            level=Level.WARNING,
        )


class RootGroup(TyperGroup):
    """The command line: it equips its commands, and says of a wrong value from where it is."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": {}})
        convert_quickly(self)
        self._shared = _shared_options()
        self.commands: Any = LateCommands(self._equip)
        self.params += map(copy.copy, self._shared)
        for option in options_of(self):
            option.envvar = variables((), option)

    def _equip(self, name: str, found: Any) -> None:
        """Give a command, and those below it, what all have."""
        convert_quickly(found)
        for words, command in leaves(found, (name,)):
            command.params += map(copy.copy, self._shared)
            for option in options_of(command):
                option.envvar, option.show_envvar = variables(words, option), False  # the manual lists them
            add_completion(command)
            command.callback = _equipped(command, self)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing them."""
        described().format_commands(ctx, formatter)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the options of all commands."""
        settings.level = LogLevel.INFO
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _short(error.message)
            _add_origin(error)
            raise


def _short(message: str) -> str:
    """The message of a wrong value without what pydantic, with which typer checks values, says before it.

    >>> _short("Input should be less than or equal to 12"), _short("Value error, no size: '3x'"), _short("x: no such file")
    ('should be less than or equal to 12', "no size: '3x'", 'x: no such file')
    """
    return message.removeprefix("Input ") if message.startswith("Input should ") else message.removeprefix("Value error, ")


def _add_origin(error: typer.BadParameter) -> None:
    """Say in an error where a wrong value is from, if it is not from the command line."""
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return
    hints = {getattr(error.param, "name", None), error.param_hint}
    for option in options_of(context.command):
        if hints & {option.name, *option.opts}:
            source = getattr(context.get_parameter_source(option.name), "name", "")
            if source == "ENVIRONMENT":
                error.message += f" (from {next(each for each in option.envvar if os.environ.get(each))})"
            elif source == "DEFAULT_MAP":
                error.message += f" (from {context.find_root().meta.get('defaults', 'a file')})"
            return


def _quiet(value: bool) -> None:
    if value:
        settings.level = LogLevel.ERROR


def _log_level(value: LogLevel | None) -> None:
    if value is not None:
        settings.level = value


def _shared_options() -> list[Any]:
    """The options that every command has, made by typer from a function that is never called."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def shared(
        quiet: Annotated[
            bool, typer.Option("--quiet", "-q", callback=_quiet, expose_value=False, help="Show nothing but errors on stderr.")
        ] = False,
        log_level: Annotated[
            LogLevel | None,
            typer.Option(
                "--log-level",
                metavar="error|warning|info|debug",
                callback=_log_level,
                expose_value=False,
                help="What stderr shows; debug: all of it, as with -v.",
            ),
        ] = None,
    ) -> None:
        """Nothing."""

    return [option for option in typer.main.get_command(app).params if option.name in ("quiet", "log_level")]


class _EchoHandler(logging.Handler):
    """Prints the library's log records on stderr."""

    def emit(self, record: LogRecord) -> None:
        echo(f"conda2wheel: {record.levelname.lower()}: {record.getMessage()}", err=True, level=Level.INFO)


def _equipped(command: Any, root: Any) -> Callable[..., Any]:
    """The function of a command, with the checks and settings that all have."""
    function = command.callback
    out = [option for option in options_of(command) if option.metavar == "DIR" and "--out" in option.opts]

    @wraps(function)
    def run(*positional: Any, **arguments: Any) -> Any:
        _warn_of_variables(root)
        for option in out:
            _require_folder(arguments.get(option.name))
        if settings.level is LogLevel.DEBUG:
            logger = logging.getLogger("conda2wheel")
            logger.setLevel(logging.DEBUG)
            logger.handlers = [_EchoHandler()]
            if "verbose" in arguments:
                arguments["verbose"] = True
        return function(*positional, **arguments)

    return run


def _require_folder(value: Any) -> None:
    """Check that --out can be a folder."""
    if value is None:
        return
    name = os.fspath(value)
    if os.path.lexists(name) and not os.path.isdir(name):
        raise typer.BadParameter(f"{name} is a file; give a folder", param_hint="--out")
    if re.search(r"\.(whl|conda|tar\.bz2)$", name) and not os.path.isdir(name):
        raise typer.BadParameter(
            f"{name} is the name of a file; give a folder: names of wheels follow from what is in them", param_hint="--out"
        )
