"""The interface of all stores: a tree of objects in a folder, or in a bucket of S3, GCS or Azure.

An object is written whole or not at all. `put_new` and `put_if` are conditional writes: of several concurrent writers one gets
True. They also return True where the object already has exactly these bytes, because the answer to a successful write may have
been lost. An object that must have one winner therefore contains something unique to its writer, such as a lease's token.

A store is pickled as its URL and options; every process takes credentials from its own environment.
"""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.errors import Failed

THREADS = 16  # concurrent writes: a bucket, or a disk's sync, takes tens of milliseconds for each
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
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class ObjectInfo:
    """An object's path, its size in bytes, and its modification time by the store's own clock, in seconds since 1970."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True)
class StoredObject:
    """An object's bytes, and the version that `put_if` compares."""

    data: bytes
    version: str


class Store(ABC):
    """A tree of objects by relative path, with `/`. All methods raise `Failed` (store) with a one-line message."""

    url: str

    @abstractmethod
    def fetch(self, path: str) -> StoredObject | None:
        """Read an object's bytes and version; None if it does not exist."""

    @abstractmethod
    def head(self, path: str) -> ObjectInfo | None:
        """Read an object's size and modification time; None if it does not exist."""

    @abstractmethod
    def put(self, path: str, source: bytes | Path) -> None:
        """Write or replace an object. Its path determines its content type and caching (`content_type`, `cache_control`)."""

    @abstractmethod
    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object if none exists at the path (`If-None-Match: *`)."""

    @abstractmethod
    def put_if(self, path: str, data: bytes, version: str) -> bool:
        """Replace an object if it still has this version (`If-Match`)."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """List all objects below a folder, in no particular order."""

    def sizes(self, paths: Collection[str]) -> dict[str, int]:
        """The sizes of those of these objects that exist."""
        folder = posixpath.commonpath([*paths, posixpath.dirname(next(iter(paths)))]) if paths else ""
        wanted = set(paths)
        return {info.path: info.size for info in self.list(folder) if info.path in wanted} if wanted else {}

    @abstractmethod
    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """List the names of the folders directly below a folder, sorted."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; objects that do not exist are no error."""

    @abstractmethod
    def clock(self) -> float:
        """Read the store's own clock, in seconds since 1970: the one that sets `ObjectInfo.modified`."""

    def set_link(self, name: str, target: str | None) -> bool:
        """Atomically make a name a link to a path, or remove the link (None). Returns False in a store without links."""
        return False

    def links(self) -> dict[str, str]:
        """Read the links at the store's top: target by name."""
        return {}

    def delete_partial_files(self, before: float) -> int:
        """Delete the temporary files that killed writers left before a time; returns how many."""
        return 0

    def get(self, path: str) -> bytes | None:
        """Read an object's bytes; None if it does not exist."""
        found = self.fetch(path)
        return None if found is None else found.data

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Read the bytes of an object from `start` to `end`, which is not included. Raises `Failed` also if it does not exist."""
        data = self.get(path)
        if data is None:
            raise store_error(f"read {self.url}/{path}", "it does not exist")
        return data[start:end]

    def put_blob(self, path: str, source: bytes | Path) -> bool:
        """Write an object whose path contains its hash. Returns False, without writing, if one of the same size exists."""
        size = len(source) if isinstance(source, bytes) else _file_size(source)
        existing = self.head(path)
        if existing is not None and existing.size == size:
            return False
        self.put(path, source)
        return True

    def put_all(self, files: Iterable[tuple[str, bytes]], before_each: Callable[[], None] = lambda: None) -> None:
        """Write objects in parallel.

        `before_each` is called before every write; if it raises, the remaining writes are skipped.
        """

        def put_one(file: tuple[str, bytes]) -> None:
            before_each()
            self.put(*file)

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for _ in pool.map(put_one, files):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def content_type(path: str) -> str:
    """Content type of a path. JSON pages of an index have a type of their own: micropip rejects types that it does not know.

    >>> content_type("simple/numpy/index.json")
    'application/vnd.pypi.simple.v1+json'
    >>> content_type("generations/000001-aaaaaaaa/generation.json")
    'application/json'
    """
    if posixpath.basename(path) == "index.json" and "simple" in path.split("/"):
        return SIMPLE_JSON
    return CONTENT_TYPES.get(posixpath.splitext(path)[1], "application/octet-stream")


def cache_control(path: str) -> str:
    """Cache-Control of a path: blobs and generations never change, pages may be a minute old, the pointer is always revalidated.

    >>> cache_control("blobs/ab/abc/x.whl") == IMMUTABLE, cache_control("simple/index.html") == SHORT
    (True, True)
    """
    if path.startswith(("blobs/", "generations/", "pyodide/")) and not path.endswith(".details.json"):
        return IMMUTABLE
    return SHORT if "/" in path or path.endswith(".html") or path.startswith("pyodide-lock") else REVALIDATE


def store_error(action: str, reason: str, hint: str = "") -> Failed:
    """Build the error that all stores raise."""
    return Failed("store", f"cannot {action}: {reason}", hint)


def _file_size(source: Path) -> int:
    try:
        return source.stat().st_size
    except OSError as error:
        raise store_error(f"read {source}", error.strerror or str(error)) from None
