"""The state of a mirror survives kills, damaged files, clocks that are set back and concurrent runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Failed
from conda2wheel.mirror.config import MirrorConfig, load
from conda2wheel.mirror.owner import open_state
from conda2wheel.mirror.state import database
from conda2wheel.mirror.state.mirror_state import ChannelChanges, MirrorState, StateCorruptedError
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel
from conda2wheel.mirror.state.retries import longest_pause, retries
from tests.helpers import killed

NOW = 1_800_000_000.0
KILLS = 30


def package(name: str, version: str = "1.0", **changes: Any) -> ChannelPackage:
    made = ChannelPackage(
        sha256=hashlib.sha256(f"{name}-{version}".encode()).hexdigest(),
        url=f"https://example.org/c/emscripten-wasm32/{name}-{version}-h0_0.conda",
        channel="https://example.org/c",
        subdir="emscripten-wasm32",
        name=name,
        version=version,
        build="h0_0",
        build_number=0,
        noarch=False,
        depends=("python",),
        record="r1",
    )
    return dataclasses.replace(made, **changes)


def key(package: ChannelPackage, converter: str = "1") -> ItemKey:
    return ItemKey(package.sha256, converter, "o" * 16, "auto")


def done(at: ItemKey, name: str = "demo") -> ItemResult:
    wheel = MirrorWheel(name, "1.0", f"{name}-1.0-py3-none-any.whl", "a" * 64, 5, "b" * 64, "any", requires=("six",))
    return ItemResult(at, "done", wheel=wheel, warnings=(("w", "text"),), seconds={"convert": 1.5}, downloaded=7)


def failed(at: ItemKey, code: str = "network") -> ItemResult:
    return ItemResult(at, "failed", code, "it broke", "try again")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[MirrorState]:
    with MirrorState.open(tmp_path / "mirror.sqlite") as opened:
        yield opened


def test_changes_are_recognised_by_hash_and_by_record(state: MirrorState) -> None:
    one, two, three = package("one"), package("two"), package("three")
    assert state.record_listing([one, two, three], NOW) == ChannelChanges(new=(one, two, three))
    assert state.record_listing([one, two, three], NOW + 1) == ChannelChanges()
    other = dataclasses.replace(one, sha256="f" * 64)  # another content under the same file name
    patched = dataclasses.replace(two, record="r2", depends=("python", "numpy"))
    assert state.record_listing([other, patched], NOW + 2) == ChannelChanges(
        changed=(other,), patched=(patched,), vanished=(three,)
    )
    assert state.record_listing([other, patched], NOW + 3) == ChannelChanges()
    assert state.record_listing([other, patched, three], NOW + 4) == ChannelChanges(back=(three,))
    assert [(known.package.name, known.seen, known.gone) for known in state.packages()] == [
        ("one", NOW, None),
        ("three", NOW, None),
        ("two", NOW, None),
    ]
    assert state.packages()[2].package == patched


def test_comparing_writes_nothing(state: MirrorState) -> None:
    assert state.compare([package("one")]) == ChannelChanges(new=(package("one"),))
    assert state.packages() == []


def test_the_same_package_of_two_channels_is_two(state: MirrorState) -> None:
    one = package("one")
    other = dataclasses.replace(one, channel="https://example.org/d")
    state.record_listing([one, other], NOW)
    assert state.record_listing([one], NOW).vanished == (other,)


def test_a_package_that_is_gone_since_a_future_time_is_gone_since_now(state: MirrorState) -> None:
    state.record_listing([package("one")], NOW)
    state.record_listing([], NOW + 9e6)  # the clock was wrong
    state.record_listing([], NOW + 60)
    assert state.packages()[0].gone == NOW + 60


def test_results_are_read_back_unchanged(state: MirrorState) -> None:
    made, lost = key(package("one")), key(package("two"))
    state.add_items([made, lost, key(package("three"))])
    state.finish(done(made), NOW)
    state.finish(failed(lost), NOW)
    assert state.results() == {made: done(made), lost: failed(lost)}
    assert state.counts() == {("done", None): 1, ("failed", "network"): 1, ("pending", None): 1}
    assert state.counts([made, key(package("four"))]) == {("done", None): 1, ("pending", None): 1}


def test_a_result_is_read_once_until_it_changes(state: MirrorState) -> None:
    item = key(package("a"))
    state.finish(ItemResult(item, "failed", "network", "no route"), NOW)
    first = state.results()[item]
    assert state.results([item])[item] is first
    state.finish(ItemResult(item, "failed", "disk", "full"), NOW)
    assert state.results()[item].code == "disk"


def test_failed_items_wait_longer_each_time_and_are_then_quarantined(state: MirrorState) -> None:
    at, other = key(package("poison")), key(package("good"))
    state.add_items([at, other])
    now, pauses = NOW, []
    rule = retries()["crash"]
    for attempt in range(1, rule.tries):
        assert state.finish(failed(at, "crash"), now) == "failed"
        item = state.items()[at]
        assert item.attempts == attempt
        assert item.next_try is not None
        pauses.append(item.next_try - now)
        assert state.due([at, other], now) == [other], "a failing item does not delay others"
        assert state.due([at, other], item.next_try - 1) == [other]
        assert state.due([at, other], item.next_try) == [at, other]
        now = item.next_try
    assert pauses == [rule.pause(n) for n in range(1, rule.tries)]
    assert pauses == sorted(set(pauses))
    assert state.finish(failed(at, "crash"), now) == "quarantined"
    assert state.due([at, other], now + 1e9) == [other]


def test_the_configuration_may_quarantine_sooner(state: MirrorState) -> None:
    assert state.finish(failed(key(package("one"))), NOW, tries=1) == "quarantined"


def test_an_unknown_class_of_failure_has_the_rule_of_internal(state: MirrorState) -> None:
    at = key(package("one"))
    state.finish(failed(at, "astonishment"), NOW)
    assert state.items()[at].next_try == NOW + retries()["internal"].base


def test_a_clock_that_is_set_back_stalls_nothing(state: MirrorState) -> None:
    at = key(package("one"))
    state.finish(failed(at), NOW + 365 * 86400)
    assert state.due([at], NOW) == [at]
    state.finish(failed(at), NOW)
    assert state.due([at], NOW - longest_pause() / 2) == [], "within a pause, it may be right"


def test_a_late_failure_does_not_change_a_result(state: MirrorState) -> None:
    at = key(package("one"))
    state.finish(done(at), NOW)
    assert state.finish(failed(at, "lost"), NOW + 1) == "done"
    assert state.results()[at].status == "done"


def test_retry_by_spec_and_all(state: MirrorState) -> None:
    numpy, scipy, six = package("numpy", "2.4"), package("scipy", "1.0"), package("six")
    state.record_listing([numpy, scipy, six], NOW)
    state.finish(failed(key(numpy), "internal"), NOW, tries=1)
    state.finish(ItemResult(key(scipy), "refused", "missing-library", "no"), NOW)
    state.finish(done(key(six)), NOW)
    assert state.retry("numpy >=3") == ()
    assert state.retry("s*") == (key(scipy),), "a wheel is not made again, a verdict is"
    assert state.due([key(scipy)], NOW) == [key(scipy)]
    assert state.retry() == (key(numpy),)
    assert state.items()[key(numpy)].attempts == 0
    assert state.results() == {key(six): done(key(six))}
    with pytest.raises(Failed, match="no match spec"):
        state.retry(">>")


def test_a_converter_that_fails_removes_nothing_from_the_index(state: MirrorState) -> None:
    one, two = package("one"), package("two")
    for each in (one, two):
        state.finish(done(key(each)), NOW)
    new = [key(one, "2"), key(two, "2")]
    state.add_items(new)
    state.finish(failed(new[0], "internal"), NOW + 1)
    state.finish(ItemResult(new[1], "refused", "abi-conflict", "no"), NOW + 1)
    found = state.results(new)
    assert found[new[0]] == done(key(one)), "the wheel of the older version"
    assert found[new[1]].status == "refused", "a verdict counts"


def test_interrupted_items_are_due_again_and_counted(state: MirrorState) -> None:
    at = key(package("one"))
    state.add_items([at])
    state.start(at, NOW)
    assert state.reset_interrupted() == (at,)
    assert state.reset_interrupted() == ()
    assert (state.items()[at].interruptions, state.due([at], NOW)) == (1, [at])
    state.finish(done(at), NOW)
    assert state.reset_interrupted() == ()


def test_runs_are_recorded(state: MirrorState) -> None:
    first, second = state.begin_run(NOW), state.begin_run(NOW + 5)
    state.end_run(second, NOW + 9, 4.0, {"done": 3})
    runs = state.runs()
    assert [run.number for run in runs] == [second, first]
    assert (runs[0].seconds, runs[0].counts, runs[1].ended) == (4.0, {"done": 3}, None)


def test_items_of_older_converters_can_be_deleted_but_not_their_wheels(state: MirrorState) -> None:
    old, kept, wheel = key(package("a"), "0"), key(package("a")), key(package("b"), "0")
    state.add_items([old, kept])
    state.finish(done(wheel), NOW)
    assert state.delete_obsolete([kept]) == 1
    assert set(state.items()) == {kept, wheel}


def write_on(path: Path, pipe: int) -> None:
    """Finish items without end, writing their number to a pipe after each."""
    with MirrorState.open(path) as state, state.lock(NOW):
        state.reset_interrupted()
        state.record_listing([package(f"p{n}") for n in range(30)], NOW)
        number = len(state.results())
        while True:
            at = key(package(f"p{number}"))
            state.add_items([at])
            state.start(at, NOW)
            state.finish(done(at), NOW)
            number += 1
            os.write(pipe, b"%d\n" % number)


def test_a_killed_writer_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    """Each child continues where the one before was killed; every item that it reported is in the state."""
    path = tmp_path / "mirror.sqlite"
    reported, ends = 0, []
    for turn in range(KILLS):
        ours, childs = os.pipe()
        if (child := os.fork()) == 0:
            try:
                killed.killed_at(1 + turn * 7)  # the first of them while they make and open it
                write_on(path, childs)
            finally:
                os._exit(1)
        os.close(childs)
        with os.fdopen(ours) as pipe:
            ends.append(os.WTERMSIG(os.waitpid(child, 0)[1]))
            reported = max([reported, *map(int, pipe.read().split())])
        with MirrorState.open(path) as state, state.lock(NOW):
            assert len(state.results()) >= reported
            assert state.due(list(state.results()), NOW) == []
    assert ends == [signal.SIGKILL] * KILLS
    assert reported >= KILLS


def test_a_state_is_locked_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "mirror.sqlite"
    code = """if True:
        import signal, sys
        from conda2wheel.mirror.state.mirror_state import MirrorState
        with MirrorState.open(sys.argv[1]).lock(1.8e9):
            print(flush=True)
            signal.pause()
    """
    first = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        first.stdout.readline()
        with MirrorState.open(path) as second:
            with pytest.raises(Failed) as caught, second.lock(NOW):
                pass
            assert caught.value.code == "busy"
            assert f"process {first.pid} on " in caught.value.message
            assert "since 2027-01-15 08:00:00 UTC" in caught.value.message
            assert second.packages() == []  # reading is allowed
            first.kill()
            first.wait()
            with second.lock(NOW):
                pass
            with second.lock(NOW):
                pass
    finally:
        first.kill()
        first.wait()


def damage_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)


def drop_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE item")


BROKEN: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"this is no database " * 400),
    "cut": lambda path: os.truncate(path, 5000),
    "a page": damage_page,
    "a table": drop_table,
    "the header": lambda path: path.write_bytes(b"\0" * 100 + path.read_bytes()[100:]),
}


def filled(path: Path, number: int = 60) -> dict[str, Any]:
    with MirrorState.open(path) as state:
        packages = [package(f"p{n}") for n in range(number)]
        state.record_listing(packages, NOW)
        for each in packages[:-2]:
            state.finish(done(key(each)), NOW)
        state.finish(failed(key(packages[-2])), NOW)
        return json.loads(json.dumps(state.manifest()))  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_file_is_recognised_kept_and_rebuilt(how: str, tmp_path: Path) -> None:
    path = tmp_path / "mirror.sqlite"
    manifest = filled(path)
    BROKEN[how](path)
    broken = path.read_bytes()
    with pytest.raises(StateCorruptedError) as caught:
        MirrorState.open(path)
    assert str(path) in caught.value.message
    with MirrorState.rebuild(path, manifest) as state:
        assert state.manifest() == manifest
        assert state.record_listing([package(f"p{n}") for n in range(60)], NOW) == ChannelChanges()
        assert state.due([key(package("p0")), key(package("p58")), key(package("p59"))], NOW) == [key(package("p59"))]
    assert (tmp_path / "mirror.sqlite.broken-1").read_bytes() == broken
    path.write_bytes(b"again")
    MirrorState.rebuild(path, None).close()
    assert (tmp_path / "mirror.sqlite.broken-2").read_bytes() == b"again"


def test_an_invalid_manifest_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mirror.sqlite"
    filled(path)
    for manifest in ({}, {"schema": 1, "packages": [{}], "items": []}, {"schema": 9}):
        with pytest.raises(Failed, match="the manifest holds no state"):
            MirrorState.rebuild(path, manifest)
    with MirrorState.open(path) as state:
        assert len(state.packages()) == 60


def test_files_of_other_programs_and_newer_versions_are_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "mirror.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (x)")
    with pytest.raises(Failed, match="another program") as caught:
        MirrorState.open(path)
    assert not isinstance(caught.value, StateCorruptedError)
    other = tmp_path / "newer.sqlite"
    MirrorState.open(other).close()
    with closing(sqlite3.connect(other)) as db:
        db.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    with pytest.raises(Failed, match="newer conda2wheel"):
        MirrorState.open(other)


def test_a_state_of_every_older_version_is_migrated(tmp_path: Path) -> None:
    for version in range(1, database.VERSION):
        path = tmp_path / f"{version}.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            database.migrate(db, version)
        filled(path)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        database.migrate(db)
        database.migrate(db)  # a second time changes nothing
        assert db.execute("PRAGMA user_version").fetchone() == (database.VERSION,)


def configured(path: Path, store: str = "public", more: str = "", channel: str = "https://example.org/c") -> MirrorConfig:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'[channel]\nurls = ["{channel}"]\n[output]\nstore = "{store}"\n{more}', encoding="utf-8")
    return load(path)


def is_own(config: MirrorConfig) -> bool:
    try:
        open_state(config, record=True).close()
    except Failed:
        return False
    return True


def test_a_state_is_that_of_one_configuration(tmp_path: Path) -> None:
    """Files of other names may use it if they make the same index, or if the one that used it is gone or has another state."""
    with closing(sqlite3.connect(tmp_path / "mirror.sqlite", isolation_level=None)) as db:
        database.migrate(db, 3)  # of a version that did not record whose it is
    first = configured(tmp_path / "first.toml")
    open_state(first).close()
    assert is_own(first)
    others = {
        "[output] store": configured(tmp_path / "b.toml", "elsewhere"),
        "[channel] urls": configured(tmp_path / "c.toml", channel="https://example.org/d"),
        "[channel] platforms": configured(tmp_path / "d.toml", channel='https://example.org/c"]\nplatforms = ["0.29'),
        "[select]": configured(tmp_path / "e.toml", more="[select]\nbuilds = 2\n"),
        "[convert]": configured(tmp_path / "f.toml", more='[convert]\ntags = "pep783"\n'),
        "[share]": configured(tmp_path / "g.toml", more='[share]\nlibraries = "auto"\n'),
    }
    for setting, other in others.items():
        with pytest.raises(Failed) as caught:
            open_state(other)
        assert caught.value.message == (f"{other.path}: mirror.sqlite is the state of {first.path}, which has another {setting}")
        assert caught.value.hint == "give each configuration a [state] path of its own"
    assert is_own(configured(tmp_path / "service.toml", more="[work]\nworkers = 1\n"))
    assert not is_own(others["[select]"])
    assert is_own(configured(tmp_path / "service.toml", "edited"))
    assert not is_own(first)
    configured(tmp_path / "service.toml", more='[state]\npath = "service.sqlite"\n')
    assert is_own(first)
    first.path.rename(tmp_path / "renamed.toml")
    assert is_own(configured(tmp_path / "renamed.toml", "as new"))
    tmp_path.joinpath("renamed.toml").write_text("[nothing")
    assert is_own(others["[select]"])


def test_a_mirror_is_moved_with_its_state(tmp_path: Path) -> None:
    assert is_own(configured(tmp_path / "old" / "mirror.toml"))
    tmp_path.joinpath("old").rename(tmp_path / "new")
    assert is_own(load(tmp_path / "new" / "mirror.toml"))
    assert not is_own(configured(tmp_path / "new" / "other.toml", "elsewhere"))


def test_a_state_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed) as caught:
        MirrorState.open(tmp_path / "file" / "mirror.sqlite")
    assert caught.value.code == "disk"


def test_a_state_that_many_open_at_once_is_made_once(tmp_path: Path) -> None:
    """Of 60 files that eight threads opened, 2 were taken for another program's while one of them made the tables."""

    def use(path: Path) -> int:
        barrier.wait()
        with closing(database.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])

    barrier = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        for number in range(15):
            assert list(pool.map(use, [tmp_path / f"{number}.sqlite"] * 8)) == [0] * 8


def test_a_state_that_is_busy_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    faults = [busy, busy]
    connect = sqlite3.connect

    def sometimes(*arguments: Any, **options: Any) -> sqlite3.Connection:
        if faults:
            raise faults.pop()
        connection: sqlite3.Connection = connect(*arguments, **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", sometimes)
    database.connect(tmp_path / "state.sqlite").close()
    assert faults == []
