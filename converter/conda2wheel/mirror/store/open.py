"""Open the store of a URL: the one module that knows every kind of store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.flat import FlatStore, is_flat
from conda2wheel.mirror.store.folder import FolderStore
from conda2wheel.net.urls import file_path

FLAT = "flat:"  # before a folder's path


def open_store(url: str, **options: Any) -> Store:
    """Open the store of a URL. Sends no request, and writes nothing, but where a folder becomes a flat store.

    Args:
        url: `s3://BUCKET/PATH`, `gs://BUCKET/PATH`, `az://CONTAINER/PATH`, `memory://NAME` (in this process only), or a
            folder's path, with or without `file://`. `flat:FOLDER` is a flat store; one that was published to is recognised.
        options: keyword arguments of `bucket.BucketStore`; a folder has none.

    Raises:
        Failed: "usage" for a URL of no known store, "dependency" where obstore is not installed.
    """
    if "://" in url and not url.startswith("file://"):
        from conda2wheel.mirror.store.bucket import BucketStore  # obstore is an optional dependency, and slow to import

        return BucketStore(url, **options)
    if url.startswith(FLAT):
        store = FlatStore(Path(url.removeprefix(FLAT)))
        store.adopt()
        return store
    folder = file_path(url) if os.name == "nt" and url.startswith("file://") else Path(url.removeprefix("file://"))
    return FlatStore(folder) if is_flat(folder) else FolderStore(folder)
