"""Read TOML configuration, check it against a table of allowed keys, and report problems with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from conda2wheel.errors import Failed
from conda2wheel.files.documents import DocumentError, parse_toml
from conda2wheel.files.reading import not_found, unreadable

Keys = Sequence[str | int]
MAX_PROBLEMS = 10  # in one message
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+)\s*([smhdw])")


class Problem(NamedTuple):
    """A problem in a document.

    Attributes:
        keys: The keys that lead to it; a number is the index in an array of tables.
        why: What is wrong.
        item: For a list, the wrong text in it.
    """

    keys: Keys
    why: str
    item: str = ""


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a file's text and document. Raises `Failed`: not-found, unreadable, or usage with the line that is not TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise not_found(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise Failed("unreadable", f"{path}: {error}", "save it in UTF-8") from None
    try:
        return text, parse_toml(text)
    except DocumentError as error:
        raise Failed("usage", f"{path}: {error}", "it is not TOML") from None


def invalid_document(path: Path, text: str, problems: Iterable[Problem], hint: str) -> Failed:
    """Return the error (usage) for a document: each problem with its line, in the order of lines."""
    lines = sorted((line_of(text, each.keys, each.item), each.why) for each in problems)
    more = [f"and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
    return Failed("usage", "; ".join([*(f"{path}:{line}: {why}" for line, why in lines[:MAX_PROBLEMS]), *more]), hint)


def check_table(keys: Keys, value: Any, name: str, allowed: Mapping[str, type]) -> Iterator[Problem]:
    """Yield a problem for each key of a table that is unknown or of the wrong type: str, bool, int, dict, or list (of texts)."""
    if not isinstance(value, dict):
        yield Problem(keys, f"{name} is not a table")
        return
    for key, each in value.items():
        if key in allowed:
            yield from check_type((*keys, key), key, each, allowed[key])
        else:
            yield Problem((*keys, key), f"{name} has no {key}; {suggestion(key, allowed)}")


def check_type(keys: Keys, key: str, value: Any, wanted: type) -> Iterator[Problem]:
    """Yield a problem if a value is not of the type; True is not a number."""
    words = {str: "a text", list: "a list of texts", bool: "true or false", int: "a whole number", dict: "a table"}
    texts = value if isinstance(value, list) else []
    if type(value) is not wanted or not all(isinstance(each, str) for each in texts):
        yield Problem(keys, f"{key} is not {words[wanted]}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is most similar, or list all known words.

    >>> suggestion("workres", ["workers", "memory"]), suggestion("colour", ["workers", "memory"])
    ('did you mean workers?', 'it may have workers, memory')
    """
    names = list(known)
    found = get_close_matches(word, names, 1, 0.75)
    return f"did you mean {found[0]}?" if found else f"it may have {', '.join(names)}"


def line_of(text: str, keys: Keys, item: str = "") -> int:
    r"""Return the line, from 1, on which a key of a TOML document stands.

    Without such a key, it is the line of the key's table, or else the first. With `item`, it is the line of that text in the
    key's list.

    >>> line_of('a = 1\n[b]\nc = 2\n[[d]]\ne = 1\n[[d]]\ne = 2\n', ("d", 1, "e"))
    7
    >>> line_of('[b]\nc = [\n  "x",\n  "y",\n]\n', ("b", "c"), "y")
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
    """Parse a number of bytes: `500M`, `8G`, `123`. Raises `ValueError`.

    >>> parse_size("2G"), parse_size("64 KiB")
    (2147483648, 65536)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 500M or 8G")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_duration(text: str) -> float:
    """Parse a duration in seconds: `90s`, `15m`, `12h`, `30d`, `2w`. Raises `ValueError`.

    >>> parse_duration("12h"), parse_duration("30d")
    (43200.0, 2592000.0)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 90s, 15m, 12h or 30d")
    return float(int(match[1]) * _SECONDS[match[2]])
