"""The files of a package: their bytes by reference, their names, and the rules for names and links in hostile archives.

Nothing is ever extracted by the name that it brings. A name must be relative, below the package's root and free of
`..`; a symbolic or hard link may only lead to another file of the same package, and then is one more name (an alias)
of that file; everything else (devices, pipes, links out of the package) is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.reading import unreadable

SPOOL_IN_MEMORY = 512 << 20
MAX_LINK_HOPS = 40  # as Linux's ELOOP
MAX_PATH = 4096  # as Linux's PATH_MAX; also keeps the work for one name small
CHUNK = 1 << 20
_NO_PLAIN = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class Limits:
    """Bounds on what a package may unpack to; `ratio` only counts once `ratio_from` bytes are unpacked. `header` is what one
    member may have in front of its contents (long names, pax records); `zstd_window` the memory that one stream may ask for.
    """

    members: int = 200_000
    size: int = 8 << 30
    member_size: int = 2 << 30
    ratio: int = 250
    ratio_from: int = 64 << 20
    download: int = 4 << 30
    header: int = 1 << 20
    zstd_window: int = 1 << 27  # zstd level 22, the largest that conda's tools write


class Blob(Protocol):
    """Some bytes, read when asked for."""

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def read(self) -> bytes:
        """All of them."""
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


class Spool:
    """Where an archive's contents lie while they are needed: memory, and past 512 MiB a temporary file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY)  # noqa: SIM115 - lives as long as its blobs
        self._end = 0
        self._lock = threading.Lock()

    def add(self, chunks: Iterable[bytes]) -> SpoolBlob:
        """Store a file's bytes and give back their place."""
        digest = hashlib.sha256()
        start = self._end
        self._file.seek(start)
        try:
            for chunk in chunks:
                digest.update(chunk)
                self._file.write(chunk)
                self._end += len(chunk)
        except OSError as error:
            if error.errno is None:  # not the disk: the archive under the chunks
                raise
            raise Failed("disk", f"cannot spool the package: {error.strerror}", "set TMPDIR to a place with room") from error
        return SpoolBlob(self, start, self._end - start, digest.hexdigest())

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at a place; threads may call this at once."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


@dataclass(frozen=True)
class SpoolBlob:
    """Bytes in a spool."""

    spool: Spool = field(repr=False, compare=False)
    offset: int
    size: int
    sha256: str

    def read(self) -> bytes:
        """The bytes."""
        return self.spool.read(self.offset, self.size)


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
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(fd, "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(data) != self.size:
            raise Failed("unreadable", f"{self.path} changed while it was read")
        return data


@dataclass(frozen=True)
class PackageFile:
    """A file of a package: its own path, and the aliases that links give it."""

    path: str
    blob: Blob
    executable: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def names(self) -> frozenset[str]:
        """Every file name that it has, through links too."""
        return frozenset(path.rpartition("/")[2] for path in (self.path, *self.aliases))


@dataclass(frozen=True)
class ArchiveMember:
    """A member as an archive or a folder lists it: a file (`blob`) or a link (`target`, as written)."""

    path: str
    blob: Blob | None = None
    executable: bool = False
    target: str | None = None
    hard: bool = False


def unsafe(source: str, what: str, why: str) -> Refused:
    """The refusal for a hostile member."""
    return Refused(
        "unsafe-archive", f"{source}: member {what[:200]!r} {why}", "do not trust this package; get it again from its channel"
    )


def clean_path(source: str, name: str) -> str | None:
    """A member's name as a relative POSIX path, None for the root itself. Raises `Refused` for any other form."""
    if not name or _NO_PLAIN.search(name):
        raise unsafe(source, name, "has a name that is no plain path")
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
        raise unsafe(source, name, "climbs out of the package")
    return "/".join(parts) or None


def resolve_links(source: str, entries: Mapping[str, ArchiveMember], limits: Limits) -> tuple[PackageFile, ...]:
    """The package's files with all their names, sorted by path.

    A link to a folder gives every file below that folder one more name. Raises `Refused` for a link that leaves the
    package, leads nowhere or in a circle, and for a member that lies below a link or a file.
    """
    links = {path: entry for path, entry in entries.items() if entry.blob is None}
    files = {path: entry for path, entry in entries.items() if entry.blob is not None}
    for path in entries:
        for parent in parents(path):
            if parent in entries:
                raise unsafe(source, path, f"lies below {parent!r}, which is no folder")
    folders = {parent for path in entries for parent in parents(path)}
    aliases: dict[str, list[str]] = {path: [] for path in files}
    ordered = sorted(files)
    names = len(files)
    for path, link in sorted(links.items()):
        real = _follow(source, path, link, links)
        if real in files:
            found = {path: real}
        elif real in folders:
            if path.startswith(real + "/"):
                raise unsafe(source, path, "links to a folder that it lies in")
            below = ordered[bisect_left(ordered, real + "/") : bisect_left(ordered, real + "0")]  # "0" follows "/"
            found = {path + name[len(real) :]: name for name in below}
        else:
            raise unsafe(source, path, f"links to {link.target!r}, which is not in the package")
        names += len(found)
        if names > limits.members:
            raise Refused("too-large", f"{source}: more than {limits.members} names", "raise --max-members if you trust it")
        for alias, name in found.items():
            aliases[name].append(alias)
    return tuple(
        PackageFile(path, blob, entry.executable, tuple(aliases[path]))
        for path, entry in sorted(files.items())
        if (blob := entry.blob) is not None
    )


def parents(path: str) -> list[str]:
    """The folders that a path lies in: `a` and `a/b` for `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _follow(source: str, path: str, link: ArchiveMember, links: Mapping[str, ArchiveMember]) -> str:
    """Where a link ends, component by component, through other links, inside of the package only."""
    hops = 0
    done: list[str] = [] if link.hard else path.split("/")[:-1]
    todo = _components(source, path, link)
    while todo:
        part = todo.pop(0)
        if part == "..":
            if not done:
                raise unsafe(source, path, f"links out of the package, to {link.target!r}")
            done.pop()
            continue
        done.append(part)
        here = "/".join(done)
        if here in links:
            hops += 1
            if hops > MAX_LINK_HOPS:
                raise unsafe(source, path, "links in a circle")
            done = [] if links[here].hard else done[:-1]
            todo = _components(source, here, links[here]) + todo
    return "/".join(done)


def _components(source: str, path: str, link: ArchiveMember) -> list[str]:
    target = link.target or ""
    if not target or target.startswith("/") or "\0" in target or "\\" in target or len(target) > MAX_PATH:
        raise unsafe(source, path, f"links out of the package, to {target[:200]!r}")
    return [part for part in target.split("/") if part not in ("", ".")]


def is_executable(mode: int) -> bool:
    """Whether its owner may run it; set-user-ID and the like are forgotten."""
    return bool(stat.S_IMODE(mode) & stat.S_IXUSR)
