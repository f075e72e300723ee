"""Write a wheel in canonical form: the same members give the same bytes on any machine, in any time zone, under any umask.

Specifications: PyPA binary distribution format 1.0; PKWARE's APPNOTE with the restrictions of PyPI (warehouse
utils/zipfiles.py: no data descriptors, comments, duplicates, or bytes before or after the archive). Members are sorted; vendored
libraries come first, the dist-info folder last, and RECORD is the last member. libdeflate compresses 4 times faster than zlib at
the same level, and to smaller files.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from conda2wheel.conda.origin import GENERATED, MemberOrigin
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Blob, clean_path
from conda2wheel.options import DEFAULT_LEVEL

_EARLIEST = 315532800  # 1980-01-01 UTC, where zip's calendar begins
_LATEST = 4354819198  # 2107-12-31 23:59:58
_DEFLATED, _STORED = 8, 0
_UTF8 = 0x800
_UNIX = 3 << 8
_MAX_FIELD = 0xFFFFFFFF
_THREADS_FROM = 4 << 20  # bytes from which threads are faster


@dataclass(frozen=True)
class Member:
    """A file of a wheel; `executable` gives it mode 0755 instead of 0644. `origin` is for the provenance."""

    path: str
    blob: Blob
    executable: bool = False
    origin: MemberOrigin = GENERATED


@dataclass(frozen=True)
class _Packed:
    path: str
    executable: bool
    sha256: bytes
    size: int
    crc: int
    method: int
    data: bytes


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


def build_wheel(members: Iterable[Member], dist_info: str, timestamp: float, level: int = DEFAULT_LEVEL) -> Iterator[bytes]:
    """The wheel's bytes in chunks, RECORD added. `timestamp` in seconds since 1970, UTC.

    Raises `Refused`: unsafe-archive for a path that is none, and too-large for what would need ZIP64, since no index and no
    Pyodide takes a wheel of 4 GiB.
    """
    ordered = sorted(members, key=lambda member: order(member.path))
    for member in ordered:
        clean_path(dist_info, member.path)  # whatever a path was made of, RECORD has one line for it
    dos_time, dos_date = _dos(timestamp)
    rows: list[tuple[str, str, str]] = []
    central: list[bytes] = []
    offset = 0
    for packed in _pack_all(ordered, level):
        rows.append(record_row(packed.path, packed.sha256, packed.size))
        yield from _local(packed, dos_time, dos_date)
        central.append(_central(packed, dos_time, dos_date, offset))
        offset += 30 + len(packed.path.encode()) + len(packed.data)
        if offset > _MAX_FIELD:
            raise Refused(
                "too-large", f"{dist_info}: the wheel would have more than 4 GiB", "leave data files out of the package"
            )
    record_path = f"{dist_info}/RECORD"
    rows.append((record_path, "", ""))
    record = io.StringIO()
    csv.writer(record, lineterminator="\n").writerows(rows)
    packed = _pack(record_path, record.getvalue().encode(), False, level)
    yield from _local(packed, dos_time, dos_date)
    central.append(_central(packed, dos_time, dos_date, offset))
    offset += 30 + len(record_path.encode()) + len(packed.data)
    directory = b"".join(central)
    if len(central) > 0xFFFF or offset + len(directory) > _MAX_FIELD:
        raise Refused(
            "too-large", f"{dist_info}: {len(central)} members are more than a zip without ZIP64 holds", "leave data files out"
        )
    yield directory
    yield struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(central), len(central), len(directory), offset, 0)


def _pack_all(members: list[Member], level: int) -> Iterator[_Packed]:
    def pack(member: Member) -> _Packed:
        return _pack(member.path, member.blob.read(), member.executable, level)

    if sum(member.blob.size for member in members) < _THREADS_FROM:
        yield from map(pack, members)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # libdeflate releases the GIL
        for start in range(0, len(members), 64):  # a window, so that a large package is never whole in memory
            yield from pool.map(pack, members[start : start + 64])


def _pack(path: str, data: bytes, executable: bool, level: int) -> _Packed:
    import deflate

    squeezed = bytes(deflate.deflate_compress(data, level)) if data else b""
    digest = hashlib.sha256(data).digest()
    if data and len(squeezed) < len(data):
        return _Packed(path, executable, digest, len(data), zlib.crc32(data), _DEFLATED, squeezed)
    return _Packed(path, executable, digest, len(data), zlib.crc32(data), _STORED, data)


def _fields(packed: _Packed, dos_time: int, dos_date: int) -> bytes:
    name = packed.path.encode()
    flags = 0 if packed.path.isascii() else _UTF8
    return struct.pack(
        "<HHHHHIIIHH", 20, flags, packed.method, dos_time, dos_date, packed.crc, len(packed.data), packed.size, len(name), 0
    )


def _local(packed: _Packed, dos_time: int, dos_date: int) -> Iterator[bytes]:
    yield struct.pack("<I", 0x04034B50) + _fields(packed, dos_time, dos_date) + packed.path.encode()
    yield packed.data


def _central(packed: _Packed, dos_time: int, dos_date: int, offset: int) -> bytes:
    mode = stat.S_IFREG | (0o755 if packed.executable else 0o644)
    head = struct.pack("<IH", 0x02014B50, _UNIX | 20) + _fields(packed, dos_time, dos_date)
    return head + struct.pack("<HHHII", 0, 0, 0, mode << 16, offset) + packed.path.encode()


def _dos(timestamp: float) -> tuple[int, int]:
    t = time.gmtime(int(min(max(timestamp, _EARLIEST), _LATEST)))
    return (t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2, (t.tm_year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday)
