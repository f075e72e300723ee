"""The mirror's lock files for Pyodide's `loadPackage`: `pyodide-lock-PLATFORM.json`, one for each platform.

They are at the store's top, and name wheels relative to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from conda2wheel.abi import platforms
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.pyodide.lock import Runtime, runtime_of_platform

if TYPE_CHECKING:
    from conda2wheel.index.pyodide_lock import LockEntry, PyodideLock


def lock_files(
    entries: Sequence[IndexEntry], runtimes: Sequence[Runtime] | None = None, own: str | None = None
) -> Mapping[str, bytes]:
    """Build the lock files of an index, by path. Each has the newest wheel of every project that fits and is not yanked.

    Args:
        entries: the index.
        runtimes: a Pyodide for each lock file, of several for one platform the last; None for the newest of each platform of
            the wheels.
        own: the URL of the folder with Pyodide's own packages, with `{version}` for Pyodide's version. They are then in the lock
            file too, and the runtimes must be on disk. None: the lock file has only the mirror's wheels.

    Raises:
        Failed: as `index.pyodide_lock.merged`.
    """
    if runtimes is None:
        runtimes = runtimes_of(entries)
    return {f"pyodide-lock-{runtime.platform}.json": lock(entries, runtime, own).data for runtime in runtimes}


def runtimes_of(entries: Iterable[IndexEntry]) -> tuple[Runtime, ...]:
    """The newest Pyodide of each platform of the wheels, by platform; platforms without a Pyodide are left out."""
    rows = {tag: platforms.parse(tag) for entry in entries for tag in entry.wheel.platform.split(".") if tag != "any"}
    return tuple(runtime_of_platform(row) for _, row in sorted(rows.items()) if row is not None and row.pyodide and row.cpython)


def lock(entries: Iterable[IndexEntry], runtime: Runtime, own: str | None = None) -> PyodideLock:
    """Build the lock file of one Pyodide, and list what is missing from it and what it replaces.

    The arguments are those of `lock_files`.
    """
    from conda2wheel.index.pyodide_lock import merged_lock, standalone_lock

    locked = [_locked(entry) for entry in entries if entry.yanked is None]
    if own is None:
        return standalone_lock(locked, runtime)
    return merged_lock(locked, runtime, own.replace("{version}", runtime.version))


def _locked(entry: IndexEntry) -> LockEntry:
    from conda2wheel.index.pyodide_lock import LockEntry

    wheel = entry.wheel
    return LockEntry(
        wheel.project,
        wheel.version,
        wheel.filename,
        quote(wheel.blob),
        wheel.sha256,
        wheel.requires,
        wheel.imports,
        wheel.requires_python,
        wheel.is_library,
        only_programs=wheel.only_programs,
    )
