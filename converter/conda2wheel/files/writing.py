"""Write files atomically: a reader sees the old file or the whole new one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from conda2wheel.errors import Failed


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
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
            name().replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Failed(
            "disk", f"cannot write {target}: {error.strerror or error}", "check the folder, its permissions and free space"
        ) from error
    return digest.hexdigest()


@contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[IO[bytes], Callable[[], Path]]]:
    """Provide a new file in the target's folder, and a function that names it when it is complete; removed on failure."""
    folder = target.parent
    unique = folder / f".conda2wheel-{os.getpid()}-{os.urandom(6).hex()}.part"  # two threads may write the same wheel
    unnamed = True
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # not on this system, not on this file system
        unnamed = False
        fd = os.open(unique, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)

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
