"""Small file systems of their own: what is full, or cannot be written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.systems import IS_ROOT


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory; the test is skipped where it may not be mounted."""
    if not IS_ROOT:
        pytest.skip("only root may mount a file system")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: in a cache this process holds the file lock of each Pyodide that it used, until it ends.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
