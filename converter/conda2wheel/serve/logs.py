"""Log lines: one JSON object (or one line of text) for each event, on standard error.

Every line has `time` (UTC), `level` and `event`; what belongs to a request has `request`, its id, which the client gets as
X-Request-ID. Values never contain credentials: addresses are redacted where they are made.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from conda2wheel.files.escape import printable
from conda2wheel.serve.config import LogForm


class EventLog:
    """Writes events.

    Args:
        form: "json", or "text" for people.
        stream: where the lines go.
    """

    def __init__(self, form: LogForm = "json", stream: TextIO | None = None) -> None:
        self._text = form == "text"
        self._stream = stream or sys.stderr

    def __call__(self, event: str, level: str = "info", **values: Any) -> None:
        """Write an event with its values; None is left out."""
        moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        given = {key: value for key, value in values.items() if value is not None}
        if self._text:
            line = " ".join([moment, event, *(f"{key}={printable(str(value))}" for key, value in given.items())])
        else:
            line = json.dumps({"time": moment, "level": level, "event": event, **given})
        try:
            self._stream.write(f"{line}\n")
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
