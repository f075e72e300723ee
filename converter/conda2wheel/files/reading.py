"""Read files from disk, and the errors for files that are missing, unreadable or damaged."""

from __future__ import annotations

from pathlib import Path

from conda2wheel.errors import Failed, Refused

DOWNLOAD_AGAIN = "download it again and compare its sha256 with the channel's"


def read_file(path: Path, size: int | None = None) -> bytes:
    """Read a file.

    Args:
        path: The file.
        size: The number of bytes to read from its start; None reads all of it.

    Raises:
        Failed: unreadable.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(-1 if size is None else size)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path | str, error: OSError) -> Failed:
    """Return the error for a file or folder that the operating system does not let this process read."""
    return Failed("unreadable", f"{path}: {error.strerror or error}", "make it readable for this user")


def not_found(path: Path | str) -> Failed:
    """Return the error for a path that does not exist."""
    return Failed("not-found", f"{path}: no such file", "check the path")


def corrupt(source: str, why: str, hint: str = DOWNLOAD_AGAIN) -> Refused:
    """Return the refusal for an archive that is damaged or of another format."""
    return Refused("corrupt-archive", f"{source}: {why or 'damaged'}", hint)
