"""Processes that end by SIGKILL after what they have done, on machines of any speed: right before a step in a folder.

A step makes, fills, links, renames or removes something there. Python announces each one (`sys.addaudithook`).
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_LINKS = ("os.rename", "os.link", "os.symlink")  # (source, target, ...)
_PLACES = ("os.remove", "os.mkdir", "os.rmdir")  # (path, ...)


def killed_at(pattern: str, number: int = 1) -> None:
    """Kill this process right before the Nth step from now whose path fits a shell pattern."""
    left = number

    def look(path: str) -> None:
        nonlocal left
        left -= fnmatchcase(path, pattern)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    steps(look)


def steps(look: Callable[[str], object]) -> None:
    """Show the path of each step from now on, before it is taken, for as long as this process lives."""

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(given[2], int) and given[2] & _WRITES:
            path = given[0]
        elif event in _LINKS:
            path = given[1]
        elif event in _PLACES:
            path = given[0]
        else:
            return
        if isinstance(path, str | bytes | os.PathLike):
            look(os.fsdecode(path))

    sys.addaudithook(hook)


if __name__ == "__main__":  # PATTERN NUMBER MODULE ARGUMENT...
    killed_at(sys.argv[1], int(sys.argv[2]))
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
