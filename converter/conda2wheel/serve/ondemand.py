"""Conversion on demand: the page of a project that the channel has and the index has not.

The first request queues jobs for the project's packages, those of the newest version first, and waits for these; older versions
follow behind. However many ask for a project, one task of the process waits (`Demand.page`), one job is queued (`jobs`), and of
several processes and machines with one store one converts: who has the item's lease (`ChannelConverter`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from tomllib import loads
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conda2wheel.errors import Failed
from conda2wheel.mirror.plan.select import refused
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, with_tuples
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.lease import Lease
from conda2wheel.mirror.work.executors import Workers, result_of, timeout_of
from conda2wheel.mirror.work.shared_results import SharedResult, get_result, lock_path, put_result, result_path
from conda2wheel.mirror.work.worker import ConversionJob
from conda2wheel.serve.catalogue import Catalogue, CatalogueItem
from conda2wheel.serve.http import Answer, Scope, header, problem
from conda2wheel.serve.jobs import AHEAD, ASKED, NEWER, OLDER, JobRequest, ServiceJob
from conda2wheel.serve.published import PublishedIndex
from conda2wheel.serve.runner import JobOutcome, JobRunner, WorkersGoneError
from conda2wheel.serve.simple import PageNote, ProjectPage
from conda2wheel.serve.state import ServiceState

LOCKED = 1.0  # seconds between two looks at an item that another process converts
POLL = 0.5  # seconds between two looks at jobs that another process runs
RETRY = 5  # seconds after which a client asks again
DemandStatus = Literal["absent", "done", "refused", "failed", "quarantined"]


@dataclass(frozen=True)
class DemandedItem:
    """An item as it is now. `due`: seconds until a failed one is tried again."""

    item: CatalogueItem
    status: DemandStatus
    result: ItemResult | None = None
    due: float = 0.0

    def note(self, project: str) -> PageNote | None:
        """What the project's page says of it; None where its wheel is on the page."""
        label, result = self.item.label, self.result
        wheel = None if result is None else result.wheel
        if wheel is not None and wheel.project != project:
            message = f"the package is the project {wheel.project}"
            return PageNote(label, "other-project", None, message, f"ask for {wheel.project}")
        if self.status == "absent":
            return PageNote(label, "queued")
        if self.status == "done" or result is None:
            return None
        why = None if result.message is None else result.message.removeprefix(f"{label}: ")
        return PageNote(label, self.status, result.code, why, result.hint)


