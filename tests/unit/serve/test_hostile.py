"""Hostile requests and uploads against a service in a process: answered or refused, in bounded memory, nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conda2wheel.files.escape import printable
from conda2wheel.net.cache import cache_folder
from conda2wheel.serve.tokens import SCOPES, TokenFolder
from tests.helpers import hostile, sets
from tests.helpers.hostile import Hostile
from tests.helpers.hostile_requests import claims, exchange, requests
from tests.helpers.service import PATIENCE, request, until
from tests.helpers.service_process import ServiceProcess, started

MIB = 1 << 20
SERVICE = 350 * MIB  # that the service itself may have at its highest
WORKER = 1024 * MIB
TARGETS = [Path("/x"), Path("/etc/x"), Path("/etc/cron.d/x"), Path("/out.py"), Path("/x.py")]  # that hostile archives name
CODES = re.compile(r"[a-z]+(?:-[a-z]+)*")
ACCIDENTS = {"internal", "crash"}
OUTSIDE = hostile.package("member-parent", {**hostile.info(), "../../x": "x", "/etc/cron.d/x": "x"})


@dataclass
class Guarded:
    """A service whose processes are watched, alone in a folder with everything that it may write to."""

    process: ServiceProcess
    folder: Path
    tokens: TokenFolder
    peaks: dict[str, int] = field(default_factory=lambda: {"service": 0, "worker": 0})

    def send(self, each: Hostile, kind: str) -> dict[str, Any] | int:
        """Upload an input; the job when it has ended, or the status of what is no job."""
        query = f"kind={kind}&filename={quote(each.filename, safe='')}"
        added = request(f"{self.process.url}/api/v1/jobs?{query}", "POST", data=each.data)
        if added.status != 202:
            return added.status
        events = request(added.json()["links"]["events"]).text
        found: dict[str, Any] = json.loads([line for line in events.splitlines() if line.startswith("data: ")][-1][6:])
        return found

    def elsewhere(self) -> list[str]:
        """What is where the service has nothing to write."""
        own = ("public", "uploads", "tokens", "channel")
        files = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        beside = [str(path) for path in files if path.parts[0] not in own and path.name.split(".")[0] not in ("mirror", "log")]
        return beside + [str(path) for path in TARGETS if os.path.lexists(path)]


def _high(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]
    return []


@contextmanager
def guarded(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Iterator[Guarded]:
    sets.indexed(folder / "channel", [sets.pure("one", "1.0")])
    (folder / "work").mkdir()
    (folder / "temporary").mkdir()
    (folder / "home").mkdir()
    (folder / "mirror.toml").write_text(
        '[channel]\nurls = ["./channel"]\n[output]\nstore = "public"\n[work]\nworkers = 2\n'
        f'[serve]\nrate = ""\njobs = 100000\nupload = "64M"\nopen = ["read", "convert", "upload", "audit"]\n{more}',
        encoding="utf-8",
    )
    monkeypatch.chdir(folder / "work")
    cache = {"CONDA2WHEEL_CACHE": str(cache_folder())}
    environ = {"TMPDIR": str(folder / "temporary"), "HOME": str(folder / "home"), **cache}
    with started(folder / "mirror.toml", log=folder / "log", **environ) as process:
        until(lambda: process.get("/readyz").status == 200)
        found = Guarded(process, folder, TokenFolder(folder / "tokens"))
        stop = threading.Event()

        def watch() -> None:
            pid = process.process.pid
            while not stop.wait(0.02):
                found.peaks["service"] = max(found.peaks["service"], _high(pid))
                found.peaks["worker"] = max(found.peaks["worker"], *map(_high, _children(pid)), 0)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            stop.set()
            watcher.join()
        assert process.events("error") == []
        assert found.elsewhere() == []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from chain(value, *map(_texts, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_texts, value))
    elif isinstance(value, str):
        yield value


def _wrong(each: Hostile, kind: str, found: dict[str, Any] | int) -> Iterator[str]:
    """What is wrong with how an upload ended."""
    if isinstance(found, int):
        if not (400 <= found < 500):
            yield f"{each.name}: {found}"
        return
    results = found["result"].get("document", {}).get("results", [])
    code = results[0].get("code") if results else found["result"].get("code")
    if found["status"] not in ("done", "refused", "failed") or code in ACCIDENTS:
        yield f"{kind} {each.name}: {found['status']} {code} {str(found['result'])[:300]}"
    elif found["status"] != "done" and not CODES.fullmatch(code or ""):
        yield f"{kind} {each.name}: {found['status']} without a code: {str(found['result'])[:300]}"
    messages = [str(result.get(key)) for result in results for key in ("message", "hint") if result.get(key)]
    if any(printable(text) != text for text in messages):
        yield f"{kind} {each.name}: shows {messages!r:.300}"
    if any("/uploads/" in text or "Traceback" in text for text in _texts(found["result"])):
        yield f"{kind} {each.name}: names the service's own folders: {str(found['result'])[:300]}"


def failures(service: Guarded, inputs: Iterable[Hostile], kinds: Sequence[str] = ("convert", "audit")) -> list[str]:
    """What is wrong with what became of uploads, the first of which is converted, the next one audited, and so on."""
    jobs = list(zip(inputs, cycle(kinds), strict=False))
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda job: service.send(*job), jobs))
    return [wrong for (each, kind), found in zip(jobs, ended, strict=True) for wrong in _wrong(each, kind, found)]


def _answered(url: str, data: bytes) -> str:
    """What is wrong with the answer to a request; nothing if it is proper."""
    answer = exchange(url, data, PATIENCE)
    head = answer.partition(b"\r\n\r\n")[0].lower()
    bad = not re.match(rb"HTTP/1.1 [234]\d\d ", answer) or b"set-cookie" in head or b"root:" in answer or b"\x1b" in answer
    return f"{data[:120]!r}: {answer[:300]!r}" if bad else ""


def test_hostile_requests_are_answered_and_uploads_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of what `--long` tries."""
    with guarded(tmp_path, monkeypatch) as service:
        sample = [data for data in list(requests())[::29] if b" /simple/one/ " not in data]  # which is a conversion
        assert [wrong for data in sample if (wrong := _answered(service.process.url, data))] == []
        assert failures(service, [OUTSIDE, OUTSIDE]) == []
        assert service.send(Hostile("", "../a.whl", b"x"), "audit") == 400
        assert service.peaks["service"] < SERVICE
        assert service.peaks["worker"] < WORKER


@pytest.mark.long
def test_every_hostile_request_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded(tmp_path, monkeypatch) as service:
        assert service.process.get("/simple/one/").status == 200
        with ThreadPoolExecutor(4) as pool:
            wrong = list(pool.map(lambda data: _answered(service.process.url, data), requests()))
        assert list(filter(None, wrong)) == []
        assert service.peaks["service"] < SERVICE
        assert b"\x1b" not in service.process.log.read_bytes()


@pytest.mark.long
def test_every_hostile_upload_ends_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded(tmp_path, monkeypatch) as service:
        assert failures(service, [each for each in claims() for _ in range(2)]) == []
        assert failures(service, chain(hostile.packages(), hostile.wheels())) == []
        assert service.peaks["service"] < SERVICE
        assert service.peaks["worker"] < WORKER
        assert b"\x1b" not in service.process.log.read_bytes()
        kept = [path.name for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
        assert [name for name in kept if not name.endswith(".whl")] == []


@pytest.mark.long
def test_slow_and_endless_clients_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stranger would: 300 connections that drip, bodies without end, and 40 uploads that take for ever."""
    import socket

    with guarded(tmp_path, monkeypatch, 'upload_wait = "5s"\nuploads = 8\n') as service:
        port = int(service.process.url.rpartition(":")[2])
        upload = b"POST /api/v1/jobs?filename=a-1.0-0.conda HTTP/1.1\r\nHost: a\r\n"
        dripping = [(socket.create_connection(("127.0.0.1", port)), b"GET / HTTP/1.1\r\nHost: a\r\nX-Drip: ") for _ in range(300)]
        dripping += [(socket.create_connection(("127.0.0.1", port)), upload + b"Content-Length: 9999\r\n\r\n") for _ in range(40)]
        for connection, begun in dripping:
            connection.sendall(begun)
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.5):
                for connection, _ in dripping:
                    with contextlib.suppress(OSError):
                        connection.send(b"x")

        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            until(lambda: [each for each in service.process.events("request") if each["status"] == 503] != [])  # beyond the 8
            assert service.process.get("/").status == 200
            assert service.process.page("one")["files"] != []
            until(lambda: service.send(Hostile("", "a-1.0-0.conda", b"x"), "audit") not in (503, 429))
            until(lambda: sum(each["status"] == 408 for each in service.process.events("request")) == 8)
            for connection, _ in dripping:
                connection.settimeout(PATIENCE)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(1 << 16):
                        pass
        finally:
            stop.set()
            dripper.join()
        endless = exchange(
            service.process.url,
            upload + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 80,
            PATIENCE,
        )
        assert endless == b"" or endless.startswith(b"HTTP/1.1 413 ")  # what was sent too much may take the answer along
        assert service.peaks["service"] < SERVICE


@pytest.mark.long
def test_only_tokens_that_permit_it_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded(tmp_path, monkeypatch, "#") as service:
        config = (tmp_path / "mirror.toml").read_text(encoding="utf-8")
        assert service.process.get("/api/v1/jobs", Authorization="Bearer c2w_wrong").status == 401
        (tmp_path / "mirror.toml").write_text(config.replace('open = ["read", "convert", "upload", "audit"]', 'open = ["read"]'))
        service.process.process.send_signal(1)
        until(lambda: any(each.get("message", "").startswith("the configuration") for each in service.process.events("reload")))
        now = time.time()
        tokens = {scope: service.tokens.create(scope, [scope], now, None)[0] for scope in SCOPES}
        gone, known = service.tokens.create("gone", SCOPES, now, None)
        service.tokens.revoke(known.id)
        grown, known = service.tokens.create("grown", ["read"], now, None)
        path = service.tokens.folder / f"{known.id}.json"
        path.write_text(path.read_text().replace('["read"]', '["read", "admin", "*", "upload:*"]'))
        other = tokens["upload"][:-1] + ("A" if tokens["upload"][-1] != "A" else "B")
        late, _ = service.tokens.create("late", SCOPES, now - 10, 5)
        wanted = {"convert": 404, "upload": 202, "audit": 202}

        def statuses(token: str) -> dict[str, int]:
            url, who = f"{service.process.url}/api/v1/jobs", {"Authorization": f"Bearer {token}"}
            name = "?filename=a-1.0-0.conda&kind="
            return {
                "convert": request(url, "POST", data=b'{"spec": "nothing"}', Content_Type="application/json", **who).status,
                "upload": request(f"{url}{name}convert", "POST", data=b"x", **who).status,
                "audit": request(f"{url}{name}audit", "POST", data=b"x", **who).status,
            }

        for scope, token in tokens.items():
            assert statuses(token) == {each: status if each == scope else 403 for each, status in wanted.items()}
        assert statuses(grown) == dict.fromkeys(wanted, 403)
        for token in (gone, other, late, "", "c2w_../../x", "c2w_" + "0" * 12 + "_" + "x" * 43, tokens["upload"].upper()):
            assert statuses(token) == dict.fromkeys(wanted, 401)
        assert gone not in service.process.log.read_text(encoding="utf-8")
