"""Targets: archives of packages, their links, and wheels."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Iterator
from typing import IO

import zstandard

from conda2wheel.conda import bzip2
from conda2wheel.conda.archive import open_archive
from conda2wheel.conda.open import open_local
from conda2wheel.files.links import resolve_links
from conda2wheel.files.packagefile import ArchiveMember, BytesBlob, Limits, PackageFile, clean_path
from conda2wheel.index.simple import index_file
from conda2wheel.pyodide.wheelfile import modules, open_wheel, requirements_of
from conda2wheel.wheel.editor import record_problem
from conda2wheel.wheel.provenance import read_provenance
from conda2wheel.wheel.reader import read_wheel
from tests.fuzz.model import Target, require
from tests.fuzz.mutate import Change, Mutator, either, json_document, lines, plain, tar, tokens, zipped
from tests.fuzz.seeds import package_files, package_parts, wheel_bytes
from tests.fuzz.work import bounded, scratch

# Small enough that an input that gets past them takes seconds, and not only when its bytes are many.
LIMITS = Limits(members=2000, size=64 << 20, member_size=32 << 20, ratio_from=8 << 20, header=1 << 16)


def _tar_seeds() -> Iterator[bytes]:
    yield package_files()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target in (("a/b", tarfile.REGTYPE, ""), ("a/l", tarfile.SYMTYPE, "b"), ("h", tarfile.LNKTYPE, "a/b")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        member = tarfile.TarInfo("n" * 200)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    yield stream.getvalue()


def _run_tar(data: bytes) -> None:
    """The same members whatever the tar is packed in."""
    with scratch() as folder:
        (folder / "x.tar.gz").write_bytes(gzip.compress(data, 1))
        _sound(open_archive(folder / "x.tar.gz", "x", LIMITS).files)


def _sound(found: tuple[PackageFile, ...]) -> None:
    names = [name for file in found for name in (file.path, *file.aliases)]
    require(len(names) == len(set(names)), "two files have one name")
    require([file.path for file in found] == sorted(file.path for file in found), "the files are not sorted")
    for name in names:
        require(
            not name.startswith("/") and ".." not in name.split("/") and not {"\n", "\r", "\0", "\\"} & set(name),
            f"a name {name!r}",
        )
    for file in found:
        require(len(file.blob.read()) == file.blob.size, f"{file.path} has another size")


def _archive_seeds() -> Iterator[bytes]:
    parts = package_parts()
    yield bz2.compress(package_files(), 1)
    yield gzip.compress(package_files(), 1)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        for name in ("pkg", "info"):
            archive.writestr(f"{name}-demo-1.0-0.tar.zst", zstandard.compress(parts[name]))
    yield stream.getvalue()


def _inside_conda(name: str) -> Mutator:
    def mutate(data: bytes, dice: random.Random, change: Change) -> bytes:
        if not name.endswith(".zst") or dice.random() < 0.2:
            return change(data)
        try:
            inner = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(data)
        except zstandard.ZstdError:
            return change(data)
        return zstandard.compress(tar(inner, dice, change), 1)

    return mutate


def _packed(data: bytes, dice: random.Random, change: Change) -> bytes:
    """A compressed tar whose tar is changed; any other archive as bytes."""
    try:
        if data.startswith(b"BZh"):
            return bz2.compress(tar(bounded(bz2.BZ2Decompressor().decompress(data, 1 << 22)), dice, change), 1)
        if data.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                return gzip.compress(tar(stream.read(1 << 22), dice, change), 1)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return change(data)
    return zipped(_inside_conda)(data, dice, change) if data.startswith(b"PK") else change(data)


def _run_archive(data: bytes) -> None:
    with scratch() as folder:
        path = folder / "demo-1.0-0.conda"
        path.write_bytes(data)
        package = open_local(str(path), LIMITS)
        _sound(package.files)
        require(bool(package.name and package.version), "a package without a name")


LINKS = b"""f a/b
f a/c/d
l x a/b
l y a
l z y/c/d
h w a/b
l lib/libz.so libz.so.1
l gone nowhere
l up ../..
l loop loop
"""


def _run_links(data: bytes) -> None:
    """Lines `f PATH`, `l PATH TARGET` (a symbolic link) and `h PATH TARGET` (a hard link)."""
    entries: dict[str, ArchiveMember] = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        kind, _, rest = line.partition(" ")
        path, _, target = rest.partition(" ")
        path = (path and clean_path("x", path)) or ""
        if path and kind == "f":
            entries[path] = ArchiveMember(path, BytesBlob(b""))
        elif path and kind in ("l", "h"):
            entries[path] = ArchiveMember(path, target=target, hard=kind == "h")
    _sound(tuple(resolved(entries)))


def resolved(entries: dict[str, ArchiveMember]) -> tuple[PackageFile, ...]:
    """The files among the members."""
    return resolve_links("x", entries, LIMITS).files


def _run_bz2(data: bytes) -> None:
    """Threads read what the standard library reads, and raise what it raises."""
    found, error = _read_all(bzip2._ThreadedBz2(io.BytesIO(data), 2))
    wanted, expected = _read_all(bz2.BZ2File(io.BytesIO(data)))
    require(error == expected, f"{error!r} instead of {expected!r}")
    require(wanted.startswith(found) or found.startswith(wanted), "other bytes")
    require(bool(error) or found == wanted, "not as many bytes")


def _read_all(stream: IO[bytes] | bzip2._ThreadedBz2) -> tuple[bytes, str]:
    chunks = []
    with contextlib.closing(stream):
        try:
            while chunk := stream.read(1 << 20):
                chunks.append(chunk)
                if sum(map(len, chunks)) > LIMITS.size:
                    break
        except (OSError, EOFError) as error:
            return b"".join(chunks), repr(error)
    return b"".join(chunks), ""


def _bz2_seeds() -> Iterator[bytes]:
    noise = random.Random(1).randbytes(60_000)  # noqa: S311 - reproducible, not secret
    yield bz2.compress(noise + b"\0" * 999_999 + noise[::-1], 1)
    yield bz2.compress(noise, 1) + bz2.compress(b"") + bz2.compress(noise[:99]) + b"after"


def _in_wheel(name: str) -> Mutator:
    return json_document if name.endswith(".json") else either(plain, tokens, lines)


def _run_wheel(data: bytes) -> None:
    with scratch() as folder:
        path = folder / "demo-1.0-cp313-cp313-pyemscripten_2025_0_wasm32.whl"
        path.write_bytes(data)
        wheel = read_wheel(path, LIMITS)
        _sound(wheel.files)
        record_problem(wheel)
        read_provenance(wheel)
        opened = open_wheel(path)
        requirements_of(opened)
        modules(opened, "3.13")
        _, row, _ = index_file(path, "https://example.org/x")
        json.dumps(row.json(), allow_nan=False)


def _link_seeds() -> Iterator[bytes]:
    yield LINKS
    yield b"\n".join(line for line in LINKS.split(b"\n") if line[:3] not in (b"l g", b"l u", b"l l"))


TARGETS = [
    Target("tar", "the headers of a tar, in a .tar.gz", _run_tar, _tar_seeds, tar, size=256 << 10, minute=35_000),
    Target("archive", ".conda, .tar.bz2 and .tar.gz as files", _run_archive, _archive_seeds, _packed, minute=25_000),
    Target(
        "bz2",
        "blocks of a .bz2 in threads, beside the standard library",
        _run_bz2,
        _bz2_seeds,
        plain,
        size=256 << 10,
        minute=2_000,
    ),
    Target(
        "links", "symbolic and hard links among the members", _run_links, _link_seeds, either(lines, tokens, plain), minute=10_000
    ),
    Target(
        "wheel",
        "a wheel as a file: for repair, the index and check",
        _run_wheel,
        lambda: [wheel_bytes()],
        zipped(_in_wheel),
        minute=15_000,
    ),
]
