"""Packages from the network, each once: kept by sha256 in a cache, several at a time, or from the cache alone.

    CACHE/conda/ab/abcdef...   a package file, under its sha256
    CACHE/repodata/            py-rattler's copies of what channels list

Only bytes whose sha256 was promised (by repodata or the URL's fragment) and compared get a place there, by a rename; what is read
from there is compared again. A file without such a promise is downloaded each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.cachedir import cache_folder
from conda2wheel.outcome import Failed

from .fetch import download, redacted

AT_ONCE = 6  # downloads; what browsers allow themselves per host
STALE = 24 * 3600  # seconds after which a part that somebody's killed process left is removed

Watch = Callable[[str, int, int | None], None]  # (URL as it may be shown, bytes so far, all bytes if known)


@dataclass(frozen=True)
class Wanted:
    """A file to have: `url` without credentials of ours, `sha256` as hex digits, `size` in bytes where it is known."""

    url: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Downloads:
    """How packages are had. `cache`: its folder, None for the user's own. `offline`: nothing is asked of the network. `watch` is
    told of every part that comes, from several threads."""

    cache: Path | None = None
    offline: bool = False
    watch: Watch | None = None

    @property
    def folder(self) -> Path:
        """The cache."""
        return cache_folder(self.cache)

    @property
    def repodata(self) -> Path:
        """Where py-rattler keeps what channels list."""
        return self.folder / "repodata"

    @contextmanager
    def package(self, url: str, sha256: str | None, max_bytes: int) -> Iterator[Path]:
        """The file that a URL names, until the block ends: from the cache, or downloaded.

        Raises `Failed` (network, not-found, disk) and `Refused` (too-large, corrupt-archive).
        """
        if sha256 is not None and (kept := self._kept(sha256.lower())) is not None:
            yield kept
            return
        if self.offline:
            why = "is not in the cache" if sha256 else "has no sha256 to look for it in the cache by"
            raise Failed("network", f"{redacted(url)}: {why}, and --offline allows no download", "run it once without --offline")
        with self._beside(sha256) as folder:
            path = download(url, folder, max_bytes, sha256, watch=self.watch)
            yield self._keep(path, sha256.lower()) if sha256 and folder.parent == self._parts else path

    def get(self, wanted: Iterable[Wanted], max_bytes: int) -> None:
        """Bring files into the cache, several at a time. Raises as `package` does: the first error, when no more are under
        way; what had come by then stays."""
        missing = [each for each in dict.fromkeys(wanted) if self._kept(each.sha256) is None]
        if not missing:
            return
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-download")
        try:
            for done in as_completed([pool.submit(self._one, each, max_bytes) for each in missing]):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def kept(self, sha256: str) -> Path | None:
        """The file with that sha256, if the cache has it whole."""
        return self._kept(sha256.lower())

    def keep(self, path: Path, sha256: str) -> None:
        """Take a copy of a file whose sha256 was compared into the cache. Raises `Failed` (disk)."""
        with self._beside(sha256) as folder:
            copy = folder / "copy"
            shutil.copyfile(path, copy)
            if folder.parent == self._parts:
                self._keep(copy, sha256.lower())

    def _one(self, wanted: Wanted, max_bytes: int) -> None:
        with self.package(wanted.url, wanted.sha256, max_bytes):
            pass

    @property
    def _parts(self) -> Path:
        return self.folder / "conda" / ".parts"

    def _place(self, sha256: str) -> Path:
        return self.folder / "conda" / sha256[:2] / sha256

    def _kept(self, sha256: str) -> Path | None:
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

    @contextmanager
    def _beside(self, sha256: str | None) -> Iterator[Path]:
        """A folder to download into: on the cache's file system where the file may stay there, else a temporary one."""
        parent: str | None = None
        if sha256 is not None:
            try:
                self._parts.mkdir(parents=True, exist_ok=True)
                self._sweep()
                parent = str(self._parts)
            except OSError:  # no cache can be made here: conversion works without one
                parent = None
        try:
            with tempfile.TemporaryDirectory(prefix="conda2wheel-", dir=parent) as folder:
                yield Path(folder)
        except PermissionError as error:
            raise Failed("disk", f"{error.filename}: {error.strerror}", "set CONDA2WHEEL_CACHE to a folder of your own") from None

    def _sweep(self) -> None:
        """Take away what a killed process left."""
        for left in os.scandir(self._parts):
            if left.stat(follow_symlinks=False).st_mtime < time.time() - STALE:
                shutil.rmtree(left.path, ignore_errors=True)

    def _keep(self, path: Path, sha256: str) -> Path:
        place = self._place(sha256)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(place)
        except OSError as error:
            raise Failed("disk", f"{place}: {error.strerror}", "set CONDA2WHEEL_CACHE to a place with room") from None
        return place


DOWNLOADS = Downloads()
