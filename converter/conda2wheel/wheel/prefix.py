"""Replace conda's build prefix by the prefix at run time, which in Pyodide is the root: `PLACEHOLDER/share/x` becomes `/share/x`.

conda does this when it installs a package; wheels have no such step. In a binary file the string keeps its length: it is padded
with NULs (conda's file_mode `binary`). This module also reads and writes the shebangs of scripts.
"""

from __future__ import annotations

import re

from conda2wheel.conda.package import Placeholder

_SHEBANG = re.compile(rb"#!([^\r\n]*)\r?")
_TRAMPOLINE = re.compile(rb"#!/bin/sh\n'''exec' ([^\n]+)\n' '''")
_CONTROL = re.compile(rb"[\x01-\x1f]")
MAX_STRING = 8192  # bytes in which the terminating NUL is searched; paths are shorter


def relocate(data: bytes, placeholder: Placeholder, to: str = "") -> tuple[bytes, int, int]:
    """Replace a placeholder in a file by the prefix `to`, or by the root; the length of a binary file never changes.

    An occurrence without a terminating NUL, or with control characters before it, is left: it is a string with a stored length.
    A placeholder that no build tool writes, empty or with a NUL, is in no file.

    Returns:
        The new data, the number of replacements, and the number of occurrences that were left.
    """
    old = placeholder.prefix.encode("utf-8", "surrogatepass")
    if not old or b"\0" in old:
        return data, 0, 0
    new_prefix = to.encode()

    def replaced(text: bytes) -> bytes:
        return text.replace(old, new_prefix) if to else text.replace(old + b"/", b"/").replace(old, b"/")

    if placeholder.mode != "binary":
        return replaced(data), data.count(old), 0
    if len(old) < len(new_prefix):
        return data, 0, data.count(old)
    out = bytearray(data)
    done = left = 0
    at = data.find(old)
    end = control = -1  # the next NUL and the next control character; each is searched once, however often the placeholder occurs
    while at >= 0:
        if end < at:
            end = _position(data.find(b"\0", at), data)
        if control < at:
            control = _position(found.start() if (found := _CONTROL.search(data, at)) else -1, data)
        if end >= min(at + MAX_STRING, len(data)) or control < end:
            left += 1
            at = data.find(old, at + len(old))
            continue
        string = data[at:end]
        new = replaced(string)
        out[at:end] = new + b"\0" * (len(string) - len(new))
        done += string.count(old)
        at = data.find(old, end)
    return bytes(out), done, left


def _position(found: int, data: bytes) -> int:
    """A place in the data, its end if nothing was found."""
    return len(data) if found < 0 else found


def interpreter_of(data: bytes) -> str | None:
    """The program in a script's first line (`python3.13` for `#!/usr/bin/env python3.13`), None without a shebang.

    distlib and pip write a path that is too long for Linux as `#!/bin/sh` and an `exec` that Python does not see.
    """
    if not (first := _SHEBANG.match(data)):
        return None
    words = ((_TRAMPOLINE.match(data) or first)[1]).decode("utf-8", "replace").split()
    if words and words[0].rpartition("/")[2] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0].strip('"').rpartition("/")[2] if words else None


def is_python_script(data: bytes) -> bool:
    """Whether its shebang names a Python interpreter."""
    return (interpreter_of(data) or "").startswith(("python", "pypy"))


def with_python_shebang(data: bytes) -> bytes:
    """A Python script with the shebang `#!python`, which installers replace by that of the interpreter."""
    head = _TRAMPOLINE.match(data) or _SHEBANG.match(data)
    return b"#!python" + (data[head.end() :] if head else data)
