"""A Dask cluster of this machine: a scheduler and workers, each a process with a folder, a home and a cache of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 600.0  # seconds for a cluster


@contextmanager
def cluster_process(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a cluster, with a working folder, a home and a cache of its own."""
    folder.mkdir()
    environ = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "CONDA2WHEEL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:], "--no-dashboard"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def cluster(folder: Path, workers: int, port: int = 0) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler, and its workers, which are not restarted."""
    known = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--scheduler-file", str(known))
        stack.enter_context(cluster_process(folder / "scheduler", *scheduler))
        deadline = time.monotonic() + PATIENCE
        while not known.exists():
            assert time.monotonic() < deadline, (folder / "scheduler" / "log").read_text()
            time.sleep(0.1)
        address = json.loads(known.read_text())["address"]
        single = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        made = [
            stack.enter_context(cluster_process(folder / f"worker-{each}", "worker", address, *single)) for each in range(workers)
        ]
        from distributed import Client

        with Client(address) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(workers, timeout=PATIENCE)
        yield address, made
