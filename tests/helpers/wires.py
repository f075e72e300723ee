"""A wire between a client and an HTTP server that is cut when a test says so."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

Fate = Literal["pass", "cut", "deaf"]  # cut: nothing arrives; deaf: the request arrives, its answer does not


@contextmanager
def wire(address: str, fate: Callable[[int, bytes], Fate]) -> Iterator[tuple[str, list[bytes]]]:
    """An address that leads to another, and the requests that came. `fate` decides by a request's number and its first bytes; one
    request a connection."""
    target = urlsplit(address)
    seen: list[bytes] = []
    guard = threading.Lock()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = self.request.recv(1 << 16)
            if not request:
                return
            with guard:
                number = len(seen)
                seen.append(request)
                decided = fate(number, request)
            if decided == "cut":
                return
            with socket.create_connection((target.hostname or "", target.port or 80)) as server:
                server.sendall(_closing(request))
                threading.Thread(target=_pump, args=(self.request, server), daemon=True).start()
                while data := server.recv(1 << 16):
                    if decided == "pass":
                        self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()


def _closing(request: bytes) -> bytes:
    """The same request, on a connection that ends with it."""
    head, blank, body = request.partition(b"\r\n\r\n")
    return head + b"\r\nConnection: close" + blank + body


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:  # the other side has ended
        return