class Demand:
    """Makes pages of projects, and converts what they lack.

    Args:
        index: the index.
        catalogue: what the channels have.
        state: the state and the queue.
        store: the store.
        runner: runs the queue.
    """

    def __init__(self, index: PublishedIndex, catalogue: Catalogue, state: ServiceState, store: Store, runner: JobRunner) -> None:
        self._index, self._catalogue, self._state, self._store, self._runner = index, catalogue, state, store, runner
        self._flights: dict[str, asyncio.Task[ProjectPage | Answer]] = {}
        self._closed = False
        self.wait = 60.0
        self.listed = asyncio.Event()  # set once the channels were read, or could not be

    async def page(self, name: str, scope: Scope) -> ProjectPage | Answer:
        """The page of a project, after its conversion if need be; or an error, such as that it takes longer."""
        if self._closed:
            return _later("the service is stopping")
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(self._flight(name))
            flight.add_done_callback(lambda _: self._flights.pop(name, None))
        done, _ = await asyncio.wait([flight], timeout=min(self.wait, patience(header(scope, b"user-agent"))))
        if not done:
            return _later(f"{name} is being converted", state="converting")
        if flight.cancelled():
            return _later("the service is stopping")
        try:
            return flight.result()
        except Failed as error:
            return _later(error.message)

    def close(self) -> None:
        """End what waits."""
        self._closed = True
        for flight in self._flights.values():
            flight.cancel()

    async def ahead(self, result: ItemResult) -> None:
        """Queue the newest versions of what a wheel requires, where the channels have it and the index has not."""
        for name in required_projects(result):
            if not self._index.entries(name):
                found = await self.resolve([item for item in self._catalogue.items(name) if item.age == 0])
                await self._queue(found, AHEAD)

    async def _flight(self, name: str) -> ProjectPage | Answer:
        if self._has_files(name):
            return await self._extended(name)
        await self.listed.wait()
        items = self._new_items(name)
        found = {each.item.key: each for each in await self.resolve(items)}
        if self._has_files(name):  # of an earlier converter, for instance
            return await self._extended(name)
        if not items:
            entries = self._index.entries(name)
            if not entries and not self._catalogue.is_read:
                return _later(f"the channels cannot be read: {self._catalogue.problem}")
            return ProjectPage(name, entries) if entries else problem(404, f"neither the index nor a channel has {name}")
        ages = sorted({each.item.age for each in found.values()})
        for age in ages:
            group = [each for each in found.values() if each.item.age == age]
            await self._queue(group, ASKED)
            if age == ages[0]:
                await self._queue([each for each in found.values() if each.item.age > age], OLDER)
            await self._until_ended([each.item.key for each in group])
            found |= {each.item.key: each for each in await self.resolve([each.item for each in group])}
            if self._has_files(name):
                break
        failed = [each for each in found.values() if each.status == "failed"]
        if failed and not self._index.entries(name):
            first = failed[0]
            message = f"{first.item.label}: {first.result.code}: {first.result.message}" if first.result else first.item.label
            return _later(message, seconds=max(1, round(min(each.due for each in failed))), state="failed")
        return self._page(name, found.values())

    def _new_items(self, name: str) -> list[CatalogueItem]:
        """The items of a project's packages that the index does not have."""
        published = {entry.package.sha256 for entry in self._index.entries(name) if entry.yanked is None}
        return [item for item in self._catalogue.items(name) if item.package.sha256 not in published]

    async def _extended(self, name: str) -> ProjectPage:
        """The page of a project that has files. What the channel has besides is converted, and nobody waits for it."""
        try:
            found = await self.resolve(self._new_items(name))
            await self._queue(found, NEWER)
        except Failed:  # /readyz says so; the files are there
            return ProjectPage(name, self._index.entries(name), settled=False, lasting=False)
        page = self._page(name, found)
        return page if self._catalogue.is_read else replace(page, settled=False, lasting=False)

    def _has_files(self, name: str) -> bool:
        """Whether the index has a file of the project that is not yanked."""
        return any(entry.yanked is None for entry in self._index.entries(name))

    def _page(self, name: str, found: Iterable[DemandedItem]) -> ProjectPage:
        found = list(found)
        notes = [note for each in found if (note := each.note(name)) is not None]
        settled = not any(each.status == "absent" or (each.status == "failed" and not each.due) for each in found)
        lasting = all(each.status != "failed" for each in found)  # it is looked at again when its pause is over
        return ProjectPage(name, self._index.entries(name), tuple(notes), settled, lasting)

    async def _queue(self, found: Iterable[DemandedItem], priority: int) -> None:
        """Queue the items that are to be converted now."""
        due = [each for each in found if each.status == "absent" or (each.status == "failed" and each.due <= 0)]
        if due:
            requests = [request_of(each.item, priority) for each in due]
            await self._state(lambda _, queue: queue.add(requests, time.time()))
            self._runner.wake()

    async def _until_ended(self, keys: Sequence[ItemKey]) -> None:
        while await self._state(lambda _, queue: queue.live(map(job_key, keys))):
            await self._runner.until_next(POLL)

    async def resolve(self, items: Sequence[CatalogueItem]) -> list[DemandedItem]:
        """Find out how items are: by the state, then by the results that others share in the store.

        What is done is in the index afterwards. Raises `Failed` (state, disk, store).
        """
        if not items:
            return []
        now = time.time()
        found = await self._state(lambda state, _: _known(state, items, now))
        checked = await asyncio.to_thread(self._checked, found)
        pairs = [(each, old) for each, old in zip(checked, found, strict=True) if each is not old]
        news = [SharedResult(each.item.package, each.result) for each, _ in pairs if each.result is not None]
        lost = [each.item.key for each, old in pairs if old.status == "done" and each.status == "absent"]
        if news or lost:
            await self._state(lambda state, _: _record(state, news, lost, now))
        for each in checked:
            if each.result is not None and each.result.wheel is not None:
                self._catalogue.learn(each.item.package, each.result.wheel.project)
                self._index.add(SharedResult(each.item.package, each.result).entries)
        return checked

    def _checked(self, found: Sequence[DemandedItem]) -> list[DemandedItem]:
        """Drop wheels that the store has lost, and look for what others share."""
        checked = []
        for each in found:
            here = each
            if each.result is not None and each.result.wheel is not None and not self._is_stored(each.item.package, each.result):
                here = replace(each, status="absent", result=None)
            if here.status == "absent" and here.result is None:
                shared = get_result(self._store, result_path(each.item.key, each.item.package.name))
                if shared is not None and self._is_stored(shared.package, shared.result):
                    status: DemandStatus = "done" if shared.result.wheel is not None else "refused"
                    here = replace(here, status=status, result=shared.result)
            checked.append(here)
        return checked

    def _is_stored(self, package: ChannelPackage, result: ItemResult) -> bool:
        """Whether the store has a result's wheels; those of the index are taken to be there."""
        entries = SharedResult(package, result).entries
        known = {entry.wheel.blob for each in entries for entry in self._index.entries(each.wheel.project)}
        return is_stored(self._store, [entry for entry in entries if entry.wheel.blob not in known])


