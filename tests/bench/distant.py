"""A server on loopback that answers as a distant one does: late, and with few bytes a second over each connection.

usage: python -m tests.bench.distant FOLDER SECONDS BYTES-A-SECOND    prints its URL, and serves until stdin ends
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.cache import REPOSITORY
from tests.helpers.served import Fault, Handler, serve

PIECE = 1 << 16


@contextlib.contextmanager
def distant(root: Path, latency: float, rate: float) -> Iterator[str]:
    """The URL of a folder on such a server, which has a Python of its own."""
    command = [sys.executable, "-m", "tests.bench.distant", str(root), str(latency), str(rate)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server of {root} did not start")
        yield url
        server.stdin.close()


def main(root: Path, latency: float, rate: float) -> None:
    """Serve the folder."""

    class Distant(Handler):
        def _answer(self, *, body: bool) -> None:
            time.sleep(latency)
            super()._answer(body=body)

        def _body(self, path: str, data: bytes, fault: Fault) -> None:
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                time.sleep(len(piece) / rate)
                super()._body(path, piece, fault)

    with serve(root, handler=Distant) as served:
        print(served.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
