"""Runs of a mirror: changes of its channel, the resulting index, and the work done."""

from __future__ import annotations

import bz2
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel import Failed
from conda2wheel.mirror import operations
from conda2wheel.mirror.config import load
from tests.helpers import conda, killed, sets, zig
from tests.helpers.mirror_index import served as pages
from tests.helpers.mirror_runs import Mirror, small_mirror
from tests.helpers.served import serve
from tests.helpers.systems import HAS_LINKS
from tests.unit.link.test_linker import python

RUN = [sys.executable, "-m", "conda2wheel", "mirror", "run", "--workers", "2"]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with small_mirror(tmp_path) as made:
        yield made


def test_the_first_run_converts_everything_and_the_second_requests_only_the_listing(mirror: Mirror) -> None:
    first = mirror.run()
    assert first.exit_status == 0, first.attention
    assert (first.counts["done"], first.counts["refused"], first.counts["pending"]) == (4, 2, 0)
    assert sorted(first.refused) == ["not-python", "static-library"]
    assert len(mirror.channel.asked("*/numpy-*")) == 1
    assert mirror.files("one") == {"one-1.0-py3-none-any.whl": False}
    assert json.loads(mirror.store.get("report/report.json") or b"")["generation"] == first.generation
    assert "numpy" in (mirror.store.get("pyodide-lock-pyemscripten_2025_0.json") or b"").decode()

    generations = mirror.store.folders("generations")
    second = mirror.run()
    assert second.run is not None
    assert (second.run.worked, second.generation, second.exit_status) == (0, first.generation, 0)
    assert mirror.channel.asked() != mirror.requested_packages() == []
    assert mirror.store.folders("generations") == generations


def test_an_upload_that_is_damaged_is_named_in_the_report_and_needs_attention(mirror: Mirror) -> None:
    mirror.configure('[share]\nlibraries = ["nothere"]\n')
    assert mirror.run().notes == ("[share] libraries: no channel has a package nothere",)
    assert "[share] libraries: no channel has a package nothere" in mirror.logged
    damaged = mirror.folder / "torn-1.0-pyh1234567_0.tar.bz2"
    damaged.write_bytes(bz2.compress(bz2.decompress(sets.pure("torn").read_bytes())[:-2000]))
    mirror.add(damaged)
    report = mirror.run()
    assert [reason for reason in report.attention if "torn-1.0" in reason]
    written = (mirror.store.get("report/report.txt") or b"").decode()
    assert "noarch/torn-1.0-pyh1234567_0" in written.partition("Newly refused")[2]
    assert mirror.run().exit_status == 0


def test_a_build_that_was_replaced_is_counted_in_one_run_only(mirror: Mirror) -> None:
    mirror.configure("[select]\nbuilds = 2\n")
    mirror.run()
    newer = conda.repack(sets.pure("one"), {"site-packages/one/more.py": "x = 2\n"}, name="one-1.0-pyh1234567_1.tar.bz2")
    mirror.add(conda.edit(newer, "info/index.json", lambda index: {**index, "build": "pyh1234567_1", "build_number": 1}))
    assert [each.build for each in mirror.run().changes["replaced"]] == ["pyh1234567_0"]
    assert not mirror.run().changes["replaced"]


def test_a_wheel_for_several_platforms_is_in_the_lock_file_of_each(tmp_path: Path) -> None:
    both = "pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32"
    module = zig.side_module("_x", zig.extension("_x", {"answer": zig.integer("42")}))
    stable = python({"stable/__init__.py": "", "stable/_x.abi3.so": module}, name="stable")
    exact = python({"exact/__init__.py": "", f"exact/_x{zig.suffix('313')}": module}, name="exact")
    sets.indexed(tmp_path / "channel", [stable, exact])
    with serve(tmp_path / "channel", prefix="/forge") as channel:
        mirror = Mirror(tmp_path, channel)
        mirror.path.write_text(mirror.path.read_text().replace("[channel]\n", f'[channel]\nplatforms = ["{both}"]\n'))
        report = mirror.run()
        index = mirror.index()
    assert mirror.files("stable") == {f"stable-1.0-cp313-abi3-{both}.pyodide_2025_0_wasm32.whl": False}
    locks = {name: list(json.loads(data)["packages"]) for name, data in index.items() if name.startswith("pyodide-lock")}
    assert locks == {f"pyodide-lock-pyemscripten_{year}_0.json": ["stable"] for year in (2025, 2026)}
    refused = {item.package.name: item.result.code for item in report.items if item.result and item.result.status == "refused"}
    assert refused == {"exact": "abi-conflict"}


