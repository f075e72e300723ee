"""Serve a generation: put its pages, lock files and reports at the store's top.

In a folder these are links: `simple -> current/simple`. `current -> generations/...` is replaced by a rename, so that all change
at once. A bucket has no links, nor has a folder of some systems: changed pages are copied, each whole, and the root page last;
`served.json` records what was copied, so that an interrupted copy is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from conda2wheel.mirror.publish.generation import GENERATIONS, Generation
from conda2wheel.mirror.store.base import Store, store_error

CURRENT = "current"
SERVED = "served.json"
UNKNOWN = ""


def serve(
    store: Store, generation: Generation, before_step: Callable[[], None], pages: Mapping[str, bytes] | None = None
) -> None:
    """Serve a generation, unless it is served already.

    Args:
        store: the store.
        generation: the generation to serve.
        before_step: called before every step; stops the rest by raising.
        pages: the generation's files by path, to spare reading them.
    """
    before_step()
    if store.set_link(f"{GENERATIONS}/{generation.name}/blobs", "../../blobs"):
        _link(store, generation)
    else:
        for name in store.links():  # of a system that has them: what is written to their names would change a generation
            store.set_link(name, None)
        _copy(store, generation, before_step, pages or {})


def _link(store: Store, generation: Generation) -> None:
    target = f"{GENERATIONS}/{generation.name}"
    links = store.links()
    if links.get(CURRENT) != target:
        store.set_link(CURRENT, target)
    names = {path.partition("/")[0] for path in generation.files}
    for name in sorted(names):
        if links.get(name) != f"{CURRENT}/{name}":
            store.set_link(name, f"{CURRENT}/{name}")
    for name in sorted(links.keys() - names - {CURRENT}):
        store.set_link(name, None)


def _copy(store: Store, generation: Generation, before_step: Callable[[], None], pages: Mapping[str, bytes]) -> None:
    served = _read_served(store)
    if served == generation.files:
        return
    changed = [path for path, sha256 in generation.files.items() if served.get(path) != sha256]
    obsolete = sorted(served.keys() - generation.files.keys())
    _write_served(store, served | dict.fromkeys(changed, UNKNOWN))

    def contents(paths: list[str]) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            data = pages.get(path)
            if data is None:
                data = store.get(f"{GENERATIONS}/{generation.name}/{path}")
            if data is None:
                raise store_error(f"serve {generation.name}", f"it has no {path}")
            yield path, data

    store.put_all(contents([path for path in changed if path.count("/") > 1]), before_step)  # projects before the root page
    store.put_all(contents([path for path in changed if path.count("/") <= 1]), before_step)
    store.delete(obsolete)
    _write_served(store, generation.files)


def _read_served(store: Store) -> dict[str, str]:
    """Read what is at the store's top: sha256 by path, or `UNKNOWN`."""
    data = store.get(SERVED)
    try:
        return {str(path): str(sha256) for path, sha256 in json.loads(data or b"{}").get("files", {}).items()}
    except (ValueError, AttributeError):
        return {}  # everything is copied again


def _write_served(store: Store, files: Mapping[str, str]) -> None:
    store.put(SERVED, json.dumps({"schema": 1, "files": dict(files)}).encode())
