"""Read files from disk, and the errors for files that are missing, unreadable or damaged."""

from __future__ import annotations

import errno
import lzma
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conda2wheel.errors import Failed, Refused

DOWNLOAD_AGAIN = "download it again and compare its sha256 with the channel's, or build it again if it is your own"
# What the standard library raises for damaged archives. tarfile follows chains of headers by recursion (RuntimeError has
# RecursionError), zipfile has RuntimeError for encrypted members and NotImplementedError for unknown methods.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)


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


def not_found(path: Path | str, what: str = "file") -> Failed:
    """Return the error for a path that does not exist."""
    return Failed("not-found", f"{path}: no such {what}", "check the path")


def wheels_at(path: Path) -> list[Path]:
    """The wheels of a folder by name, or the path itself if it is no folder.

    Raises:
        Failed: not-found (a folder without wheels, no path), unreadable.
    """
    if not os.path.isdir(path):
        if not os.path.lexists(path) and path.suffix != ".whl":
            raise not_found(path, "file or folder")
        return [path]
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith(".whl"))
    except OSError as error:
        raise unreadable(path, error) from None
    if not names:
        inside = next(path.glob("*/*.whl"), None)
        hint = f"give its subfolder {inside.parent}" if inside else "give a folder that has some, or the wheels"
        raise Failed("not-found", f"{path}: has no wheels", hint)
    return [path / name for name in names]


@contextmanager
def reading_archive(source: str, hint: str = DOWNLOAD_AGAIN) -> Iterator[None]:
    """Turn whatever a reader of archives raises for damaged data into the refusal; errors of the operating system stay.

    Args:
        source: What messages call the archive.
        hint: What to do about a damaged one.

    Raises:
        Refused: corrupt-archive.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # bz2 and gzip raise it without a number for damaged data, zipfile with EINVAL for a seek before the start.
        raise corrupt(source, str(error), hint) from error
    except Exception as error:
        if not isinstance(error, (*_DAMAGE, *_zstd_damage())):
            raise
        raise corrupt(source, str(error), hint) from error


def _zstd_damage() -> tuple[type[Exception], ...]:
    """What zstandard raises, if it was imported, which takes a while."""
    module = sys.modules.get("zstandard")
    return () if module is None else (module.ZstdError,)


def package_name(name: str) -> str:
    """Return a name from the file system as packages have it, in UTF-8 whatever the locale is."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def native_name(name: str) -> str:
    """Return a name in a package as Python's functions for files take it, whatever the locale is."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def corrupt(source: str, why: str, hint: str = DOWNLOAD_AGAIN) -> Refused:
    """Return the refusal for an archive that is damaged or of another format."""
    return Refused("corrupt-archive", f"{source}: {why or 'damaged'}", hint)
