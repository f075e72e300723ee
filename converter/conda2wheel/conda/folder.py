"""Open packages that lie unpacked: a package's folder, an empack folder, or an installed prefix with conda-meta.

Links are read and never followed by the operating system; what leads out of the folder is refused, as in an archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from conda2wheel.outcome import Failed, Refused

from .files import Entry, FileBlob, Limits, PackageFile, clean_path, is_executable, resolve_links, unsafe


def open_folder(root: Path, source: str, limits: Limits) -> tuple[PackageFile, ...]:
    """Every file below `root`, sorted by path. Raises `Refused` (unsafe-archive, too-large) or `Failed` (unreadable)."""
    entries: dict[str, Entry] = {}
    total = 0
    for path in _walk(root):
        name = clean_path(source, path.relative_to(root).as_posix())
        if name is None:
            continue
        entry = _entry(path, name, source)
        total += entry.blob.size if entry.blob else 0
        entries[name] = entry
        if len(entries) > limits.members or total > limits.size:
            raise Refused("too-large", f"{source}: more than {limits.members} files or {limits.size} bytes", "raise the bound")
    return resolve_links(source, entries, limits)


def open_listed(root: Path, names: list[str], source: str) -> tuple[PackageFile, ...]:
    """The files of an installed package by the list of its conda-meta record; what is gone from the prefix is missing.

    A link is resolved against the whole prefix, but only to a file that lies in it.
    """
    files: list[PackageFile] = []
    real_root = root.resolve()
    for listed in names:
        name = clean_path(source, listed)
        if name is None:
            continue
        path = root / name
        if path.is_symlink():
            real = path.resolve()
            if not real.is_relative_to(real_root):
                raise unsafe(source, name, f"links out of the prefix, to {os.readlink(path)!r}")
            path = real
        elif not path.parent.resolve().is_relative_to(real_root):
            raise unsafe(source, name, "lies below a link out of the prefix")
        if path.is_file():
            blob = FileBlob(path.resolve(), path.stat().st_size)
            files.append(PackageFile(name, blob, is_executable(path.stat().st_mode)))
    return tuple(sorted(files, key=lambda file: file.path))


def _walk(root: Path) -> Iterator[Path]:
    try:
        for entry in sorted(os.scandir(root), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield Path(entry.path)
    except PermissionError as error:
        raise Failed("unreadable", f"{error.filename}: permission denied", "make it readable for this user") from None


def _entry(path: Path, name: str, source: str) -> Entry:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, target=os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        return Entry(name, blob=FileBlob(path, status.st_size), executable=is_executable(status.st_mode))
    raise unsafe(source, name, "is no file, folder or link")
