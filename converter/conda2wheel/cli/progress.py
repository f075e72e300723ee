"""Something that moves where a person watches: a bar for many things, a spinner for one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}")
    columns: tuple[ProgressColumn, ...] = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if total < 2:
        columns = (SpinnerColumn(), text)
    # Not redirected: rich would print on stderr what goes to stdout, and stdout may be a file.
    progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    task = progress.add_task(what, total=total)

    def advance() -> None:
        Watched.advance(watched)
        progress.update(task, completed=watched.done)

    watched.moves = True
    watched.advance = advance  # type: ignore[method-assign]
    try:
        with progress:
            yield watched
    finally:
        watched.release()
