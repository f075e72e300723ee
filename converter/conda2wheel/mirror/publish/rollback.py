"""Go back to an earlier generation, and remove generations and wheels that are no longer needed."""

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
from conda2wheel.mirror.work.shared_results import SharedResult, get_result, result_paths

DAY = 86400.0


@dataclass(frozen=True)
class RemovedObjects:
    """What `gc` removed: names of generations, numbers of wheels and of other files, and the bytes of all of them."""

    generations: tuple[str, ...]
    blobs: int
    leftovers: int
    size: int


def rollback(store: Store, to: str | None, *, now: float) -> str:
    """Make an earlier generation the current one.

    The index that it replaces is withdrawn: publishing the very same index again does nothing, until another one was published.

    Args:
        store: the store.
        to: the generation's name; None for the one before the current one.
        now: seconds since 1970.

    Returns:
        The generation's name.

    Raises:
        Failed: "usage" where the generation does not exist or some of its wheels do not; "locked" and "store" as `publish`.
    """
    with Lease(store) as lease:
        pointer = current(store)
        if pointer is None:
            raise Failed("usage", f"{store.url}: nothing has been published there")
        older = [name for name in generations(store) if number_of(name) < pointer.number]
        name = to or (older[-1] if older else None)
        chosen = None if name is None else read_generation(store, name)
        if chosen is None:
            raise Failed(
                "usage", f"{store.url} has no generation {name or 'before this one'}", "conda2wheel mirror rollback lists them"
            )
        if lacking := missing(store, chosen.entries):
            first = lacking[0].wheel.filename
            raise Failed("usage", f"{chosen.name} is incomplete: {len(lacking)} of its wheels are gone, such as {first}")
        if chosen.name == pointer.generation:
            serve(store, chosen, lease.check)
            return chosen.name
        withdrawn = {*pointer.withdrawn, *_digest(store, pointer.generation)} - {chosen.digest}
        lease.check()
        new = Pointer(chosen.name, chosen.sha256, now, pointer.generation, tuple(sorted(withdrawn)))
        if not set_pointer(store, new, pointer):
            raise Failed("locked", f"another process published to {store.url} meanwhile", "nothing was changed")
        serve(store, chosen, lease.check)
        return chosen.name


def _digest(store: Store, name: str) -> tuple[str, ...]:
    """A generation's digest; nothing if it cannot be read, since its damage may be the reason for the rollback."""
    try:
        generation = read_generation(store, name)
    except Failed:
        return ()
    return () if generation is None else (generation.digest,)


def gc(store: Store, *, keep: int, grace: float, now: float | None = None) -> RemovedObjects:
    """Remove generations and wheels that no reader needs.

    The current generation stays, and so do the newest `keep` and those that were current within the last `grace` seconds. Wheels
    that none of these names, and no result that a service shares, are removed once they are older than `grace`. What killed
    publishers left is removed at once (generations without a manifest) or after a day (temporary files).

    Args:
        store: the store.
        keep: how many of the newest generations stay.
        grace: seconds.
        now: seconds since 1970; None for the store's clock, by which ages are measured.

    Raises:
        Failed: as `publish`; nothing that is still needed has been removed.
    """
    with Lease(store) as lease:
        pointer, generation = current_generation(store)
        if pointer is None or generation is None:
            return RemovedObjects((), 0, 0, 0)
        serve(store, generation, lease.check)
        now = store.clock() if now is None else now
        names = _kept_generations(store, pointer, keep, now - grace)
        kept = {generation.name: generation} | {name: _read(store, name) for name in names if name != generation.name}
        removed, size = [], 0
        for name in store.folders(GENERATIONS):
            infos = [] if name in kept else list(store.list(f"{GENERATIONS}/{name}"))
            if not infos:  # some stores list folders that are empty
                continue
            lease.check()
            removed.append(name)
            store.delete([f"{GENERATIONS}/{name}/{MANIFEST}"])  # first, so that a partial generation never looks complete
            store.delete([info.path for info in infos])
            size += sum(info.size for info in infos)
        # What lies beside a wheel (its metadata, its details) is in the same folder, which has the wheel's hash as its name.
        shared = _shared_results(store, generation, now - grace)
        lease.check()
        store.delete(path for path, result in shared.items() if result is None)
        entries = [entry for each in kept.values() for entry in each.entries]
        entries += [entry for each in shared.values() if each is not None for entry in each.entries]
        needed = {entry.wheel.blob.rpartition("/")[0] for entry in entries}
        unused = [
            info for info in store.list("blobs") if info.modified < now - grace and info.path.rpartition("/")[0] not in needed
        ]
        lease.check()
        store.delete([info.path for info in unused])
        leftovers = store.delete_partial_files(now - DAY)
        return RemovedObjects(tuple(removed), len(unused), leftovers, size + sum(info.size for info in unused))


def _shared_results(store: Store, generation: Generation, since: float) -> dict[str, SharedResult | None]:
    """The results that a service shares, by path; None for those that nothing needs any more.

    These are the ones that the generation has, refusals from before `since`, and what cannot be read.
    """
    published = {(entry.package.sha256, entry.wheel.sha256) for entry in generation.entries}
    found: dict[str, SharedResult | None] = {}
    for path, modified in result_paths(store).items():
        shared = get_result(store, path)
        if shared is not None and shared.result.wheel is not None:
            is_published = (shared.package.sha256, shared.result.wheel.sha256) in published
            found[path] = None if is_published else shared
        else:
            found[path] = None if shared is None or modified < since else shared
    return found


def _kept_generations(store: Store, pointer: Pointer, keep: int, since: float) -> set[str]:
    """The generations that stay. A generation stops being current when the next is written, or when a rollback replaces it."""
    complete = generations(store)
    replaced: dict[str, float] = {}
    for name, following in itertools.pairwise(complete):
        info = store.head(f"{GENERATIONS}/{following}/{MANIFEST}")
        replaced[name] = info.modified if info is not None else since
    kept = {pointer.generation, *complete[max(0, len(complete) - keep) :]}
    kept |= {name for name, moment in replaced.items() if moment >= since}
    info = store.head(POINTER)
    if pointer.previous in complete and info is not None and info.modified >= since:
        kept.add(str(pointer.previous))
    return kept


def _read(store: Store, name: str) -> Generation:
    generation = read_generation(store, name)
    if generation is None:
        raise Failed(
            "store", f"{store.url}: generation {name} was deleted meanwhile", "another gc is running there: run it again"
        )
    return generation
