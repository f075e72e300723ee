"""Locks on files: one process at a time, on every system; the system releases a lock when its process ends, however it ends.

filelock locks the open file: with flock(2), or on Windows the file's first byte, which no other process can read then. A lock
file is not removed by who releases it: if it were, two processes could lock two files of one name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL = 0.01  # seconds between two tries
BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends


def open_lock_file(path: Path) -> int:
    """Open a lock file, which is created if needed. Raises `OSError`."""
    return os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o644)


def acquire(descriptor: int, wait: float | None = None) -> bool:
    """Lock an open file.

    Args:
        descriptor: the file's descriptor.
        wait: for how many seconds to wait for another holder; None for as long as it takes.

    Returns:
        Whether it is locked now; False where another holder has it after `wait`.

    Raises:
        OSError: the file system has no locks.
    """
    from filelock import lock_descriptor

    deadline = None if wait is None else time.monotonic() + wait
    while not lock_descriptor(descriptor, blocking=False):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def release(descriptor: int) -> None:
    """Unlock an open file; Windows releases what is only closed at a time of its own. Raises `OSError`."""
    from filelock import unlock_descriptor

    unlock_descriptor(descriptor)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file for the block, once it is free. Raises `OSError`."""
    descriptor = open_lock_file(path)
    try:
        acquire(descriptor)
        try:
            yield
        finally:
            release(descriptor)
    finally:
        os.close(descriptor)
