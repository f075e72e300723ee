"""The table of commands, each of which is imported when it is asked for: `--help` shows them without their modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# A command is what has its name in the module of that name, or the module's `app`. The texts are the beginnings of their help.
COMMANDS = {
    "convert": "Convert conda packages into wheels.",
    "inspect": "Show the contents of a package, a wheel or a side module.",
    "audit": "Say whether wheels run in Pyodide, run except for some functions, or do not load, and every reason why.",
    "repair": "Vendor shared libraries into wheels of other build tools, and correct their tags.",
    "verify": "Convert the source packages of wheels again, and compare the bytes.",
    "check": "Install wheels into a real Pyodide and import their modules.",
    "names": "Show the PyPI names of conda packages, and the source of each answer.",
    "search": "Search an index of wheels, as its search page does.",
    "bundle": "Build a folder of wheels that work together, with an index and lock files.",
    "index": "Write a package index (simple/, in HTML and JSON) of wheels, for any server of files.",
    "lock": "Write pyodide-lock.json and pylock.toml for wheels.",
    "serve": "Serve an index of wheels that converts on demand, until SIGTERM or Ctrl-C.",
    "recipe": "Check conversion recipes.",
    "mirror": "Mirror a whole channel as an index of wheels.",
    "cache": "Show and clear the cache.",
}


class LateCommands(Mapping[str, Any]):
    """The commands by name; looking one up imports it."""

    def __init__(self, equip: Callable[[str, Any], None]) -> None:
        self._equip = equip
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            if name not in COMMANDS:
                raise KeyError(name)
            command = _imported(name)
            self._equip(name, command)
            self._made[name] = command
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _imported(name: str) -> Any:
    module = import_module(f"conda2wheel.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(name)(getattr(module, name))
    return typer.main.get_command(app)


def described() -> TyperGroup:
    """A group of commands that have nothing but their texts."""
    return TyperGroup(name=None, commands={name: TyperCommand(name, help=text) for name, text in COMMANDS.items()})
