"""The service: the index, its pages and files, and what watches the store, opened and closed together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.mirror.store.open import open_store
from conda2wheel.serve.config import ServeConfig
from conda2wheel.serve.files import Files
from conda2wheel.serve.http import Answer, Scope, problem
from conda2wheel.serve.logs import EventLog
from conda2wheel.serve.metrics import ServiceMetrics
from conda2wheel.serve.published import PublishedIndex
from conda2wheel.serve.simple import ProjectPage, SimplePages

WATCH = 2.0  # seconds between two looks at the store's pointer


class Service:
    """What the application serves. Made before the event loop runs, `start`ed and `stop`ped in it.

    Args:
        config: the configuration.
        log: receives events.

    Raises:
        Failed: "usage" and "dependency" for a store that cannot be opened.
    """

    def __init__(self, config: ServeConfig, log: EventLog | None = None) -> None:
        self.config = config
        self.log = log or EventLog(config.log)
        self.metrics = ServiceMetrics()
        self.store = open_store(config.mirror.output.store)
        self.index = PublishedIndex(self.store, self._on_change)
        self.simple = SimplePages(self.index, config.url, self._demand)
        self.files = Files(self.store, self.index.has_blob)
        self.stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._store_problem: str | None = "the store has not been read yet"
        self.metrics.gauge("projects", "Projects of the index.", lambda: {(): float(len(self.index.names()))})

    async def start(self) -> None:
        """Read the index, and begin to watch the store. A store that cannot be read makes the service not ready, no more."""
        self._loop = asyncio.get_running_loop()
        await self._look()
        self._begin(self._watch())
        self.log("started", version=__version__, store=self.store.url, generation=self.index.generation)

    async def stop(self) -> None:
        """End what `start` began."""
        self.stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.log("stopped")

    def stop_soon(self) -> None:
        """Let requests that wait end; from any thread, and from a signal's handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stopping.set)

    def problems(self) -> list[str]:
        """Why the service is not ready; empty if it is."""
        found = [] if self._store_problem is None else [self._store_problem]
        return [*found, "it is stopping"] if self.stopping.is_set() else found

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_change(self, projects: frozenset[str] | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.simple.forget, projects)

    async def _watch(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), WATCH)
            await self._look()

    async def _look(self) -> None:
        """Read the pointer; log what changed."""
        before, error = self._store_problem, None
        try:
            if await asyncio.to_thread(self.index.update):
                self.log("generation", generation=self.index.generation)
        except Failed as failure:
            error = failure.message
        self._store_problem = error
        if error is not None and error != before:
            self.log("store", "error", message=error)
        elif error is None and before is not None:
            self.log("store", message="it can be read")

    async def _demand(self, name: str, _: Scope) -> ProjectPage | Answer:
        entries = self.index.entries(name)
        return ProjectPage(name, entries) if entries else problem(404, f"no project {name}")
