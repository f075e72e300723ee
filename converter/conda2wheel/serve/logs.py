"""Log lines: one JSON object (or one line of text) for each event, on standard error.

Requests are written once a turn of the event loop, since each write would cost as much as an answer. Every line has `time` (UTC),
`level` and `event`; what belongs to a request has `request`, its id, which the client gets as X-Request-ID. Values never contain
credentials: addresses are redacted where they are made.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar, TextIO

from conda2wheel.files.escape import printable
from conda2wheel.serve.config import LogForm

_quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii


LEVELS = ("debug", "info", "warning", "error", "critical")  # from the least important on


class EventLog:
    """Writes events.

    Args:
        form: "json", or "text" for people.
        stream: where the lines go.

    Attributes:
        least: the least important level that is written; for all logs of the process.
    """

    least: ClassVar[str] = "info"

    def __init__(self, form: LogForm = "json", stream: TextIO | None = None) -> None:
        self._text = form == "text"
        self._stream = stream or sys.stderr
        self._second = 0, ""  # and its text
        self._waiting: list[str] = []

    def __call__(self, event: str, level: str = "info", **values: Any) -> None:
        """Write an event with its values, if its level is; None is left out."""
        if LEVELS.index(level) < LEVELS.index(self.least):
            return
        self._write(self._line(event, level, values))

    def request(self, **values: Any) -> None:
        """Write a request that was answered, with the others of this turn of the event loop. Values are text and numbers."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write_waiting)
        if self._text:
            line = self._line("request", "info", values)
        else:  # json.dumps makes an encoder each time, which would be an eighth of an answer's work
            given = ((key, value) for key, value in values.items() if value is not None)
            inside = ", ".join(f'"{key}": {_quoted(value) if isinstance(value, str) else value}' for key, value in given)
            line = f'{{"time": "{self._moment()}", "level": "info", "event": "request", {inside}}}\n'
        self._waiting.append(line)

    def _line(self, event: str, level: str, values: dict[str, Any]) -> str:
        moment = self._moment()
        given = {key: value for key, value in values.items() if value is not None}
        if self._text:
            return " ".join([moment, event, *(f"{key}={printable(str(value))}" for key, value in given.items())]) + "\n"
        return json.dumps({"time": moment, "level": level, "event": event, **given}) + "\n"

    def _moment(self) -> str:
        now = time.time()
        second, text = self._second
        if int(now) != second:
            second = int(now)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text}.{int(now % 1 * 1000):03d}Z"

    def _write_waiting(self) -> None:
        lines, self._waiting = self._waiting, []
        self._write("".join(lines))

    def _write(self, lines: str) -> None:
        try:
            self._stream.write(lines)
            self._stream.flush()
        except (OSError, ValueError):  # the reader of standard error has ended: that ends no service
            return


class LogHandler(logging.Handler):
    """Passes records of Python's logging (uvicorn's and the library's) to an `EventLog`."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a traceback is one value of it."""
        trace = None if record.exc_info is None else logging.Formatter().formatException(record.exc_info)
        self._log("log", record.levelname.lower(), logger=record.name, message=record.getMessage(), trace=trace)
