"""Read zip files within bounds: wheels, and the outer zip of a `.conda`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import TracebackType

from conda2wheel.files.links import NameBounds
from conda2wheel.files.packagefile import CHUNK, Limits, clean_path, is_root, too_large, unsafe
from conda2wheel.files.reading import not_found, reading_archive, unreadable

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
                return super().read(name, pwd)
        except OSError as error:
            raise unreadable(self._source, error) from error

    def members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the members by path, without folders, in the archive's order.

        Raises:
            Refused: unsafe-archive for a hostile name, or for two members of one path that differ.
        """
        found: dict[str, zipfile.ZipInfo] = {}
        for entry in self.infolist():
            if entry.is_dir() and is_root(entry.filename):
                continue
            path = clean_path(self._source, entry.filename)
            if entry.is_dir() or path is None:
                continue
            if path in found and not self._same(found[path], entry):
                raise unsafe(self._source, path, "comes twice, with different contents")
            found.setdefault(path, entry)
        return found

    def _same(self, one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
        with reading_archive(self._source, BUILD_AGAIN):
            return one.external_attr == other.external_attr and same_content(self, one, other)


def same_content(archive: zipfile.ZipFile, one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
    """Whether two members of a zip have the same bytes. Raises what zipfile raises for damage."""
    if (one.file_size, one.CRC) != (other.file_size, other.CRC):
        return False
    with archive.open(one) as left, archive.open(other) as right:
        return all(chunk == right.read(CHUNK) for chunk in iter(lambda: left.read(CHUNK), b""))
