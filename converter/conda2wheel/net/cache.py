"""The folder of the cache for Pyodides, packages and repodata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(cache: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return `cache`, else `$CONDA2WHEEL_CACHE`, else `$XDG_CACHE_HOME/conda2wheel`, else `~/.cache/conda2wheel`."""
    environ = os.environ if environ is None else environ
    if cache is not None:
        return cache.absolute()
    if named := environ.get("CONDA2WHEEL_CACHE"):
        return Path(named).absolute()
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "conda2wheel"
