"""Prefix placeholders become the prefix at run time, which in Pyodide is the root: `PLACEHOLDER/share/x` is `/share/x`.

conda replaces the build prefix at install time; a wheel has no such step, so it happens here. In a binary the string
keeps its length: what the shorter prefix leaves is filled with NULs at its end (conda's file_mode `binary`).
"""

from __future__ import annotations

from conda2wheel.conda.info import Placeholder

MAX_STRING = 8192  # bytes to look for the terminating NUL in; a path is never longer


def relocate(data: bytes, placeholder: Placeholder) -> tuple[bytes, int, int]:
    """(data with the placeholder replaced, replacements, occurrences that could not be replaced safely).

    The length of a binary never changes. An occurrence without a NUL behind it (a string with a stored length) is left.
    """
    old = placeholder.prefix.encode()
    if placeholder.mode != "binary":
        count = data.count(old)
        return data.replace(old + b"/", b"/").replace(old, b"/"), count, 0
    out = bytearray(data)
    done = left = 0
    at = data.find(old)
    while at >= 0:
        end = data.find(b"\0", at, at + MAX_STRING)
        if end < 0:
            left += 1
            at = data.find(old, at + len(old))
            continue
        string = data[at:end]
        new = string.replace(old + b"/", b"/").replace(old, b"/")
        out[at:end] = new + b"\0" * (len(string) - len(new))
        done += string.count(old)
        at = data.find(old, end)
    return bytes(out), done, left


def is_python_shebang(data: bytes) -> bool:
    """Whether a script names a Python interpreter in its first line; installers put the right one there for `#!python`."""
    first = data.partition(b"\n")[0]
    return first.startswith(b"#!") and b"python" in first
