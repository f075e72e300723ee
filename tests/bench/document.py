"""The JSON document of a run: what was measured, on what, of which commit. Keys are only added."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import tools
from tests.helpers.cache import REPOSITORY

KIND, VERSION = "conda2wheel-bench", 1
# Lists of rows, and what tells one row from another.
ROWS = {"by_size": ("size", "archive"), "by_count": ("size", "archive"), "threads": ("package",), "wheels": ("wheel",)}
LIBRARIES = ("deflate", "zstandard", "py-rattler", "conda-package-handling")


def document(parts: dict[str, Any], quick: bool) -> dict[str, Any]:
    """The document of these parts, each by its name."""
    return {
        "kind": KIND,
        "version": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": quick,
        "machine": machine(),
        "parts": parts,
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """An older document with what was measured again: rows of a part replace those of the same package, others stay.

    Parts keep machine, date and commit of their newest rows.

    Raises:
        ValueError: the older one is none of this kind and version.
    """
    if (old.get("kind"), old.get("version")) != (KIND, VERSION):
        raise ValueError(f"not a document of {KIND} {VERSION}, but {old.get('kind')} {old.get('version')}")
    parts = {name: _with_rows(old["parts"].get(name, {}), part) for name, part in new["parts"].items()}
    return {**new, "parts": {**old["parts"], **parts}}


def _with_rows(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    rows = {}
    for name, keys in ROWS.items():
        if name in old and name in new:
            found = {tuple(row[key] for key in keys): row for row in (*old[name], *new[name])}
            rows[name] = sorted(found.values(), key=_size)
    return {**new, **rows}


def _size(row: dict[str, Any]) -> tuple[float, int]:
    """Small packages first, and the two archives of one in the order in which they were measured; of equals, few files first."""
    return round(row.get("unpacked", 0) / 1e5), row.get("files", 0)


def part(**figures: Any) -> dict[str, Any]:
    """A part of the document, with when, where and of which commit it was measured."""
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "machine": machine(), **figures}


def commit() -> str:
    """The commit that is checked out, with `+` where files differ from it; empty outside of git."""
    git = ["git", "-C", str(REPOSITORY)]
    done = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno", "converter"], capture_output=True, text=True, check=False)
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES}
        | dict(each.split("==") for each in tools.FLOOR),
        "load": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    """Its name, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
