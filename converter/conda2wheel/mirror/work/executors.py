"""Executors run conversion jobs: in processes of this machine, on a Dask cluster, or in this process.

A job is taken when a worker is free, never all at once. A crash, too much memory or too much time ends one job: its process is
replaced by a new one. After `stop` is set no job is started, and the running ones finish.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from conda2wheel.errors import Failed
from conda2wheel.mirror.state.model import ItemKey, ItemResult
from conda2wheel.mirror.work.worker import ConversionJob, work

JOBS_PER_PROCESS = 200  # then a worker process is replaced, so that memory that libraries leak does not add up
TICK = 0.5  # seconds between two looks at `stop`
OnStart = Callable[[ItemKey], None]


class Executor(Protocol):
    """Runs jobs."""

    @property
    def stop(self) -> threading.Event:
        """An event after which no job is started."""

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, and yield each result as it is ready, in any order.

        Args:
            jobs: the jobs; each is taken when a worker is free.
            on_start: called with the key of every job that is started.
        """


@dataclass
class InProcessExecutor:
    """Runs jobs in this process, one after the other, for debugging: a crash is not caught."""

    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`."""
        for job in jobs:
            if self.stop.is_set():
                return
            on_start(job.key)
            yield work(job)


@dataclass
class ProcessExecutor:
    """Runs jobs in worker processes, with each job's limits of memory and time. `workers` is their number, 0 for one a core."""

    workers: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`. Raises `Failed` (dependency) where pebble is not installed."""
        import multiprocessing

        try:
            from pebble import ProcessPool
        except ImportError:
            hint = "pip install 'conda2wheel-wasm[mirror]'"
            raise Failed("dependency", "the mirror's worker processes need pebble", hint) from None
        workers = self.workers or len(os.sched_getaffinity(0))
        # Spawned, not forked: a lock that one of rattler's threads holds would stay locked in a forked process.
        pool: Any = ProcessPool(workers, JOBS_PER_PROCESS, _initialise, context=multiprocessing.get_context("spawn"))
        try:

            def submit(job: ConversionJob) -> Future[ItemResult]:
                return pool.schedule(_with_memory_limit, (job,), timeout=job.timeout or None)  # type: ignore[no-any-return]

            yield from _run_jobs(jobs, submit, workers + 1, self.stop, on_start)
            pool.close()
        finally:
            pool.stop()  # ends the running jobs if the caller stops iterating
            pool.join()


@dataclass
class DaskExecutor:
    """Runs jobs on a Dask cluster.

    Its workers need conda2wheel-wasm[mirror] in this version, and access to the channels and the store. Dask repeats a job whose
    worker died, and gives up a job with which several workers died (`lost`). Memory is limited by the workers' own limit. A job
    that takes too long is given up here; Dask cannot end it on the worker.

    Attributes:
        address: the scheduler's address, `tcp://host:8786`.
        connect_timeout: seconds to reach the scheduler.
        stop: an event after which no job is started.
    """

    address: str
    connect_timeout: float = 10.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`. Raises `Failed`: "dependency" where Dask is not installed, "network"."""
        try:
            from distributed import Client
        except ImportError:
            raise Failed("dependency", "--dask needs Dask", "pip install 'conda2wheel-wasm[dask]'") from None
        try:
            client: Any = Client(self.address, timeout=self.connect_timeout)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), "")
            raise Failed("network", f"no Dask scheduler at {self.address}: {reason}", "check the address") from None
        try:
            executor = client.get_executor(pure=False, retries=2)
            at_once = max(1, sum(client.nthreads().values()))

            def submit(job: ConversionJob) -> Future[ItemResult]:
                return executor.submit(work, job)  # type: ignore[no-any-return]

            yield from _run_jobs(jobs, submit, at_once, self.stop, on_start, enforce_timeout=True)
        finally:
            client.close()


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Make SIGINT and SIGTERM set `stop`; a second signal raises KeyboardInterrupt. For the main thread."""

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {each: signal.signal(each, on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run_jobs(
    jobs: Iterable[ConversionJob],
    submit: Callable[[ConversionJob], Future[ItemResult]],
    at_once: int,
    stop: threading.Event,
    on_start: OnStart,
    enforce_timeout: bool = False,
) -> Iterator[ItemResult]:
    """Keep `at_once` jobs running, and yield their results. `enforce_timeout`: where the executor has no timeouts itself."""
    waiting = iter(jobs)
    running: dict[Future[ItemResult], tuple[ConversionJob, float]] = {}
    while True:
        while len(running) < at_once and not stop.is_set():
            job = next(waiting, None)
            if job is None:
                break
            on_start(job.key)
            running[submit(job)] = job, time.monotonic()
        if not running:
            return
        ended, _ = wait(running, TICK, FIRST_COMPLETED)
        for future in ended:
            job, _ = running.pop(future)
            yield _result(job, future)
        now = time.monotonic()
        late = [(f, j) for f, (j, since) in running.items() if enforce_timeout and j.timeout and now - since > j.timeout]
        for future, job in late:
            future.cancel()
            del running[future]
            yield _timeout(job)


def _initialise() -> None:
    """Prepare a worker process.

    Ctrl-C is for the parent, which then ends it. If the parent is killed, nothing enforces the timeout any more, so the worker
    ends itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(TICK)
    os._exit(1)


def _with_memory_limit(job: ConversionJob) -> ItemResult:
    """Run a job with as much memory as it may have beyond what the process has now (RLIMIT_AS; beyond it, MemoryError)."""
    import resource

    if not job.memory or job.check != "no":  # node reserves more address space than any limit
        return work(job)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + job.memory, hard))
    try:
        return work(job)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """The address space of this process in bytes: /proc/PID/statm, proc(5)."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _result(job: ConversionJob, future: Future[ItemResult]) -> ItemResult:
    """What the worker returned, or how it died."""
    try:
        return future.result()
    except TimeoutError:
        return _timeout(job)
    except (Exception, CancelledError) as error:  # noqa: BLE001 - each executor has its own
        return _crash(job, error)


def _timeout(job: ConversionJob) -> ItemResult:
    message = f"{job.package.subdir}/{job.package.stem}: it took longer than {job.timeout:g} seconds"
    return ItemResult(job.key, "failed", "timeout", message, "raise [work] timeout, or exclude it")


def _crash(job: ConversionJob, error: BaseException) -> ItemResult:
    label = f"{job.package.subdir}/{job.package.stem}"
    status: Any = getattr(error, "exitcode", None)
    if status is None:
        line = next(iter(str(error).splitlines()), "")
        message = f"{label}: its worker was lost: {type(error).__name__}: {line}"
        return ItemResult(job.key, "failed", "lost", message, "it will be tried again")
    ending = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    hint = "out of memory?" if status == -signal.SIGKILL else "a bug of conda2wheel or of one of its dependencies"
    return ItemResult(job.key, "failed", "crash", f"{label}: its worker died {ending}", hint)
