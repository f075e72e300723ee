"""Write JSON that any reader accepts, of any value: what packages say may be anything."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Set
from typing import Any

MAX_DEPTH = 100  # of nested values
_MAX_BITS = 14000  # of an integer: Python writes at most 4300 digits
_OTHERS = re.compile(r"[^\n -~]")


def json_text(document: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    r"""Return a document as JSON text in which control characters and bidirectional marks are escaped.

    A value that JSON cannot have becomes the text that people would write for it, and so does a lone surrogate, since most
    readers refuse a document with one.

    >>> print(json_text({"name": "a\x1b[2J\u202eb\udc80", "ratio": float("inf"), "both": {1, 2}, "text": "Grüße"}))
    {"name": "a\u001b[2J\u202eb\\udc80", "ratio": "inf", "both": [1, 2], "text": "Grüße"}
    """
    try:
        text = _dumps(document, indent)
        text.encode()
    except (ValueError, TypeError, RecursionError):
        text = _dumps(_clean(document, MAX_DEPTH), indent)
    if (text.isascii() or not ascii_only) and text.replace("\n", "").isprintable():
        return text
    return _OTHERS.sub(lambda found: _escape(found[0], ascii_only), text)


def _dumps(document: Any, indent: int | None) -> str:
    return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)


def _escape(character: str, ascii_only: bool) -> str:
    if character.isprintable() and not ascii_only:
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _clean(value: Any, depth: int) -> Any:
    """The same value with text for what JSON cannot have."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if not isinstance(value, Mapping | Set | list | tuple):
        return _clean(str(value), depth)
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {str(_clean(key if isinstance(key, str | int) else str(key), 0)): _clean(e, depth - 1) for key, e in value.items()}
    cleaned = [_clean(each, depth - 1) for each in value]
    return sorted(cleaned, key=str) if isinstance(value, Set) else cleaned
