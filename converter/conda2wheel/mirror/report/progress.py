"""What a run is at, while it runs: moving on a terminal, a line now and then where there is none.

`run` sends events; whoever watches is told of them by one `RunProgress`, which is plain arithmetic on the times that it is given.
Rates are those of the last minute, so that the time left follows what the network and the packages are like now.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from conda2wheel.files.escape import format_seconds, format_size, printable
from conda2wheel.mirror.state.model import ItemResult

if TYPE_CHECKING:
    from rich.console import RenderableType

WINDOW = 60.0  # seconds
FEW = 5  # items of which no time left is told yet
BESIDE = 45  # columns of a terminal for what stands beside the name of an item
NAMED = ("failed",)  # statuses that get a line of their own at once


@dataclass
class WorkerProgress:
    """What one worker does: `what`, since when, at which stage, and how many bytes of it have come."""

    what: str | None = None
    since: float = 0.0
    stage: str = ""
    received: int = 0


@dataclass
class RunProgress:
    """How far a run of `total` items is that began at `began`. All times are seconds of one clock that only goes forward."""

    total: int
    began: float
    counts: Counter[str] = field(default_factory=Counter)
    downloaded: int = 0
    workers: dict[str, WorkerProgress] = field(default_factory=dict)
    _ended: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def ended(self) -> int:
        """Items that are done, refused or failed."""
        return self.counts.total()

    def start(self, worker: str, what: str, now: float) -> None:
        """A worker began with an item."""
        self.workers[worker] = WorkerProgress(what, now)

    def stage(self, worker: str, stage: str, received: int = 0) -> None:
        """A worker is at a stage of its item, of which it has so many bytes."""
        if (at := self.workers.get(worker)) is not None:
            at.stage, at.received = stage, received

    def finish(self, worker: str | None, done: ItemResult, now: float) -> None:
        """An item ended. `worker` is None where nobody knows who had it."""
        self.counts[done.status] += 1
        self.downloaded += done.downloaded
        self._ended.append((now, done.downloaded))
        if worker is not None:
            self.workers[worker] = WorkerProgress(since=now)
        while self._ended[0][0] < now - WINDOW:
            self._ended.popleft()

    def leave(self, worker: str) -> None:
        """A worker is gone."""
        self.workers.pop(worker, None)

    def bytes(self) -> int:
        """What has come so far, of what is not finished too."""
        return self.downloaded + sum(worker.received for worker in list(self.workers.values()))

    def rates(self, now: float) -> tuple[float, float]:
        """Items and bytes a second, over the last minute or since it began."""
        spent = min(WINDOW, now - self.began)
        if spent <= 0:
            return 0.0, 0.0
        sizes = [
            size for at, size in tuple(self._ended) if at >= now - WINDOW
        ]  # a copy: `TerminalProgress` draws from another thread
        return len(sizes) / spent, sum(sizes) / spent

    def left(self, now: float) -> float | None:
        """Seconds until the last item ends at this rate; None where it is too early to tell, or nothing ended of late."""
        rate, _ = self.rates(now)
        if self.ended < FEW or not rate:
            return None
        return max(0, self.total - self.ended) / rate

    def line(self, now: float) -> str:
        """All of it but the workers, in one line."""
        items, received = self.rates(now)
        left = self.left(now)
        told = [
            f"{self.ended} of {self.total}",
            ", ".join(f"{self.counts[status]} {status}" for status in ("done", "refused", "failed") if self.counts[status]),
            f"{items:.1f} items/s" if items >= 1 or not items else f"{items * 60:.0f} items/min",
            f"{format_size(self.bytes())} ({format_size(received)}/s)" if self.bytes() else "",
            "" if left is None else f"{format_seconds(left)} left",
        ]
        return "; ".join(each for each in told if each)


class ProgressView:
    """What a run tells while it runs. This one shows a line on `stream` every `every` seconds and for each failure; `stamps` puts
    the time of day before each, which logs of cron's need and those of systemd have already."""

    def __init__(
        self,
        total: int,
        stream: TextIO,
        *,
        every: float = 10.0,
        stamps: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress = RunProgress(total, clock())
        self._stream = stream
        self._every = every
        self._stamps = stamps
        self._clock = clock
        self._told = clock()

    def started(self, worker: str, what: str) -> None:
        """A worker begins with an item, which a person knows as `what`."""
        self.progress.start(worker, what, self._clock())

    def stage(self, worker: str, stage: str, received: int = 0) -> None:
        """It is at this stage of it, and has so many bytes of it."""
        self.progress.stage(worker, stage, received)
        self._tick()

    def finished(self, worker: str | None, what: str, done: ItemResult) -> None:
        """An item ended."""
        self.progress.finish(worker, done, self._clock())
        if done.status in NAMED:
            self.say(f"{what}: {done.status}: {done.code}: {done.message}")
        self._tick()

    def gone(self, worker: str) -> None:
        """A worker is gone: it crashed, or its machine did."""
        self.progress.leave(worker)

    def say(self, line: str) -> None:
        """Something that a person should read."""
        stamp = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} " if self._stamps else ""
        print(stamp + printable(line), file=self._stream, flush=True)

    def close(self) -> None:
        """The last word: where the run ended."""
        self.say(self.progress.line(self._clock()))

    def _tick(self) -> None:
        now = self._clock()
        if now - self._told >= self._every:
            self._told = now
            self.say(self.progress.line(now))