def is_stored(store: Store, entries: Iterable[IndexEntry]) -> bool:
    """Whether a store has the wheels of entries, in their size, and their metadata. Raises `Failed` (store)."""
    for entry in entries:
        info = store.head(entry.wheel.blob)
        if info is None or info.size != entry.wheel.size or store.head(f"{entry.wheel.blob}.metadata") is None:
            return False
    return True


def _known(state: MirrorState, items: Sequence[CatalogueItem], now: float) -> list[DemandedItem]:
    """Items as the state has them; what a name alone refuses is recorded."""
    keys = [each.key for each in items]
    results = state.results(keys)
    rows = state.items({key.package for key in keys})
    found = []
    for item in items:
        row, result = rows.get(item.key), results.get(item.key)
        if row is None and (refusal := refused(item.package)) is not None:
            result = ItemResult(item.key, "refused", refusal.code, refusal.message, refusal.hint)
            state.add_packages([item.package], now)
            state.finish(result, now)
            found.append(DemandedItem(item, "refused", result))
        elif row is None or row.status == "pending":
            found.append(DemandedItem(item, "absent", result))  # perhaps with the wheel of an earlier converter
        else:
            due = max(0.0, (row.next_try or now) - now) if row.status == "failed" else 0.0
            found.append(DemandedItem(item, row.status, result, due))
    return found


def _record(state: MirrorState, news: Sequence[SharedResult], lost: Iterable[ItemKey], now: float) -> None:
    state.reset(lost)
    record_results(state, news, now)


def record_results(state: MirrorState, news: Sequence[SharedResult], now: float, retries: int = 0) -> None:
    """Record results and their packages in a state, as a run of the mirror does. Raises `Failed` (state, disk)."""
    state.add_packages([each.package for each in news], now)
    for each in news:
        state.finish(each.result, now, retries)


def job_key(key: ItemKey) -> str:
    """The key of the job that converts an item."""
    return f"item:{key}"


def request_of(item: CatalogueItem, priority: int) -> JobRequest:
    """The job that converts an item."""
    document = {"source": "channel", "key": dataclasses.asdict(item.key), "package": dataclasses.asdict(item.package)}
    return JobRequest("convert", job_key(item.key), document, priority=priority)


