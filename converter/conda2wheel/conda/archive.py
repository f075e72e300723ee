"""Open package archives: `.tar.bz2`, `.conda` (a zip of two `.tar.zst`) and empack's `.tar.gz`, by content, not by name.

An archive is read once, as a stream, into a spool; no member is written to disk under its own name. Limits apply to the bytes
that are read, not to the sizes in headers. conda-package-handling 2.6 extracts to disk and follows an absolute hard link out of
the archive (measured), so it is not used here.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from conda2wheel.conda.formats import format_of
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.links import NameBounds, PackageFiles, resolve_links
from conda2wheel.files.packagefile import (
    CHUNK,
    ArchiveMember,
    Limits,
    OnFile,
    Spool,
    clean_path,
    is_executable,
    is_root,
    too_large,
    unsafe,
)
from conda2wheel.files.reading import corrupt, not_found, reading_archive, unreadable
from conda2wheel.files.zips import same_content

_ENDS = 8  # reads at the end of a stream; tarfile needs two
_HALF = re.compile(r"(?:info|pkg)-[^/]*\.tar(?:\.(?P<packing>[^./]+))?")


def open_archive(path: Path, source: str, limits: Limits, on_file: OnFile | None = None) -> PackageFiles:
    """Read every file of a package archive.

    Args:
        path: The archive.
        source: What messages call it.
        limits: Bounds on what it may unpack to.
        on_file: Called with each regular file while the next ones are read.

    Raises:
        Refused: corrupt-archive, unsafe-archive or too-large.
        Failed: not-found or unreadable.
    """
    try:
        with reading_archive(source):
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for its writer
                raise Failed("unreadable", f"{source}: neither a regular file nor a folder", "save it to a file first")
            with path.open("rb") as stream:
                return _open(stream, path, source, limits, on_file)
    except FileNotFoundError:
        raise not_found(source) from None
    except OSError as error:
        raise unreadable(source, error) from None


NO_PACKAGE = "give a .conda, .tar.bz2 or .tar.gz package, an unpacked one, or a prefix"


def _open(stream: IO[bytes], path: Path, source: str, limits: Limits, on_file: OnFile | None) -> PackageFiles:
    head = stream.read(4)
    stream.seek(0)
    if not head:
        raise corrupt(source, "the file is empty")
    found = format_of(head)
    if found is None:
        raise corrupt(source, "not a conda package (neither .tar.bz2 nor .conda nor .tar.gz by its first bytes)", NO_PACKAGE)
    packed = path.stat().st_size
    reader = _Members(source, limits, packed, on_file)
    if found.decompress is None:
        reader.read_conda(stream)
    else:
        with closing(found.decompress(stream)) as unpacked:
            reader.read_tar(unpacked)
    return resolve_links(source, reader.entries, limits, packed)._replace(unterminated=reader.unterminated)


class StrictTarInfo(tarfile.TarInfo):
    """A member's header that raises if it is damaged or cut; tarfile takes such a one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictTarInfo:
        """Parse one header block, as `tarfile.TarInfo` does.

        Raises:
            tarfile.ReadError: the header is damaged.
        """
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.strip(b"\0"):
                raise tarfile.ReadError(f"a damaged member ({error})") from error
            raise

    @classmethod
    def _frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str, **more: Any) -> Any:
        """Parse one header block: newer CPythons (3.14.10) call this and not `frombuf`."""
        try:
            found = vars(tarfile.TarInfo)["_frombuf"].__func__(cls, buf, encoding, errors, **more)
        except tarfile.HeaderError as error:
            if buf.strip(b"\0"):
                raise tarfile.ReadError(f"a damaged member ({error})") from error
            raise
        if found.size < 0:  # older ones notice when they seek
            raise tarfile.ReadError("a damaged member (its size is below zero)")
        return found


BUFFER = 64 << 10  # bytes that tarfile reads at once


def open_tar(stream: IO[bytes], buffer: int = tarfile.RECORDSIZE) -> tarfile.TarFile:
    """Open an uncompressed tar as a stream, of which `buffer` bytes are read at once.

    Names are UTF-8 whatever the locale is; a damaged header raises.
    """
    return tarfile.open(fileobj=stream, mode="r|", bufsize=buffer, errorlevel=2, tarinfo=StrictTarInfo, encoding="utf-8")


class FiniteStream(io.RawIOBase):
    """A stream that cannot be read for ever after its end.

    tarfile skips the content that a header announces (2^87 bytes, say) block by block, also where nothing follows.
    """

    _ends = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def require_more(self, data: bytes) -> None:
        """Raise `EOFError` if nothing was read again and again; `data` is what was read."""
        self._ends = 0 if data else self._ends + 1
        if self._ends > _ENDS:
            raise EOFError("the archive ends early")


class _MemberStream(FiniteStream):
    """A decompressed stream that enforces the limits and counts its bytes."""

    def __init__(self, inner: IO[bytes], members: _Members) -> None:
        self._inner = inner
        self._members = members
        self.count = 0
        self.headers: int | None = 0  # bytes read since the last member; None within contents

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(CHUNK if size < 0 else min(size, CHUNK))
        self.require_more(data)
        self.count += len(data)
        self._members.grow(len(data))
        if self.headers is not None:
            self.headers += len(data)
            if self.headers > self._members.limits.header + BUFFER:
                raise self._members.too_large(f"a member's header has more than {self._members.limits.header} bytes", "header")
        return data


