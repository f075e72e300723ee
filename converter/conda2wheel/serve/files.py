"""/files/: wheels and their METADATA under addresses that contain their hash, so that they never change.

What is below `blobs/` in the store is here. Small files are kept in memory; of a large one a piece is read at a time: from the
kernel's cache at once, from a disk or a bucket in a thread. One range of bytes is sent as asked for; several are answered with
the whole file, which RFC 9110 (14.2) allows.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda2wheel.errors import Failed
from conda2wheel.mirror.store.base import Store, content_type
from conda2wheel.mirror.store.folder import FolderStore
from conda2wheel.serve.http import Receive, Scope, Send, matches_tag, problem, respond

PREFIX = "/files/"
ADDRESS = re.compile(
    r"([0-9a-f]{2})/(\1[0-9a-f]{62})/([A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl(?:\.metadata|\.cdx\.json|\.provenance\.json)?)"
)
PIECE = 1 << 18  # bytes that are read and sent at a time
SMALL = 1 << 20  # the largest file that is kept in memory
MEMORY = 64 << 20  # bytes of files in memory
IMMUTABLE = (b"cache-control", b"public, max-age=31536000, immutable")
RETRY = (b"retry-after", b"5")
_RANGE = re.compile(rb"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


@dataclass(frozen=True)
class StoredFile:
    """A file in the store: its size, and its bytes where it is small."""

    path: str
    size: int
    data: bytes | None


class Files:
    """The application below /files/.

    Args:
        store: the store.
        is_listed: whether the index has the wheel of a path in the store, by which a missing one is an accident.
    """

    def __init__(self, store: Store, is_listed: Callable[[str], bool]) -> None:
        self._store, self._is_listed = store, is_listed
        self._kept: OrderedDict[str, StoredFile] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in ("GET", "HEAD"):
            await problem(405, "Method Not Allowed", (b"allow", b"GET, HEAD, OPTIONS")).send(scope, send)
            return
        address = ADDRESS.fullmatch(scope["path"].removeprefix(PREFIX))
        if address is None:
            await problem(404, "no such file").send(scope, send)
            return
        path = f"blobs/{address[0]}"
        file = self._kept.get(path)
        if file is None:
            try:
                file = await asyncio.to_thread(self._find, path)
            except Failed as error:
                await problem(503, error.message, RETRY).send(scope, send)
                return
        else:
            self._kept.move_to_end(path)
        if file is None:
            if self._is_listed(path.removesuffix(".metadata")):
                await problem(503, "the store does not have it at the moment", RETRY).send(scope, send)
            else:
                await problem(404, "no such file").send(scope, send)
            return
        await self._send(file, address[2].encode(), scope, send)

    def _find(self, path: str) -> StoredFile | None:
        """Look a file up in the store, and read it if it is small."""
        info = self._store.head(path)
        if info is None:
            return None
        data = self._store.get(path) if info.size <= SMALL else None
        if data is None and info.size <= SMALL:
            return None
        return StoredFile(path, info.size if data is None else len(data), data)

    def _keep(self, file: StoredFile) -> None:
        if file.data is None or file.path in self._kept:
            return
        self._kept[file.path] = file
        self._bytes += file.size
        while self._bytes > MEMORY:
            self._bytes -= self._kept.popitem(last=False)[1].size

    async def _send(self, file: StoredFile, sha256: bytes, scope: Scope, send: Send) -> None:
        self._keep(file)
        suffix = file.path.rpartition(".whl")[2].replace(".", "-").encode()
        etag = b'"' + sha256 + suffix + b'"'
        kind = content_type(file.path).encode()
        headers = [(b"etag", etag), IMMUTABLE, (b"accept-ranges", b"bytes")]
        known = asked = condition = None
        for name, value in scope["headers"]:
            if name == b"if-none-match":
                known = value
            elif name == b"range":
                asked = value
            elif name == b"if-range":
                condition = value
        if known is not None and matches_tag(known, etag):
            await respond(send, 304, headers)
            return
        status, start, end = 200, 0, file.size
        if asked is not None and scope["method"] == "GET" and condition in (None, etag):
            span = byte_range(asked, file.size)
            if span is not None and span[0] >= span[1]:
                headers += [(b"content-range", b"bytes */%d" % file.size), (b"content-length", b"0")]
                await respond(send, 416, headers)
                return
            if span is not None:
                status, (start, end) = 206, span
                headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, file.size)))
        headers += [(b"content-type", kind), (b"content-length", b"%d" % (end - start))]
        if scope["method"] == "HEAD":
            await respond(send, status, headers)
        elif file.data is not None:
            await respond(send, status, headers, file.data[start:end] if (start, end) != (0, file.size) else file.data)
        else:
            await self._stream(file, (start, end), (status, headers), send)

    async def _stream(self, file: StoredFile, span: tuple[int, int], head: tuple[int, Any], send: Send) -> None:
        """Send a part of a large file. The first piece is read before the head is sent, so that an error can be answered."""
        async with aclosing(self._pieces(file, span)) as pieces:
            try:
                first = await anext(pieces, b"")
            except (Failed, OSError):
                await problem(503, "the store cannot be read at the moment", RETRY).send({"headers": []}, send)
                return
            await send({"type": "http.response.start", "status": head[0], "headers": head[1]})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, file: StoredFile, span: tuple[int, int]) -> AsyncGenerator[bytes]:
        start, end = span
        if not isinstance(self._store, FolderStore):
            while start < end:
                piece = await asyncio.to_thread(self._store.get_range, file.path, start, min(end, start + 8 * PIECE))
                yield piece
                start += len(piece)
            return
        handle = await asyncio.to_thread(os.open, Path(self._store.root, file.path), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            while start < end:
                piece = await _read(handle, min(PIECE, end - start), start)
                if not piece:
                    raise OSError("the file is shorter than it was")
                yield piece
                start += len(piece)
        finally:
            os.close(handle)


async def _read(handle: int, count: int, offset: int) -> bytes:
    """Read from the kernel's cache without waiting, else in a thread."""
    if _NOWAIT is not None and hasattr(os, "preadv"):
        buffer = bytearray(count)
        try:
            read = os.preadv(handle, [buffer], offset, _NOWAIT)
        except OSError:  # EAGAIN: it is on the disk; EOPNOTSUPP: a file system that cannot tell
            read = 0
        if read:
            return bytes(buffer) if read == count else bytes(buffer[:read])
    return await asyncio.to_thread(os.pread if hasattr(os, "pread") else _seek_and_read, handle, count, offset)


def _seek_and_read(handle: int, count: int, offset: int) -> bytes:
    os.lseek(handle, offset, os.SEEK_SET)
    return os.read(handle, count)


def byte_range(asked: bytes, size: int) -> tuple[int, int] | None:
    """The part (start, end) that a Range header asks for; None for the whole file, an empty part where there is none.

    >>> [byte_range(each, 10) for each in (b"bytes=2-4", b"bytes=2-", b"bytes=-3", b"bytes=0-99", b"bytes=10-")]
    [(2, 5), (2, 10), (7, 10), (0, 10), (10, 10)]
    >>> [byte_range(each, 10) for each in (b"bytes=4-2", b"bytes=0-1,3-4", b"lines=1-2", b"bytes=-0")]
    [None, None, None, (10, 10)]
    """
    found = _RANGE.fullmatch(asked.strip())
    if found is None:
        return None
    if found[3]:
        return max(0, size - int(found[3])), size
    start, last = int(found[1]), int(found[2] or size - 1)
    if found[2] and last < start:
        return None
    return min(start, size), max(min(last + 1, size), min(start, size))
