"""Independent judges of a wheel: the tools that users, installers and PyPI turn on it, and PyPI's rules in our words."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import re
import struct
import subprocess
import sys
import tempfile
import types
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import Any

from check_wheel_contents.checker import NO_CONFIG, WheelChecker
from check_wheel_contents.checks import parse_checks_string
from check_wheel_contents.contents import WheelContents
from check_wheel_contents.errors import WheelValidationError
from installer.sources import WheelFile
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version
from twine.commands.check import check as twine_check

from tests.helpers import accounts
from tests.helpers.cache import pypi, unzipped

MICROPIP = ("0.11.1", "768de165adb8e66906039d8fec4127a57f522dfdf8e6fbff877a4616941ecfd3")
ALWAYS_IGNORED = ("W004", "W009")  # the .libs folder beside a package trips both, as auditwheel's does
UV_PLATFORMS = {"pyemscripten_2024_0_wasm32": "wasm32-pyodide2024", "pyemscripten_2025_0_wasm32": "wasm32-pyodide2025"}
PLATFORM = re.compile(r"any|pyemscripten_\d+_\d+_wasm32|pyodide_\d+_\d+_wasm32|emscripten_\d+_\d+_\d+_wasm32")
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def judge(wheel: Path, *, ignore: Collection[str] = ()) -> None:
    """Ask every judge.

    `ignore` names further check-wheel-contents checks, such as "W002" where upstream's own wheel has duplicates.

    Raises:
        AssertionError: with all that they complain of, one line each.
    """
    found = complaints(wheel, ignore=ignore)
    assert not found, f"{wheel.name}:\n" + "\n".join(f"  {line}" for line in found)


def complaints(wheel: Path, *, ignore: Collection[str] = ()) -> list[str]:
    """What the judges complain of, each line begun by the judge's name."""
    judges: dict[str, Callable[[], Iterator[str]]] = {
        "zip": lambda: framing(wheel),
        "order": lambda: order(wheel),
        "name": lambda: name(wheel),
        "record": lambda: record(wheel),
        "metadata": lambda: metadata(wheel),
        "twine": lambda: twine(wheel),
        "check-wheel-contents": lambda: contents(wheel, ignore),
        "micropip": lambda: micropip(wheel),
        "tags": lambda: tags(wheel),
        "uv": lambda: uv(wheel),
        "account": lambda: accounts.complaints(wheel),
    }
    lines: list[str] = []
    for title, ask in judges.items():
        try:
            lines += [f"{title}: {line}" for line in ask()]
        except Exception as error:  # noqa: BLE001 - a judge that falls over has found something
            lines.append(f"{title}: {type(error).__name__}: {error}")
    return lines


def framing(wheel: Path) -> Iterator[str]:
    """PyPI's rules for the zip container, read from the bytes: zipfile forgives too much."""
    data = wheel.read_bytes()
    end = data.rfind(END)
    if end < 0 or len(data) < end + 22:
        yield "no end of central directory"
        return
    _, disk, start_disk, here, total, size, offset, comment = struct.unpack("<4s4H2IH", data[end : end + 22])
    if comment or len(data) != end + 22:
        yield "an archive comment or trailing data"
    if disk or start_disk or here != total:
        yield "several disks"
    if offset + size != end:
        yield "data between the central directory and its end (or zip64 where none is needed)"
        return
    names: Counter[bytes] = Counter()
    reached, place = offset, 0
    for _ in range(total):
        if data[reached : reached + 4] != CENTRAL:
            yield "a broken central directory"
            return
        _, _, _, flags, method, *when, crc, packed, plain, length, extra, remark, _, _, _, at = struct.unpack(
            "<4s6H3I5H2I", data[reached : reached + 46]
        )
        title = data[reached + 46 : reached + 46 + length]
        reached += 46 + length + extra + remark
        names[title] += 1
        yield from _entry(title, flags=flags, method=method, extra=extra, remark=remark)
        if at != place or data[at : at + 4] != LOCAL or len(data) < at + 30:
            yield f"{title!r}: its local header is not where the one before ends (prepended or hidden data)"
            return
        _, _, *head, long, more = struct.unpack("<4s5H3I2H", data[at : at + 30])
        if head != [flags, method, *when, crc, packed, plain] or data[at + 30 : at + 30 + long] != title:
            yield f"{title!r}: local header and central directory differ"
        place = at + 30 + long + more + packed
    if place != offset or reached != end:
        yield "bytes that belong to no member"
    yield from (f"{title!r} is there {count} times" for title, count in names.items() if count > 1)
    with zipfile.ZipFile(wheel) as archive:
        if (bad := archive.testzip()) is not None:
            yield f"{bad}: wrong CRC"
        sizes = [(item.file_size, item.compress_size) for item in archive.infolist()]
    if (plain := sum(size for size, _ in sizes)) > 64 << 20 and plain > 50 * sum(packed for _, packed in sizes):
        yield "a ratio that PyPI takes for a bomb"


