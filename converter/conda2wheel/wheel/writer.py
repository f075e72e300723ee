"""Write a wheel in canonical form: the same members give the same bytes on any machine, in any time zone, under any umask.

Specifications: PyPA binary distribution format 1.0; PKWARE's APPNOTE with the restrictions of PyPI (warehouse
utils/zipfiles.py: no data descriptors, comments, duplicates, or bytes before or after the archive). Members are sorted; vendored
libraries come first, the dist-info folder last, and RECORD is the last member.
"""

from __future__ import annotations

import base64
import csv
import io
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

from conda2wheel.conda.origin import GENERATED, MemberOrigin
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Blob, BytesBlob, clean_path
from conda2wheel.options import DEFAULT_LEVEL
from conda2wheel.wheel.packing import Packed, Packing, pack

_EARLIEST = 315532800  # 1980-01-01 UTC, where zip's calendar begins
_LATEST = 4354819198  # 2107-12-31 23:59:58
_UTF8 = 0x800
_UNIX = 3 << 8
_MAX_FIELD = 0xFFFFFFFF


class Member(NamedTuple):
    """A file of a wheel; `executable` gives it mode 0755 instead of 0644. `origin` is for the provenance."""

    path: str
    blob: Blob
    executable: bool = False
    origin: MemberOrigin = GENERATED


def order(path: str) -> tuple[int, str]:
    """Sort key: `<distribution>.libs` first, dist-info last, RECORD the very last.

    The wheel specification recommends the end. The beginning is for loaders before Pyodide 0.27: given the path or URL of a
    wheel, they look into `<distribution>.libs` only while a member of it is opened (`path_libs` of `abi/loaders.toml`).
    """
    folder, _, rest = path.partition("/")
    if folder.endswith(".dist-info"):
        return (3 if rest == "RECORD" else 2, path)
    return (0 if rest and folder.endswith(".libs") else 1, path)


def record_row(path: str, digest: bytes, size: int) -> tuple[str, str, str]:
    """A RECORD row: urlsafe base64 of the sha256, without padding."""
    return (path, "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), str(size))


def build_wheel(
    members: Iterable[Member], dist_info: str, timestamp: float, level: int = DEFAULT_LEVEL, packing: Packing | None = None
) -> Iterator[bytes]:
    """The wheel's bytes in chunks, RECORD added. `timestamp` in seconds since 1970, UTC.

    `packing` may have begun to compress some members; it has its own level. Without it, threads compress as the chunks are read.

    Raises `Refused`: unsafe-archive for a path that is none, and too-large for what would need ZIP64, since no index and no
    Pyodide takes a wheel of 4 GiB.
    """
    ordered = sorted(members, key=lambda member: order(member.path))
    for member in ordered:
        clean_path(dist_info, member.path)  # whatever a path was made of, RECORD has one line for it
    when = _dos(timestamp)
    rows: list[tuple[str, str, str]] = []
    central: list[bytes] = []
    offset = 0
    with nullcontext(packing) if packing is not None else Packing(level) as threads:
        for member, packed in zip(ordered, threads.packed([member.blob for member in ordered]), strict=True):
            rows.append(record_row(member.path, packed.sha256, packed.size))
            entry = _Entry(member.path, member.executable, packed, when, offset)
            yield from entry.local()
            central.append(entry.central())
            offset = entry.end
            if offset > _MAX_FIELD:
                raise Refused(
                    "too-large", f"{dist_info}: the wheel would have more than 4 GiB", "leave data files out of the package"
                )
    record_path = f"{dist_info}/RECORD"
    rows.append((record_path, "", ""))
    record = io.StringIO()
    csv.writer(record, lineterminator="\n").writerows(rows)
    entry = _Entry(record_path, False, pack(BytesBlob(record.getvalue().encode()), level), when, offset)
    yield from entry.local()
    central.append(entry.central())
    offset = entry.end
    directory = b"".join(central)
    if len(central) > 0xFFFF or offset + len(directory) > _MAX_FIELD:
        raise Refused(
            "too-large", f"{dist_info}: {len(central)} members are more than a zip without ZIP64 holds", "leave data files out"
        )
    yield directory
    yield struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(central), len(central), len(directory), offset, 0)


class _Entry(NamedTuple):
    """A member in the archive: its headers (APPNOTE 4.3.7 and 4.3.12), and where it is. `when`: DOS time and date."""

    path: str
    executable: bool
    packed: Packed
    when: tuple[int, int]
    offset: int

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.offset + 30 + len(self.path.encode()) + len(self.packed.data)

    def _header(self) -> bytes:
        name, packed = self.path.encode(), self.packed
        flags = 0 if self.path.isascii() else _UTF8
        return struct.pack(
            "<HHHHHIIIHH", 20, flags, packed.method, *self.when, packed.crc, len(packed.data), packed.size, len(name), 0
        )

    def local(self) -> Iterator[bytes]:
        """Its header and its data."""
        yield struct.pack("<I", 0x04034B50) + self._header() + self.path.encode()
        yield self.packed.data

    def central(self) -> bytes:
        """Its entry in the central directory."""
        mode = stat.S_IFREG | (0o755 if self.executable else 0o644)
        head = struct.pack("<IH", 0x02014B50, _UNIX | 20) + self._header()
        return head + struct.pack("<HHHII", 0, 0, 0, mode << 16, self.offset) + self.path.encode()


def _dos(timestamp: float) -> tuple[int, int]:
    t = time.gmtime(int(min(max(timestamp, _EARLIEST), _LATEST)))
    return (t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2, (t.tm_year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday)
