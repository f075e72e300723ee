"""Read zip files within bounds: wheels, and the outer zip of a `.conda`."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from types import TracebackType

from conda2wheel.files.links import NameBounds
from conda2wheel.files.packagefile import CHUNK, Limits, clean_path, is_root, too_large, unsafe
from conda2wheel.files.reading import not_found, reading_archive, unreadable

LARGE = 1 << 16  # bytes of a member for which it is worth it to read it ourselves
MOST_DEFLATED = 1032  # bytes that a byte of a deflate stream stands for at most
ENCRYPTED = 1  # of a member's flags
NAME_SIZE = 26  # where a member's local header has the lengths of its name and of its extra fields (APPNOTE 4.3.7)
BUILD_AGAIN = "build it again, or get it again from where it is from"


class WheelArchive(zipfile.ZipFile):
    """The zip of a wheel. Its names and sizes are within the limits; whatever damage raises becomes `Refused`."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        """Open it and compare its directory with the limits.

        Raises:
            Refused: corrupt-archive, unsafe-archive, too-large.
            Failed: not-found, unreadable.
        """
        self._source = str(path)
        try:
            with reading_archive(self._source, BUILD_AGAIN):
                super().__init__(path)
            packed = path.stat().st_size
        except FileNotFoundError:
            raise not_found(path) from None
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            self._check(limits or Limits(), packed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WheelArchive:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _check(self, limits: Limits, packed: int) -> None:
        names = NameBounds(self._source, limits, packed)
        total = 0
        for entry in self.infolist():
            names.add(entry.filename)
            total += entry.file_size  # zipfile reads no more than that
            if entry.file_size > limits.member_size:
                why = f"{entry.filename} has {entry.file_size} bytes, more than {limits.member_size}"
                raise too_large(self._source, why, "member_size")
            if total > limits.size:
                raise too_large(self._source, f"unpacks to more than {limits.size} bytes", "size")
        if total > max(limits.ratio_from, packed * limits.ratio):
            raise too_large(self._source, f"unpacks to more than {limits.ratio} times its size", "ratio")

    def read(self, name: str | zipfile.ZipInfo, pwd: bytes | None = None) -> bytes:
        """Read a member, and compare its checksum. Raises `Refused` (corrupt-archive) or `Failed` (unreadable)."""
        try:
            with reading_archive(self._source, BUILD_AGAIN):
                entry = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
                data = self._inflate(entry) if entry.file_size >= LARGE and pwd is None else None
                return super().read(entry, pwd) if data is None else data
        except OSError as error:
            raise unreadable(self._source, error) from error

    def _inflate(self, entry: zipfile.ZipInfo) -> bytes | None:
        """A deflated member by libdeflate, which takes a third of zlib's time; None for all that is not as it should be.

        What zipfile says of that is what counts. Raises what it raises for a header that it does not take.
        """
        import deflate

        if entry.compress_type != zipfile.ZIP_DEFLATED or entry.flag_bits & ENCRYPTED or self.filename is None:
            return None
        if entry.file_size > entry.compress_size * MOST_DEFLATED:  # no stream is that dense, so nothing is allocated for it
            return None
        with self.open(entry), open(self.filename, "rb") as stream:
            stream.seek(entry.header_offset + NAME_SIZE)
            name, extra = struct.unpack("<2H", stream.read(4))
            stream.seek(name + extra, os.SEEK_CUR)
            packed = stream.read(entry.compress_size)
        try:
            data = bytes(deflate.deflate_decompress(packed, entry.file_size))
        except deflate.DeflateError:
            return None
        return data if len(data) == entry.file_size and deflate.crc32(data) == entry.CRC else None

    def members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the members by path, without folders, in the archive's order.

        Raises:
            Refused: unsafe-archive for a hostile name, or for two members of one path that differ.
        """
        found: dict[str, zipfile.ZipInfo] = {}
        for entry in self.infolist():
            if is_folder(entry) and is_root(entry.filename):
                continue
            path = clean_path(self._source, entry.filename)
            if is_folder(entry) or path is None:
                continue
            if path in found and not self._same(found[path], entry):
                raise unsafe(self._source, path, "comes twice, with different contents")
            found.setdefault(path, entry)
        return found

    def _same(self, one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
        with reading_archive(self._source, BUILD_AGAIN):
            return one.external_attr == other.external_attr and same_content(self, one, other)


def is_folder(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is a folder; `ZipInfo.is_dir` raises IndexError for an empty name in CPython 3.11."""
    return entry.filename.endswith("/")


def same_content(archive: zipfile.ZipFile, one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
    """Whether two members of a zip have the same bytes. Raises what zipfile raises for damage."""
    if (one.file_size, one.CRC) != (other.file_size, other.CRC):
        return False
    with archive.open(one) as left, archive.open(other) as right:
        return all(chunk == right.read(CHUNK) for chunk in iter(lambda: left.read(CHUNK), b""))
