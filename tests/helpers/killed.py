"""Processes that end by SIGKILL after what they have done, on machines of any speed: right before a step.

A step makes, fills, links, renames or removes a file or folder, is a statement for an SQLite database, or changes a bucket.
Python announces the first itself (`sys.addaudithook`); the others are seen where sqlite3 and `BucketStore` are asked.
"""

from __future__ import annotations

import atexit
import itertools
import os
import runpy
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conda2wheel.mirror.store.bucket import BucketStore

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_LINKS = ("os.rename", "os.link", "os.symlink")  # (source, target, ...)
_PLACES = ("os.remove", "os.mkdir", "os.rmdir")  # (path, ...)


def killed_at(number: int, pattern: str = "*") -> Callable[[], int]:
    """Kill this process right before the Nth step from now that fits a shell pattern; 0 is never. The function that
    is given back tells how many there were."""
    counter, taken = itertools.count(1), [0]

    def look(step: str) -> None:
        if fnmatchcase(step, pattern):
            taken[0] = next(counter)
            if taken[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    steps(look)
    return lambda: taken[0]


def steps(look: Callable[[str], object]) -> None:
    """Show each step from now on, before it is taken, for as long as this process lives: its path, URL or statement."""

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
    put, delete, connect = BucketStore._put, BucketStore.delete, sqlite3.connect

    def _put(self: BucketStore, path: str, source: bytes | Path, mode: Any) -> None:
        look(f"{self.url}/{path}")
        put(self, path, source, mode)

    def _delete(self: BucketStore, paths: Iterable[str]) -> None:
        look(f"{self.url}/")
        delete(self, paths)

    def _connect(*given: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **more)
        connection.set_trace_callback(look)
        return connection

    BucketStore._put, BucketStore.delete, sqlite3.connect = _put, _delete, _connect  # type: ignore[method-assign,assignment]


def command(number: int, pattern: str, module: str, *arguments: str | Path) -> list[str]:
    """A command that runs a module and is killed. With 0 it is not, and its last line on stderr has the number of steps."""
    return [sys.executable, "-m", "tests.helpers.killed", str(number), pattern, module, *map(str, arguments)]


if __name__ == "__main__":
    counted = killed_at(int(sys.argv[1]), sys.argv[2])
    if sys.argv[1] == "0":
        atexit.register(lambda: print(counted(), file=sys.stderr))
    del sys.argv[:3]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
