"""What a report takes from the state of a mirror, and what it leaves there for the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from conda2wheel.mirror.report.model import Item, Report, Run
from conda2wheel.mirror.state import mirror_state as state
from conda2wheel.mirror.state.model import Done, Key, Package, Status

_WAS: dict[str, Status | None] = {
    "done": "done",
    "refused": "refused",
    "failed": "failed",
    "quarantined": "failed",
    "pending": None,
}


def report_items(
    packages: Mapping[Key, Package],
    standing: Mapping[Key, state.Item],
    results: Mapping[Key, Done],
    chosen: Mapping[Key, Done],
    *,
    before: Mapping[Key, state.Item] | None = None,
    worked: Collection[Key] = (),
    yanked: Mapping[str, str] | None = None,
) -> list[Item]:
    """The items of a report: of each key that is wanted now, with its package.

    `standing` is `State.items()`, `results` is `State.results()`, `chosen` is `State.results(keys)`, which has the wheels that
    stay though a later conversion failed; `before` is `State.items()` of before the run (None: there was no run); `yanked` has
    reasons by the file name of a wheel.
    """
    earlier = before or {}
    once = {(key.package, key.platform) for key, item in earlier.items() if item.standing == "done"}
    found = []
    for key, package in packages.items():
        stands = standing.get(key)
        done = results.get(key) if stands is not None and stands.standing != "pending" else None
        stays = chosen.get(key)
        wheel = stays.wheel if stays is not None and (done is None or done.wheel is None) else None
        held = wheel or (done.wheel if done is not None else None)
        was: Status | None = _WAS[earlier[key].standing] if key in earlier else None
        if was is None and (key.package, key.platform) in once:  # by another converter, or with other options
            was = "done"
        found.append(
            Item(
                package=package,
                done=done,
                worked=key in worked,
                was=was,
                attempts=stands.attempts if stands is not None else 0,
                quarantined=stands is not None and stands.standing == "quarantined",
                yanked=(yanked or {}).get(held.filename) if held is not None else None,
                kept=wheel,
            )
        )
    return found


def run_counts(report: Report) -> dict[str, Any]:
    """What `State.end_run` shall keep of a run, so that `history` can tell it to later reports."""
    worked = 0 if report.run is None else report.run.worked
    return {**report.counts, "worked": worked, "generation": report.generation}


def history(runs: Iterable[state.Run]) -> list[Run]:
    """Earlier runs (`State.runs()`) as a report has them, oldest first; without those that never ended."""
    found = []
    for run in sorted(runs, key=lambda run: run.number):
        if run.seconds is not None:
            counts = dict(run.counts)
            worked, generation = counts.pop("worked", 0), counts.pop("generation", None)
            found.append(Run(run.started, run.seconds, worked, counts, generation))
    return found
