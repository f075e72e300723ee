"""Reports collected from a real state, with older wheels that stay and earlier runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from conda2wheel.mirror.report.collect import report_items, run_counts, run_history
from conda2wheel.mirror.report.model import MirrorReport
from conda2wheel.mirror.state.mirror_state import MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult
from tests.helpers import mirror_reports as reports


def key_of(package: ChannelPackage, converter: str = "0.1.0") -> ItemKey:
    return replace(reports.done(package).key, converter=converter)


def finish(state: MirrorState, key: ItemKey, done: ItemResult, now: float) -> None:
    state.add_items([key])
    state.start(key, now)
    state.finish(replace(done, key=key), now)


def test_a_report_has_the_results_of_the_state_and_older_wheels(tmp_path: Path) -> None:
    good, bad, old, new = (reports.package(name) for name in ("good", "bad", "old", "new"))
    with MirrorState.open(tmp_path / "state.sqlite") as state:
        state.record_listing([good, bad, old], 1.0)
        made = reports.done(old, wheel=reports.wheel("old"))
        finish(state, key_of(old, "0.0.9"), made, 2.0)
        before = state.items()
        packages = {key_of(package): package for package in (good, bad, old, new)}
        finish(state, key_of(good), reports.done(good, wheel=reports.wheel("good")), 3.0)
        finish(state, key_of(bad), reports.done(bad, "refused", "metapackage", message="empty"), 3.0)
        finish(state, key_of(old), reports.done(old, "failed", "crash", message="signal 11"), 3.0)
        found = report_items(
            packages,
            state.items(),
            state.results(),
            state.results(packages),
            before=before,
            worked={key_of(good), key_of(bad), key_of(old)},
            yanked={reports.wheel("good").filename: "gone"},
        )
        by_name = {item.package.name: item for item in found}
    assert [(item.status, item.previous_status, item.worked) for item in found] == [
        ("done", None, True),
        ("refused", None, True),
        ("failed", "done", True),
        ("pending", None, False),
    ]
    assert by_name["good"].yanked == "gone"
    assert (by_name["old"].attempts, by_name["old"].older_wheel) == (1, reports.wheel("old"))
    report = reports.report(found)
    assert (report.counts["failed"], report.counts["wheels"]) == (1, 2)  # failed, but in the index
    assert report.attention == ("1 failed, and had not failed before: emscripten-wasm32/old-1.0-py313h0_0",)


def test_the_next_report_has_the_counts_of_the_run_before(tmp_path: Path) -> None:
    first: MirrorReport = reports.report([reports.item("a")], generation="000001-00000000")
    with MirrorState.open(tmp_path / "state.sqlite") as state:
        number = state.begin_run(10.0)
        state.end_run(number, 20.0, 9.5, run_counts(first))
        state.begin_run(30.0)  # and was killed
        (run,) = run_history(state.runs())
    assert (run.started, run.seconds, run.generation) == (10.0, 9.5, "000001-00000000")
    assert dict(run.counts) == first.counts
    assert reports.report([], history=[run]).before["wheels"] == 1
