"""The folder of the cache for Pyodides, packages and repodata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from conda2wheel.net.folders import cache_base


def cache_folder(cache: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return `cache`, else `$CONDA2WHEEL_CACHE`, else `conda2wheel` in the user's folder for caches.

    That is `$XDG_CACHE_HOME`, else `~/.cache`, on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`.

    Raises:
        Failed: disk, for a user without a home.
    """
    environ = os.environ if environ is None else environ
    if cache is not None:
        return cache.absolute()
    if named := environ.get("CONDA2WHEEL_CACHE"):
        return Path(named).absolute()
    return cache_base(environ) / "conda2wheel"
