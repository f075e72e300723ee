"""A bucket of S3, GCS or Azure as a store, through obstore; and one in memory.

Credentials, region and endpoint come from the environment, by the names that the clouds' own tools use (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY` and so on). obstore tries again by itself, with
growing pauses, where an error may pass.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from conda2wheel.errors import Failed
from conda2wheel.mirror.store.base import ObjectInfo, Store, StoredObject, cache_control, content_type, failed

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "memory")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_ENDPOINT")
SINGLE = 64 << 20  # up to here one request, which leaves nothing behind when it is cut off; parts of this size beyond
HINT = "check the address and the network; what was published before is untouched"
RIGHTS = "check the credentials in the environment, and that they may read, list, write and delete there"


class BucketStore(Store):
    """A store at `SCHEME://BUCKET/PATH`. `retries` and `patience` (seconds) bound how often and how long a request is tried
    again, `timeout` (seconds) how long one may take."""

    _memories: ClassVar[dict[str, ObjectStore]] = {}

    def __init__(self, url: str, *, retries: int = 8, patience: float = 120, timeout: float = 300) -> None:
        self.url = url.rstrip("/")
        self._options = {"retries": retries, "patience": patience, "timeout": timeout}
        self._store = self._open()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_opened, (self.url, self._options))

    def _open(self) -> ObjectStore:
        scheme, _, place = self.url.partition("://")
        if scheme not in SCHEMES or not place:
            known = ", ".join(f"{each}://" for each in SCHEMES)
            raise Failed("usage", f"{self.url}: no store has such an address", f"a folder's path, or one of {known}")
        try:
            import obstore.exceptions
            from obstore.store import MemoryStore, from_url
        except ImportError:
            raise Failed(
                "dependency", f"{self.url}: obstore is not installed", "pip install 'conda2wheel-wasm[mirror]'"
            ) from None
        if scheme == "memory":
            return self._memories.setdefault(place, MemoryStore())
        plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
        try:
            return from_url(
                self.url,
                client_options={
                    "timeout": timedelta(seconds=self._options["timeout"]),
                    "connect_timeout": timedelta(seconds=10),
                    "allow_http": plain,
                },
                retry_config={
                    "max_retries": int(self._options["retries"]),
                    "retry_timeout": timedelta(seconds=self._options["patience"]),
                },
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise Failed("usage", f"{self.url}: {_line(error)}", "see docs/mirror.md for the addresses of stores") from None

    def fetch(self, path: str) -> StoredObject | None:
        import obstore

        with self._told("read", path):
            try:
                answer = obstore.get(self._store, path)
                return StoredObject(bytes(answer.bytes()), _version(answer.meta))
            except FileNotFoundError:
                return None

    def head(self, path: str) -> ObjectInfo | None:
        import obstore

        with self._told("read", path):
            try:
                return _meta(obstore.head(self._store, path))
            except FileNotFoundError:
                return None

    def put(self, path: str, source: bytes | Path) -> None:
        with self._told("write", path):
            self._put(path, source, "overwrite")

    def _put(self, path: str, source: bytes | Path, mode: PutMode) -> None:
        import obstore

        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        obstore.put(
            self._store,
            path,
            source,
            attributes={"Content-Type": content_type(path), "Cache-Control": cache_control(path)},
            mode=mode,
            use_multipart=mode == "overwrite" and size > SINGLE,
            chunk_size=SINGLE,
            max_concurrency=2,
        )

    def put_new(self, path: str, data: bytes) -> bool:
        return self._decide(path, data, None)

    def put_if(self, path: str, data: bytes, version: str) -> bool:
        return self._decide(path, data, version)

    def _decide(self, path: str, data: bytes, version: str | None) -> bool:
        """A conditional write. obstore does not repeat one whose answer was lost, since it may have gone through: what is there
        tells."""
        import obstore.exceptions

        mode: PutMode = "create"
        if version is not None:
            mode = json.loads(version)
        lost: list[type[Exception]] = [obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError]
        if version is not None:
            lost.append(FileNotFoundError)  # some say so where the version is gone
        with self._told("write", path):
            for pause in (0.5, 2.0, None):
                try:
                    self._put(path, data, mode)
                except tuple(lost):
                    return self.get(path) == data
                except obstore.exceptions.GenericError:
                    if pause is None:
                        raise
                    time.sleep(pause)
                else:
                    break
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        import obstore

        with self._told("list", prefix):
            for chunk in obstore.list(self._store, prefix):
                for meta in chunk:
                    yield _meta(meta)

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        import obstore

        with self._told("list", prefix):
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found))

    def delete(self, paths: Iterable[str]) -> None:
        import obstore

        some = list(paths)
        with self._told("delete", f"{some[0]} and others" if some else "nothing"):
            for start in range(0, len(some), 1000):
                obstore.delete(self._store, some[start : start + 1000])

    def clock(self) -> float:
        self.put("clock", b"")
        there = self.head("clock")
        if there is None:
            raise failed(f"read {self.url}/clock", "it was just written, and is not there", HINT)
        return there.modified

    @contextmanager
    def _told(self, doing: str, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise failed(f"{doing} {self.url}/{path}", _line(error), RIGHTS) from None
        except (BaseError, OSError) as error:
            raise failed(f"{doing} {self.url}/{path}", _line(error), HINT) from None


def _opened(url: str, options: dict[str, float]) -> BucketStore:
    return BucketStore(url, **options)  # type: ignore[arg-type]


def _meta(told: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(told["path"], told["size"], told["last_modified"].timestamp())


def _version(told: ObjectMeta) -> str:
    """As obstore's `UpdateVersion`: S3 and Azure compare the one, GCS the other."""
    return json.dumps({key: value for key in ("e_tag", "version") if (value := told[key]) is not None})


def _line(error: Exception) -> str:
    """What obstore says, without the address, the times and the source code that come with it; S3's own message where it has one.

    >>> _line(Exception("Generic S3 error: Error performing PUT http://h/b in 2ms, after 2 retries, max_retries: 2, "
    ...     "retry_timeout: 9s  - Server returned non-2xx status code: 403 Forbidden: <Error><Message>No.</Message></Error>"))
    '403 Forbidden: No.'
    """
    text = str(error).partition("\n\nDebug source")[0]
    text = re.sub(r"^.*Error performing \w+ \S+ in .*? - ", "", text, flags=re.DOTALL)
    text = text.replace("Server returned non-2xx status code: ", "").replace("Server returned error response: ", "")
    if told := re.search(r"<Message>(.*?)</Message>", text, re.DOTALL):
        text = text[: text.find("<")] + told[1]
    return " ".join(text.split())[:300].rstrip(": ")
