"""Read a package's list of files and run_exports without the rest: `info/paths.json`, else `info/files`, and run_exports.json.

info/ comes first in a `.tar.bz2`, so reading stops after it; a `.conda` has it in a member of its own, which the zip directory at
the end points to. Only those bytes of a remote package are requested (RFC 9110, Range).

py-rattler's `PackageArchive.from_url` does this for `.conda` alone and downloads a `.tar.bz2`, which emscripten-forge has,
whole. The rules of `net.download` (https only, no redirect to this machine, bounds) would not apply there, either.
"""

from __future__ import annotations

import bz2
import io
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from conda2wheel.conda.archive import FiniteStream, open_tar
from conda2wheel.conda.formats import format_named, format_of
from conda2wheel.conda.paths_json import path_rows
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.documents import json_object
from conda2wheel.files.packagefile import BytesBlob
from conda2wheel.files.reading import corrupt, not_found, reading_archive, unreadable
from conda2wheel.net.download import BACKOFF, TRIES, RangeRequests, open_ranges
from conda2wheel.net.urls import redacted

if TYPE_CHECKING:
    import requests

MAX_INFO = 64 << 20  # bytes to unpack at most until the list of files is complete
PIECE = 256 << 10  # bytes of one request; bzip2 needs a whole block (900 kB unpacked) before it returns any
TAIL = 64 << 10  # bytes at the end of a .conda: the zip directory, and often all of info-*.tar.zst
_WANTED = ("info/paths.json", "info/files", "info/run_exports.json")
_ZSTD_WINDOW = 128 << 20


@dataclass(frozen=True)
class PackageInfo:
    """The paths of a package's files and links, and its run_exports.json (empty without one)."""

    paths: tuple[str, ...]
    run_exports: Mapping[str, Any]


class _CutError(Exception):
    """The connection ended before the answer was complete."""


def read_local_info(path: Path, source: str) -> PackageInfo:
    """Read the info of a package file. Raises `Refused` (corrupt-archive, too-large) and `Failed` (not-found, unreadable)."""
    try:
        with path.open("rb") as stream:
            found = format_of(stream.read(4))
            stream.seek(0)
            if found is not None and found.decompress is None:
                with reading_archive(source), zipfile.ZipFile(stream) as outer:
                    return _conda(source, outer)
            return _tar_bz2(source, stream)
    except FileNotFoundError:
        raise not_found(source) from None
    except OSError as error:
        raise unreadable(source, error) from None


def read_remote_info(url: str) -> PackageInfo | None:
    """Read the info of a remote package; None for a `.conda` on a server without range requests, which must be downloaded whole.

    A broken connection is tried again. Raises `Refused` as `read_local_info` does, and `Failed` (network, not-found).
    """
    shown = redacted(url)
    found = format_named(url)
    is_zip = found is not None and found.decompress is None
    with open_ranges(url) as remote:
        for attempt in range(TRIES + 1):
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                return _remote_conda(shown, remote) if is_zip else _remote_tar(shown, remote)
            except _CutError:
                continue
    raise Failed("network", f"{shown}: the connection broke, {TRIES + 1} times", "try again later")


def _remote_tar(shown: str, remote: RangeRequests) -> PackageInfo:
    with _Body(remote) as body:
        return _tar_bz2(shown, cast("IO[bytes]", body))


def _remote_conda(shown: str, remote: RangeRequests) -> PackageInfo | None:
    with remote.ask(f"bytes=-{TAIL}") as response:
        total = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", response.headers.get("Content-Range", ""))
        if response.status_code != 206 or total is None:
            return None
        start, size = int(total[1]), int(total[2])
        if size - start > TAIL:
            return None  # not what was asked for
        tail = _whole(remote, response, size - start)
    known = _PartialFile(size, {start: tail})
    with reading_archive(shown), zipfile.ZipFile(cast("IO[bytes]", known)) as outer:
        begin, end = _extent(shown, outer)
        if begin < start:
            with remote.ask(f"bytes={begin}-{end - 1}") as response:
                answered = response.headers.get("Content-Range", "")
                if response.status_code != 206 or not answered.startswith(f"bytes {begin}-"):
                    return None
                known.parts[begin] = _whole(remote, response, end - begin)
        return _conda(shown, outer)


def _extent(source: str, outer: zipfile.ZipFile) -> tuple[int, int]:
    """Return the first byte of the member with info/ in a `.conda`, and the first byte after it. Bounded by MAX_INFO."""
    part = _info_part(source, outer)
    following = [each.header_offset for each in outer.infolist() if each.header_offset > part.header_offset]
    end = min([*following, outer.start_dir])
    if end - part.header_offset > MAX_INFO:
        raise Refused(
            "too-large", f"{source}: {part.filename} has more than {MAX_INFO} bytes", "a real package has no info of that size"
        )
    return part.header_offset, end


def _whole(remote: RangeRequests, response: requests.Response, size: int) -> bytes:
    data = b"".join(_chunks(remote, response, size))
    if len(data) != size:
        raise _CutError
    return data


