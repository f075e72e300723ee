"""Packages after their installation: empack's archives, prefixes; and archives that no honest tool would write."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import zstandard

from tests.helpers import conda
from tests.helpers.cache import cached, only
from tests.helpers.conda import Files, Link

Members = Sequence[tuple[tarfile.TarInfo, bytes]]


def empack_targz(
    name: str, version: str, build: str, files: Files, *, record: Mapping[str, Any] | None = None, leave_out: Sequence[str] = ()
) -> Path:
    """A package as empack repacks it from an environment: no info/, aliases as full copies, a conda-meta record.

    The record has name, version, build and build_number, and the fields of `record`.
    """
    inputs = (name, version, build, conda._content(files), record, tuple(leave_out), Path(__file__))

    def make(folder: Path) -> None:
        read = {path: conda._read(value) for path, value in files.items() if path not in leave_out}
        plain: dict[str, bytes | Link] = {path: _resolve(path, read) for path in read}
        number = int(build.rpartition("_")[2]) if build.rpartition("_")[2].isdigit() else 0
        fields = {"name": name, "version": version, "build": build, "build_number": number, **(record or {})}
        plain[f"conda-meta/{name}-{version}-{build}.json"] = json.dumps(fields).encode()
        (folder / f"{name}-{version}-{build}.tar.gz").write_bytes(gzip.compress(conda.tar(plain), mtime=0))

    return only(cached("empack", inputs, make))


def empack_env(folder: Path, packages: Sequence[Path], *, listed: Sequence[tuple[str, str, str]] = (), prefix: str = "/") -> Path:
    """Fill a folder as empack leaves an environment, and return it: .tar.gz packages and empack_env_meta.json.

    The latter also lists those of `listed` (name, version, build), which were not copied along.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(split(package) for package in packages), *listed]
    for package in packages:
        shutil.copy(package, folder / package.name)
    rows = [
        {"name": n, "version": v, "build": b, "filename_stem": f"{n}-{v}-{b}", "filename": f"{n}-{v}-{b}.tar.gz"}
        for n, v, b in names
    ]
    (folder / "empack_env_meta.json").write_text(json.dumps({"prefix": prefix, "packages": rows}, indent=4))
    return folder


def prefix(folder: Path, packages: Sequence[Path], *, location: str = "/opt/env", python: str = "3.13") -> Path:
    """Install packages into a folder as conda does, and return it.

    Files are in place, placeholders replaced by `location`, site-packages of noarch packages moved; conda-meta has one record
    a package, with `files` and `paths_data`.
    """
    (folder / "conda-meta").mkdir(parents=True, exist_ok=True)
    for package in packages:
        found = conda.members(package)
        index, paths = _json(found["info/index.json"]), _json(found["info/paths.json"])
        rows: list[dict[str, Any]] = []
        places: dict[str, bytes | Link] = {}
        for row in paths["paths"]:
            content = found[row["_path"]]
            if isinstance(content, bytes) and "prefix_placeholder" in row:
                content = _replace(content, row["prefix_placeholder"].encode(), location.encode(), row["file_mode"])
            place = row["_path"]
            if index.get("noarch") == "python" and place.startswith("site-packages/"):
                place = f"lib/python{python}/{place}"
            places[place] = content
            rows.append(
                {
                    **row,
                    "_path": place,
                    "sha256_in_prefix": hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else None,
                }
            )
        conda.lay(folder, places)
        record = {
            **index,
            "channel": f"https://example.org/channel/{index['subdir']}",
            "url": f"https://example.org/channel/{index['subdir']}/{package.name}",
            "fn": package.name,
            "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
            "files": [row["_path"] for row in rows],
            "paths_data": {"paths_version": 1, "paths": rows},
            "link": {"source": f"/pkgs/{conda.stem(package)}", "type": 1},
            "requested_spec": index["name"],
        }
        (folder / "conda-meta" / f"{conda.stem(package)}.json").write_text(json.dumps(record, indent=2))
    (folder / "conda-meta" / "history").write_text("==> 2025-06-01 00:00:00 <==\n")
    return folder


def split(package: Path) -> tuple[str, str, str]:
    """Name, version and build of a package's file name."""
    name, version, build = conda.stem(package).rsplit("-", 2)
    return name, version, build


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", size: int | None = None
) -> tuple[tarfile.TarInfo, bytes]:
    """One raw tar member, with any name, type, link and claimed size."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(content) if size is None else size
    return member, content


def honest(name: str = "evil", version: str = "1.0", string: str = "py313h1234567_0") -> list[tuple[tarfile.TarInfo, bytes]]:
    """The info/ members that a package needs to be looked at, to put before hostile ones."""
    index = {
        "name": name,
        "version": version,
        "build": string,
        "build_number": 0,
        "depends": [],
        "subdir": conda.SUBDIR,
        "timestamp": 1748736000000,
    }
    return [entry("info/index.json", json.dumps(index).encode()), entry("info/about.json", b"{}")]


def raw_tar(path: Path, members: Members) -> Path:
    """Write a tar exactly as told, compressed as the name says (.tar.bz2, .tar.gz, .tar)."""
    mode = {".bz2": "w:bz2", ".gz": "w:gz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        _add(archive, members)
    return path


def raw_conda(path: Path, info: Members, package: Members, *, more: Mapping[str, bytes] | None = None) -> Path:
    """Write a .conda whose two tars are exactly as told, and further zip members as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        for part, members in (("pkg", package), ("info", info)):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as inner:
                _add(inner, members)
            archive.writestr(f"{part}-{conda.stem(path)}.tar.zst", zstandard.ZstdCompressor().compress(stream.getvalue()))
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path


def raw_zip(path: Path, members: Sequence[tuple[str | zipfile.ZipInfo, bytes]], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip exactly as told: any names, twice the same, any attributes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def _add(archive: tarfile.TarFile, members: Members) -> None:
    for member, content in members:
        # What a lying size leaves short is padded with nothing: the archive is then truncated, which is what the test wants.
        archive.addfile(member, io.BytesIO(content) if member.isreg() and member.size == len(content) else None)


def _resolve(path: str, files: Mapping[str, bytes | Link]) -> bytes:
    value = files[path]
    for _ in range(40):
        if isinstance(value, bytes):
            return value
        path = str(PurePosixPath(*_normal((PurePosixPath(path).parent / value.target).parts)))
        value = files[path]
    raise ValueError(f"a loop of symlinks at {path}")


def _normal(parts: Sequence[str]) -> list[str]:
    done: list[str] = []
    for part in parts:
        if part == "..":
            done.pop()
        else:
            done.append(part)
    return done


def _replace(content: bytes, placeholder: bytes, location: bytes, mode: str) -> bytes:
    if mode == "text":
        return content.replace(placeholder, location)
    parts = content.split(b"\0")
    return b"\0".join(part.replace(placeholder, location).ljust(len(part), b"\0") for part in parts)


def _json(content: bytes | Link) -> dict[str, Any]:
    assert isinstance(content, bytes)
    loaded: dict[str, Any] = json.loads(content)
    return loaded
