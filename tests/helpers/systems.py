"""What the system has that the tests run on, or that they are run as: see `tests/simulated`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

HERE = str(Path(__file__).parents[1])
NO_PRIVILEGE = 1314  # Windows: links are for developers and administrators
POSIX_ALONE = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
NOT_HERE = re.compile(rf"No module named '({'|'.join(sorted(POSIX_ALONE))})'")


def _has_links() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(folder, "link").symlink_to("target")
        except OSError:
            return False
    return True


HAS_LINKS = _has_links()
IS_LINUX = sys.platform == "linux"
IS_WINDOWS = os.name == "nt"
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def lacking(error: BaseException) -> str | None:
    """What a test itself needs, by its error, and this system does not have; None for every other error, and on Linux."""
    if IS_LINUX:
        return None
    frame, place = error.__traceback__, ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if (file.startswith(HERE) and "simulated" not in file) or "conda2wheel" in file.removeprefix(HERE):
            place = file
        frame = frame.tb_next
    if not place.startswith(HERE):
        return None  # the project's code raised it
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType) and error.obj.__name__ in ("os", "signal"):
        return f"needs {error.obj.__name__}.{error.name}"
    if isinstance(error, ModuleNotFoundError) and error.name in POSIX_ALONE:
        return f"needs the module {error.name}"
    if isinstance(error, OSError) and getattr(error, "winerror", None) == NO_PRIVILEGE:
        return "needs symbolic links"
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(("/proc/", "/dev/")):
        return f"needs {error.filename}"
    return None
