"""The service: the index, its pages and files, conversions, and what watches the store and the channels."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.publish.catalogue import MirrorRecord
from conda2wheel.mirror.publish.generation import IndexEntry, missing
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.state.model import ChannelPackage
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import Executor, ProcessExecutor
from conda2wheel.mirror.work.shared_results import SharedResult, get_result, result_paths
from conda2wheel.serve.access import Access
from conda2wheel.serve.catalogue import Catalogue
from conda2wheel.serve.config import ServeConfig
from conda2wheel.serve.files import Files
from conda2wheel.serve.http import Answer, Scope, problem
from conda2wheel.serve.jobs import STATUSES, JobQueue, ServiceJob
from conda2wheel.serve.logs import EventLog
from conda2wheel.serve.metrics import ServiceMetrics
from conda2wheel.serve.ondemand import ChannelConverter, Demand, record_results
from conda2wheel.serve.pages import ServicePages, service_record
from conda2wheel.serve.published import PublishedIndex
from conda2wheel.serve.runner import NICE, Handler, JobOutcome, JobRunner
from conda2wheel.serve.simple import ProjectPage, SimplePages
from conda2wheel.serve.state import ServiceState
from conda2wheel.serve.tokens import Scope as TokenScope
from conda2wheel.serve.tokens import TokenFolder
from conda2wheel.serve.uploads import UploadConverter, Uploads

WATCH = 2.0  # seconds between two looks at the store's pointer
CLEAN = 600.0  # seconds between two removals of old uploads
SYNC = 30.0  # seconds between two looks at the results that other services share
T = TypeVar("T")


class Service:
    """What the application serves. Made before the event loop runs, `start`ed and `stop`ped in it.

    Args:
        config: the configuration.
        log: receives events.
        executor: converts; None for worker processes as [work] has them.

    Raises:
        Failed: "usage" and "dependency" for a store that cannot be opened.
    """

    def __init__(self, config: ServeConfig, log: EventLog | None = None, executor: Executor | None = None) -> None:
        self.config = config
        self.log = log or EventLog(config.log)
        self.metrics = ServiceMetrics()
        self.store = open_store(config.mirror.output.store)
        self.index = PublishedIndex(self.store, self._on_change)
        self.state = ServiceState(config.mirror, self.store, lambda line: self.log("state", message=line))
        self.catalogue = Catalogue(config.mirror)
        self.access = Access(*_access(config))
        self.uploads = Uploads(config.mirror.state.parent / "uploads", config.upload, config.uploads)
        self.converter = ChannelConverter(self.catalogue, self.state, self.store, self._on_result)
        upload = UploadConverter(lambda: self.config.mirror, self.uploads, self.state)
        self.handlers: dict[tuple[str, str], Handler] = {
            ("convert", "channel"): self.converter,
            ("convert", "upload"): upload,
            ("audit", "upload"): upload,
        }
        self.runner = JobRunner(
            self.state, executor or ProcessExecutor(config.mirror.work.workers, NICE), self.handlers, self.log
        )
        self.runner.on_end = self._on_job_end
        self.demand = Demand(self.index, self.catalogue, self.state, self.store, self.runner)
        self.demand.wait = config.wait
        self.simple = SimplePages(self.index, config.url, self._page)
        self.files = Files(self.store, self.index.has_blob)
        self.pages = ServicePages(
            self.store, self._entries, self._record, _page_base(config), lambda line: self.log("pages", message=line)
        )
        self.stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._converting: asyncio.Task[None] | None = None
        self._problems: dict[str, str] = {"store": "the store has not been read yet"}
        self._shared: dict[str, float] = {}
        self._jobs: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self._declare()

    def _declare(self) -> None:
        self.metrics.declare("conversions_total", "Conversions that ended here, by result.")
        self.metrics.gauge("projects", "Projects of the index.", lambda: {(): float(len(self.index.names()))})
        self.metrics.gauge("ready", "1 if /readyz says so.", lambda: {(): float(not self.problems())})
        self.metrics.gauge(
            "jobs", "Jobs by status.", lambda: {(("status", name),): float(count) for name, count in self._jobs.items()}
        )

    async def start(self) -> None:
        """Read the index and the channels, and begin to convert. What fails makes the service not ready, no more."""
        self._loop = asyncio.get_running_loop()
        await self._look()
        if self.config.on_demand:
            self._problems["channel"] = "the channels have not been read yet"
            self._problems["state"] = "the state has not been read yet"
            await self._try("state", self.state(lambda _, queue: queue.recover(time.time())))
            self._converting = asyncio.create_task(self._run_jobs())
            self._begin(self._repeat(lambda: self.config.refresh, self._read_channels))
            self._begin(self._repeat(lambda: SYNC, self._sync))
            self._begin(self._repeat(lambda: CLEAN, self._clean))
        self._begin(self._repeat(lambda: WATCH, self._look))
        self.log("started", version=__version__, store=self.store.url, generation=self.index.generation)

    async def stop(self) -> None:
        """End what `start` began: conversions under way end within [serve] stop, or are queued again."""
        self._end_waiting()
        await self.runner.stop(self.config.stop)
        if self._converting is not None:
            await self._converting
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.state.close()
        self.log("stopped")

    def stop_soon(self) -> None:
        """Let requests that wait end; from any thread, and from a signal's handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_waiting)

    def reload_soon(self, config: ServeConfig) -> None:
        """Do `reload`; from any thread, and from a signal's handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.reload, config)

    def _end_waiting(self) -> None:
        self.stopping.set()
        self.runner.begin_stop()
        self.demand.close()

    def problems(self) -> list[str]:
        """Why the service is not ready; empty if it is."""
        found = [*self._problems.values()]
        if self.config.on_demand and self.runner.problem is not None:
            found.append(self.runner.problem)
        return [*found, "it is stopping"] if self.stopping.is_set() else found

    async def count_jobs(self) -> None:
        """Bring the numbers of jobs for `metrics` up to date."""
        with contextlib.suppress(Failed):
            self._jobs = {**await self.state(_counts)}

    def reload(self, config: ServeConfig) -> None:
        """Take over another configuration, but for what needs a restart: the address, the store, the state and the workers."""
        before, after = self.config, config
        fixed = ("host", "port", "proxies", "on_demand", "log")
        changed = [name for name in fixed if getattr(before, name) != getattr(after, name)]
        mirrors: dict[str, Callable[[MirrorConfig], Any]] = {
            "[output] store": lambda each: each.output.store,
            "[state] path": lambda each: each.state,
            "[work] workers": lambda each: each.work.workers,
        }
        changed += [name for name, value in mirrors.items() if value(before.mirror) != value(after.mirror)]
        if changed:
            self.log("reload", "warning", message="a restart is needed for these, nothing was changed", changed=changed)
            return
        self.config = after
        self.catalogue.config = after.mirror
        self.access.configure(*_access(after))
        self.uploads.limit, self.uploads.most = after.upload, after.uploads
        self.pages.reload(_page_base(after))
        self.demand.wait = after.wait
        self.simple.url = after.url
        self.simple.forget(None)
        self._begin(self._read_channels())
        self.log("reload", message="the configuration was read again")

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(self, seconds: Callable[[], float], work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Do something again and again, until the end. A pause that is shorter since a reload counts at once."""
        while not self.stopping.is_set():
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a bug in it must not end the watch
                self.log("error", "error", error=repr(error))
            begun = time.monotonic()
            while (left := begun + seconds() - time.monotonic()) > 0 and not self.stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), min(left, WATCH))

    async def _try(self, name: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Await something; a failure is a problem under this name until it succeeds. Changes are logged."""
        before = self._problems.get(name)
        try:
            found = await work
        except Failed as error:
            self._problems[name] = error.message
            if error.message != before:
                self.log(name, "error", message=error.message)
            return None
        self._problems.pop(name, None)
        if before is not None:
            self.log(name, message="it can be used")
        return found

    async def _look(self) -> None:
        """Read the store's pointer."""
        if await self._try("store", asyncio.to_thread(self.index.update)):
            self.log("generation", generation=self.index.generation)

    async def _read_channels(self) -> None:
        known: list[ChannelPackage] = []
        if not self.catalogue.is_read:
            known = await self._try("state", self.state(_listed)) or []
        changed = await self._try("channel", asyncio.to_thread(self.catalogue.update, lambda: known))
        self.demand.listed.set()
        if self.catalogue.is_read:
            self._problems.pop("channel", None)  # what was read before still holds
        if changed:
            self.simple.forget(changed)

    async def _sync(self) -> None:
        """Take over the results that other services shared since the last time."""
        if (found := await self._try("store", asyncio.to_thread(self._shared_since))) is None:
            return
        self._shared, news = found
        if news:
            await self._try("state", self.state(lambda state, _: record_results(state, news, time.time())))
            for each in news:
                self._add(each)

    def _shared_since(self) -> tuple[dict[str, float], list[SharedResult]]:
        paths = result_paths(self.store)
        new = [path for path, written in paths.items() if self._shared.get(path) != written]
        found = [each for path in new if (each := get_result(self.store, path)) is not None]
        lacking = set(missing(self.store, [entry for each in found for entry in each.entries])) if found else set()
        return paths, [each for each in found if not lacking.intersection(each.entries)]

    async def _clean(self) -> None:
        jobs = await self._try("state", self.state(lambda _, queue: queue.jobs(limit=1000)))
        if jobs is not None:
            live = [str(job.request.document.get("folder")) for job in jobs if job.is_live]
            await asyncio.to_thread(self.uploads.clean, live, time.time())

    async def _run_jobs(self) -> None:
        try:
            await self.runner.run()
        except Failed as error:
            self.log("workers", "error", message=error.message, hint=error.hint)

    async def _page(self, name: str, scope: Scope) -> ProjectPage | Answer:
        if self.config.on_demand:
            return await self.demand.page(name, scope)
        entries = self.index.entries(name)
        return ProjectPage(name, entries) if entries else problem(404, f"the index has no {name}")

    def _entries(self) -> list[IndexEntry]:
        return [entry for name in self.index.names() for entry in self.index.entries(name)]

    async def _record(self) -> MirrorRecord:
        config, listed, now = self.config.mirror, self.catalogue.packages(), time.time()
        return await self.state(lambda state, _: service_record(config, state, listed, now))

    def _on_change(self, projects: frozenset[str] | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.simple.forget, projects)

    def _on_result(self, shared: SharedResult, is_new: bool) -> None:
        if is_new:
            self.metrics.count("conversions_total", result=shared.result.status, code=shared.result.code or "")
        self._add(shared)
        if shared.result.wheel is not None and not self.stopping.is_set():
            self._begin(self._try("state", self.demand.ahead(shared.result)))

    def _add(self, shared: SharedResult) -> None:
        """Make a result visible: its wheel in the index, and what its project's page says."""
        if shared.result.wheel is not None:
            self.catalogue.learn(shared.package, shared.result.wheel.project)
        self.index.add(shared.entries)
        self.simple.forget(self.catalogue.projects(shared.package.name))

    def _on_job_end(self, job: ServiceJob, _: JobOutcome) -> None:
        package = job.request.document.get("package")
        if isinstance(package, dict):
            self.simple.forget(self.catalogue.projects(str(package.get("name"))))


def _access(config: ServeConfig) -> tuple[TokenFolder, tuple[TokenScope, ...], dict[TokenScope, str]]:
    return TokenFolder(config.token_folder), config.open, {"convert": config.rate}


def _page_base(config: ServeConfig) -> str | None:
    return f"{config.url}/" if config.url else None


def _counts(_: MirrorState, queue: JobQueue) -> dict[str, int]:
    return {str(status): count for status, count in queue.counts().items()}


def _listed(state: MirrorState, _: JobQueue) -> list[ChannelPackage]:
    """What the channels had when the mirror last read them."""
    return [each.package for each in state.packages() if each.gone is None]
