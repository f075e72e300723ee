"""`pyodide-lock-PLATFORM.json`: what `loadPackage` reads, one per Pyodide, as files of the index (`publish(files=...)`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from conda2wheel.abi import platforms
from conda2wheel.index.pyodide_lock import Entry as Locked
from conda2wheel.index.pyodide_lock import Lock, beside, merged
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.pyodide.lock import Runtime, of_platform


def lock_files(
    entries: Sequence[IndexEntry], runtimes: Sequence[Runtime] | None = None, own: str | None = None
) -> Mapping[str, bytes]:
    """The lock files of an index by path: for each runtime the newest of each project that fits it and is not yanked. None: the
    newest Pyodide of each platform that there are wheels for, as the table knows it.

    They lie at the store's top, and name wheels relative to there. `own` is the address of the folder that has Pyodide's own
    packages, with `{version}` where Pyodide's version belongs: they are then in the lock file, too, and the runtimes must be on
    disk; else it has ours alone. Of several runtimes of one platform the last counts. Raises `Failed` as `site.lock.merged` does.
    """
    if runtimes is None:
        runtimes = runtimes_of(entries)
    return {f"pyodide-lock-{runtime.platform}.json": lock(entries, runtime, own).data for runtime in runtimes}


def runtimes_of(entries: Iterable[IndexEntry]) -> tuple[Runtime, ...]:
    """The newest Pyodide of each platform that some wheel is for, by name; what no Pyodide has is left out."""
    rows = {tag: platforms.parse(tag) for entry in entries for tag in entry.wheel.platform.split(".") if tag != "any"}
    return tuple(of_platform(row) for _, row in sorted(rows.items()) if row is not None and row.pyodide and row.cpython)


def lock(entries: Iterable[IndexEntry], runtime: Runtime, own: str | None = None) -> Lock:
    """One of them, with what is missing in it and what it replaces."""
    locked = [_locked(entry) for entry in entries if entry.yanked is None]
    if own is None:
        return beside(locked, runtime)
    return merged(locked, runtime, own.replace("{version}", runtime.version))


def _locked(entry: IndexEntry) -> Locked:
    wheel = entry.wheel
    return Locked(
        wheel.project,
        wheel.version,
        wheel.filename,
        quote(wheel.blob),
        wheel.sha256,
        wheel.requires,
        wheel.imports,
        wheel.requires_python,
    )
