"""A folder as a store for hosts of static files: real files alone, no links, and no generations.

FOLDER/          what readers ask for: blobs/, simple/, lock files, pages, report/
FOLDER.mirror/   what the mirror needs for itself: generations, the pointer, its lock
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conda2wheel.mirror.store.base import ObjectInfo, StoredObject
from conda2wheel.mirror.store.folder import FolderStore

POINTER = "current.json"
PRIVATE = ("generations", "served.json", "lock.json", "clock", "pypi.json", POINTER)
NO_JEKYLL = ".nojekyll"  # GitHub Pages then publishes the files as they are


def private_folder(root: Path) -> Path:
    """The folder beside a flat store that has what is not for readers."""
    whole = root.absolute()
    return whole.parent / f"{whole.name}.mirror"


def is_flat(root: Path) -> bool:
    """Whether a folder is a flat store that was published to."""
    return not (root / POINTER).exists() and (private_folder(root) / POINTER).exists()


class FlatStore(FolderStore):
    """A store in two folders, one for readers and one for the mirror."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._private = FolderStore(private_folder(self.root))

    def adopt(self) -> None:
        """Take over a folder that was published to before it became flat: what is not for readers moves beside it."""
        if not (self.root / POINTER).exists():
            return
        self._private.root.mkdir(exist_ok=True)
        for name in PRIVATE:  # the pointer last, so that this can be interrupted
            if (self.root / name).exists() and not (self._private.root / name).exists():
                (self.root / name).rename(self._private.root / name)
        self._no_jekyll()  # the pages may be copies already, which publishing leaves alone

    def _store_of(self, path: str) -> FolderStore | None:
        """The store of a path that is not for readers; None for the others."""
        return self._private if path.partition("/")[0] in PRIVATE else None

    def fetch(self, path: str) -> StoredObject | None:
        private = self._store_of(path)
        return super().fetch(path) if private is None else private.fetch(path)

    def head(self, path: str) -> ObjectInfo | None:
        private = self._store_of(path)
        return super().head(path) if private is None else private.head(path)

    def sizes(self, paths: Collection[str]) -> dict[str, int]:
        private = [path for path in paths if self._store_of(path) is not None]
        return self._private.sizes(private) | super().sizes(set(paths).difference(private))

    def put(self, path: str, source: bytes | Path) -> None:
        private = self._store_of(path)
        if private is not None:
            private.put(path, source)
            return
        super().put(path, source)
        if path == "simple/index.html":
            self._no_jekyll()

    def _no_jekyll(self) -> None:
        if not (self.root / NO_JEKYLL).exists():
            super().put(NO_JEKYLL, b"")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        private = self._store_of(prefix)
        if private is not None:
            yield from private.list(prefix)
            return
        yield from super().list(prefix)
        if not prefix:
            yield from self._private.list()

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        private = self._store_of(prefix)
        if private is not None:
            return private.folders(prefix)
        return super().folders(prefix) if prefix else tuple(sorted({*super().folders(), *self._private.folders()}))

    def delete(self, paths: Iterable[str]) -> None:
        every = list(paths)
        self._private.delete(path for path in every if self._store_of(path) is not None)
        super().delete(path for path in every if self._store_of(path) is None)

    def clock(self) -> float:
        return self._private.clock()

    def set_link(self, name: str, target: str | None) -> bool:
        """Remove a link; make none."""
        return super().set_link(name, None) if target is None else False

    def delete_partial_files(self, before: float) -> int:
        return super().delete_partial_files(before) + self._private.delete_partial_files(before)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._private._locked():
            yield
