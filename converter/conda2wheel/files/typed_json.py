"""JSON documents as values of dataclasses, in which every value is of its field's type.

Types of fields are str, int, float, bool, None, literals, tuples (arrays in JSON), mappings of texts, dataclasses, and unions of
these. Keys that a class has no field for are left out, since newer versions add keys.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]


def read_document(kind: type[T], document: Any) -> T:
    """Read a JSON value as a dataclass. Raises `ValueError` where it is none."""
    key: Any = kind  # which can be hashed
    found: T = _reader(key)(document)
    return found


@lru_cache
def _reader(kind: Any) -> Reader:
    if dataclasses.is_dataclass(kind):
        return _object(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _either([(each is type(None), _reader(each)) for each in inner])
    if origin is Literal:
        return lambda value: _checked(isinstance(value, str) and value in inner, value, kind)
    if origin is tuple and inner[-1] is Ellipsis:
        item = _reader(inner[0])
        return lambda value: tuple(map(item, _checked(isinstance(value, list), value, kind)))
    if origin is tuple:
        items = [_reader(each) for each in inner]
        return lambda value: tuple(
            read(each) for read, each in zip(items, _checked(isinstance(value, list), value, kind), strict=True)
        )
    if origin is not None and issubclass(origin, Mapping):
        entry = _reader(inner[1])
        return lambda value: {key: entry(each) for key, each in _checked(isinstance(value, dict), value, kind).items()}
    plain = (int, float) if kind is float else kind
    return lambda value: _checked(isinstance(value, plain) and (kind is bool or not isinstance(value, bool)), value, kind)


def _object(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {each.name: _reader(hints[each.name]) for each in dataclasses.fields(kind)}
    needed = {
        each.name
        for each in dataclasses.fields(kind)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }

    def read(value: Any) -> Any:
        _checked(isinstance(value, dict) and needed <= value.keys(), value, kind)
        return kind(**{name: reader(value[name]) for name, reader in readers.items() if name in value})

    return read


def _either(readers: list[tuple[bool, Reader]]) -> Reader:
    may_be_none = any(is_none for is_none, _ in readers)
    others = [reader for is_none, reader in readers if not is_none]

    def read(value: Any) -> Any:
        if value is None and may_be_none:
            return None
        for reader in others[:-1]:
            try:
                return reader(value)
            except ValueError:
                continue
        return others[-1](value)

    return read


def _checked(is_right: bool, value: Any, kind: Any) -> Any:
    if not is_right:
        raise ValueError(f"{str(value)[:50]!r} is no {getattr(kind, '__name__', kind)}")
    return value
