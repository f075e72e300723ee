"""Read a `.bz2` in several threads: its blocks are decompressed side by side, each as a stream of its own, by libbz2.

A bz2 stream has a header (`BZh` and the level), blocks, and an end; nothing tells where a block begins, which is at any bit, but
48 bits that a compressed block has by chance once in 2^48. A block is cut out there, gets a header and an end, and is
decompressed. Its own CRC and the stream's are checked, as the standard library does.

Whatever is not as expected (damage, data after the end, those 48 bits by chance) is left to `bz2.BZ2File`, which reads the file
again from its start: errors, and what is accepted, are the same as those of the standard library alone.

Specification: there is none but libbz2's source (compress.c); the format is described by Joe Tsai's bzip2-format.
"""

from __future__ import annotations

import bz2
import io
import re
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, NamedTuple, cast

from conda2wheel.files.threads import threads

_BLOCK = 0x314159265359
_END = 0x177245385090
_MAGIC_BITS, _CRC_BITS = 48, 32
_HEADER = re.compile(rb"BZh[1-9]")
_SMALL = 1 << 20  # bytes of a file that one thread reads as fast
_READ = 1 << 20
_LONGEST = 4 << 20  # bytes of a compressed block; libbz2 writes less than 1 MB
_FIRST = 4 << 20  # bytes that a thread decompresses of a block; one of repeated bytes has up to 46 MB


