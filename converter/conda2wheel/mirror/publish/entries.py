"""Which wheels an index has: those of the plan's results, and for a while those that it had before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.mirror.plan.tasks import MirrorPlan
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult

YankReason = Callable[[ChannelPackage], str | None]  # why the wheel of a package is yanked; None: it stays


def not_in_channel(package: ChannelPackage) -> str | None:
    """The reason for yanking the wheel of a package that its channel no longer has."""
    return f"no longer in {package.channel}"


def entries_of(plan: MirrorPlan, results: Mapping[ItemKey, ItemResult]) -> Iterator[IndexEntry]:
    """Yield an entry for every wanted item that has a wheel, and for the library wheels that it requires."""
    for key, package in plan.wanted.items():
        result = results.get(key)
        if result is not None and result.wheel is not None:
            yield IndexEntry(result.wheel, package)
            yield from (IndexEntry(library.wheel, library.package) for library in result.libraries)


class YankReasons:
    """Why a wheel that the index had is yanked, as a `YankReason`. A wheel whose replacement has not been made yet stays.

    Args:
        plan: the plan of the run.
        results: `MirrorState.results(plan.wanted)`.
    """

    def __init__(self, plan: MirrorPlan, results: Mapping[ItemKey, ItemResult]) -> None:
        self._skipped = {package.sha256: reason for package, reason in plan.skipped}
        self._results: dict[str, ItemResult] = {}
        self._unfinished: set[tuple[str, str, str]] = set()
        self._wanted = {package.sha256 for package in plan.wanted.values()}
        for key, package in plan.wanted.items():
            result = results.get(key)
            if result is None or result.status == "failed":
                self._unfinished.add(_version(package))
            else:
                self._results[package.sha256] = result

    def __call__(self, package: ChannelPackage) -> str | None:
        """Return the reason, or None if the wheel stays."""
        if _version(package) in self._unfinished:
            return None
        if (reason := self._skipped.get(package.sha256)) is not None:
            return f"no longer mirrored: {reason}"
        result = self._results.get(package.sha256)
        if result is not None and result.status == "refused":
            return f"conda2wheel {__version__} refuses it: {result.code}"
        if package.sha256 in self._wanted:
            return "another wheel was made of it"
        return not_in_channel(package)


def _version(package: ChannelPackage) -> tuple[str, str, str]:
    return package.subdir, package.name, package.version


@dataclass(frozen=True)
class EntryChoice:
    """The entries of an index, one per file name, in order, and what changed.

    `replaced` are those of the index before that have a newer build of the same file name now, `yanked` are yanked from now on,
    `removed` have been yanked for longer than the grace period.
    """

    entries: tuple[IndexEntry, ...]
    replaced: tuple[IndexEntry, ...] = ()
    yanked: tuple[IndexEntry, ...] = ()
    removed: tuple[IndexEntry, ...] = ()


def choose(
    entries: Iterable[IndexEntry], previous: Sequence[IndexEntry], *, now: float, grace: float, yank_reason: YankReason
) -> EntryChoice:
    """Choose the entries of an index.

    Args:
        entries: an entry for every wheel that is wanted.
        previous: the entries of the index before.
        now: seconds since 1970.
        grace: seconds for which a yanked entry stays.
        yank_reason: why an entry that is no longer wanted is yanked.
    """
    chosen: dict[str, IndexEntry] = {}
    before = {entry.wheel.filename: entry.wheel.sha256 for entry in previous}
    replaced: list[IndexEntry] = []
    for entry in sorted(set(entries), key=build_order, reverse=True):
        first = chosen.setdefault(entry.wheel.filename, entry)
        if first.wheel.sha256 == entry.wheel.sha256:
            continue
        had = before.get(entry.wheel.filename)
        if had is None or had == entry.wheel.sha256:  # otherwise it was replaced in an earlier index, or never in one
            replaced.append(entry)
    yanked: list[IndexEntry] = []
    removed: list[IndexEntry] = []
    libraries = [entry for entry in previous if entry.wheel.is_library]
    for entry in [*(entry for entry in previous if not entry.wheel.is_library), *_users_first(libraries)]:
        if entry.wheel.filename in chosen:
            continue
        reason = _library_reason(entry, chosen.values()) if entry.wheel.is_library else yank_reason(entry.package)
        if reason is None:
            chosen[entry.wheel.filename] = replace(entry, yanked=None, since=None)
        elif entry.since is not None and now - entry.since > grace and not _is_required(entry, chosen.values()):
            removed.append(entry)
        else:
            since = now if entry.since is None else entry.since
            chosen[entry.wheel.filename] = replace(entry, yanked=reason, since=since)
            if entry.since is None:
                yanked.append(chosen[entry.wheel.filename])
    in_order = sorted(chosen.values(), key=lambda entry: (entry.wheel.project, entry.wheel.filename))
    return EntryChoice(tuple(in_order), tuple(replaced), tuple(yanked), tuple(removed))


def _users_first(libraries: Sequence[IndexEntry]) -> list[IndexEntry]:
    """Library wheels in an order in which each comes before those that it requires."""
    left, found = list(libraries), []
    while left:
        users = [entry for entry in left if not _is_required(entry, (other for other in left if other is not entry))] or left
        found += users
        left = [entry for entry in left if entry not in users]
    return found


def _is_required(library: IndexEntry, entries: Iterable[IndexEntry]) -> bool:
    """Whether one of these entries requires a library wheel."""
    return library.wheel.is_library and any(library.wheel.requirement in entry.wheel.requires for entry in entries)


def _library_reason(library: IndexEntry, entries: Iterable[IndexEntry]) -> str | None:
    """Why a library wheel is yanked; None while a wheel that is not yanked requires it."""
    return None if _is_required(library, (entry for entry in entries if entry.yanked is None)) else "no wheel requires it"


def usable(entries: Sequence[IndexEntry], lacking: Collection[IndexEntry]) -> tuple[IndexEntry, ...]:
    """The entries without those that are lacking and without those that require a library wheel that is lacking."""
    names = {entry.wheel.project for entry in entries if entry.wheel.is_library}
    left = [entry for entry in entries if entry not in lacking]
    while True:
        there = {entry.wheel.requirement for entry in left if entry.wheel.is_library}
        whole = [e for e in left if all(line in there for line in e.wheel.requires if line.partition("==")[0] in names)]
        if len(whole) == len(left):
            return tuple(whole)
        left = whole


def build_order(entry: IndexEntry) -> tuple[Any, ...]:
    """Sort key: builds of one file name, the newest last; hashes decide between equals, so that the order of work does not."""
    package, wheel = entry.package, entry.wheel
    return (wheel.filename, package.build_number, package.timestamp or 0.0, package.sha256, wheel.sha256)
