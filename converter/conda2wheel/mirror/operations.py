"""What people do with a mirror between its runs: see what a run would do and how it stands, retry, publish, go back, clear."""

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
from conda2wheel.mirror.plan import tasks as planning
from conda2wheel.mirror.plan.select import packages
from conda2wheel.mirror.plan.tasks import MirrorPlan, PlannedTask
from conda2wheel.mirror.publish.generation import current, generations, read_generation
from conda2wheel.mirror.publish.publisher import PublishResult
from conda2wheel.mirror.publish.rollback import RemovedObjects, gc, rollback
from conda2wheel.mirror.report.notify import METRICS, folder
from conda2wheel.mirror.report.pages import ASSETS
from conda2wheel.mirror.run import known_plan, publish_state
from conda2wheel.mirror.state.mirror_state import ItemStatus, MirrorRun, MirrorState
from conda2wheel.mirror.state.model import ItemKey
from conda2wheel.mirror.state.process_lock import holder, owned
from conda2wheel.mirror.store.open import open_store

SCHEMA = 1
LISTED = 20  # of each list, where not all are asked for


@dataclass(frozen=True)
class MirrorStatus:
    """How a mirror stands, without asking its channels. `counts` by standing and code; `waiting` are failed items as (label,
    class, seconds since 1970 of the next try), the next first; `busy` who runs it now; `problem` why the store tells nothing."""

    counts: Mapping[tuple[ItemStatus, str | None], int]
    waiting: tuple[tuple[str, str | None, float], ...]
    quarantined: tuple[tuple[str, str | None], ...]
    generation: str | None
    problem: str | None
    busy: str | None
    last: MirrorRun | None

    def json(self) -> dict[str, Any]:
        """The document of `mirror status --json`."""
        return {
            "schema": SCHEMA,
            "kind": "mirror-status",
            "counts": [{"status": status, "code": code, "items": number} for (status, code), number in self.counts.items()],
            "waiting": [{"package": label, "class": code, "next_try": moment} for label, code, moment in self.waiting],
            "quarantined": [{"package": label, "class": code} for label, code in self.quarantined],
            "generation": self.generation,
            "problem": self.problem,
            "busy": self.busy,
            "last_run": None
            if self.last is None
            else {"started": self.last.started, "ended": self.last.ended, "seconds": self.last.seconds},
        }

    def lines(self) -> list[str]:
        """The same for people."""
        told = [f"{number:6}  {status}{f' ({code})' if code else ''}" for (status, code), number in self.counts.items()]
        told += [f"next try {_moment(moment)}: {label} ({code})" for label, code, moment in self.waiting]
        told += [f"quarantined: {label} ({code})" for label, code in self.quarantined]
        told.append(f"generation: {self.generation or 'nothing is published'}" + (f" ({self.problem})" if self.problem else ""))
        if self.last is not None:
            ended = "it did not end" if self.last.ended is None else f"it ended {_moment(self.last.ended)}"
            told.append(f"last run: began {_moment(self.last.started)}, {ended}")
        return [*told, f"running now: {self.busy or 'nothing'}"]


def init(path: Path) -> Path:
    """Write the commented configuration. Raises `Failed`: usage, where a file is there; disk."""
    if path.exists():
        raise Failed("usage", f"{path}: is there already", "name another file")
    write_file(path, lambda: iter([template().encode()]))
    return path


def look(config: MirrorConfig) -> MirrorPlan:
    """What a run would do now. Nothing is written. Raises `Failed` (network, unreadable; state)."""
    with _state(config) as state:
        return planning.make(packages(config.channels, Downloads()), config, state, time.time())


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
        "verdicts": [{"package": _label(plan, done.key), "code": done.code, "message": done.message} for done in plan.verdicts],
        "left": [{"package": f"{each.subdir}/{each.stem}", "why": why} for each, why in plan.left],
        "changes": {
            name: [f"{each.subdir}/{each.stem}" for each in getattr(plan.seen, name)]
            for name in ("new", "changed", "patched", "vanished", "back")
        },
    }


