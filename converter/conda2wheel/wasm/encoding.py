"""The values of the WebAssembly binary format: LEB128 numbers, names, vectors (core specification 5.2)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

LEB = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"  # at most the 10 bytes of 64 bits, so that a search in other bytes is linear
LONGEST_NAME = 100_000  # bytes; V8's kV8MaxWasmStringSize, and the same in SpiderMonkey and JavaScriptCore


class WasmError(ValueError):
    """The bytes are not a WebAssembly module, or a damaged one; the text says where."""


Spend = Callable[[int], None]  # called with a number of entries before they are read; it raises where there are too many


def unmetered(entries: int) -> None:
    """The `Spend` that counts nothing."""


@contextmanager
def damage() -> Iterator[None]:
    """Raise `WasmError` for whatever a damaged module makes its reader raise."""
    try:
        yield
    except WasmError:
        raise
    except (IndexError, KeyError, OverflowError, RecursionError, MemoryError, UnicodeError, struct.error) as error:
        raise WasmError(f"cannot be read ({type(error).__name__})") from error


@cache
def _numbers(count: int) -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + LEB + rb"){%d}+" % count, re.DOTALL)


class Reader:
    """A cursor over bytes; every read is bounded by `end` and raises `WasmError` past it."""

    def __init__(self, data: bytes, start: int = 0, end: int | None = None, spend: Spend = unmetered) -> None:
        self.data = data
        self.pos = start
        self.end = len(data) if end is None else end
        self.spend = spend

    def u8(self) -> int:
        """One byte."""
        if self.pos >= self.end:
            raise WasmError(f"truncated at byte {self.pos}")
        value = self.data[self.pos]
        self.pos += 1
        return value

    def uleb(self, bits: int = 32) -> int:
        """An unsigned LEB128 number of at most `bits` bits, padded or not."""
        if self.pos < self.end and self.data[self.pos] < 0x80:  # most numbers are small
            self.pos += 1
            return self.data[self.pos - 1]
        result = shift = 0
        start = self.pos
        while True:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits + 7 - bits % 7:
                raise WasmError(f"number too long at byte {start}")
        if result >> bits:
            raise WasmError(f"number too large at byte {start}")
        return result

    def sleb(self) -> int:
        """A signed LEB128 number (heap types)."""
        result = shift = 0
        while True:
            byte = self.u8()
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result - (1 << shift) if byte & 0x40 else result
            if shift > 70:
                raise WasmError(f"number too long at byte {self.pos}")

    def ulebs(self, count: int) -> list[int]:
        """So many unsigned LEB128 numbers of 32 bits."""
        found = list(self.data[self.pos : min(self.pos + count, self.end)])
        if len(found) == count and (not count or max(found) < 0x80):  # each of them is small
            self.pos += count
            return found
        data, end, pos = self.data, self.end, self.pos
        found = []
        for _ in range(count):
            if pos + 1 < end:
                value = data[pos]
                if value < 0x80:
                    pos += 1
                    found.append(value)
                    continue
                second = data[pos + 1]
                if second < 0x80:
                    pos += 2
                    found.append(value & 0x7F | second << 7)
                    continue
            self.pos = pos
            found.append(self.uleb())
            pos = self.pos
        self.pos = pos
        return found

    def skip_numbers(self, count: int) -> None:
        """Skip so many LEB128 numbers, by powers of two. Raises `WasmError` if they are not there."""
        if count > self.end - self.pos:
            raise WasmError(f"{count} elements announced at byte {self.pos}, no room for them")
        for bit in range(count.bit_length()):
            if count >> bit & 1:
                found = _numbers(1 << bit).match(self.data, self.pos, self.end)
                if found is None:
                    raise WasmError(f"truncated at byte {self.end}")
                self.pos = found.end()

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.pos:
            raise WasmError(f"{size} bytes announced at byte {self.pos}, {self.end - self.pos} there")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def name(self) -> str:
        """A length and that many bytes of UTF-8."""
        start = self.pos
        raw = self.take(self.uleb())
        if len(raw) > LONGEST_NAME:
            raise WasmError(f"name of {len(raw)} bytes at byte {start}, and no engine takes more than {LONGEST_NAME}")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise WasmError(f"name at byte {start} is not UTF-8") from None

    def count(self, smallest: int = 1, weight: int = 1) -> int:
        """A vector's length. Its elements are spent; `weight` is what one of them costs.

        Raises:
            WasmError: that many elements of `smallest` bytes cannot follow.
        """
        start = self.pos
        value = self.uleb()
        if value * smallest > self.end - self.pos:
            raise WasmError(f"{value} elements announced at byte {start}, no room for them")
        self.spend(value * weight)
        return value


def encode_uleb(value: int) -> bytes:
    """The shortest unsigned LEB128 form."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def encode_name(name: str) -> bytes:
    """A length and the name in UTF-8."""
    raw = name.encode()
    return encode_uleb(len(raw)) + raw
