"""A folder as a store: files that any web server gives out.

Every file is written beside its place, synced and renamed, and its folder synced; so are new folders. Conditional writes hold a
lock (flock) on one file of the folder, which the system lets go when a process dies.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.store.base import ObjectInfo, Store, StoredObject, failed

GUARD = ".conda2wheel.lock"
CHUNK = 1 << 20
HINTS = {
    errno.ENOSPC: "make room; what was published before is untouched",
    errno.EDQUOT: "make room; what was published before is untouched",
    errno.EACCES: "the folder must be writable for who runs this",
    errno.EPERM: "the folder must be writable for who runs this",
    errno.EROFS: "the folder must be writable for who runs this",
    errno.ENOLCK: "its file system has no locks: take another, or a bucket",
    errno.EOPNOTSUPP: "its file system has no locks: take another, or a bucket",
}


class FolderStore(Store):
    """A store in a folder, which is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(self.root)

    def __reduce__(self) -> tuple[type[FolderStore], tuple[Path]]:
        return (type(self), (self.root,))

    def fetch(self, path: str) -> StoredObject | None:
        with _told(f"read {self.root / path}"):
            try:
                data = (self.root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return StoredObject(data, hashlib.sha256(data).hexdigest())

    def head(self, path: str) -> ObjectInfo | None:
        with _told(f"read {self.root / path}"):
            try:
                known = (self.root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectInfo(path, known.st_size, known.st_mtime)

    def put(self, path: str, source: bytes | Path) -> None:
        target = self.root / path
        with _told(f"write {target}"):
            for last in (False, True):
                try:
                    _make_folder(target.parent)
                    write_file(target, _chunks(source))
                except Failed as error:
                    if last or not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    continue  # `delete` took the folder, which was empty
                return

    def put_new(self, path: str, data: bytes) -> bool:
        return self._decide(path, data, None)

    def put_if(self, path: str, data: bytes, version: str) -> bool:
        return self._decide(path, data, version)

    def _decide(self, path: str, data: bytes, version: str | None) -> bool:
        with self._guarded():
            there = self.fetch(path)
            if there is not None and there.data == data:
                return True
            if (None if there is None else there.version) != version:
                return False
            self.put(path, data)
            return True

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with _told(f"lock {self.root / GUARD}"):
            _make_folder(self.root)
            guard = os.open(self.root / GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with _told(f"lock {self.root / GUARD}"):
                fcntl.flock(guard, fcntl.LOCK_EX)
            yield
        finally:
            os.close(guard)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for folder, _, names in os.walk(self.root / prefix, onerror=_unless_missing):
            for name in names:
                place = Path(folder, name)
                if name.startswith(".") or place.is_symlink():
                    continue
                meta = self.head(place.relative_to(self.root).as_posix())
                if meta is not None:  # gone in between
                    yield meta

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        with _told(f"list {self.root / prefix}"):
            try:
                found = os.scandir(self.root / prefix)
            except FileNotFoundError:
                return ()
            return tuple(sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False)))

    def delete(self, paths: Iterable[str]) -> None:
        folders: dict[int, set[Path]] = {}  # by depth
        for path in paths:
            place = self.root / path
            with _told(f"delete {place}"):
                place.unlink(missing_ok=True)
            folders.setdefault(len(place.parts) - 1, set()).add(place.parent)
        for depth in range(max(folders, default=0), len(self.root.parts), -1):
            emptied = {folder.parent for folder in folders.get(depth, ()) if _removed(folder)}
            folders.setdefault(depth - 1, set()).update(emptied)

    def clock(self) -> float:
        with _told(f"write to {self.root}"):
            _make_folder(self.root)
            with tempfile.TemporaryFile(dir=self.root) as file:  # a network's file system has its own
                file.write(b"0")
                file.flush()
                return os.fstat(file.fileno()).st_mtime

    def point(self, name: str, target: str | None) -> bool:
        place = self.root / name
        new = place.with_name(f".{place.name}-{os.getpid()}.part")
        with _told(f"link {place}"):
            if target is None:
                place.unlink(missing_ok=True)
                return True
            _make_folder(place.parent)
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(place)
            _sync(place.parent)
        return True

    def pointed(self) -> dict[str, str]:
        with _told(f"list {self.root}"):
            try:
                return {entry.name: str(Path(entry.path).readlink()) for entry in os.scandir(self.root) if entry.is_symlink()}
            except FileNotFoundError:
                return {}

    def tidy(self, before: float) -> int:
        count = 0
        for folder, _, names in os.walk(self.root, onerror=_unless_missing):
            for name in names:
                place = Path(folder, name)
                with _told(f"delete {place}"):
                    if _part(name) and place.lstat().st_mtime < before:
                        place.unlink(missing_ok=True)
                        count += 1
        return count


def _part(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _leftover(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() or _part(entry.name)


def _removed(folder: Path) -> bool:
    """Remove a folder, if it is empty but for what killed writers and `point` left."""
    with _told(f"delete {folder}"):
        try:
            left = list(os.scandir(folder))
            if not all(map(_leftover, left)):
                return False
            for entry in left:
                Path(entry.path).unlink(missing_ok=True)
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:  # somebody writes there again
                return False
            raise
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each known to the disk before anything is put into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _chunks(source: bytes | Path) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        if isinstance(source, bytes):
            yield source
            return
        with source.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    return read


def _unless_missing(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise failed(f"list {error.filename}", error.strerror or str(error)) from None


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Turn what the system says into the one error of all stores."""
    try:
        yield
    except OSError as error:
        raise _failed(doing, error) from None
    except Failed as error:  # write_file's own
        cause = error.__cause__
        raise _failed(doing, cause) if isinstance(cause, OSError) else error from None


def _failed(doing: str, error: OSError) -> Failed:
    return failed(doing, error.strerror or str(error), HINTS.get(error.errno or 0, ""))
