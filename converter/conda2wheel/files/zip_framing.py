"""Whether every reader of a zip sees the same members: those that follow its directory, and those that read it from the start.

Readers differ about everything that a plain archive does not have: two members of one name, members that only one of the two ways
shows, sizes that differ between them, data before, between and after the records. PyPI takes no wheel with any of these
(pypi/warehouse, docs/user/archives.md and warehouse/utils/zipfiles.py, 2026-08). Format: APPNOTE 6.3.10, whose section is named
where a record is read.
"""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"
ZIP64, UNICODE_PATH = 0x0001, 0x7075  # extra fields
FULL = 0xFFFFFFFF  # the value is in the ZIP64 extra field
DATA_DESCRIPTOR = 0x08  # flag: the sizes come after the data
ZIP64_SIZES = (0, 8, 16, 24, 28)  # bytes of that extra field: none of its values, or the first ones


class _Odd(Exception):  # noqa: N818 - ends the reading; its text is the answer
    """What readers may differ about."""


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip. Raises `zipfile.BadZipFile` for every kind of damage, and `OSError`."""
    try:
        return zipfile.ZipFile(path)
    except (ValueError, NotImplementedError, struct.error) as error:  # names that are no UTF-8, versions, short fields
        raise zipfile.BadZipFile(str(error)) from error


def framing_problem(path: Path) -> str:
    """What readers of a zip may differ about; "" where they do not.

    Raises:
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is no zip.
    """
    with open_zip(path) as archive, path.open("rb") as stream:
        sizes = {entry.orig_filename: (entry.compress_size, entry.file_size) for entry in archive.infolist()}
        try:
            _Records(stream, sizes).read()
        except _Odd as odd:
            return str(odd)
    return ""


@dataclass
class _Records:
    """The records of a zip, from its first byte on; `sizes` are what its directory says, packed and unpacked, by name."""

    stream: IO[bytes]
    sizes: dict[str, tuple[int, int]]
    local: set[bytes] = field(default_factory=set)
    listed: set[bytes] = field(default_factory=set)
    directory: int | None = None  # where it begins
    directory_size: int = 0
    end64: tuple[int, int, int] | None = None  # records, size and offset of the directory
    end64_at: int | None = None
    has_locator: bool = False

    def read(self) -> None:
        """Read all records. Raises `_Odd`."""
        readers = {LOCAL: self._local, CENTRAL: self._central, END64: self._end64, LOCATOR64: self._locator}
        while (signature := self._take(4)) != END:
            if signature not in readers:
                raise _Odd("there is data that is no record of a zip before, between or among its members")
            readers[signature]()
        self._end()

    def _take(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) < size:
            raise _Odd("it ends in the middle of a record")
        return data

    def _local(self) -> None:
        """A member (4.3.7)."""
        flags, method, packed, size, name_size, extra_size = struct.unpack("<xxHHxxxxxxxxLLHH", self._take(26))
        name = self._name(name_size)
        packed, size = _zip64_sizes(self._take(extra_size), method, packed, size)
        shown = _shown(name)
        if flags & DATA_DESCRIPTOR:
            raise _Odd(f"{shown} has its sizes after its data (a data descriptor), as tools write that cannot seek")
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise _Odd(f"the name of {shown} is not UTF-8") from None
        if text not in self.sizes:
            raise _Odd(f"{shown} is not in the directory of the zip")
        if self.sizes[text] != (packed, size):
            raise _Odd(f"{shown} has another size in the directory of the zip than before its data")
        if name in self.local:
            raise _Odd(f"{shown} comes twice")
        self.local.add(name)
        self.stream.seek(packed, os.SEEK_CUR)

    def _central(self) -> None:
        """An entry of the directory (4.3.12)."""
        if self.directory is None:
            self.directory = self.stream.tell() - len(CENTRAL)
        name_size, extra_size, comment = struct.unpack("<24xHHH12x", self._take(42))
        if comment:
            raise _Odd("a member has a comment")
        name = self._name(name_size)
        extra = self._take(extra_size)
        self.directory_size += 46 + len(name) + len(extra)
        if name in self.listed:
            raise _Odd(f"{_shown(name)} comes twice in the directory of the zip")
        if name not in self.local:
            raise _Odd(f"{_shown(name)} is in the directory of the zip alone")
        self.listed.add(name)

    def _end64(self) -> None:
        """The end of a ZIP64 (4.3.14)."""
        self.end64_at = self.stream.tell() - len(END64)
        size, here, records, length, offset = struct.unpack("<QxxxxxxxxxxxxQQQQ", self._take(52))
        if here != records or size != 44:
            raise _Odd("its ZIP64 end is of another form than one file's")
        self.end64 = records, length, offset

    def _locator(self) -> None:
        """Where that end is (4.3.15)."""
        self._take(16)
        self.has_locator = True

    def _end(self) -> None:
        """The end (4.3.16); after a ZIP64 end, which counts then, it has to have a locator."""
        here, records, length, offset, comment = struct.unpack("<xxxxHHLLH", self._take(18))
        if here != records:
            raise _Odd("it is a part of several files")
        if self.end64_at is not None and not self.has_locator:
            raise _Odd("its ZIP64 end has no locator")
        if self.end64 is not None and self.has_locator:
            records, length, offset = self.end64
        self.stream.seek(comment, os.SEEK_CUR)
        start = self.stream.tell() - comment - 22 if self.directory is None else self.directory
        if (records, length, offset) != (len(self.listed), self.directory_size, start):
            raise _Odd("its end says another number, size or place of the directory")
        if self.local != self.listed:
            raise _Odd(f"{_shown(min(self.local - self.listed))} is not in the directory of the zip")
        at = self.stream.tell()
        if at != self.stream.seek(0, os.SEEK_END):
            raise _Odd("there is data after its end")

    def _name(self, size: int) -> bytes:
        name = self._take(size)
        if _has_control(name):
            raise _Odd(f"the name of {_shown(name)} has a control character")
        return name


def _has_control(name: bytes) -> bool:
    return any(character < 0x20 or character == 0x7F for character in name)


def _shown(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")


def _zip64_sizes(extra: bytes, method: int, packed: int, size: int) -> tuple[int, int]:
    """The sizes of a member (packed, unpacked), which the ZIP64 extra field of its header may have (4.5.3)."""
    seen = set()
    while extra:
        if len(extra) < 4 or len(extra) < 4 + int.from_bytes(extra[2:4], "little"):
            raise _Odd("an extra field of a member is cut off")
        kind, length = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind in seen and kind in (ZIP64, UNICODE_PATH):
            raise _Odd("a member has two extra fields of one kind, which say its size or its name")
        seen.add(kind)
        if kind == UNICODE_PATH:
            _require_plain(data[5:])
        elif kind == ZIP64:
            packed, size = _of_zip64(data, method, packed, size)
    return packed, size


def _of_zip64(data: bytes, method: int, packed: int, size: int) -> tuple[int, int]:
    if len(data) not in ZIP64_SIZES or (not data and FULL in (packed, size)):
        raise _Odd("the ZIP64 extra field of a member is of no known form")
    if not data:
        return packed, size
    values = struct.unpack(f"<{min(len(data) // 8, 2)}Q", data[: 16 if len(data) >= 16 else 8])
    if len(values) == 1 and method != zipfile.ZIP_STORED:
        raise _Odd("the ZIP64 extra field of a compressed member has one size")
    return values[-1], values[0] if size == FULL else size


def _require_plain(name: bytes) -> None:
    try:
        name.decode()
    except UnicodeDecodeError:
        raise _Odd(f"the other name of {_shown(name)} is not UTF-8") from None
    if _has_control(name):
        raise _Odd(f"the other name of {_shown(name)} has a control character")
