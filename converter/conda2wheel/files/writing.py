"""Write files atomically: a reader sees the old file or the whole new one."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from conda2wheel.errors import Failed

LONGEST_PAUSE = 1.0  # seconds; two in all


def write_file(target: Path, chunks: Callable[[], Iterator[bytes]], mode: int = 0o644) -> str:
    """Write a file atomically: to a temporary file in its folder, fsync, rename.

    A killed process leaves no incomplete file under the target's name, and no temporary file where the file system has unnamed
    files (O_TMPFILE).

    Args:
        target: The file; its folder is created if needed.
        chunks: Returns the contents.
        mode: The file's permissions.

    Returns:
        The sha256 of the contents in hexadecimal.

    Raises:
        Failed: disk.
    """
    digest = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(target) as (out, name):
            for chunk in chunks():
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            if hasattr(os, "fchmod"):
                os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
            complete = name()
        try:
            replace_file(complete, target)
        except BaseException:
            with suppress(OSError):
                complete.unlink()
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise Failed(
            "disk", f"cannot write {target}: {error.strerror or error}", "check the folder, its permissions and free space"
        ) from error
    return digest.hexdigest()


def replace_file(source: Path, target: Path) -> None:
    """Rename a file, that is not open, over another one. Raises `OSError`.

    Windows renames over no file that another process has open, such as a reader or a virus scanner; it is tried for some time.
    """
    pause = 0.01
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if os.name != "nt" or pause > LONGEST_PAUSE or target.is_dir():
                raise
            time.sleep(pause)
            pause *= 2
        else:
            return


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure; Windows opens no folder, and does that by itself. Raises `OSError`."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[IO[bytes], Callable[[], Path]]]:
    """Provide a new file in the target's folder, and a function that names it when it is complete; removed on failure."""
    folder = target.parent
    unique = folder / f".conda2wheel-{os.getpid()}-{os.urandom(6).hex()}.part"  # two threads may write the same wheel
    unnamed = False
    if hasattr(os, "O_TMPFILE"):
        with suppress(OSError):  # not on this file system
            fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
            unnamed = True
    if not unnamed:
        fd = os.open(unique, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)

    def name() -> Path:
        if unnamed:
            # A directory descriptor makes this linkat(2) with AT_SYMLINK_FOLLOW, which alone can name such a file.
            os.link(f"/proc/self/fd/{fd}", unique, src_dir_fd=fd, follow_symlinks=True)
        return unique

    try:
        with os.fdopen(fd, "wb") as out:
            yield out, name
    except BaseException:
        with suppress(OSError):
            unique.unlink()
        raise
