"""The two lock files of a folder of wheels: Pyodide's own, and PEP 751's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from conda2wheel.errors import Failed
from conda2wheel.files.pypa import parse_requirement
from conda2wheel.files.writing import write_file
from conda2wheel.index.pylock import NAME as PYLOCK
from conda2wheel.index.pylock import is_lockable, pylock_data
from conda2wheel.index.pyodide_lock import LockEntry, PyodideLock, merged_lock, standalone_lock
from conda2wheel.net.urls import is_base, redacted, require_base
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.results import ConversionWarning

PYODIDE_LOCK = "pyodide-lock.json"


@dataclass(frozen=True)
class LockFiles:
    """`pyodide-lock.json` and `pylock.toml` of the same wheels, and warnings about what they do not have."""

    pyodide: PyodideLock
    pylock: bytes
    warnings: tuple[ConversionWarning, ...]

    def write(self, folder: Path) -> None:
        """Write both into a folder. Raises `Failed` (disk)."""
        write_file(folder / PYODIDE_LOCK, lambda: iter([self.pyodide.data]))
        write_file(folder / PYLOCK, lambda: iter([self.pylock]))


def require_addresses(url: str | None, pyodide_url: str | None, with_pyodide: bool) -> None:
    """Check the address of the wheels, and that of Pyodide's own packages, which may be a path relative to the lock file.

    Raises:
        Failed: usage, for one that is no address, or if Pyodide's own packages are in no lock file.
    """
    if url is not None:
        require_base(url, "--url")
    if pyodide_url is None:
        return
    if not is_base(pyodide_url) and not pyodide_url.startswith(("./", "../", "/")):
        why = "neither the http or https address of a folder nor a path that begins with ./, ../ or /"
        hint = f"./{pyodide_url} is a folder beside the lock file" if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", pyodide_url) else ""
        raise Failed("usage", f"--pyodide-url {redacted(pyodide_url)}: {why}", hint or "such as https://example.org/pyodide/")
    if not with_pyodide:
        why = "--pyodide-url: is for the packages of --with-pyodide, which is not given"
        raise Failed("usage", why, "give --with-pyodide, or leave it out")


def lock_files(
    entries: Iterable[LockEntry],
    runtime: Runtime,
    *,
    merge: bool,
    base: str | None = None,
    own: str | None = None,
    known: Collection[str] = (),
) -> LockFiles:
    """Make both lock files.

    Args:
        entries: the wheels; of several of one project the best one is locked.
        runtime: the Pyodide, with its packages if `merge`.
        merge: whether `pyodide-lock.json` has Pyodide's own packages, too.
        base: the URL of the folder of the wheels, for `pylock.toml`.
        own: the URL of the folder that has Pyodide's own packages.
        known: the normalised names of missing projects that were reported otherwise.

    Raises:
        Failed: unreadable, for the lock file of Pyodide.
    """
    lock = merged_lock(entries, runtime, own) if merge else standalone_lock(entries, runtime)
    needed = sorted(lock.shipped)
    shipped = [each for each in runtime.closure(needed) if each.name not in {entry.project for entry in lock.entries}]
    address = own if own is not None and "://" in own else None
    pylock = pylock_data(lock.entries, runtime, base, shipped, address)
    own_packages = "" if merge else "; --with-pyodide adds the packages of Pyodide"
    warnings = [
        ConversionWarning("not-locked", f"is not in {PYODIDE_LOCK}: {why}", name) for name, why in sorted(lock.left_out.items())
    ]
    warnings += [ConversionWarning("replaces-pyodide", str(each)) for each in lock.replaced]
    warnings += [
        ConversionWarning("not-locked", f"{user} does not depend on {name} in {PYODIDE_LOCK}: the dependency is circular")
        for user, name in lock.cut
    ]
    warnings += [
        ConversionWarning("missing-requirement", f"{PYODIDE_LOCK} has nothing for this: {each}{own_packages}")
        for each in lock.missing
        if project_of(each.requirement) not in known
    ]
    others = [each.name for each in shipped if address is None or not is_lockable(each)]
    if others:
        why = f"{PYLOCK} has nothing for {', '.join(sorted(others))} of Pyodide itself"
        advice = "" if address is not None else "; the URL of the folder that has them is --pyodide-url"
        warnings.append(ConversionWarning("not-locked", f"{why}{advice}"))
    return LockFiles(lock, pylock, tuple(warnings))


def project_of(requirement: str) -> str:
    """The normalised name in a requirement; the text itself where it is not valid."""
    parsed = parse_requirement(requirement)
    return requirement if parsed is None else str(canonicalize_name(parsed.name))
