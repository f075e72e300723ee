"""The interface of every kind of store: folders, memory, and S3 over HTTP with credentials from the environment."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.mirror.store import bucket
from conda2wheel.mirror.store.base import IMMUTABLE, SHORT, Store
from conda2wheel.mirror.store.open import open_store
from tests.helpers.clocks import PATIENCE
from tests.helpers.mounts import tmpfs
from tests.helpers.seaweed import S3
from tests.helpers.systems import IS_WINDOWS
from tests.helpers.wires import Fate, wire

MANY = 12


def version(store: Store, path: str) -> str:
    found = store.fetch(path)
    assert found is not None
    return found.version


def test_objects_are_written_whole_and_missing_ones_are_none(store: Store) -> None:
    assert store.get("a/b.txt") is None
    assert store.head("a/b.txt") is None
    store.put("a/b.txt", b"one")
    store.put("a/b.txt", b"another")
    assert store.get("a/b.txt") == b"another"
    meta = store.head("a/b.txt")
    assert meta is not None
    assert (meta.path, meta.size) == ("a/b.txt", 7)
    assert abs(meta.modified - store.clock()) < 30


def test_a_file_is_written_from_its_path(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "demo-1.0+local.1-py3-none-any.whl"
    source.write_bytes(os.urandom(3 << 20))
    store.put(f"blobs/ab/{source.name}", source)
    assert store.get(f"blobs/ab/{source.name}") == source.read_bytes()
    assert [meta.path for meta in store.list("blobs")] == [f"blobs/ab/{source.name}"]


def test_of_many_concurrent_put_new_one_succeeds(store: Store) -> None:
    with ThreadPoolExecutor(MANY) as pool:
        won = list(pool.map(lambda number: store.put_new("lock", f"writer {number}".encode()), range(MANY)))
    assert won.count(True) == 1
    assert store.get("lock") == f"writer {won.index(True)}".encode()


def test_of_many_concurrent_put_if_one_succeeds(store: Store) -> None:
    store.put("pointer", b"old")
    known = version(store, "pointer")
    with ThreadPoolExecutor(MANY) as pool:
        won = list(pool.map(lambda number: store.put_if("pointer", f"writer {number}".encode(), known), range(MANY)))
    assert won.count(True) == 1
    assert store.get("pointer") == f"writer {won.index(True)}".encode()
    assert store.put_if("pointer", b"too late", known) is False
    assert store.put_if("pointer", b"next", version(store, "pointer")) is True
    assert store.get("pointer") == b"next"


def test_a_repeated_write_whose_answer_was_lost_succeeds(store: Store) -> None:
    assert store.put_new("lock", b"mine: token") is True
    assert store.put_new("lock", b"mine: token") is True
    known = version(store, "lock")
    assert store.put_if("lock", b"mine: renewed", known) is True
    assert store.put_if("lock", b"mine: renewed", known) is True
    assert store.put_new("lock", b"another's") is False


def test_the_version_of_a_deleted_object_does_not_match(store: Store) -> None:
    store.put("pointer", b"old")
    known = version(store, "pointer")
    store.delete(["pointer"])
    assert store.put_if("pointer", b"new", known) is False
    assert store.get("pointer") is None


def test_an_existing_blob_is_not_written_again(store: Store) -> None:
    assert store.put_blob("blobs/ab/x.whl", b"whole") is True
    assert store.put_blob("blobs/ab/x.whl", b"WHOLE") is False
    assert store.get("blobs/ab/x.whl") == b"whole"
    assert store.put_blob("blobs/ab/x.whl", b"not as long") is True


def test_lists_have_only_objects_below_the_folder(store: Store) -> None:
    store.put_all((path, path.encode()) for path in ("g/1/a", "g/1/b/c", "g/2/a", "gg/x", "top"))
    assert sorted((meta.path, meta.size) for meta in store.list("g")) == [("g/1/a", 5), ("g/1/b/c", 7), ("g/2/a", 5)]
    assert sorted(meta.path for meta in store.list()) == ["g/1/a", "g/1/b/c", "g/2/a", "gg/x", "top"]
    assert list(store.list("none")) == []
    assert store.sizes(["g/1/b/c", "top", "g/1", "none", "gg/x/y"]) == {"g/1/b/c": 7, "top": 3}
    assert store.sizes(["g/1/a"]) == {"g/1/a": 5}
    assert store.sizes([]) == {}
    assert (store.folders("g"), store.folders("none")) == (("1", "2"), ())


def test_deleting_removes_only_the_given_objects(store: Store) -> None:
    store.put_all((path, b"x") for path in ("g/1/a", "g/1/b", "g/2/c/d", "h"))
    store.delete(["g/1/a", "g/2/c/d", "never/there"])
    assert sorted(meta.path for meta in store.list()) == ["g/1/b", "h"]
    store.delete([])


def test_empty_folders_are_removed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put_all((path, b"x") for path in ("g/1/a", "g/2/c/d", "g/2/e"))
    store.set_link("g/2/link", "../1")
    store.delete(["g/2/c/d", "g/2/e"])
    assert store.folders("g") == ("1",)
    store.delete(["g/1/a"])
    assert list((tmp_path / "store").iterdir()) == []


def test_writing_many_files_stops_at_an_error(store: Store) -> None:
    put = iter(range(1000))

    def each() -> None:
        if next(put) >= 20:
            raise Failed("locked", "another took over")

    with pytest.raises(Failed, match="another took over"):
        store.put_all(((f"g/{number}", b"x") for number in range(1000)), each)
    assert 0 < len(list(store.list("g"))) <= 20


def test_a_store_can_be_pickled(store: Store) -> None:
    store.put("a", b"1")
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert (again.url, again.get("a")) == (store.url, b"1")


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s4://b", "http://h/x"])
def test_the_url_of_no_store_is_an_error(url: str) -> None:
    with pytest.raises(Failed, match="not the address of a store") as caught:
        open_store(url)
    assert caught.value.code == "usage"


def test_partial_files_of_killed_writers_are_ignored_and_deleted(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("a/b", b"1")
    left = tmp_path / "store" / "a" / ".conda2wheel-1-abc.part"
    left.write_bytes(b"half")
    assert [meta.path for meta in store.list()] == ["a/b"]
    assert store.delete_partial_files(time.time() - 60) == 0
    assert store.delete_partial_files(time.time() + 60) == 1
    assert not left.exists()


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no permissions of POSIX")
def test_files_of_a_folder_are_readable_for_a_web_server(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("a/b", b"1")
    assert (tmp_path / "store" / "a" / "b").stat().st_mode & 0o777 == 0o644


def _one_line(error: Failed) -> str:
    assert error.code == "store"
    assert "\n" not in error.message
    assert len(error.message) < 400
    return error.message


def test_a_full_disk_is_an_error_and_leaves_no_partial_file(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=1m") as folder:
        store = open_store(str(folder / "store"))
        store.put("a", b"x" * 1000)
        with pytest.raises(Failed) as caught:
            store.put("b", b"x" * (2 << 20))
        assert "No space left on device" in _one_line(caught.value)
        assert "free some space" in caught.value.hint
        assert [meta.path for meta in store.list()] == ["a"]
        assert [path.name for path in (folder / "store").iterdir()] == ["a"]


def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "ro", "size=1m") as folder:
        store = open_store(str(folder / "store"))
        store.put("a", b"1")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        for attempt in (lambda: store.put("b", b"1"), lambda: store.put_new("b", b"1"), lambda: store.delete(["a"])):
            with pytest.raises(Failed, match="Read-only file system") as caught:
                attempt()
            _one_line(caught.value)
        assert store.get("a") == b"1"


@pytest.fixture
def s3_environment(s3: S3, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_objects_in_a_bucket_have_content_types_and_caching(s3: S3, s3_environment: object, tmp_path: Path) -> None:
    place = f"headers/{time.time_ns()}"
    store = open_store(f"s3://{place}")
    store.put("blobs/ab/x.whl", b"1")
    store.put("blobs/ab/x.whl.metadata", b"Name: x\n")
    store.put("simple/x/index.json", b"{}")
    store.put("simple/x/index.html", b"<html>")
    store.put("current.json", b"{}")
    headers = {}
    for path in ("blobs/ab/x.whl", "blobs/ab/x.whl.metadata", "simple/x/index.json", "simple/x/index.html", "current.json"):
        with urllib.request.urlopen(s3.url(f"{place}/{path}")) as answer:
            headers[path] = (answer.headers["Content-Type"], answer.headers["Cache-Control"])
    assert headers == {
        "blobs/ab/x.whl": ("application/octet-stream", IMMUTABLE),
        "blobs/ab/x.whl.metadata": ("text/plain; charset=utf-8", IMMUTABLE),
        "simple/x/index.json": ("application/vnd.pypi.simple.v1+json", SHORT),
        "simple/x/index.html": ("text/html; charset=utf-8", SHORT),
        "current.json": ("application/json", "no-cache"),
    }


@pytest.mark.parametrize(("user", "secret", "why"), [("reader", None, "403 Forbidden: Access"), ("writer", "wrong", "signature")])
def test_a_bucket_that_refuses_access_is_an_error(
    s3: S3, s3_environment: pytest.MonkeyPatch, user: str, secret: str | None, why: str
) -> None:
    open_store("s3://refusing/x").put("a", b"1")
    for name, value in s3.environ(user, secret).items():
        s3_environment.setenv(name, value)
    store = open_store("s3://refusing/x", retries=1)
    for attempt in (lambda: store.put("a", b"2"), lambda: store.put_new("b", b"2")):
        with pytest.raises(Failed, match=why) as caught:
            attempt()
        assert "s3://refusing/x/" in _one_line(caught.value)
        assert "credentials" in caught.value.hint
    for name, value in s3.environ().items():
        s3_environment.setenv(name, value)
    assert open_store("s3://refusing/x").get("a") == b"1"


def test_an_unreachable_bucket_is_an_error_after_some_tries(s3_environment: pytest.MonkeyPatch) -> None:
    s3_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Failed, match=r"error sending request|onnection refused") as caught:
        open_store("s3://nowhere/x", retries=1, retry_seconds=2).put("a", b"1")
    _one_line(caught.value)


def test_interrupted_requests_are_retried(s3: S3, s3_environment: pytest.MonkeyPatch) -> None:
    with wire(s3.address, lambda number, _: "pass" if number % 3 == 2 else "cut") as (address, seen):
        s3_environment.setenv("AWS_ENDPOINT_URL", address)
        store = open_store(f"s3://wires/{time.time_ns()}")
        store.put("a", b"1")
        assert store.get("a") == b"1"
        assert len(seen) >= 6


def test_a_conditional_write_whose_answer_was_lost_is_decided_correctly(s3: S3, s3_environment: pytest.MonkeyPatch) -> None:
    """The write succeeded but its answer was lost: the same writer has succeeded, and another has not."""
    place = f"s3://wires/{time.time_ns()}"
    direct = open_store(place)
    lost: list[bytes] = []

    def fate(_: int, request: bytes) -> Fate:
        if request.startswith(b"PUT") and len(lost) < 1:
            lost.append(request)
            return "deaf"
        return "pass"

    with wire(s3.address, fate) as (address, _):
        s3_environment.setenv("AWS_ENDPOINT_URL", address)
        assert open_store(place).put_new("lock", b"mine") is True
        assert direct.get("lock") == b"mine"
        assert len(lost) == 1
        known = version(direct, "lock")
        lost.clear()
        assert open_store(place).put_if("lock", b"renewed", known) is True
        assert direct.get("lock") == b"renewed"
        lost.clear()
        assert open_store(place).put_if("lock", b"another's", known) is False
        assert direct.get("lock") == b"renewed"


def test_an_interrupted_multipart_upload_leaves_no_object_and_can_be_repeated(
    s3: S3, s3_environment: object, tmp_path: Path
) -> None:
    """A wheel of several parts, uploaded by a process that is killed between the first part and the last."""
    wheel = tmp_path / "large.whl"
    with wheel.open("wb") as file:
        file.write(os.urandom(bucket.SINGLE))
        file.write(os.urandom(bucket.SINGLE // 2))
    url = f"s3://parts/{time.time_ns()}"
    code = (
        "import pathlib, sys, conda2wheel.mirror.store.open as s; s.open_store(sys.argv[1]).put('w', pathlib.Path(sys.argv[2]))"
    )
    arrived, dead = threading.Event(), threading.Event()

    def fate(_: int, request: bytes) -> Fate:
        if b"partNumber=" in request.partition(b"\r\n")[0]:
            arrived.set()
            dead.wait(PATIENCE)
            return "cut"
        return "pass"

    with wire(s3.address, fate) as (address, _):
        child = subprocess.Popen([sys.executable, "-c", code, url, str(wheel)], env={**os.environ, "AWS_ENDPOINT_URL": address})
        try:
            assert arrived.wait(PATIENCE)
        finally:
            child.kill()
            child.wait()
            dead.set()
    assert _uploads(s3, url)
    store = open_store(url)
    assert store.get("w") is None
    assert list(store.list()) == []
    assert store.put_blob("w", wheel) is True
    meta = store.head("w")
    assert meta is not None
    assert meta.size == wheel.stat().st_size


def _uploads(s3: S3, url: str) -> list[str]:
    """The multipart uploads that have begun in a bucket, by the server's own files."""
    name = url.removeprefix("s3://").partition("/")[0]
    request = urllib.request.Request(f"{s3.inside}/buckets/{name}/.uploads/", headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return [entry["FullPath"] for entry in json.load(answer)["Entries"] or []]
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []
