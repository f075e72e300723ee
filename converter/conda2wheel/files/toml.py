"""TOML that people write: read, checked against a table of what it may have, and what is wrong told with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from conda2wheel.errors import Failed

Keys = Sequence[str | int]
SHOWN = 10  # complaints that are told at once
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+)\s*([smhdw])")


class Problem(NamedTuple):
    """What is wrong: the keys that lead there (a number counts the tables of one name), why, and of a list the wrong text."""

    keys: Keys
    why: str
    item: str = ""


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """A file's text and document. Raises `Failed`: unreadable, and usage with the line where it is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed("unreadable", f"{path}: {error}", "make it a readable file in UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Failed("usage", f"{path}: {error}", "it is no TOML") from None


def invalid_document(path: Path, text: str, problems: Iterable[Problem], hint: str) -> Failed:
    """The error (usage) for a document: each complaint with its line, in the order of lines."""
    lines = sorted((line_of(text, each.keys, each.item), each.why) for each in problems)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return Failed("usage", "; ".join([*(f"{path}:{line}: {why}" for line, why in lines[:SHOWN]), *more]), hint)


def check_table(keys: Keys, value: Any, name: str, allowed: Mapping[str, type]) -> Iterator[Problem]:
    """What of a table has no place in it or the wrong type. Types: str, bool, int, dict, and list for a list of texts."""
    if not isinstance(value, dict):
        yield Problem(keys, f"{name} is no table")
        return
    for key, each in value.items():
        if key in allowed:
            yield from check_type((*keys, key), key, each, allowed[key])
        else:
            yield Problem((*keys, key), f"{name} has no {key}; {suggestion(key, allowed)}")


def check_type(keys: Keys, key: str, value: Any, wanted: type) -> Iterator[Problem]:
    """A complaint if a value has not the type; True is no number."""
    words = {str: "text", list: "list of texts", bool: "true or false", int: "whole number", dict: "table"}
    texts = value if isinstance(value, list) else []
    if type(value) is not wanted or not all(isinstance(each, str) for each in texts):
        yield Problem(keys, f"{key} is {'not' if wanted is bool else 'no'} {words[wanted]}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What somebody may have meant, and else everything there is.

    >>> suggestion("workres", ["workers", "memory"]), suggestion("colour", ["workers", "memory"])
    ('did you mean workers?', 'it may have workers, memory')
    """
    names = list(known)
    found = get_close_matches(word, names, 1, 0.75)
    return f"did you mean {found[0]}?" if found else f"it may have {', '.join(names)}"


def line_of(text: str, keys: Keys, item: str = "") -> int:
    """The line, from 1, on which a key of a TOML document stands, or its table, or the first; with `item`, the line of that text
    in the key's list.

    >>> line_of('a = 1\\n[b]\\nc = 2\\n[[d]]\\ne = 1\\n[[d]]\\ne = 2\\n', ("d", 1, "e"))
    7
    >>> line_of('[b]\\nc = [\\n  "x",\\n  "y",\\n]\\n', ("b", "c"), "y")
    4
    """
    lines = text.splitlines()
    table = [key for key in keys if isinstance(key, str)]
    number = next((key for key in keys if isinstance(key, int)), 0)
    seen, here, found = -1, not table or len(keys) == 1, 1
    for at, line in enumerate(lines, 1):
        if heading := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]", line):
            seen += bool(table) and heading[1] == table[0]
            here = bool(table) and heading[1] == table[0] and seen == number
            found = at if here else found
        elif here and table and re.match(rf"\s*{re.escape(table[-1])}\s*=", line):
            return next((n for n, each in enumerate(lines[at - 1 :], at) if item and item in each), at)
    return found


def parse_size(text: str) -> int:
    """Bytes: `500M`, `8G`, `123`. Raises `ValueError`.

    >>> parse_size("2G"), parse_size("64 KiB")
    (2147483648, 65536)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write 500M or 8G")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_duration(text: str) -> float:
    """Seconds: `90s`, `15m`, `12h`, `30d`, `2w`. Raises `ValueError`.

    >>> parse_duration("12h"), parse_duration("30d")
    (43200.0, 2592000.0)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 12h or 30d")
    return float(int(match[1]) * _SECONDS[match[2]])