def _entry(title: bytes, *, flags: int, method: int, extra: int, remark: int) -> Iterator[str]:
    if flags & 0x0008:
        yield f"{title!r}: a data descriptor"
    if flags & ~0x0806:
        yield f"{title!r}: flags {flags:#06x}"
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{title!r}: compression method {method}"
    if remark:
        yield f"{title!r}: a comment"
    if extra:
        yield f"{title!r}: an extra field"
    try:
        text = title.decode("utf-8" if flags & 0x0800 else "ascii")
    except UnicodeDecodeError:
        yield f"{title!r}: not UTF-8, or not marked so"
        return
    parts = text.split("/")
    if text.endswith("/"):
        yield f"{text}: a directory entry"
    elif not all(parts) or {".", ".."} & set(parts) or re.search(r"[\x00-\x1f\x7f\\]", text) or text[1:2] == ":":
        yield f"{text!r}: not a name for a member"


def order(wheel: Path) -> Iterator[str]:
    """Members sorted, `<distribution>.libs` before and dist-info after all others, RECORD the very last, no symlinks."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        links = [item.filename for item in archive.infolist() if item.external_attr >> 28 == 0xA]
    folder = _dist_info(wheel)
    rank = {
        item: ("/" not in item or not item.partition("/")[0].endswith(".libs"), item.startswith(f"{folder}/"), item)
        for item in names
        if item != f"{folder}/RECORD"
    }
    if names != [*sorted(rank, key=rank.__getitem__), f"{folder}/RECORD"]:
        yield "members are not sorted with .libs first, dist-info last and RECORD the very last"
    yield from (f"{item} is a symlink" for item in links)


def name(wheel: Path) -> Iterator[str]:
    """The file name against the folder's and METADATA's names and versions, as PyPI compares them."""
    try:
        distribution, version, build, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        yield str(error)
        return
    headers = _headers(wheel)
    first, second = wheel.name.split("-")[:2]
    if first != canonicalize_name(headers["Name"] or "").replace("-", "_"):
        yield f"{first} is not the normalised name of {headers['Name']}"
    if second != str(Version(headers["Version"] or "0")) or str(version) != second:
        yield f"{second} is not the version {headers['Version']} as PEP 440 normalises it"
    if build:
        yield f"a build tag, {build}, which Pyodide's loader misreads"
    if canonicalize_name(first) != distribution:
        yield f"{first} is not {distribution}"


def record(wheel: Path) -> Iterator[str]:
    """installer's validation with contents, and: RECORD lists the members, each once, no others."""
    with WheelFile.open(wheel) as source:
        source.validate_record(validate_contents=True)
    with zipfile.ZipFile(wheel) as archive:
        names = Counter(archive.namelist())
        rows = Counter(row[0] for row in csv.reader(io.StringIO(archive.read(f"{_dist_info(wheel)}/RECORD").decode())) if row)
    yield from (f"{item} is in the archive or in RECORD alone" for item in sorted((names - rows) + (rows - names)))


def metadata(wheel: Path) -> Iterator[str]:
    """packaging's strict reading of METADATA, and what PyPI asks beyond it."""
    with zipfile.ZipFile(wheel) as archive:
        raw, names = archive.read(f"{_dist_info(wheel)}/METADATA"), set(archive.namelist())
        wheel_file = archive.read(f"{_dist_info(wheel)}/WHEEL").decode()
    try:
        parsed = Metadata.from_email(raw, validate=True)
    except ExceptionGroup as group:
        yield from (str(error) for error in group.exceptions)
        return
    if str(parsed.metadata_version) not in {"2.1", "2.2", "2.3", "2.4"}:
        yield f"Metadata-Version {parsed.metadata_version}"
    if parsed.summary and len(parsed.summary) > 512:
        yield "a summary of more than 512 characters"
    if parsed.version.local:
        yield "a local version"
    yield from (f"{item} has a URL, which PyPI refuses" for item in parsed.requires_dist or [] if item.url)
    yield from (f"label {label!r} is too long" for label in parsed.project_urls or {} if len(label) > 32)
    yield from (
        f"License-File {item} is not there"
        for item in parsed.license_files or []
        if f"{_dist_info(wheel)}/licenses/{item}" not in names
    )
    told = {line.partition(": ")[2] for line in wheel_file.splitlines() if line.startswith("Tag: ")}
    if told != {str(tag) for tag in parse_wheel_filename(wheel.name)[3]}:
        yield f"WHEEL tells the tags {sorted(told)}"
    pure = all(tag.platform == "any" for tag in parse_wheel_filename(wheel.name)[3])
    if f"Root-Is-Purelib: {str(pure).lower()}" not in wheel_file.splitlines():
        yield f"Root-Is-Purelib should be {str(pure).lower()}"


