"""Defaults of options from `conda2wheel.toml`, or `[tool.conda2wheel]` of pyproject.toml.

A key is the long name of an option; it is for each command that has the option. A table that is named like a command is for
that command. What the file of a stranger's folder may set is limited: nothing that names a file to be written or run, an
address to send to or to listen at, or a higher limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from conda2wheel.cli.habits import leaves, option_name, options_of
from conda2wheel.errors import Failed

OWN = "conda2wheel.toml"
PYPROJECT = "pyproject.toml"
LONGEST = 1 << 20  # bytes of a file
# What an option takes that a file which is found may set: words of a list are in lower case.
_READ = frozenset(
    ["CODE", "COLUMN", "DIR", "LIBRARY", "[MODULE:]LIBRARY", "N", "NAME", "PATH", "PYODIDE", "SECONDS", "STATE", "TAG", "VERSION"]
)
_PATHS = frozenset({"DIR", "PATH", "FILE", "WHEEL"})
_CONFIGURED = ("mirror", "serve")  # commands with a configuration of their own


class DefaultsFile(NamedTuple):
    """A file with defaults, its table, and whether it was found rather than named by the user."""

    path: Path
    table: dict[str, Any]
    found: bool

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.path}: [tool.conda2wheel]" if self.path.name == PYPROJECT else str(self.path)

    def error(self, why: str, hint: str = "") -> Failed:
        """Return the error that something in it is wrong."""
        return Failed("usage", f"{self.name}: {why}", hint)


def find() -> DefaultsFile | None:
    """Look for a file with defaults in the current folder and those above it, up to a repository's root or the home folder."""
    try:
        start = Path.cwd()
    except OSError:  # it was removed
        return None
    home = Path(os.path.expanduser("~"))
    for folder in (start, *start.parents):
        for name in (OWN, PYPROJECT):
            if (folder / name).is_file() and (table := _table(folder / name)) is not None:
                return DefaultsFile(folder / name, table, found=True)
        if folder == home or (folder / ".git").exists():
            return None
    return None


def read(path: Path) -> DefaultsFile:
    """Read the file that the user named. Raises `Failed` if it cannot be read."""
    from conda2wheel.files.toml import read_toml

    table = _table(path) if path.name == PYPROJECT else read_toml(path)[1]
    return DefaultsFile(path, table or {}, found=False)


def _table(path: Path) -> dict[str, Any] | None:
    """Return the table of a file; None for a pyproject.toml without one."""
    from conda2wheel.files.toml import read_toml

    if path.name != PYPROJECT:
        return read_toml(path)[1]
    try:
        with path.open("rb") as file:
            beginning = file.read(LONGEST)
    except OSError:
        return None
    if b"conda2wheel" not in beginning:
        return None
    tool = read_toml(path)[1].get("tool")
    table = tool.get("conda2wheel") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def may_be_found(words: tuple[str, ...], option: Any) -> bool:
    """Whether a file that was found, not named, may set an option of a command."""
    if words[:1] in [(each,) for each in _CONFIGURED] or option.rich_help_panel == "Limits":
        return False
    parts = set((option.metavar or "").split("|")) - {"URL", "WHEEL"}
    if option.metavar == "URL":
        return _is_channel(option)
    return all(part in _READ or not part or part.lower() == part for part in parts)


def _is_channel(option: Any) -> bool:
    return "--channel" in option.opts


def default_map(root: Any, file: DefaultsFile) -> dict[str, Any]:
    """Return the defaults of a file as click takes them: by command, by parameter.

    Raises:
        Failed: a key is unknown, may not be set, or has a value of another type (usage).
    """
    every = {words: {option_name(option): option for option in options_of(command)} for words, command in leaves(root)}
    made: dict[str, Any] = {}
    keys, tables = _split(every, file)
    for key in keys:
        having = [words for words, options in every.items() if key in options]
        if not having:
            raise _unknown(file, key, {name for options in every.values() for name in options} | {words[0] for words in every})
        allowed = [words for words in having if not file.found or may_be_found(words, every[words][key])]
        if not allowed:
            raise _forbidden(file, key)
        for words in allowed:
            _put(made, words, every[words][key], _value(file, key, every[words][key], keys[key]))
    for words, table in tables.items():
        for key, value in table.items():
            label = ".".join([*words, key])
            if key not in every[words]:
                raise _unknown(file, label, every[words])
            if file.found and not may_be_found(words, every[words][key]):
                raise _forbidden(file, label)
            _put(made, words, every[words][key], _value(file, label, every[words][key], value))
    return made


def _split(
    every: dict[tuple[str, ...], dict[str, Any]], file: DefaultsFile
) -> tuple[dict[str, Any], dict[tuple[str, ...], dict[str, Any]]]:
    """Return the keys of all commands, and the tables of single commands."""
    keys: dict[str, Any] = {}
    tables: dict[tuple[str, ...], dict[str, Any]] = {}

    def descend(table: dict[str, Any], words: tuple[str, ...]) -> None:
        for key, value in table.items():
            name = key.replace("_", "-")
            below = (*words, name)
            if isinstance(value, dict) and any(each[: len(below)] == below for each in every):
                descend(value, below)
            elif not words:
                keys[name] = value
            elif words in every:
                tables.setdefault(words, {})[name] = value
            else:
                raise _unknown(file, ".".join(below), {each[len(words)] for each in every if each[: len(words)] == words})

    descend(file.table, ())
    return keys, tables


def _put(made: dict[str, Any], words: tuple[str, ...], option: Any, value: Any) -> None:
    for word in words:
        made = made.setdefault(word, {})
    made[option.name] = value


def _unknown(file: DefaultsFile, key: str, known: Any) -> Failed:
    from conda2wheel.files.toml import suggestion

    return file.error(f"there is no key {key!r}", suggestion(key.rpartition(".")[2], sorted(known)))


def _forbidden(file: DefaultsFile, key: str) -> Failed:
    return file.error(
        f"{key!r} may not be set by a file that is found in a folder", f"give it on the command line, or --defaults {file.path}"
    )


def _value(file: DefaultsFile, key: str, option: Any, value: Any) -> Any:
    """Return a value as click takes it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise file.error(f"{key!r} is not true or false")
        return value
    texts = list(_texts(file, key, value if option.multiple and isinstance(value, list) else [value]))
    if file.found and not _is_channel(option) and any("://" in text for text in texts):
        raise file.error(f"{key!r} may not be a URL in a file that is found in a folder", "give it on the command line")
    if _PATHS & set((option.metavar or "").split("|")):
        texts = [_below(file, key, option, text) for text in texts]
    return texts if option.multiple else texts[0]


def _texts(file: DefaultsFile, key: str, values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise file.error(f"{key!r} is not a text or a number")
        yield str(value)


def _below(file: DefaultsFile, key: str, option: Any, text: str) -> str:
    """Return a path of the file, which is relative to the file's folder."""
    if "://" in text:
        return text
    folder = file.path.absolute().parent
    path = os.path.normpath(folder / text)
    if file.found and "--out" in option.opts and Path(path) != folder and folder not in Path(path).parents:
        raise file.error(f"{key!r} is not below the folder of the file: {text}", "give it on the command line")
    return os.path.relpath(path) if folder == Path.cwd() else path