class _Members:
    """The members of an archive as they are read; one object for both tars of a `.conda`."""

    def __init__(self, source: str, limits: Limits, compressed: int, on_file: OnFile | None = None) -> None:
        self.source = source
        self.limits = limits
        self.on_file = on_file
        self.compressed = max(compressed, 1)
        self.unpacked = 0
        self.members = 0
        self.names = NameBounds(source, limits, self.compressed)
        self.entries: dict[str, ArchiveMember] = {}
        self.unterminated = False
        self.spool = Spool()

    def too_large(self, why: str, bound: str) -> Refused:
        return too_large(self.source, why, bound)

    def grow(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.limits.size:
            raise self.too_large(f"unpacks to more than {self.limits.size} bytes", "size")
        if self.unpacked > self.limits.ratio_from and self.unpacked > self.compressed * self.limits.ratio:
            raise self.too_large(f"unpacks to more than {self.limits.ratio} times its size", "ratio")

    def read_conda(self, stream: IO[bytes]) -> None:
        """The `.conda` format: `info-NAME.tar.zst` and `pkg-NAME.tar.zst` in a zip (conda's packaging docs, CEP 6)."""
        import zstandard

        with zipfile.ZipFile(stream) as outer:
            for name, part in sorted(self._parts(outer).items()):
                packed = part.file_size  # zipfile reads no more than that
                if packed > self.compressed:  # the format stores them; a second compression can only hide a decompression bomb
                    raise self.too_large(f"{name} in it has {packed} bytes, more than the package itself", "size")
                with outer.open(part) as member:
                    unpacker = zstandard.ZstdDecompressor(max_window_size=self.limits.zstd_window)
                    try:
                        self.read_tar(unpacker.stream_reader(member, read_across_frames=True))
                    except zstandard.ZstdError as error:
                        if "too much memory" in str(error):
                            raise self.too_large(f"{name}: {error}", "zstd_window") from error
                        raise corrupt(self.source, f"{name}: {error}") from error

    def _parts(self, outer: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        """The two halves of a `.conda` by name."""
        parts: dict[str, zipfile.ZipInfo] = {}
        for each in outer.infolist():
            found = _HALF.fullmatch(each.filename)
            if found is None:
                continue
            if found["packing"] != "zst":
                why = f"{each.filename} in it is no .tar.zst, which alone conda, rattler and conda2wheel read in a .conda"
                raise corrupt(self.source, why, "pack it again with zstd")
            if each.filename in parts and not same_content(outer, parts[each.filename], each):
                raise unsafe(self.source, each.filename, "comes twice, with different contents")
            parts.setdefault(each.filename, each)
        if sorted(name.partition("-")[0] for name in parts) != ["info", "pkg"]:
            if any(name.endswith(".dist-info/WHEEL") for name in outer.namelist()):
                raise corrupt(self.source, "this is already a wheel, not a conda package", "there is nothing to convert")
            raise corrupt(self.source, "a zip, but not a .conda package, which has one info-*.tar.zst and one pkg-*.tar.zst")
        return parts

    def read_tar(self, stream: IO[bytes]) -> None:
        bounded = _MemberStream(stream, self)
        with open_tar(cast("IO[bytes]", bounded), BUFFER) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # tarfile keeps all of them, for seeking
                bounded.headers = None
                self._add(archive, member)
                bounded.headers = 0
        bounded.headers = None
        while bounded.read():  # tarfile stops at the first zero block; the stream may still be cut or endless
            pass
        # A zstd stream or a tar that is cut between two members ends silently in their readers; so does one that never had an
        # end, which conda's tools read. What the package lists tells which of them it is.
        self.unterminated |= archive.offset >= bounded.count

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.members += 1
        if self.members > self.limits.members:
            raise self.too_large(f"more than {self.limits.members} members", "members")
        if member.isdir() and is_root(member.name):
            return
        path = clean_path(self.source, member.name)
        self.names.add(path or "", member.linkname)
        if member.isdir():
            return
        if path is None:
            raise unsafe(self.source, member.name, "has no name")
        if member.issym() or member.islnk():
            entry = ArchiveMember(path, target=member.linkname, hard=member.islnk())
        elif member.isreg():
            entry = self._file(archive, member, path)
        else:
            raise unsafe(self.source, member.name, "is not a file, folder or link")
        before = self.entries.get(path)
        if before is not None and not _same(before, entry):
            raise unsafe(self.source, member.name, "comes twice, with different contents")
        self.entries[path] = entry

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> ArchiveMember:
        if member.size > self.limits.member_size:
            raise self.too_large(f"{path} has {member.size} bytes, more than {self.limits.member_size}", "member_size")
        content = archive.extractfile(member)
        if content is None or member.size < 0:
            raise corrupt(self.source, f"{path} cannot be read")
        # The holes of a sparse file are not in the stream, so they are counted here.
        blob = self.spool.add(self._counted(content) if member.issparse() else _chunks(content))
        if blob.size != member.size:
            raise corrupt(self.source, f"{path} is cut: {blob.size} of {member.size} bytes")
        if self.on_file is not None:
            self.on_file(path, blob)
        return ArchiveMember(path, blob=blob, executable=is_executable(member.mode))

    def _counted(self, stream: IO[bytes]) -> Iterator[bytes]:
        for chunk in _chunks(stream):
            self.grow(len(chunk))
            yield chunk


def _same(one: ArchiveMember, other: ArchiveMember) -> bool:
    if one.blob is None or other.blob is None:
        return one.blob is other.blob and (one.target, one.hard) == (other.target, other.hard)
    return one.blob.sha256 == other.blob.sha256


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk
