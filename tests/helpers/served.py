"""A channel over HTTP on loopback: ranges, ETags, kept connections, requests counted, and faults where a test asks for them."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHUNK = 1 << 14
LOOK = 0.1  # seconds between two looks whether a client still lives
PATIENCE = 600.0  # seconds, after which what is held is let go, so that a test fails and does not hang
DROP = 64  # bytes
DRIP = 0.02  # seconds
_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the paths that fit a pattern.

    times: how often, over all paths that fit; None is always.
    status: answer with that (404, 500, 503, 401, 429, ...); `location` makes it a redirect (301, 302, 307).
    drip: send the body a few bytes at a time, as long as `held` holds, and then the rest. It never comes to its end by itself.
    cut: close the connection after this share of the body (0.5), although Content-Length promises all of it.
    spoil: change a byte of the body: the right size, the wrong hash.
    share: the part of requests that it hits (0.1), by the server's seed.
    held: nothing is answered before that is let go. See `Served.hold`.
    """

    pattern: str = "*"
    times: int | None = None
    status: int | None = None
    location: str | None = None
    cut: float | None = None
    spoil: bool = False
    drip: bool = False
    share: float = 1.0
    held: Held | None = None


class Held:
    """Requests without an answer: what clients have asked for and not got, for as long as a test wants.

    `after`: requests for so many different paths are answered at once. `until`: as soon as so many are held at the same time, all
    are let go.
    """

    def __init__(self, after: int = 0, until: int | None = None) -> None:
        self._after, self._until = after, until
        self._passed: set[str] = set()
        self._held = 0
        self._freed = False
        self._changed = threading.Condition()

    def arrived(self, client: subprocess.Popen[Any] | None = None, count: int = 1) -> None:
        """Wait until so many requests are held. Raises AssertionError where the client ended before it asked."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._held >= count, LOOK):
                assert client is None or client.poll() is None, f"it ended with {client.returncode}, and never asked"

    def free(self) -> None:
        """Let all answers go."""
        with self._changed:
            self._freed = True
            self._changed.notify_all()

    def pass_by(self, path: str) -> None:
        """For the server: comes back when this request may be answered."""
        with self._changed:
            if path in self._passed or len(self._passed) < self._after:
                self._passed.add(path)
                return
            self._held += 1
            self._freed |= self._held == self._until
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._freed, PATIENCE)
            self._held -= 1

    def tick(self) -> bool:
        """For the server: comes back after a moment; whether it still holds."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._freed, DRIP)


@dataclass
class Served:
    """A running server: where it is, what it was asked for, and what is to go wrong."""

    url: str
    root: Path
    seed: int = 0
    requests: Counter[str] = field(default_factory=Counter)  # by path, which begins with /
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)  # bodies, by path
    connections: int = 0
    at_once: int = 0  # requests being answered now
    most_at_once: int = 0
    headers: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # of each request, in order
    ranges: bool = True  # whether it can send parts
    etags: bool = True
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - reproducible, not secret

    def fault(self, pattern: str = "*", **what: Any) -> None:
        """Switch on a fault (fields of `Fault`) for paths that fit a shell pattern; the last that fits is taken."""
        with self._lock:
            self._faults.append(Fault(pattern, **what))

    @contextmanager
    def hold(self, pattern: str = "*", *, after: int = 0, until: int | None = None, drip: bool = False) -> Iterator[Held]:
        """Answer no request whose path fits, before the block ends or `Held.free`. See `Held` and, for `drip`, `Fault`."""
        held = Held(after, until)
        fault = Fault(pattern, held=held, drip=drip)
        with self._lock:
            self._faults.append(fault)
        try:
            yield held
        finally:
            with self._lock:
                self._faults = [each for each in self._faults if each is not fault]
            held.free()

    def heal(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            for counter in (self.requests, self.statuses, self.bytes, self.headers):
                counter.clear()
            self.most_at_once = self.at_once

    def asked(self, pattern: str = "*") -> list[str]:
        """The paths that were asked for and fit, each once, sorted."""
        return sorted(path for path in list(self.requests) if fnmatchcase(path, pattern))

    def parts(self) -> dict[str, list[str | None]]:
        """Of each package file, by its name: what Range said in each request, None where the whole was asked for."""
        found: dict[str, list[str | None]] = {}
        for path, headers in list(self.headers):
            if path.endswith((".conda", ".tar.bz2")):
                found.setdefault(path.rpartition("/")[2], []).append(headers.get("Range"))
        return found

    def _fault(self, path: str) -> Fault:
        with self._lock:
            for position in reversed(range(len(self._faults))):
                found = self._faults[position]
                if not fnmatchcase(path, found.pattern) or found.times == 0:
                    continue
                if found.share < 1 and self._random.random() >= found.share:
                    continue
                if found.times is not None:
                    self._faults[position] = replace(found, times=found.times - 1)
                return found
        return Fault()

    def _enter(self, path: str, headers: dict[str, str]) -> None:
        with self._lock:
            self.requests[path] += 1
            self.headers.append((path, headers))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)


