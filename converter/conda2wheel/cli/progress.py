"""Something that moves where a person watches: a bar for many things, a spinner for one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID


class Watched:
    """What is said and done while something moves on stderr: lines wait until it is gone, or they would run into it."""

    def __init__(self) -> None:
        self.moves = False
        self.done = 0
        self._later: list[tuple[str, bool]] = []

    def echo(self, line: str, err: bool = False) -> None:
        """Print a line on stdout or stderr, at once where nothing moves."""
        if self.moves:
            self._later.append((line, err))
        else:
            typer.echo(line, err=err)

    def advance(self) -> None:
        """One thing more is done."""
        self.done += 1

    def step(self, what: str, keep: bool = False) -> None:
        """What is done now, said in the place of what was before; as a line that stays, if `keep`."""
        if keep:
            typer.echo(f"conda2wheel: {what}", err=True)

    def received(self, url: str, got: int, total: int | None) -> None:
        """So many bytes of a download came, of so many if that is known. Called from any thread."""

    def release(self) -> None:
        """Print what waited."""
        self.moves = False
        for line, err in self._later:
            typer.echo(line, err=err)
        self._later.clear()


@contextmanager
def bar(total: int, what: str) -> Iterator[Watched]:
    """Yields where to print and to count. Nothing is drawn where nobody watches: stderr is no terminal."""
    watched = Watched()
    if not sys.stderr.isatty():
        yield watched
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns: tuple[ProgressColumn, ...] = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if total < 2:
        columns = (SpinnerColumn(), text)
    progress = Progress(*columns)
    task = progress.add_task(what, total=total)
    downloads = _Downloads()

    def advance() -> None:
        Watched.advance(watched)
        progress.update(task, completed=watched.done)

    def step(what: str, keep: bool = False) -> None:
        progress.update(task, description=what)
        if keep:  # above what moves
            live.console.print(f"conda2wheel: {what}", markup=False, highlight=False, soft_wrap=True)

    watched.moves = True
    watched.advance = advance  # type: ignore[method-assign]
    watched.step = step  # type: ignore[method-assign]
    watched.received = downloads.received  # type: ignore[method-assign]
    # Not redirected: rich would print on stderr what goes to stdout, and stdout may be a file.
    live = Live(
        Group(progress, downloads.progress),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=10,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        with live:
            yield watched
    finally:
        watched.release()


class _Downloads:
    """One line a file that is under way: its name, bytes and rate."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
        from rich.table import Column

        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(max_width=48, no_wrap=True, overflow="ellipsis")),
            BarColumn(20),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def received(self, url: str, got: int, total: int | None) -> None:
        """As `Watched.received`."""
        with self._lock:
            if url not in self._tasks:
                self._tasks[url] = self.progress.add_task(url.partition("#")[0].rpartition("/")[2], total=total)
            self.progress.update(self._tasks[url], completed=got, total=total)
            if got == total:
                self.progress.remove_task(self._tasks.pop(url))
