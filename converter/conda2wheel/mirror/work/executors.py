"""Executors run conversion jobs: in processes of this machine, on a Dask cluster, or in this process.

`open` provides workers to a caller that decides itself what runs when. `run` takes a job when a worker is free, never all at
once; after `stop` is set it starts none, and the running ones finish. A crash, too much memory or too much time ends one job: its
process is replaced by a new one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from conda2wheel.errors import Failed
from conda2wheel.files.threads import processors, use_threads
from conda2wheel.mirror.state.model import ItemKey, ItemResult
from conda2wheel.mirror.work.worker import ConversionJob, work

JOBS_PER_PROCESS = 200  # then a worker process is replaced, so that memory that libraries leak does not add up
TICK = 0.5  # seconds between two looks at `stop`
OnStart = Callable[[ItemKey], None]
Call = Callable[..., Future[Any]]  # (function, argument, memory=, timeout=): runs function(argument) in a worker


@dataclass(frozen=True)
class Workers:
    """Workers that are ready.

    Attributes:
        call: runs `function(argument)` in a worker, in limits of `memory` (bytes) and `timeout` (seconds), 0 for none.
        number: how many there are.
        enforce_timeout: whether the caller must give up calls that take too long, since the workers cannot.
        problem: says why they cannot be reached now, or None; what ran on them is then lost.
        is_closed: whether they will not be reached any more, and have to be opened again.
    """

    call: Call
    number: int
    enforce_timeout: bool = False
    problem: Callable[[], str | None] = lambda: None
    is_closed: Callable[[], bool] = lambda: False

    def submit(self, job: ConversionJob) -> Future[ItemResult]:
        """Convert a job's package in a worker; `result_of` reads the result."""
        memory = 0 if job.check != "no" else job.memory  # node reserves more address space than any limit
        return self.call(work, job, memory=memory, timeout=job.timeout)


class Executor(Protocol):
    """Runs jobs."""

    def open(self) -> contextlib.AbstractContextManager[Workers]:
        """Provide workers for the block; what still runs at its end is ended."""

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

    @contextlib.contextmanager
    def open(self) -> Iterator[Workers]:
        """Provide one worker, a thread of this process without limits, as `Executor.open`."""
        with ThreadPoolExecutor(1, thread_name_prefix="conda2wheel-worker") as pool:
            yield Workers(lambda function, argument, **_: pool.submit(function, argument), 1)

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`."""
        for job in jobs:
            if self.stop.is_set():
                return
            on_start(job.key)
            yield work(job)


@dataclass
class ProcessExecutor:
    """Runs jobs in worker processes, with each job's limits of memory and time.

    Attributes:
        workers: their number, 0 for one a core.
        nice: by how much they give way to other processes (nice(2)).
    """

    workers: int = 0
    nice: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def open(self) -> Iterator[Workers]:
        """Provide worker processes, as `Executor.open`. Raises `Failed` (dependency) where pebble is not installed."""
        import multiprocessing

        try:
            from pebble import ProcessPool
        except ImportError:
            hint = "pip install 'conda2wheel-wasm[mirror]'"
            raise Failed("dependency", "the mirror's worker processes need pebble", hint) from None
        workers = self.workers or processors()
        # Spawned, not forked: a lock that one of rattler's threads holds would stay locked in a forked process.
        context: Any = multiprocessing.get_context("spawn")
        pool: Any = ProcessPool(workers, JOBS_PER_PROCESS, _initialise, (self.nice, processors() // workers), context=context)

        def call(function: Callable[[Any], Any], argument: Any, memory: int = 0, timeout: float = 0.0) -> Future[Any]:
            return pool.schedule(_with_memory_limit, (function, argument, memory), timeout=timeout or None)  # type: ignore[no-any-return]

        try:
            yield Workers(call, workers)
            pool.close()
        finally:
            pool.stop()  # ends what runs
            pool.join()

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`. Raises `Failed` (dependency) where pebble is not installed."""
        with self.open() as workers:
            yield from _run_jobs(jobs, workers, workers.number + 1, self.stop, on_start)


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

    @contextlib.contextmanager
    def open(self) -> Iterator[Workers]:
        """Provide the cluster's workers, as `Executor.open`. Raises `Failed`: "dependency" where Dask is missing, "network"."""
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

            def problem() -> str | None:
                return None if client.status == "running" else f"the Dask scheduler at {self.address} does not answer"

            yield Workers(
                lambda function, argument, **_: executor.submit(function, argument),
                at_once,
                enforce_timeout=True,
                problem=problem,
                is_closed=lambda: client.status in ("closing", "closed"),
            )
        finally:
            client.close()

    def run(self, jobs: Iterable[ConversionJob], on_start: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Run jobs, as `Executor.run`. Raises `Failed`: "dependency" where Dask is not installed, "network"."""
        with self.open() as workers:
            yield from _run_jobs(jobs, workers, workers.number, self.stop, on_start)


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
    jobs: Iterable[ConversionJob], workers: Workers, at_once: int, stop: threading.Event, on_start: OnStart
) -> Iterator[ItemResult]:
    """Keep `at_once` jobs running, and yield their results."""
    waiting = iter(jobs)
    running: dict[Future[ItemResult], tuple[ConversionJob, float]] = {}
    while True:
        while len(running) < at_once and not stop.is_set():
            job = next(waiting, None)
            if job is None:
                break
            on_start(job.key)
            running[workers.submit(job)] = job, time.monotonic()
        if not running:
            return
        ended, _ = wait(running, TICK, FIRST_COMPLETED)
        for future in ended:
            job, _ = running.pop(future)
            yield result_of(job, future)
        now = time.monotonic()
        late = [(f, j) for f, (j, since) in running.items() if workers.enforce_timeout and j.timeout and now - since > j.timeout]
        for future, job in late:
            future.cancel()
            del running[future]
            yield timeout_of(job)


def _initialise(nice: int, count: int) -> None:
    """Prepare a worker process, whose conversions use `count` threads.

    Ctrl-C is for the parent, which then ends it. If the parent is killed, nothing enforces the timeout any more, so the worker
    ends itself.
    """
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(nice)
    use_threads(count)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _with_memory_limit(function: Callable[[Any], Any], argument: Any, memory: int) -> Any:
    """Call with as much memory as the call may have beyond what the process has now (beyond it, MemoryError)."""
    with memory_limit(memory):
        return function(argument)


@contextlib.contextmanager
def memory_limit(memory: int) -> Iterator[None]:
    """Let this process have as much more address space for the block as it has now (RLIMIT_AS); 0 for no limit.

    Linux alone has both the limit and /proc, which says how much a process has; elsewhere there is none.
    """
    used = address_space() if memory else None
    if used is None or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space() -> int | None:
    """The address space of this process in bytes: /proc/PID/statm, proc(5); None without /proc."""
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            pages = int(stream.read().split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def result_of(job: ConversionJob, future: Future[ItemResult]) -> ItemResult:
    """What the worker of a future that is done returned, or how it died."""
    try:
        return future.result()
    except TimeoutError:
        return timeout_of(job)
    except (Exception, CancelledError) as error:  # noqa: BLE001 - each executor has its own
        return _crash(job, error)


def timeout_of(job: ConversionJob) -> ItemResult:
    """The result of a job that took too long."""
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
    killed = hasattr(signal, "SIGKILL") and status == -signal.SIGKILL
    hint = "out of memory?" if killed else "a bug of conda2wheel or of one of its dependencies"
    return ItemResult(job.key, "failed", "crash", f"{label}: its worker died {ending}", hint)
