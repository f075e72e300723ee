"""One run of a mirror, the first like any other.

The steps of a run:

    lock     one run at a time on a state; a damaged or missing state is rebuilt from the store
    list     all packages of the channels, or none of them
    plan     what is new, changed or gone; what to convert, and why; what a service converted meanwhile is done
    work     workers convert, and every result is recorded at once; what needs shared libraries is converted again
    publish  all wheels become the index, atomically
    report   written beside the state and the index, and sent to [notify]

A run may be killed at any point: what was recorded stays, and the next run repeats the rest, to the same bytes. An error that
ends it early (a channel that does not answer, a store that refuses writes) is in the report, and leaves the index as it was.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace

from conda2wheel._version import __version__
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.records import LeftOutRecord
from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.owner import open_state
from conda2wheel.mirror.plan.select import list_packages
from conda2wheel.mirror.plan.tasks import MirrorPlan, PlannedTask, make_plan
from conda2wheel.mirror.publish.entries import YankReasons, entries_of
from conda2wheel.mirror.publish.generation import IndexEntry, current, generations, index_pages, read_generation
from conda2wheel.mirror.publish.publisher import MakeFiles, PublishResult, RepeatableFiles, publish
from conda2wheel.mirror.publish.pyodide_locks import lock_files
from conda2wheel.mirror.publish.pypi import OtherIndex
from conda2wheel.mirror.report.collect import report_items, run_counts, run_history
from conda2wheel.mirror.report.model import MirrorReport, RunOutcome
from conda2wheel.mirror.report.notify import Log, distribute, runtimes
from conda2wheel.mirror.report.progress import ProgressView, show_progress
from conda2wheel.mirror.state.mirror_state import ChannelChanges, MirrorItem, MirrorState, StateCorruptedError
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel
from conda2wheel.mirror.state.process_lock import process_lock
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import DaskExecutor, Executor, ProcessExecutor, stopped_by_signals
from conda2wheel.mirror.work.offered import OfferedWheels
from conda2wheel.mirror.work.shared_results import adopt
from conda2wheel.mirror.work.worker import ConversionJob

MIN_PACKAGES, MAX_VANISHED = 10, 0.5  # of a channel with so many packages, the share that may vanish in one run
ROUNDS = 2  # of work and publishing: the second for wheels that are missing in the store
SHARE_ROUNDS = 4  # of conversions with library wheels: the first shows all but rare cases what they share


@dataclass(frozen=True)
class RunOptions:
    """The options of one run.

    Attributes:
        executor: runs the conversions.
        limit: the number of items to work on, in the plan's order; None for all.
        publish: whether to publish; otherwise only convert.
        accept_vanished: continue though most packages of a channel are gone.
        log: called with lines for people.
        show_progress: opens the progress view for a number of items.
        downloads: reads the channels.
        now: the time in seconds since 1970.
    """

    executor: Executor = field(default_factory=ProcessExecutor)
    limit: int | None = None
    publish: bool = True
    accept_vanished: bool = False
    log: Log = lambda _: None
    show_progress: Callable[[int], AbstractContextManager[ProgressView]] = lambda total: show_progress(total, quiet=True)
    downloads: Downloads = field(default_factory=Downloads)
    now: Callable[[], float] = time.time


def make_executor(config: MirrorConfig, workers: int | None = None, dask: str | None = None) -> Executor:
    """The executor of the command line and the configuration: worker processes, or a Dask cluster."""
    if dask is not None:
        return DaskExecutor(dask)
    return ProcessExecutor(config.work.workers if workers is None else workers)


def run(config: MirrorConfig, options: RunOptions | None = None) -> MirrorReport:
    """Bring a mirror up to date with its channels.

    Returns:
        The report, which includes errors that ended the run early.

    Raises:
        Failed: "busy" where another run is active, "state" and "disk" where no state can be opened, "usage" and "dependency"
            for a store that cannot be opened, "usage" for the state of another configuration.
    """
    options = options or RunOptions()
    now = options.now()
    store = open_store(config.output.store)
    with process_lock(config.state, now):
        if not config.state.exists():
            rebuild(config, store, options.log)
        try:
            return _run(config, store, options, now)
        except StateCorruptedError as damage:
            options.log(f"{damage.message}; the file is kept under another name")
            rebuild(config, store, options.log)
            return _run(config, store, options, now)


def rebuild(config: MirrorConfig, store: Store, log: Log) -> None:
    """Rebuild the state from the newest readable generation. Raises `Failed` (store, disk)."""
    for name in reversed(generations(store)):
        try:
            generation = read_generation(store, name)
            if generation is not None:
                MirrorState.rebuild(config.state, generation.state).close()
                log(f"the state was rebuilt from generation {name}")
                return
        except Failed as damage:
            log(damage.message)
    MirrorState.rebuild(config.state, None).close()


def _run(config: MirrorConfig, store: Store, options: RunOptions, now: float) -> MirrorReport:
    with open_state(config, record=True) as state:
        number = state.begin_run(now)
        active = _ActiveRun(config, store, state, options, started=now, before=state.items())
        state.reset_interrupted()
        try:
            active.update()
        except Failed as error:
            if isinstance(error, StateCorruptedError) or error.code in ("usage", "dependency"):
                raise
            active.problem = str(error)
            active.plan = active.plan if active.plan.wanted else plan_of_state(config, state, now)
        report = active.report()
        state.end_run(number, options.now(), active.seconds, run_counts(report))
    distribute(report, config, store if options.publish else None, options.log)
    return report


@dataclass
class _ActiveRun:
    """A run on an open state, and how far it has come. `before` are the items as they were before it."""

    config: MirrorConfig
    store: Store
    state: MirrorState
    options: RunOptions
    started: float
    before: dict[ItemKey, MirrorItem]
    plan: MirrorPlan = field(default_factory=MirrorPlan)
    worked: set[ItemKey] = field(default_factory=set)
    published: PublishResult | None = None
    problem: str | None = None
    left_out: tuple[LeftOutRecord, ...] = ()
    _clock: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the run began, by a monotonic clock."""
        return time.monotonic() - self._clock

    def update(self) -> None:
        """List, plan, work and publish. Raises `Failed` for what ends the run early."""
        self.store.clock()  # it writes: a store that refuses writes ends the run before any work
        found = list_packages(self.config.channels, self.options.downloads)
        listed, self.left_out = found.packages, found.left_out
        changes = self.state.compare(listed)
        if not self.options.accept_vanished:
            check_vanished(changes, self.state)
        self.state.record_listing(listed, self.started, changes)
        self.plan = make_plan(listed, self.config, self.state, self.started, changes, self.left_out)
        for note in self.plan.notes:
            self.options.log(note)
        for verdict in self.plan.verdicts:
            self.state.finish(verdict, self.started)
            self.worked.add(verdict.key)
        self.state.add_items(self.plan.wanted)
        if adopt(self.store, self.plan.to_do, self.state, self.started):
            self.plan = make_plan(listed, self.config, self.state, self.started, changes, self.left_out)
        tasks: Sequence[PlannedTask] = self.plan.to_do[: self.options.limit]
        for _ in range(ROUNDS):
            self._work(tasks)
            if tasks:
                self._share(listed, changes)
            if not self.options.publish:
                return
            self.published = publish_state(self.config, self.store, self.state, self.plan, self.options.now(), self.options.log)
            tasks = reset_missing(self.plan, self.state, self.published)
            if not tasks:
                return

    def _share(self, listed: Sequence[ChannelPackage], changes: ChannelChanges) -> None:
        """Convert with library wheels what was found to need shared libraries, until nothing more is."""
        for _ in range(SHARE_ROUNDS if self.config.share.libraries else 0):
            self.plan = make_plan(listed, self.config, self.state, self.started, changes, self.left_out)
            self.state.add_items(self.plan.wanted)
            left = None if self.options.limit is None else max(0, self.options.limit - len(self.worked))
            tasks = [task for task in self.plan.to_do if task.key not in self.worked and task.key in self.plan.sharing][:left]
            if not tasks:
                return
            self._work(tasks)

    def _work(self, tasks: Sequence[PlannedTask]) -> None:
        """Run tasks and record their results. Raises `Failed` (interrupted) if a signal stops them early."""
        if not tasks:
            return
        now, executor = self.options.now, self.options.executor
        names = {task.key: f"{task.package.subdir}/{task.package.stem}" for task in tasks}
        sharing = self.plan.sharing
        checks = self.config.work.check != "no"
        offered = OfferedWheels(self.plan.wanted, self.state.results(self.plan.wanted)) if checks else OfferedWheels({}, {})
        beside: dict[ItemKey, tuple[MirrorWheel, ...]] = {}
        failed_checks: set[ItemKey] = set()

        def job_of(task: PlannedTask) -> ConversionJob:
            beside[task.key] = offered.beside(task.package)
            job = ConversionJob.of(task.key, task.package, self.config, sharing=sharing.get(task.key))
            return replace(job, beside=tuple((wheel.filename, wheel.blob) for wheel in beside[task.key]))

        jobs = map(job_of, tasks)  # one after the other: each is offered what was done before it
        in_main_thread = threading.current_thread() is threading.main_thread()
        signals = stopped_by_signals(executor.stop) if in_main_thread else nullcontext()
        with self.options.show_progress(len(tasks)) as view, signals:
            lanes = _Lanes(view, names)

            def on_start(key: ItemKey) -> None:
                self.state.start(key, now())
                lanes.started(key)

            with closing(executor.run(jobs, on_start)) as results:
                for result in results:
                    self.state.finish(result, now(), self.config.work.retries)
                    self.worked.add(result.key)
                    lanes.finished(result)
                    if checks:
                        offered.add(self.plan.wanted[result.key], result)
                    if result.code == "check":
                        failed_checks.add(result.key)
        left = len(names.keys() - self.worked)
        if left:
            raise Failed("interrupted", f"stopped by a signal; {left} of {len(tasks)} items are left for the next run")
        # Wheels that were checked before those that they require were there.
        self._work([task for task in tasks if task.key in failed_checks and offered.beside(task.package) != beside[task.key]])

    def report(self) -> MirrorReport:
        """Report what the run did and what the state has."""
        entries = () if self.published is None else self.published.entries
        changes = {name: getattr(self.plan.changes, name) for name in ("new", "changed", "patched", "vanished", "back")}
        if self.published is not None:
            changes["replaced"] = tuple(entry.package for entry in self.published.replaced)
            changes["yanked"] = tuple(entry.package for entry in self.published.yanked)
        items = report_items(
            self.plan.wanted,
            self.state.items(),
            self.state.results(),
            self.state.results(self.plan.wanted),
            before=self.before,
            worked=self.worked,
            yanked={entry.wheel.filename: entry.yanked for entry in entries if entry.yanked is not None},
        )
        outcome = RunOutcome(
            started=self.started,
            seconds=self.seconds,
            changes=changes,
            generation=self.published.generation if self.published is not None else _current_name(self.store),
            problem=self.problem,
            left_out=self.left_out,
            notes=self.plan.notes,
        )
        return MirrorReport.make(
            items,
            channels=self.config.channels,
            converter=__version__,
            outcome=outcome,
            runtimes=runtimes(entries, self.options.log),
            history=run_history(self.state.runs()),
        )


