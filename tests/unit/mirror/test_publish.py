"""Publishing: readers see one complete index or another, whatever happens to publishers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.mirror.publish.activate import serve
from conda2wheel.mirror.publish.generation import Generation, IndexEntry, current, generations, index_pages, missing
from conda2wheel.mirror.publish.publisher import RepeatableFiles, publish
from conda2wheel.mirror.publish.rollback import gc, rollback
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.lease import Lease
from conda2wheel.mirror.store.open import open_store
from tests.helpers.clocks import PATIENCE, Later, Pauses
from tests.helpers.mirror_index import (
    CHANNEL,
    continuous_reader,
    entry,
    publish_release,
    publishers,
    put,
    release,
    served,
    served_folder,
)
from tests.helpers.mounts import tmpfs
from tests.helpers.seaweed import S3

DAY = 86400.0
NOW = 1.8e9


def files(store: Store, project: str) -> dict[str, object]:
    """The files of a project's page: why each is yanked, or False, by name."""
    page = json.loads(served(store)[f"simple/{project}/index.json"])
    return {file["filename"]: file["yanked"] for file in page["files"]}


def test_the_published_index_is_served_at_the_top(store: Store) -> None:
    entries = put(store, entry("demo", "1.0"), entry("demo", "1.10"), entry("other"))
    done = publish(store, entries, {"results": []}, now=NOW, grace=DAY)
    assert done.new
    assert served(store) == index_pages(entries)
    assert list(files(store, "demo")) == ["demo-1.0-py3-none-any.whl", "demo-1.10-py3-none-any.whl"]
    pointer = current(store)
    assert pointer is not None
    assert pointer.generation == done.generation == f"000001-{done.generation[-8:]}"
    manifest = json.loads(store.get(f"generations/{done.generation}/generation.json") or b"")
    assert manifest["state"] == {"results": []}
    assert [IndexEntry.from_json(document) for document in manifest["entries"]] == list(done.entries)


def test_an_index_that_did_not_change_makes_no_generation(store: Store) -> None:
    first = publish_release(store, 1)
    before = sorted(meta.path for meta in store.list("generations"))
    again = publish_release(store, 1)
    assert (again.new, again.generation) == (False, first.generation)
    assert sorted(meta.path for meta in store.list("generations")) == before


def test_the_order_of_work_does_not_change_the_bytes(tmp_path: Path) -> None:
    entries = release(5)
    found = []
    for number in range(3):
        store = open_store(f"memory://{tmp_path}/{number}")
        put(store, *entries)
        mixed = [*entries[number:], *entries[:number]]
        publish(store, mixed, {}, now=NOW + number, grace=DAY)
        found.append(served(store))
    assert found[0] == found[1] == found[2]


def test_the_wheel_of_a_vanished_package_is_yanked_and_later_removed(store: Store) -> None:
    stays, goes = put(store, entry("stays"), entry("goes"))
    publish(store, [stays, goes], {}, now=NOW, grace=3 * DAY)
    done = publish(store, [stays], {}, now=NOW + DAY, grace=3 * DAY)
    assert [each.wheel.project for each in done.yanked] == ["goes"]
    assert files(store, "goes") == {"goes-1.0-py3-none-any.whl": f"no longer in {CHANNEL}"}
    page = json.loads(served(store)["simple/goes/index.json"])
    assert page["project-status"] == {"status": "archived", "reason": f"no longer in {CHANNEL}"}
    later = publish(store, [stays], {}, now=NOW + 3 * DAY, grace=3 * DAY)
    assert (later.new, later.yanked, later.removed) == (False, (), ())
    last = publish(store, [stays], {}, now=NOW + 5 * DAY, grace=3 * DAY)
    assert [each.wheel.project for each in last.removed] == ["goes"]
    assert "simple/goes/index.html" not in served(store)
    assert b"goes" not in served(store)["simple/index.html"]


def test_the_wheel_of_a_package_that_is_listed_again_is_no_longer_yanked(store: Store) -> None:
    both = put(store, entry("stays"), entry("comes"))
    publish(store, both, {}, now=NOW, grace=DAY)
    publish(store, both[:1], {}, now=NOW + 1, grace=DAY)
    publish(store, both, {}, now=NOW + 2, grace=DAY)
    assert files(store, "comes") == {"comes-1.0-py3-none-any.whl": False}


