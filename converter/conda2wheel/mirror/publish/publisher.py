"""Publish: wheels that lie in a store become an index, from one moment to the next.

The order is what keeps readers safe: wheels and their metadata (workers put them), pages, the manifest, then the pointer, by a
write that fails if another moved it. Nothing that readers may still look at is deleted but by `gc`, after `grace`. Whoever
is killed leaves objects that nothing points to; the next publish uses them, or `gc` removes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.mirror.publish.activate import serve
from conda2wheel.mirror.publish.generation import (
    GENERATIONS,
    MANIFEST,
    SCHEMA,
    Generation,
    IndexEntry,
    Pointer,
    current_generation,
    digest_of,
    index_pages,
    missing,
    number_of,
    read_generation,
    set_pointer,
    sha,
)
from conda2wheel.mirror.state.model import ChannelPackage
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.lease import SECONDS, Lease

YankReason = Callable[[ChannelPackage], str | None]
MakeFiles = Callable[[Sequence[IndexEntry]], Mapping[str, bytes]]


@dataclass(frozen=True)
class PublishResult:
    """What became of a publish. `new`: a generation was written; otherwise nothing changed or, `held`, a rollback took this very
    index away. `replaced`: entries whose file name a newer build has; `missing`: entries whose wheel is not in the store;
    `yanked` and `gone`: those that became so just now."""

    generation: str
    new: bool
    held: bool = False
    entries: tuple[IndexEntry, ...] = ()
    replaced: tuple[IndexEntry, ...] = ()
    missing: tuple[IndexEntry, ...] = ()
    yanked: tuple[IndexEntry, ...] = ()
    gone: tuple[IndexEntry, ...] = ()


def no_longer_there(package: ChannelPackage) -> str | None:
    """The fate of a package that its channel has no more."""
    return f"no longer in {package.channel}"


def publish(
    store: Store,
    entries: Iterable[IndexEntry],
    manifest: Mapping[str, Any],
    *,
    now: float,
    grace: float,
    owner: str = "",
    seconds: float = SECONDS,
    fate: YankReason = no_longer_there,
    files: MakeFiles = lambda _: {},
    extras: Mapping[str, bytes] | None = None,
) -> PublishResult:
    """Make these entries the index, if they make another one than is there.

    `manifest` is `MirrorState.manifest()`, and kept as `Generation.state` for `MirrorState.rebuild`. `fate` tells why an
    entry of the index
    before that is not among `entries` is yanked for `grace` seconds, until it goes; None keeps it (its package is there, only its
    wheel was not made yet).
    `files` makes more files of the index (lock files) of what will be in it; `extras` (reports) come along, and make no new
    generation by themselves. Paths are relative to the store's top. `seconds`: see `Lease`.

    Raises `Failed`: "locked" where another publishes, "store" where the store fails; what was published before stays.
    """
    with Lease(store, owner, seconds) as lock:
        pointer, parent = current_generation(store)
        wanted, told = choose(entries, () if parent is None else parent.entries, now=now, grace=grace, fate=fate)
        lacking = frozenset(missing(store, wanted))
        wanted = tuple(entry for entry in wanted if entry not in lacking)
        pages = index_pages(wanted) | dict(files(wanted))
        told = replace(told, entries=wanted, missing=tuple(sorted(lacking, key=_order)))
        digest = digest_of(pages)
        if pointer is not None and parent is not None and (parent.digest == digest or digest in pointer.withdrawn):
            serve(store, parent, lock.check)  # one that was cut off after the pointer is finished here
            return replace(told, generation=parent.name, held=parent.digest != digest)
        pages |= extras or {}
        generation = _write(store, lock, manifest, wanted, pages, digest, pointer, now)
        serve(store, generation, lock.check, pages)
        return replace(told, generation=generation.name, new=True)


def choose(
    entries: Iterable[IndexEntry], before: Sequence[IndexEntry], *, now: float, grace: float, fate: YankReason = no_longer_there
) -> tuple[tuple[IndexEntry, ...], PublishResult]:
    """What an index shall have, given what it had: one entry per file name, sorted, and what else became of the rest."""
    wanted: dict[str, IndexEntry] = {}
    replaced: list[IndexEntry] = []
    for entry in sorted(set(entries), key=_order, reverse=True):
        first = wanted.setdefault(entry.wheel.filename, entry)
        if first is not entry and first.wheel.sha256 != entry.wheel.sha256:
            replaced.append(entry)
    yanked: list[IndexEntry] = []
    gone: list[IndexEntry] = []
    for entry in before:
        if entry.wheel.filename in wanted:
            continue
        reason = fate(entry.package)
        if reason is None:
            wanted[entry.wheel.filename] = replace(entry, yanked=None, since=None)
        elif entry.since is not None and now - entry.since > grace:
            gone.append(entry)
        else:
            since = now if entry.since is None else entry.since
            wanted[entry.wheel.filename] = replace(entry, yanked=reason, since=since)
            if entry.since is None:
                yanked.append(wanted[entry.wheel.filename])
    told = PublishResult("", False, replaced=tuple(replaced), yanked=tuple(yanked), gone=tuple(gone))
    return tuple(sorted(wanted.values(), key=lambda e: (e.wheel.project, e.wheel.filename))), told


def _order(entry: IndexEntry) -> tuple[Any, ...]:
    """Builds of one file name, the newest last; by hash where they are equally new: any order of work ends in the same."""
    package, wheel = entry.package, entry.wheel
    return (wheel.filename, package.build_number, package.timestamp or 0.0, package.sha256, wheel.sha256)


def _write(
    store: Store,
    lock: Lease,
    manifest: Mapping[str, Any],
    entries: Sequence[IndexEntry],
    pages: Mapping[str, bytes],
    digest: str,
    pointer: Pointer | None,
    now: float,
) -> Generation:
    name = _name(store, digest, pointer)
    own: dict[str, Any] = {
        "schema": SCHEMA,
        "generation": name,
        "digest": digest,
        "created": now,
        "parent": None if pointer is None else pointer.generation,
        "version": __version__,
        "files": {path: sha(data) for path, data in pages.items()},
        "entries": [entry.json() for entry in entries],
    }
    data = json.dumps(own | {"state": dict(manifest)}).encode()
    store.put_all(((f"{GENERATIONS}/{name}/{path}", page) for path, page in pages.items()), lock.check)
    lock.check()
    store.put(f"{GENERATIONS}/{name}/{MANIFEST}", data)
    generation = read_generation(store, name, sha(data))
    if generation is None:
        raise Failed("store", f"{store.url}: {name} was written, and is not there", "nothing was published")
    lock.check()
    new = Pointer(name, generation.sha256, now, None if pointer is None else pointer.generation)
    if not set_pointer(store, new, pointer):
        raise Failed("locked", f"another published to {store.url} in the meantime", "nothing of this run was published")
    return generation


def _name(store: Store, digest: str, pointer: Pointer | None) -> str:
    """The next number; or one that was begun with the same pages, and never got to count."""
    above = 0 if pointer is None else pointer.number
    newest = above
    for name in store.folders(GENERATIONS):
        try:
            number = number_of(name)
        except ValueError:
            continue
        if number > above and name.endswith(f"-{digest[:8]}"):
            return name
        newest = max(newest, number)
    return f"{newest + 1:06}-{digest[:8]}"
