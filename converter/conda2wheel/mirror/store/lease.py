"""A lease on publishing to a store: an object with an owner and an expiry, which its holder renews.

`lock.json` is {"schema", "owner", "token", "seconds", "process"}. It is only replaced by a conditional write, if it is still the
version that was read. The holder rewrites it every third of `seconds`; a lease that was not rewritten for `seconds` may be taken
over. Its age is measured by the store's clock alone (modification time against current time), so that no machine's clock matters.
A holder that died on this machine is recognised as dead, and its lease is taken over at once.
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

PATH = "lock.json"
SCHEMA = 1
SECONDS = 120.0
CLOCK_RESOLUTION = 2.0  # seconds: stores have modification times in whole seconds
USABLE = 0.8  # of `seconds`, by this machine's monotonic clock: the holder stops before another may take over


class Lease:
    """The lease of a store, held for the length of a `with` block; `check` before each step raises once it is lost.

    Args:
        store: the store to publish to.
        owner: who holds it, for the messages of others; HOST:PID if empty.
        seconds: until the lease expires where it is not renewed.
        path: the lease's object in the store.

    Raises:
        Failed: on entry, "locked" where another process holds it, "store" where the store fails.
    """

    _own_tokens: ClassVar[set[str]] = set()  # of this process: held, or about to be

    def __init__(self, store: Store, owner: str = "", seconds: float = SECONDS, path: str = PATH) -> None:
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._store, self._seconds, self._path = store, seconds, path
        self._token = uuid.uuid4().hex
        self._version = ""
        self._until = 0.0
        self._renewals = 0
        self._taken_by: str | None = None
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew_until_ended, daemon=True)

    def __enter__(self) -> Lease:
        self._own_tokens.add(self._token)
        try:
            return self._acquire()
        except BaseException:
            self._own_tokens.discard(self._token)
            raise

    def _acquire(self) -> Lease:
        for _ in range(3):
            began = time.monotonic()
            found = self._store.fetch(self._path)
            if found is not None and self._is_held(found):
                raise self._held_error(_parse(found.data))
            data = self._document()
            won = self._store.put_new(self._path, data) if found is None else self._store.put_if(self._path, data, found.version)
            if won and self._confirm(began):
                self._renewing.start()
                return self
        found = self._store.fetch(self._path)
        raise self._held_error(_parse(found.data if found else b""))

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewing.join()
        self._own_tokens.discard(self._token)
        if self._taken_by is None:
            released = json.dumps({"schema": SCHEMA, "owner": None, "token": self._token}).encode()
            with contextlib.suppress(Failed):  # the work is done, and the lease expires by itself
                self._store.put_if(self._path, released, self._version)

    def check(self) -> None:
        """Raise `Failed` (locked) if another process took the lease over, or may have by now."""
        if self._taken_by is not None:
            raise Failed("locked", f"{self._taken_by} took over the lease of {self._store.url}", "its work continues")
        if time.monotonic() > self._until:
            raise Failed("locked", f"the lease of {self._store.url} was not renewed in time", "run it again")

    def _document(self) -> bytes:
        self._renewals += 1  # every version has different bytes
        document = {
            "schema": SCHEMA,
            "owner": self.owner,
            "token": self._token,
            "seconds": self._seconds,
            "renewals": self._renewals,
            "process": this_process(),
        }
        return json.dumps(document).encode()

    def _confirm(self, began: float) -> bool:
        """Read the lease back and note its version; False if it is another's. `began`: monotonic time before it was written."""
        found = self._store.fetch(self._path)
        document = _parse(found.data if found else b"")
        if found is None or document.get("token") != self._token:
            self._taken_by = str(document.get("owner") or "another process")
            return False
        self._taken_by = None
        self._version, self._until = found.version, began + self._seconds * USABLE
        return True

    def _is_held(self, found: StoredObject) -> bool:
        document = _parse(found.data)
        if document.get("owner") is None and "token" in document:
            return False  # released
        process = document.get("process")
        if is_dead(process):
            return False
        # Without /proc nobody knows: every process is None there, and another's lease is no leftover of this one.
        if process is not None and process == this_process() and document.get("token") not in self._own_tokens:
            return False  # an earlier lease of this process, whose release failed, on a full disk for instance
        info = self._store.head(self._path)
        if info is None:
            return False
        seconds = document.get("seconds", self._seconds)
        seconds = seconds if isinstance(seconds, int | float) else self._seconds
        return self._store.clock() - info.modified <= seconds + CLOCK_RESOLUTION

    def _held_error(self, document: dict[str, Any]) -> Failed:
        owner = document.get("owner") or "another process"
        seconds = document.get("seconds", self._seconds)
        return Failed("locked", f"{owner} is publishing to {self._store.url}", f"its lease expires {seconds:g} s after it stops")

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            began = time.monotonic()
            try:
                self._store.put_if(self._path, self._document(), self._version)
                if not self._confirm(began):
                    return
            except Failed:
                continue  # `check` raises once the lease may have expired


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def this_process() -> dict[str, str] | None:
    """Identify this process uniquely, for `is_dead` of another one; None without /proc."""
    return _process(os.getpid())


def _process(pid: int) -> dict[str, str] | None:
    """Identify a process uniquely: boot, PID namespace, PID and start time (proc(5)); None if it has ended, or without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
    if stat[0] in "ZX":
        return None
    return {"boot": boot, "space": space, "pid": str(pid), "started": stat[19]}


def is_dead(process: Any) -> bool:
    """Whether a process surely ended: it ran on this machine since boot, in this PID namespace, and does not run now."""
    this = this_process()
    if this is None or not isinstance(process, dict) or any(process.get(key) != this[key] for key in ("boot", "space")):
        return False
    pid = str(process.get("pid"))
    return pid.isdecimal() and _process(int(pid)) != process
