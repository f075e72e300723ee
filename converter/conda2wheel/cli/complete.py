"""Values of options that the shell completes, by what an option or an argument takes. Choices and paths need nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def _platforms() -> Iterable[str]:
    from conda2wheel.abi.platforms import platforms

    yield "auto"
    for row in platforms():
        yield row.tag
        yield from (version for version, _ in row.pyodide)


def _tags() -> Iterable[str]:
    from conda2wheel.abi.platforms import platforms

    return (row.tag for row in platforms())


def _pyodides() -> Iterable[str]:
    from conda2wheel.abi.platforms import platforms

    return (version for row in platforms() for version, _ in row.pyodide)


def _pythons() -> Iterable[str]:
    from conda2wheel.abi.platforms import platforms

    return dict.fromkeys(row.python for row in platforms() if row.python)


def _allowable() -> Iterable[str]:
    from conda2wheel.options import ALLOWABLE

    return sorted(ALLOWABLE)


def _findings() -> Iterable[str]:
    from conda2wheel.abi.audit.findings import RULES

    return sorted(RULES)


def _kinds() -> Iterable[str]:
    from conda2wheel.commands.cache import KINDS

    return (kind.name for kind in KINDS)


def _columns() -> Iterable[str]:
    from conda2wheel.index.pages.ranking import COLUMNS

    return COLUMNS


def _scopes() -> Iterable[str]:
    from conda2wheel.serve.tokens import SCOPES

    return SCOPES


# By the name of a parameter, and by what it takes.
_BY_NAME: dict[str, Callable[[], Iterable[str]]] = {
    "pyodide": _pyodides,
    "python": _pythons,
    "allow": _allowable,
    "sort": _columns,
    "scope": _scopes,
    "kinds": _kinds,
}
_BY_METAVAR: dict[str, Callable[[], Iterable[str]]] = {"auto|TAG|PYODIDE": _platforms, "TAG": _tags, "CODE": _findings}


def add_completion(command: Any) -> None:
    """Let the shell complete the values of a command's options and arguments."""
    for parameter in command.params:
        values = _BY_NAME.get(parameter.name) or _BY_METAVAR.get(parameter.metavar or "")
        if values is not None:
            parameter._custom_shell_complete = _completer(values)


def _completer(values: Callable[[], Iterable[str]]) -> Callable[[Any, Any, str], list[str]]:
    return lambda _context, _parameter, beginning: [value for value in values() if value.startswith(beginning)]
