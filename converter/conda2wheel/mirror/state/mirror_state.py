"""What a mirror knows: which packages there are, what became of each work item, and when what failed is tried again.

One SQLite file (`mirror.database`), which any run may be killed over at any moment: what a worker did and nobody wrote down is
done again, to the same bytes. Every time is given, in seconds since 1970, and none is trusted: a clock that goes back stalls
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from conda2wheel.errors import Failed
from conda2wheel.mirror.state import process_lock as owner
from conda2wheel.mirror.state.database import StateCorruptedError, connect, errors, put_aside, transaction
from conda2wheel.mirror.state.match_specs import MatchSpecs, depends_name
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult
from conda2wheel.mirror.state.retries import longest_pause, retry_of

__all__ = ["ChannelChanges", "ItemStatus", "KnownPackage", "MirrorItem", "MirrorRun", "MirrorState", "StateCorruptedError"]

ItemStatus = Literal["pending", "done", "refused", "failed", "quarantined"]
SCHEMA = 1  # of a manifest's part


@dataclass(frozen=True)
class KnownPackage:
    """A package that a channel had: since when it is known, and since when it is gone (None: it is there)."""

    package: ChannelPackage
    seen: float
    gone: float | None


@dataclass(frozen=True)
class ChannelChanges:
    """A channel beside what was known of it. `changed`: another content under a known file name; `patched`: the same content, and
    repodata that say something else of it; `back`: it was gone."""

    new: tuple[ChannelPackage, ...] = ()
    changed: tuple[ChannelPackage, ...] = ()
    patched: tuple[ChannelPackage, ...] = ()
    vanished: tuple[ChannelPackage, ...] = ()
    back: tuple[ChannelPackage, ...] = ()


@dataclass(frozen=True)
class MirrorItem:
    """How it stands with a work item. `attempts` that failed; `broken`: how often a run ended while it was under way; `next_try`
    in seconds since 1970, for what failed."""

    key: ItemKey
    status: ItemStatus
    code: str | None
    attempts: int
    broken: int
    next_try: float | None


@dataclass(frozen=True)
class MirrorRun:
    """One run: `ended` and `seconds` are None while it goes on, or if it never ended."""

    number: int
    started: float
    ended: float | None
    seconds: float | None
    counts: Mapping[str, Any]


class MirrorState:
    """An open state. Of one thread; several processes may have one file open, and one of them own it."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises `StateCorruptedError` and `Failed` as `database.connect` does."""
        self.path = path
        self._db = connect(path)

    @classmethod
    def open(cls, path: str | Path) -> MirrorState:
        """As the constructor."""
        return cls(Path(path))

    @classmethod
    def rebuild(cls, path: str | Path, manifest: Mapping[str, Any] | None) -> MirrorState:
        """A new state from what `manifest` once wrote (None: an empty one). A broken file that was there is kept beside, as
        NAME.broken-N. Raises `Failed` (state) for a manifest that is none; then the old file is where it was."""
        packages, items = _read(manifest) if manifest is not None else ([], [])
        put_aside(Path(path))
        state = cls(Path(path))
        with transaction(state._db, state.path) as db:
            db.executemany(_INSERT_PACKAGE, packages)
            db.executemany(_INSERT_ITEM, items)
        return state

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def __enter__(self) -> MirrorState:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def owned(self, now: float) -> AbstractContextManager[None]:
        """Be the one run on it: `owner.owned`. Raises `Failed` (busy)."""
        return owner.owned(self.path, now)

    def recover(self) -> tuple[ItemKey, ...]:
        """What was under way when the last run ended without a word; it is due again. For the owner, before any `start`."""
        with transaction(self._db, self.path) as db:
            found = tuple(map(_key, db.execute("SELECT * FROM item WHERE started IS NOT NULL ORDER BY package, platform")))
            db.execute("UPDATE item SET broken = broken + 1, started = NULL WHERE started IS NOT NULL")
        return found

    def compare(self, packages: Iterable[ChannelPackage]) -> ChannelChanges:
        """What `see` would answer; nothing is written."""
        with errors(self.path):
            rows = self._db.execute("SELECT channel, subdir, filename, sha256, record, gone FROM package").fetchall()
        known = {tuple(row)[:3]: row for row in rows}
        there = {_place(package): package for package in packages}
        found: dict[str, list[ChannelPackage]] = {field.name: [] for field in dataclasses.fields(ChannelChanges)}
        for place, package in there.items():
            row = known.get(place)
            if row is None:
                found["new"].append(package)
                continue
            if row["gone"] is not None:
                found["back"].append(package)
            if row["sha256"] != package.sha256:
                found["changed"].append(package)
            elif row["record"] != package.record:
                found["patched"].append(package)
        vanished = {place for place, row in known.items() if row["gone"] is None} - there.keys()
        if vanished:
            found["vanished"] = [each.package for each in self.packages() if _place(each.package) in vanished]
        return ChannelChanges(**{name: tuple(each) for name, each in found.items()})

    def see(self, packages: Iterable[ChannelPackage], now: float) -> ChannelChanges:
        """Note what the channels have, all of them at once: what is not among `packages` is gone since `now`. What was refused
        for a library that was nowhere is due again if something came that it depends on."""
        packages = tuple(packages)
        seen = self.compare(packages)
        with transaction(self._db, self.path) as db:
            # A clock that went back: what is gone since tomorrow would never have been gone long enough.
            db.execute("UPDATE package SET gone = ? WHERE gone > ?", (now, now))
            db.executemany(
                _INSERT_PACKAGE, [_row(each, now, None) for each in (*seen.new, *seen.changed, *seen.patched, *seen.back)]
            )
            places = [(now, *_place(each)) for each in seen.vanished]
            db.executemany("UPDATE package SET gone = ? WHERE channel = ? AND subdir = ? AND filename = ?", places)
            _look_again(db, {each.name for each in (*seen.new, *seen.changed, *seen.back)})
        return seen

    def packages(self) -> list[KnownPackage]:
        """Every package that is or was there, in the order of channel, subdir, file name."""
        with errors(self.path):
            rows = self._db.execute("SELECT document, seen, gone FROM package ORDER BY channel, subdir, filename").fetchall()
        return [KnownPackage(_package(json.loads(row["document"])), row["seen"], row["gone"]) for row in rows]

    def pending(self, keys: Iterable[ItemKey]) -> None:
        """Note work items; those that are known stay as they are."""
        with transaction(self._db, self.path) as db:
            db.executemany(
                "INSERT OR IGNORE INTO item (package, converter, options, platform, status) VALUES (?, ?, ?, ?, 'pending')",
                map(dataclasses.astuple, keys),
            )

    def due(self, keys: Iterable[ItemKey], now: float) -> list[ItemKey]:
        """Those of `keys` that shall be worked on now, in their order: new and pending ones, and what failed and has waited."""
        items = self.items()

        def is_due(item: MirrorItem | None) -> bool:
            if item is None or item.status == "pending":
                return True
            wait = (item.next_try or now) - now
            return item.status == "failed" and (wait <= 0 or wait > longest_pause())

        return [key for key in keys if is_due(items.get(key))]

    def start(self, key: ItemKey, now: float) -> None:
        """Note that an item is under way."""
        with transaction(self._db, self.path) as db:
            db.execute(_START, (now, *dataclasses.astuple(key)))

    def finish(self, done: ItemResult, now: float, tries: int = 0) -> ItemStatus:
        """Note what became of an item. A failure is due again after its class's pause, or put aside after `tries` (0: as many as
        the class has). What is done or refused stays so, whatever a twin of its worker says later."""
        key = dataclasses.astuple(done.key)
        with transaction(self._db, self.path) as db:
            row = db.execute(_STATUS, key).fetchone()
            before: ItemStatus = row["status"] if row else "pending"
            attempts = row["attempts"] if row else 0
            if done.status == "failed" and before in ("done", "refused"):
                return before
            status: ItemStatus = done.status
            next_try = None
            if done.status == "failed":
                attempts += 1
                rule = retry_of(done.code)
                next_try = now + rule.pause(attempts)
                status = "quarantined" if attempts >= (tries or rule.tries) else "failed"
            document = json.dumps(done.json())
            db.execute(_INSERT_ITEM, (*key, status, done.code, attempts, 0, None, now, next_try, document))
        return status

    def retry(self, spec: str = "all") -> tuple[ItemKey, ...]:
        """Make items due now and forget their attempts: "all" that failed or were put aside, or those whose package a match
        spec fits, refused ones too. Raises `Failed` (usage)."""
        wanted = ("failed", "quarantined") if spec == "all" else ("failed", "quarantined", "refused")
        items = [item for item in self.items().values() if item.status in wanted]
        if spec != "all":
            packages = [each.package for each in self.packages()]
            fitting = {each.sha256 for each, fits in zip(packages, MatchSpecs([spec]).fit(packages), strict=True) if fits}
            items = [item for item in items if item.key.package in fitting]
        with transaction(self._db, self.path) as db:
            db.executemany(_AGAIN, [dataclasses.astuple(item.key) for item in items])
        return tuple(item.key for item in items)

    def again(self, keys: Iterable[ItemKey]) -> None:
        """Make items due as if they had never been done: the store has lost their wheels."""
        with transaction(self._db, self.path) as db:
            db.executemany(_AGAIN, map(dataclasses.astuple, keys))

    def items(self) -> dict[ItemKey, MirrorItem]:
        """How it stands with every item that is known, of every converter and options there ever were."""
        with errors(self.path):
            rows = self._db.execute("SELECT * FROM item").fetchall()
        return {
            (key := _key(row)): MirrorItem(key, row["status"], row["code"], row["attempts"], row["broken"], row["next_try"])
            for row in rows
        }

    def results(self, keys: Collection[ItemKey] | None = None) -> dict[ItemKey, ItemResult]:
        """What became of items, the last that is known of each; of those that were never finished, nothing. With `keys`: of
        these, and where one has no wheel and was not refused, the newest wheel that there is of the same package and platform:
        a new version of the converter that fails takes nothing out of an index."""
        with errors(self.path):
            rows = self._db.execute("SELECT * FROM item WHERE document IS NOT NULL ORDER BY ended").fetchall()
        found = {_key(row): row["document"] for row in rows}
        if keys is None:
            return {key: self._done(document) for key, document in found.items()}
        status = {_key(row): row["status"] for row in rows}
        older = {(key.package, key.platform): found[key] for key in found if status[key] == "done"}
        chosen = {
            key: found.get(key)
            if status.get(key) in ("done", "refused")
            else older.get((key.package, key.platform), found.get(key))
            for key in keys
        }
        return {key: self._done(document) for key, document in chosen.items() if document is not None}

    def _done(self, document: str) -> ItemResult:
        try:
            return ItemResult.from_json(json.loads(document))
        except ValueError as error:
            raise StateCorruptedError(self.path, str(error)) from None

    def counts(self, keys: Iterable[ItemKey] | None = None) -> dict[tuple[ItemStatus, str | None], int]:
        """How many of `keys` (None: of all) stand how, and by which code."""
        items = self.items()
        counted: dict[tuple[ItemStatus, str | None], int] = {}
        for key in items if keys is None else keys:
            item = items.get(key)
            at: tuple[ItemStatus, str | None] = ("pending", None)
            if item is not None and item.status != "pending":
                at = item.status, item.code
            counted[at] = counted.get(at, 0) + 1
        return dict(sorted(counted.items(), key=lambda pair: (pair[0][0], pair[0][1] or "")))

    def forget(self, keep: Collection[ItemKey]) -> int:
        """Drop what is known of other items than `keep` that have no wheel, those of older converters and options; how many."""
        names = [item.key for item in self.items().values() if item.key not in keep and item.status != "done"]
        with transaction(self._db, self.path) as db:
            db.executemany(_DELETE, map(dataclasses.astuple, names))
        return len(names)

    def begin_run(self, now: float) -> int:
        """Note that a run begins; its number."""
        with transaction(self._db, self.path) as db:
            return int(db.execute("INSERT INTO run (started) VALUES (?)", (now,)).lastrowid or 0)

    def end_run(self, number: int, now: float, seconds: float, counts: Mapping[str, Any]) -> None:
        """Note that it ended, after `seconds` by a clock that does not jump."""
        with transaction(self._db, self.path) as db:
            told = (now, seconds, json.dumps(dict(counts)), number)
            db.execute("UPDATE run SET ended = ?, seconds = ?, counts = ? WHERE number = ?", told)

    def runs(self, last: int = 30) -> list[MirrorRun]:
        """The last runs, newest first."""
        with errors(self.path):
            rows = self._db.execute("SELECT * FROM run ORDER BY number DESC LIMIT ?", (last,)).fetchall()
        return [MirrorRun(row["number"], row["started"], row["ended"], row["seconds"], json.loads(row["counts"])) for row in rows]

    def manifest(self) -> dict[str, Any]:
        """All that `rebuild` needs, as JSON has it: for `generation.json`."""
        with errors(self.path):
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
_INSERT_ITEM = "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_ITEM = "WHERE package = ? AND converter = ? AND options = ? AND platform = ?"
_START = f"UPDATE item SET started = ? {_ITEM}"  # noqa: S608 - nothing of anybody's is in it
_STATUS = f"SELECT status, attempts FROM item {_ITEM}"  # noqa: S608
_AGAIN = f"UPDATE item SET status = 'pending', attempts = 0, broken = 0, next_try = NULL, document = NULL {_ITEM}"  # noqa: S608
_LACKING = (
    "SELECT item.*, known.document AS told FROM item JOIN package AS known ON known.sha256 = item.package"
    " WHERE item.status = 'refused' AND item.code = 'missing-library'"
)
_DELETE = f"DELETE FROM item {_ITEM}"  # noqa: S608