def test_a_flat_mirror_has_real_files_alone_and_whole_addresses(mirror: Mirror) -> None:
    linked = mirror.run().generation
    public = mirror.folder / "public"
    assert public.joinpath("simple").is_symlink() == HAS_LINKS
    mirror.configure('flat = true\nurl = "https://me.example.org/w/"\n')
    flat = mirror.run().generation
    assert flat != linked
    assert [path for path in public.rglob("*") if path.is_symlink()] == []
    locks = {path.name for path in public.glob("pyodide-lock-*")}
    found = {path.name for path in public.iterdir()} - {".conda2wheel.lock"}
    assert found == {".nojekyll", "blobs", "report", "simple", *locks}
    assert mirror.store.folders("generations")[0].startswith("000001-")
    page = json.loads((public / "simple/one/index.json").read_text())
    (file,) = page["files"]
    assert file["url"].startswith("https://me.example.org/w/blobs/")
    assert (public / file["url"].removeprefix("https://me.example.org/w/")).stat().st_size == file["size"]
    before = {path: path.stat().st_mtime_ns for path in (public / "simple").rglob("*")}
    assert mirror.run().generation == flat
    assert {path: path.stat().st_mtime_ns for path in (public / "simple").rglob("*")} == before
    mirror.remove("one-*")
    mirror.run()
    assert str(mirror.files("one")[file["filename"]]).startswith("no longer in")


def test_one_changed_package_among_many_is_one_conversion(mirror: Mirror) -> None:
    mirror.run()
    before = dict(pages(mirror.store))
    mirror.add(sets.pure("two", "1.0", requires=["one"]))
    report = mirror.run()
    assert report.run is not None
    assert (report.run.worked, [each.name for each in report.changes["changed"]]) == (1, ["two"])
    assert mirror.requested_packages() == mirror.channel.asked("*/two-1.0-*") != []
    after = pages(mirror.store)
    assert {path for path in before if before[path] != after[path]} == {"simple/two/index.html", "simple/two/index.json"}


def test_a_repodata_patch_is_reported_and_converts_nothing(mirror: Mirror) -> None:
    mirror.run()
    for path in mirror.channel.root.glob("noarch/repodata.json"):
        document = json.loads(path.read_text())
        for each in document["packages"].values():
            each["license"] = "other"
        for other in path.parent.glob("repodata*"):
            other.unlink()
        path.write_text(json.dumps(document))
    report = mirror.run()
    assert report.run is not None
    assert (len(report.changes["patched"]), report.run.worked, mirror.requested_packages()) == (3, 0, [])


def test_a_vanished_package_is_yanked_then_removed_and_may_be_listed_again(mirror: Mirror) -> None:
    mirror.run()
    mirror.remove("two-*")
    report = mirror.run()
    assert [each.name for each in report.changes["vanished"]] == [each.name for each in report.changes["yanked"]] == ["two"]
    assert mirror.files("two") == {"two-1.0-py3-none-any.whl": f"no longer in {mirror.channel.url}"}
    mirror.add(sets.pure("two"))
    assert [each.name for each in mirror.run().changes["back"]] == ["two"]
    assert mirror.requested_packages() == []
    assert mirror.files("two") == {"two-1.0-py3-none-any.whl": False}
    mirror.remove("two-*")
    for _ in range(4):  # grace is three days
        assert "simple/two/index.html" in pages(mirror.store)
        mirror.run()
    assert "simple/two/index.html" in pages(mirror.store)
    mirror.run()
    assert "simple/two/index.html" not in pages(mirror.store)


