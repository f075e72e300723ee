"""A file lock that admits one run at a time to a state; the system releases it when its process ends.

It is the lock of PATH.lock (`files.locks`), a file that is never removed. The file names the holder, for the messages of others,
from its second byte: Windows lets nobody else read the first one while it is locked. Who releases the lock blanks that, so that
others rarely need to try the lock to see whether it is free.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.files.locks import BINARY, acquire, open_lock_file, release
from conda2wheel.mirror.state.database import DISK_HINT

HOLDER = 512  # bytes that name the holder
WAIT = 0.2  # seconds: `lock_holder` has the lock for a moment where a holder was killed


@contextmanager
def process_lock(path: Path, now: float) -> Iterator[None]:
    """Hold the lock of the state at `path` for the length of the block.

    Args:
        path: the state's file.
        now: seconds since 1970, for the messages of others.

    Raises:
        Failed: "busy" where another process holds it, "disk".
    """
    lock = _lock_file(path)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_lock_file(lock)
    except OSError as error:
        raise Failed("disk", f"{lock}: {error.strerror}", DISK_HINT) from None
    try:
        try:
            got = acquire(descriptor, WAIT)
        except OSError as error:
            raise Failed("disk", f"{lock}: cannot be locked: {error.strerror}", "put the state on another disk") from None
        if not got:
            raise Failed("busy", f"{path}: {_describe(_holder(lock))}", "wait until it ends, or end it")
        _write_holder(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()[:100], "since": now}))
        try:
            yield
        finally:
            _write_holder(descriptor, "")
            release(descriptor)
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> str | None:
    """Describe the process that holds the lock of the state at `path`; None if it is free."""
    lock = _lock_file(path)
    holder = _holder(lock)
    if not holder:
        return None
    try:
        descriptor = os.open(lock, os.O_RDONLY | BINARY)
    except OSError:
        return None
    try:
        if not acquire(descriptor, 0):
            return _describe(holder)
        release(descriptor)  # its holder was killed, and blanked nothing
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _write_holder(descriptor: int, text: str) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, b" " + text.encode().ljust(HOLDER) + b"\n")


def _holder(lock: Path) -> str:
    """Read what names the holder; nothing where the lock is free."""
    try:
        with lock.open("rb", buffering=0) as file:
            file.seek(1)
            return file.read(HOLDER).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        since = datetime.fromtimestamp(holder["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {holder['pid']} on {holder['host']} has had it since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process has it"
