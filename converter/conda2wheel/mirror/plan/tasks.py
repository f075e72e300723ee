"""Plan a run: compare the channels' packages with the configuration and the state.

A work item is an archive (by its sha256), this converter's version, the options and the platform. A repodata patch that changes a
license or a dependency makes no new item, because a wheel's metadata come from the archive, with its own index.json. It is
reported in `MirrorPlan.changes.patched`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from conda2wheel.channels.records import LeftOutRecord
from conda2wheel.commands.shared_packages import SharedPackages
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.plan.select import SkippedPackage, ranks, refused, select
from conda2wheel.mirror.plan.sharing import libraries_in_vain, share
from conda2wheel.mirror.state.mirror_state import ChannelChanges, MirrorItem, MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult


@dataclass(frozen=True)
class PlannedTask:
    """A work item, its package, and why it is planned."""

    key: ItemKey
    package: ChannelPackage
    why: str


@dataclass(frozen=True)
class MirrorPlan:
    """What a run does.

    `wanted` has every item that belongs in the index, done or not, with its package; `to_do` those to work on now, in order;
    `verdicts` new refusals by name alone, for `MirrorState.finish`; `waiting` and `quarantined` failed items; `skipped` packages
    that the configuration leaves out; `changes` how the channels differ from the state; `sharing` what items take from library
    wheels; `left_out` records of the channels that cannot be used; `notes` what the configuration asks for in vain.
    """

    wanted: Mapping[ItemKey, ChannelPackage] = field(default_factory=dict)
    to_do: tuple[PlannedTask, ...] = ()
    verdicts: tuple[ItemResult, ...] = ()
    waiting: tuple[PlannedTask, ...] = ()
    quarantined: tuple[PlannedTask, ...] = ()
    skipped: tuple[SkippedPackage, ...] = ()
    changes: ChannelChanges = field(default_factory=ChannelChanges)
    sharing: Mapping[ItemKey, SharedPackages] = field(default_factory=dict)
    left_out: tuple[LeftOutRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unchanged(self) -> int:
        """How many items are already done or refused."""
        return len(self.wanted) - len(self.to_do) - len(self.verdicts) - len(self.waiting) - len(self.quarantined)

    @property
    def bytes(self) -> int:
        """The size of the packages of `to_do`; libraries that they need are not counted."""
        return sum(task.package.size or 0 for task in self.to_do)


def make_plan(
    packages: Sequence[ChannelPackage],
    config: MirrorConfig,
    state: MirrorState,
    now: float,
    changes: ChannelChanges | None = None,
    left_out: tuple[LeftOutRecord, ...] = (),
) -> MirrorPlan:
    """Plan a run. Writes nothing.

    Args:
        packages: what the channels list.
        config: the mirror's configuration.
        state: the mirror's state.
        now: seconds since 1970.
        changes: the result of `MirrorState.record_listing`; None to compare without recording.
        left_out: records of the channels that cannot be used.
    """
    changes = state.compare(packages) if changes is None else changes
    chosen, skipped = select(packages, config.select)
    wanted: dict[ItemKey, ChannelPackage] = {}
    for package in chosen:
        for platform in config.platforms if package.subdir != "noarch" else config.platforms[:1]:
            wanted.setdefault(config.key(package.sha256, package.name, platform), package)
    shared = share(config.share, wanted, state.results() if config.share.libraries else {}, packages)
    wanted = {shared.keys.get(key, key): package for key, package in wanted.items()}
    items = state.items()
    verdicts = {key: refusal for key, package in wanted.items() if (refusal := _refusal_by_name(key, package)) is not None}
    due = set(state.due([key for key in wanted if key not in verdicts], now))
    converted_before = {item.key.package for item in items.values()}
    kinds = {package.sha256: kind for kind in ("new", "changed", "back") for package in getattr(changes, kind)}
    tasks = {
        key: PlannedTask(key, package, _reason(key, items.get(key), kinds, converted_before, shared.sharing.get(key)))
        for key, package in wanted.items()
    }
    failed = [task for key, task in tasks.items() if key not in due and key not in verdicts and key in items]
    return MirrorPlan(
        wanted=wanted,
        to_do=tuple(in_order([tasks[key] for key in wanted if key in due], items)),
        verdicts=tuple(result for key, result in verdicts.items() if key not in items or items[key].status != "refused"),
        waiting=tuple(task for task in failed if items[task.key].status == "failed"),
        quarantined=tuple(task for task in failed if items[task.key].status == "quarantined"),
        skipped=tuple(skipped),
        changes=changes,
        sharing=shared.sharing,
        left_out=left_out,
        notes=tuple(libraries_in_vain(config.share, packages)),
    )


def in_order(tasks: Iterable[PlannedTask], items: Mapping[ItemKey, MirrorItem]) -> list[PlannedTask]:
    """Sort tasks into the order of work, independent of the order given.

    Items that failed before come last, after them those that a killed run was working on, so that they delay no others. The
    newest version of every package comes before older ones, since it is the one that users install; among these the largest
    comes first, so that the longest job does not begin when the other workers have finished.
    """
    tasks = list(tasks)
    by_name: dict[str, list[ChannelPackage]] = {}
    for task in tasks:
        by_name.setdefault(task.package.name, []).append(task.package)
    order = {name: ranks(found) for name, found in by_name.items()}
    newest = {name: max(found.values()) for name, found in order.items()}

    def position(task: PlannedTask) -> tuple[int, int, int, int, str, ItemKey]:
        item, package = items.get(task.key), task.package
        age = newest[package.name] - order[package.name][package.version]
        interruptions, attempts = (item.interruptions, item.attempts) if item else (0, 0)
        return interruptions, attempts, age, -(package.size or 0), package.stem, task.key

    return sorted(tasks, key=position)


def _refusal_by_name(key: ItemKey, package: ChannelPackage) -> ItemResult | None:
    refusal = refused(package)
    return None if refusal is None else ItemResult(key, "refused", refusal.code, refusal.message, refusal.hint)


def _reason(
    key: ItemKey, item: MirrorItem | None, kinds: Mapping[str, str], converted_before: set[str], sharing: SharedPackages | None
) -> str:
    """Why an item is planned, for people."""
    if item is not None and item.status in ("failed", "quarantined"):
        return f"failed {item.attempts} times ({item.code})"
    if item is not None and item.interruptions:
        return "interrupted when a run was killed"
    if item is not None and item.status == "pending":
        return "not done yet"
    if sharing is not None:
        return f"shares {', '.join(sorted(sharing.libraries))}"
    if key.package in kinds:
        return kinds[key.package]
    return "another converter, options or platform" if key.package in converted_before else "new"
