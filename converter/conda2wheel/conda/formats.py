"""The archive formats of conda packages, one row each: how a format is recognised, decompressed and read remotely."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import IO, NamedTuple, cast

from conda2wheel.conda.bzip2 import open_bz2


class ArchiveFormat(NamedTuple):
    """One archive format.

    Attributes:
        suffix: The end of its file names.
        magic: Its first bytes, by which it is recognised whatever the file is called.
        decompress: Opens the tar in a stream; None for a zip whose members are tars (`.conda`).
        in_channels: Whether channels serve it.
        complete: Whether it has all files of the package; empack leaves some out.
    """

    suffix: str
    magic: bytes
    decompress: Callable[[IO[bytes]], IO[bytes]] | None
    in_channels: bool = True
    complete: bool = True


# In the order of preference where a channel has one build in several formats.
FORMATS = (
    ArchiveFormat(".conda", b"PK\x03\x04", None),
    ArchiveFormat(".tar.bz2", b"BZh", open_bz2),
    ArchiveFormat(
        ".tar.gz", b"\x1f\x8b", lambda stream: cast("IO[bytes]", gzip.GzipFile(fileobj=stream)), in_channels=False, complete=False
    ),
)
PACKAGE_SUFFIXES = tuple(row.suffix for row in FORMATS)
CHANNEL_SUFFIXES = tuple(row.suffix for row in FORMATS if row.in_channels)


def format_of(head: bytes) -> ArchiveFormat | None:
    """Return the format of an archive by its first bytes; None for no known format."""
    return next((row for row in FORMATS if head.startswith(row.magic)), None)


def format_named(filename: str) -> ArchiveFormat | None:
    """Return the format of an archive by its file name or URL; None for no known format.

    >>> [row and row.suffix for row in map(format_named, ("x-1-0.conda", "https://host/x-1-0.tar.bz2#sha256=0", "x.whl"))]
    ['.conda', '.tar.bz2', None]
    """
    return next((row for row in FORMATS if filename.partition("#")[0].endswith(row.suffix)), None)
