"""Compress the members of a wheel, in threads and ahead of the writer, while the rest of the conversion goes on.

A member is compressed whole by libdeflate, which is 4 times faster than zlib at the same level, to smaller files, and releases
the interpreter's lock. What a thread does depends on nothing but the member's bytes and the level.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from conda2wheel.files.packagefile import Blob, BytesBlob, SpooledInMemory, SpooledOnDisk
from conda2wheel.files.threads import threads
from conda2wheel.options import DEFAULT_LEVEL

DEFLATED, STORED = 8, 0  # zip's numbers of methods
HELD = 128 << 20  # bytes of files that wait for their turn, or, compressed, for the writer; without the one that it asks for
WORTHWHILE = 1 << 20  # bytes that are worth the start of threads
BATCH = 256 << 10  # bytes of a file that is worth a thread's turn
AHEAD = 32  # batches ahead of the writer


class Packed(NamedTuple):
    """What a zip archive stores of a file: the compressed bytes, or the bytes themselves where those are not fewer."""

    sha256: bytes
    size: int
    crc: int
    method: int
    data: bytes


def pack(blob: Blob, level: int) -> Packed:
    """Compress a file."""
    import deflate

    data = blob.read()
    # A file on disk may have changed since its hash was asked for: what is packed is hashed.
    known = isinstance(blob, BytesBlob | SpooledInMemory | SpooledOnDisk)
    digest = bytes.fromhex(blob.sha256) if known else hashlib.sha256(data).digest()
    squeezed = bytes(deflate.deflate_compress(data, level)) if data else b""
    if data and len(squeezed) < len(data):
        return Packed(digest, len(data), deflate.crc32(data), DEFLATED, squeezed)
    return Packed(digest, len(data), deflate.crc32(data), STORED, data)


class Packing:
    """Files that are compressed by threads until the writer asks for them. For one writer.

    A context manager: at its end what was not asked for is dropped.
    """

    def __init__(self, level: int = DEFAULT_LEVEL) -> None:
        self._level = level
        # The thread that asks compresses, too.
        self._pool = ThreadPoolExecutor(threads() - 1, thread_name_prefix="conda2wheel-pack") if threads() > 1 else None
        self._begun: dict[int, _Batch] = {}  # by id() of a blob, of which no other one has it while the batch refers to it
        self._held = _Held()

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def is_worthwhile(self, blob: Blob) -> bool:
        """Whether a file is large enough that a thread compresses it ahead of the writer."""
        return self._pool is not None and blob.size >= BATCH

    def begin(self, blobs: Iterable[Blob]) -> None:
        """Begin to compress large files, the largest first, as far as they fit in memory; the writer has time for the others."""
        large = (blob for blob in blobs if self.is_worthwhile(blob) and id(blob) not in self._begun)
        for blob in sorted(large, key=lambda each: each.size, reverse=True):
            if self._pool is not None and self._held.fits(blob.size):
                self._begun[id(blob)] = self._submit(self._pool, (blob,))

    def _submit(self, pool: ThreadPoolExecutor, blobs: tuple[Blob, ...]) -> _Batch:
        if id(blobs[0]) in self._begun:
            return self._begun.pop(id(blobs[0]))
        batch = _Batch(blobs, pool.submit(_pack_batch, blobs, self._level))
        self._held.add(batch)
        return batch

    def packed(self, blobs: Sequence[Blob]) -> Iterator[Packed]:
        """Each file, compressed, in order. While a thread is not done with the next one, the caller's compresses others.

        Raises:
            Failed: a file cannot be read any more.
        """
        self._drop_others(blobs)
        pool = self._pool
        if pool is None or (not self._begun and sum(blob.size for blob in blobs) < WORTHWHILE):
            yield from (pack(blob, self._level) for blob in blobs)
            return
        batches = iter(_batches(blobs))
        waiting: deque[_Batch] = deque()
        following = next(batches, None)
        while waiting or following:
            while following and (not waiting or (len(waiting) < AHEAD and self._held.fits(sum(each.size for each in following)))):
                waiting.append(self._submit(pool, following))
                following = next(batches, None)
            batch = waiting.popleft()
            if batch.future.cancel():
                batch = self._pack(batch)
            for position, other in enumerate(waiting):
                if batch.future.done():
                    break
                if other.future.cancel():
                    waiting[position] = self._pack(other)
            packed = batch.future.result()
            self._held.remove(packed)
            yield from packed

    def _drop_others(self, blobs: Sequence[Blob]) -> None:
        """Drop what was begun and is none of these: it was no member in the end, and takes the place of others."""
        for key in self._begun.keys() - set(map(id, blobs)):
            batch = self._begun.pop(key)
            if not batch.future.cancel():
                batch.future.add_done_callback(lambda done: self._held.remove(() if done.exception() else done.result()))

    def _pack(self, batch: _Batch) -> _Batch:
        """Compress a batch in this thread, with which no other one will begin."""
        future: Future[list[Packed]] = Future()
        future.set_result(_pack_batch(batch.blobs, self._level))
        done = _Batch(batch.blobs, future)
        self._held.add(done)
        return done


class _Batch(NamedTuple):
    """Files that one thread compresses, one after the other: a large one, or several small ones."""

    blobs: tuple[Blob, ...]
    future: Future[list[Packed]]


class _Held:
    """How many bytes the batches hold: those that threads compress or wait to do, then their compressed ones."""

    def __init__(self) -> None:
        self._bytes = 0
        self._lock = threading.Lock()

    def _change(self, size: int) -> None:
        with self._lock:
            self._bytes += size

    def fits(self, size: int) -> bool:
        return self._bytes + size <= HELD

    def add(self, batch: _Batch) -> None:
        size = sum(blob.size for blob in batch.blobs)
        self._change(size)

        def done(future: Future[list[Packed]]) -> None:
            failed = future.cancelled() or future.exception() is not None
            self._change((0 if failed else sum(len(each.data) for each in future.result())) - size)

        batch.future.add_done_callback(done)

    def remove(self, packed: Iterable[Packed]) -> None:
        self._change(-sum(len(each.data) for each in packed))


def _pack_batch(blobs: Iterable[Blob], level: int) -> list[Packed]:
    return [pack(blob, level) for blob in blobs]


def _batches(blobs: Iterable[Blob]) -> Iterator[tuple[Blob, ...]]:
    """The files in order: each large one alone, small ones together."""
    small: list[Blob] = []
    size = 0
    for blob in blobs:
        if small and (blob.size >= BATCH or size >= BATCH):
            yield tuple(small)
            small, size = [], 0
        if blob.size >= BATCH:
            yield (blob,)
        else:
            small.append(blob)
            size += blob.size
    if small:
        yield tuple(small)
