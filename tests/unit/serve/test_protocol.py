"""Answers on the wire: a head and its body in one piece; several requests of one connection, in order; a large file whole."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve import files
from tests.helpers.mirror_index import publish_release
from tests.helpers.service import JSON, PATIENCE, configured, running

LARGE = hashlib.sha256(b"large").digest() * (files.SMALL // 16)


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), PATIENCE) as connection:
        yield connection


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def whole(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def test_what_goes_over_a_connection(tmp_path: Path) -> None:
    with running(configured(tmp_path, "[serve]\non_demand = false\n")) as service:
        store = service.service.store
        publish_release(store, 1)
        service.service.index.update()
        digest = hashlib.sha256(LARGE).hexdigest()
        large = f"{digest[:2]}/{digest}/large-1.0-py3-none-any.whl"
        store.put(f"blobs/{large}", LARGE)
        page = service.get("/simple/grows/", Host="a").body
        with connected(service.url) as connection:
            for _ in range(3):  # the head and the body come together
                connection.sendall(get("/simple/grows/"))
                head, _, body = connection.recv(1 << 20).partition(b"\r\n\r\n")
                assert (head[:15], body) == (b"HTTP/1.1 200 OK", page)
            connection.sendall(get("/simple/grows/", "If-None-Match: *"))
            assert connection.recv(1 << 20).startswith(b"HTTP/1.1 304 ")
            for accepted in (("Accept: image/png", f"Accept: {JSON}"), (f"Accept: {JSON}", "Accept: image/png")):
                connection.sendall(get("/simple/grows/", *accepted))  # headers of one name are one list
                assert f"content-type: {JSON}\r\n".encode() in connection.recv(1 << 20)
            pipelined = [get("/healthz"), get("/simple/grows/"), get("/files/x"), get(f"/files/{large}", "Connection: close")]
            connection.sendall(b"".join(pipelined))
            found = whole(connection)
        statuses = [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"200", b"404", b"200"]
        assert found.count(page) == 1
        assert found.endswith(b"\r\n\r\n" + LARGE)
        with connected(service.url) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert whole(connection).startswith(b"HTTP/1.1 400 ")


def test_large_bodies_are_taken_however_they_arrive(tmp_path: Path) -> None:
    """The last part of a body that is read is larger than a head may be."""
    body = b"x" * (3 << 20)
    with running(configured(tmp_path, '[serve]\nopen = ["read", "audit"]\n'), executor=InProcessExecutor()) as service:
        path = "/api/v1/jobs?kind=audit&filename=a-1-py3-none-any.whl"
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        with connected(service.url) as connection:
            for _ in range(6):
                connection.sendall(head.encode() + body)
                assert connection.recv(1 << 20).startswith(b"HTTP/1.1 202 ")
