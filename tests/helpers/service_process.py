"""The service as a process of its own, as it is started by people: ended by signals, killed, started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.service import JSON, PATIENCE, Response, request, until


@dataclass
class ServiceProcess:
    """A running `conda2wheel serve`."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str, **headers: str) -> Response:
        return request(f"{self.url}{path}", data=None, **headers)

    def page(self, project: str) -> Any:
        return self.get(f"/simple/{project}/", Accept=JSON).json()

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0 where there is none."""
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        start = f"conda2wheel_serve_{name}" + (f"{{{inside}}}" if inside else "")
        lines = self.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{start} ")), 0.0)

    def idle(self) -> None:
        """Wait until no job is queued or running."""
        until(lambda: all(self.metric("jobs", status=status) == 0 for status in ("queued", "running")))

    def events(self, name: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        return [each for each in found if each["event"] == name]

    def end(self, number: int) -> int:
        """Send a signal, and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def started(*arguments: object, log: Path, port: str | int = 0, **environ: str) -> Iterator[ServiceProcess]:
    """Start the service on a port, a free one by default; whatever runs at the end of the block is killed."""
    command = [sys.executable, "-m", "conda2wheel", "serve", *map(str, arguments), "--port", str(port)]
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environ})
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), log.read_text(encoding="utf-8")
        yield ServiceProcess(url, process, log)
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()
