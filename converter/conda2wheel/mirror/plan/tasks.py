"""What a run is to do: the channels' packages beside the configuration and the state.

A work item is the archive (by its sha256), this converter, the options and the platform. A patch of repodata that changes a
license or a dependency makes no new item: what a wheel says of itself comes from the archive, whose own index.json it was made
of. It shows in `MirrorPlan.seen.patched`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.plan.select import SkippedPackage, ranks, refused, select
from conda2wheel.mirror.state.mirror_state import ChannelChanges, MirrorItem, MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult


@dataclass(frozen=True)
class PlannedTask:
    """A work item, its package, and why it is one."""

    key: ItemKey
    package: ChannelPackage
    why: str


@dataclass(frozen=True)
class MirrorPlan:
    """What there is to do, in the order in which it shall be done, and what is not to be done.

    `wanted`: every item that the index shall have, done or not, with its package. `to_do`: those to work on now. `verdicts`: what
    is refused by its name alone and was not noted yet, for `MirrorState.finish`. `waiting` and `quarantined`: failed items.
    `left`:
    packages that the configuration leaves out.
    """

    wanted: Mapping[ItemKey, ChannelPackage] = field(default_factory=dict)
    to_do: tuple[PlannedTask, ...] = ()
    verdicts: tuple[ItemResult, ...] = ()
    waiting: tuple[PlannedTask, ...] = ()
    quarantined: tuple[PlannedTask, ...] = ()
    left: tuple[SkippedPackage, ...] = ()
    seen: ChannelChanges = field(default_factory=ChannelChanges)

    @property
    def unchanged(self) -> int:
        """How many items are done or refused already."""
        return len(self.wanted) - len(self.to_do) - len(self.verdicts) - len(self.waiting) - len(self.quarantined)

    @property
    def bytes(self) -> int:
        """What is to be downloaded for `to_do`, libraries aside."""
        return sum(task.package.size or 0 for task in self.to_do)


def make(
    packages: Sequence[ChannelPackage], config: MirrorConfig, state: MirrorState, now: float, seen: ChannelChanges | None = None
) -> MirrorPlan:
    """Plan a run for what the channels list; nothing is written. `seen`: what `MirrorState.see` answered before; None:
    `MirrorState.compare`
    is asked."""
    seen = state.compare(packages) if seen is None else seen
    chosen, left = select(packages, config.select)
    wanted: dict[ItemKey, ChannelPackage] = {}
    for package in chosen:
        for platform in config.platforms if package.subdir != "noarch" else config.platforms[:1]:
            wanted.setdefault(config.key(package.sha256, package.name, platform), package)
    items = state.items()
    verdicts = {key: refusal for key, package in wanted.items() if (refusal := _by_name(key, package)) is not None}
    due = set(state.due([key for key in wanted if key not in verdicts], now))
    older = {item.key.package for item in items.values()}
    changes = {package.sha256: name for name in ("new", "changed", "back") for package in getattr(seen, name)}
    tasks = {key: PlannedTask(key, package, _why(key, items.get(key), changes, older)) for key, package in wanted.items()}
    failed = [task for key, task in tasks.items() if key not in due and key not in verdicts and key in items]
    return MirrorPlan(
        wanted=wanted,
        to_do=tuple(in_order([tasks[key] for key in wanted if key in due], items)),
        verdicts=tuple(done for key, done in verdicts.items() if key not in items or items[key].status != "refused"),
        waiting=tuple(task for task in failed if items[task.key].status == "failed"),
        quarantined=tuple(task for task in failed if items[task.key].status == "quarantined"),
        left=tuple(left),
        seen=seen,
    )


def in_order(tasks: Iterable[PlannedTask], items: Mapping[ItemKey, MirrorItem]) -> list[PlannedTask]:
    """The order of work, the same for the same tasks. What failed before, and even more what was under way when a run died, comes
    last: it holds nobody back. Then the newest version of every package before any older one, since that is what people
    install; and of these the largest first, so that no worker begins the longest job when the others are through."""
    tasks = list(tasks)
    by_name: dict[str, list[ChannelPackage]] = {}
    for task in tasks:
        by_name.setdefault(task.package.name, []).append(task.package)
    order = {name: ranks(found) for name, found in by_name.items()}
    top = {name: max(found.values()) for name, found in order.items()}

    def place(task: PlannedTask) -> tuple[int, int, int, int, str, ItemKey]:
        item, package = items.get(task.key), task.package
        age = top[package.name] - order[package.name][package.version]
        broken, attempts = (item.broken, item.attempts) if item else (0, 0)
        return broken, attempts, age, -(package.size or 0), package.stem, task.key

    return sorted(tasks, key=place)


def _by_name(key: ItemKey, package: ChannelPackage) -> ItemResult | None:
    refusal = refused(package)
    return None if refusal is None else ItemResult(key, "refused", refusal.code, refusal.message, refusal.hint)


def _why(key: ItemKey, item: MirrorItem | None, changes: Mapping[str, str], older: set[str]) -> str:
    """Why an item is to be done."""
    if item is not None and item.status in ("failed", "quarantined"):
        return f"failed {item.attempts} times ({item.code})"
    if item is not None and item.broken:
        return "was under way when a run ended"
    if item is not None and item.status == "pending":
        return "not done yet"
    if key.package in changes:
        return changes[key.package]
    return "another converter, options or platform" if key.package in older else "new"
