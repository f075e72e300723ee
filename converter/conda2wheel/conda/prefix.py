"""Read unpacked packages: a package's folder, an empack folder, or an installed prefix with conda-meta.

Links are resolved here, never by the operating system; a link out of the folder is refused, as in an archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import (
    ArchiveMember,
    EntryCount,
    FileBlob,
    Limits,
    PackageFile,
    clean_path,
    is_executable,
    resolve_links,
    unsafe,
)
from conda2wheel.files.reading import unreadable


def open_folder(root: Path, source: str, limits: Limits) -> tuple[PackageFile, ...]:
    """Return every file below `root`, sorted by path. Raises `Refused` (unsafe-archive, too-large) or `Failed` (unreadable)."""
    entries: dict[str, ArchiveMember] = {}
    total = 0
    for path in _walk(root):
        name = clean_path(source, path.relative_to(root).as_posix())
        if name is None:
            continue
        entry = _entry(path, name, source)
        entries[name] = entry
        total += entry.blob.size if entry.blob else 0
        _bound(source, entry, len(entries), total, limits)
    return resolve_links(source, entries, limits)


def open_listed(root: Path, names: list[str], source: str, limits: Limits) -> tuple[PackageFile, ...]:
    """Return the files of an installed package.

    Args:
        root: The prefix.
        names: The paths that the package's conda-meta record lists.
        source: What messages call the package.
        limits: Bounds on the package.

    Returns:
        The files, sorted by path. A link to a listed file is an alias of it; a link to another package's file in the prefix is a
        file of its own.

    Raises:
        Refused: corrupt-archive if listed files are missing (bytecode may be), unsafe-archive or too-large.
        Failed: unreadable.
    """
    real_root = root.resolve()
    entries: dict[str, ArchiveMember] = {}
    links: dict[str, str] = {}
    total = 0
    absent: list[str] = []
    for listed in names:
        name = clean_path(source, listed)
        if name is None:
            continue
        if not os.path.lexists(root / name):
            if not name.endswith(".pyc"):
                absent.append(name)
            continue
        path = _inside(root / name, real_root, name, source)
        if (root / name).is_symlink():
            links[name] = path.relative_to(real_root).as_posix()
        if path.is_dir() or not os.path.lexists(path):
            continue
        entry = _entry(path, name, source)
        entries[name] = entry
        total += entry.blob.size if entry.blob else 0
        _bound(source, entry, len(entries), total, limits)
    if absent:
        named = ", ".join(sorted(absent)[:3]) + (" ..." if len(absent) > 3 else "")
        why = f"{source}: {len(absent)} of the files that its record lists are missing in the prefix: {named}"
        raise Refused("corrupt-archive", why, "install it again, or convert its archive")
    aliases: dict[str, list[str]] = {name: [] for name in entries}
    own = sorted(name for name in entries if name not in links)
    for name, real in sorted(links.items()):
        found = {other: name + other[len(real) :] for other in own if other == real or other.startswith(real + "/")}
        for other, alias in found.items():
            aliases[other].append(alias)
        if found:
            entries.pop(name, None)
    modules_list = EntryCount(source, limits.entries)
    return tuple(
        PackageFile(name, entry.blob, entry.executable, tuple(aliases[name]), modules_list)
        for name, entry in sorted(entries.items())
        if entry.blob is not None
    )


def _inside(path: Path, real_root: Path, name: str, source: str) -> Path:
    """Resolve the links in a path of a prefix; refused if it leads out of the prefix."""
    try:
        real = Path(os.path.realpath(path, strict=True))  # Path.resolve raises a different error for a loop in each Python
    except FileNotFoundError:
        real = Path(os.path.realpath(path))  # a broken link: where its target would be
    except OSError:
        raise unsafe(source, name, "links in a circle") from None
    if not real.is_relative_to(real_root):
        if path.is_symlink():
            raise unsafe(source, name, f"links out of the prefix, to {os.readlink(path)!r}")
        raise unsafe(source, name, "lies below a link out of the prefix")
    return real


def _bound(source: str, entry: ArchiveMember, count: int, total: int, limits: Limits) -> None:
    if count > limits.members:
        raise Refused("too-large", f"{source}: more than {limits.members} files", "raise --max-members if you trust it")
    if total > limits.size:
        raise Refused("too-large", f"{source}: more than {limits.size} bytes", "raise --max-size if you trust it")
    if entry.blob is not None and entry.blob.size > limits.member_size:
        why = f"{source}: {entry.path} has {entry.blob.size} bytes, more than {limits.member_size}"
        raise Refused("too-large", why, "raise --max-member-size if you trust it")


def _walk(root: Path) -> Iterator[Path]:
    """Yield every path below `root` except folders, in the order of names."""
    todo = [str(root)]
    while todo:
        here = todo.pop()
        try:
            found = sorted(os.scandir(here), key=lambda e: e.name)
            folders = [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
            yield from (Path(entry.path) for entry in found if not entry.is_dir(follow_symlinks=False))
        except OSError as error:
            raise unreadable(here, error) from None
        todo += reversed(folders)


def _entry(path: Path, name: str, source: str) -> ArchiveMember:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return ArchiveMember(name, target=os.readlink(path))
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISREG(status.st_mode):
        return ArchiveMember(name, blob=FileBlob(path, status.st_size), executable=is_executable(status.st_mode))
    raise unsafe(source, name, "is not a file, folder or link")