def twine(wheel: Path) -> Iterator[str]:
    """`twine check`, strict where there is a description."""
    said = io.StringIO()
    described = bool(str(_headers(wheel).get_payload()).strip())
    with contextlib.redirect_stdout(said):
        failed = twine_check([str(wheel)], strict=described)
    if failed or "PASSED" not in said.getvalue():
        yield said.getvalue().strip() or "nothing to check"


def contents(wheel: Path, ignore: Collection[str] = ()) -> Iterator[str]:
    """check-wheel-contents, in its own words."""
    checker = WheelChecker()
    checker.configure_options(configpath=NO_CONFIG, ignore=parse_checks_string(",".join([*ALWAYS_IGNORED, *ignore])))
    try:
        yield from (failed.show(None) for failed in checker.check_contents(WheelContents.from_wheel(wheel)))
    except WheelValidationError as error:
        yield str(error)


def micropip(wheel: Path) -> Iterator[str]:
    """micropip's line-based reader finds the requirements and extras that an e-mail parser finds, no more and no fewer."""
    reader: Any = _micropip("metadata")
    with zipfile.ZipFile(wheel) as archive:
        folder = reader.wheel_dist_info_dir(archive, wheel.name.partition("-")[0])
        raw = archive.read(f"{folder}/METADATA")
    read = reader.Metadata(raw)
    headers = _headers(wheel)
    theirs = [str(read._parse_requirement(line)) for line in read.metadata if line.startswith(read.REQUIRES_DIST)]
    ours = [str(Requirement(item)) for item in headers.get_all("Requires-Dist", [])]
    if theirs != ours:
        yield f"reads the requirements {theirs}, not {ours}"
    extras = {reader.safe_extra(item) for item in headers.get_all("Provides-Extra", [])}
    if set(read.deps) - {None} != extras:
        yield f"reads the extras {set(read.deps) - {None}}, not {extras}"
    read.requires(extras)


def tags(wheel: Path) -> Iterator[str]:
    """Some interpreter of that platform, as packaging lists its tags (and so pip, uv and micropip), takes the wheel."""
    for tag in parse_wheel_filename(wheel.name)[3]:
        if not PLATFORM.fullmatch(tag.platform):
            yield f"{tag}: not a platform of Pyodide's"
        elif tag not in set(_accepted(tag)):
            yield f"{tag}: no interpreter takes it"


def uv(wheel: Path) -> Iterator[str]:
    """`uv pip install --dry-run`, for the platforms that uv knows and for pure wheels."""
    found = sorted(parse_wheel_filename(wheel.name)[3], key=str)
    platforms = [UV_PLATFORMS[tag.platform] for tag in found if tag.platform in UV_PLATFORMS]
    if not platforms and not all(tag.platform == "any" for tag in found):
        return
    python = re.fullmatch(r"cp3(\d+)", found[0].interpreter)
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--offline", "--no-cache", "--quiet"]
    command += ["--python-platform", (platforms or ["wasm32-pyodide2025"])[0]]
    command += ["--python-version", f"3.{python[1] if python else 13}"]
    with tempfile.TemporaryDirectory() as folder:  # dry or not, uv makes a lock file in its target
        done = subprocess.run([*command, "--target", folder, str(wheel)], capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr.strip()


def _accepted(tag: Tag) -> Iterator[Tag]:
    for minor in range(10, 16):
        platforms = [tag.platform]
        yield from cpython_tags(python_version=(3, minor), abis=[f"cp3{minor}"], platforms=platforms)
        yield from compatible_tags(python_version=(3, minor), interpreter=f"cp3{minor}", platforms=platforms)


def _micropip(module: str) -> types.ModuleType:
    """A module of the newest micropip, whose wheel this Python may be too old to install."""
    package = "_judge_micropip"
    if package not in sys.modules:
        folder = unzipped(pypi("micropip", *MICROPIP, "--python-version", "3.13"))
        made = types.ModuleType(package)  # without running micropip/__init__.py, which wants a Pyodide
        made.__path__ = [str(folder / "micropip")]
        sys.modules[package] = made
    return importlib.import_module(f"{package}.{module}")


def _headers(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return BytesParser().parsebytes(archive.read(f"{_dist_info(wheel)}/METADATA"))


def _dist_info(wheel: Path) -> str:
    """The folder that PyPI looks in: the file name's own prefix."""
    return "-".join(PurePosixPath(wheel.name).name.split("-")[:2]) + ".dist-info"
