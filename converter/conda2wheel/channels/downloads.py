"""Packages from the network, each once: kept by sha256 in a cache, several at a time, or from the cache alone.

    CACHE/conda/ab/abcdef...    a package file, under its sha256
    CACHE/conda/.parts/         what is under way, and a lock for each file, so that of many processes one downloads it
    CACHE/repodata/             py-rattler's copies of what channels list

Only bytes whose sha256 was promised (by repodata or the URL's fragment) and compared get a place there, by a rename; what is read
from there is compared again. A file without such a promise is downloaded each time. Nothing in it is needed: it may be deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conda2wheel.errors import Failed
from conda2wheel.net.cache import cache_folder
from conda2wheel.net.download import ProgressCallback, RemoteFile, download, redacted

if TYPE_CHECKING:
    from rattler import Gateway

AT_ONCE = 6  # downloads; what browsers allow themselves per host
FRESH = 600.0  # seconds: one run of a command asks a channel once
STALE = 24 * 3600  # seconds after which a part that somebody's killed process left is removed


@dataclass(frozen=True)
class CachedGateway:
    """A Gateway, which remembers what it read, and when it was made (by the monotonic clock)."""

    gateway: Gateway
    made: float


@dataclass(frozen=True)
class Downloads:
    """How packages are had. `cache`: its folder, None for the user's own. `offline`: nothing is asked of the network. `watch` is
    told of every part that comes, from several threads. `fresh`: for how many seconds what a channel lists is not asked for
    again; what it was is kept in `gateways`. `local`: files that somebody has brought already, by URL."""

    cache: Path | None = None
    offline: bool = False
    watch: ProgressCallback | None = None
    fresh: float = 0.0
    gateways: dict[tuple[Path, bool], CachedGateway] = field(default_factory=dict, compare=False, repr=False)
    local: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The cache."""
        return cache_folder(self.cache)

    @property
    def repodata(self) -> Path:
        """Where py-rattler keeps what channels list."""
        return self.folder / "repodata"

    @contextmanager
    def package(self, url: str, sha256: str | None, max_bytes: int, size: int | None = None) -> Iterator[Path]:
        """The file that a URL names, until the block ends: from the cache, or downloaded. `size` in bytes, where it is promised.

        Raises `Failed` (network, not-found, disk) and `Refused` (too-large, corrupt-archive).
        """
        if url in self.local:
            yield self.local[url]
            return
        sha256 = sha256.lower() if sha256 else None
        if sha256 is not None and (kept := self._cached(sha256)) is not None:
            yield kept
            return
        if self.offline:
            why = "is not in the cache" if sha256 else "has no sha256 to look for it in the cache by"
            raise Failed("network", f"{redacted(url)}: {why}, and --offline allows no download", "run it once without --offline")
        wanted = RemoteFile(url, sha256, size)
        if sha256 is None or not self._usable():
            with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
                yield download(wanted, Path(folder), max_bytes, self.watch)
            return
        yield self._brought(wanted, sha256, max_bytes)

    def fetch(self, wanted: Iterable[RemoteFile], max_bytes: int) -> None:
        """Bring files into the cache, several at a time. Raises as `package` does: the first error, when no more are under
        way; what had come by then stays."""
        missing = [each for each in dict.fromkeys(wanted) if each.sha256 is None or self._cached(each.sha256.lower()) is None]
        if not missing:
            return
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-download")
        try:
            for done in as_completed([pool.submit(self._one, each, max_bytes) for each in missing]):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def cached(self, sha256: str) -> Path | None:
        """The file with that sha256, if the cache has it whole."""
        return self._cached(sha256.lower())

    def add(self, path: Path, sha256: str) -> None:
        """Take a copy of a file whose sha256 was compared into the cache, if there can be one. Raises `Failed` (disk)."""
        if not self._usable():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="part-", dir=self._parts) as folder:
                self._store(Path(shutil.copyfile(path, Path(folder) / "copy")), sha256.lower())
        except OSError as error:
            raise _full(error) from None

    def _one(self, wanted: RemoteFile, max_bytes: int) -> None:
        with self.package(wanted.url, wanted.sha256, max_bytes, wanted.size):
            pass

    @property
    def _parts(self) -> Path:
        return self.folder / "conda" / ".parts"

    def _place(self, sha256: str) -> Path:
        return self.folder / "conda" / sha256[:2] / sha256

    def _cached(self, sha256: str) -> Path | None:
        """What the cache has, if it still is what it was."""
        place = self._place(sha256)
        try:
            with place.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == sha256:
                    return place
            place.unlink(missing_ok=True)
        except OSError:
            return None  # not there, or not to be read: it is downloaded
        return None

    def _usable(self) -> bool:
        """Whether files can be kept: conversion works without a cache, too."""
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            return os.access(self._parts, os.W_OK | os.X_OK)
        except OSError:
            return False

    def _brought(self, wanted: RemoteFile, sha256: str, max_bytes: int) -> Path:
        """Download a file into its place, unless another process did while this one waited for it."""
        try:
            self._sweep()
            with self._alone(sha256):
                if (kept := self._cached(sha256)) is not None:
                    return kept
                with tempfile.TemporaryDirectory(prefix="part-", dir=self._parts) as folder:
                    return self._store(download(wanted, Path(folder), max_bytes, self.watch), sha256)
        except OSError as error:
            raise _full(error) from None

    @contextmanager
    def _alone(self, sha256: str) -> Iterator[None]:
        """Hold the lock of a file. The kernel lets it go when its process dies."""
        with (self._parts / f"{sha256}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Take away what a killed process left, and old locks."""
        for left in os.scandir(self._parts):
            try:
                if left.stat(follow_symlinks=False).st_mtime > time.time() - STALE:
                    continue
            except FileNotFoundError:  # another process was quicker
                continue
            if left.is_dir(follow_symlinks=False):
                shutil.rmtree(left.path, ignore_errors=True)
            else:
                Path(left.path).unlink(missing_ok=True)

    def _store(self, path: Path, sha256: str) -> Path:
        place = self._place(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        return path.replace(place)


def _full(error: OSError) -> Failed:
    return Failed("disk", f"{error.filename or 'the cache'}: {error.strerror}", "set CONDA2WHEEL_CACHE to a place with room")


DOWNLOADS = Downloads()
