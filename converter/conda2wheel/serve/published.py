"""The index as it is now: the current generation of the store, and the wheels that the service made since."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from conda2wheel.errors import Failed
from conda2wheel.mirror.publish.entries import build_order
from conda2wheel.mirror.publish.generation import IndexEntry, Pointer, current, read_generation
from conda2wheel.mirror.store.base import Store, store_error


@dataclass(frozen=True)
class PublishedGeneration:
    """A generation's name, and its entries by project."""

    name: str | None = None
    projects: Mapping[str, tuple[IndexEntry, ...]] = field(default_factory=dict)


class PublishedIndex:
    """The entries of all projects. Readers may be on any thread; `update` and `add` are called on one thread at a time.

    Args:
        store: the store.
        on_change: called with the projects whose entries may differ from before; None for all.
    """

    def __init__(self, store: Store, on_change: Callable[[frozenset[str] | None], None] = lambda _: None) -> None:
        self._store, self._on_change = store, on_change
        self._pointer: Pointer | None = None
        self._generation = PublishedGeneration()
        self._made: dict[str, dict[str, IndexEntry]] = {}
        self._lock = threading.Lock()

    @property
    def generation(self) -> str | None:
        """The name of the generation; None where nothing is published."""
        return self._generation.name

    def update(self) -> bool:
        """Read the current generation, if it is another one than before; returns whether it is.

        Raises:
            Failed: "store" where it cannot be read, or where nothing is published any more; the index stays as it was.
        """
        pointer = current(self._store)
        if pointer is None:
            if self._pointer is not None:
                raise store_error(
                    f"read {self._store.url}", f"generation {self._pointer.generation} was there, and nothing is now"
                )
            return False
        if self._pointer is not None and pointer.sha256 == self._pointer.sha256:
            return False
        generation = read_generation(self._store, pointer.generation, pointer.sha256)
        if generation is None:
            raise store_error(f"read {self._store.url}", f"generation {pointer.generation} does not exist")
        projects: dict[str, list[IndexEntry]] = {}
        for entry in generation.entries:
            projects.setdefault(entry.wheel.project, []).append(entry)
        with self._lock:
            self._generation = PublishedGeneration(generation.name, {name: tuple(each) for name, each in projects.items()})
            self._pointer = pointer
            for name, made in self._made.items():  # what a mirror published is its own from now on
                for entry in projects.get(name, ()):
                    same = made.get(entry.wheel.filename)
                    if same is not None and same.wheel.sha256 == entry.wheel.sha256:
                        del made[entry.wheel.filename]
        self._on_change(None)
        return True

    def add(self, entries: Iterable[IndexEntry]) -> None:
        """Add wheels that are in the store and in no generation yet."""
        changed = set()
        with self._lock:
            for entry in entries:
                made = self._made.setdefault(entry.wheel.project, {})
                if made.get(entry.wheel.filename) != entry:
                    made[entry.wheel.filename] = _newer(made.get(entry.wheel.filename), entry)
                    changed.add(entry.wheel.project)
        if changed:
            self._on_change(frozenset(changed))

    def remove(self, entries: Iterable[IndexEntry]) -> None:
        """Remove added wheels, because the store has lost them."""
        entries = tuple(entries)
        with self._lock:
            for entry in entries:
                self._made.get(entry.wheel.project, {}).pop(entry.wheel.filename, None)
        self._on_change(frozenset(entry.wheel.project for entry in entries))

    def names(self) -> list[str]:
        """The names of all projects that have files, sorted."""
        with self._lock:
            return sorted(self._generation.projects.keys() | {name for name, made in self._made.items() if made})

    def entries(self, project: str) -> tuple[IndexEntry, ...]:
        """The entries of a project, one a file name; none for an unknown project.

        Where the generation has the same file name, its entry counts, unless it is yanked: what was asked for stays installable
        even where the mirror leaves it out.
        """
        with self._lock:
            published = self._generation.projects.get(project, ())
            made = dict(self._made.get(project, {}))
        for entry in published:
            if entry.wheel.filename not in made or entry.yanked is None:
                made[entry.wheel.filename] = entry
        return tuple(made.values())

    def has_blob(self, blob: str) -> bool:
        """Whether a path in the store is that of a wheel in the index, by its project's name."""
        from packaging.utils import canonicalize_name

        project = canonicalize_name(blob.rpartition("/")[2].partition("-")[0])
        return any(entry.wheel.blob == blob for entry in self.entries(project))


def _newer(first: IndexEntry | None, second: IndexEntry) -> IndexEntry:
    return second if first is None else max(first, second, key=build_order)


def unreadable(store: Store) -> str | None:
    """Why a store cannot be read now; None if it can."""
    try:
        current(store)
    except Failed as error:
        return error.message
    return None
