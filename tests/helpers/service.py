"""The service on a free port of loopback, in this process or in one of its own, and what it answers."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conda2wheel.serve.config import ServeConfig, load
from conda2wheel.serve.logs import EventLog
from conda2wheel.serve.run import bind
from conda2wheel.serve.service import Service

PATIENCE = 600.0  # seconds, after which a test fails and does not hang
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


@dataclass(frozen=True)
class Response:
    """A response: its headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def request(url: str, method: str = "GET", *, data: bytes | None = None, **headers: str) -> Response:
    """One request on a connection of its own; a header's name has _ for -. No redirect is followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@dataclass
class RunningService:
    """A service that runs in a thread of this process."""

    url: str
    service: Service
    lines: io.StringIO

    def get(self, path: str, **headers: str) -> Response:
        return request(f"{self.url}{path}", data=None, **headers)

    def page(self, project: str) -> Any:
        """A project's page in JSON."""
        return self.get(f"/simple/{project}/", Accept=JSON).json()

    def idle(self) -> None:
        """Wait until the channels are read and no job is queued or running."""

        def is_idle() -> bool:
            text = self.get("/metrics").text
            counts = [f'conda2wheel_serve_jobs{{status="{status}"}} 0.0' in text for status in ("queued", "running")]
            return self.service.catalogue.is_read and all(counts)

        until(is_idle)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log's events, those of a name."""
        found = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [each for each in found if name in ("", each["event"])]


@contextmanager
def running(config: ServeConfig, **options: Any) -> Iterator[RunningService]:
    """Run a service during the block."""
    lines = io.StringIO()
    service = Service(replace(config, port=0), EventLog("json", lines), **options)
    answers = threading.Event()
    bound = bind(service, lambda _: answers.set())
    url = "http://{}:{}".format(*bound.socket.getsockname())
    thread = threading.Thread(target=bound.run, name="service")
    thread.start()
    try:
        assert answers.wait(PATIENCE)
        yield RunningService(url, service, lines)
    finally:
        service.stop_soon()
        bound.server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def configured(folder: Path, more: str = "", channel: str = "./channel") -> ServeConfig:
    """A configuration in a folder, with the store `public` beside it."""
    path = folder / "mirror.toml"
    path.write_text(f'[channel]\nurls = ["{channel}"]\n[output]\nstore = "public"\n{more}', encoding="utf-8")
    return load(path)