def _chunks(remote: RangeRequests, response: requests.Response, size: int) -> Iterator[bytes]:
    """Yield at most `size` bytes of an answer as they arrive."""
    import urllib3

    try:
        while size and (chunk := remote.read(response, min(size, PIECE))):
            size -= len(chunk)
            yield chunk
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError) as error:
        raise _CutError from error


class _Body(io.RawIOBase):
    """A remote file read from its start, PIECE bytes a request; in one request from a server without range requests."""

    def __init__(self, remote: RangeRequests) -> None:
        self._remote = remote
        self._at = 0
        self._size: int | None = None
        self._response: requests.Response | None = None
        self._left = 0  # bytes of the answer that have not arrived

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._left and not self._next():
            return b""
        if self._response is None:
            raise _CutError
        data = next(_chunks(self._remote, self._response, min(self._left, PIECE if size < 0 else size)), b"")
        if not data:
            raise _CutError
        self._left -= len(data)
        self._at += len(data)
        return data

    def _next(self) -> bool:
        """Request the next piece; False at the end of the file."""
        if self._response is not None:
            self._response.close()
        if self._size is not None and self._at >= self._size:
            return False
        self._response = response = self._remote.ask(f"bytes={self._at}-{self._at + PIECE - 1}")
        answered = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and answered is not None and int(answered[1]) == self._at:
            self._left, self._size = int(answered[2]) + 1 - self._at, int(answered[3])
        elif response.status_code == 200 and self._at == 0:
            length = response.headers.get("Content-Length", "")
            self._left = self._size = int(length) if re.fullmatch("[0-9]{1,18}", length) else MAX_INFO
        else:
            raise _CutError
        return self._left > 0

    def close(self) -> None:
        if self._response is not None:
            self._response.close()  # drops what was not read
        super().close()


class _PartialFile(io.RawIOBase):
    """A file of which some parts are known, by offset; reading elsewhere raises as for a damaged zip."""

    def __init__(self, size: int, parts: dict[int, bytes]) -> None:
        self._size = size
        self.parts = parts
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        if self._at < 0:
            raise OSError(None, "before the start")
        return self._at

    def read(self, size: int = -1) -> bytes:
        for start, data in self.parts.items():
            if start <= self._at < start + len(data):
                found = data[self._at - start :][: size if size >= 0 else None]
                self._at += len(found)
                return found
        if self._at >= self._size:
            return b""
        raise zipfile.BadZipFile("its directory points outside of its info/ member")


def _tar_bz2(source: str, stream: IO[bytes]) -> PackageInfo:
    with reading_archive(source):
        return _listed(source, cast("IO[bytes]", bz2.BZ2File(stream)))


def _info_part(source: str, outer: zipfile.ZipFile) -> zipfile.ZipInfo:
    parts = [each for each in outer.infolist() if re.fullmatch(r"info-[^/]*\.tar\.zst", each.filename)]
    if len(parts) != 1:
        raise corrupt(source, "a zip, but not a .conda package, which has one info-*.tar.zst")
    return parts[0]


def _conda(source: str, outer: zipfile.ZipFile) -> PackageInfo:
    import zstandard

    with outer.open(_info_part(source, outer)) as packed:
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return _listed(source, unpacker.stream_reader(packed, read_across_frames=True))


class _BoundedInfo(FiniteStream):
    """A decompressed stream of at most MAX_INFO bytes."""

    def __init__(self, source: str, inner: IO[bytes]) -> None:
        self._source = source
        self._inner = inner
        self._left = MAX_INFO

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self.require_more(data)
        self._left -= len(data)
        if self._left < 0:
            raise Refused(
                "too-large", f"{self._source}: no list of files in its first {MAX_INFO} bytes", "download it and give the file"
            )
        return data


def _listed(source: str, stream: IO[bytes]) -> PackageInfo:
    """Read info/ of a tar. The rest is read only if info/ does not list the files."""
    found: dict[str, bytes] = {}
    others = []
    with open_tar(cast("IO[bytes]", _BoundedInfo(source, stream))) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name in _WANTED and member.isreg():
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
            elif not name.startswith("info/") and name != "info" and not member.isdir():
                if "info/paths.json" in found or "info/files" in found:
                    break
                others.append(name)
    if "info/paths.json" in found:
        listed = path_rows(source, _document(source, found, "info/paths.json"), "info/paths.json")
        paths = [path for path, row in listed.items() if row.get("path_type") != "directory"]
    elif "info/files" in found:
        lines = found["info/files"].decode("utf-8", "replace").splitlines()
        paths = [line.strip() for line in lines if line.strip()]
    elif others:
        paths = others
    else:
        raise corrupt(source, "it lists no files and contains none")
    return PackageInfo(
        tuple(paths), _document(source, found, "info/run_exports.json") if "info/run_exports.json" in found else {}
    )


def _document(source: str, found: Mapping[str, bytes], name: str) -> dict[str, Any]:
    return json_object(source, name, BytesBlob(found[name]))
