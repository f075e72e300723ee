"""The queue of jobs, in the mirror's state, where it survives restarts.

A job is `convert` (an item of the channel, or an upload) or `audit` (an upload). At most one job with a key is queued or running,
so that asking twice joins the first. Several service processes on one machine may share a queue: one of them claims a job.

    queued -> running -> done | refused | failed
       ^         |
       +---------+  its process ended, or is ending

Who runs a job renews `beat`. A job is queued again when its process surely ended, or has not renewed it for `STALE`. A result may
be computed twice then; it is the same, and it counts once.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from conda2wheel.mirror.state.database import connect, converted_errors, transaction
from conda2wheel.mirror.store.lease import is_dead, this_process

JobKind = Literal["convert", "audit"]
JobStatus = Literal["queued", "running", "done", "refused", "failed", "cancelled"]
LIVE: tuple[JobStatus, ...] = ("queued", "running")
STATUSES: tuple[JobStatus, ...] = get_args(JobStatus)
ASKED, REQUESTED, AHEAD, OLDER, NEWER = range(5)  # priorities: someone waits, the API, requirements, older and newer versions
BEAT = 5.0  # seconds between two renewals
STALE = 60.0  # seconds after which a job that is not renewed is queued again
KEEP = 7 * 86400.0  # seconds for which ended jobs are known


@dataclass(frozen=True)
class JobRequest:
    """What is to be done.

    Attributes:
        kind: what.
        key: names the result: two requests with one key are one job.
        document: the details, as JSON; `source` in it is "channel" or "upload".
        owner: whose it is, for limits; None for the service's own.
        priority: the lower, the sooner.
    """

    kind: JobKind
    key: str
    document: Mapping[str, Any]
    owner: str | None = None
    priority: int = REQUESTED


@dataclass(frozen=True)
class ServiceJob:
    """A job in the queue. `result` is what it ended with, as JSON. Times are in seconds since 1970."""

    number: int
    id: str
    request: JobRequest
    status: JobStatus
    attempts: int
    created: float
    started: float | None = None
    ended: float | None = None
    result: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE

    def json(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "id": self.id,
            "kind": self.request.kind,
            "status": self.status,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "attempts": self.attempts,
            "result": None if self.result is None else dict(self.result),
        }


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job: `queued`, `running`, `stage`, `warning`, or the status that ended it."""

    number: int
    at: float
    document: Mapping[str, Any]