def test_a_channel_that_lists_next_to_nothing_yanks_nothing(mirror: Mirror) -> None:
    mirror.add(*(sets.pure(f"pure-{number}") for number in range(12)))
    mirror.run()
    before = mirror.index()
    mirror.remove("pure-*")
    report = mirror.run()
    assert report.exit_status == 1
    assert "12 of its 18 packages are no longer listed; nothing was changed" in (report.problem or "")
    assert mirror.index() == before
    assert len(mirror.run(accept_vanished=True).changes["yanked"]) == 12


def test_a_failed_package_stops_no_other_is_reported_once_and_tried_again(mirror: Mirror) -> None:
    mirror.channel.fault("*/two-*", status=404)
    report = mirror.run()
    assert (report.exit_status, list(report.failed), report.counts["done"]) == (1, ["not-found"], 3)
    assert report.generation is not None
    mirror.day -= 1  # the same day again: the item waits
    assert mirror.run().exit_status == 0
    assert mirror.requested_packages() == []
    assert [task for task, _, _ in operations.status(load(mirror.path)).waiting] == ["noarch/two-1.0-pyh1234567_0"]
    assert operations.retry(load(mirror.path), "two") == ["noarch/two-1.0-pyh1234567_0"]
    mirror.channel.heal()
    mirror.day -= 1
    assert mirror.run().counts["done"] == 4
    assert mirror.requested_packages() == mirror.channel.asked("*/two-*")


def test_a_newer_build_that_cannot_be_downloaded_leaves_the_older_wheel(mirror: Mirror) -> None:
    mirror.run()
    mirror.add(sets.pure("two", "1.0", requires=["one"]))
    mirror.channel.fault("*/two-*", status=404)
    mirror.run()
    assert mirror.files("two") == {"two-1.0-py3-none-any.whl": False}
    mirror.channel.heal()
    assert mirror.run().counts["done"] == 4
    assert "one" in (mirror.store.get("pyodide-lock-pyemscripten_2025_0.json") or b"").decode()


def test_a_channel_that_does_not_answer_changes_nothing_and_is_reported(mirror: Mirror) -> None:
    first, before = mirror.run(), mirror.index()
    mirror.channel.fault("*", status=403)
    report = mirror.run()
    assert (report.exit_status, report.generation) == (1, first.generation)
    assert "cannot read" in (report.problem or "")
    assert report.counts == first.counts
    assert mirror.index() == before
    mirror.channel.heal()
    assert mirror.run().changes["vanished"] == ()


def test_a_store_that_refuses_writes_costs_no_attempts(mirror: Mirror) -> None:
    public = mirror.folder / "public"
    public.write_text("in the way")
    with pytest.raises(Failed, match="Not a directory"):  # without a state, the store must be read
        mirror.run()
    public.unlink()
    mirror.run(limit=0, publish=False)
    public.rmdir()
    public.write_text("in the way")
    report = mirror.run()
    assert (report.exit_status, mirror.requested_packages(), report.counts["failed"]) == (1, [], 0)
    assert (report.problem or "").startswith("store: cannot write")
    public.unlink()
    assert mirror.run().exit_status == 0


