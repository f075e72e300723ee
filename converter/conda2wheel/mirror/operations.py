"""Operations on a mirror between its runs: plan, status, retry, publish, rollback, gc and the last report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed
from conda2wheel.files.escape import format_size, printable
from conda2wheel.files.writing import write_file
from conda2wheel.mirror.config import MirrorConfig, template
from conda2wheel.mirror.owner import open_state, require_own_state
from conda2wheel.mirror.plan.select import list_packages
from conda2wheel.mirror.plan.tasks import MirrorPlan, PlannedTask, make_plan
from conda2wheel.mirror.publish.generation import current, generations, read_generation
from conda2wheel.mirror.publish.publisher import PublishResult
from conda2wheel.mirror.publish.rollback import RemovedObjects, gc, rollback
from conda2wheel.mirror.report.notify import METRICS, report_folder
from conda2wheel.mirror.report.pages import ASSETS
from conda2wheel.mirror.run import plan_of_state, publish_state
from conda2wheel.mirror.state.match_specs import MatchSpecs
from conda2wheel.mirror.state.mirror_state import ItemStatus, MirrorRun
from conda2wheel.mirror.state.model import ItemKey
from conda2wheel.mirror.state.process_lock import lock_holder, process_lock
from conda2wheel.mirror.store.open import open_store

SCHEMA = 1
LISTED = 20  # of each list, where not all are requested


@dataclass(frozen=True)
class MirrorStatus:
    """The status of a mirror, without reading its channels.

    `counts` are by status and code; `waiting` are failed items as (label, class, next try in seconds since 1970), the next one
    first; `quarantined` as (label, class); `problem` is why the store cannot be read; `busy` describes the process that runs it;
    `rolled_back_from` is the generation that a rollback replaced by the current one.
    """

    counts: Mapping[tuple[ItemStatus, str | None], int]
    waiting: tuple[tuple[str, str | None, float], ...]
    quarantined: tuple[tuple[str, str | None], ...]
    generation: str | None
    problem: str | None
    busy: str | None
    last: MirrorRun | None
    rolled_back_from: str | None = None

    def json(self) -> dict[str, Any]:
        """The document of `mirror status --json`."""
        return {
            "schema": SCHEMA,
            "kind": "mirror-status",
            "counts": [{"status": status, "code": code, "items": number} for (status, code), number in self.counts.items()],
            "waiting": [{"package": label, "class": code, "next_try": moment} for label, code, moment in self.waiting],
            "quarantined": [{"package": label, "class": code} for label, code in self.quarantined],
            "generation": self.generation,
            "rolled_back_from": self.rolled_back_from,
            "problem": self.problem,
            "busy": self.busy,
            "last_run": None
            if self.last is None
            else {"started": self.last.started, "ended": self.last.ended, "seconds": self.last.seconds},
        }

    def lines(self) -> list[str]:
        """The same as lines for people."""
        lines = [f"{number:6}  {status}{f' ({code})' if code else ''}" for (status, code), number in self.counts.items()]
        lines += [f"next try {_moment(moment)}: {label} ({code})" for label, code, moment in self.waiting]
        lines += [f"quarantined: {label} ({code})" for label, code in self.quarantined]
        lines.append(f"generation: {self.generation or 'nothing is published'}" + (f" ({self.problem})" if self.problem else ""))
        if self.rolled_back_from is not None:
            lines.append(f"rolled back from {self.rolled_back_from}, which is not published again until another index was")
        if self.last is not None:
            ended = "it was killed" if self.last.ended is None else f"ended {_moment(self.last.ended)}"
            lines.append(f"last run: started {_moment(self.last.started)}, {ended}")
        return [*lines, f"running now: {self.busy or 'nothing'}"]


def init(path: Path) -> Path:
    """Write the commented configuration. Raises `Failed`: "usage" where the file exists, "disk"."""
    if path.exists():
        raise Failed("usage", f"{path}: already exists", "choose another file")
    write_file(path, lambda: iter([template().encode()]))
    return path


def plan_run(config: MirrorConfig) -> MirrorPlan:
    """Plan a run. Writes nothing. Raises `Failed` (network, unreadable, state)."""
    with open_state(config) as state:
        found = list_packages(config.channels, Downloads())
        return make_plan(found.packages, config, state, time.time(), left_out=found.left_out)


def plan_json(plan: MirrorPlan) -> dict[str, Any]:
    """The document of `mirror plan --json`."""
    return {
        "schema": SCHEMA,
        "kind": "mirror-plan",
        "items": len(plan.wanted),
        "unchanged": plan.unchanged,
        "bytes": plan.bytes,
        "to_do": [_task_json(task) for task in plan.to_do],
        "waiting": [_task_json(task) for task in plan.waiting],
        "quarantined": [_task_json(task) for task in plan.quarantined],
        "verdicts": [
            {"package": _label(plan, result.key), "code": result.code, "message": result.message} for result in plan.verdicts
        ],
        "notes": list(plan.notes),
        "left": [{"package": f"{each.subdir}/{each.stem}", "why": why} for each, why in plan.skipped],
        "changes": {
            name: [f"{each.subdir}/{each.stem}" for each in getattr(plan.changes, name)]
            for name in ("new", "changed", "patched", "vanished", "back")
        },
        "left_out_records": [each.json() for each in plan.left_out],
    }


def plan_lines(plan: MirrorPlan, every: bool = False) -> list[str]:
    """A plan as lines for people, with the beginning of each list, or with complete lists if `every`."""
    lines = [
        f"{len(plan.to_do)} to do ({format_size(plan.bytes)}), {plan.unchanged} unchanged, {len(plan.verdicts)} refused by name,"
    ]
    lines[0] += f" {len(plan.waiting)} waiting, {len(plan.quarantined)} quarantined, {len(plan.skipped)} left out"
    lines += [printable(f"note: {note}") for note in plan.notes]
    lists = (
        ("do", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.to_do]),
        ("waits", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.waiting]),
        ("quarantined", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.quarantined]),
        ("vanished", [(f"{each.subdir}/{each.stem}", "no longer in its channel") for each in plan.changes.vanished]),
        ("left out", [(f"{each.subdir}/{each.stem}", why) for each, why in plan.skipped]),
        ("cannot be used", [(f"{each.subdir}/{each.filename}", each.why) for each in plan.left_out]),
    )
    for word, rows in lists:
        listed = rows if every else rows[:LISTED]
        lines += [printable(f"{word}: {label}: {why}") for label, why in listed]
        if len(listed) < len(rows):
            lines.append(f"{word}: {len(rows) - len(listed)} more (-v)")
    return lines


def _task_json(task: PlannedTask) -> dict[str, Any]:
    return {
        "package": f"{task.package.subdir}/{task.package.stem}",
        "platform": task.key.platform,
        "why": task.why,
        "bytes": task.package.size,
    }


def _label(plan: MirrorPlan, key: ItemKey) -> str:
    package = plan.wanted[key]
    return f"{package.subdir}/{package.stem}"


def status(config: MirrorConfig) -> MirrorStatus:
    """Read the status. Raises `Failed` (state, disk)."""
    problem = generation = withdrawn = None
    try:
        pointer = current(open_store(config.output.store))
        generation = None if pointer is None else pointer.generation
        withdrawn = None if pointer is None or not pointer.withdrawn else pointer.previous
    except Failed as error:
        problem = error.message
    with open_state(config) as state:
        plan = plan_of_state(config, state, time.time())
        items = state.items()
        failed = sorted(
            (item.next_try or 0.0, f"{package.subdir}/{package.stem}", item)
            for key, package in plan.wanted.items()
            if (item := items.get(key)) is not None and item.status in ("failed", "quarantined")
        )
        runs = state.runs(1)
        return MirrorStatus(
            counts=dict(state.counts(plan.wanted)),
            waiting=tuple((label, item.code, moment) for moment, label, item in failed if item.status == "failed"),
            quarantined=tuple((label, item.code) for _, label, item in failed if item.status == "quarantined"),
            generation=generation,
            problem=problem,
            busy=lock_holder(config.state),
            last=runs[0] if runs else None,
            rolled_back_from=withdrawn,
        )


def retry(config: MirrorConfig, spec: str) -> list[str]:
    """Make items due now, "all" or those of packages that a match spec matches, and return their labels.

    Raises:
        Failed: usage, state, not-found (a match spec that matches no package that the channels have or had).
    """
    with open_state(config, record=config.state.exists()) as state:
        if spec != "all" and not any(MatchSpecs([spec]).fit([known.package for known in state.packages()])):
            hint = "conda2wheel mirror report names the packages" if config.state.exists() else "conda2wheel mirror run"
            raise Failed("not-found", f"{spec}: no package of the mirror matches it", hint)
        labels = {known.package.sha256: f"{known.package.subdir}/{known.package.stem}" for known in state.packages()}
        return sorted(labels.get(key.package, key.package) for key in state.retry(spec))


def republish(config: MirrorConfig) -> PublishResult:
    """Publish the index of all wheels in the state, without converting. Raises `Failed` (busy, state, store, locked)."""
    now = time.time()
    with process_lock(config.state, now), open_state(config, record=config.state.exists()) as state:
        return publish_state(config, open_store(config.output.store), state, plan_of_state(config, state, now), now)


def list_generations(config: MirrorConfig) -> list[dict[str, Any]]:
    """List the generations, oldest first. Raises `Failed` (store)."""
    store = open_store(config.output.store)
    pointer = current(store)
    found = []
    for name in generations(store):
        generation = read_generation(store, name)
        if generation is not None:
            is_current = pointer is not None and pointer.generation == name
            wheels = len(generation.entries)
            found.append({"generation": name, "created": generation.created, "wheels": wheels, "current": is_current})
    return found


def generation_lines(found: list[dict[str, Any]]) -> list[str]:
    """Generations as lines for people."""
    return [
        f"{each['generation']}  {_moment(each['created'])}  {each['wheels']} wheels{'  current' if each['current'] else ''}"
        for each in found
    ]


def roll_back(config: MirrorConfig, to: str) -> str:
    """Make a generation the current one; returns its name. Raises `Failed` (usage, store, locked)."""
    return rollback(open_store(config.output.store), to, now=time.time())


def collect_garbage(config: MirrorConfig) -> RemovedObjects:
    """Remove what is no longer needed. Raises `Failed` (store, locked)."""
    return gc(open_store(config.output.store), keep=config.output.keep, grace=config.output.grace)


def removed_json(removed: RemovedObjects) -> dict[str, Any]:
    """The result of `collect_garbage` as JSON."""
    numbers = {"blobs": removed.blobs, "leftovers": removed.leftovers, "bytes": removed.size}
    return {"generations": list(removed.generations), **numbers}


def removed_line(removed: RemovedObjects) -> str:
    """The result of `collect_garbage` as a line for people."""
    blobs, others = f"{removed.blobs} wheels and metadata files", f"{removed.leftovers} temporary files"
    return f"removed {len(removed.generations)} generations, {blobs}, {others}: {format_size(removed.size)}"


def last_report(config: MirrorConfig, name: str) -> bytes:
    """Read a file of the last run's report. Raises `Failed` (usage for that of another configuration, not-found, disk)."""
    require_own_state(config)
    path = report_folder(config) / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Failed("not-found", f"{path}: no run has finished yet", "conda2wheel mirror run") from None
    except OSError as error:
        raise Failed("disk", f"{path}: {error.strerror}") from None


def last_status(config: MirrorConfig) -> int:
    """Read the last run's exit status from its report. Raises `Failed` (not-found, unreadable, disk)."""
    try:
        return 1 if json.loads(last_report(config, "report.json"))["look"] else 0
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            "unreadable", f"{report_folder(config) / 'report.json'}: {error!r}", "the next run writes it again"
        ) from None


def copy_report(config: MirrorConfig, junit: Path | None, html: Path | None, metrics: Path | None) -> None:
    """Copy files of the last report, with the page's style and script beside it. Raises `Failed` (not-found, disk)."""
    files = [("report.xml", junit), (METRICS, metrics), ("report.html", html)]
    if html is not None:
        files += [(name, html.with_name(name)) for name in ASSETS]
    for name, target in files:
        if target is not None:
            write_file(target, partial(iter, (last_report(config, name),)))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