class JobQueue:
    """The queue in a state's file, for one thread.

    Args:
        path: the state's file.

    Raises:
        StateCorruptedError: if it is damaged.
        Failed: "state", "disk"; so does every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect(path)
        self._token = secrets.token_hex(8)  # two queues of one process are two
        self._process = json.dumps({"token": self._token, "process": this_process()})

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, requests: Iterable[JobRequest], now: float) -> list[ServiceJob]:
        """Queue jobs, or join those with the same keys that have not ended; a joined job gets the more urgent priority."""
        found = []
        with transaction(self._db, self.path) as db:
            for each in requests:
                values = (_new_id(), each.kind, each.key, json.dumps(dict(each.document)), each.owner, each.priority, now)
                added = db.execute(_INSERT, values).rowcount
                if not added:
                    db.execute(_HURRY, (each.priority, each.key, each.priority))
                [row] = db.execute(_LIVE, (each.key,))
                if added:
                    _add_event(db, row["number"], {"event": "queued"}, now)
                found.append(_job(row))
        return found

    def claim(self, now: float) -> ServiceJob | None:
        """Take the next job that is queued; None if there is none."""
        with converted_errors(self.path):
            if self._db.execute("SELECT 1 FROM job WHERE status = 'queued' LIMIT 1").fetchone() is None:
                return None
        with transaction(self._db, self.path) as db:
            row = db.execute(_NEXT).fetchone()
            if row is None:
                return None
            db.execute(_CLAIM, (now, now, self._process, row["number"]))
            _add_event(db, row["number"], {"event": "running"}, now)
            return _job(db.execute("SELECT * FROM job WHERE number = ?", (row["number"],)).fetchone())

    def finish(self, job: ServiceJob, status: JobStatus, result: Mapping[str, Any], now: float) -> bool:
        """End a job; returns whether it was this queue's to end."""
        with transaction(self._db, self.path) as db:
            values = (status, now, json.dumps(dict(result)), job.number, self._process)
            ended = db.execute(_FINISH, values).rowcount > 0
            if ended:
                _add_event(db, job.number, {"event": status}, now)
        return ended

    def release(self, job: ServiceJob, now: float) -> None:
        """Queue a claimed job again."""
        with transaction(self._db, self.path) as db:
            if db.execute(_RELEASE, (job.number, self._process)).rowcount:
                _add_event(db, job.number, {"event": "queued"}, now)

    def cancel(self, identity: str, now: float) -> bool:
        """Cancel a job that is queued; returns whether it was."""
        with transaction(self._db, self.path) as db:
            row = db.execute("SELECT number FROM job WHERE id = ? AND status = 'queued'", (identity,)).fetchone()
            if row is None:
                return False
            db.execute("UPDATE job SET status = 'cancelled', ended = ? WHERE number = ?", (now, row["number"]))
            _add_event(db, row["number"], {"event": "cancelled"}, now)
            return True

    def beat(self, now: float) -> None:
        """Renew the jobs that this queue runs."""
        with transaction(self._db, self.path) as db:
            db.execute("UPDATE job SET beat = ? WHERE status = 'running' AND process = ?", (now, self._process))

    def recover(self, now: float) -> int:
        """Queue jobs again whose process ended, and forget those that ended long ago; returns how many were queued."""
        with transaction(self._db, self.path) as db:
            rows = db.execute("SELECT number, process, beat FROM job WHERE status = 'running'").fetchall()
            lost = [row["number"] for row in rows if row["process"] != self._process and _is_lost(row, now)]
            for number in lost:
                db.execute("UPDATE job SET status = 'queued', process = NULL, beat = NULL WHERE number = ?", (number,))
                _add_event(db, number, {"event": "queued"}, now)
            db.execute("DELETE FROM job WHERE ended < ?", (now - KEEP,))
            db.execute("DELETE FROM job_event WHERE job NOT IN (SELECT number FROM job)")
        return len(lost)

    def get(self, identity: str) -> ServiceJob | None:
        """The job of an id."""
        with converted_errors(self.path):
            row = self._db.execute("SELECT * FROM job WHERE id = ?", (identity,)).fetchone()
        return None if row is None else _job(row)

    def live(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys whose job has not ended."""
        with converted_errors(self.path):
            return {key for key in keys if self._db.execute(_LIVE, (key,)).fetchone() is not None}

    def jobs(self, owner: str | None = None, limit: int = 100, before: int | None = None) -> list[ServiceJob]:
        """The newest jobs, of an owner or of all; `before` is the number of the last one of the page before."""
        with converted_errors(self.path):
            rows = self._db.execute(_LIST, (owner, owner, before, before, limit)).fetchall()
        return [_job(row) for row in rows]

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs have each status."""
        with converted_errors(self.path):
            found = dict(self._db.execute("SELECT status, count(*) FROM job GROUP BY status").fetchall())
        return {status: found.get(status, 0) for status in STATUSES}

    def add_event(self, job: ServiceJob, document: Mapping[str, Any], now: float) -> None:
        """Record that something happened to a job."""
        with transaction(self._db, self.path) as db:
            _add_event(db, job.number, document, now)

    def events(self, job: ServiceJob, after: int = 0) -> list[JobEvent]:
        """What happened to a job since the event of a number."""
        with converted_errors(self.path):
            rows = self._db.execute(_EVENTS, (job.number, after)).fetchall()
        return [JobEvent(row["number"], row["at"], json.loads(row["document"])) for row in rows]


_INSERT = (
    "INSERT INTO job (id, kind, key, document, owner, priority, status, created) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)"
    " ON CONFLICT (key) WHERE status IN ('queued', 'running') DO NOTHING"
)
_HURRY = "UPDATE job SET priority = ? WHERE key = ? AND status = 'queued' AND priority > ?"
_LIVE = "SELECT * FROM job WHERE key = ? AND status IN ('queued', 'running')"
_NEXT = "SELECT number FROM job WHERE status = 'queued' ORDER BY priority, attempts, number LIMIT 1"
_CLAIM = "UPDATE job SET status = 'running', attempts = attempts + 1, started = ?, beat = ?, process = ? WHERE number = ?"
_FINISH = (
    "UPDATE job SET status = ?, ended = ?, result = ?, process = NULL, beat = NULL"
    " WHERE number = ? AND status = 'running' AND process = ?"
)
_RELEASE = (
    "UPDATE job SET status = 'queued', attempts = attempts - 1, process = NULL, beat = NULL"
    " WHERE number = ? AND status = 'running' AND process = ?"
)
_LIST = "SELECT * FROM job WHERE (? IS NULL OR owner = ?) AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?"
_EVENTS = "SELECT * FROM job_event WHERE job = ? AND number > ? ORDER BY number"
_ADD_EVENT = (
    "INSERT INTO job_event (job, number, at, document)"
    " VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM job_event WHERE job = ?), ?, ?)"
)


def _add_event(db: sqlite3.Connection, job: int, document: Mapping[str, Any], now: float) -> None:
    db.execute(_ADD_EVENT, (job, job, now, json.dumps(dict(document))))


def _is_lost(row: sqlite3.Row, now: float) -> bool:
    beat = row["beat"] or 0.0
    if not now - STALE <= beat <= now + STALE:  # not renewed, or renewed by a clock that was set back
        return True
    try:
        process = json.loads(row["process"])["process"]
    except (ValueError, KeyError, TypeError):
        return True
    return is_dead(process)


def _new_id() -> str:
    return secrets.token_hex(12)  # who knows an id may read the job


def _job(row: sqlite3.Row) -> ServiceJob:
    request = JobRequest(row["kind"], row["key"], json.loads(row["document"]), row["owner"], row["priority"])
    result = None if row["result"] is None else json.loads(row["result"])
    return ServiceJob(
        number=row["number"],
        id=row["id"],
        request=request,
        status=row["status"],
        attempts=row["attempts"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        result=result,
    )
