"""The folder of the cache for Pyodides, packages and repodata, and what in it a process uses."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from conda2wheel.net.folders import cache_base

_held: dict[tuple[int, Path], int] = {}  # open lock files, by process and folder


def cache_folder(cache: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return `cache`, else `$CONDA2WHEEL_CACHE`, else `conda2wheel` in the user's folder for caches.

    That is `$XDG_CACHE_HOME`, else `~/.cache`, on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`.

    Raises:
        Failed: disk, for a user without a home.
    """
    environ = os.environ if environ is None else environ
    if cache is not None:
        return cache.absolute()
    if named := environ.get("CONDA2WHEEL_CACHE"):
        return Path(named).absolute()
    return cache_base(environ) / "conda2wheel"


def mark_in_use(folder: Path) -> None:
    """Mark a folder of the cache as used by this process until it ends, so that it is not removed.

    The mark is a locked file beside it; the system releases the lock however the process ends. A cache that cannot be written
    has no marks, and nothing of it can be removed either.
    """
    from filelock import lock_descriptor

    key = (os.getpid(), folder)
    if key in _held:
        return
    with suppress(OSError):
        mark = _marks(folder) / f"{os.getpid()}.lock"
        mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
        lock_descriptor(descriptor, blocking=False)
        _held[key] = descriptor
        atexit.register(_unmark, key, mark)


def is_in_use(folder: Path) -> bool:
    """Whether a running process uses a folder of the cache. Marks of those that were killed are removed."""
    try:
        marks = list(_marks(folder).glob("*.lock"))
    except OSError:
        return False
    used = False
    for mark in marks:
        with try_lock(mark) as free:
            used = used or not free
        if free:
            with suppress(OSError):
                mark.unlink(missing_ok=True)
    return used


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for the block, if the file is there and no other process holds it.

    Yields whether the lock is held or there is no such file.
    """
    from filelock import lock_descriptor, unlock_descriptor

    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # not ours
        yield False
        return
    try:
        free = lock_descriptor(descriptor, blocking=False)
        try:
            yield free
        finally:
            if free:
                unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _marks(folder: Path) -> Path:
    return folder.parent / f".users-of-{folder.name}"


def _unmark(key: tuple[int, Path], mark: Path) -> None:
    if key[0] == os.getpid():  # not in a process that was forked
        with suppress(OSError):
            mark.unlink(missing_ok=True)
            os.close(_held.pop(key))
            mark.parent.rmdir()
