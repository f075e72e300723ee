"""One run of a mirror, the first as any other. Read it from top to bottom:

    own        one run at a time on a state; a state that is broken, or not there, is rebuilt from the store
    read       what the channels list, all of them or nothing
    see, plan  what is new, changed, gone; what is to be done, and why
    work       workers do it, and each end is noted at once
    publish    what is there becomes the index, from one moment to the next
    report     written, put beside the index, and told to who wants to know

It may be killed anywhere: what was noted stays, what was not is done again by the next run, to the same bytes. What ends it
early (a channel that does not answer, a store that takes nothing) ends in a report as well, and leaves the index as it was.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field

from conda2wheel._version import __version__
from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.plan import tasks as planning
from conda2wheel.mirror.plan.select import packages
from conda2wheel.mirror.plan.tasks import MirrorPlan, PlannedTask
from conda2wheel.mirror.publish.entries import YankReasons, entries_of
from conda2wheel.mirror.publish.generation import current, generations, read_generation
from conda2wheel.mirror.publish.publisher import PublishResult, publish
from conda2wheel.mirror.publish.pyodide_locks import lock_files
from conda2wheel.mirror.report.collect import history, report_items, run_counts
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.report.notify import deliver, runtimes
from conda2wheel.mirror.report.progress import ProgressView, show_progress
from conda2wheel.mirror.state.mirror_state import ChannelChanges, MirrorItem, MirrorState, StateCorruptedError
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult
from conda2wheel.mirror.state.process_lock import owned
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import DaskExecutor, Executor, ProcessExecutor, stopped_by_signals
from conda2wheel.mirror.work.worker import ConversionJob

Log = Callable[[str], None]
FEW, MOST = 10, 0.5  # of a channel that has at least so many packages, what may vanish in a night without anybody's word
ROUNDS = 2  # of work and publishing: the second for wheels that the store turned out to have lost


@dataclass(frozen=True)
class RunOptions:
    """What is of one run alone. `limit`: how many items at most, in the plan's order; `publish`: or only convert;
    `accept_vanished`: though most of a channel is gone; `tell` gets lines for people; `show_progress` gives the view of so
    many items;
    `now` the seconds since 1970."""

    executor: Executor = field(default_factory=ProcessExecutor)
    limit: int | None = None
    publish: bool = True
    accept_vanished: bool = False
    tell: Log = lambda _: None
    show_progress: Callable[[int], AbstractContextManager[ProgressView]] = lambda total: show_progress(total, quiet=True)
    downloads: Downloads = field(default_factory=Downloads)
    now: Callable[[], float] = time.time


@dataclass
class _Progress:
    """How far a run has come."""

    started: float
    clock: float
    number: int
    before: dict[ItemKey, MirrorItem]
    plan: MirrorPlan = field(default_factory=MirrorPlan)
    worked: set[ItemKey] = field(default_factory=set)
    published: PublishResult | None = None
    problem: str | None = None


def executor(config: MirrorConfig, workers: int | None = None, dask: str | None = None) -> Executor:
    """Who does the work: processes, as many as the command line or the configuration says, or a Dask cluster."""
    if dask is not None:
        return DaskExecutor(dask)
    return ProcessExecutor(config.work.workers if workers is None else workers)


def run(config: MirrorConfig, options: RunOptions | None = None) -> MirrorReport:
    """Bring a mirror up to what its channels have. Raises `Failed`: busy, where another run is under way; state, disk, where
    there is no state to work with; usage and dependency, for a store that cannot be one. All else is in the report."""
    options = options or RunOptions()
    now = options.now()
    store = open_store(config.output.store)
    with owned(config.state, now):
        if not config.state.exists():
            rebuild(config, store, options.tell)
        try:
            return _run(config, store, options, now)
        except StateCorruptedError as broken:
            options.tell(f"{broken.message}; it is kept beside")
            rebuild(config, store, options.tell)
            return _run(config, store, options, now)


def rebuild(config: MirrorConfig, store: Store, tell: Log) -> None:
    """A new state, in the place of a broken one or of none, of the newest generation that can be read. Raises `Failed` (store,
    disk)."""
    for name in reversed(generations(store)):
        try:
            generation = read_generation(store, name)
            if generation is not None:
                MirrorState.rebuild(config.state, generation.state).close()
                tell(f"the state was rebuilt from generation {name}")
                return
        except Failed as damaged:
            tell(damaged.message)
    MirrorState.rebuild(config.state, None).close()


def _run(config: MirrorConfig, store: Store, options: RunOptions, now: float) -> MirrorReport:
    with MirrorState.open(config.state) as state:
        at = _Progress(now, time.monotonic(), state.begin_run(now), state.items())
        state.recover()
        try:
            _forward(config, store, state, options, at)
        except Failed as accident:
            if isinstance(accident, StateCorruptedError) or accident.code in ("usage", "dependency"):
                raise
            at.problem = str(accident)
            at.plan = at.plan if at.plan.wanted else known_plan(config, state, now)
        report = _report(config, store, state, options, at)
        state.end_run(at.number, options.now(), time.monotonic() - at.clock, run_counts(report))
    deliver(report, config, store if options.publish else None, options.tell)
    return report


def _forward(config: MirrorConfig, store: Store, state: MirrorState, options: RunOptions, at: _Progress) -> None:
    """From the channels to the index. Raises `Failed` for what ends the run."""
    store.clock()  # which it writes for: a store that takes nothing takes no wheels, either
    listed = packages(config.channels, options.downloads)
    if not options.accept_vanished:
        require_most(listed, state)
    seen = state.see(listed, at.started)
    at.plan = planning.make(listed, config, state, at.started, seen)
    for verdict in at.plan.verdicts:
        state.finish(verdict, at.started)
        at.worked.add(verdict.key)
    state.pending(at.plan.wanted)
    to_do: Sequence[PlannedTask] = at.plan.to_do[: options.limit]
    for _ in range(ROUNDS):
        _work(to_do, config, state, options, at.worked)
        if not options.publish:
            return
        at.published = publish_state(config, store, state, at.plan, options.now())
        to_do = lost(at.plan, state, at.published)
        if not to_do:
            return


def require_most(listed: Sequence[ChannelPackage], state: MirrorState) -> None:
    """A channel that answers, and lists next to nothing, is more often an accident than a farewell; all that it had would be
    yanked. Raises `Failed` (vanished) where more than half of what was there is gone."""
    before = Counter(known.package.channel for known in state.packages() if known.gone is None)
    gone = Counter(package.channel for package in state.compare(listed).vanished)
    for channel, count in before.items():
        if count >= FEW and gone[channel] > count * MOST:
            why = f"{channel}: {gone[channel]} of the {count} packages that it had are not listed any more; nothing was changed"
            raise Failed("vanished", why, "if that is meant, run it once with --accept-vanished")


def _work(
    tasks: Sequence[PlannedTask], config: MirrorConfig, state: MirrorState, options: RunOptions, worked: set[ItemKey]
) -> None:
    """Have tasks done. Raises `Failed` if a signal came before all were."""
    if not tasks:
        return
    names = {task.key: f"{task.package.subdir}/{task.package.stem}" for task in tasks}
    orders = (ConversionJob.of(task.key, task.package, config) for task in tasks)
    workers = options.executor
    signals = stopped_by_signals(workers.stop) if threading.current_thread() is threading.main_thread() else nullcontext()
    with options.show_progress(len(tasks)) as view, signals:
        lanes = _Lanes(view, names)

        def started(key: ItemKey) -> None:
            state.start(key, options.now())
            lanes.started(key)

        with closing(workers.run(orders, started)) as ends:
            for done in ends:
                state.finish(done, options.now(), config.work.retries)
                worked.add(done.key)
                lanes.finished(done)
    left = len(names.keys() - worked)
    if left:
        raise Failed("interrupted", f"stopped by a signal; {left} of {len(tasks)} items are left for the next run")


class _Lanes:
    """Who does what, for the view: executors say what was handed out and what ended, and nothing of who has it."""

    def __init__(self, view: ProgressView, names: dict[ItemKey, str]) -> None:
        self._view, self._names = view, names
        self._at: dict[ItemKey, str] = {}
        self._free: list[str] = []

    def started(self, key: ItemKey) -> None:
        lane = self._free.pop(0) if self._free else str(len(self._at) + 1)
        self._at[key] = lane
        self._view.started(lane, self._names[key])

    def finished(self, done: ItemResult) -> None:
        lane = self._at.pop(done.key, None)
        if lane is not None:
            self._free.append(lane)
        self._view.finished(lane, self._names[done.key], done)


def publish_state(config: MirrorConfig, store: Store, state: MirrorState, plan: MirrorPlan, now: float) -> PublishResult:
    """Make the index of what the state has. Raises `Failed` as `publish` does."""
    results = state.results(plan.wanted)
    return publish(
        store,
        entries_of(plan, results),
        state.manifest(),
        now=now,
        grace=config.output.grace,
        fate=YankReasons(plan, results),
        files=lock_files,
    )


def lost(plan: MirrorPlan, state: MirrorState, published: PublishResult) -> tuple[PlannedTask, ...]:
    """What is to be made again, since the store does not have its wheel any more."""
    gone = {entry.package.sha256 for entry in published.missing}
    tasks = tuple(
        PlannedTask(key, package, "its wheel is not in the store")
        for key, package in plan.wanted.items()
        if package.sha256 in gone
    )
    state.again([task.key for task in tasks])
    return tasks


def known_plan(config: MirrorConfig, state: MirrorState, now: float) -> MirrorPlan:
    """The plan of what the channels had when they were read last."""
    return planning.make([each.package for each in state.packages() if each.gone is None], config, state, now, ChannelChanges())


def _report(config: MirrorConfig, store: Store, state: MirrorState, options: RunOptions, at: _Progress) -> MirrorReport:
    published = at.published
    entries = () if published is None else published.entries
    generation = published.generation if published is not None else _generation(store)
    seen = at.plan.seen
    changes = {name: getattr(seen, name) for name in ("new", "changed", "patched", "vanished", "back")}
    if published is not None:
        changes["replaced"] = tuple(entry.package for entry in published.replaced)
        changes["yanked"] = tuple(entry.package for entry in published.yanked)
    items = report_items(
        at.plan.wanted,
        state.items(),
        state.results(),
        state.results(at.plan.wanted),
        before=at.before,
        worked=at.worked,
        yanked={entry.wheel.filename: entry.yanked for entry in entries if entry.yanked is not None},
    )
    return MirrorReport.make(
        items,
        channels=config.channels,
        converter=__version__,
        started=at.started,
        seconds=time.monotonic() - at.clock,
        changes=changes,
        generation=generation,
        problem=at.problem,
        runtimes=runtimes(entries, options.tell),
        history=history(state.runs()),
    )


def _generation(store: Store) -> str | None:
    """What readers see, if that can be told."""
    try:
        pointer = current(store)
    except Failed:
        return None
    return None if pointer is None else pointer.generation
