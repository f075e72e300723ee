"""Open the store of a URL: the one module that knows every kind of store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.folder import FolderStore
from conda2wheel.net.urls import file_path


def open_store(url: str, **options: Any) -> Store:
    """Open the store of a URL. Sends no request and writes nothing.

    Args:
        url: `s3://BUCKET/PATH`, `gs://BUCKET/PATH`, `az://CONTAINER/PATH`, `memory://NAME` (in this process only), or a
            folder's path, with or without `file://`.
        options: keyword arguments of `bucket.BucketStore`; a folder has none.

    Raises:
        Failed: "usage" for a URL of no known store, "dependency" where obstore is not installed.
    """
    if "://" in url and not url.startswith("file://"):
        from conda2wheel.mirror.store.bucket import BucketStore  # obstore is an optional dependency, and slow to import

        return BucketStore(url, **options)
    return FolderStore(file_path(url) if os.name == "nt" and url.startswith("file://") else Path(url.removeprefix("file://")))
