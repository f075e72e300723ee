"""A file lock that admits one run at a time to a state; the kernel releases it when its process ends.

It is a POSIX record lock on PATH.lock: it ends with its process however that ends, forked workers do not inherit it, and NFS
shares it between machines. The file names the holder, for the messages of others. It is never removed: if it were, two processes
could lock two files of one name.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.mirror.state.database import DISK_HINT

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid (fcntl(2), F_GETLK)


@contextmanager
def process_lock(path: Path, now: float) -> Iterator[None]:
    """Hold the lock of the state at `path` for the length of the block.

    Args:
        path: the state's file.
        now: seconds since 1970, for the messages of others.

    Raises:
        Failed: "busy" where another process holds it, "disk".
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Failed("disk", f"{lock}: {error.strerror}", DISK_HINT) from None
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise Failed("disk", f"{lock}: cannot be locked: {error.strerror}", "put the state on another disk") from None
            raise Failed("busy", f"{path}: {_describe(handle)}", "wait until it ends, or end it") from None
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode()
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder, 0)
        yield
    finally:
        os.close(handle)


def lock_holder(path: Path) -> str | None:
    """Describe the process that holds the lock of the state at `path`; None if it is free. Locks nothing."""
    try:
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, query))
        return None if answer[0] == fcntl.F_UNLCK else _describe(handle)
    except OSError:
        return None
    finally:
        os.close(handle)


def _describe(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        since = datetime.fromtimestamp(holder["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {holder['pid']} on {holder['host']} has had it since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process has it"
