"""Read unpacked packages: a package's folder, an empack folder, or an installed prefix with conda-meta.

Links are resolved here, never by the operating system; a link out of the folder is left out, as in an archive.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from conda2wheel.errors import Refused
from conda2wheel.files.links import ABSENT, CIRCLE, OUT, LostLink, NameBounds, PackageFiles, resolve_links
from conda2wheel.files.packagefile import (
    ArchiveMember,
    EntryCount,
    FileBlob,
    Limits,
    PackageFile,
    clean_path,
    is_executable,
    too_large,
    unsafe,
)
from conda2wheel.files.reading import native_name, package_name, unreadable


def open_folder(root: Path, source: str, limits: Limits) -> PackageFiles:
    """Return every file below `root`, sorted by path. Raises `Refused` (unsafe-archive, too-large) or `Failed` (unreadable)."""
    entries: dict[str, ArchiveMember] = {}
    names = NameBounds(source, limits)
    total = 0
    for path in _walk(root):
        name = clean_path(source, package_name(path.relative_to(root).as_posix()))
        if name is None:
            continue
        entry = _entry(path, name, source)
        entries[name] = entry
        total += entry.blob.size if entry.blob else 0
        _bound(source, entry, len(entries), total, limits)
        names.add(name, entry.target or "")
    return resolve_links(source, entries, limits)


def open_listed(root: Path, names: list[str], source: str, limits: Limits) -> PackageFiles:
    """Return the files of an installed package.

    Args:
        root: The prefix.
        names: The paths that the package's conda-meta record lists.
        source: What messages call the package.
        limits: Bounds on the package.

    Returns:
        The files. A link to a listed file is an alias of it; a link to another package's file in the prefix is a file of its own.

    Raises:
        Refused: corrupt-archive if listed files are missing (bytecode may be), unsafe-archive or too-large.
        Failed: unreadable.
    """
    real_root = root.resolve()
    entries: dict[str, ArchiveMember] = {}
    links: dict[str, str] = {}
    total = 0
    absent: list[str] = []
    lost: list[LostLink] = []
    bounds = NameBounds(source, limits)
    for listed in names:
        name = clean_path(source, listed)
        if name is None:
            continue
        here = root / native_name(name)
        if not os.path.lexists(here):
            if not name.endswith(".pyc"):
                absent.append(name)
            continue
        path = _inside(here, real_root, name, source)
        if isinstance(path, LostLink):
            lost.append(path)
            continue
        if here.is_symlink():
            links[name] = package_name(path.relative_to(real_root).as_posix())
        if path.is_dir():
            continue
        entry = _entry(path, name, source)
        entries[name] = entry
        total += entry.blob.size if entry.blob else 0
        _bound(source, entry, len(entries), total, limits)
        bounds.add(name)
    if absent:
        named = ", ".join(sorted(absent)[:3]) + (" ..." if len(absent) > 3 else "")
        why = f"{source}: {len(absent)} of the files that its record lists are missing in the prefix: {named}"
        raise Refused("corrupt-archive", why, "install it again, or convert its archive")
    aliases: dict[str, list[str]] = {name: [] for name in entries}
    own = sorted(name for name in entries if name not in links)
    for name, real in sorted(links.items()):
        below = own[bisect_left(own, real + "/") : bisect_left(own, real + "0")]  # "0" follows "/"
        found = {other: name + other[len(real) :] for other in ([real] if real in aliases and real not in links else below)}
        for other, alias in found.items():
            bounds.add(alias)
            aliases[other].append(alias)
        if found:
            entries.pop(name, None)
    modules_list = EntryCount(source, limits.entries)
    files = tuple(
        PackageFile(name, entry.blob, entry.executable, tuple(aliases[name]), modules_list)
        for name, entry in sorted(entries.items())
        if entry.blob is not None
    )
    return PackageFiles(files, tuple(sorted(lost, key=lambda link: link.path)))


def _inside(path: Path, real_root: Path, name: str, source: str) -> Path | LostLink:
    """Resolve the links in a path of a prefix: where it is, or why a link leads to nothing there.

    Raises:
        Refused: unsafe-archive, if a folder on the way is a link out of the prefix.
    """
    why = ABSENT
    try:
        real = Path(os.path.realpath(path, strict=True))  # Path.resolve raises a different error for a loop in each Python
        why = ""
    except FileNotFoundError:
        real = Path(os.path.realpath(path))  # a broken link: where its target would be
    except OSError:
        real, why = real_root, CIRCLE
    if not real.is_relative_to(real_root):
        if not path.is_symlink():
            raise unsafe(source, name, "lies below a link out of the prefix")
        why = OUT
    return LostLink(name, package_name(os.readlink(path)) if path.is_symlink() else "", why) if why else real


def _bound(source: str, entry: ArchiveMember, count: int, total: int, limits: Limits) -> None:
    if count > limits.members:
        raise too_large(source, f"more than {limits.members} files", "members")
    if total > limits.size:
        raise too_large(source, f"more than {limits.size} bytes", "size")
    if entry.blob is not None and entry.blob.size > limits.member_size:
        raise too_large(source, f"{entry.path} has {entry.blob.size} bytes, more than {limits.member_size}", "member_size")


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
            return ArchiveMember(name, target=package_name(os.readlink(path)))
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISREG(status.st_mode):
        return ArchiveMember(name, blob=FileBlob(path, status.st_size), executable=is_executable(status.st_mode))
    raise unsafe(source, name, "is not a file, folder or link")
