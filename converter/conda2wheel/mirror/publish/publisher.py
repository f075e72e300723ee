"""Publish an index: wheels that are in a store become the current generation, atomically for readers.

The order of writes keeps readers safe: wheels and their metadata (written by workers), pages, the manifest, then the pointer,
by a write that fails if another process moved it. Only `gc` deletes, after the grace period. A killed publisher leaves objects
that nothing refers to; the next publish uses them, or `gc` removes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.mirror.publish.activate import serve
from conda2wheel.mirror.publish.entries import YankReason, build_order, choose, not_in_channel, usable
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
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.lease import Lease

MakeFiles = Callable[[Sequence[IndexEntry]], Mapping[str, bytes]]


@dataclass(frozen=True)
class RepeatableFiles:
    """A way of making files that gives the same ones for the same entries, this version of conda2wheel, and the same `inputs`."""

    make: MakeFiles
    inputs: str

    def __call__(self, entries: Sequence[IndexEntry]) -> Mapping[str, bytes]:
        """Make the files."""
        return self.make(entries)


@dataclass(frozen=True)
class PublishResult:
    """The outcome of a publish.

    `generation` is the current generation; `new` whether it was written now; `withdrawn` whether nothing was written because a
    rollback withdrew this very index. `entries` are in the index; `replaced` have a newer build of the same file name; `missing`
    have no wheel in the store, or require a library wheel that has none; `yanked` and `removed` are so from now on.
    """

    generation: str
    new: bool
    withdrawn: bool = False
    entries: tuple[IndexEntry, ...] = ()
    replaced: tuple[IndexEntry, ...] = ()
    missing: tuple[IndexEntry, ...] = ()
    yanked: tuple[IndexEntry, ...] = ()
    removed: tuple[IndexEntry, ...] = ()


def publish(
    store: Store,
    entries: Iterable[IndexEntry],
    state: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    *,
    now: float,
    grace: float,
    yank_reason: YankReason = not_in_channel,
    make_files: MakeFiles = lambda _: {},
) -> PublishResult:
    """Make these entries the index, if it differs from the current one.

    Args:
        store: the store to publish to.
        entries: the wheels that the index shall have.
        state: `MirrorState.manifest`, called for a new generation; kept as `Generation.state` for `MirrorState.rebuild`.
        now: seconds since 1970.
        grace: seconds for which a yanked entry stays in the index.
        yank_reason: why an entry of the index before that is not among `entries` is yanked.
        make_files: makes further files of the index (lock files), by path below the store's top, of its entries; a page that it
            makes is taken instead of the usual one. Those of `RepeatableFiles` are not made again for the same entries.

    Raises:
        Failed: "locked" where another process publishes, "store" where the store fails; the published index stays as it was.
    """
    with Lease(store) as lease:
        pointer, parent = current_generation(store)
        previous = () if parent is None else parent.entries
        choice = choose(entries, previous, now=now, grace=grace, yank_reason=yank_reason)
        present = usable(choice.entries, frozenset(missing(store, choice.entries)))
        lacking = set(choice.entries) - set(present)
        result = PublishResult(
            "",
            new=False,
            entries=present,
            replaced=choice.replaced,
            missing=tuple(sorted(lacking, key=build_order)),
            yanked=choice.yanked,
            removed=choice.removed,
        )
        inputs = f"{__version__} {make_files.inputs}" if isinstance(make_files, RepeatableFiles) else None
        if parent is not None and inputs is not None and (parent.inputs, parent.entries) == (inputs, present):
            serve(store, parent, lease.check)
            return replace(result, generation=parent.name)
        files = index_pages(present) | dict(make_files(present))
        digest = digest_of(files)
        if pointer is not None and parent is not None and (parent.digest == digest or digest in pointer.withdrawn):
            serve(store, parent, lease.check)  # finishes a publish that was interrupted after the pointer was set
            return replace(result, generation=parent.name, withdrawn=parent.digest != digest)
        manifest = {
            "schema": SCHEMA,
            "generation": _name(store, digest, pointer),
            "digest": digest,
            "created": now,
            "parent": None if pointer is None else pointer.generation,
            "version": __version__,
            "inputs": inputs,
            "files": {path: sha(data) for path, data in files.items()},
            "entries": [entry.json() for entry in present],
            "state": dict(state() if callable(state) else state),
        }
        generation = _write(store, lease, manifest, files, pointer)
        serve(store, generation, lease.check, files)
        return replace(result, generation=generation.name, new=True)


def _write(
    store: Store, lease: Lease, manifest: Mapping[str, Any], files: Mapping[str, bytes], pointer: Pointer | None
) -> Generation:
    """Write a generation's files, its manifest and the pointer, in this order."""
    name = manifest["generation"]
    data = json.dumps(manifest).encode()
    store.put_all(((f"{GENERATIONS}/{name}/{path}", page) for path, page in files.items()), lease.check)
    lease.check()
    store.put(f"{GENERATIONS}/{name}/{MANIFEST}", data)
    generation = read_generation(store, name, sha(data))
    if generation is None:
        raise Failed("store", f"{store.url}: {name} was written and does not exist", "nothing was published")
    lease.check()
    new = Pointer(name, generation.sha256, manifest["created"], None if pointer is None else pointer.generation)
    if not set_pointer(store, new, pointer):
        raise Failed("locked", f"another process published to {store.url} meanwhile", "nothing of this run was published")
    return generation


def _name(store: Store, digest: str, pointer: Pointer | None) -> str:
    """The next free name; or that of a generation with the same pages whose publishing was interrupted."""
    current = 0 if pointer is None else pointer.number
    newest = current
    for name in store.folders(GENERATIONS):
        try:
            number = number_of(name)
        except ValueError:
            continue
        if number > current and name.endswith(f"-{digest[:8]}"):
            return name
        newest = max(newest, number)
    return f"{newest + 1:06}-{digest[:8]}"
