"""What is known of wheels that were read before, so that an unchanged one is not read and hashed again.

A file counts as unchanged if its size, its times of modification and of its last status change, and its inode are those that it
had. Nobody can set the second time, so a file that got other bytes and its old date back is read again. A file that was
changed right before it was read is not remembered, since a later change might have the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from conda2wheel.net.cache import cache_folder

_SETTLED = 50_000_000  # nanoseconds; the clocks of file systems that count below a second tick every 1 to 10 ms
_COARSE = 2_000_000_000  # FAT counts in steps of two seconds
_LARGEST = 64 << 20  # bytes of a memo that is read


@dataclass(frozen=True)
class FileState:
    """Size, times in nanoseconds, and inode of a file."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Ask the file system. Raises `OSError`."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def is_settled(self, now: int) -> bool:
        """Whether a change after `now`, in nanoseconds since 1970, gives the file another time."""
        newest = max(self.modified, self.changed)
        return newest + (_COARSE if newest % 1_000_000_000 == 0 else _SETTLED) < now


class WheelMemo:
    """What was read of files, by path, beside their states. It is kept in the cache, one for each folder of an index.

    A memo that is lost, damaged or of another version of conda2wheel is empty.
    """

    def __init__(self, folder: Path) -> None:
        """Read the memo for an index in `folder`."""
        name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]
        self._path = cache_folder() / "index" / f"{name}.json"
        self._known = _read(self._path)
        self._noted: dict[str, Any] = {}

    def get(self, path: Path) -> dict[str, Any] | None:
        """Return what was noted of a file; None if it is not known or has changed."""
        key = str(path.absolute())
        found = self._known.get(key)
        try:
            if found is None or found["state"] != asdict(FileState.of(path)):
                return None
            facts = dict(found["facts"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        self._noted[key] = found
        return facts

    def note(self, path: Path, state: FileState, started: int, facts: dict[str, Any]) -> None:
        """Note what was read of a file that had `state` before and after; `started` is when, in nanoseconds since 1970."""
        if state.is_settled(started):
            self._noted[str(path.absolute())] = {"state": asdict(state), "facts": facts}

    def save(self) -> None:
        """Write what was asked for and noted; the rest is forgotten. A cache that cannot be written costs time, and no more."""
        text = json.dumps({"version": __version__, "files": self._noted})
        try:
            write_file(self._path, lambda: _chunks(text.encode()))
        except Failed:
            return


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()


def _chunks(data: bytes) -> Iterator[bytes]:
    yield data


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        document = json.loads(path.read_bytes())
        return dict(document["files"]) if document["version"] == __version__ else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
