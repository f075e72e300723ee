"""What a run of the mirror came to: one value, of which every form is made (`report_formats`, `site.pages`).

It is made of plain values and of nothing else: no clock, no disk, no network. So the same run gives the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.mirror.report.missing import KINDS, MissingDistribution, missing, without_wheel
from conda2wheel.mirror.state.model import ChannelPackage, ItemResult, MirrorWheel, ResultStatus
from conda2wheel.mirror.state.retries import retries
from conda2wheel.net.download import redacted
from conda2wheel.pyodide.lock import Runtime

SCHEMA_VERSION = 1
PENDING = "pending"
COUNTS = ("packages", "done", "refused", "failed", PENDING, "quarantined", "projects", "wheels", "bytes")
# What a run can meet that was otherwise the last time, and what the word means.
CHANGES: dict[str, str] = {
    "new": "not seen before",
    "changed": "another archive under the same name",
    "patched": "the same archive, of which repodata say something else",
    "vanished": "no longer in the channel",
    "back": "vanished once, and there again",
    "replaced": "a newer build has the same wheel file name",
    "yanked": "its wheel stays for a while, and is chosen by nobody",
}


@dataclass(frozen=True)
class ReportItem:
    """A package of the channel and what became of it. `done` is None where it was not tried yet; `worked`: in this run; `was`:
    its status before this run; `at`: when it ended, in seconds since 1970; `yanked`: why, where its wheel is; `kept`: a wheel of
    an earlier conversion, which stays in the index since the last one failed."""

    package: ChannelPackage
    done: ItemResult | None = None
    worked: bool = False
    was: ResultStatus | None = None
    attempts: int = 0
    quarantined: bool = False
    at: float | None = None
    yanked: str | None = None
    kept: MirrorWheel | None = None

    @property
    def wheel(self) -> MirrorWheel | None:
        """What the index has of it."""
        return self.done.wheel if self.done is not None and self.done.wheel is not None else self.kept

    @property
    def status(self) -> str:
        """done, refused, failed or pending."""
        return PENDING if self.done is None else self.done.status

    @property
    def label(self) -> str:
        """SUBDIR/NAME-VERSION-BUILD, and the platform where one was asked for."""
        asked = "" if self.done is None or self.done.key.platform == "auto" else f" for {self.done.key.platform}"
        return f"{self.package.subdir}/{self.package.stem}{asked}"

    @property
    def seconds(self) -> float:
        """What it took, all stages together."""
        return sum(self.done.seconds.values()) if self.done else 0.0

    def json(self) -> dict[str, Any]:
        """One of `items`: docs/mirror.md."""
        package, done = self.package, self.done
        wheel, made = self.wheel, None
        if wheel is not None:
            names = ("project", "version", "filename", "sha256", "size", "platform", "requires_python", "blob")
            lists = ("requires", "imports", "vendored")
            made = {name: getattr(wheel, name) for name in names} | {name: list(getattr(wheel, name)) for name in lists}
        return {
            "package": self.label,
            "channel": redacted(package.channel),
            "url": redacted(package.url),
            "name": package.name,
            "version": package.version,
            "build": package.build,
            "subdir": package.subdir,
            "sha256": package.sha256,
            "size": package.size,
            "status": self.status,
            "code": done.code if done else None,
            "message": done.message if done else None,
            "hint": done.hint if done else None,
            "wheel": made,
            "warnings": [list(warning) for warning in done.warnings] if done else [],
            "seconds": {stage: round(seconds, 3) for stage, seconds in done.seconds.items()} if done else {},
            "downloaded": done.downloaded if done else 0,
            "worked": self.worked,
            "was": self.was,
            "attempts": self.attempts,
            "quarantined": self.quarantined,
            "yanked": self.yanked,
            "kept": wheel is not None and wheel is self.kept,
        }


@dataclass(frozen=True)
class RunSummary:
    """A run in numbers. `started` in seconds since 1970; `seconds` it took, by a clock that only goes forward; `worked` on how
    many items; `counts` has what `MirrorReport.counts` has."""

    started: float
    seconds: float
    worked: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    generation: str | None = None

    def json(self) -> dict[str, Any]:
        """One of `history`: docs/mirror.md."""
        return {
            "started": round(self.started, 3),
            "seconds": round(self.seconds, 3),
            "worked": self.worked,
            "counts": dict(self.counts),
            "generation": self.generation,
        }


@dataclass(frozen=True)
class StageTotals:
    """What a stage took in a run: `items` that went through it, and `seconds` of all of them."""

    name: str
    items: int
    seconds: float


@dataclass(frozen=True)
class MirrorReport:
    """Of one run, or with `run` None of what the state says now. `problem`: why nothing was published, one line; `missing` is
    None where no Pyodide was given to look in, `unjudged` how many wheels fit none that was; `history` is earlier runs, oldest
    first."""

    channels: tuple[str, ...]
    converter: str
    items: tuple[ReportItem, ...]
    run: RunSummary | None = None
    changes: Mapping[str, tuple[ChannelPackage, ...]] = field(default_factory=dict)
    generation: str | None = None
    problem: str | None = None
    missing: tuple[MissingDistribution, ...] | None = None
    unjudged: int = 0
    history: tuple[RunSummary, ...] = ()

    @classmethod
    def make(
        cls,
        items: Iterable[ReportItem],
        *,
        channels: Sequence[str],
        converter: str,
        started: float | None = None,
        seconds: float = 0.0,
        changes: Mapping[str, Sequence[ChannelPackage]] | None = None,
        generation: str | None = None,
        problem: str | None = None,
        runtimes: Sequence[Runtime] = (),
        history: Sequence[RunSummary] = (),
    ) -> MirrorReport:
        """A report of these items, in whatever order they come. `started` is None where no run took place; `runtimes` are the
        Pyodides for which to look for what is missing. Raises `ValueError` for a change that is none of `CHANGES`."""
        if unknown := (changes or {}).keys() - CHANGES.keys():
            raise ValueError(f"no such change: {', '.join(sorted(unknown))}")
        items = tuple(sorted(items, key=lambda item: (_natural(item.package), item.label, item.package.sha256)))
        gaps, unjudged = _missing(items, runtimes) if runtimes else (None, 0)
        worked = sum(item.worked for item in items)
        return cls(
            channels=tuple(redacted(channel) for channel in channels),
            converter=converter,
            items=items,
            run=None if started is None else RunSummary(started, seconds, worked, _counts(items), generation),
            changes={kind: tuple(sorted((changes or {}).get(kind, ()), key=_natural)) for kind in CHANGES},
            generation=generation,
            problem=problem,
            missing=gaps,
            unjudged=unjudged,
            history=tuple(history),
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many packages, by status; quarantined ones (they are also failed or pending); projects, wheels and their bytes."""
        return _counts(self.items)

    @property
    def before(self) -> Mapping[str, int]:
        """The counts of the run before; nothing for the first."""
        return self.history[-1].counts if self.history else {}

    @cached_property
    def refused(self) -> dict[str, tuple[ReportItem, ...]]:
        """The refused by code, most first."""
        return _by_code(item for item in self.items if item.status == "refused")

    @cached_property
    def failed(self) -> dict[str, tuple[ReportItem, ...]]:
        """The failed by class, most first; of each class the one that failed last comes last."""
        return _by_code(
            sorted((item for item in self.items if item.status == "failed"), key=lambda item: (item.worked, item.at or 0))
        )

    @cached_property
    def stages(self) -> tuple[StageTotals, ...]:
        """What each stage took in this run, in the order in which items go through them."""
        spent: dict[str, list[float]] = defaultdict(list)
        for item in self.items:
            if item.worked and item.done is not None:
                for stage, seconds in item.done.seconds.items():
                    spent[stage].append(seconds)
        return tuple(StageTotals(name, len(seconds), sum(seconds)) for name, seconds in spent.items())

    @property
    def downloaded(self) -> int:
        """Bytes, in this run."""
        return sum(item.done.downloaded for item in self.items if item.worked and item.done is not None)

    def slowest(self, count: int = 5) -> tuple[ReportItem, ...]:
        """Of all that the mirror has, whenever they were made."""
        return tuple(sorted((item for item in self.items if item.seconds), key=lambda item: -item.seconds)[:count])

    def largest(self, count: int = 5) -> tuple[ReportItem, ...]:
        """Likewise, by the size of the wheel."""
        sized = [(item.wheel.size, item) for item in self.items if item.wheel is not None]
        return tuple(item for _, item in sorted(sized, key=lambda pair: -pair[0])[:count])

    @cached_property
    def look(self) -> tuple[str, ...]:
        """Why a person must look, a line each; empty where nobody must. A refusal that was one before is no reason, nor a failure
        that was told once and will be tried again; what is quarantined is one until somebody retries or excludes it."""
        failures = [item for item in self.items if item.worked and item.status == "failed" and item.was != "failed"]
        lost = [item for item in self.items if item.worked and item.status == "refused" and item.was == "done"]
        quarantined = [item for item in self.items if item.quarantined]
        reasons = [f"nothing was published: {self.problem}"] if self.problem else []
        for what, found in (
            ("failed, and had not failed before", failures),
            ("had a wheel before, and is refused now", lost),
            ("quarantined, and no longer tried: retry or exclude them", quarantined),
        ):
            if found:
                names = ", ".join(item.label for item in found[:3]) + (", ..." if len(found) > 3 else "")
                reasons.append(f"{len(found)} {what}: {names}")
        return tuple(reasons)

    @property
    def exit_status(self) -> int:
        """0: nothing to look at; 1: a person must look."""
        return 1 if self.look else 0

    def json(self) -> dict[str, Any]:
        """The whole report as JSON has it: docs/mirror.md describes it. The schema only ever grows."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": "mirror-report",
            "converter": self.converter,
            "channels": list(self.channels),
            "generation": self.generation,
            "problem": self.problem,
            "look": list(self.look),
            "run": None if self.run is None else self.run.json(),
            "counts": self.counts,
            "before": dict(self.before),
            "changes": {kind: [f"{p.subdir}/{p.stem}" for p in packages] for kind, packages in self.changes.items()},
            "refused": {code: {"count": len(items), **_explained(code)} for code, items in self.refused.items()},
            "failed": {
                code: {
                    "count": len(items),
                    "meaning": retries()[code].why if code in retries() else None,
                    "package": items[-1].label,
                    "message": items[-1].done and items[-1].done.message,
                }
                for code, items in self.failed.items()
            },
            "stages": {stage.name: {"items": stage.items, "seconds": round(stage.seconds, 3)} for stage in self.stages},
            "downloaded": self.downloaded,
            "slowest": [{"package": item.label, "seconds": round(item.seconds, 3)} for item in self.slowest()],
            "largest": [
                {"package": item.label, "wheel": item.wheel.filename, "bytes": item.wheel.size}
                for item in self.largest()
                if item.wheel is not None
            ],
            "missing": None if self.missing is None else [each.json() for each in self.missing],
            "missing_kinds": dict(KINDS),
            "unjudged": self.unjudged,
            "history": [run.json() for run in self.history],
            "items": [item.json() for item in self.items],
        }


def _natural(package: ChannelPackage) -> tuple[Any, ...]:
    """Names in order, then versions so that 10 comes after 9, then builds."""
    parts = re.split(r"(\d+)", package.version)
    return (package.name, [int(part) if part.isdecimal() else part for part in parts], package.build_number, package.build)


def _counts(items: Sequence[ReportItem]) -> dict[str, int]:
    statuses = Counter(item.status for item in items)
    wheels = {item.wheel.filename: item.wheel for item in items if item.wheel is not None}
    numbers = {
        **statuses,
        "packages": len(items),
        "quarantined": sum(item.quarantined for item in items),
        "projects": len({wheel.project for wheel in wheels.values()}),
        "wheels": len(wheels),
        "bytes": sum(wheel.size for wheel in wheels.values()),
    }
    return {name: numbers.get(name, 0) for name in COUNTS}


def _by_code(items: Iterable[ReportItem]) -> dict[str, tuple[ReportItem, ...]]:
    found: dict[str, list[ReportItem]] = defaultdict(list)
    for item in items:
        found[(item.done and item.done.code) or "unknown"].append(item)
    return {code: tuple(found[code]) for code in sorted(found, key=lambda code: (-len(found[code]), code))}


def _missing(items: Iterable[ReportItem], runtimes: Sequence[Runtime]) -> tuple[tuple[MissingDistribution, ...], int]:
    wheels, rest = {}, []
    for item in items:
        if item.wheel is not None:
            if item.yanked is None:  # a yanked wheel is chosen by nobody, so that it neither needs nor gives anything
                wheels[item.wheel.filename] = item.wheel
        else:
            rest.append((item.package.name, item.status, item.done.code if item.done else None))
    return missing(wheels.values(), without_wheel(rest), runtimes)


def _explained(code: str) -> dict[str, str | None]:
    """What a refusal code means and what to do about it; null for codes of failures."""
    row = REFUSAL_CODES.get(code)
    return {"meaning": row and row.meaning, "advice": row and row.advice}
