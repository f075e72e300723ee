"""`cache info` and `cache clear`: what the cache has, and its removal.

Only files that conda2wheel wrote are counted and removed, by the names that it gives them: the folder may be anything. What a
running process has locked stays: a package that it downloads, a Pyodide that it runs, the index of contents while it writes.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from conda2wheel.errors import Failed
from conda2wheel.net.cache import cache_folder, is_in_use, try_lock
from conda2wheel.results import SCHEMA_VERSION

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d+\.\d+\.\d+[\w.-]*")
_CHANNEL = re.compile(r"[0-9a-f]{16}|shards")
_HOUR = 3600.0  # a temporary folder of a running download is younger


class CacheEntry(NamedTuple):
    """A file or folder of the cache that is removed as a whole."""

    path: Path
    files: int
    size: int
    changed: float


@dataclass(frozen=True)
class CacheKind:
    """A kind of what is in the cache: its name, what it is, and how its entries are found and locked."""

    name: str
    what: str
    entries: Callable[[Path], Iterator[CacheEntry]]
    locked: Callable[[Path], bool]


@dataclass(frozen=True)
class CacheUse:
    """How much there is of a kind, or was removed."""

    kind: str
    what: str
    entries: int = 0
    files: int = 0
    size: int = 0
    locked: int = 0

    def json(self) -> dict[str, Any]:
        """`{"kind", "what", "entries", "files", "bytes", "locked"}`."""
        return {
            "kind": self.kind,
            "what": self.what,
            "entries": self.entries,
            "files": self.files,
            "bytes": self.size,
            "locked": self.locked,
        }


@dataclass(frozen=True)
class CacheReport:
    """What the cache has (`cache-info`), or what was removed of it (`cache-clear`), by kind."""

    kind: str
    folder: Path
    uses: tuple[CacheUse, ...]

    @property
    def size(self) -> int:
        """The bytes of all kinds."""
        return sum(each.size for each in self.uses)

    def json(self) -> dict[str, Any]:
        """`{"schema", "kind", "folder", "bytes", "kinds"}`."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "folder": str(self.folder),
            "bytes": self.size,
            "kinds": [each.json() for each in self.uses],
        }


def cache_info(cache: Path | None = None) -> CacheReport:
    """Return what the cache has, by kind."""
    folder = cache_folder(cache)
    return CacheReport("cache-info", folder, tuple(_use(kind, folder, kind.entries(folder)) for kind in KINDS))


def clear_cache(
    kinds: Iterable[str] = (), older: float | None = None, dry_run: bool = False, cache: Path | None = None
) -> CacheReport:
    """Remove what is in the cache and not locked.

    Args:
        kinds: names of kinds; none: all.
        older: only what was not changed for so many seconds.
        dry_run: remove nothing, and return what would be removed.
        cache: the folder, instead of the user's own.

    Raises:
        Failed: a kind is unknown (usage), or something cannot be removed (disk).
    """
    names = list(kinds)
    if unknown := [name for name in names if name not in [kind.name for kind in KINDS]]:
        raise Failed("usage", f"{unknown[0]!r} is no kind of the cache", f"kinds are {', '.join(kind.name for kind in KINDS)}")
    folder = cache_folder(cache)
    before = time.time() - older if older is not None else None
    uses = []
    for kind in KINDS:
        if names and kind.name not in names:
            continue
        removed, locked = [], 0
        for entry in list(kind.entries(folder)):
            if before is not None and entry.changed > before:
                continue
            if kind.locked(entry.path):
                locked += 1
                continue
            if not dry_run:
                _remove(entry.path)
            removed.append(entry)
        uses.append(CacheUse(kind.name, kind.what, *_sums(removed), locked))
    return CacheReport("cache-clear", folder, tuple(uses))


def _use(kind: CacheKind, folder: Path, entries: Iterable[CacheEntry]) -> CacheUse:
    found = list(entries)
    return CacheUse(kind.name, kind.what, *_sums(found), sum(kind.locked(entry.path) for entry in found))


def _sums(entries: list[CacheEntry]) -> tuple[int, int, int]:
    return len(entries), sum(entry.files for entry in entries), sum(entry.size for entry in entries)


def _remove(path: Path) -> None:
    try:
        if path.name == "contents.sqlite":
            _empty(path)
        elif path.is_dir() and not path.is_symlink():
            # Moved away in one step: a process that looks for it sees all of it or nothing.
            gone = path.with_name(f".{path.name}-gone-{os.getpid()}")
            path.rename(gone)
            shutil.rmtree(gone)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Failed("disk", f"cannot remove {path}: {error.strerror or error}", "check its permissions") from None


