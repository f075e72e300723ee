"""Open package archives: `.tar.bz2`, `.conda` (a zip of two `.tar.zst`) and empack's `.tar.gz`, by content, not by name.

Everything is streamed once into a spool; no member is ever written under its own name. Bounds hold for what is read,
not for what headers announce. The peers extract to disk, and conda-package-handling 2.6 follows an absolute hard link
out of the archive while it does (measured), which is why it is not used here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from conda2wheel.outcome import Failed, Refused

from .files import CHUNK, Entry, Limits, PackageFile, Spool, clean_path, is_executable, resolve_links, unsafe

MAX_ZSTD_WINDOW = 1 << 27  # zstd level 22, the largest that conda's tools write
_TAR_BLOCK = 512
_FORMATS = {b"BZh": "tar.bz2", b"PK\x03\x04": "zip", b"\x1f\x8b": "tar.gz"}


def open_archive(path: Path, source: str, limits: Limits) -> tuple[PackageFile, ...]:
    """Every file of a package archive, sorted by path.

    Raises `Refused` (corrupt-archive, unsafe-archive, too-large) for what the archive is, and `Failed` (not-found,
    unreadable) for what the disk does.
    """
    try:
        with path.open("rb") as stream:
            return _open(stream, path, source, limits)
    except FileNotFoundError:
        raise Failed("not-found", f"{source}: no such file", "check the path") from None
    except PermissionError:
        raise Failed("unreadable", f"{source}: permission denied", "make it readable for this user") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, ValueError, NotImplementedError) as error:
        raise corrupt(source, str(error)) from error
    except OSError as error:
        if error.errno is None:  # what bz2 and gzip raise for damaged data
            raise corrupt(source, str(error)) from error
        raise Failed("unreadable", f"{source}: {error.strerror}") from error


def corrupt(source: str, why: str) -> Refused:
    """The refusal for a damaged archive."""
    return Refused(
        "corrupt-archive", f"{source}: {why or 'damaged'}", "download it again and compare its sha256 with the channel's"
    )


def _open(stream: IO[bytes], path: Path, source: str, limits: Limits) -> tuple[PackageFile, ...]:
    head = stream.read(4)
    stream.seek(0)
    if not head:
        raise corrupt(source, "the file is empty")
    kind = next((kind for magic, kind in _FORMATS.items() if head.startswith(magic)), None)
    reader = _Members(source, limits, path.stat().st_size)
    if kind == "tar.bz2":
        reader.read_tar(bz2.BZ2File(stream))
    elif kind == "tar.gz":
        reader.read_tar(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)))
    elif kind == "zip":
        reader.read_conda(stream)
    else:
        raise corrupt(source, "not a conda package (neither .tar.bz2 nor .conda nor .tar.gz by its first bytes)")
    return resolve_links(source, reader.entries, limits)


class _Bounded(io.RawIOBase):
    """A decompressed stream that refuses to give more than the limits allow, and remembers its last block."""

    def __init__(self, inner: IO[bytes], members: _Members) -> None:
        self._inner = inner
        self._members = members
        self.tail = b""
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(CHUNK if size < 0 else min(size, CHUNK))
        self.count += len(data)
        self._members.grow(len(data))
        self.tail = (self.tail + data[-_TAR_BLOCK:])[-_TAR_BLOCK:]
        return data


class _Members:
    """Collects members; one for both halves of a `.conda`."""

    def __init__(self, source: str, limits: Limits, compressed: int) -> None:
        self.source = source
        self.limits = limits
        self.compressed = max(compressed, 1)
        self.unpacked = 0
        self.members = 0
        self.entries: dict[str, Entry] = {}
        self.spool = Spool()

    def grow(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.limits.size:
            raise Refused(
                "too-large", f"{self.source}: unpacks to more than {self.limits.size} bytes", "raise --max-size if you trust it"
            )
        if self.unpacked > self.limits.ratio_from and self.unpacked > self.compressed * self.limits.ratio:
            why = f"unpacks to more than {self.limits.ratio} times its size"
            raise Refused("too-large", f"{self.source}: {why}", "raise --max-ratio if you trust it")

    def read_conda(self, stream: IO[bytes]) -> None:
        """The `.conda` format: `info-NAME.tar.zst` and `pkg-NAME.tar.zst` in a zip (conda's packaging docs, CEP 6)."""
        import zstandard

        with zipfile.ZipFile(stream) as outer:
            names = outer.namelist()
            parts = [n for n in names if "/" not in n and n.startswith(("info-", "pkg-")) and n.endswith(".tar.zst")]
            if sorted(n.partition("-")[0] for n in parts) != ["info", "pkg"]:
                if any(n.endswith(".dist-info/WHEEL") for n in names):
                    raise corrupt(self.source, "this is a wheel already, not a conda package")
                raise corrupt(self.source, "a zip, but no .conda: it needs one info-*.tar.zst and one pkg-*.tar.zst")
            for name in sorted(parts):
                with outer.open(name) as member:
                    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
                    try:
                        self.read_tar(unpacker.stream_reader(member, read_across_frames=True))
                    except zstandard.ZstdError as error:
                        raise corrupt(self.source, f"{name}: {error}") from error

    def read_tar(self, stream: IO[bytes]) -> None:
        bounded = _Bounded(stream, self)
        with tarfile.open(fileobj=bounded, mode="r|", errorlevel=2) as archive:
            for member in archive:
                self._add(archive, member)
        while bounded.read():  # tarfile stops at the first zero block; the stream may still be cut or endless
            pass
        # A zstd stream or a tar that is cut between two members ends silently in their readers. A tar always ends in
        # zero blocks, so a stream without them was cut.
        if bounded.count % _TAR_BLOCK or bounded.tail.strip(b"\0"):
            raise corrupt(self.source, "the archive ends early")

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.members += 1
        if self.members > self.limits.members:
            raise Refused(
                "too-large", f"{self.source}: more than {self.limits.members} members", "raise --max-members if you trust it"
            )
        path = clean_path(self.source, member.name)
        if member.isdir():
            return
        if path is None:
            raise unsafe(self.source, member.name, "has no name")
        if member.issym() or member.islnk():
            entry = Entry(path, target=member.linkname, hard=member.islnk())
        elif member.isreg():
            if member.size > self.limits.member_size:
                why = f"{self.source}: {path} has {member.size} bytes, more than {self.limits.member_size}"
                raise Refused("too-large", why, "raise --max-member-size if you trust it")
            content = archive.extractfile(member)
            if content is None:
                raise corrupt(self.source, f"{path} cannot be read")
            blob = self.spool.add(_chunks(content))
            if blob.size != member.size:
                raise corrupt(self.source, f"{path} is cut: {blob.size} of {member.size} bytes")
            entry = Entry(path, blob=blob, executable=is_executable(member.mode))
        else:
            raise unsafe(self.source, member.name, "is no file, folder or link")
        before = self.entries.get(path)
        if before is not None and not _same(before, entry):
            raise unsafe(self.source, member.name, "comes twice, with different contents")
        self.entries[path] = entry


def _same(one: Entry, other: Entry) -> bool:
    if one.blob is None or other.blob is None:
        return one.blob is other.blob and (one.target, one.hard) == (other.target, other.hard)
    return one.blob.sha256 == other.blob.sha256


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk
