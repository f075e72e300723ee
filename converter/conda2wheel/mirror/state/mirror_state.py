"""The mirror's state: the packages of its channels, the result of each work item, and when failed items are tried again.

It is one SQLite file (`database`). A run may be killed at any moment: work that was done and not recorded is done again, to the
same bytes. All times are given by the caller, in seconds since 1970, and none is trusted: a clock that is set back stalls
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conda2wheel.conda.match_spec import spec_name
from conda2wheel.errors import Failed
from conda2wheel.mirror.state.database import StateCorruptedError, connect, converted_errors, rename_broken, transaction
from conda2wheel.mirror.state.match_specs import MatchSpecs
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, with_tuples
from conda2wheel.mirror.state.process_lock import process_lock
from conda2wheel.mirror.state.retries import longest_pause, retry_of

__all__ = ["ChannelChanges", "ItemStatus", "KnownPackage", "MirrorItem", "MirrorRun", "MirrorState", "StateCorruptedError"]

ItemStatus = Literal["pending", "done", "refused", "failed", "quarantined"]
SCHEMA = 1  # of the state in a generation's manifest


@dataclass(frozen=True)
class KnownPackage:
    """A package that a channel has or had: since when it is known, and since when it is gone (None: it is in the channel)."""

    package: ChannelPackage
    seen: float
    gone: float | None


@dataclass(frozen=True)
class ChannelChanges:
    """How a channel's listing differs from the state.

    Attributes:
        changed: packages with another content under a known file name.
        patched: packages with the same content and a changed repodata record.
        vanished: packages that are no longer listed.
        back: packages that are listed again after they had vanished.
    """

    new: tuple[ChannelPackage, ...] = ()
    changed: tuple[ChannelPackage, ...] = ()
    patched: tuple[ChannelPackage, ...] = ()
    vanished: tuple[ChannelPackage, ...] = ()
    back: tuple[ChannelPackage, ...] = ()


@dataclass(frozen=True)
class MirrorItem:
    """A work item in the state.

    Attributes:
        attempts: how often it failed.
        interruptions: how often a run ended during it.
        next_try: when a failed item is tried again, in seconds since 1970.
    """

    key: ItemKey
    status: ItemStatus
    code: str | None
    attempts: int
    interruptions: int
    next_try: float | None


@dataclass(frozen=True)
class MirrorRun:
    """A recorded run. `ended` and `seconds` are None while it runs, or if it was killed."""

    number: int
    started: float
    ended: float | None
    seconds: float | None
    counts: Mapping[str, Any]


class MirrorState:
    """An open state, for one thread. Several processes may have the same file open; one of them may hold its `lock`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `StateCorruptedError` and `Failed` as `database.connect` does."""
        self.path = path
        self._db = connect(path)
        self._read: dict[ItemKey, tuple[str, ItemResult]] = {}  # a run asks several times for the same results

    @classmethod
    def open(cls, path: str | Path) -> MirrorState:
        """Open or create the file, as the constructor."""
        return cls(Path(path))

    @classmethod
    def rebuild(cls, path: str | Path, manifest: Mapping[str, Any] | None) -> MirrorState:
        """Make a new state from a manifest (None: an empty one). An existing file is kept as NAME.broken-N.

        Raises:
            Failed: "state" for an invalid manifest; the existing file is then unchanged.
        """
        packages, items = _rows_of(manifest) if manifest is not None else ([], [])
        rename_broken(Path(path))
        state = cls(Path(path))
        with transaction(state._db, state.path) as db:
            db.executemany(_INSERT_PACKAGE, packages)
            db.executemany(_INSERT_ITEM, items)
        return state

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> MirrorState:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self, now: float) -> AbstractContextManager[None]:
        """Hold the file lock that admits one run at a time (`process_lock`). Raises `Failed` (busy)."""
        return process_lock(self.path, now)

    @property
    def owner(self) -> str | None:
        """The configuration that it is the state of, as `record_owner` recorded it."""
        with converted_errors(self.path):
            row = self._db.execute("SELECT config FROM owner").fetchone()
        return None if row is None else str(row["config"])

    def record_owner(self, config: str) -> None:
        """Record which configuration it is the state of: a path relative to its folder."""
        with transaction(self._db, self.path) as db:
            db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (config,))

    def reset_interrupted(self) -> tuple[ItemKey, ...]:
        """Make the items due again that were being worked on when the last run was killed, and return them.

        Call it before any `start`, with the lock held.
        """
        with transaction(self._db, self.path) as db:
            found = tuple(map(_key, db.execute("SELECT * FROM item WHERE started IS NOT NULL ORDER BY package, platform")))
            db.execute("UPDATE item SET broken = broken + 1, started = NULL WHERE started IS NOT NULL")
        return found

    def compare(self, packages: Iterable[ChannelPackage]) -> ChannelChanges:
        """Return what `record_listing` would, without writing anything."""
        with converted_errors(self.path):
            rows = self._db.execute("SELECT channel, subdir, filename, sha256, record, gone FROM package").fetchall()
        known = {tuple(row)[:3]: row for row in rows}
        listed = {_address(package): package for package in packages}
        found: dict[str, list[ChannelPackage]] = {field.name: [] for field in dataclasses.fields(ChannelChanges)}
        for address, package in listed.items():
            row = known.get(address)
            if row is None:
                found["new"].append(package)
                continue
            if row["gone"] is not None:
                found["back"].append(package)
            if row["sha256"] != package.sha256:
                found["changed"].append(package)
            elif row["record"] != package.record:
                found["patched"].append(package)
        vanished = {address for address, row in known.items() if row["gone"] is None} - listed.keys()
        if vanished:
            found["vanished"] = [each.package for each in self.packages() if _address(each.package) in vanished]
        return ChannelChanges(**{name: tuple(each) for name, each in found.items()})

    def record_listing(
        self, packages: Iterable[ChannelPackage], now: float, changes: ChannelChanges | None = None
    ) -> ChannelChanges:
        """Record the complete listing of all channels: packages that are not in it are gone since `now`.

        `changes` are what `compare` has just found, if it was called. Items that were refused for a missing library become due
        again if a package that they depend on is new.
        """
        packages = tuple(packages)
        changes = self.compare(packages) if changes is None else changes
        with transaction(self._db, self.path) as db:
            # After a clock was set back, a package that is gone since a future time would never reach the end of its grace.
            db.execute("UPDATE package SET gone = ? WHERE gone > ?", (now, now))
            db.executemany(
                _INSERT_PACKAGE,
                [_row(each, now, None) for each in (*changes.new, *changes.changed, *changes.patched, *changes.back)],
            )
            gone = [(now, *_address(each)) for each in changes.vanished]
            db.executemany("UPDATE package SET gone = ? WHERE channel = ? AND subdir = ? AND filename = ?", gone)
            _reset_missing_libraries(db, {each.name for each in (*changes.new, *changes.changed, *changes.back)})
        return changes

    def packages(self) -> list[KnownPackage]:
        """List every package that is or was in a channel, by channel, subdir and file name."""
        with converted_errors(self.path):
            rows = self._db.execute("SELECT document, seen, gone FROM package ORDER BY channel, subdir, filename").fetchall()
        return [KnownPackage(_package(json.loads(row["document"])), row["seen"], row["gone"]) for row in rows]

    def count_packages(self) -> Counter[str]:
        """The number of packages that each channel has."""
        with converted_errors(self.path):
            return Counter(dict(self._db.execute("SELECT channel, COUNT(*) FROM package WHERE gone IS NULL GROUP BY channel")))

    def add_packages(self, packages: Iterable[ChannelPackage], now: float) -> None:
        """Record packages that are converted outside of a run; those that are known stay as they are."""
        rows = [_row(each, now, None) for each in packages]
        with transaction(self._db, self.path) as db:
            db.executemany(_INSERT_NEW_PACKAGE, rows)

    def add_items(self, keys: Iterable[ItemKey]) -> None:
        """Add work items; known ones stay as they are."""
        with transaction(self._db, self.path) as db:
            db.executemany(
                "INSERT OR IGNORE INTO item (package, converter, options, platform, status) VALUES (?, ?, ?, ?, 'pending')",
                map(_values, keys),
            )

    def due(self, keys: Iterable[ItemKey], now: float) -> list[ItemKey]:
        """Select the items to work on now, in the given order: pending ones, and failed ones whose pause is over."""
        items = self.items()

        def is_due(item: MirrorItem | None) -> bool:
            if item is None or item.status == "pending":
                return True
            wait = (item.next_try or now) - now
            return item.status == "failed" and (wait <= 0 or wait > longest_pause())

        return [key for key in keys if is_due(items.get(key))]

    def start(self, key: ItemKey, now: float) -> None:
        """Record that work on an item begins."""
        with transaction(self._db, self.path) as db:
            db.execute(_START, (now, *_values(key)))

    def finish(self, result: ItemResult, now: float, tries: int = 0) -> ItemStatus:
        """Record the result of an item and return its status.

        A failed item becomes due again after the pause of its class, or quarantined after `tries` (0: those of its class). An
        item that is done or refused stays so, even if a second worker with the same item fails later.
        """
        key = _values(result.key)
        with transaction(self._db, self.path) as db:
            row = db.execute(_STATUS, key).fetchone()
            previous: ItemStatus = row["status"] if row else "pending"
            attempts = row["attempts"] if row else 0
            if result.status == "failed" and previous in ("done", "refused"):
                return previous
            status: ItemStatus = result.status
            next_try = None
            if result.status == "failed":
                attempts += 1
                rule = retry_of(result.code)
                next_try = now + rule.pause(attempts)
                status = "quarantined" if attempts >= (tries or rule.tries) else "failed"
            document = json.dumps(result.json())
            db.execute(_INSERT_ITEM, (*key, status, result.code, attempts, 0, None, now, next_try, document))
        return status

    def retry(self, spec: str = "all") -> tuple[ItemKey, ...]:
        """Make items due now with no attempts counted, and return them.

        Args:
            spec: "all" for those that failed or are quarantined; or a match spec, for those of packages that it matches,
                including refused ones.

        Raises:
            Failed: "usage" for an invalid match spec.
        """
        statuses = ("failed", "quarantined") if spec == "all" else ("failed", "quarantined", "refused")
        items = [item for item in self.items().values() if item.status in statuses]
        if spec != "all":
            packages = [each.package for each in self.packages()]
            fitting = {each.sha256 for each, fits in zip(packages, MatchSpecs([spec]).fit(packages), strict=True) if fits}
            items = [item for item in items if item.key.package in fitting]
        with transaction(self._db, self.path) as db:
            db.executemany(_RESET, [_values(item.key) for item in items])
        return tuple(item.key for item in items)

    def reset(self, keys: Iterable[ItemKey]) -> None:
        """Make items due as if they were new, because the store has lost their wheels."""
        with transaction(self._db, self.path) as db:
            db.executemany(_RESET, map(_values, keys))

    def items(self, packages: Collection[str] | None = None) -> dict[ItemKey, MirrorItem]:
        """All known items, including those of earlier converters and options; or those of packages, by their sha256."""
        with converted_errors(self.path):
            rows = self._db.execute(*_of_packages(_ITEMS, packages)).fetchall()
        return {
            (key := _key(row)): MirrorItem(key, row["status"], row["code"], row["attempts"], row["broken"], row["next_try"])
            for row in rows
        }

    def results(self, keys: Collection[ItemKey] | None = None) -> dict[ItemKey, ItemResult]:
        """The last result of each finished item.

        Args:
            keys: None for all items. Otherwise only these, and for one that has no wheel and is not refused, the newest wheel of
                the same package and platform: a failure of a new converter removes nothing from an index.
        """
        packages = {key.package for key in keys} if keys is not None and len(keys) <= _MOST_PARAMETERS else None
        with converted_errors(self.path):
            rows = self._db.execute(
                *_of_packages("SELECT * FROM item WHERE document IS NOT NULL", packages, "ORDER BY ended")
            ).fetchall()
        found = {_key(row): row["document"] for row in rows}
        if keys is None:
            return {key: self._parse(key, document) for key, document in found.items()}
        status = {_key(row): row["status"] for row in rows}
        older = {(key.package, key.platform): found[key] for key in found if status[key] == "done"}
        chosen = {
            key: found.get(key)
            if status.get(key) in ("done", "refused")
            else older.get((key.package, key.platform), found.get(key))
            for key in keys
        }
        return {key: self._parse(key, document) for key, document in chosen.items() if document is not None}

    def _parse(self, key: ItemKey, document: str) -> ItemResult:
        known = self._read.get(key)
        if known is not None and known[0] == document:
            return known[1]
        try:
            result = ItemResult.from_json(json.loads(document))
        except ValueError as error:
            raise StateCorruptedError(self.path, str(error)) from None
        self._read[key] = document, result
        return result

    def counts(self, keys: Iterable[ItemKey] | None = None) -> dict[tuple[ItemStatus, str | None], int]:
        """Count `keys` (None: all items) by status and code."""
        items = self.items()
        counted: dict[tuple[ItemStatus, str | None], int] = {}
        for key in items if keys is None else keys:
            item = items.get(key)
            status: tuple[ItemStatus, str | None] = ("pending", None)
            if item is not None and item.status != "pending":
                status = item.status, item.code
            counted[status] = counted.get(status, 0) + 1
        return dict(sorted(counted.items(), key=lambda pair: (pair[0][0], pair[0][1] or "")))

    def delete_obsolete(self, keep: Collection[ItemKey]) -> int:
        """Delete the items without a wheel of earlier converters and options, that is all but `keep`; returns how many."""
        names = [item.key for item in self.items().values() if item.key not in keep and item.status != "done"]
        with transaction(self._db, self.path) as db:
            db.executemany(_DELETE, map(_values, names))
        return len(names)

    def begin_run(self, now: float) -> int:
        """Record that a run begins; returns its number."""
        with transaction(self._db, self.path) as db:
            return int(db.execute("INSERT INTO run (started) VALUES (?)", (now,)).lastrowid or 0)

    def end_run(self, number: int, now: float, seconds: float, counts: Mapping[str, Any]) -> None:
        """Record that a run ended, after `seconds` by a monotonic clock."""
        with transaction(self._db, self.path) as db:
            values = (now, seconds, json.dumps(dict(counts)), number)
            db.execute("UPDATE run SET ended = ?, seconds = ?, counts = ? WHERE number = ?", values)

    def runs(self, last: int = 30) -> list[MirrorRun]:
        """The last runs, newest first."""
        with converted_errors(self.path):
            rows = self._db.execute("SELECT * FROM run ORDER BY number DESC LIMIT ?", (last,)).fetchall()
        return [MirrorRun(row["number"], row["started"], row["ended"], row["seconds"], json.loads(row["counts"])) for row in rows]

    def manifest(self) -> dict[str, Any]:
        """All that `rebuild` needs, as JSON, for a generation's manifest."""
        with converted_errors(self.path):
            packages = self._db.execute("SELECT document, seen, gone FROM package ORDER BY channel, subdir, filename").fetchall()
            items = self._db.execute("SELECT * FROM item WHERE document IS NOT NULL ORDER BY package, ended").fetchall()
        return {
            "schema": SCHEMA,
            "packages": [{"package": json.loads(row["document"]), "seen": row["seen"], "gone": row["gone"]} for row in packages],
            "items": [
                {"done": json.loads(row["document"])} | {name: row[name] for name in ("status", "attempts", "ended", "next_try")}
                for row in items
            ],
        }


