"""A folder on loopback, as a careful server gives it: content types, negotiation, CORS; and a record of what was asked for."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SIMPLE = "application/vnd.pypi.simple.v1+"
TYPES = {".whl": "application/octet-stream", ".metadata": "text/plain; charset=utf-8", ".json": "application/json"}


@dataclass
class Served:
    """Where the folder is (`http://127.0.0.1:PORT/`), and what was asked for: paths, and the Accept headers by path."""

    url: str
    asked: list[str] = field(default_factory=list)
    accepts: dict[str, str] = field(default_factory=dict)


@contextmanager
def served(folder: Path, *, negotiate: bool = True) -> Iterator[Served]:
    """Serve a folder. Without `negotiate` as `python -m http.server` does, but for CORS: HTML whoever asks for what."""
    record = Served("")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            """A page of the index as JSON to who wants that, anything else as a file."""
            record.asked.append(self.path)
            record.accepts[self.path] = accept = self.headers.get("Accept", "")
            self.page = SIMPLE + "json" if negotiate and SIMPLE + "json" in accept and self.path.endswith("/") else None
            if self.page:
                self.path += "index.json"
            super().do_GET()

        def end_headers(self) -> None:
            """Any page may read it."""
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Vary", "Accept")
            super().end_headers()

        def guess_type(self, path: str) -> str:  # type: ignore[override]
            """The types that servers should give."""
            return self.page or TYPES.get(Path(path).suffix) or super().guess_type(path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    record.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()
