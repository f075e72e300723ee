"""The files of a package: their contents by reference, their names, and the rules for names in hostile archives.

No member is extracted under its own name. A name must be relative, below the package's root and free of `..`. Links become other
names of files of the same package (`links`). Devices, pipes and the like are refused.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.reading import unreadable

IN_MEMORY = 64 << 20  # bytes of a package's files; of a larger package the others lie on disk
MAX_PATH = 4096  # as Linux's PATH_MAX; also keeps the work for one name small
CHUNK = 1 << 20
BLOCK = 4096  # what a name takes on a disk at least
# Control characters, and the other line breaks of Unicode: RECORD and other files of lines are read with str.splitlines().
_UNSAFE_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")


@dataclass(frozen=True)
class Limits:
    """Bounds on a package; sizes are in bytes.

    Attributes:
        members: How many members it may have, and how many names and folders with its links.
        size: What it may unpack to.
        member_size: What one member may have.
        ratio: How many times its own size it may unpack to; checked once `ratio_from` bytes are unpacked.
        download: What may be downloaded.
        header: What the headers of one member may have (long names, pax records).
        zstd_window: The memory that one zstd stream may use.
        depth: How many folders a path may lie in.
        path_bytes: How long all its paths may be together, with the targets and the other names of links.
        aliases: How many other names the links of a package may give to its files.
        entries: What the sections of its WebAssembly modules may list together: types, imports, exports, functions and the like,
            each as often as it is read, those with a name as 20, a section as 100, a NEEDED entry as 500, a module as 3,000.
    """

    members: int = 200_000
    size: int = 8 << 30
    member_size: int = 2 << 30
    ratio: int = 250
    ratio_from: int = 64 << 20
    download: int = 4 << 30
    header: int = 1 << 20
    zstd_window: int = 1 << 27  # zstd level 22, the largest that conda's tools write
    depth: int = 128
    path_bytes: int = 16 << 20
    aliases: int = 50_000
    entries: int = 8_000_000  # grill-usd-core, with 109 MB of modules, has 5.3 million


_NO_OPTION = ("ratio_from", "download", "header", "zstd_window")


def too_large(source: str, why: str, bound: str) -> Refused:
    """Return the refusal for a package that exceeds a bound, which is the name of a field of `Limits`."""
    option = f"--max-{bound.replace('_', '-')}"
    hint = f"Limits({bound}=...) raises that bound" if bound in _NO_OPTION else f"raise {option} if you trust it"
    return Refused("too-large", f"{source}: {why}", hint)


class Blob(Protocol):
    """The contents of a file, read when `read` is called."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""

    def read(self) -> bytes:
        """Return the bytes."""
        ...


