"""Connections: bounds on what a client may take of one before and after its request, which uvicorn does not have.

A client that sends its head a byte at a time, sends a body without end after the answer, or never reads what it asked for holds
a connection and its buffers. Bodies that are read have bounds of their own (`uploads`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from conda2wheel.serve.protocol import ServiceProtocol

HEAD_WAIT = 20.0  # seconds that a request's line and headers may take
HEAD = 1 << 16  # bytes of them
REST_WAIT = 30.0  # seconds for the rest of a body that was answered before its end, so that the client reads the answer
STALL = 60.0  # seconds without a byte read by a client, while the answer waits for it
MOST_FILES = 16384  # that this process may have open
OPEN_MAX = 10240  # of macOS, which may refuse more though it names no limit: setrlimit(2)
RESERVED = 256  # files that are open for other things than connections
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(ServiceProtocol):
    """The service's protocol with these bounds."""

    most = 0  # connections at a time; 0 for any number

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = 0  # bytes since the last request
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if self.most and len(self.connections) > self.most:
            self.transport.write(_TOO_MANY)
            self.transport.close()
            return
        self._await_within(HEAD_WAIT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._unset()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what belongs to no request yet."""
        before = self.cycle
        is_body = before is not None and before.more_body  # before the parser sees the end of it
        super().data_received(data)
        if self.cycle is not before:  # a head is complete
            self._head = 0
            self._unset()
        elif not is_body:
            self._head += len(data)
            if self._head > HEAD and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
            elif before is None or before.response_complete:
                self._await_within(HEAD_WAIT)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an upgrade, as RFC 9110 (7.8) allows; the log has the request."""

    def on_message_complete(self) -> None:
        """Note the end of a body that was answered before it."""
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self._unset()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        if self.cycle.response_complete and self.cycle.more_body:
            self._await_within(REST_WAIT)
        elif self._head:
            self._await_within(HEAD_WAIT)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALL, self._look, left)

    def _look(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self.transport.abort()

    def _await_within(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._give_up)

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.transport.abort()


def bounded_protocol() -> type[BoundedProtocol]:
    """The protocol for as many connections as this process may have files, which it may have more of from now on."""
    return type("HttpProtocol", (BoundedProtocol,), {"most": max(64, _raise_files() - RESERVED)})


def _raise_files() -> int:
    if sys.platform == "win32":  # sockets are no files
        return MOST_FILES
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    for files in (wanted, OPEN_MAX):
        if soft < files <= wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            except (OSError, ValueError):
                continue
            return files
    return soft
