"""Progress of a run: a live view on a terminal, and lines at intervals elsewhere.

A run sends events to a `ProgressView`; a `RunProgress` computes numbers from them and from the times given. Rates are those of
the last minute, so that the estimated time follows the current network and packages.
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
MIN_ENDED = 5  # items that must have ended before a time is estimated
BESIDE_NAME = 45  # columns of a terminal for what stands beside an item's name
LOGGED = ("failed",)  # statuses that get a line of their own


@dataclass
class WorkerProgress:
    """What a worker does: its item (None if idle), since when, the stage, and the bytes of it that were received."""

    what: str | None = None
    since: float = 0.0
    stage: str = ""
    received: int = 0


@dataclass
class RunProgress:
    """The progress of a run of `total` items that began at `began`. All times are seconds of one monotonic clock."""

    total: int
    began: float
    counts: Counter[str] = field(default_factory=Counter)
    downloaded: int = 0
    workers: dict[str, WorkerProgress] = field(default_factory=dict)
    _ended: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def ended(self) -> int:
        """The number of items that are done, refused or failed."""
        return self.counts.total()

    def start(self, worker: str, what: str, now: float) -> None:
        """Note that a worker began with an item."""
        self.workers[worker] = WorkerProgress(what, now)

    def stage(self, worker: str, stage: str, received: int = 0) -> None:
        """Note a worker's stage, and the bytes of its item that were received."""
        if (state := self.workers.get(worker)) is not None:
            state.stage, state.received = stage, received

    def finish(self, worker: str | None, result: ItemResult, now: float) -> None:
        """Note that an item ended. `worker` is None where it is unknown."""
        self.counts[result.status] += 1
        self.downloaded += result.downloaded
        self._ended.append((now, result.downloaded))
        if worker is not None:
            self.workers[worker] = WorkerProgress(since=now)
        while self._ended[0][0] < now - WINDOW:
            self._ended.popleft()

    def remove_worker(self, worker: str) -> None:
        """Note that a worker is gone."""
        self.workers.pop(worker, None)

    def bytes(self) -> int:
        """Bytes received so far, including those of unfinished items."""
        return self.downloaded + sum(worker.received for worker in list(self.workers.values()))

    def rates(self, now: float) -> tuple[float, float]:
        """Items and bytes per second, over the last minute or since the run began."""
        spent = min(WINDOW, now - self.began)
        if spent <= 0:
            return 0.0, 0.0
        sizes = [
            size for ended, size in tuple(self._ended) if ended >= now - WINDOW
        ]  # a copy: `TerminalProgress` draws in another thread
        return len(sizes) / spent, sum(sizes) / spent

    def seconds_left(self, now: float) -> float | None:
        """Estimated seconds until the last item ends; None where too few items ended to tell."""
        rate, _ = self.rates(now)
        if self.ended < MIN_ENDED or not rate:
            return None
        return max(0, self.total - self.ended) / rate

    def line(self, now: float) -> str:
        """Everything but the workers, in one line."""
        items, received = self.rates(now)
        seconds_left = self.seconds_left(now)
        parts = [
            f"{self.ended} of {self.total}",
            ", ".join(f"{self.counts[status]} {status}" for status in ("done", "refused", "failed") if self.counts[status]),
            f"{items:.1f} items/s" if items >= 1 or not items else f"{items * 60:.0f} items/min",
            f"{format_size(self.bytes())} ({format_size(received)}/s)" if self.bytes() else "",
            "" if seconds_left is None else f"{format_seconds(seconds_left)} left",
        ]
        return "; ".join(each for each in parts if each)


class ProgressView:
    """Shows the progress as lines.

    Args:
        total: the number of items.
        stream: where to print.
        every: seconds between two lines; a failure gets a line of its own at once.
        stamps: put the time of day before each line, for logs that do not (cron's; systemd's do).
        clock: a monotonic clock.
    """

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
        self._last_line = clock()

    def started(self, worker: str, what: str) -> None:
        """Note that a worker begins with an item, `what` for people."""
        self.progress.start(worker, what, self._clock())

    def stage(self, worker: str, stage: str, received: int = 0) -> None:
        """Note a worker's stage, and the bytes of its item that were received."""
        self.progress.stage(worker, stage, received)
        self._tick()

    def finished(self, worker: str | None, what: str, result: ItemResult) -> None:
        """Note that an item ended."""
        self.progress.finish(worker, result, self._clock())
        if result.status in LOGGED:
            self.print_line(f"{what}: {result.status}: {result.code}: {result.message}")
        self._tick()

    def worker_gone(self, worker: str) -> None:
        """Note that a worker is gone: it crashed, or its machine did."""
        self.progress.remove_worker(worker)

    def print_line(self, line: str) -> None:
        """Print a line."""
        stamp = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} " if self._stamps else ""
        print(stamp + printable(line), file=self._stream, flush=True)

    def close(self) -> None:
        """Print the last line."""
        self.print_line(self.progress.line(self._clock()))

    def _tick(self) -> None:
        now = self._clock()
        if now - self._last_line >= self._every:
            self._last_line = now
            self.print_line(self.progress.line(now))


class TerminalProgress(ProgressView):
    """Shows the progress on a terminal: a bar, the numbers and a line a worker, which are redrawn; failures scroll above them."""

    def __init__(self, total: int, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live as LiveDisplay

        from conda2wheel.files.terminal import PlainConsole

        super().__init__(total, stream, clock=clock)
        # Without redirection: rich would print to `stream` what goes to stdout, which may be a file.
        self._console = PlainConsole(file=stream, force_terminal=True)
        self._display = LiveDisplay(
            get_renderable=self.render, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._display.start()

    def print_line(self, line: str) -> None:
        """Print a line above the live view."""
        self._console.print(printable(line), soft_wrap=True)

    def close(self) -> None:
        """Remove the live view, and print the last line."""
        self._display.stop()
        super().close()

    def _tick(self) -> None:
        pass  # the live view redraws itself

    def render(self) -> RenderableType:
        """The live view."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = self._clock()
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        # In the order of their start, so that a worker keeps its line. A copy: another thread changes them.
        for name, worker in list(self.progress.workers.items())[: max(1, self._console.height - 4)]:
            what = Text("idle", style="dim") if worker.what is None else Text(printable(worker.what))
            what.truncate(max(20, self._console.width - BESIDE_NAME), overflow="ellipsis")
            stage = worker.stage + (f" {format_size(worker.received)}" if worker.received else "")
            grid.add_row(printable(name), what, stage, format_seconds(max(0.0, now - worker.since)))
        bar = ProgressBar(total=max(1, self.progress.total), completed=self.progress.ended)
        lines = Table.grid(expand=True)  # in which the bar ends its line
        for each in (bar, Text(self.progress.line(now), overflow="ellipsis", no_wrap=True), grid):
            lines.add_row(each)
        return lines


@contextmanager
def show_progress(
    total: int, stream: TextIO | None = None, *, every: float = 10.0, stamps: bool = False, quiet: bool = False
) -> Iterator[ProgressView]:
    """Open the view for a stream: live on a terminal, else lines (`every` seconds), or none if `quiet`.

    It prints the last line at the end, also after an exception.
    """
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
    """Counts without printing."""

    def print_line(self, line: str) -> None:
        """Print nothing."""