class _Lanes:
    """Assigns running items to the lines of the progress view: an executor does not say which worker has an item."""

    def __init__(self, view: ProgressView, names: dict[ItemKey, str]) -> None:
        self._view, self._names = view, names
        self._lanes: dict[ItemKey, str] = {}
        self._free: list[str] = []

    def started(self, key: ItemKey) -> None:
        """Show an item in a free line."""
        lane = self._free.pop(0) if self._free else str(len(self._lanes) + 1)
        self._lanes[key] = lane
        self._view.started(lane, self._names[key])

    def finished(self, result: ItemResult) -> None:
        """Free the item's line."""
        lane = self._lanes.pop(result.key, None)
        if lane is not None:
            self._free.append(lane)
        self._view.finished(lane, self._names[result.key], result)


def check_vanished(changes: ChannelChanges, state: MirrorState) -> None:
    """Stop a run whose channel lists next to nothing: that is more often an accident than intended, and would yank everything.

    Raises:
        Failed: "vanished" where more than half of a channel's packages are gone.
    """
    gone = Counter(package.channel for package in changes.vanished)
    for channel, count in state.count_packages().items():
        if count >= MIN_PACKAGES and gone[channel] > count * MAX_VANISHED:
            message = f"{channel}: {gone[channel]} of its {count} packages are no longer listed; nothing was changed"
            raise Failed("vanished", message, "if that is intended, run it once with --accept-vanished")