def open_bz2(stream: IO[bytes]) -> IO[bytes]:
    """Open a `.bz2` file for reading; `stream` must be seekable, and is at its start.

    Reading raises what `bz2.BZ2File` raises: `OSError` for damage, `EOFError` for a cut file.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if threads() == 1 or size < _SMALL:
        return cast("IO[bytes]", bz2.BZ2File(stream))
    return cast("IO[bytes]", _ThreadedBz2(stream, threads()))


class _UnexpectedError(Exception):
    """The file is to be read by the standard library."""


class _Piece(NamedTuple):
    """The decompressed start of a block, and what decompresses the rest of it."""

    data: bytes
    rest: bz2.BZ2Decompressor | None


class _ThreadedBz2(io.RawIOBase):
    def __init__(self, stream: IO[bytes], count: int) -> None:
        self._stream = stream
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="conda2wheel-bz2")
        self._ahead = count + 1
        self._chunks: Generator[bytes] = self._contents()
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; b"" at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_READ), b""))
        while not self._chunk:
            following = next(self._chunks, None)
            if following is None:
                return b""
            self._chunk = memoryview(following)
        part, self._chunk = self._chunk[:size], self._chunk[size:]
        return bytes(part)

    def close(self) -> None:
        self._chunks.close()
        self._pool.shutdown(cancel_futures=True)
        super().close()

    def _contents(self) -> Generator[bytes]:
        sent = 0
        try:
            for chunk in self._pieces():
                sent += len(chunk)
                yield chunk
        except _UnexpectedError:
            self._stream.seek(0)
            with bz2.BZ2File(self._stream) as plain:
                while sent and (skipped := plain.read(min(sent, _READ))):
                    sent -= len(skipped)
                while chunk := plain.read(_READ):
                    yield chunk

    def _pieces(self) -> Iterator[bytes]:
        """What the blocks contain, in order. Raises `_UnexpectedError`."""
        waiting: deque[Future[_Piece]] = deque()
        for stream in _blocks(self._stream):
            waiting.append(self._pool.submit(_decompress, stream))
            if len(waiting) > self._ahead:
                yield from _whole(waiting.popleft().result())
        while waiting:
            yield from _whole(waiting.popleft().result())


def _whole(piece: _Piece) -> Iterator[bytes]:
    yield piece.data
    rest = piece.rest
    while rest is not None and not rest.eof:
        yield _more(rest, b"", _READ)


def _decompress(stream: bytes) -> _Piece:
    """Decompress a stream of one block. Raises `_UnexpectedError`."""
    unpacker = bz2.BZ2Decompressor()
    data = _more(unpacker, stream, _FIRST)
    return _Piece(data, None if unpacker.eof else unpacker)


def _more(unpacker: bz2.BZ2Decompressor, data: bytes, size: int) -> bytes:
    try:
        found = unpacker.decompress(data, size)
    except OSError as error:
        raise _UnexpectedError from error
    if unpacker.unused_data or (not unpacker.eof and (unpacker.needs_input or not found)):
        raise _UnexpectedError
    return found


class _Bits:
    """The bits of a file from a moving position on, of which no more is in memory than a block needs."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._data = b""
        self._searched = 0  # in bytes of _data
        self._found: deque[int] = deque()  # bits of _data at which a block may begin, in order
        self.position = 0  # in bits of _data

    def _read(self) -> bool:
        """Read on; False at the end of the file."""
        more = self._stream.read(_READ)
        if not more:
            return False
        done = self.position // 8
        self._data = self._data[done:] + more
        self.position -= 8 * done
        self._searched = max(self._searched - done, 0)
        self._found = deque(each - 8 * done for each in self._found)
        return True

    def require(self, bits: int) -> bool:
        """Whether so many bits follow the position."""
        while len(self._data) * 8 < self.position + bits:
            if not self._read():
                return False
        return True

    def at(self, position: int, bits: int) -> int:
        """The bits there as a number."""
        first, last = position // 8, (position + bits + 7) // 8
        return (int.from_bytes(self._data[first:last]) >> (last * 8 - position - bits)) & ((1 << bits) - 1)

    def peek(self, bits: int) -> int | None:
        """The bits at the position; None if so many do not follow."""
        return self.at(self.position, bits) if self.require(bits) else None

    def next_block(self) -> int | None:
        """Where the next block after the position may begin; None if none does before the end of the file."""
        while True:
            while self._found and self._found[0] <= self.position:
                self._found.popleft()
            if self._found:
                return self._found[0]
            if len(self._data) - self.position // 8 > _LONGEST:
                raise _UnexpectedError
            if self._searched == len(self._data) and not self._read():
                return None
            start = max(self._searched - 6, 0)
            before = (self._searched - 6) * 8 if self._searched >= 6 else -1
            self._found.extend(each for each in _places(self._data, start, _BLOCK) if each > before)
            self._searched = len(self._data)

    def end_after(self) -> int | None:
        """Where the end of the stream is, of whose last block the position is; all of the file is in memory."""
        return next((each for each in _places(self._data, self.position // 8, _END) if each > self.position), None)


def _places(data: bytes, start: int, magic: int) -> list[int]:
    """The bits of the data, from a byte on, at which 48 bits are, in order."""
    places = []
    for shift in range(8):
        known = (magic << (8 - shift)).to_bytes(7)  # whole bytes of it: all but the first and the last, if it is not aligned
        pattern, lead = (known[:6], 0) if shift == 0 else (known[1:6], 1)
        at = data.find(pattern, start)
        while at >= 0:
            bit = (at - lead) * 8 + shift
            if bit >= start * 8 and at - lead + 7 <= len(data) + (shift == 0):
                word = int.from_bytes(data[at - lead : at - lead + 7].ljust(7, b"\0"))
                if (word >> (8 - shift)) & ((1 << _MAGIC_BITS) - 1) == magic:
                    places.append(bit)
            at = data.find(pattern, at + 1)
    return sorted(places)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Each block of a file as a stream of its own. Raises `_UnexpectedError`."""
    bits = _Bits(stream)
    yield from _blocks_of_stream(bits)
    while bits.require(1):
        yield from _blocks_of_stream(bits)


def _blocks_of_stream(bits: _Bits) -> Iterator[bytes]:
    """The blocks of the stream at the position, which is after its end then."""
    header = bits.peek(32)
    head = b"" if header is None else header.to_bytes(4)
    if not _HEADER.fullmatch(head):
        raise _UnexpectedError
    bits.position += 32
    if bits.peek(_MAGIC_BITS) != _BLOCK:
        raise _UnexpectedError
    combined = 0
    while True:
        following = bits.next_block()
        last = _end_before(bits, following) if following is not None else bits.end_after()
        if last is None and following is None:
            raise _UnexpectedError
        crc = bits.at(bits.position + _MAGIC_BITS, _CRC_BITS)
        combined = ((combined << 1 | combined >> 31) & 0xFFFFFFFF) ^ crc
        stop = cast("int", following if last is None else last)
        yield _as_stream(head, bits.at(bits.position, stop - bits.position), stop - bits.position, crc)
        bits.position = stop
        if last is not None:
            bits.position += _MAGIC_BITS
            if bits.peek(_CRC_BITS) != combined:
                raise _UnexpectedError
            bits.position = -(-(bits.position + _CRC_BITS) // 8) * 8
            return


def _end_before(bits: _Bits, following: int) -> int | None:
    """Where a stream ends, if the block at `following` is the first one of the next stream."""
    header = following - 32
    if header % 8 or header < bits.position or not _HEADER.fullmatch(bits.at(header, 32).to_bytes(4)):
        return None
    ends = (header - padding - _CRC_BITS - _MAGIC_BITS for padding in range(8))
    return next((each for each in ends if each > bits.position and bits.at(each, _MAGIC_BITS) == _END), None)


def _as_stream(head: bytes, value: int, length: int, crc: int) -> bytes:
    """A stream of one block, which is `length` bits."""
    length += _MAGIC_BITS + _CRC_BITS
    value = (value << (_MAGIC_BITS + _CRC_BITS)) | (_END << _CRC_BITS) | crc
    padding = -length % 8
    return head + (value << padding).to_bytes((length + padding) // 8)
