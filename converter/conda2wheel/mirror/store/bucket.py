"""A bucket of S3, GCS or Azure as a store, through obstore; and a store in memory.

Credentials, region and endpoint come from the environment, under the names that the clouds' own tools use (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY` and so on). obstore retries transient errors with
growing pauses.
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
from conda2wheel.mirror.store.base import ObjectInfo, Store, StoredObject, cache_control, content_type, store_error

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "memory")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_ENDPOINT")
SINGLE = 64 << 20  # largest single request, of which an interruption leaves nothing; larger objects go in parts of this size
HINT = "check the address and the network; the published index is unchanged"
RIGHTS = "check that the credentials in the environment may read, list, write and delete there"


class BucketStore(Store):
    """A store at `SCHEME://BUCKET/PATH`.

    Args:
        url: the bucket's URL, with an optional path in it.
        retries: how often a request is retried.
        retry_seconds: how long a request is retried.
        timeout: seconds that one request may take.
    """

    _memories: ClassVar[dict[str, ObjectStore]] = {}

    def __init__(self, url: str, *, retries: int = 8, retry_seconds: float = 120, timeout: float = 300) -> None:
        self.url = url.rstrip("/")
        self._options = {"retries": retries, "retry_seconds": retry_seconds, "timeout": timeout}
        self._store = self._open()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.url, self._options))

    def _open(self) -> ObjectStore:
        scheme, _, path = self.url.partition("://")
        if scheme not in SCHEMES or not path:
            known = ", ".join(f"{each}://" for each in SCHEMES)
            raise Failed("usage", f"{self.url}: not the address of a store", f"give a folder's path, or one of {known}")
        try:
            import obstore.exceptions
            from obstore.store import MemoryStore, from_url
        except ImportError:
            raise Failed(
                "dependency", f"{self.url}: obstore is not installed", "pip install 'conda2wheel-wasm[mirror]'"
            ) from None
        if scheme == "memory":
            return self._memories.setdefault(path, MemoryStore())
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
                    "retry_timeout": timedelta(seconds=self._options["retry_seconds"]),
                },
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise Failed("usage", f"{self.url}: {_line(error)}", "addresses of stores: docs/reference/mirror-store.md") from None

    def fetch(self, path: str) -> StoredObject | None:
        import obstore

        with self._errors("read", path):
            try:
                answer = obstore.get(self._store, path)
                return StoredObject(bytes(answer.bytes()), _version(answer.meta))
            except FileNotFoundError:
                return None

    def head(self, path: str) -> ObjectInfo | None:
        import obstore

        with self._errors("read", path):
            try:
                return _info(obstore.head(self._store, path))
            except FileNotFoundError:
                return None

    def put(self, path: str, source: bytes | Path) -> None:
        with self._errors("write", path):
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
        """Write conditionally.

        obstore does not repeat a conditional write whose answer was lost, since it may have succeeded; reading the object back
        tells.
        """
        import obstore.exceptions

        mode: PutMode = "create"
        if version is not None:
            mode = json.loads(version)
        conflicts: list[type[Exception]] = [obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError]
        if version is not None:
            conflicts.append(FileNotFoundError)  # some servers answer 404 where the version no longer exists
        with self._errors("write", path):
            for pause in (0.5, 2.0, None):
                try:
                    self._put(path, data, mode)
                except tuple(conflicts):
                    return self.get(path) == data
                except obstore.exceptions.GenericError:
                    if pause is None:
                        raise
                    time.sleep(pause)
                else:
                    break
        return True

    def get_range(self, path: str, start: int, end: int) -> bytes:
        import obstore

        with self._errors("read", path):
            return bytes(obstore.get_range(self._store, path, start=start, end=end))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        import obstore

        with self._errors("list", prefix):
            for chunk in obstore.list(self._store, prefix):
                for info in chunk:
                    yield _info(info)

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        import obstore

        with self._errors("list", prefix):
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found))

    def delete(self, paths: Iterable[str]) -> None:
        import obstore

        every = list(paths)
        with self._errors("delete", f"{every[0]} and others" if every else "nothing"):
            for start in range(0, len(every), 1000):
                obstore.delete(self._store, every[start : start + 1000])

    def clock(self) -> float:
        self.put("clock", b"")
        info = self.head("clock")
        if info is None:
            raise store_error(f"read {self.url}/clock", "it was just written and does not exist", HINT)
        return info.modified

    @contextmanager
    def _errors(self, action: str, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise store_error(f"{action} {self.url}/{path}", _line(error), RIGHTS) from None
        except (BaseError, OSError) as error:
            raise store_error(f"{action} {self.url}/{path}", _line(error), HINT) from None


def _reopen(url: str, options: dict[str, float]) -> BucketStore:
    return BucketStore(url, **options)  # type: ignore[arg-type]


def _info(info: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(info["path"], info["size"], info["last_modified"].timestamp())


def _version(info: ObjectMeta) -> str:
    """An object's version as obstore's `UpdateVersion` has it: S3 and Azure compare `e_tag`, GCS compares `version`."""
    return json.dumps({key: value for key in ("e_tag", "version") if (value := info[key]) is not None})


def _line(error: Exception) -> str:
    """Return obstore's message without address, times and source code; the server's own message where there is one.

    >>> _line(Exception("Generic S3 error: Error performing PUT http://h/b in 2ms, after 2 retries, max_retries: 2, "
    ...     "retry_timeout: 9s  - Server returned non-2xx status code: 403 Forbidden: <Error><Message>No.</Message></Error>"))
    '403 Forbidden: No.'
    """
    text = str(error).partition("\n\nDebug source")[0]
    text = re.sub(r"^.*Error performing \w+ \S+ in .*? - ", "", text, flags=re.DOTALL)
    text = text.replace("Server returned non-2xx status code: ", "").replace("Server returned error response: ", "")
    if info := re.search(r"<Message>(.*?)</Message>", text, re.DOTALL):
        text = text[: text.find("<")] + info[1]
    return " ".join(text.split())[:300].rstrip(": ")
