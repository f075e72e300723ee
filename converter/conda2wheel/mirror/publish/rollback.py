"""Going back to a generation, and clearing away what nobody needs any more."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from conda2wheel.errors import Failed
from conda2wheel.mirror.publish.activate import serve
from conda2wheel.mirror.publish.generation import (
    GENERATIONS,
    MANIFEST,
    POINTER,
    Generation,
    Pointer,
    current,
    current_generation,
    generations,
    missing,
    number_of,
    read_generation,
    set_pointer,
)
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.lease import Lease

DAY = 86400.0


@dataclass(frozen=True)
class RemovedObjects:
    """What `gc` removed: generations by name, wheels and other files by number; `size` in bytes, all together."""

    generations: tuple[str, ...]
    blobs: int
    leftovers: int
    size: int


def rollback(store: Store, to: str | None, *, now: float, owner: str = "") -> str:
    """Make a generation the current one again (None: the one before this); gives back its name. What is taken away stays away: a
    later publish of the very same index does nothing, until another one was published.

    Raises `Failed`: "usage" where there is no such generation, or it is not whole any more; "locked" and "store" as `publish`.
    """
    with Lease(store, owner) as lock:
        pointer = current(store)
        if pointer is None:
            raise Failed("usage", f"{store.url}: nothing was published there")
        older = [name for name in generations(store) if number_of(name) < pointer.number]
        name = to or (older[-1] if older else None)
        chosen = None if name is None else read_generation(store, name)
        if chosen is None:
            raise Failed("usage", f"{store.url} has no generation {name or 'before this one'}", "mirror status lists them")
        if lacking := missing(store, chosen.entries):
            raise Failed("usage", f"{chosen.name} is not whole: {lacking[0].wheel.filename} and so on ({len(lacking)}) are gone")
        withdrawn = {*pointer.withdrawn, *_digest(store, pointer.generation)} - {chosen.digest}
        lock.check()
        new = Pointer(chosen.name, chosen.sha256, now, pointer.generation, tuple(sorted(withdrawn)))
        if not set_pointer(store, new, pointer):
            raise Failed("locked", f"another published to {store.url} in the meantime", "nothing was changed")
        serve(store, chosen, lock.check)
        return chosen.name


def _digest(store: Store, name: str) -> tuple[str, ...]:
    """A generation's, if it can be read: its damage may be why one goes back."""
    try:
        generation = read_generation(store, name)
    except Failed:
        return ()
    return () if generation is None else (generation.digest,)


def gc(store: Store, *, keep: int, grace: float, now: float | None = None, owner: str = "") -> RemovedObjects:
    """Remove generations and wheels that no reader needs: all generations but the current one, the newest `keep`, and those that
    counted within the last `grace` seconds; then wheels that none of these names and that are older than `grace`.

    Ages are by the store's clock, and so is `now` if it is None. What killed publishers left goes at once (generations without a
    manifest) or after a day. Raises `Failed` as `publish` does; what is named by what stays is never removed.
    """
    with Lease(store, owner) as lock:
        pointer, generation = current_generation(store)
        if pointer is None or generation is None:
            return RemovedObjects((), 0, 0, 0)
        serve(store, generation, lock.check)
        now = store.clock() if now is None else now
        kept = _kept(store, pointer, keep, now - grace)
        named = {generation.name: generation} | {name: _whole(store, name) for name in kept if name != generation.name}
        doomed, size = [], 0
        for name in store.folders(GENERATIONS):
            metas = [] if name in named else list(store.list(f"{GENERATIONS}/{name}"))
            if not metas:  # some stores list folders that are empty
                continue
            lock.check()
            doomed.append(name)
            store.delete([f"{GENERATIONS}/{name}/{MANIFEST}"])  # first: half a generation shall not look whole
            store.delete([meta.path for meta in metas])
            size += sum(meta.size for meta in metas)
        needed = {entry.wheel.blob for each in named.values() for entry in each.entries}
        idle = [
            meta
            for meta in store.list("blobs")
            if meta.modified < now - grace and meta.path.removesuffix(".metadata") not in needed
        ]
        lock.check()
        store.delete([meta.path for meta in idle])
        leftovers = store.tidy(now - DAY)
        return RemovedObjects(tuple(doomed), len(idle), leftovers, size + sum(meta.size for meta in idle))


def _kept(store: Store, pointer: Pointer, keep: int, since: float) -> set[str]:
    """The generations that stay. One ceased to count when the next was written, or when the pointer was set back."""
    whole = generations(store)
    ended: dict[str, float] = {}
    for name, following in itertools.pairwise(whole):
        meta = store.head(f"{GENERATIONS}/{following}/{MANIFEST}")
        ended[name] = meta.modified if meta is not None else since
    kept = {pointer.generation, *whole[max(0, len(whole) - keep) :]}
    kept |= {name for name, moment in ended.items() if moment >= since}
    pointed = store.head(POINTER)
    if pointer.previous in whole and pointed is not None and pointed.modified >= since:
        kept.add(str(pointer.previous))
    return kept


def _whole(store: Store, name: str) -> Generation:
    generation = read_generation(store, name)
    if generation is None:
        raise Failed("store", f"{store.url}: generation {name} was there, and is not", "another cleans there: run it again")
    return generation