@pytest.mark.parametrize("how", ["garbage", "half", "lost"])
def test_a_broken_or_lost_state_is_rebuilt_from_the_index(mirror: Mirror, how: str) -> None:
    mirror.run()
    before, state = mirror.index(), mirror.folder / "mirror.sqlite"
    data = state.read_bytes()
    if how == "lost":
        state.unlink()
    else:
        state.write_bytes(b"nothing of the kind" * 999 if how == "garbage" else data[: len(data) // 2 // 4096 * 4096])
    report = mirror.run()
    assert report.exit_status == 0, report.attention
    assert (mirror.requested_packages(), mirror.index()) == ([], before)
    assert any("rebuilt from generation" in line for line in mirror.logged)
    assert (mirror.folder / "mirror.sqlite.broken-1").exists() == (how != "lost")


def test_a_wheel_that_is_missing_in_the_store_is_converted_again(mirror: Mirror) -> None:
    mirror.run()
    before = mirror.index()
    [wheel] = [meta.path for meta in mirror.store.list("blobs") if meta.path.endswith("two-1.0-py3-none-any.whl")]
    mirror.store.delete([wheel])
    assert mirror.run().run.worked == 1  # type: ignore[union-attr]
    assert mirror.store.head(wheel) is not None
    assert mirror.index() == before


def test_other_options_convert_everything_again_and_a_wider_selection_only_new_packages(mirror: Mirror) -> None:
    mirror.configure('[select]\nexclude = ["three"]\n')
    assert mirror.run().counts["packages"] == 5
    mirror.configure()
    assert mirror.run().run.worked == 1  # type: ignore[union-attr]
    mirror.configure("[convert]\nlevel = 1\n")
    assert mirror.run().counts["done"] == 4
    assert mirror.files("one") == {"one-1.0-py3-none-any.whl": False}


def test_packages_that_are_no_longer_selected_are_yanked_with_the_reason(mirror: Mirror) -> None:
    mirror.run()
    mirror.configure('[select]\nexclude = ["three"]\n')
    mirror.run()
    assert mirror.files("three") == {"three-1.0-py3-none-any.whl": "no longer mirrored: excluded"}


def test_a_rollback_stays_until_another_index_is_published(mirror: Mirror) -> None:
    first = mirror.run()
    mirror.add(sets.pure("four"))
    second = mirror.run()
    config = load(mirror.path)
    assert [each["current"] for each in operations.list_generations(config)] == [False, True]
    assert operations.roll_back(config, str(first.generation)) == first.generation
    assert mirror.run().generation == first.generation != second.generation
    mirror.add(sets.pure("five"))
    mirror.run()
    assert {"simple/four/index.html", "simple/five/index.html"} <= pages(mirror.store).keys()
    assert operations.collect_garbage(config).generations == ()  # all are younger than grace


def test_a_limit_takes_the_first_and_the_next_run_the_rest(mirror: Mirror) -> None:
    first = mirror.run(limit=1, publish=False)
    assert (first.counts["done"] + first.counts["refused"], first.generation) == (2, None)  # one of them refused by its name
    assert operations.republish(load(mirror.path)).new
    assert mirror.run().counts["pending"] == 0


class _Hook(http.server.BaseHTTPRequestHandler):
    got: list[bytes]
    status: int

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_command_and_the_webhook_get_the_report_and_may_fail(mirror: Mirror) -> None:
    handler = type("Hook", (_Hook,), {"got": [], "status": 200})
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = "import os, sys; open('report', 'w').write(os.environ['CONDA2WHEEL_STATUS'] + sys.stdin.read()); sys.exit(3)"
    command = json.dumps([sys.executable, "-c", f"import os; os.chdir({str(mirror.folder)!r}); {script}"])
    hook = f"http://127.0.0.1:{server.server_port}/hook"
    mirror.configure(f'[notify]\ncommand = {command}\nwebhook = "{hook}"\nwhen = "always"\nmetrics = "m.prom"\n')
    try:
        assert mirror.run().exit_status == 0
        assert mirror.logged == [f"[notify] command: {sys.executable} ended with 3"]
        document = (mirror.folder / "report").read_text()
        assert document[0] == "0"
        assert len(json.loads(document[1:])["items"]) == 6
        [posted] = map(json.loads, handler.got)  # type: ignore[attr-defined]
        assert (posted["counts"]["done"], "items" in posted) == (4, False)
        assert "conda2wheel_mirror_look 0" in (mirror.folder / "m.prom").read_text()
        handler.status = 500  # type: ignore[attr-defined]
        assert mirror.run().exit_status == 0
        assert mirror.logged[-1] == f"[notify] webhook: {hook.removesuffix('/hook')} answered 500"
    finally:
        server.shutdown()
        server.server_close()


def test_a_second_concurrent_run_is_busy(mirror: Mirror) -> None:
    with (
        mirror.channel.hold("*/two-*") as held,
        subprocess.Popen([*RUN, mirror.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first,
    ):
        held.arrived(first)
        second = subprocess.run([*RUN, mirror.path], capture_output=True, text=True, check=False)
        busy = operations.status(load(mirror.path)).busy
        held.free()
        assert first.wait() == 0
    assert second.returncode == 1
    assert f"busy: {mirror.folder / 'mirror.sqlite'}: process {first.pid} on" in second.stderr
    assert busy is not None
    assert f"process {first.pid} " in busy
    assert operations.status(load(mirror.path)).busy is None


def test_a_signal_lets_running_items_end_and_the_next_run_continues(mirror: Mirror) -> None:
    command = [*RUN[:-1], "1", str(mirror.path)]
    with (
        mirror.channel.hold("*/numpy-*") as held,  # the largest comes first
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stopped,
    ):
        held.arrived(stopped)
        stopped.send_signal(signal.SIGTERM)
        held.free()
        out, err = stopped.communicate()
    assert stopped.returncode == 1
    assert "stopped by a signal" in out, err
    mirror.channel.heal()
    report = mirror.run()
    assert mirror.channel.asked("*/numpy-*") == []
    assert report.counts["done"] == 4


# How many packages a run gets before it waits for another one and is killed. Five are wanted at first.
DOWNLOADS_BEFORE_A_KILL = (0, 2, 1)
STEPS_BEFORE_WHICH_IT_IS_KILLED = (
    ("*/generations/*/index.json", 3),
    ("*/public/current.json", 1),
    ("*/public/simple", 1),
    ("*/public/lock.json", 2),  # to let it go
    ("*/report.json", 1),
)


@pytest.mark.parametrize(
    ("downloads", "steps"),
    [
        (DOWNLOADS_BEFORE_A_KILL[1:2], STEPS_BEFORE_WHICH_IT_IS_KILLED[:2]),
        pytest.param(DOWNLOADS_BEFORE_A_KILL, STEPS_BEFORE_WHICH_IT_IS_KILLED, marks=pytest.mark.long),
    ],
    ids=["thrice", "often"],
)
def test_killed_runs_lead_to_the_same_index(
    downloads: tuple[int, ...],
    steps: tuple[tuple[str, int], ...],
    mirror: Mirror,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not hasattr(os, "killpg"):
        pytest.skip("needs os.killpg")  # before a run is held that nothing ends
    undisturbed = Mirror(tmp_path_factory.mktemp("undisturbed"), mirror.channel)
    undisturbed.run()
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(mirror.folder / "cache"))  # it downloads for itself
    for pattern, after in [("*repodata*", 0), *(("*.tar.bz2", number) for number in downloads)]:
        with (
            mirror.channel.hold(pattern, after=after) as held,
            subprocess.Popen([*RUN, mirror.path], stderr=subprocess.DEVNULL, start_new_session=True) as process,
        ):
            held.arrived(process)
            os.killpg(process.pid, signal.SIGKILL)  # with its workers, which would continue for a moment
        assert process.returncode == -signal.SIGKILL
    for pattern, number in steps:
        ended = subprocess.run(
            killed.command(number, pattern, *RUN[2:], mirror.path), capture_output=True, text=True, check=False
        )
        assert ended.returncode == -signal.SIGKILL, f"{pattern}: {ended.stderr}"
    assert mirror.run().exit_status == 0
    assert mirror.requested_packages() == []
    assert mirror.index() == undisturbed.index()


def test_a_state_that_cannot_be_created_is_an_error(mirror: Mirror) -> None:
    mirror.configure('[state]\npath = "mirror.toml/state"\n')
    with pytest.raises(Failed) as failed:
        mirror.run()
    assert failed.value.code == "disk"
