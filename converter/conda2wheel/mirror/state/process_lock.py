"""One run at a time on a state: a lock that the kernel takes away with the process that has it.

A POSIX record lock on PATH.lock: it is gone with its process however that ended, workers that were forked off do not keep it, and
NFS carries it to other machines. Who has it stands in the file for the others' message. The file itself stays: removing it would
let two processes lock two files of one name.
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

_FLOCK = "hhqqi4x"


@contextmanager
def owned(path: Path, now: float) -> Iterator[None]:
    """Be the one run on the state at `path` until the block ends; `now` in seconds since 1970.

    Raises `Failed`: busy, with who has it and since when; disk.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Failed("disk", f"{lock}: {error.strerror}", "is there room, and may it be written?") from None
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise Failed("disk", f"{lock}: cannot be locked: {error.strerror}", "put the state on another disk") from None
            raise Failed("busy", f"{path}: {_who(handle)}", "wait until it ends, or end it") from None
        me = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode()
        os.ftruncate(handle, 0)
        os.pwrite(handle, me, 0)
        yield
    finally:
        os.close(handle)


def holder(path: Path) -> str | None:
    """Who has the state at `path` now, as a person reads it; None where nobody has. Nothing is locked to find out."""
    try:
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # struct flock of 64-bit Linux: type, whence, start, length, pid (fcntl(2), F_GETLK)
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        return None if answer[0] == fcntl.F_UNLCK else _who(handle)
    except OSError:
        return None
    finally:
        os.close(handle)


def _who(handle: int) -> str:
    try:
        told = json.loads(os.pread(handle, 4096, 0))
        since = datetime.fromtimestamp(told["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {told['pid']} on {told['host']} has it since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process has it"
