"""Edit a wheel of another build tool: every member that is not changed here keeps its bytes.

Specifications: PyPA binary distribution format 1.0 (WHEEL, RECORD, signatures), core metadata 2.4 (License-File, PEP 639).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packaging.tags import Tag
from packaging.version import Version

from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.conda.origin import MemberOrigin, MemberSource
from conda2wheel.files.packagefile import Blob, BytesBlob
from conda2wheel.files.pypa import parse_pep440
from conda2wheel.files.reading import corrupt
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.reader import Wheel
from conda2wheel.wheel.writer import Member

SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # signatures of the old RECORD
UNLISTED = ("RECORD", *SIGNATURES)  # files that RECORD does not list
LICENSE_FILES_SINCE = Version("2.4")
MAX_LISTED = 3
Change = tuple[Blob, Mapping[str, Any]]  # the new bytes, and what was changed, for the provenance


def members(wheel: Wheel, source: MemberSource, replaced: Mapping[str, Change], added: Iterable[Member]) -> list[Member]:
    """Every member but RECORD: the wheel's own, changed where `replaced` has other bytes, and added ones.

    A symbolic link becomes a copy of its target; one to a shared library is left out, since a copy would be a second instance.
    """
    out = {}
    for file in wheel.files:
        if file.path.partition("/")[0] in wheel.other_infos:
            continue
        blob, changes = replaced.get(file.path, (file.blob, {}))
        origin = MemberOrigin.copied(source, wheel.moved.get(file.path, file.path), file.blob, blob, changes)
        for path in (file.path, *(alias for alias in file.aliases if not SHARED_OBJECT.search(alias))):
            out[path] = Member(path, blob, file.executable, origin)
    out |= {member.path: member for member in added}
    for name in UNLISTED:
        out.pop(f"{wheel.dist_info}/{name}", None)
    return list(out.values())


def dropped(wheel: Wheel) -> list[ConversionWarning]:
    """A warning for what a rewritten wheel does not keep: signatures, other distributions, links to libraries and to nothing."""
    found = [
        ConversionWarning("left-out", "a signature of the RECORD that the wheel had before", f"{wheel.dist_info}/{name}")
        for name in SIGNATURES
        if wheel.info(name) is not None
    ]
    found += [ConversionWarning("link-left-out", f"{link}; left out", link.path) for link in wheel.lost]
    found += [
        ConversionWarning("several-distributions", f"left out, since a wheel has one; it is {wheel.dist_info}", folder)
        for folder in wheel.other_infos
    ]
    for file in wheel.files:
        for alias in file.aliases:
            if SHARED_OBJECT.search(alias):
                found.append(
                    ConversionWarning("alias-left-out", f"a symbolic link to {file.path}, which wheels cannot have", alias)
                )
    return found


def described(
    wheel: Wheel, tags: Iterable[Tag], native: bool, license_files: Sequence[str], requires: Sequence[str] = ()
) -> dict[str, Change]:
    """WHEEL and METADATA, by path, if they must change; `requires` are further Requires-Dist lines.

    Raises:
        Refused: corrupt-archive, if there is no WHEEL file.
    """
    wheel_info, core = wheel.info("WHEEL"), wheel.info("METADATA")
    if wheel_info is None or core is None:
        raise corrupt(wheel.source, f"not a wheel: it has no {wheel.dist_info}/WHEEL")
    text = wheel_info.blob.read().decode("utf-8", "surrogateescape")
    metadata = with_license_files(core.blob.read(), wheel.metadata.get("Metadata-Version"), license_files)
    new = {
        wheel_info.path: wheel_file(text, tags, native).encode("utf-8", "surrogateescape"),
        core.path: with_fields(metadata, "Requires-Dist", requires),
    }
    before = {wheel_info.path: wheel_info.blob, core.path: core.blob}
    return {path: (BytesBlob(data), {"mended": True}) for path, data in new.items() if data != before[path].read()}


def wheel_file(text: str, tags: Iterable[Tag], native: bool) -> str:
    """WHEEL with these tags, and Root-Is-Purelib false if it is `native`; unchanged if it has these values."""
    lines = text.splitlines(keepends=True)
    wanted = sorted(str(tag) for tag in tags)
    said = [value for line in lines if (value := _field(line, "Tag")) is not None]
    if set(said) != set(wanted):
        at = next((n for n, line in enumerate(lines) if _field(line, "Tag") is not None), _end_of_header(lines))
        new = [f"Tag: {tag}{_newline(text)}" for tag in wanted]
        if at and not lines[at - 1].endswith(("\n", "\r")):
            lines[at - 1] += _newline(text)
        lines = [*lines[:at], *new, *(line for line in lines[at:] if _field(line, "Tag") is None)]
    if native:
        lines = [
            f"Root-Is-Purelib: false{_newline(text)}" if (_field(line, "Root-Is-Purelib") or "").lower() == "true" else line
            for line in lines
        ]
    return "".join(lines)


def with_license_files(metadata: bytes, version: str | None, names: Sequence[str]) -> bytes:
    """METADATA with more License-File fields, at the end of its header; unchanged if its version has no such field."""
    own = parse_pep440(version or "0")
    if own is None or own < LICENSE_FILES_SINCE:
        return metadata
    return with_fields(metadata, "License-File", names)


def with_fields(metadata: bytes, name: str, values: Sequence[str]) -> bytes:
    r"""METADATA with more fields of one name at the end of its header.

    >>> with_fields(b"Name: a\n\nbody", "Requires-Dist", ["b==1"])
    b'Name: a\nRequires-Dist: b==1\n\nbody'
    """
    if not values:
        return metadata
    newline = b"\r\n" if b"\r\n" in metadata else b"\n"
    header, blank, body = metadata.partition(newline * 2)
    fields = newline.join(f"{name}: {value}".encode() for value in values)
    return header.rstrip(b"\r\n") + newline + fields + (blank + body if blank else newline)


def record_problem(wheel: Wheel) -> str:
    """How RECORD differs from the members and their hashes; empty if it agrees with them."""
    record = wheel.info("RECORD")
    if record is None:
        return "it has no RECORD"
    try:
        rows = [row for row in csv.reader(io.StringIO(record.blob.read().decode("utf-8"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        return f"its RECORD cannot be read: {error}"
    unlisted = {f"{wheel.dist_info}/{name}" for name in UNLISTED}
    listed = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
    files = {file.path: file for file in wheel.files if file.path not in unlisted}
    wrong = [path for path, file in files.items() if path not in listed or not _agrees(listed[path], file.blob)]
    wrong += sorted(listed.keys() - files.keys() - unlisted)
    if not wrong:
        return ""
    more = " ..." if len(wrong) > MAX_LISTED else ""
    return f"its RECORD does not agree with {len(wrong)} members: {', '.join(wrong[:MAX_LISTED])}{more}"


def _agrees(said: str, blob: Blob) -> bool:
    name, _, digest = said.partition("=")
    if name not in hashlib.algorithms_guaranteed or name.startswith("shake"):
        return False
    real = hashlib.new(name, blob.read()).digest()
    return base64.urlsafe_b64encode(real).rstrip(b"=").decode() == digest.rstrip("=")


def _field(line: str, name: str) -> str | None:
    match = re.match(rf"(?i){re.escape(name)}\s*:(.*)", line)
    return match[1].strip() if match else None


def _end_of_header(lines: Sequence[str]) -> int:
    return next((n for n, line in enumerate(lines) if not line.strip()), len(lines))


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
