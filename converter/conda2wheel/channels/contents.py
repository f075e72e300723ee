"""Look up what packages of a channel contain, cached in `CACHE/contents.sqlite` by the package's sha256.

Repodata does not list the files of a package; its info/ does. Only info/ is read (`remote_info`), unless the whole package is in
the cache of downloads. A row never changes, since another package has another sha256.

Parts of a file cannot be compared with its sha256, so the contents only say where to search: a package whose files are used is
downloaded whole and its sha256 compared. Names of distributions are used without such a check.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.channels.downloads import AT_ONCE, Downloads
from conda2wheel.channels.remote_info import PackageInfo, read_local_info, read_remote_info
from conda2wheel.conda.import_roots import import_paths
from conda2wheel.conda.match_spec import run_export_specs
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.busy import WAIT, while_busy
from conda2wheel.net.urls import file_path, redacted
from conda2wheel.results import ConversionWarning

FILE = "contents.sqlite"
SCHEMA = 3  # a file with another one is dropped
_LIBRARY = re.compile(SHARED_OBJECT.pattern + r"|\.(wasm|dylib)$")  # CMake and emcc write side modules under these names, too
_METADATA = (".dist-info", ".egg-info", ".egg")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class PackageContents:
    """What a package contains.

    Attributes:
        libraries: The paths of its shared libraries and of links to them, without those in site-packages.
        distributions: The names of its distributions, as their metadata folders spell them.
        exports: The match specs of its run_exports.
        empty: Whether it has no file.
    """

    libraries: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    empty: bool = False

    @classmethod
    def of(cls, paths: Iterable[str], run_exports: Any = None) -> PackageContents:
        """Make it from the paths of a package's files and links, and its run_exports.json."""
        paths = tuple(paths)
        importable = import_paths(paths)
        tops = {path.partition("/")[0] for path in importable.values()}
        return cls(
            libraries=tuple(sorted(path for path in paths if _LIBRARY.search(path) and path not in importable)),
            distributions=tuple(
                sorted({top.removesuffix(end).partition("-")[0] for top in tops for end in _METADATA if top.endswith(end)})
            ),
            exports=run_export_specs(run_exports),
            empty=not paths,
        )

    @property
    def library_names(self) -> frozenset[str]:
        """The file names of its shared libraries."""
        return frozenset(path.rpartition("/")[2] for path in self.libraries)

    def json(self) -> dict[str, Any]:
        """Return the document for the cache."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PackageContents:
        """Read the document that `json` returned."""
        return cls(
            tuple(document["libraries"]), tuple(document["distributions"]), tuple(document["exports"]), bool(document["empty"])
        )


@dataclass(frozen=True)
class Build:
    """A package to look into: its URL, and its sha256 and size in bytes where the channel tells them."""

    url: str
    sha256: str | None
    size: int | None = None


@dataclass(frozen=True)
class ContentsResult:
    """The contents of packages by URL; a warning for each that could not be read; those not requested because of --offline."""

    found: Mapping[str, PackageContents]
    unreadable: Mapping[str, ConversionWarning]
    skipped_offline: frozenset[str]


def read_contents(builds: Iterable[Build], downloads: Downloads, max_bytes: int) -> ContentsResult:
    """Look up what packages contain, several at a time. A package that is damaged, missing or too large gets a warning.

    Raises:
        Failed: network or disk. What was read before is in the cache.
    """
    wanted = list(dict.fromkeys(builds))
    store = _ContentsCache(downloads.folder / FILE)
    rows = store.get([each.sha256.lower() for each in wanted if each.sha256])
    found = {each.url: rows[each.sha256.lower()] for each in wanted if each.sha256 and each.sha256.lower() in rows}
    unreadable: dict[str, ConversionWarning] = {}
    skipped: set[str] = set()
    new: dict[str, PackageContents] = {}
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-contents")
    try:
        submitted = {pool.submit(_inside, each, downloads, max_bytes): each for each in wanted if each.url not in found}
        for future in as_completed(submitted):
            build = submitted[future]
            try:
                contents = future.result()
            except (Refused, Failed) as error:
                if is_accident(error):
                    raise
                unreadable[build.url] = skipped_warning(build.url, error)
                continue
            if contents is None:
                skipped.add(build.url)
                continue
            found[build.url] = contents
            if build.sha256:
                new[build.sha256.lower()] = contents
    finally:
        pool.shutdown(cancel_futures=True)
        store.put(new)
    return ContentsResult(found, unreadable, frozenset(skipped))


def is_accident(error: Refused | Failed) -> bool:
    """Whether an error says nothing about the package, so that another try may succeed."""
    return isinstance(error, Failed) and error.code != "not-found"


def skipped_warning(url: str, error: Refused | Failed) -> ConversionWarning:
    """Return the warning for a package that could not be read."""
    return ConversionWarning("channel-skipped", f"{error.message}; it was skipped", redacted(url).rpartition("/")[2])


def _inside(build: Build, downloads: Downloads, max_bytes: int) -> PackageContents | None:
    """Return what a package contains; None if it would have to be requested while offline."""
    listed = _listed(build, downloads, max_bytes)
    return None if listed is None else PackageContents.of(listed.paths, listed.run_exports)


def _listed(build: Build, downloads: Downloads, max_bytes: int) -> PackageInfo | None:
    shown = redacted(build.url)
    parts = urlsplit(build.url)
    if parts.scheme == "file":
        return read_local_info(file_path(build.url), shown)
    if build.sha256 and (path := downloads.cached(build.sha256)) is not None:
        return read_local_info(path, shown)
    if downloads.offline:
        return None
    listed = read_remote_info(build.url)
    if listed is None:
        with downloads.package(build.url, build.sha256, max_bytes, build.size) as path:
            return read_local_info(path, shown)
    return listed


class _ContentsCache:
    """Rows by sha256. A damaged database is replaced; without one that can be written, nothing is cached."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, keys: Iterable[str]) -> dict[str, PackageContents]:
        """Return the rows that exist."""
        wanted = sorted(set(keys))

        def read(database: sqlite3.Connection) -> dict[str, PackageContents]:
            found = {}
            for key in wanted:
                row = database.execute("SELECT told FROM package WHERE sha256 = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = PackageContents.from_json(json.loads(row[0]))
            return found

        return self._run(read) if wanted and self._path.exists() else {}

    def put(self, rows: Mapping[str, PackageContents]) -> None:
        """Write rows."""

        def write(database: sqlite3.Connection) -> dict[str, PackageContents]:
            values = [(key, json.dumps(contents.json())) for key, contents in rows.items()]
            with database:
                database.executemany("INSERT OR REPLACE INTO package VALUES (?, ?)", values)
            return {}

        if rows:
            self._run(write)

    def _run(self, work: Any) -> dict[str, PackageContents]:
        def once() -> dict[str, PackageContents]:
            with self._open() as database:
                result: dict[str, PackageContents] = work(database)
                return result

        replaced = False
        while True:
            try:
                return while_busy(once)
            except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if replaced or (isinstance(error, sqlite3.DatabaseError) and code not in _DAMAGED):
                    return {}  # disk full, read only or locked for too long: continue without the cache
                self._remove()
                replaced = True
            except OSError:
                return {}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=WAIT)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                self._create(database)
            yield database

    def _create(self, database: sqlite3.Connection) -> None:
        with database:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
                return  # another process was first
            database.execute("DROP TABLE IF EXISTS package")
            database.execute("CREATE TABLE package (sha256 TEXT PRIMARY KEY, told TEXT NOT NULL) WITHOUT ROWID")
            database.execute(f"PRAGMA user_version={SCHEMA}")

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
