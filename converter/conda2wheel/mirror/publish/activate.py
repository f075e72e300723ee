"""Put the current generation where readers look: `simple/`, lock files and reports at the store's top.

In a folder these are links: `simple -> current/simple`, and `current -> generations/...` is replaced by a rename, so that all
change at once. A bucket has no links: pages that differ are copied, each whole, and the root page last; `served.json` remembers
what was copied, so that a copy which was cut off is done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from conda2wheel.mirror.publish.generation import GENERATIONS, Generation
from conda2wheel.mirror.store.base import Store, failed

CURRENT = "current"
SERVED = "served.json"
UNKNOWN = ""


def serve(store: Store, generation: Generation, each: Callable[[], None], pages: Mapping[str, bytes] | None = None) -> None:
    """Serve a generation, if it is not served already. `pages` spares reading them; `each` is called before every step, and stops
    by raising."""
    each()
    if store.point(f"{GENERATIONS}/{generation.name}/blobs", "../../blobs"):
        _link(store, generation)
    else:
        _copy(store, generation, each, pages or {})


def _link(store: Store, generation: Generation) -> None:
    target = f"{GENERATIONS}/{generation.name}"
    there = store.pointed()
    if there.get(CURRENT) != target:
        store.point(CURRENT, target)
    names = {path.partition("/")[0] for path in generation.files}
    for name in sorted(names):
        if there.get(name) != f"{CURRENT}/{name}":
            store.point(name, f"{CURRENT}/{name}")
    for name in sorted(there.keys() - names - {CURRENT}):
        store.point(name, None)


def _copy(store: Store, generation: Generation, each: Callable[[], None], pages: Mapping[str, bytes]) -> None:
    known = _served(store)
    if known == generation.files:
        return
    changed = [path for path, sha256 in generation.files.items() if known.get(path) != sha256]
    gone = sorted(known.keys() - generation.files.keys())
    _note(store, known | dict.fromkeys(changed, UNKNOWN))

    def found(paths: list[str]) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            data = pages.get(path)
            if data is None:
                data = store.get(f"{GENERATIONS}/{generation.name}/{path}")
            if data is None:
                raise failed(f"serve {generation.name}", f"its {path} is not there")
            yield path, data

    store.put_all(found([path for path in changed if path.count("/") > 1]), each)  # projects' pages before what names them
    store.put_all(found([path for path in changed if path.count("/") <= 1]), each)
    store.delete(gone)
    _note(store, generation.files)


def _served(store: Store) -> dict[str, str]:
    """What lies at the top, by path: its sha256, or `UNKNOWN`."""
    data = store.get(SERVED)
    try:
        return {str(path): str(sha256) for path, sha256 in json.loads(data or b"{}").get("files", {}).items()}
    except (ValueError, AttributeError):
        return {}  # all is copied anew


def _note(store: Store, files: Mapping[str, str]) -> None:
    store.put(SERVED, json.dumps({"schema": 1, "files": dict(files)}).encode())