class TerminalProgress(ProgressView):
    """The same on a terminal: a bar, the numbers, and a line a worker, which move; failures scroll by above them."""

    def __init__(self, total: int, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live as Moving

        super().__init__(total, stream, clock=clock)
        # Not redirected: rich would print on `stream` what goes to stdout, and stdout may be a file.
        self._console = Console(file=stream, force_terminal=True)
        self._moving = Moving(
            get_renderable=self.drawn, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._moving.start()

    def say(self, line: str) -> None:
        """Above what moves."""
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """What moved is gone, and the last word stays."""
        self._moving.stop()
        super().close()

    def _tick(self) -> None:
        pass  # what moves is drawn by itself

    def drawn(self) -> RenderableType:
        """What is to be seen now."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = self._clock()
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        # As they came: a worker's line stays where it is. Drawn from another thread than the one that changes them.
        for name, worker in list(self.progress.workers.items())[: max(1, self._console.height - 4)]:
            what = Text("idle", style="dim") if worker.what is None else Text(printable(worker.what))
            what.truncate(max(20, self._console.width - BESIDE), overflow="ellipsis")
            stage = worker.stage + (f" {format_size(worker.received)}" if worker.received else "")
            grid.add_row(printable(name), what, stage, format_seconds(max(0.0, now - worker.since)))
        bar = ProgressBar(total=max(1, self.progress.total), completed=self.progress.ended)
        lines = Table.grid(expand=True)  # in which a bar ends its line, too
        for each in (bar, Text(self.progress.line(now), overflow="ellipsis", no_wrap=True), grid):
            lines.add_row(each)
        return lines


@contextmanager
def show_progress(
    total: int, stream: TextIO | None = None, *, every: float = 10.0, stamps: bool = False, quiet: bool = False
) -> Iterator[ProgressView]:
    """The view that fits where the run was started: moving on a terminal, else lines (`every` seconds), or nothing at all. Yields
    what `run` sends its events to; afterwards the last line says where it ended, also where an exception ended it."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        yield SilentProgress(total, stream)
        return
    view = TerminalProgress(total, stream) if stream.isatty() else ProgressView(total, stream, every=every, stamps=stamps)
    try:
        yield view
    finally:
        view.close()


class SilentProgress(ProgressView):
    """Counts, and says nothing."""

    def say(self, line: str) -> None:
        """To nobody."""
