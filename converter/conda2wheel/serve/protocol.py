"""uvicorn's HTTP protocol with the head of an answer and its body in one write.

uvicorn writes them one after the other, and uvloop sends each write at once: two system calls and two packets, which cost as much
as all of an index page's Python.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SMALL = 1 << 16  # bytes of a write that is worth joining to another


class JoinedWrites:
    """A transport that holds a write back until the next one, or the end of the event loop's turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """As the transport."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write now together with what is held, or hold."""
        held, self._held = self._held, None
        if len(data) > SMALL:
            if held is not None:
                self._transport.write(held)
            self._transport.write(data)
        elif held is None:
            self._held = data
            self._loop.call_soon(self._release)
        else:
            self._transport.write(held + data)

    def close(self) -> None:
        """Write what is held, and close."""
        self._release()
        self._transport.close()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._transport.write(held)


class ServiceProtocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
