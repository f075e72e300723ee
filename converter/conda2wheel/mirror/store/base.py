"""Where an index lies: a folder of files, or a bucket of S3, GCS or Azure. One contract for all of them.

Whatever is written is there whole or not at all. `put_new` and `put_if` decide between writers: of several at the same time one
gets True. They also give True where the very bytes are there already, since the answer to a write that went through may have been
lost: what must have one winner has something of its own in it, as a lock has its token.

A store travels between processes as its URL and its options; credentials are each process's own, from its environment.
"""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.errors import Failed

THREADS = 16  # files in flight: a bucket's answer takes tens of milliseconds, and so does a disk's
IMMUTABLE = "public, max-age=31536000, immutable"
SHORT = "public, max-age=60"
REVALIDATE = "no-cache"
JSON = "application/json"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
CONTENT_TYPES = {
    ".whl": "application/octet-stream",
    ".metadata": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": JSON,
    ".xml": "application/xml",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class ObjectInfo:
    """An object: its path, its size in bytes, and when it was written, in seconds since 1970 by the store's own clock."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True)
class StoredObject:
    """What was read, and in which version it was there: for `put_if`, and no one else."""

    data: bytes
    version: str


class Store(ABC):
    """A tree of objects by relative path, with `/`. All methods raise `Failed` (store), which says in one line what and why."""

    url: str

    @abstractmethod
    def fetch(self, path: str) -> StoredObject | None:
        """An object's bytes and version; None if it is not there."""

    @abstractmethod
    def head(self, path: str) -> ObjectInfo | None:
        """What is known of an object; None if it is not there."""

    @abstractmethod
    def put(self, path: str, source: bytes | Path) -> None:
        """Write an object whole, whatever was there. Its name says its content type and for how long it may be kept."""

    @abstractmethod
    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object if none is there (`If-None-Match: *`)."""

    @abstractmethod
    def put_if(self, path: str, data: bytes, version: str) -> bool:
        """Write an object if this version of it is there (`If-Match`)."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects below a folder, in no order."""

    @abstractmethod
    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the folders that lie directly in one, sorted."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""

    @abstractmethod
    def clock(self) -> float:
        """What time it is for the store, in seconds since 1970: the clock that `ObjectInfo.modified` is read from."""

    def point(self, name: str, target: str | None) -> bool:
        """Make a name stand for a path, from one moment to the next, or (None) for nothing. False where a store cannot."""
        return False

    def pointed(self) -> dict[str, str]:
        """What `point` made at the top, by name."""
        return {}

    def tidy(self, before: float) -> int:
        """Remove what writers that were killed before then left beside objects; how many that was."""
        return 0

    def get(self, path: str) -> bytes | None:
        """An object's bytes; None if it is not there."""
        found = self.fetch(path)
        return None if found is None else found.data

    def put_blob(self, path: str, source: bytes | Path) -> bool:
        """Write an object whose path has its hash; False, and nothing done, if it is there in the same size."""
        size = len(source) if isinstance(source, bytes) else _size(source)
        there = self.head(path)
        if there is not None and there.size == size:
            return False
        self.put(path, source)
        return True

    def put_all(self, files: Iterable[tuple[str, bytes]], each: Callable[[], None] = lambda: None) -> None:
        """Write objects, several at a time; `each` is called before every one, and stops the rest by raising."""

        def one(file: tuple[str, bytes]) -> None:
            each()
            self.put(*file)

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for _ in pool.map(one, files):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def content_type(path: str) -> str:
    """What a path holds. The JSON of an index has a type of its own: micropip refuses others that it does not know.

    >>> content_type("simple/numpy/index.json")
    'application/vnd.pypi.simple.v1+json'
    >>> content_type("generations/000001-aaaaaaaa/generation.json")
    'application/json'
    """
    if posixpath.basename(path) == "index.json" and "simple" in path.split("/"):
        return SIMPLE_JSON
    return CONTENT_TYPES.get(posixpath.splitext(path)[1], "application/octet-stream")


def cache_control(path: str) -> str:
    """For how long caches may keep what lies at a path: blobs and generations never change, pages do, the pointer must not lag.

    >>> cache_control("blobs/ab/abc/x.whl") == IMMUTABLE, cache_control("simple/index.html") == SHORT
    (True, True)
    """
    if path.startswith(("blobs/", "generations/")):
        return IMMUTABLE
    return SHORT if "/" in path or path.endswith(".html") or path.startswith("pyodide-lock") else REVALIDATE


def failed(doing: str, why: str, hint: str = "") -> Failed:
    """The error of all stores."""
    return Failed("store", f"cannot {doing}: {why}", hint)


def _size(source: Path) -> int:
    try:
        return source.stat().st_size
    except OSError as error:
        raise failed(f"read {source}", error.strerror or str(error)) from None
