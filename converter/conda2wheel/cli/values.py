"""Values of options and arguments without pydantic, whose import takes longer than most commands.

typer checks every value, defaults too, with a pydantic adapter that it makes when the value comes. What is plainly right is
converted here in the same way; all else goes to typer, which says what is wrong with it.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from pathlib import Path
from types import MethodType
from typing import Any, get_args, get_origin

_UNSURE = object()
_DIGITS = re.compile(r"-?[0-9]{1,15}")


def convert_quickly(command: Any) -> None:
    """Let the parameters of a command and those below it convert plain values themselves.

    The typers that have no such adapters are left alone.
    """
    original = command.get_params

    def get_params(context: Any) -> list[Any]:
        found: list[Any] = original(context)  # with --help, which typer makes late
        for parameter in found:
            if hasattr(parameter, "get_runtime_param"):
                parameter.get_runtime_param = MethodType(_QuickValue, parameter)
        return found

    command.get_params = get_params
    for name in ("commands", "groups"):
        for each in getattr(command, name, {}).values():
            convert_quickly(each)


class _QuickValue:
    """Takes the place of typer's adapter of one parameter."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a value as the command takes it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        found = _converted(value, param.type_descriptor)
        if found is not _UNSURE:
            return found
        return type(self._parameter).get_runtime_param(self._parameter).coerce(value, param=param, ctx=ctx)


def _converted(value: Any, descriptor: Any) -> Any:
    kind, info = descriptor.annotation, descriptor.parameter_info
    if info.parser is not None:
        return _UNSURE
    if get_origin(kind) is list:
        if not isinstance(value, list | tuple):
            return _UNSURE
        found = [_one(each, get_args(kind)[0], info) for each in value]
        return _UNSURE if any(each is _UNSURE for each in found) else found
    return _one(value, kind, info)


def _one(value: Any, kind: Any, info: Any) -> Any:
    if not isinstance(kind, type):
        return _UNSURE
    if issubclass(kind, Enum):
        return next((each for each in kind if value is each or value == each.value), _UNSURE)
    if kind is int or kind is float:
        return _number(value, kind, info)
    text = os.fspath(value) if isinstance(value, Path) else value
    if type(text) is not str or "\0" in text or not _is_unicode(text):
        return _UNSURE
    if kind is str:
        return text if text is value else _UNSURE
    plain = info.file_okay and info.dir_okay and not (info.exists or info.writable or info.resolve_path or info.allow_dash)
    if kind is Path and plain and info.path_type is None and (os.access(text, os.R_OK) or not os.path.exists(text)):
        return Path(text)
    return _UNSURE


def _number(value: Any, kind: type, info: Any) -> Any:
    if isinstance(value, str) and kind is int and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is not kind or info.clamp:
        return _UNSURE
    low, high = info.min, info.max
    return value if (low is None or value >= low) and (high is None or value <= high) else _UNSURE


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
