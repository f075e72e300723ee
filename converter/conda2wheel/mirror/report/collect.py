"""Collect a report's items and history from the mirror's state, and what the state records of a run for later reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from conda2wheel.mirror.report.model import MirrorReport, ReportItem, RunSummary
from conda2wheel.mirror.state.mirror_state import ItemStatus, MirrorItem, MirrorRun
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, ResultStatus

_RESULT_STATUS: dict[ItemStatus, ResultStatus | None] = {
    "done": "done",
    "refused": "refused",
    "failed": "failed",
    "quarantined": "failed",
    "pending": None,
}


def report_items(
    packages: Mapping[ItemKey, ChannelPackage],
    items: Mapping[ItemKey, MirrorItem],
    results: Mapping[ItemKey, ItemResult],
    published: Mapping[ItemKey, ItemResult],
    *,
    before: Mapping[ItemKey, MirrorItem] | None = None,
    worked: Collection[ItemKey] = (),
    yanked: Mapping[str, str] | None = None,
) -> list[ReportItem]:
    """Make a report's items.

    Args:
        packages: the wanted items (`MirrorPlan.wanted`).
        items: `MirrorState.items()`.
        results: `MirrorState.results()`.
        published: `MirrorState.results(packages)`, which includes older wheels that stay though a later conversion failed.
        before: `MirrorState.items()` before the run; None without a run.
        worked: the items that the run worked on.
        yanked: why wheels are yanked, by file name.
    """
    earlier = before or {}
    judged_before: dict[tuple[str, str], ResultStatus] = {}  # by another converter, or with other options
    for key, before_item in earlier.items():
        if before_item.status == "done" or (before_item.status == "refused" and (key.package, key.platform) not in judged_before):
            judged_before[key.package, key.platform] = before_item.status
    found = []
    for key, package in packages.items():
        item = items.get(key)
        result = results.get(key) if item is not None and item.status != "pending" else None
        has_wheel = result is not None and result.wheel is not None
        older_wheel = published[key].wheel if key in published and not has_wheel else None
        wheel = older_wheel or (result.wheel if result is not None else None)
        previous_status = _RESULT_STATUS[earlier[key].status] if key in earlier else None
        previous_status = previous_status or judged_before.get((key.package, key.platform))
        found.append(
            ReportItem(
                package=package,
                result=result,
                worked=key in worked,
                previous_status=previous_status,
                attempts=item.attempts if item is not None else 0,
                quarantined=item is not None and item.status == "quarantined",
                yanked=(yanked or {}).get(wheel.filename) if wheel is not None else None,
                older_wheel=older_wheel,
                libraries=published[key].libraries if key in published else (),
            )
        )
    return found


def run_counts(report: MirrorReport) -> dict[str, Any]:
    """The counts of a run that `MirrorState.end_run` records, for `run_history`."""
    worked = 0 if report.run is None else report.run.worked
    return {**report.counts, "worked": worked, "generation": report.generation}


def run_history(runs: Iterable[MirrorRun]) -> list[RunSummary]:
    """Summarise recorded runs (`MirrorState.runs()`), oldest first, without those that were killed."""
    found = []
    for run in sorted(runs, key=lambda run: run.number):
        if run.seconds is not None:
            counts = dict(run.counts)
            worked, generation = counts.pop("worked", 0), counts.pop("generation", None)
            found.append(RunSummary(run.started, run.seconds, worked, counts, generation))
    return found
