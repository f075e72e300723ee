"""What a report takes from the state of a mirror, and what it leaves there for the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from conda2wheel.mirror.report.model import MirrorReport, ReportItem, RunSummary
from conda2wheel.mirror.state.mirror_state import MirrorItem, MirrorRun
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, ResultStatus

_WAS: dict[str, ResultStatus | None] = {
    "done": "done",
    "refused": "refused",
    "failed": "failed",
    "quarantined": "failed",
    "pending": None,
}


def report_items(
    packages: Mapping[ItemKey, ChannelPackage],
    status: Mapping[ItemKey, MirrorItem],
    results: Mapping[ItemKey, ItemResult],
    chosen: Mapping[ItemKey, ItemResult],
    *,
    before: Mapping[ItemKey, MirrorItem] | None = None,
    worked: Collection[ItemKey] = (),
    yanked: Mapping[str, str] | None = None,
) -> list[ReportItem]:
    """The items of a report: of each key that is wanted now, with its package.

    `status` is `MirrorState.items()`, `results` is `MirrorState.results()`, `chosen` is `MirrorState.results(keys)`, which
    has the wheels that
    stay though a later conversion failed; `before` is `MirrorState.items()` of before the run (None: there was no run);
    `yanked` has
    reasons by the file name of a wheel.
    """
    earlier = before or {}
    once = {(key.package, key.platform) for key, item in earlier.items() if item.status == "done"}
    found = []
    for key, package in packages.items():
        stands = status.get(key)
        done = results.get(key) if stands is not None and stands.status != "pending" else None
        stays = chosen.get(key)
        wheel = stays.wheel if stays is not None and (done is None or done.wheel is None) else None
        held = wheel or (done.wheel if done is not None else None)
        was: ResultStatus | None = _WAS[earlier[key].status] if key in earlier else None
        if was is None and (key.package, key.platform) in once:  # by another converter, or with other options
            was = "done"
        found.append(
            ReportItem(
                package=package,
                done=done,
                worked=key in worked,
                was=was,
                attempts=stands.attempts if stands is not None else 0,
                quarantined=stands is not None and stands.status == "quarantined",
                yanked=(yanked or {}).get(held.filename) if held is not None else None,
                kept=wheel,
            )
        )
    return found


def run_counts(report: MirrorReport) -> dict[str, Any]:
    """What `MirrorState.end_run` shall keep of a run, so that `history` can tell it to later reports."""
    worked = 0 if report.run is None else report.run.worked
    return {**report.counts, "worked": worked, "generation": report.generation}


def history(runs: Iterable[MirrorRun]) -> list[RunSummary]:
    """Earlier runs (`MirrorState.runs()`) as a report has them, oldest first; without those that never ended."""
    found = []
    for run in sorted(runs, key=lambda run: run.number):
        if run.seconds is not None:
            counts = dict(run.counts)
            worked, generation = counts.pop("worked", 0), counts.pop("generation", None)
            found.append(RunSummary(run.started, run.seconds, worked, counts, generation))
    return found
