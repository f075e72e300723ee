"""Clients that send slowly, without end or too much, or never read, lose their connection; others do not notice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve import api, connections
from conda2wheel.serve.connections import MOST_FILES, OPEN_MAX, RESERVED, BoundedProtocol, bounded_protocol
from tests.helpers import sets, systems
from tests.helpers.service import PATIENCE, RunningService, configured, running, until

UPLOAD = "POST /api/v1/jobs?filename=a-1.0-0.conda HTTP/1.1\r\nHost: a\r\n"
BLOB = f"blobs/00/{'0' * 64}/a-1.0-py3-none-any.whl"


class Client:
    """A connection without any manners."""

    def __init__(self, service: RunningService) -> None:
        parts = urlsplit(service.url)
        self.socket = socket.create_connection((parts.hostname, parts.port), PATIENCE)

    def send(self, text: str | bytes) -> Client:
        self.socket.sendall(text.encode() if isinstance(text, str) else text)
        return self

    def flood(self, data: bytes) -> int:
        """Send the same for as long as the server takes it; returns how many bytes it took."""
        sent = 0
        try:
            while True:
                sent += self.socket.send(data)
        except OSError:
            return sent

    def answer(self) -> str:
        """All that comes until the server closes the connection."""
        data = b""
        try:
            while piece := self.socket.recv(1 << 16):
                data += piece
        except ConnectionResetError:
            pass
        self.socket.close()
        return data.decode()


@contextmanager
def service(folder: Path, more: str = "") -> Iterator[RunningService]:
    sets.indexed(folder / "channel", [])
    config = configured(folder, f'[serve]\nrate = ""\nopen = ["read", "convert", "upload"]\nupload = "1M"\n{more}')
    with running(config, executor=InProcessExecutor()) as started:
        yield started


def test_a_head_takes_a_bounded_time_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(tmp_path) as found:
        head = "GET / HTTP/1.1\r\nHost: a\r\nX-Large: "
        large = Client(found).send(head + "x" * (connections.HEAD + 1 - len(head)))  # no byte more, which would lose the answer
        assert large.answer().startswith("HTTP/1.1 431 ")
        monkeypatch.setattr(connections, "HEAD_WAIT", 0.2)
        for begun in ("", "GET / HTT", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "):
            assert Client(found).send(begun).answer() == ""
        slow = Client(found).send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")  # a second one, on a connection that was good
        until(lambda: b"200 OK" in slow.socket.recv(1 << 16, socket.MSG_PEEK))
        assert '"status":"ok"' in slow.send("GET / H").answer()
        assert found.get("/healthz").status == 200


def test_a_body_that_is_not_wanted_ends_with_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REST_WAIT", 0.2)
    with service(tmp_path) as found:
        for length in ("Content-Length: 10000000000", "Transfer-Encoding: chunked"):
            client = Client(found).send(f"{UPLOAD}{length}\r\n\r\n")
            reader = threading.Thread(target=client.flood, args=(b"10000\r\n" + bytes(65536) + b"\r\n",))
            reader.start()
            assert client.answer().startswith("HTTP/1.1 413 ")
            reader.join()
        assert found.service.uploads.used() == 0
        assert found.events("error") == []


def test_a_client_that_reads_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL", 0.2)
    with service(tmp_path) as found:
        path = tmp_path / "public" / BLOB
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(200_000_000)
        client = Client(found).send(f"GET /files/{BLOB.removeprefix('blobs/')} HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: any(each["path"].startswith("/files/") for each in found.events("request")))
        assert len(client.answer()) < 100_000_000


def test_connections_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conda2wheel.serve.run.bounded_protocol", lambda: type("Two", (BoundedProtocol,), {"most": 2}))
    with service(tmp_path) as found:
        open_ones = [Client(found), Client(found)]
        until(lambda: Client(found).answer().startswith("HTTP/1.1 503 "))
        for each in open_ones:
            each.socket.close()
        until(lambda: found.get("/healthz").status == 200)


def test_an_upload_takes_a_bounded_time_and_has_a_least_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = f"{UPLOAD}Content-Length: 100\r\n\r\n"
    with service(tmp_path, 'upload_wait = "1s"\n') as found:
        client = Client(found).send(head)
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                client.send("x")

        slow = threading.Thread(target=drip)
        slow.start()
        until(lambda: client.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 408")
        stop.set()
        slow.join()
        client.socket.close()
        monkeypatch.setattr(api, "PAUSE", 0.1)
        for sent in ("", "x"):
            paused = Client(found).send(head + sent)
            until(lambda client=paused: client.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 408")  # type: ignore[misc]
        wish = Client(found).send(
            'POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"'
        )
        until(lambda: wish.socket.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 408")
        assert found.service.uploads.used() == 0


def test_uploads_that_are_received_have_a_number(tmp_path: Path) -> None:
    with service(tmp_path, "uploads = 2\njobs = 1\n") as found:
        first = Client(found).send(f"{UPLOAD}Content-Length: 5\r\n\r\n1")
        until(lambda: found.service.uploads.open_of("127.0.0.1") == 1)
        second = Client(found).send(f"{UPLOAD}Connection: close\r\nContent-Length: 5\r\n\r\n12345").answer()
        assert second.startswith("HTTP/1.1 429 ")
        found.service.config = configured(tmp_path, '[serve]\nrate = ""\nopen = ["read", "convert", "upload"]\njobs = 9\n')
        found.service.uploads.most = 1
        third = Client(found).send(f"{UPLOAD}Connection: close\r\nContent-Length: 5\r\n\r\n12345").answer()
        assert third.startswith("HTTP/1.1 503 ")
        assert "retry-after: 10" in third
        first.socket.close()
        until(lambda: found.service.uploads.open_of("127.0.0.1") == 0)
        assert found.service.uploads.used() == 0


def test_a_system_that_gives_fewer_files_than_it_promises_serves_fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """MacOS: RLIM_INFINITY is the limit of getrlimit, and setrlimit refuses more than OPEN_MAX."""
    if systems.IS_WINDOWS:
        pytest.skip("needs limits of open files")
    resource = pytest.importorskip("resource")
    now = [256]

    def refuses(_: int, limits: tuple[int, int]) -> None:
        if limits[0] > most:
            raise ValueError("current limit exceeds maximum limit")
        now[0] = limits[0]

    monkeypatch.setattr(resource, "getrlimit", lambda _: (now[0], resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuses)
    for most, expected in ((256, 64), (OPEN_MAX, OPEN_MAX - RESERVED), (MOST_FILES, MOST_FILES - RESERVED)):
        assert bounded_protocol().most == expected
        assert now[0] == max(256, min(most, MOST_FILES))
