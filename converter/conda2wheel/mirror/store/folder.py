"""A folder as a store: its files can be served by any web server.

Every file is written under a temporary name in its folder, synced and renamed; then the folder is synced, and so are new folders.
Conditional writes hold the lock of one file of the folder, which the system releases when a process dies.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.files.file_names import extended
from conda2wheel.files.locks import file_lock
from conda2wheel.files.writing import replace_file, sync_folder, write_file
from conda2wheel.mirror.store.base import ObjectInfo, Store, StoredObject, store_error

LOCK_FILE = ".conda2wheel.lock"
CHUNK = 1 << 20
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}  # symlink(2) on file systems without links, such as FAT
NO_PRIVILEGE = 1314  # ERROR_PRIVILEGE_NOT_HELD: a user of Windows makes links only in its developer mode
HINTS = {
    errno.ENOSPC: "free some space; the published index is unchanged",
    errno.EDQUOT: "free some space; the published index is unchanged",
    errno.EACCES: "make the folder writable for the user who runs this",
    errno.EPERM: "make the folder writable for the user who runs this",
    errno.EROFS: "make the folder writable for the user who runs this",
    errno.ENOLCK: "its file system has no file locks: use another one, or a bucket",
    errno.EOPNOTSUPP: "its file system has no file locks: use another one, or a bucket",
}


class FolderStore(Store):
    """A store in a folder, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.root = Path(extended(root.absolute()))
        self.url = str(root.absolute())

    def __reduce__(self) -> tuple[type[FolderStore], tuple[Path]]:
        return (type(self), (Path(self.url),))

    def fetch(self, path: str) -> StoredObject | None:
        with _errors(f"read {self.root / path}"):
            try:
                data = (self.root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return StoredObject(data, hashlib.sha256(data).hexdigest())

    def head(self, path: str) -> ObjectInfo | None:
        with _errors(f"read {self.root / path}"):
            try:
                status = (self.root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectInfo(path, status.st_size, status.st_mtime)

    def put(self, path: str, source: bytes | Path) -> None:
        target = self.root / path
        with _errors(f"write {target}"):
            for last in (False, True):
                try:
                    _make_folder(target.parent)
                    write_file(target, _chunks(source))
                except Failed as error:
                    if last or not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    continue  # `delete` removed the folder while it was empty
                return

    def put_new(self, path: str, data: bytes) -> bool:
        return self._decide(path, data, None)

    def put_if(self, path: str, data: bytes, version: str) -> bool:
        return self._decide(path, data, version)

    def _decide(self, path: str, data: bytes, version: str | None) -> bool:
        with self._locked():
            existing = self.fetch(path)
            if existing is not None and existing.data == data:
                return True
            if (None if existing is None else existing.version) != version:
                return False
            self.put(path, data)
            return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            with _errors(f"lock {self.root / LOCK_FILE}"):
                _make_folder(self.root)
                held.enter_context(file_lock(self.root / LOCK_FILE))
            yield

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for folder, _, names in os.walk(self.root / prefix, onerror=_unless_missing):
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or path.is_symlink():
                    continue
                info = self.head(path.relative_to(self.root).as_posix())
                if info is not None:  # it may have been deleted meanwhile
                    yield info

    def sizes(self, paths: Collection[str]) -> dict[str, int]:
        found = {}
        root = str(self.root)
        for path in paths:
            name = f"{root}{os.sep}{path.replace('/', os.sep)}"
            with _errors(f"read {name}"), suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(name)
                if stat.S_ISREG(status.st_mode):
                    found[path] = status.st_size
        return found

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        with _errors(f"list {self.root / prefix}"):
            try:
                found = os.scandir(self.root / prefix)
            except FileNotFoundError:
                return ()
            return tuple(sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False)))

    def delete(self, paths: Iterable[str]) -> None:
        folders: dict[int, set[Path]] = {}  # by depth
        for path in paths:
            file = self.root / path
            with _errors(f"delete {file}"):
                file.unlink(missing_ok=True)
            folders.setdefault(len(file.parts) - 1, set()).add(file.parent)
        for depth in range(max(folders, default=0), len(self.root.parts), -1):
            emptied = {folder.parent for folder in folders.get(depth, ()) if _remove_if_empty(folder)}
            folders.setdefault(depth - 1, set()).update(emptied)

    def clock(self) -> float:
        with _errors(f"write to {self.root}"):
            _make_folder(self.root)
            with tempfile.TemporaryFile(dir=self.root) as file:  # a network file system has a clock of its own
                file.write(b"0")
                file.flush()
                return os.fstat(file.fileno()).st_mtime

    def set_link(self, name: str, target: str | None) -> bool:
        path = self.root / name
        temporary = path.with_name(f".{path.name}-{os.getpid()}.part")
        with _errors(f"link {path}"):
            if target is None:
                path.unlink(missing_ok=True)
                return True
            _make_folder(path.parent)
            temporary.unlink(missing_ok=True)
            try:
                temporary.symlink_to(target)
            except OSError as error:
                if error.errno in NO_LINKS or getattr(error, "winerror", None) == NO_PRIVILEGE:
                    return False
                raise
            replace_file(temporary, path)
            sync_folder(path.parent)
        return True

    def links(self) -> dict[str, str]:
        with _errors(f"list {self.root}"):
            try:
                return {entry.name: str(Path(entry.path).readlink()) for entry in os.scandir(self.root) if entry.is_symlink()}
            except FileNotFoundError:
                return {}

    def delete_partial_files(self, before: float) -> int:
        count = 0
        for folder, _, names in os.walk(self.root, onerror=_unless_missing):
            for name in names:
                path = Path(folder, name)
                with _errors(f"delete {path}"):
                    if _is_partial(name) and path.lstat().st_mtime < before:
                        path.unlink(missing_ok=True)
                        count += 1
        return count


def _is_partial(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _is_removable(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() or _is_partial(entry.name)


def _remove_if_empty(folder: Path) -> bool:
    """Remove a folder if it has nothing but temporary files of killed writers and links; returns whether it is removed."""
    with _errors(f"delete {folder}"):
        try:
            entries = list(os.scandir(folder))
            if not all(map(_is_removable, entries)):
                return False
            for entry in entries:
                Path(entry.path).unlink(missing_ok=True)
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:  # another process writes to it again
                return False
            raise
    return True


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, syncing each before anything is put into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


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
        raise store_error(f"list {error.filename}", error.strerror or str(error)) from None


@contextmanager
def _errors(action: str) -> Iterator[None]:
    """Convert the system's errors to the one error of all stores."""
    try:
        yield
    except OSError as error:
        raise _store_error(action, error) from None
    except Failed as error:  # raised by write_file
        cause = error.__cause__
        raise _store_error(action, cause) if isinstance(cause, OSError) else error from None


def _store_error(action: str, error: OSError) -> Failed:
    return store_error(action, error.strerror or str(error), HINTS.get(error.errno or 0, ""))
