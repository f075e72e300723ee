"""/files/: whole files and parts of them, small and large, from folders and buckets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conda2wheel.mirror.publish.publisher import publish
from conda2wheel.mirror.store.base import Store
from conda2wheel.serve import files
from tests.helpers.mirror_index import entry, put
from tests.helpers.service import RunningService, configured, request, running

SMALL = b"0123456789" * 10
LARGE = hashlib.sha256(b"large").digest() * (files.SMALL // 32 + files.PIECE // 20)
NAMES = ("small-1.0-py3-none-any.whl", "large-1.0-py3-none-any.whl")


def path_of(data: bytes, name: str) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"{digest[:2]}/{digest}/{name}"


@pytest.fixture(params=["folder", "memory"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningService]:
    config = configured(tmp_path, "[serve]\non_demand = false\n")
    if request.param == "memory":
        output = replace(config.mirror.output, store=f"memory://{tmp_path}")
        config = replace(config, mirror=replace(config.mirror, output=output))
    with running(config) as started:
        for data, name in zip((SMALL, LARGE), NAMES, strict=True):
            started.service.store.put(f"blobs/{path_of(data, name)}", data)
        yield started


def test_ranges_of_small_and_large_files(service: RunningService) -> None:
    for data, name in zip((SMALL, LARGE), NAMES, strict=True):
        path, size = f"/files/{path_of(data, name)}", len(data)
        whole = service.get(path)
        assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, data, "bytes")
        for asked, start, end in (
            ("bytes=0-0", 0, 1),
            (f"bytes={size - 10}-", size - 10, size),
            ("bytes=-7", size - 7, size),
            (f"bytes=5-{size * 2}", 5, size),
        ):
            part = service.get(path, Range=asked)
            assert (part.status, part.body) == (206, data[start:end])
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        for asked in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}"):
            none = service.get(path, Range=asked)
            assert (none.status, none.headers["content-range"]) == (416, f"bytes */{size}")
        for asked in ("bytes=0-1,3-4", "bytes=9-3", "items=0-1", "bytes=x"):
            assert service.get(path, Range=asked).status == 200
        tag = whole.headers["etag"]
        assert service.get(path, Range="bytes=0-1", If_Range=tag).status == 206
        assert service.get(path, Range="bytes=0-1", If_Range='"other"').status == 200
        assert service.get(path, If_None_Match=tag).status == 304
        head = request(f"{service.url}{path}", "HEAD")
        assert (head.body, head.headers["content-length"]) == (b"", str(size))


def test_only_wheels_below_their_hash_are_files(service: RunningService) -> None:
    digest = hashlib.sha256(SMALL).hexdigest()
    service.service.store.put("secret.txt", b"secret")
    for path in (
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2f..%2fsecret.txt",
        f"{digest[:2]}/{digest}/../../../secret.txt",
        f"{digest[:2]}/{digest}/",
        f"{digest[:2]}/{digest}/nothing-1.0-py3-none-any.whl",
        f"ff/{digest}/{NAMES[0]}",
        f"{digest[:2]}/{digest}/{NAMES[0]}%00",
        f"{digest[:2]}/{digest}/{NAMES[0]}.metadata.metadata",
    ):
        assert service.get(f"/files/{path}").status == 404, path


def test_a_file_that_the_index_lists_and_the_store_lost_is_an_accident(tmp_path: Path) -> None:
    with running(configured(tmp_path, "[serve]\non_demand = false\n")) as service:
        store: Store = service.service.store
        [one] = put(store, entry("one"))
        publish(store, [one], {}, now=1.8e9, grace=0)
        service.service.index.update()
        store.delete([one.wheel.blob])
        address = service.page("one")["files"][0]["url"]
        lost = request(address)
        assert (lost.status, lost.headers["retry-after"]) == (503, "5")
        put(store, one)
        assert request(address).status == 200


def test_many_read_a_large_file_at_once(service: RunningService) -> None:
    path = f"/files/{path_of(LARGE, NAMES[1])}"
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(service.get(path).body == LARGE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
