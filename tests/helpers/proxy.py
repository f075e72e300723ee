"""A proxy on loopback: forwards plain HTTP, opens no tunnel (CONNECT), and remembers what it was asked for."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP = ("connection", "proxy-connection", "keep-alive", "transfer-encoding")


@dataclass
class Proxy:
    """Where it is; the absolute addresses that it forwarded, and the HOST:PORT that tunnels were asked for."""

    url: str
    forwarded: list[str] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)


@contextmanager
def proxy() -> Iterator[Proxy]:
    """A running proxy, while the block runs."""
    record = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        timeout = 600

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            """Forward."""
            record.forwarded.append(self.path)
            there = urllib.parse.urlsplit(self.path)
            connection = http.client.HTTPConnection(there.hostname or "", there.port or 80, timeout=600)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, there._replace(scheme="", netloc="").geturl(), headers=headers)
            answer = connection.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
            connection.close()

        do_HEAD = do_GET

        def do_CONNECT(self) -> None:
            """Refuse a tunnel: what https would say in it nobody here could read."""
            record.tunnels.append(self.path)
            self.send_error(502)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="proxy").start()
    record.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()
