"""Progress on a terminal: a bar for several items, a spinner for one, and a row per download."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conda2wheel.cli.messages import Level, console, echo, settings
from conda2wheel.files.escape import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID


class ProgressDisplay:
    """The progress of one command where stderr is no terminal: lines are printed at once, and nothing is drawn."""

    def echo(self, line: str, err: bool = False, level: Level = Level.INFO) -> None:
        """Print a line on stdout, or on stderr if `err`."""
        echo(line, err=err, level=level)

    def advance(self) -> None:
        """Count one more finished item."""

    def step(self, what: str, permanent: bool = False) -> None:
        """Show what the command does now.

        Args:
            what: the step.
            permanent: also print the step as a line that stays.
        """
        if permanent:
            echo(f"conda2wheel: {printable(what)}", err=True)

    def received(self, url: str, received: int, total: int | None) -> None:
        """Show how far a download is. Any thread may call it.

        Args:
            url: the file.
            received: the bytes received.
            total: the size of the file in bytes, if it is known.
        """


class _TerminalDisplay(ProgressDisplay):
    """Progress that rich draws on stderr. Lines that would end up in the drawing are held back until it is gone."""

    def __init__(self, total: int, what: str) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}", markup=False)
        columns: tuple[ProgressColumn, ...] = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        if total < 2:
            columns = (SpinnerColumn(), text)
        self._progress = Progress(*columns)
        self._task = self._progress.add_task(what, total=total)
        self._downloads = _DownloadRows()
        self._drawing = True
        self._held_back: list[tuple[str, bool, Level]] = []
        # Not redirected: rich would print on stderr what goes to stdout, and stdout may be a file.
        self.live = Live(
            Group(self._progress, self._downloads.progress),
            console=console(err=True),
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def echo(self, line: str, err: bool = False, level: Level = Level.INFO) -> None:
        if self._drawing:
            self._held_back.append((line, err, level))
        else:
            echo(line, err=err, level=level)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def step(self, what: str, permanent: bool = False) -> None:
        self._progress.update(self._task, description=printable(what))
        if permanent:  # above the drawing
            self.live.console.print(f"conda2wheel: {printable(what)}", soft_wrap=True)

    def received(self, url: str, received: int, total: int | None) -> None:
        self._downloads.received(url, received, total)

    def release(self) -> None:
        """Print the lines that were held back; later lines are printed at once."""
        self._drawing = False
        for line, err, level in self._held_back:
            echo(line, err=err, level=level)
        self._held_back.clear()


@contextmanager
def show_progress(total: int, what: str) -> Iterator[ProgressDisplay]:
    """Draw the progress of a command on stderr, if stderr is a terminal and shows more than warnings, while the block runs.

    Args:
        total: how many items the command handles.
        what: what it does with them, such as "converting".
    """
    if not sys.stderr.isatty() or not settings.shows(Level.INFO):
        yield ProgressDisplay()
        return
    display = _TerminalDisplay(total, what)
    try:
        with display.live:
            yield display
    finally:
        display.release()


class _DownloadRows:
    """A row for each running download: file name, bytes and rate."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
        from rich.table import Column

        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(max_width=48, no_wrap=True, overflow="ellipsis")),
            BarColumn(20),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def received(self, url: str, received: int, total: int | None) -> None:
        """Update the row of a download, or remove it when all bytes are there."""
        with self._lock:
            if url not in self._tasks:
                self._tasks[url] = self.progress.add_task(printable(url.partition("#")[0].rpartition("/")[2]), total=total)
            self.progress.update(self._tasks[url], completed=received, total=total)
            if received == total:
                self.progress.remove_task(self._tasks.pop(url))