@dataclass(frozen=True)
class BytesBlob:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """In hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    def read(self) -> bytes:
        """The bytes."""
        return self.data


OnFile = Callable[[str, Blob], None]  # called with each regular file of an archive, and its path, as soon as it is read


class Spool:
    """Temporary storage for an archive's contents: `IN_MEMORY` bytes of memory, then an unnamed temporary file.

    One thread adds files; any number of threads read those that were added.
    """

    def __init__(self) -> None:
        self._left = IN_MEMORY
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = threading.Lock()

    def add(self, chunks: Iterable[bytes]) -> SpooledInMemory | SpooledOnDisk:
        """Store a file's bytes and return a blob that reads them."""
        digest = hashlib.sha256()
        held: list[bytes] = []
        size = 0
        source = iter(chunks)
        for chunk in source:
            digest.update(chunk)
            held.append(chunk)
            size += len(chunk)
            if size > self._left:
                return self._to_disk(held, source, digest)
        self._left -= size
        return SpooledInMemory(held[0] if len(held) == 1 else b"".join(held), digest.hexdigest())

    def _to_disk(self, held: Iterable[bytes], rest: Iterator[bytes], digest: hashlib._Hash) -> SpooledOnDisk:
        start = self._end

        def hashed(chunks: Iterator[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its blobs
            for chunk in itertools.chain(held, hashed(rest)):
                with self._lock:  # files that were spooled before are read meanwhile
                    self._file.seek(self._end)
                    self._file.write(chunk)
                self._end += len(chunk)
            with self._lock:
                self._file.flush()
        except OSError as error:
            if error.errno is None:  # raised by the decompressor, not by the disk
                raise
            raise Failed(
                "disk", f"cannot spool the package: {error.strerror}", "set TMPDIR to a folder with free space"
            ) from error
        return SpooledOnDisk(self, start, self._end - start, digest.hexdigest())

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file at an offset; thread-safe."""
        if self._file is None:
            return b""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


@dataclass(frozen=True)
class SpooledInMemory:
    """A file that a spool keeps in memory."""

    data: bytes = field(repr=False, compare=False)
    sha256: str

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True)
class SpooledOnDisk:
    """A file that a spool keeps on disk."""

    spool: Spool = field(repr=False, compare=False)
    offset: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """The bytes."""
        return self.spool.read(self.offset, self.size)


def _open_no_link(path: Path) -> int:
    """Open a file for reading. Raises `OSError`, also if it is a link."""
    if hasattr(os, "O_NOFOLLOW"):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


@dataclass(frozen=True)
class FileBlob:
    """A regular file on disk, which must not change while it is converted."""

    path: Path
    size: int

    @cached_property
    def sha256(self) -> str:
        """In hexadecimal."""
        return hashlib.sha256(self.read()).hexdigest()

    def read(self) -> bytes:
        """The bytes. Raises `Failed` if the file is unreadable, gone, replaced by a link or of another size."""
        try:
            with os.fdopen(_open_no_link(self.path), "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(data) != self.size:
            raise Failed("unreadable", f"{self.path} changed while it was read")
        return data


@dataclass
class EntryCount:
    """Counts what the sections of a package's modules list. A file that is read again counts once, as the longest reading of it.

    Attributes:
        source: what messages call the package.
        limit: how many entries may be read.
        by_file: how many were read, by path.
        total: their sum.
    """

    source: str
    limit: int = Limits.entries
    by_file: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def reading(self, path: str) -> Callable[[int], None]:
        """Return what a new reading of a file calls with the number of entries that it is about to read.

        It raises `Refused` (too-large) where that is more than the limit.
        """
        read = 0

        def spend(entries: int) -> None:
            nonlocal read
            read += entries
            before = self.by_file.get(path, 0)
            if read > before:
                self.by_file[path] = read
                self.total += read - before
            if self.total > self.limit:
                what = f"{path} and other modules list more than {self.limit} types, imports, exports and the like"
                raise too_large(self.source, what, "entries")

        return spend


@dataclass(frozen=True)
class PackageFile:
    """A file of a package: its own path, and its aliases, which are links to it. `entries` counts what its modules list."""

    path: str
    blob: Blob
    executable: bool = False
    aliases: tuple[str, ...] = ()
    entries: EntryCount | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def names(self) -> frozenset[str]:
        """Every file name that it has, through links too."""
        return frozenset(path.rpartition("/")[2] for path in (self.path, *self.aliases))


class ArchiveMember(NamedTuple):
    """A member as an archive or a folder lists it: a file (`blob`) or a link (`target`, as written)."""

    path: str
    blob: Blob | None = None
    executable: bool = False
    target: str | None = None
    hard: bool = False


DO_NOT_TRUST = "do not use it; if it is your own, build it again without that member"


def unsafe(source: str, what: str, why: str) -> Refused:
    """Return the refusal for a hostile member."""
    return Refused("unsafe-archive", f"{source}: member {what[:200]!r} {why}", DO_NOT_TRUST)


def is_root(name: str) -> bool:
    """Whether the name of a folder names the root of the package: `./`, `/` as GNU tar -P writes it, or nothing.

    >>> is_root("/"), is_root(""), is_root("./."), is_root("..")
    (True, True, True, False)
    """
    return all(part in ("", ".") for part in name.split("/"))


def clean_path(source: str, name: str) -> str | None:
    """Return a member's name as a relative POSIX path, None for the root. Raises `Refused` for any other form."""
    if not name or _UNSAFE_CHARACTER.search(name):
        raise unsafe(source, name, "has a name that is not a plain path")
    if len(name) > MAX_PATH:
        raise unsafe(source, name, f"has a name of more than {MAX_PATH} characters")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise unsafe(source, name, "has a name that is not UTF-8") from None
    if name.startswith("/") or name[1:3] in (":/", ":"):
        raise unsafe(source, name, "has an absolute name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise unsafe(source, name, "leads out of the package")
    return "/".join(parts) or None


def parents(path: str) -> list[str]:
    """Return the folders above a path: `a` and `a/b` for `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def is_executable(mode: int) -> bool:
    """Whether the owner may execute a file of this mode; set-user-ID and similar bits are ignored."""
    return bool(stat.S_IMODE(mode) & stat.S_IXUSR)