def _empty(path: Path) -> None:
    """Remove the rows of the database, under its own lock; a damaged one is removed."""
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            database.execute("DELETE FROM package")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError:  # locked since, or without a table
        return
    except sqlite3.DatabaseError:
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:  # there is none
        return []


def _file(entry: os.DirEntry[str]) -> Iterator[CacheEntry]:
    try:
        if entry.is_file(follow_symlinks=False):
            found = entry.stat(follow_symlinks=False)
            yield CacheEntry(Path(entry.path), 1, found.st_size, found.st_mtime)
    except OSError:  # removed meanwhile
        return


def _folder(entry: os.DirEntry[str]) -> Iterator[CacheEntry]:
    if not entry.is_dir(follow_symlinks=False):
        return
    files = size = 0
    changed = 0.0
    for below, _, names in os.walk(entry.path):
        for name in names:
            try:
                found = os.lstat(os.path.join(below, name))
            except OSError:
                continue
            files, size, changed = files + 1, size + found.st_size, max(changed, found.st_mtime)
    yield CacheEntry(Path(entry.path), files, size, changed)


def _packages(cache: Path) -> Iterator[CacheEntry]:
    for first in _scan(cache / "conda"):
        if re.fullmatch(r"[0-9a-f]{2}", first.name) and first.is_dir(follow_symlinks=False):
            for entry in _scan(Path(first.path)):
                if _SHA256.fullmatch(entry.name):
                    yield from _file(entry)


def _repodata(cache: Path) -> Iterator[CacheEntry]:
    for channel in _scan(cache / "repodata"):
        if _CHANNEL.fullmatch(channel.name) and channel.is_dir(follow_symlinks=False):
            for entry in _scan(Path(channel.path)):
                if not entry.name.startswith("."):
                    yield from _file(entry)


def _memos(cache: Path) -> Iterator[CacheEntry]:
    for entry in _scan(cache / "index"):
        if re.fullmatch(r"[0-9a-f]{32}\.json", entry.name):
            yield from _file(entry)


def _contents(cache: Path) -> Iterator[CacheEntry]:
    for entry in _scan(cache):
        if entry.name == "contents.sqlite":
            yield from _file(entry)


def _versions(name: str) -> Callable[[Path], Iterator[CacheEntry]]:
    def entries(cache: Path) -> Iterator[CacheEntry]:
        for entry in _scan(cache / name):
            if _VERSION.fullmatch(entry.name):
                yield from _folder(entry)

    return entries


def _partial(cache: Path) -> Iterator[CacheEntry]:
    """What killed processes left: parts of downloads, and folders that were to become a Pyodide."""
    places = (
        (cache / "conda" / ".parts", r"part-.*"),
        (cache / "pyodide", r"\.\d.*-.*"),
        (cache / "packages", r"\.\d.*-gone-.*"),
    )
    for folder, pattern in places:
        for entry in _scan(folder):
            if re.fullmatch(pattern, entry.name):
                yield from (each for each in _folder(entry) if each.changed < time.time() - _HOUR)


def _download_locked(path: Path) -> bool:
    """Whether a process downloads the package."""
    with try_lock(path.parents[1] / ".parts" / f"{path.name}.lock") as free:
        return not free


def _writing(path: Path) -> bool:
    """Whether a process writes to the database."""
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    except sqlite3.DatabaseError:  # it is damaged
        return False
    return False


def _version_in_use(path: Path) -> bool:
    """Whether a process runs that Pyodide."""
    return is_in_use(path.parents[1] / "pyodide" / path.name)


def _never(_: Path) -> bool:
    return False  # files that are replaced as a whole, and read at once


KINDS = (
    CacheKind("conda", "packages of channels", _packages, _download_locked),
    CacheKind("repodata", "lists of channels", _repodata, _never),
    CacheKind("contents", "what is in packages of channels", _contents, _writing),
    CacheKind("index", "what `index` read of wheels", _memos, _never),
    CacheKind("pyodide", "versions of Pyodide", _versions("pyodide"), _version_in_use),
    CacheKind("packages", "packages of Pyodide", _versions("packages"), _version_in_use),
    CacheKind("partial", "what killed processes left", _partial, _never),
)
