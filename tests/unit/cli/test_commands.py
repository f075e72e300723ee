from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import typer.main

from conda2wheel.cli import app
from conda2wheel.cli.commands import COMMANDS, LateCommands

ROOT = typer.main.get_command(app)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_help_of_a_command_begins_with(name: str) -> None:
    command = ROOT.commands[name]  # type: ignore[attr-defined]
    assert command.name == name
    assert (command.help or "").partition("\n")[0] == COMMANDS[name]
    assert inspect.getmodule(import_module(f"conda2wheel.cli.{name}")) is not None


def test_every_module_with_a_command_is_in_the_table() -> None:
    assert set(LateCommands(lambda _name, _command: None)) == set(COMMANDS)
    with pytest.raises(KeyError):
        LateCommands(lambda _name, _command: None)["../convert"]