_INSERT_PACKAGE = (
    "INSERT INTO package (channel, subdir, filename, sha256, record, document, seen, gone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, record = excluded.record, document = excluded.document, gone = NULL"
)
_INSERT_NEW_PACKAGE = "INSERT OR IGNORE INTO package VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_MOST_PARAMETERS = 500  # of one statement: SQLite allows 999
_INSERT_ITEM = "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# Not the documents, which are long.
_ITEMS = "SELECT package, converter, options, platform, status, code, attempts, broken, next_try FROM item"
_ITEM = "WHERE package = ? AND converter = ? AND options = ? AND platform = ?"
_START = f"UPDATE item SET started = ? {_ITEM}"  # noqa: S608 - only constants
_STATUS = f"SELECT status, attempts FROM item {_ITEM}"  # noqa: S608
_RESET = f"UPDATE item SET status = 'pending', attempts = 0, broken = 0, next_try = NULL, document = NULL {_ITEM}"  # noqa: S608
_REFUSED_FOR_LIBRARY = (
    "SELECT item.*, known.document AS listed FROM item JOIN package AS known ON known.sha256 = item.package"
    " WHERE item.status = 'refused' AND item.code = 'missing-library'"
)
_DELETE = f"DELETE FROM item {_ITEM}"  # noqa: S608


