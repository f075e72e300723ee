"""Runs the jobs of the queue with an executor: worker processes of this machine, or a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conda2wheel.errors import Failed
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.work.executors import Executor, Workers
from conda2wheel.serve.jobs import BEAT, JobQueue, JobStatus, ServiceJob
from conda2wheel.serve.logs import EventLog
from conda2wheel.serve.state import ServiceState

LOOK = 1.0  # seconds between two looks at the queue, for jobs of other processes
NICE = 10  # worker processes give way to requests
PAUSE = 5.0  # seconds before what failed is tried again: to reach the workers, to write to the state


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; None as `status`: it did not, and is queued again."""

    status: JobStatus | None
    result: Mapping[str, Any]


Handler = Callable[[ServiceJob, Workers], Awaitable[JobOutcome]]


class WorkersGoneError(Exception):
    """The workers of a job cannot be reached: it is queued again."""


class JobRunner:
    """Claims jobs while workers are free.

    Args:
        state: where the queue is.
        executor: runs what handlers give to its workers.
        handlers: what to do by a job's kind and source.
        log: receives events.
    """

    def __init__(
        self, state: ServiceState, executor: Executor, handlers: Mapping[tuple[str, str], Handler], log: EventLog
    ) -> None:
        self._state, self._executor, self._handlers, self._log = state, executor, handlers, log
        self._running: dict[asyncio.Task[None], ServiceJob] = {}
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopping = False
        self.problem: str | None = None
        self.on_end: Callable[[ServiceJob, JobOutcome], None] = lambda *_: None

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    async def until_next(self, seconds: float) -> None:
        """Wait until a job of this process has ended, or for some seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    @property
    def running(self) -> int:
        """How many jobs run here."""
        return len(self._running)

    async def run(self) -> None:
        """Run jobs until `stop`."""
        beat = asyncio.create_task(self._beat())
        try:
            while not self._stopping:
                async with contextlib.AsyncExitStack() as stack:
                    workers = await self._open(stack)
                    await self._use(workers)
                    await self._drained()
        finally:
            beat.cancel()

    async def _use(self, workers: Workers) -> None:
        """Run jobs until `stop`, or until the workers have to be opened again."""
        while not self._stopping and not workers.is_closed():
            self._set_problem(workers.problem())
            while self.problem is None and len(self._running) < workers.number and not self._stopping:
                job = await self._claim()
                if job is None:
                    break
                task = asyncio.create_task(self._work(job, workers))
                self._running[task] = job
                task.add_done_callback(self._forget)
                self._set_problem(workers.problem())
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK)

    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            self._log("workers", "info" if problem is None else "error", message=problem or "they can be reached")
        self.problem = problem

    def begin_stop(self) -> None:
        """Claim no more jobs."""
        self._stopping = True
        self.wake()

    async def stop(self, seconds: float) -> None:
        """Let running jobs end for some seconds; then they are queued again."""
        self.begin_stop()
        if self._running:
            await asyncio.wait(list(self._running), timeout=seconds)
        for task in list(self._running):
            task.cancel()
        await self._drained()

    async def _drained(self) -> None:
        while self._running:
            await asyncio.wait(list(self._running))

    def _forget(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log("job", "error", job=job.id, error=repr(error))
        self.wake()

    async def _open(self, stack: contextlib.AsyncExitStack) -> Workers:
        """Open the executor; a cluster that does not answer is asked again."""
        while True:
            opened = self._executor.open()
            try:
                workers = await asyncio.to_thread(opened.__enter__)
            except Failed as error:
                if error.code == "dependency" or self._stopping:
                    self.problem = error.message
                    raise
                self._set_problem(error.message)
                await asyncio.sleep(PAUSE)
            else:
                self._set_problem(None)
                stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
                return workers

    async def _claim(self) -> ServiceJob | None:
        try:
            return await self._state(lambda _, queue: queue.claim(time.time()))
        except Failed as error:
            self._log("queue", "error", message=error.message)
            return None

    async def _beat(self) -> None:
        """Renew this process's jobs, and queue those of dead ones again."""
        while True:
            await asyncio.sleep(BEAT)
            with contextlib.suppress(Failed):
                await self._state(lambda _, queue: queue.beat(time.time()))
                if await self._state(lambda _, queue: queue.recover(time.time())):
                    self.wake()

    async def _work(self, job: ServiceJob, workers: Workers) -> None:
        self._log("job", job=job.id, kind=job.request.kind, key=job.request.key, status="running", attempts=job.attempts)
        started = time.monotonic()
        handler = self._handlers.get((job.request.kind, str(job.request.document.get("source"))))
        try:
            outcome = await handler(job, workers) if handler is not None else _unknown(job)
        except (asyncio.CancelledError, WorkersGoneError):
            outcome = JobOutcome(None, {})
        except Failed as error:
            outcome = JobOutcome("failed", {"code": error.code, "message": error.message, "hint": error.hint})
        except Exception as error:  # noqa: BLE001 - a bug ends one job
            self._log("job", "error", job=job.id, error=repr(error))
            outcome = JobOutcome("failed", {"code": "internal", "message": repr(error), "hint": ""})
        await self._record(job, outcome)
        status = outcome.status or "queued"
        seconds = round(time.monotonic() - started, 3)
        self._log("job", job=job.id, key=job.request.key, status=status, seconds=seconds, code=outcome.result.get("code"))
        self.on_end(job, outcome)
        self._ended.set()
        self._ended = asyncio.Event()

    async def _record(self, job: ServiceJob, outcome: JobOutcome) -> None:
        """Write how a job ended, for as long as the disk refuses it."""

        def record(_: MirrorState, queue: JobQueue) -> None:
            if outcome.status is None:
                queue.release(job, time.time())
            else:
                queue.finish(job, outcome.status, outcome.result, time.time())

        while True:
            try:
                await self._state(record)
            except Failed as error:
                self._log("queue", "error", message=error.message)
                if self._stopping:
                    return  # whoever claims it next finds its result
                await asyncio.sleep(PAUSE)
            else:
                return


def _unknown(job: ServiceJob) -> JobOutcome:
    message = f"this version runs no jobs of {job.request.kind} {job.request.document.get('source')}"
    return JobOutcome("failed", {"code": "internal", "message": message, "hint": ""})