def _look_again(db: sqlite3.Connection, came: set[str]) -> None:
    """The one verdict that depends on what else the channel has."""
    rows = db.execute(_LACKING) if came else ()
    found = [_key(row) for row in rows if came & {depends_name(spec) for spec in json.loads(row["told"])["depends"]}]
    db.executemany(_AGAIN, map(dataclasses.astuple, found))


def _place(package: ChannelPackage) -> tuple[str, str, str]:
    return package.channel, package.subdir, package.url.rpartition("/")[2]


def _row(package: ChannelPackage, seen: float, gone: float | None) -> tuple[Any, ...]:
    return (*_place(package), package.sha256, package.record, json.dumps(dataclasses.asdict(package)), seen, gone)


def _package(told: Mapping[str, Any]) -> ChannelPackage:
    return ChannelPackage(**{**told, "depends": tuple(told["depends"])})


def _key(row: Any) -> ItemKey:
    return ItemKey(row["package"], row["converter"], row["options"], row["platform"])


def _read(manifest: Mapping[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The rows of a manifest."""
    try:
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']!r}")  # noqa: TRY301
        packages = [_row(_package(each["package"]), float(each["seen"]), each["gone"]) for each in manifest["packages"]]
        return packages, list(_items(manifest["items"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed("state", f"the manifest holds no state: {error!r}", "take an older generation") from None


def _items(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for each in rows:
        done = ItemResult.from_json(each["done"])
        key = dataclasses.astuple(done.key)
        document = json.dumps(done.json())
        yield (*key, each["status"], done.code, each["attempts"], 0, None, each["ended"], each["next_try"], document)
