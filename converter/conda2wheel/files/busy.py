"""Try again while SQLite is busy."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

WAIT = 30.0  # seconds to wait for another process that writes
PAUSE = 0.01  # seconds between two tries
T = TypeVar("T")


def while_busy(work: Callable[[], T]) -> T:
    """Return what `work` returns, and repeat it while it raises SQLITE_BUSY, for WAIT.

    A connection's own timeout does not hold where another one starts or ends the write-ahead log: SQLite then does not wait.
    """
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(PAUSE)