def publish_state(
    config: MirrorConfig, store: Store, state: MirrorState, plan: MirrorPlan, now: float, log: Log = lambda _: None
) -> PublishResult:
    """Publish the index of all wheels in the state. Raises `Failed` as `publish`."""
    results = state.results(plan.wanted)
    return publish(
        store,
        entries_of(plan, results),
        state.manifest,
        now=now,
        grace=config.output.grace,
        yank_reason=YankReasons(plan, results),
        make_files=_files(config, store, state, plan, now, log),
    )


def _files(
    config: MirrorConfig, store: Store, state: MirrorState, plan: MirrorPlan, now: float, log: Log
) -> RepeatableFiles | MakeFiles:
    """The lock files of an index; its pages with whole addresses, and its pages for people, if the configuration wants them."""
    url = config.output.url

    def machines(entries: Sequence[IndexEntry]) -> Mapping[str, bytes]:
        simple = {} if url is None else index_pages(entries, url)
        return {**simple, **lock_files(entries)}

    def people(entries: Sequence[IndexEntry]) -> Mapping[str, bytes]:
        files = machines(entries)
        from conda2wheel.mirror.publish.catalogue import MirrorRecord
        from conda2wheel.mirror.publish.pages import page_files

        pypi = None if config.output.pypi is None else OtherIndex(config.output.pypi, now)
        record = MirrorRecord.of(config.channels, state, plan)
        locks = [name for name in files if not name.startswith("simple/")]
        return {**files, **page_files(store, record, entries, locks, log, pypi)}

    return people if config.output.pages else RepeatableFiles(machines, url or "")


def reset_missing(plan: MirrorPlan, state: MirrorState, published: PublishResult) -> tuple[PlannedTask, ...]:
    """Mark items as due again if their wheels are missing in the store."""
    missing = {entry.package.sha256 for entry in published.missing if not entry.wheel.is_library}
    tasks = tuple(
        PlannedTask(key, package, "its wheel is not in the store")
        for key, package in plan.wanted.items()
        if package.sha256 in missing
    )
    state.reset([task.key for task in tasks])
    return tasks


def plan_of_state(config: MirrorConfig, state: MirrorState, now: float) -> MirrorPlan:
    """Plan for the packages that the channels had when they were last read."""
    return make_plan([each.package for each in state.packages() if each.gone is None], config, state, now, ChannelChanges())


def _current_name(store: Store) -> str | None:
    """The name of the current generation; None if there is none, or the store cannot be read."""
    try:
        pointer = current(store)
    except Failed:
        return None
    return None if pointer is None else pointer.generation
