"""Prefix placeholders become the prefix at run time, which in Pyodide is the root: `PLACEHOLDER/share/x` is `/share/x`.

conda replaces the build prefix at install time; a wheel has no such step, so it happens here. In a binary the string
keeps its length: what the shorter prefix leaves is filled with NULs at its end (conda's file_mode `binary`).
"""

from __future__ import annotations

import re

from conda2wheel.conda.package import Placeholder

_SHEBANG = re.compile(rb"#!([^\r\n]*)\r?")
_TRAMPOLINE = re.compile(rb"#!/bin/sh\n'''exec' ([^\n]+)\n' '''")
_CONTROL = re.compile(rb"[\x01-\x1f]")
MAX_STRING = 8192  # bytes to look for the terminating NUL in; a path is never longer


def relocate(data: bytes, placeholder: Placeholder) -> tuple[bytes, int, int]:
    """(data with the placeholder replaced, replacements, occurrences that could not be replaced safely).

    The length of a binary never changes. An occurrence that no NUL ends, or with control characters before that NUL, is
    left: it is a string with a stored length, and what follows it is something else.
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
        if end < 0 or _CONTROL.search(data, at, end):
            left += 1
            at = data.find(old, at + len(old))
            continue
        string = data[at:end]
        new = string.replace(old + b"/", b"/").replace(old, b"/")
        out[at:end] = new + b"\0" * (len(string) - len(new))
        done += string.count(old)
        at = data.find(old, end)
    return bytes(out), done, left


def interpreter_of(data: bytes) -> str | None:
    """The program that a script's first line names (`python3.13` for `#!/usr/bin/env python3.13`), None without one.

    A path longer than Linux takes is written as `#!/bin/sh` and an `exec` that only the shell sees (distlib, pip).
    """
    if not (first := _SHEBANG.match(data)):
        return None
    words = ((_TRAMPOLINE.match(data) or first)[1]).decode("utf-8", "replace").split()
    if words and words[0].rpartition("/")[2] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0].strip('"').rpartition("/")[2] if words else None


def is_python_script(data: bytes) -> bool:
    """Whether a Python interpreter runs it; installers put the right one in the place of `#!python`."""
    return (interpreter_of(data) or "").startswith(("python", "pypy"))


def with_python_shebang(data: bytes) -> bytes:
    """A Python script with the first line that every installer replaces."""
    head = _TRAMPOLINE.match(data) or _SHEBANG.match(data)
    return b"#!python" + (data[head.end() :] if head else data)