def test_a_wheel_whose_replacement_failed_stays(store: Store) -> None:
    both = put(store, entry("stays"), entry("fails"))
    publish(store, both, {}, now=NOW, grace=DAY)
    done = publish(store, both[:1], {}, now=NOW + 9 * DAY, grace=DAY, yank_reason=lambda _: None)
    assert (done.new, files(store, "fails")) == (False, {"fails-1.0-py3-none-any.whl": False})


def test_a_clock_that_is_set_back_neither_removes_nor_keeps_yanked_wheels(store: Store) -> None:
    both = put(store, entry("stays"), entry("goes"))
    publish(store, both, {}, now=NOW + 100 * DAY, grace=DAY)
    publish(store, both[:1], {}, now=NOW + 100 * DAY, grace=DAY)
    assert publish(store, both[:1], {}, now=NOW, grace=DAY).removed == ()
    assert publish(store, both[:1], {}, now=NOW + 102 * DAY, grace=DAY).removed != ()


def test_the_newest_build_of_a_file_name_is_chosen_and_the_others_are_reported(store: Store) -> None:
    old, new, late = put(
        store, entry("demo", build=1), entry("demo", build=2), entry("demo", build=2, timestamp=2e9, text="late")
    )
    done = publish(store, [late, old, new], {}, now=NOW, grace=DAY)
    assert [each.wheel.sha256 for each in done.entries] == [late.wheel.sha256]
    assert {each.package.build_number for each in done.replaced} == {1, 2}
    page = json.loads(served(store)["simple/demo/index.json"])
    assert [file["hashes"]["sha256"] for file in page["files"]] == [late.wheel.sha256]
    assert page["files"][0]["upload-time"] == "2033-05-18T03:33:20Z"


def test_a_wheel_that_is_missing_in_the_store_is_left_out_and_reported(store: Store) -> None:
    whole, lost = put(store, entry("whole"), entry("lost"))
    cut = put(store, entry("cut"))[0]
    store.delete([lost.wheel.blob])
    store.put(cut.wheel.blob, b"short")
    done = publish(store, [whole, lost, cut], {}, now=NOW, grace=DAY)
    assert [each.wheel.project for each in done.missing] == ["cut", "lost"]
    assert json.loads(served(store)["simple/index.json"])["projects"] == [{"name": "whole"}]


def test_files_that_would_be_the_same_are_not_made_again(store: Store) -> None:
    entries = put(store, entry("demo"), entry("other"))
    made: list[int] = []

    def lock_file(present: Sequence[IndexEntry]) -> dict[str, bytes]:
        made.append(len(present))
        return {"pyodide-lock-x.json": b"%d" % len(present)}

    def run(*present: IndexEntry, inputs: str = "a") -> str:
        read: list[str] = []

        def state() -> dict[str, object]:
            read.append(inputs)
            return {}

        made_by = RepeatableFiles(lock_file, inputs)
        done = publish(store, present, state, now=NOW, grace=-1, make_files=made_by)
        assert len(read) == done.new
        return done.generation

    first = run(*entries)
    assert run(*entries) == first
    assert made == [2]
    assert run(*entries, inputs="b") == first  # it could have become another one
    assert made == [2, 2]
    store.delete([entries[1].wheel.blob])
    second = run(*entries)
    assert made == [2, 2, 1]
    assert store.get("pyodide-lock-x.json") == b"1"
    put(store, *entries)
    assert run(*entries) not in (first, second)
    assert store.get("pyodide-lock-x.json") == b"2"


def test_further_files_are_served_and_belong_to_the_generation(store: Store) -> None:
    entries = put(store, entry("demo"))

    def lock_file(present: Sequence[IndexEntry]) -> dict[str, bytes]:
        return {"pyodide-lock-x.json": b"%d" % len(present)}

    done = publish(store, entries, {}, now=NOW, grace=DAY, make_files=lock_file)
    assert store.get("pyodide-lock-x.json") == b"1"
    again = publish(store, entries, {}, now=NOW, grace=DAY, make_files=lock_file)
    assert (again.new, again.generation) == (False, done.generation)
    assert publish(store, entries, {}, now=NOW, grace=DAY).new
    assert store.get("pyodide-lock-x.json") is None


def test_a_rollback_serves_the_earlier_index_until_another_is_published(store: Store) -> None:
    indexes = []
    for number in (1, 2):
        publish_release(store, number)
        indexes.append(served(store))
    assert rollback(store, None, now=NOW) == generations(store)[0]
    assert served(store) == indexes[0]
    held = publish_release(store, 2)
    assert (held.new, held.withdrawn, served(store)) == (False, True, indexes[0])
    third = publish_release(store, 3)
    assert (third.new, third.generation[:6]) == (True, "000003")
    assert rollback(store, generations(store)[1], now=NOW) == generations(store)[1]
    assert served(store) == indexes[1]
    with pytest.raises(Failed, match="has no generation 000009-nothing") as caught:
        rollback(store, "000009-nothing", now=NOW)
    assert caught.value.code == "usage"


def test_a_rollback_to_an_incomplete_generation_is_an_error(store: Store) -> None:
    publish_release(store, 1)
    publish_release(store, 2)
    store.delete([release(1)[0].wheel.blob])
    with pytest.raises(Failed, match="is incomplete"):
        rollback(store, None, now=NOW)


def test_gc_removes_unneeded_generations_and_wheels_after_their_grace(store: Store) -> None:
    for number in range(1, 7):
        publish_release(store, number)
    nothing = gc(store, keep=2, grace=DAY)
    assert (nothing.generations, nothing.blobs) == ((), 0)
    names = generations(store)
    swept = gc(store, keep=2, grace=DAY, now=store.clock() + 2 * DAY)
    assert swept.generations == names[:4]
    assert generations(store) == names[4:]
    assert swept.blobs > 0
    for name in names[4:]:
        manifest = json.loads(store.get(f"generations/{name}/generation.json") or b"")
        assert missing(store, [IndexEntry.from_json(document) for document in manifest["entries"]]) == ()
    left = {meta.path.split("/")[2] for meta in store.list("blobs")}
    assert release(1)[-1].wheel.sha256 not in left
    assert gc(store, keep=2, grace=DAY, now=store.clock() + 2 * DAY).generations == ()


def test_gc_removes_an_incomplete_generation(store: Store) -> None:
    publish_release(store, 1)
    store.put("generations/000002-abcdabcd/simple/index.html", b"half")
    assert gc(store, keep=1, grace=DAY).generations == ("000002-abcdabcd",)
    assert list(store.list("generations/000002-abcdabcd")) == []


def test_a_damaged_pointer_or_manifest_is_an_error(store: Store) -> None:
    done = publish_release(store, 1)
    publish_release(store, 2)
    pointer = current(store)
    assert pointer is not None
    path = f"generations/{pointer.generation}/generation.json"
    store.put(path, (store.get(path) or b"").replace(b"stay-0", b"stay-9"))
    with pytest.raises(Failed, match="is damaged: its hash"):
        publish_release(store, 3)
    assert rollback(store, None, now=NOW) == done.generation
    assert publish_release(store, 3).new
    for damaged in (b"{", b"[" * 100_000, b'{"generation": 1, "sha256": "", "since": 0, "previous": null, "withdrawn": []}'):
        store.put("current.json", damaged)
        with pytest.raises(Failed, match=r"current\.json is damaged"):
            publish_release(store, 4)


def test_only_one_process_publishes_at_a_time(store: Store) -> None:
    with Lease(store, "alice on host-a"), pytest.raises(Failed, match="alice on host-a is publishing to") as caught:
        publish_release(store, 1)
    assert caught.value.code == "locked"
    assert current(store) is None
    assert publish_release(store, 1).new


@pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
def test_a_renewed_lease_outlives_its_seconds(store: Store) -> None:
    later, pauses = Later(store), Pauses()
    alice = Lease(later, "alice", seconds=900)
    alice._ended = pauses
    with alice:
        pauses.begun()
        for _ in range(4):
            later.ahead += 800
            pauses.over()
            alice.check()
            with pytest.raises(Failed, match="alice"), Lease(later, "bob", seconds=900):
                pass
        assert pauses.asked == [300] * 5
        later.ahead += 1000  # and not renewed
        with Lease(later, "bob", seconds=900):
            pauses.over(last=True)
            alice._renewing.join()
            with pytest.raises(Failed, match="bob took over"):
                alice.check()


@pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
def test_a_lease_whose_owner_is_gone_expires(store: Store) -> None:
    """Its owner ran on another machine, so that it is not known whether it lives."""
    document = {"schema": 1, "owner": "alice on host-a", "token": "x", "seconds": 900, "process": {"boot": "another"}}
    store.put("lock.json", json.dumps(document).encode())
    later = Later(store)
    later.ahead = 850
    with pytest.raises(Failed, match="alice on host-a is publishing"):
        publish_release(later, 1)
    later.ahead = 950
    assert publish_release(later, 1).new


def test_where_processes_have_no_identity_another_ones_lease_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows, which have no /proc."""
    monkeypatch.setattr("conda2wheel.mirror.store.lease.this_process", lambda: None)
    store.put("lock.json", json.dumps({"schema": 1, "owner": "alice", "token": "x", "seconds": 900, "process": None}).encode())
    with pytest.raises(Failed, match="alice is publishing"):
        publish_release(store, 1)


def test_concurrent_publishers_hold_the_lease_one_at_a_time(store: Store) -> None:
    codes: list[str] = []
    refused = threading.Semaphore(0)

    def one(number: int) -> bool:
        try:
            with Lease(store, f"{number}"):
                return all(refused.acquire(timeout=PATIENCE) for _ in range(7))
        except Failed as error:
            codes.append(error.code)
            refused.release()
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [False] * 7 + [True]
    assert codes == ["locked"] * 7
    with Lease(store, "after"):
        pass


def _stopped(store: Store, number: int) -> subprocess.Popen[str]:
    """Start a publisher that is stopped after it has written its generation, right before the pointer."""
    code = """
import functools, os, signal, sys
from conda2wheel.mirror.publish import publisher
from conda2wheel.mirror.store.lease import Lease
from conda2wheel.mirror.store.open import open_store
from tests.helpers.mirror_index import publish_release
set_pointer = publisher.set_pointer
def stop(*arguments):
    os.kill(os.getpid(), signal.SIGSTOP)
    return set_pointer(*arguments)
