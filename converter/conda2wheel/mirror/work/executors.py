"""Who does the work: processes of this machine, a Dask cluster, or this very process; each hands out orders and yields
`ItemResult`s.

Orders are taken as workers get free, never all at once. A crash, too much memory or too much time ends one item: its process dies
and another takes its place. After `stop` is set no order is taken any more, and what is under way ends.
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

LIFE = 200  # items of one worker process: what libraries leave behind does not add up
TICK = 0.5  # seconds between two looks at `stop`
OnStart = Callable[[ItemKey], None]


class Executor(Protocol):
    """Does orders."""

    @property
    def stop(self) -> threading.Event:
        """Set it, and no more orders are taken."""

    def run(self, orders: Iterable[ConversionJob], started: OnStart = lambda _: None) -> Generator[ItemResult]:
        """Do the orders; each one's `ItemResult` as it ends, in whatever order. `started` is told each key as it is handed
        out."""


@dataclass
class InProcessExecutor:
    """In this process, one after the other: for debugging, where a crash shall be seen."""

    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, orders: Iterable[ConversionJob], started: OnStart = lambda _: None) -> Generator[ItemResult]:
        """As `Executor.run`."""
        for order in orders:
            if self.stop.is_set():
                return
            started(order.key)
            yield work(order)


@dataclass
class ProcessExecutor:
    """Worker processes: `workers` of them, 0 for one a core. Bounds of memory and time are the orders' own."""

    workers: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, orders: Iterable[ConversionJob], started: OnStart = lambda _: None) -> Generator[ItemResult]:
        """As `Executor.run`. Raises `Failed` (dependency) where pebble is not installed."""
        import multiprocessing

        try:
            from pebble import ProcessPool
        except ImportError:
            raise Failed("dependency", "the mirror's processes need pebble", "pip install 'conda2wheel-wasm[mirror]'") from None
        workers = self.workers or len(os.sched_getaffinity(0))
        # Spawned, not forked: this process has rattler's threads, and a lock that one of them holds would stay held in a copy.
        pool: Any = ProcessPool(workers, LIFE, _begin, context=multiprocessing.get_context("spawn"))
        try:

            def submit(order: ConversionJob) -> Future[ItemResult]:
                return pool.schedule(_bounded, (order,), timeout=order.timeout or None)  # type: ignore[no-any-return]

            yield from _each(orders, submit, workers + 1, self.stop, started, _verdict)
            pool.close()
        finally:
            pool.stop()  # what is under way when somebody gives up is ended
            pool.join()


@dataclass
class DaskExecutor:
    """A Dask cluster, by its scheduler's address (`tcp://host:8786`); `patience`: seconds to reach it.

    Its workers need conda2wheel-wasm[mirror] in this version, and a way to the channels and to the store. Dask does an item again
    whose worker died; what kills several is given up (`lost`). Memory is bounded by the workers' own limit. What takes too long
    is given up here; Dask has no way to end it there.
    """

    address: str
    patience: float = 10.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, orders: Iterable[ConversionJob], started: OnStart = lambda _: None) -> Generator[ItemResult]:
        """As `Executor.run`. Raises `Failed`: dependency, network."""
        try:
            from distributed import Client
        except ImportError:
            raise Failed("dependency", "--dask needs Dask", "pip install 'conda2wheel-wasm[dask]'") from None
        try:
            client: Any = Client(self.address, timeout=self.patience)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            why = next(iter(str(error).splitlines()), "")
            raise Failed("network", f"no Dask scheduler at {self.address}: {why}", "check the address") from None
        try:
            executor = client.get_executor(pure=False, retries=2)
            at_once = max(1, sum(client.nthreads().values()))

            def submit(order: ConversionJob) -> Future[ItemResult]:
                return executor.submit(work, order)  # type: ignore[no-any-return]

            yield from _each(orders, submit, at_once, self.stop, started, _verdict, watched=True)
        finally:
            client.close()


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second one raises KeyboardInterrupt. For the main thread."""

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


def _each(
    orders: Iterable[ConversionJob],
    submit: Callable[[ConversionJob], Future[ItemResult]],
    at_once: int,
    stop: threading.Event,
    started: OnStart,
    verdict: Callable[[ConversionJob, Future[ItemResult]], ItemResult],
    watched: bool = False,
) -> Iterator[ItemResult]:
    """Keep `at_once` orders under way. `watched`: see to their time here, since nobody else does."""
    waiting = iter(orders)
    under_way: dict[Future[ItemResult], tuple[ConversionJob, float]] = {}
    while True:
        while len(under_way) < at_once and not stop.is_set():
            order = next(waiting, None)
            if order is None:
                break
            started(order.key)
            under_way[submit(order)] = order, time.monotonic()
        if not under_way:
            return
        ended, _ = wait(under_way, TICK, FIRST_COMPLETED)
        for future in ended:
            order, _ = under_way.pop(future)
            yield verdict(order, future)
        late = [(f, o) for f, (o, since) in under_way.items() if watched and o.timeout and time.monotonic() - since > o.timeout]
        for future, order in late:
            future.cancel()
            del under_way[future]
            yield _too_long(order)


def _begin() -> None:
    """A worker's first acts: Ctrl-C is for the process that waits for it, which then ends it; and if that one is killed, nobody
    is left to see to the time, so it goes, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(TICK)
    os._exit(1)


def _bounded(order: ConversionJob) -> ItemResult:
    """Work with no more memory than what the process has already and the order's. (RLIMIT_AS: beyond it, MemoryError.)"""
    import resource

    if not order.memory or order.check != "no":  # node reserves more than any machine has
        return work(order)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size() + order.memory, hard))
    try:
        return work(order)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _size() -> int:
    """The address space of this process, in bytes: /proc/PID/statm, proc(5)."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _verdict(order: ConversionJob, future: Future[ItemResult]) -> ItemResult:
    """What a worker gave back, or how it died."""
    try:
        return future.result()
    except TimeoutError:
        return _too_long(order)
    except (Exception, CancelledError) as error:  # noqa: BLE001 - each executor has its own
        return _died(order, error)


def _too_long(order: ConversionJob) -> ItemResult:
    message = f"{order.package.subdir}/{order.package.stem}: it took longer than {order.timeout:g} seconds"
    return ItemResult(order.key, "failed", "timeout", message, "raise [work] timeout, or exclude it")


def _died(order: ConversionJob, error: BaseException) -> ItemResult:
    what = f"{order.package.subdir}/{order.package.stem}"
    status: Any = getattr(error, "exitcode", None)
    if status is None:
        line = next(iter(str(error).splitlines()), "")
        return ItemResult(
            order.key, "failed", "lost", f"{what}: its worker went away: {type(error).__name__}: {line}", "it is tried again"
        )
    ending = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    hint = "out of memory?" if status == -signal.SIGKILL else "a bug of conda2wheel or of what it rests on"
    return ItemResult(order.key, "failed", "crash", f"{what}: its worker died {ending}", hint)
