"""Time that passes when a test says so: for what waits, renews or runs out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from conda2wheel.mirror.store.base import ObjectInfo, Store, StoredObject

PATIENCE = 600.0  # seconds, after which a test fails and does not hang


class Leaping:
    """The module `time` for code that waits: its clock leaps whenever a file has changed since the last look.

    A program that goes on writing into the file is found late at once, on machines of any speed.
    """

    def __init__(self, watched: Path, leap: float) -> None:
        self._watched, self._leap = watched, leap
        self._seen = b""
        self._ahead = 0.0

    def monotonic(self) -> float:
        """The real clock, and all leaps."""
        now = self._watched.read_bytes() if self._watched.exists() else b""
        if now != self._seen:
            self._seen = now
            self._ahead += self._leap
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        """As `time` does."""
        time.sleep(seconds)


class Later(Store):
    """A store whose clock is `ahead` seconds ahead of the real one, also in what it says about files that are written here."""

    def __init__(self, store: Store) -> None:
        self._store, self.url = store, store.url
        self.ahead = 0.0
        self._written: dict[str, float] = {}

    def fetch(self, path: str) -> StoredObject | None:
        return self._store.fetch(path)

    def head(self, path: str) -> ObjectInfo | None:
        meta = self._store.head(path)
        return meta and replace(meta, modified=meta.modified + self._written.get(path, 0.0))

    def put(self, path: str, source: bytes | Path) -> None:
        self._written[path] = self.ahead
        self._store.put(path, source)

    def put_new(self, path: str, data: bytes) -> bool:
        if done := self._store.put_new(path, data):
            self._written[path] = self.ahead
        return done

    def put_if(self, path: str, data: bytes, version: str) -> bool:
        if done := self._store.put_if(path, data, version):
            self._written[path] = self.ahead
        return done

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        return self._store.folders(prefix)

    def delete(self, paths: Iterable[str]) -> None:
        self._store.delete(paths)

    def clock(self) -> float:
        return self._store.clock() + self.ahead

    def set_link(self, name: str, target: str | None) -> bool:
        return self._store.set_link(name, target)

    def links(self) -> dict[str, str]:
        return self._store.links()

    def delete_partial_files(self, before: float) -> int:
        return self._store.delete_partial_files(before)


class Pauses(threading.Event):
    """An event that a loop waits for between two rounds; each pause ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float | None] = []
        self._begun, self._over = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout)
        self._begun.release()
        self._over.acquire()
        return self.is_set()

    def begun(self) -> None:
        """Wait until the loop does."""
        assert self._begun.acquire(timeout=PATIENCE)

    def over(self, *, last: bool = False) -> None:
        """End the pause, and wait for the next one, unless it was the last: a round has been made."""
        self._over.release()
        if not last:
            self.begun()

    def set(self) -> None:
        super().set()
        self._over.release()
