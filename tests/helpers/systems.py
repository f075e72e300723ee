"""What the system has that the tests run on, or that they are run as: see `tests/simulated`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


def _has_links() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(folder, "link").symlink_to("target")
        except OSError:
            return False
    return True


HAS_LINKS = _has_links()
IS_WINDOWS = os.name == "nt"
needs_links = pytest.mark.skipif(
    not HAS_LINKS, reason="needs symbolic links, which a user of Windows makes in developer mode alone"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork(2)")
needs_modes = pytest.mark.skipif(IS_WINDOWS, reason="needs the permissions of POSIX")
needs_signals = pytest.mark.skipif(IS_WINDOWS, reason="needs signals, which Windows does not send to other processes")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has")
