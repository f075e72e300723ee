"""The state's SQLite file: opening it, its schema and versions, and recognising a damaged one.

It has a write-ahead log with synchronous=NORMAL: a killed process loses nothing that was committed. A machine that loses power
may lose the last commits, but not their order, and what is lost is done again to the same bytes. A sync for each of 2,600
commits would gain nothing more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.files.busy import WAIT, while_busy

MAGIC = 0x63327731  # "c2w1": PRAGMA application_id
DISK_HINT = "check the free space and the permissions"
LOGS = ("-wal", "-shm")
# Each step changes one version of the schema (PRAGMA user_version) into the next. A step is never changed; new ones are added.
STEPS = (
    """
    CREATE TABLE package (
      channel TEXT NOT NULL, subdir TEXT NOT NULL, filename TEXT NOT NULL, sha256 TEXT NOT NULL, record TEXT NOT NULL,
      document TEXT NOT NULL, seen REAL NOT NULL, gone REAL,
      PRIMARY KEY (channel, subdir, filename)) WITHOUT ROWID;
    CREATE INDEX package_by_sha256 ON package (sha256);
    CREATE TABLE item (
      package TEXT NOT NULL, converter TEXT NOT NULL, options TEXT NOT NULL, platform TEXT NOT NULL,
      status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'refused', 'failed', 'quarantined')),
      code TEXT, attempts INTEGER NOT NULL DEFAULT 0, broken INTEGER NOT NULL DEFAULT 0,
      started REAL, ended REAL, next_try REAL, document TEXT,
      PRIMARY KEY (package, converter, options, platform)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE run (
      number INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, seconds REAL, counts TEXT NOT NULL DEFAULT '{}');
    """,
    # The service's queue (conda2wheel.serve.jobs): at most one job with a key is queued or running.
    """
    CREATE TABLE job (
      number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, key TEXT NOT NULL,
      document TEXT NOT NULL, owner TEXT, priority INTEGER NOT NULL,
      status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'done', 'refused', 'failed', 'cancelled')),
      attempts INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, ended REAL,
      process TEXT, beat REAL, result TEXT);
    CREATE UNIQUE INDEX job_live ON job (key) WHERE status IN ('queued', 'running');
    CREATE INDEX job_queue ON job (status, priority, attempts, number);
    CREATE TABLE job_event (
      job INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, document TEXT NOT NULL,
      PRIMARY KEY (job, number)) WITHOUT ROWID;
    """,
    # Which configuration it is the state of (conda2wheel.mirror.owner): one row.
    """
    CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), config TEXT NOT NULL);
    """,
)
VERSION = len(STEPS)


class StateCorruptedError(Failed):
    """The state's file is damaged. `MirrorState.rebuild` makes it again from a published generation."""

    def __init__(self, path: Path | str, why: str, hint: str = "it is rebuilt from the store") -> None:
        super().__init__("state", f"{path}: the state is broken: {why}", hint)
        self.path, self.why = path, why

    def __reduce__(self) -> tuple[type[StateCorruptedError], tuple[str, str, str]]:
        return type(self), (str(self.path), self.why, self.hint)


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, creating it or migrating it to this version's schema.

    Raises:
        StateCorruptedError: if it is damaged.
        Failed: "state" for another program's file or a newer conda2wheel's, "disk".
    """
    with converted_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = while_busy(lambda: _connect(path))
    connection.row_factory = sqlite3.Row
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        _examine(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        migrate(connection)
        if missing := {"package", "item", "run", "job", "job_event", "owner"} - _tables(connection):
            raise StateCorruptedError(path, f"it has no {', '.join(sorted(missing))}")  # noqa: TRY301 - to close it
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, version: int = VERSION) -> None:
    """Migrate the schema to a version, completely or not at all; two processes at once do it once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_pragma(connection, "user_version"), version):
            for statement in STEPS[number].split(";"):
                if statement.strip():
                    connection.execute(statement)
        if _pragma(connection, "user_version") < version:
            connection.execute(f"PRAGMA application_id = {MAGIC}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _examine(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN")  # all of it at one moment: another process may be making the file
    try:
        magic, version, tables = _pragma(connection, "application_id"), _pragma(connection, "user_version"), _tables(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if not tables and not magic:
        return  # a new file
    if magic != MAGIC:
        raise Failed("state", f"{path}: an SQLite file of another program", "choose another file as [state] path")
    if version > VERSION:
        raise Failed("state", f"{path}: written by a newer conda2wheel (schema {version})", "update conda2wheel")
    found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise StateCorruptedError(path, str(found[0]).replace("\n", " "))


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def converted_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite and the disk to `StateCorruptedError` and `Failed` (disk)."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StateCorruptedError(path, str(error)) from None
        hint = "another process is writing to it" if "locked" in str(error) else DISK_HINT
        raise Failed("disk", f"{path}: {error}", hint) from None
    except sqlite3.DatabaseError as error:
        raise StateCorruptedError(path, str(error)) from None
    except OSError as error:
        raise Failed("disk", f"{path}: {error.strerror}", DISK_HINT) from None


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Commit the whole block or nothing of it. Raises as `connect`."""
    with converted_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def rename_broken(path: Path) -> Path | None:
    """Rename a damaged file and its logs to a free name beside it, and return that; None if there is no file."""
    with converted_errors(path):
        number = 1
        while (target := path.with_name(f"{path.name}.broken-{number}")).exists():
            number += 1
        for suffix in LOGS:  # without its file a log is useless; a new file with an old log would be damaged again
            log = path.with_name(path.name + suffix)
            if log.exists():
                log.replace(target.with_name(target.name + suffix))
        if not path.exists():
            return None
        path.replace(target)
    return target
