"""How many threads a conversion uses for what releases the interpreter's lock: bz2, and the compression of a wheel's members.

The bytes that come out are the same whatever the number is.
"""

from __future__ import annotations

import os

MOST = 8  # threads; the largest member of a wheel is compressed by one, so that more bring little
_chosen: dict[str, int | None] = {}


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """How many threads a conversion may use: what `use_threads` said, or one a processor, at most `MOST`."""
    return _chosen.get("threads") or min(processors(), MOST)


def use_threads(count: int | None) -> None:
    """Choose the number for this process, such as 1 where each processor has a conversion of its own; None: one a processor."""
    _chosen["threads"] = None if count is None else max(count, 1)