@contextmanager
def serve(root: Path, *, seed: int = 0, prefix: str = "", handler: type[Handler] | None = None) -> Iterator[Served]:
    """Serve a folder while the block runs; the URL ends with `prefix` (such as /emscripten-forge-4x), which no path here has."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler or Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_port}{prefix}", root, seed)
    server.served = served  # type: ignore[attr-defined]
    server.prefix = prefix  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="served")
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers requests as `Served` says."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True  # head and body are two writes

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        with self._served._lock:
            self._served.connections += 1

    @property
    def _served(self) -> Served:
        found: Served = self.server.served  # type: ignore[attr-defined]
        return found

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix(self.server.prefix)  # type: ignore[attr-defined]
        served = self._served
        served._enter(path, dict(self.headers.items()))
        try:
            self._respond(path, served._fault(path), body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client went away
        finally:
            with served._lock:
                served.at_once -= 1

    def _respond(self, path: str, fault: Fault, body: bool) -> None:
        if fault.held and not fault.drip:
            fault.held.pass_by(path)
        if fault.status is not None:
            self._head(path, fault.status, 0, {"Location": fault.location} if fault.location else {})
            return
        file = self._served.root / path.lstrip("/")
        if ".." in path.split("/") or not file.is_file():
            self._head(path, 404, 0, {})
            return
        data = file.read_bytes()
        headers = {"Accept-Ranges": "bytes"} if self._served.ranges else {}
        if self._served.etags:
            headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        if headers.get("ETag") and headers["ETag"] in self.headers.get("If-None-Match", ""):
            self._head(path, 304, None, headers)
            return
        if fault.spoil and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        status, data, headers = self._part(data, headers)
        self._head(path, status, len(data), headers)
        if body:
            self._body(path, data, fault)

    def _part(self, data: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """What the request's Range asks for, all where it names none or another version of the file (If-Range)."""
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if self._served.ranges else None
        same = self.headers.get("If-Range", headers.get("ETag", "")) == headers.get("ETag", "")
        if asked is None or not same:
            return 200, data, headers
        if asked[3]:
            start, end = max(len(data) - int(asked[3]), 0), len(data) - 1
        else:
            start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start > end:
            return 416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"}
        return 206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"}

    def _head(self, path: str, status: int, length: int | None, headers: dict[str, str]) -> None:
        with self._served._lock:
            self._served.statuses[path, status] += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _body(self, path: str, data: bytes, fault: Fault) -> None:
        whole = len(data) if fault.cut is None else int(len(data) * fault.cut)
        start = 0
        while start < whole:
            slow = fault.drip and fault.held is not None and fault.held.tick()
            piece = data[start : min(start + (DROP if slow else CHUNK), whole)]
            if slow and start + DROP >= whole:
                continue
            self.wfile.write(piece)
            start += len(piece)
            with self._served._lock:
                self._served.bytes[path] += len(piece)
        if whole < len(data):
            self.wfile.flush()
            self.close_connection = True