class ChannelConverter:
    """Runs the jobs that convert items of the channel, each on one machine at a time.

    Args:
        catalogue: has the configuration, and learns what packages are.
        state: where results are recorded.
        store: where wheels and shared results are.
        on_result: called with each result, and whether it was computed here or found.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        state: ServiceState,
        store: Store,
        on_result: Callable[[SharedResult, bool], None],
    ) -> None:
        self._catalogue, self._state, self._store, self._on_result = catalogue, state, store, on_result

    async def __call__(self, job: ServiceJob, workers: Workers) -> JobOutcome:
        """Convert the item of a job, unless another machine did."""
        document = job.request.document
        package = ChannelPackage(**with_tuples(document["package"]))
        key = ItemKey(**document["key"])
        try:
            shared, is_new = await self._result(key, package, workers)
        except Failed as error:  # of the store
            shared, is_new = SharedResult(package, ItemResult(key, "failed", error.code, error.message, error.hint)), False
        retries = self._catalogue.config.work.retries
        await self._state(lambda state, _: record_results(state, [shared], time.time(), retries))
        self._on_result(shared, is_new)
        return JobOutcome(shared.result.status, shared.result.json())

    async def _result(self, key: ItemKey, package: ChannelPackage, workers: Workers) -> tuple[SharedResult, bool]:
        while True:
            lease = Lease(self._store, path=lock_path(key, package.name))
            try:
                await asyncio.to_thread(lease.__enter__)
            except Failed as error:
                if error.code != "locked":
                    raise
                await asyncio.sleep(LOCKED)  # another machine converts it
                found = await asyncio.to_thread(self._shared, key, package)
                if found is not None:
                    return found, False
                continue
            try:
                found = await asyncio.to_thread(self._shared, key, package)
                if found is not None:
                    return found, False
                result = await self._convert(ConversionJob.of(key, package, self._catalogue.config), workers)
                if result.status != "failed":
                    await asyncio.to_thread(put_result, self._store, package, result)
                return SharedResult(package, result), True
            finally:
                await asyncio.shield(asyncio.to_thread(lease.__exit__))

    def _shared(self, key: ItemKey, package: ChannelPackage) -> SharedResult | None:
        found = get_result(self._store, result_path(key, package.name))
        return found if found is not None and is_stored(self._store, found.entries) else None

    async def _convert(self, job: ConversionJob, workers: Workers) -> ItemResult:
        """Convert with a worker. Raises `WorkersGoneError` where the workers cannot be reached, so that nothing is known."""
        try:
            result = await self._called(job, workers)
        except Exception as error:
            if (gone := workers.problem()) is not None:
                raise WorkersGoneError(gone) from error
            raise
        if result.code == "lost" and (gone := workers.problem()) is not None:
            raise WorkersGoneError(gone)
        return result

    async def _called(self, job: ConversionJob, workers: Workers) -> ItemResult:
        future = await asyncio.to_thread(workers.submit, job)
        wrapped = asyncio.wrap_future(future)
        try:
            limit = job.timeout if workers.enforce_timeout and job.timeout else None
            done, _ = await asyncio.wait([wrapped], timeout=limit)
        except asyncio.CancelledError:
            wrapped.cancel()
            raise
        if not done:
            wrapped.cancel()
            return timeout_of(job)
        if not wrapped.cancelled():
            wrapped.exception()  # `result_of` reads it from the other future
        return result_of(job, future)


def required_projects(result: ItemResult) -> list[str]:
    """The projects that a wheel requires in Pyodide without any extra."""
    if result.wheel is None:
        return []
    found: list[str] = []
    for line in result.wheel.requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({**PYODIDE, "extra": ""}):
            found.append(canonicalize_name(requirement.name))
    return found


# The values that markers have in every Pyodide; versions are those of this process, and a marker that compares them may be wrong:
# a project is then converted ahead in vain, or when it is asked for.
PYODIDE = {"sys_platform": "emscripten", "platform_system": "Emscripten", "platform_machine": "wasm32", "os_name": "posix"}


def _later(detail: str, seconds: int = RETRY, **more: Any) -> Answer:
    return problem(503, detail, (b"retry-after", b"%d" % seconds), **more)


def patience(user_agent: bytes | None) -> float:
    """How long a client waits for an answer, in seconds, by clients.toml; endless for one that is not in it."""
    if user_agent is None:
        return float("inf")
    name = re.split(rb"[/ ]", user_agent, maxsplit=1)[0].decode("latin-1").lower()
    return _patience().get(name, float("inf"))


@cache
def _patience() -> Mapping[str, float]:
    rows = loads(files(__package__).joinpath("clients.toml").read_text(encoding="utf-8"))
    return {name: float(row["wait"]) for name, row in rows.items()}