def plan_lines(plan: MirrorPlan, every: bool = False) -> list[str]:
    """The same for people: the beginning of each list, or `every` whole."""
    told = [
        f"{len(plan.to_do)} to do ({format_size(plan.bytes)}), {plan.unchanged} as they are,"
        f" {len(plan.verdicts)} refused by name,"
    ]
    told[0] += f" {len(plan.waiting)} waiting, {len(plan.quarantined)} quarantined, {len(plan.left)} left out"
    lists = (
        ("do", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.to_do]),
        ("waits", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.waiting]),
        ("quarantined", [(f"{each.package.subdir}/{each.package.stem}", each.why) for each in plan.quarantined]),
        ("vanished", [(f"{each.subdir}/{each.stem}", "no longer in its channel") for each in plan.seen.vanished]),
        ("left out", [(f"{each.subdir}/{each.stem}", why) for each, why in plan.left]),
    )
    for word, rows in lists:
        shown_rows = rows if every else rows[:LISTED]
        told += [printable(f"{word}: {label}: {why}") for label, why in shown_rows]
        if len(shown_rows) < len(rows):
            told.append(f"{word}: {len(rows) - len(shown_rows)} more (-v)")
    return told


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
    """How it stands. Raises `Failed` (state, disk)."""
    problem = generation = None
    try:
        pointer = current(open_store(config.output.store))
        generation = None if pointer is None else pointer.generation
    except Failed as error:
        problem = error.message
    with _state(config) as state:
        known = known_plan(config, state, time.time())
        items = state.items()
        told = sorted(
            (item.next_try or 0.0, f"{package.subdir}/{package.stem}", item)
            for key, package in known.wanted.items()
            if (item := items.get(key)) is not None and item.status in ("failed", "quarantined")
        )
        runs = state.runs(1)
        return MirrorStatus(
            counts=dict(state.counts(known.wanted)),
            waiting=tuple((label, item.code, moment) for moment, label, item in told if item.status == "failed"),
            quarantined=tuple((label, item.code) for _, label, item in told if item.status == "quarantined"),
            generation=generation,
            problem=problem,
            busy=holder(config.state),
            last=runs[0] if runs else None,
        )


def retry(config: MirrorConfig, spec: str) -> list[str]:
    """Make items due now, "all" or those that a match spec fits; their labels. Raises `Failed` (usage, state)."""
    with _state(config) as state:
        labels = {known.package.sha256: f"{known.package.subdir}/{known.package.stem}" for known in state.packages()}
        return sorted(labels.get(key.package, key.package) for key in state.retry(spec))


def republish(config: MirrorConfig) -> PublishResult:
    """Make the index of what the state has, without any work. Raises `Failed` (busy, state, store, locked)."""
    now = time.time()
    with owned(config.state, now), _state(config) as state:
        return publish_state(config, open_store(config.output.store), state, known_plan(config, state, now), now)


def kept(config: MirrorConfig) -> list[dict[str, Any]]:
    """The generations that one can go back to, oldest first. Raises `Failed` (store)."""
    store = open_store(config.output.store)
    pointer = current(store)
    found = []
    for name in generations(store):
        generation = read_generation(store, name)
        if generation is not None:
            is_current = pointer is not None and pointer.generation == name
            told = {"generation": name, "created": generation.created, "wheels": len(generation.entries), "current": is_current}
            found.append(told)
    return found


def generation_lines(found: list[dict[str, Any]]) -> list[str]:
    """The same for people."""
    return [
        f"{each['generation']}  {_moment(each['created'])}  {each['wheels']} wheels{'  current' if each['current'] else ''}"
        for each in found
    ]


def back(config: MirrorConfig, to: str) -> str:
    """Go back to a generation; its name. Raises `Failed` (usage, store, locked)."""
    return rollback(open_store(config.output.store), to, now=time.time())


def sweep(config: MirrorConfig) -> RemovedObjects:
    """Clear away what nobody needs. Raises `Failed` (store, locked)."""
    return gc(open_store(config.output.store), keep=config.output.keep, grace=config.output.grace)


def swept_json(swept: RemovedObjects) -> dict[str, Any]:
    """What was removed."""
    told = {"blobs": swept.blobs, "leftovers": swept.leftovers, "bytes": swept.size}
    return {"generations": list(swept.generations), **told}


def swept_line(swept: RemovedObjects) -> str:
    """The same for people."""
    return (
        f"{len(swept.generations)} generations, {swept.blobs} wheels and metadata files, {swept.leftovers} leftovers removed:"
        f" {format_size(swept.size)}"
    )


def last_report(config: MirrorConfig, name: str) -> bytes:
    """A form of the last run's report, by its file name. Raises `Failed` (not-found, disk)."""
    path = folder(config) / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Failed("not-found", f"{path}: no run has ended yet", "conda2wheel mirror run") from None
    except OSError as error:
        raise Failed("disk", f"{path}: {error.strerror}") from None


def last_status(config: MirrorConfig) -> int:
    """The last run's exit status. Raises `Failed` (not-found, unreadable, disk)."""
    try:
        return 1 if json.loads(last_report(config, "report.json"))["look"] else 0
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("unreadable", f"{folder(config) / 'report.json'}: {error!r}", "the next run writes it anew") from None


def copy_report(config: MirrorConfig, junit: Path | None, html: Path | None, metrics: Path | None) -> None:
    """Copy forms of the last report to files; what the page needs comes beside it. Raises `Failed` (not-found, disk)."""
    wanted = [("report.xml", junit), (METRICS, metrics), ("report.html", html)]
    if html is not None:
        wanted += [(name, html.with_name(name)) for name in ASSETS]
    for name, target in wanted:
        if target is not None:
            write_file(target, partial(iter, (last_report(config, name),)))


def _state(config: MirrorConfig) -> MirrorState:
    """The state if there is one, else an empty one that is nowhere."""
    return MirrorState.open(config.state if config.state.exists() else Path(":memory:"))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
