"""What the packages of channels have inside, looked up once for each: `CACHE/contents.sqlite`, by the package's sha256.

No repodata says which files a package has. Each package lists them in its info/, which is all that is read of one (`peek`),
unless it is in the cache of downloads already. A row never changes, since another package has another sha256.

What came in parts was not compared with that sha256. So this is only for finding out where to look: a package that something is
taken from is downloaded, and compared then. The names of distributions are taken as they are told.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.channels.downloads import AT_ONCE, Downloads
from conda2wheel.channels.remote_info import PackageInfo, read_local_info, read_remote_info
from conda2wheel.conda.match_spec import run_export_specs
from conda2wheel.conda.paths_json import SITE
from conda2wheel.errors import Failed, Refused
from conda2wheel.net.download import redacted
from conda2wheel.results import ConversionWarning

FILE = "contents.sqlite"
SCHEMA = 1  # another one: what is there is forgotten
WAIT = 30.0  # seconds for another process that writes
_METADATA = (".dist-info", ".egg-info", ".egg")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class PackageContents:
    """What a package has: the paths of its shared libraries, links too, without those in site-packages; the names of its
    distributions, as their metadata folders have them; the match specs that it exports; whether it has no file at all."""

    libraries: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    empty: bool = False

    @classmethod
    def of(cls, paths: Iterable[str], run_exports: Any = None) -> PackageContents:
        """By the paths of its files and links."""
        paths = tuple(paths)
        below = [path[found.end() :] for path in paths if (found := SITE.match(path))]
        tops = {path.partition("/")[0] for path in below}
        return cls(
            libraries=tuple(sorted(path for path in paths if SHARED_OBJECT.search(path) and not SITE.match(path))),
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
        """As the cache keeps it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> PackageContents:
        """What `json` gave."""
        return cls(tuple(told["libraries"]), tuple(told["distributions"]), tuple(told["exports"]), bool(told["empty"]))


@dataclass(frozen=True)
class Build:
    """A package to look into: its URL, and its sha256 and size in bytes where the channel tells them."""

    url: str
    sha256: str | None
    size: int | None = None


@dataclass(frozen=True)
class ContentsResult:
    """What was found, why others could not be read, and what was not asked for, being offline; all by URL."""

    found: Mapping[str, PackageContents]
    broken: Mapping[str, ConversionWarning]
    unasked: frozenset[str]


def read_contents(builds: Iterable[Build], downloads: Downloads, max_bytes: int) -> ContentsResult:
    """What packages have inside, several at a time. A package that is damaged or not there is told; one that is too large to be
    downloaded where it must be is, too.

    Raises `Failed` (network, disk) for accidents, after which the answer could be another one; what came by then is kept.
    """
    wanted = list(dict.fromkeys(builds))
    store = _Store(downloads.folder / FILE)
    kept = store.get([each.sha256.lower() for each in wanted if each.sha256])
    found = {each.url: kept[each.sha256.lower()] for each in wanted if each.sha256 and each.sha256.lower() in kept}
    broken: dict[str, ConversionWarning] = {}
    unasked: set[str] = set()
    new: dict[str, PackageContents] = {}
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-contents")
    try:
        asked = {pool.submit(_inside, each, downloads, max_bytes): each for each in wanted if each.url not in found}
        for done in as_completed(asked):
            build = asked[done]
            try:
                inside = done.result()
            except (Refused, Failed) as error:
                if is_accident(error):
                    raise
                broken[build.url] = skipped_warning(build.url, error)
                continue
            if inside is None:
                unasked.add(build.url)
                continue
            found[build.url] = inside
            if build.sha256:
                new[build.sha256.lower()] = inside
    finally:
        pool.shutdown(cancel_futures=True)
        store.put(new)
    return ContentsResult(found, broken, frozenset(unasked))


def is_accident(error: Refused | Failed) -> bool:
    """Whether it says nothing about the package: after it the answer could be another one."""
    return isinstance(error, Failed) and error.code != "not-found"


def skipped_warning(url: str, error: Refused | Failed) -> ConversionWarning:
    """What a person should know of a package that could not be read."""
    return ConversionWarning("channel-skipped", f"{error.message}; it was passed over", redacted(url).rpartition("/")[2])


def _inside(build: Build, downloads: Downloads, max_bytes: int) -> PackageContents | None:
    """None where it would have to be asked for, and that is not allowed."""
    listed = _listed(build, downloads, max_bytes)
    return None if listed is None else PackageContents.of(listed.paths, listed.run_exports)


def _listed(build: Build, downloads: Downloads, max_bytes: int) -> PackageInfo | None:
    shown = redacted(build.url)
    parts = urlsplit(build.url)
    if parts.scheme == "file":
        return read_local_info(Path(unquote(parts.path)), shown)
    if build.sha256 and (kept := downloads.cached(build.sha256)) is not None:
        return read_local_info(kept, shown)
    if downloads.offline:
        return None
    listed = read_remote_info(build.url)
    if listed is None:
        with downloads.package(build.url, build.sha256, max_bytes, build.size) as path:
            return read_local_info(path, shown)
    return listed


class _Store:
    """Rows by sha256. It is a cache: a damaged file is made anew, and where none can be written, nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, keys: Iterable[str]) -> dict[str, PackageContents]:
        """The rows that are there."""
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
        """Keep rows."""

        def write(database: sqlite3.Connection) -> dict[str, PackageContents]:
            told = [(key, json.dumps(inside.json())) for key, inside in rows.items()]
            with database:
                database.executemany("INSERT OR REPLACE INTO package VALUES (?, ?)", told)
            return {}

        if rows:
            self._run(write)

    def _run(self, work: Any) -> dict[str, PackageContents]:
        for _ in range(2):
            try:
                with self._open() as database:
                    result: dict[str, PackageContents] = work(database)
                    return result
            except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    return {}  # no room, read only, another process for too long: it goes on without
                self._remove()
            except OSError:
                return {}
        return {}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=WAIT)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                self._make(database)
            yield database

    def _make(self, database: sqlite3.Connection) -> None:
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
