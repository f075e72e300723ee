"""The floor: a package's bytes decompressed, hashed and deflated with the best libraries and all cores, and nothing else.

No header is read, no path checked, no module parsed and nothing is written: where each member lies was found out before. All is
decompressed, and then hashed (sha256, crc32) and deflated (libdeflate), the largest members first: both use all cores, and doing
both at once takes longer where bz2 is decompressed in threads (measured).
"""

from __future__ import annotations

import bz2
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import deflate
import zstandard

from conda2wheel.files.threads import processors
from tests.bench import tools

LEVEL = 6
BATCH = 256 << 10  # bytes of small members that one thread takes at once
WINDOW = 1 << 27


@dataclass(frozen=True)
class Stream:
    """A tar in a package: the member of a `.conda` that it is, and where its files lie."""

    part: str | None
    files: tuple[tuple[int, int], ...]  # offset and size, in order


@dataclass(frozen=True)
class Layout:
    """Where the files of a package lie, found out before anything is measured."""

    package: Path
    streams: tuple[Stream, ...]

    @property
    def files(self) -> int:
        """How many."""
        return sum(len(stream.files) for stream in self.streams)

    @property
    def size(self) -> int:
        """Their bytes together."""
        return sum(size for stream in self.streams for _, size in stream.files)

    @classmethod
    def of(cls, package: Path) -> Layout:
        """Read every header once."""
        if not zipfile.is_zipfile(package):
            with bz2.open(package) as stream:
                return cls(package, (Stream(None, _files(cast("IO[bytes]", stream))),))
        with zipfile.ZipFile(package) as outer:
            parts = [name for name in outer.namelist() if name.endswith(".tar.zst")]
            streams = []
            for part in sorted(parts):
                with outer.open(part) as member:
                    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(member, read_across_frames=True)
                    streams.append(Stream(part, _files(cast("IO[bytes]", reader))))
            return cls(package, tuple(streams))


def _files(stream: IO[bytes]) -> tuple[tuple[int, int], ...]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        return tuple((member.offset_data, member.size) for member in archive if member.isreg())


def floor(layout: Layout, threads: int | None = None) -> int:
    """Decompress, hash and deflate; returns the bytes that a wheel's members would have."""
    many = threads or processors()
    crc32 = tools.library("isal.isal_zlib").crc32  # in this thread: an import that is hidden again is none for several

    def pack(batch: list[bytes]) -> int:
        total = 0
        for content in batch:
            hashlib.sha256(content).digest()
            crc32(content)
            total += len(deflate.deflate_compress(content, LEVEL))
        return total

    every = sorted(contents(layout, many), key=len, reverse=True)
    with ThreadPoolExecutor(many) as pool:
        return sum(pool.map(pack, _batches(every)))


def _batches(every: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Large files one by one, small ones together."""
    batch: list[bytes] = []
    held = 0
    for content in every:
        if len(content) >= BATCH:
            yield [content]
            continue
        batch.append(content)
        held += len(content)
        if held >= BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def contents(layout: Layout, threads: int) -> Iterator[bytes]:
    """Every file's bytes, decompressed as a stream."""
    for stream, reader in _readers(layout, threads):
        position = 0
        for offset, size in stream.files:
            _read(reader, offset - position)
            yield _read(reader, size)
            position = offset + size
        while reader.read(1 << 20):
            pass


def _readers(layout: Layout, threads: int) -> Iterator[tuple[Stream, Any]]:
    with ExitStack() as stack:
        if layout.streams[0].part is None:
            reader = tools.library("rapidgzip").IndexedBzip2File(str(layout.package), parallelization=threads)
            stack.callback(reader.close)
            yield layout.streams[0], reader
            return
        outer = stack.enter_context(zipfile.ZipFile(layout.package))
        for stream in layout.streams:
            assert stream.part is not None
            packed = stack.enter_context(outer.open(stream.part))
            decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
            yield stream, decompressor.stream_reader(packed, read_size=1 << 20, read_across_frames=True)


def _read(reader: Any, size: int) -> bytes:
    data = cast("bytes", reader.read(size)) if size else b""
    if len(data) == size:
        return data
    whole = io.BytesIO(data)
    whole.seek(0, io.SEEK_END)
    while (missing := size - whole.tell()) and (more := reader.read(missing)):
        whole.write(more)
    assert not missing, f"{missing} bytes are missing"
    return whole.getvalue()


def parts(layout: Layout) -> dict[str, Callable[[], object]]:
    """The floor's works one by one, with one thread: what each takes of a processor."""
    every = list(contents(layout, processors()))
    crc32 = tools.library("isal.isal_zlib").crc32

    def decompress() -> None:
        for _ in contents(layout, 1):
            pass

    return {
        "decompress": decompress,
        "sha256": lambda: [hashlib.sha256(content).digest() for content in every],
        "crc32": lambda: [crc32(content) for content in every],
        "deflate": lambda: [deflate.deflate_compress(content, LEVEL) for content in every],
    }