def _of_packages(select: str, packages: Collection[str] | None, order: str = "") -> tuple[str, tuple[str, ...]]:
    """A statement for all items, or those of packages by their sha256, and its parameters."""
    if packages is None:
        return f"{select} {order}", ()
    word = "AND" if " WHERE " in select else "WHERE"
    return f"{select} {word} package IN ({', '.join('?' * len(packages))}) {order}", tuple(packages)


def _reset_missing_libraries(db: sqlite3.Connection, new: set[str]) -> None:
    """Reset refusals for a missing library, the one verdict that depends on the rest of the channel."""
    rows = db.execute(_REFUSED_FOR_LIBRARY) if new else ()
    found = [_key(row) for row in rows if new & {spec_name(spec) for spec in json.loads(row["listed"])["depends"]}]
    db.executemany(_RESET, map(_values, found))


def _address(package: ChannelPackage) -> tuple[str, str, str]:
    return package.channel, package.subdir, package.url.rpartition("/")[2]


def _row(package: ChannelPackage, seen: float, gone: float | None) -> tuple[Any, ...]:
    return (*_address(package), package.sha256, package.record, json.dumps(dataclasses.asdict(package)), seen, gone)


def _package(document: Mapping[str, Any]) -> ChannelPackage:
    return ChannelPackage(**with_tuples(document))


def _values(key: ItemKey) -> tuple[str, str, str, str]:
    return key.package, key.converter, key.options, key.platform


def _key(row: Any) -> ItemKey:
    return ItemKey(row["package"], row["converter"], row["options"], row["platform"])


def _rows_of(manifest: Mapping[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The rows of a manifest: of packages, and of items."""
    try:
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']!r}")  # noqa: TRY301
        packages = [_row(_package(each["package"]), float(each["seen"]), each["gone"]) for each in manifest["packages"]]
        return packages, list(_item_rows(manifest["items"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed("state", f"the manifest holds no state: {error!r}", "use an older generation") from None


def _item_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for each in rows:
        result = ItemResult.from_json(each["done"])
        key = _values(result.key)
        document = json.dumps(result.json())
        yield (*key, each["status"], result.code, each["attempts"], 0, None, each["ended"], each["next_try"], document)
