"""Read a wheel that somebody built, without trusting it more than any other archive."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from conda2wheel.conda.archive import corrupt
from conda2wheel.conda.files import BytesBlob, Limits, PackageFile, clean_path, is_executable, unsafe
from conda2wheel.outcome import Failed, Refused

from .metadata import Document, parse


@dataclass(frozen=True)
class Wheel:
    """A wheel: its file name's parts and every member but folders."""

    path: Path
    name: str
    version: str
    tags: frozenset[Tag]
    files: tuple[PackageFile, ...]
    metadata: Document


def read_wheel(path: Path, limits: Limits | None = None) -> Wheel:
    """Raises `Refused` (corrupt-archive, unsafe-archive, too-large) and `Failed` (not-found, unreadable)."""
    limits = limits or Limits()
    source = str(path)
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise corrupt(source, str(error)) from None
    try:
        with zipfile.ZipFile(path) as archive:
            files = _files(archive, source, limits)
    except FileNotFoundError:
        raise Failed("not-found", f"{source}: no such file", "check the path") from None
    except OSError as error:
        raise Failed("unreadable", f"{source}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise corrupt(source, f"not a wheel: {error}") from None
    core = next((f for f in files if f.path.count("/") == 1 and f.path.endswith(".dist-info/METADATA")), None)
    if core is None:
        raise corrupt(source, "not a wheel: it has no .dist-info/METADATA")
    return Wheel(path, str(name), str(version), tags, files, parse(core.blob.read()))


def _files(archive: zipfile.ZipFile, source: str, limits: Limits) -> tuple[PackageFile, ...]:
    entries = archive.infolist()
    total = 0
    if len(entries) > limits.members:
        raise Refused("too-large", f"{source}: more than {limits.members} members", "raise --max-members if you trust it")
    found: dict[str, PackageFile] = {}
    for entry in entries:
        name = clean_path(source, entry.filename)
        if entry.is_dir() or name is None:
            continue
        if name in found:
            raise unsafe(source, name, "comes twice")
        total += entry.file_size
        if (
            entry.file_size > limits.member_size
            or total > limits.size
            or entry.file_size > limits.ratio * max(entry.compress_size, 1 << 20)
        ):
            raise Refused(
                "too-large", f"{source}: unpacks to more than the bounds allow, at {name}", "raise --max-size if you trust it"
            )
        data = archive.read(entry)  # zipfile reads file_size bytes at most, and checks the CRC
        found[name] = PackageFile(name, BytesBlob(data), is_executable(entry.external_attr >> 16))
    return tuple(found[name] for name in sorted(found))
