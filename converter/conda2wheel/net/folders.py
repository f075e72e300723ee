"""The user's folders, on every system."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from conda2wheel.errors import Failed


def home_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the user's home; None where there is none, as for the users of some services and containers."""
    environ = os.environ if environ is None else environ
    if named := environ.get("HOME"):
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_base(environ: Mapping[str, str]) -> Path:
    """Return the folder in which the caches of a user's programs are. Raises `Failed` (disk) where there is none."""
    return _base(environ, "XDG_CACHE_HOME", "LOCALAPPDATA", ("Library", "Caches"), (".cache",))


def data_base(environ: Mapping[str, str]) -> Path:
    """Return the folder in which a user's programs keep data. Raises `Failed` (disk) where there is none."""
    return _base(environ, "XDG_DATA_HOME", "LOCALAPPDATA", ("Library", "Application Support"), (".local", "share"))


def _base(environ: Mapping[str, str], xdg: str, windows: str, mac: tuple[str, ...], other: tuple[str, ...]) -> Path:
    if os.path.isabs(named := environ.get(xdg, "")):
        return Path(named)
    if os.name == "nt" and os.path.isabs(named := environ.get(windows, "")):
        return Path(named)
    home = home_folder(environ)
    if home is None:
        raise Failed("disk", "this user has no home folder for the cache", "set CONDA2WHEEL_CACHE to a folder")
    if os.name == "nt":
        return home / "AppData" / "Local"
    return home.joinpath(*(mac if sys.platform == "darwin" else other))
