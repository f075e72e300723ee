"""Download packages into a cache by sha256, several at a time, or take them from the cache alone.

    CACHE/conda/ab/abcdef...    a package file, named by its sha256
    CACHE/conda/.parts/         partial downloads, and a lock file for each package, so that one process downloads it
    CACHE/repodata/             lists of channels: see `lists`

A file enters the cache by a rename after its sha256 was compared with the expected one (of repodata or of the URL's fragment),
and is compared again when it is read. A file without an expected sha256 is downloaded each time. The cache may be deleted at
any time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conda2wheel.errors import Failed
from conda2wheel.files.locks import file_lock
from conda2wheel.files.writing import replace_file
from conda2wheel.net.cache import cache_folder
from conda2wheel.net.remote_file import ProgressCallback, RemoteFile
from conda2wheel.net.urls import redacted

if TYPE_CHECKING:
    from conda2wheel.channels.lists import PackageList
    from conda2wheel.channels.records import LeftOutRecord

AT_ONCE = 6  # downloads; as many as browsers make per host
FRESH = 600.0  # seconds for which repodata is reused, so that one run of a command asks a channel once
STALE = 24 * 3600  # seconds after which the partial download of a killed process is removed


@dataclass(frozen=True)
class KnownList:
    """What is known of a subdir's list of packages, None if the channel has none, and when it was read (monotonic clock)."""

    listed: PackageList | None
    made: float


class KnownLists:
    """The lists of packages of channels that a command has read; for several threads.

    Attributes:
        known: the lists, by the channel's address with its secrets, and the subdir.
        left_out: records that cannot be used, by the channel's address, and subdir and file name.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], KnownList] = {}
        self.left_out: dict[str, dict[tuple[str, str], LeftOutRecord]] = {}
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[type[KnownLists], tuple[()]]:
        """Another process reads them again."""
        return KnownLists, ()


@dataclass(frozen=True)
class Downloads:
    """How packages and repodata are downloaded.

    Attributes:
        cache: The cache's folder; None for the user's own.
        offline: Whether the network must not be used.
        watch: A callback for progress, called from several threads.
        fresh: For how many seconds the repodata of a channel is reused; it is held in `lists`.
        lists: The lists of packages that were read.
        local: Files that are on disk already, by URL.
    """

    cache: Path | None = None
    offline: bool = False
    watch: ProgressCallback | None = None
    fresh: float = 0.0
    lists: KnownLists = field(default_factory=KnownLists, compare=False, repr=False)
    local: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The cache's folder."""
        return cache_folder(self.cache)

    @property
    def repodata(self) -> Path:
        """The folder of the cache of repodata."""
        return self.folder / "repodata"

    def left_out(self, channels: Iterable[str]) -> tuple[LeftOutRecord, ...]:
        """Return the records of these channels that could not be used, as far as they were read; by their addresses."""
        found = (self.lists.left_out.get(str(channel), {}) for channel in dict.fromkeys(channels))
        return tuple(record for each in found for record in sorted(each.values()))

    @contextmanager
    def package(self, url: str, sha256: str | None, max_bytes: int, size: int | None = None) -> Iterator[Path]:
        """Provide the file of a URL for the block: from the cache, or downloaded.

        Args:
            url: The package's URL.
            sha256: Its expected sha256 in hexadecimal, if known.
            max_bytes: The largest size to download.
            size: Its expected size in bytes, if known.

        Raises:
            Failed: network, not-found or disk.
            Refused: too-large or corrupt-archive.
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
        from conda2wheel.net.download import download

        wanted = RemoteFile(url, sha256, size)
        if sha256 is None or not self._usable():
            with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
                yield download(wanted, Path(folder), max_bytes, self.watch)
            return
        yield self._download(wanted, sha256, max_bytes)

    def fetch(self, wanted: Iterable[RemoteFile], max_bytes: int) -> None:
        """Download files into the cache, several at a time.

        Raises as `package` does: the first error, after running downloads ended. Completed files stay in the cache.
        """
        missing = [each for each in dict.fromkeys(wanted) if each.sha256 is None or self._cached(each.sha256.lower()) is None]
        if not missing:
            return
        from concurrent.futures import ThreadPoolExecutor, as_completed

        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-download")
        try:
            for done in as_completed([pool.submit(self._one, each, max_bytes) for each in missing]):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def cached(self, sha256: str) -> Path | None:
        """Return the file with that sha256 if the cache has it."""
        return self._cached(sha256.lower())

    def add(self, path: Path, sha256: str) -> None:
        """Copy a file with a verified sha256 into the cache, if the cache is writable. Raises `Failed` (disk)."""
        if not self._usable():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="part-", dir=self._parts) as folder:
                self._store(Path(shutil.copyfile(path, Path(folder) / "copy")), sha256.lower())
        except OSError as error:
            raise _disk_error(error) from None

    def _one(self, wanted: RemoteFile, max_bytes: int) -> None:
        with self.package(wanted.url, wanted.sha256, max_bytes, wanted.size):
            pass

    @property
    def _parts(self) -> Path:
        return self.folder / "conda" / ".parts"

    def _path(self, sha256: str) -> Path:
        return self.folder / "conda" / sha256[:2] / sha256

    def _cached(self, sha256: str) -> Path | None:
        """Return the cached file if its sha256 still matches; a file that does not match is removed."""
        place = self._path(sha256)
        try:
            with place.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == sha256:
                    return place
            place.unlink(missing_ok=True)
        except OSError:
            return None  # missing or unreadable: it is downloaded
        return None

    def _usable(self) -> bool:
        """Whether the cache is writable; conversion also works without a cache."""
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            return os.access(self._parts, os.W_OK | os.X_OK)
        except OSError:
            return False

    def _download(self, wanted: RemoteFile, sha256: str, max_bytes: int) -> Path:
        """Download a file into the cache, unless another process did while this one waited for the lock."""
        from conda2wheel.net.download import download

        try:
            self._remove_stale()
            with file_lock(self._parts / f"{sha256}.lock"):
                if (kept := self._cached(sha256)) is not None:
                    return kept
                with tempfile.TemporaryDirectory(prefix="part-", dir=self._parts) as folder:
                    return self._store(download(wanted, Path(folder), max_bytes, self.watch), sha256)
        except OSError as error:
            raise _disk_error(error) from None

    def _remove_stale(self) -> None:
        """Remove partial downloads of killed processes, and old lock files."""
        for left in os.scandir(self._parts):
            try:
                if left.stat(follow_symlinks=False).st_mtime > time.time() - STALE:
                    continue
            except FileNotFoundError:  # another process removed it
                continue
            if left.is_dir(follow_symlinks=False):
                shutil.rmtree(left.path, ignore_errors=True)
            else:
                with suppress(PermissionError):  # on Windows: another process has it open
                    Path(left.path).unlink(missing_ok=True)

    def _store(self, path: Path, sha256: str) -> Path:
        place = self._path(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b") as stream:  # Windows syncs only what is open for writing
            os.fsync(stream.fileno())
        replace_file(path, place)
        return place


def _disk_error(error: OSError) -> Failed:
    return Failed(
        "disk", f"{error.filename or 'the cache'}: {error.strerror}", "set CONDA2WHEEL_CACHE to a folder with free space"
    )


DOWNLOADS = Downloads()
