"""Who publishes: a lock in the store, with an owner and an end.

`lock.json` is {"schema", "owner", "token", "seconds", "process"}, written only if it still is what was read.
Its holder writes it anew every third of `seconds`; one that has not been written for `seconds` may be taken over. That age is
told by the store's clock alone (when it was written, and what time it is there now), so that no machine's clock can be wrong
about it. A holder that died on this machine is known to be dead, and is not waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

from conda2wheel.errors import Failed
from conda2wheel.mirror.store.base import Store, StoredObject

LOCK = "lock.json"
SCHEMA = 1
SECONDS = 120.0
CLOCKS = 2.0  # stores tell times in whole seconds
HOLDS = 0.8  # of `seconds`, by this machine's monotonic clock: the holder stops before another may begin


class Lease:
    """`with Lock(store, owner) as lock:` holds it; `lock.check()` before each step raises once it does not any more.

    Raises `Failed`: "locked" where another holds it, "store" where the store cannot be asked.
    """

    _here: ClassVar[set[str]] = set()  # tokens that this process holds, or is about to

    def __init__(self, store: Store, owner: str = "", seconds: float = SECONDS, path: str = LOCK) -> None:
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._store, self._seconds, self._path = store, seconds, path
        self._token = uuid.uuid4().hex
        self._version = ""
        self._until = 0.0
        self._renewals = 0
        self._taken_by: str | None = None
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew_on_and_on, daemon=True)

    def __enter__(self) -> Lease:
        self._here.add(self._token)
        try:
            return self._enter()
        except BaseException:
            self._here.discard(self._token)
            raise

    def _enter(self) -> Lease:
        for _ in range(3):
            began = time.monotonic()
            found = self._store.fetch(self._path)
            if found is not None and self._held(found):
                raise self._refused(_told(found.data))
            ours = self._record()
            won = self._store.put_new(self._path, ours) if found is None else self._store.put_if(self._path, ours, found.version)
            if won and self._is_ours(began):
                self._renewing.start()
                return self
        found = self._store.fetch(self._path)
        raise self._refused(_told(found.data if found else b""))

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        self._here.discard(self._token)
        if self._taken_by is None:
            released = json.dumps({"schema": SCHEMA, "owner": None, "token": self._token}).encode()
            with contextlib.suppress(Failed):  # it ends by itself, and the work is done
                self._store.put_if(self._path, released, self._version)

    def check(self) -> None:
        """Raises `Failed` (locked) if another has it, or may have it by now."""
        if self._taken_by is not None:
            raise Failed("locked", f"{self._taken_by} took over the lock of {self._store.url}", "the other's work goes on")
        if time.monotonic() > self._until:
            raise Failed("locked", f"the lock of {self._store.url} could not be renewed in time", "run it again")

    def _record(self) -> bytes:
        self._renewals += 1  # each version has bytes of its own
        told = {"schema": SCHEMA, "owner": self.owner, "token": self._token, "seconds": self._seconds, "renewals": self._renewals}
        return json.dumps(told | {"process": _this_process()}).encode()

    def _is_ours(self, began: float) -> bool:
        """What is there is ours: note its version. `began`: when writing it did, by the monotonic clock."""
        found = self._store.fetch(self._path)
        told = _told(found.data if found else b"")
        if found is None or told.get("token") != self._token:
            self._taken_by = str(told.get("owner") or "another")
            return False
        self._taken_by = None
        self._version, self._until = found.version, began + self._seconds * HOLDS
        return True

    def _held(self, found: StoredObject) -> bool:
        told = _told(found.data)
        if told.get("owner") is None and "token" in told:
            return False
        if _is_dead(told.get("process")) or (told.get("process") == _this_process() and told.get("token") not in self._here):
            return False  # the latter could not be released: its disk was full
        there = self._store.head(self._path)
        if there is None:
            return False
        seconds = told.get("seconds", self._seconds)
        seconds = seconds if isinstance(seconds, int | float) else self._seconds
        return self._store.clock() - there.modified <= seconds + CLOCKS

    def _refused(self, told: dict[str, Any]) -> Failed:
        who = told.get("owner") or "another"
        after = told.get("seconds", self._seconds)
        return Failed("locked", f"{who} is at work in {self._store.url}", f"its lock ends {after:g} s after it stops")

    def _renew_on_and_on(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            began = time.monotonic()
            try:
                self._store.put_if(self._path, self._record(), self._version)
                if not self._is_ours(began):
                    return
            except Failed:
                continue  # `check` tells when it was too long


def _told(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _this_process() -> dict[str, str] | None:
    return _process(os.getpid())


def _process(pid: int) -> dict[str, str] | None:
    """A process as nobody else is, on this machine since it was started, and as its container sees it; None where Linux's /proc
    does not tell."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
    if state[0] in "ZX":
        return None
    return {"boot": boot, "space": space, "pid": str(pid), "started": state[19]}


def _is_dead(told: Any) -> bool:
    """Surely: it ran here, and runs no more."""
    here = _this_process()
    if here is None or not isinstance(told, dict) or any(told.get(key) != here[key] for key in ("boot", "space")):
        return False
    pid = str(told.get("pid"))
    return pid.isdecimal() and _process(int(pid)) != told
