"""A server on loopback that answers every connection with the bytes that a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: bytes | Answer) -> Iterator[str]:
    """Serve while the block runs; yields the URL. An answer may be a function, which writes to the connection itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

        def all_of_them() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    connection.settimeout(60)
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=all_of_them, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
