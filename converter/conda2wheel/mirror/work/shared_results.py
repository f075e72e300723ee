"""Results of items in the store, for all who share it: what a service converted on demand, and no generation has yet.

    demand/NAME/DIGEST.json       the result of an item, and its package; NAME is the conda name
    demand/NAME/DIGEST.lock.json  the lease of who converts it now

A result is written after its wheels, so that one that can be read is complete; `failed` results are not shared. A run of a mirror
takes them over (`adopt`) in place of converting; `gc` removes those that the current generation has.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from conda2wheel.mirror.plan.tasks import PlannedTask
from conda2wheel.mirror.publish.generation import IndexEntry, missing
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, with_tuples
from conda2wheel.mirror.store.base import Store

PREFIX = "demand"
SCHEMA = 1
LOCK_SUFFIX = ".lock.json"


@dataclass(frozen=True)
class SharedResult:
    """The result of an item, and its package."""

    package: ChannelPackage
    result: ItemResult

    @property
    def entries(self) -> tuple[IndexEntry, ...]:
        """The entries of its wheel and of the library wheels that it requires; none without a wheel."""
        if self.result.wheel is None:
            return ()
        libraries = (IndexEntry(library.wheel, library.package) for library in self.result.libraries)
        return (IndexEntry(self.result.wheel, self.package), *libraries)

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"schema": SCHEMA, "package": dataclasses.asdict(self.package), "result": self.result.json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SharedResult:
        """Read the JSON form. Raises `ValueError` for anything else."""
        try:
            return cls(ChannelPackage(**with_tuples(document["package"])), ItemResult.from_json(document["result"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no shared result: {error}") from error


def result_path(key: ItemKey, name: str) -> str:
    """The path of an item's result; `name` is the conda name of its package."""
    return f"{PREFIX}/{quote(name.lower(), safe='')}/{hashlib.sha256(str(key).encode()).hexdigest()[:32]}.json"


def lock_path(key: ItemKey, name: str) -> str:
    """The path of an item's lease."""
    return result_path(key, name).removesuffix(".json") + LOCK_SUFFIX


def put_result(store: Store, package: ChannelPackage, result: ItemResult) -> None:
    """Share a result. Raises `Failed` (store)."""
    store.put(result_path(result.key, package.name), json.dumps(SharedResult(package, result).json()).encode())


def get_result(store: Store, path: str) -> SharedResult | None:
    """Read a shared result; None if there is none, or one that cannot be read. Raises `Failed` (store)."""
    data = store.get(path)
    try:
        return None if data is None else SharedResult.from_json(json.loads(data))
    except ValueError:
        return None  # of a newer conda2wheel, or damaged: it is converted again


def result_paths(store: Store) -> dict[str, float]:
    """The paths of all shared results, and when they were written by the store's clock. Raises `Failed` (store)."""
    return {info.path: info.modified for info in store.list(PREFIX) if not info.path.endswith(LOCK_SUFFIX)}


def adopt(store: Store, tasks: Iterable[PlannedTask], state: MirrorState, now: float) -> int:
    """Record shared results of tasks in place of working on them, where the store has their wheels; returns how many.

    Raises:
        Failed: store, state, disk.
    """
    paths = {result_path(task.key, task.package.name): task for task in tasks}
    there = result_paths(store).keys() & paths.keys() if paths else frozenset[str]()
    found = [each for path in sorted(there) if (each := get_result(store, path)) is not None]
    lacking = set(missing(store, [entry for each in found for entry in each.entries])) if found else set()
    adopted = [each for each in found if not lacking.intersection(each.entries)]
    for each in adopted:
        state.finish(each.result, now)
    return len(adopted)