publisher.set_pointer = stop
publisher.Lease = functools.partial(Lease, seconds=900)
publish_release(open_store(sys.argv[1]), int(sys.argv[2]))
"""
    return subprocess.Popen([sys.executable, "-c", code, store.url, str(number)], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
def test_a_publisher_whose_lease_expired_loses_to_the_one_that_took_it_over(store: Store) -> None:
    publish_release(store, 1)
    child = _stopped(store, 2)
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        later = Later(store)
        with pytest.raises(Failed, match="is publishing"):
            publish_release(later, 3)
        later.ahead = 1000
        third = publish_release(later, 3)
        assert third.new
        expected = served(store)
        child.send_signal(signal.SIGCONT)
        assert child.stderr is not None
        said = child.stderr.read()
    finally:
        child.kill()
        child.wait()
    assert "another process published to" in said.splitlines()[-1]
    pointer = current(store)
    assert pointer is not None
    assert (pointer.generation, served(store)) == (third.generation, expected)


@pytest.mark.parametrize("following", [2, 3], ids=["the same index", "another one"])
@pytest.mark.parametrize("steps", range(1, 11, 2))
def test_a_copy_that_was_interrupted_at_any_page_is_finished(
    steps: int, following: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = open_store(f"memory://{tmp_path}/a"), open_store(f"memory://{tmp_path}/b")
    publish_release(store, 1)
    left = iter(range(steps))

    def cut(store: Store, generation: Generation, each: Callable[[], None], pages: Mapping[str, bytes] | None = None) -> None:
        def one() -> None:
            each()
            if next(left, None) is None:
                raise Failed("store", "cut off")

        serve(store, generation, one, pages)

    monkeypatch.setattr("conda2wheel.mirror.publish.publisher.serve", cut)
    with pytest.raises(Failed, match="cut off"):
        publish_release(store, 2)
    monkeypatch.undo()
    publish_release(store, following)
    for number in sorted({1, 2, following}):
        publish_release(reference, number)
    assert served(store) == served(reference)


def publish_with_kills(url: str, base: str, moments: int, reference: Store) -> int:
    """Publish releases, each with a publisher that is killed before another of its steps and then again with another one.

    A reader reads the whole index after each kill and each release.

    Returns:
        How many publishers were killed while publishing.
    """
    store = open_store(url)
    cut = 0
    with publishers(url) as who, continuous_reader(base) as reader:
        for number in (1, 2):
            _, steps = who.publish(number)
            publish_release(reference, number)
        for moment in range(moments):
            number = moment + 3
            what, _ = who.publish(number, killed_at=1 + moment * steps // moments)
            cut += what == ""
            reader.whole_round()
            what, _ = who.publish(number)
            assert what.startswith("0"), what
            reader.whole_round()
            publish_release(reference, number)
            assert served(store) == served(reference), f"release {number}"
    gc(store, keep=1, grace=0, now=store.clock() + DAY)
    assert len(generations(store)) == 1
    return cut


@pytest.mark.parametrize("moments", [6, pytest.param(200, marks=pytest.mark.long)])
def test_killed_publishers_never_leave_a_partial_index(tmp_path: Path, moments: int) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with served_folder(folder) as base:
        cut = publish_with_kills(str(folder), base, moments, open_store(f"memory://{tmp_path}"))
    assert cut > moments / 2


@pytest.mark.parametrize("moments", [3, pytest.param(100, marks=pytest.mark.long)])
def test_killed_publishers_never_leave_a_partial_index_in_a_bucket(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moments: int
) -> None:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    place = f"killed/{time.time_ns()}"
    assert publish_with_kills(f"s3://{place}", s3.url(place), moments, open_store(f"memory://{tmp_path}")) > moments / 2


@pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
def test_of_two_concurrent_publishers_one_publishes(store: Store, tmp_path: Path) -> None:
    reference = open_store(f"memory://{tmp_path}/reference")
    with publishers(store.url) as one, publishers(store.url) as two:
        for number in range(1, 6):
            with ThreadPoolExecutor(2) as pool:
                said = [done[0] for done in pool.map(lambda who, n=number: who.publish(n), (one, two))]
            assert all(text.startswith(("0", "locked: ")) for text in said), said
            assert len({text for text in said if text.startswith("0")}) == 1, said
            publish_release(reference, number)
            assert served(store) == served(reference)
    assert len(generations(store)) == 5


def test_a_full_disk_leaves_the_index_unchanged_and_the_next_publish_is_complete(tmp_path: Path) -> None:
    reference = open_store(f"memory://{tmp_path}")
    with tmpfs(tmp_path / "small", "size=4m") as folder:
        store = open_store(str(folder / "store"))
        publish_release(store, 1)
        publish_release(reference, 1)
        expected = served(store)
        ballast = folder / "ballast"
        left, said = 0, list[str]()
        for room in range(0, 400_000, 20_000):
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            with ballast.open("wb") as file:
                file.write(b"x" * max(0, free - room))
            try:
                publish_release(store, 2)
            except Failed as error:
                said.append(error.message)
            ballast.unlink()
            if served(store) != expected:
                break
            left = len(said)
        publish_release(store, 2)
        publish_release(reference, 2)
        assert left >= 3
        assert all("No space left" in message for message in said)
        assert served(store) == served(reference)


def test_a_store_that_refuses_writes_is_an_error_and_stays_unchanged(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    url = f"s3://refuses/{time.time_ns()}"
    publish_release(open_store(url), 1)
    expected = served(open_store(url))
    for name, value in s3.environ("reader").items():
        monkeypatch.setenv(name, value)
    readers = open_store(url, retries=1)
    with pytest.raises(Failed, match="403 Forbidden") as caught:
        publish(readers, [replace(each) for each in release(2)], {}, now=NOW, grace=DAY)
    assert caught.value.code == "store"
    assert served(readers) == expected
