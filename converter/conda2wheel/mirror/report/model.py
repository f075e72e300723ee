"""The report of a run as one value, from which every format of it is made (`formats`, `pages`, `text`).

It contains plain values and reads no clock, disk or network, so that the same run gives the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from conda2wheel.abi.audit.findings import RULES
from conda2wheel.channels.records import LeftOutRecord
from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.mirror.report.missing import KINDS, MissingDistribution, missing, without_wheel
from conda2wheel.mirror.state.model import ChannelPackage, ItemResult, MirrorLibrary, MirrorWheel, ResultStatus
from conda2wheel.mirror.state.retries import retries
from conda2wheel.net.urls import redacted
from conda2wheel.pyodide.lock import Runtime

SCHEMA_VERSION = 1
PENDING = "pending"
# Refusals of uploads that are damaged or hostile, and those that say that a package is no Python: a new one of these is no news.
DAMAGED = ("corrupt-archive", "unsafe-archive", "too-large", "incomplete")
NO_PYTHON = ("not-python", "metapackage", "interpreter", "executable", "static-library")
COUNTS = ("packages", "done", "refused", "failed", PENDING, "quarantined", "projects", "wheels", "bytes", "runs_except")
# The kinds of changes that a run reports, and what they mean.
CHANGES: dict[str, str] = {
    "new": "not seen before",
    "changed": "another archive under the same name",
    "patched": "the same archive, with another repodata record",
    "vanished": "no longer in the channel",
    "back": "vanished before, and listed again",
    "replaced": "a newer build has the same wheel file name",
    "yanked": "its wheel stays in the index for a while, but no installer chooses it",
}


@dataclass(frozen=True)
class ReportItem:
    """A package of the channel and its result.

    `result` is None where it was not tried yet; `worked` is whether this run worked on it; `previous_status` its status before
    this run; `at` when it ended, in seconds since 1970; `yanked` why its wheel is yanked; `older_wheel` a wheel of an earlier
    conversion, which stays in the index because the last one failed; `libraries` the library wheels that its wheel requires.
    """

    package: ChannelPackage
    result: ItemResult | None = None
    worked: bool = False
    previous_status: ResultStatus | None = None
    attempts: int = 0
    quarantined: bool = False
    at: float | None = None
    yanked: str | None = None
    older_wheel: MirrorWheel | None = None
    libraries: tuple[MirrorLibrary, ...] = ()

    @property
    def wheel(self) -> MirrorWheel | None:
        """The wheel in the index."""
        return self.result.wheel if self.result is not None and self.result.wheel is not None else self.older_wheel

    @property
    def status(self) -> str:
        """Its status: done, refused, failed or pending."""
        return PENDING if self.result is None else self.result.status

    @property
    def code(self) -> str | None:
        """The code of a refusal, the class of a failure."""
        return None if self.result is None else self.result.code

    @property
    def label(self) -> str:
        """SUBDIR/NAME-VERSION-BUILD, and the platform where the configuration names it."""
        platform = "" if self.result is None or self.result.key.platform == "auto" else f" for {self.result.key.platform}"
        return f"{self.package.subdir}/{self.package.stem}{platform}"

    @property
    def seconds(self) -> float:
        """The time of all stages together."""
        return sum(self.result.seconds.values()) if self.result else 0.0

    def json(self) -> dict[str, Any]:
        """An element of `items`, as docs/reference/mirror-report.md describes it."""
        package, result = self.package, self.result
        wheel = self.wheel
        contents: dict[str, Any] | None = None
        if wheel is not None:
            names = ("project", "version", "filename", "sha256", "size", "platform", "requires_python", "blob")
            lists = ("requires", "imports", "vendored")
            contents = {name: getattr(wheel, name) for name in names} | {name: list(getattr(wheel, name)) for name in lists}
            contents["unusable"] = [part.json() for part in wheel.unusable]
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
            "code": result.code if result else None,
            "message": result.message if result else None,
            "hint": result.hint if result else None,
            "wheel": contents,
            "warnings": [list(warning) for warning in result.warnings] if result else [],
            "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()} if result else {},
            "downloaded": result.downloaded if result else 0,
            "worked": self.worked,
            "was": self.previous_status,
            "attempts": self.attempts,
            "quarantined": self.quarantined,
            "yanked": self.yanked,
            "kept": wheel is not None and wheel is self.older_wheel,
        }


@dataclass(frozen=True)
class RunSummary:
    """A run in numbers.

    Attributes:
        started: in seconds since 1970.
        seconds: its duration by a monotonic clock.
        worked: the number of items that it worked on.
        counts: the numbers with the keys of `MirrorReport.counts`.
    """

    started: float
    seconds: float
    worked: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    generation: str | None = None

    def json(self) -> dict[str, Any]:
        """An element of `history`, as docs/reference/mirror-report.md describes it."""
        return {
            "started": round(self.started, 3),
            "seconds": round(self.seconds, 3),
            "worked": self.worked,
            "counts": dict(self.counts),
            "generation": self.generation,
        }


@dataclass(frozen=True)
class StageTotals:
    """The work of one stage in a run: the number of items that passed through it, and the seconds of all of them."""

    name: str
    items: int
    seconds: float


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run.

    Attributes:
        started: in seconds since 1970; None: no run took place.
        seconds: its duration.
        changes: the changes that it found, by kind.
        generation: the current generation.
        problem: why nothing was published, in one line.
        left_out: records of the channels that cannot be used.
        notes: what the configuration asks for in vain, a line each.
    """

    started: float | None = None
    seconds: float = 0.0
    changes: Mapping[str, Sequence[ChannelPackage]] = field(default_factory=dict)
    generation: str | None = None
    problem: str | None = None
    left_out: Sequence[LeftOutRecord] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MirrorReport:
    """The report of a run; with `run` None, of the state.

    `problem` is why nothing was published, in one line; `missing` is None where no Pyodide was searched, `unjudged` the number of
    wheels that fit none that was; `history` has earlier runs, oldest first; `left_out` the records that cannot be used.
    """

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
    left_out: tuple[LeftOutRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        items: Iterable[ReportItem],
        *,
        channels: Sequence[str],
        converter: str,
        outcome: RunOutcome | None = None,
        runtimes: Sequence[Runtime] = (),
        history: Sequence[RunSummary] = (),
    ) -> MirrorReport:
        """Make the report of items, in any order.

        Args:
            items: all packages of the channels.
            channels: the channels' URLs.
            converter: this converter's version.
            outcome: the outcome of the run; None for a report of the state without a run.
            runtimes: the Pyodides in which required distributions are searched for.
            history: earlier runs, oldest first.

        Raises:
            ValueError: for a change of a kind that is not in `CHANGES`.
        """
        outcome = outcome or RunOutcome()
        if unknown := outcome.changes.keys() - CHANGES.keys():
            raise ValueError(f"no such change: {', '.join(sorted(unknown))}")
        items = tuple(sorted(items, key=lambda item: (_natural(item.package), item.label, item.package.sha256)))
        found, unjudged = _missing(items, runtimes) if runtimes else (None, 0)
        run = None
        if outcome.started is not None:
            worked = sum(item.worked for item in items)
            run = RunSummary(outcome.started, outcome.seconds, worked, _counts(items), outcome.generation)
        return cls(
            channels=tuple(redacted(channel) for channel in channels),
            converter=converter,
            items=items,
            run=run,
            changes={kind: tuple(sorted(outcome.changes.get(kind, ()), key=_natural)) for kind in CHANGES},
            generation=outcome.generation,
            problem=outcome.problem,
            missing=found,
            unjudged=unjudged,
            history=tuple(history),
            left_out=tuple(sorted(outcome.left_out)),
            notes=outcome.notes,
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """Numbers of packages by status, of quarantined ones (also failed or pending), projects and wheels, and their bytes.

        `runs_except` are the wheels of which a part does not run.
        """
        return _counts(self.items)

    @property
    def before(self) -> Mapping[str, int]:
        """The counts of the previous run; empty for the first."""
        return self.history[-1].counts if self.history else {}

    @cached_property
    def refused(self) -> dict[str, tuple[ReportItem, ...]]:
        """Refused items by code, the most frequent first."""
        return _by_code(item for item in self.items if item.status == "refused")

    @cached_property
    def failed(self) -> dict[str, tuple[ReportItem, ...]]:
        """Failed items by class, the most frequent first; within a class the last failure is last."""
        return _by_code(
            sorted((item for item in self.items if item.status == "failed"), key=lambda item: (item.worked, item.at or 0))
        )

    @cached_property
    def runs_except(self) -> dict[str, tuple[ReportItem, ...]]:
        """Items by the codes of the parts of their wheels that do not run, the most frequent first."""
        found: dict[str, list[ReportItem]] = defaultdict(list)
        for item in self.items:
            for code in dict.fromkeys(part.code for part in item.wheel.unusable) if item.wheel is not None else ():
                found[code].append(item)
        return _most_frequent_first(found)

    @cached_property
    def stages(self) -> tuple[StageTotals, ...]:
        """The work of each stage in this run, in the order of the stages."""
        spent: dict[str, list[float]] = defaultdict(list)
        for item in self.items:
            if item.worked and item.result is not None:
                for stage, seconds in item.result.seconds.items():
                    spent[stage].append(seconds)
        return tuple(StageTotals(name, len(seconds), sum(seconds)) for name, seconds in spent.items())

    @property
    def downloaded(self) -> int:
        """Bytes downloaded in this run."""
        return sum(item.result.downloaded for item in self.items if item.worked and item.result is not None)

    def slowest(self, count: int = 5) -> tuple[ReportItem, ...]:
        """The items with the longest conversions, of this or an earlier run."""
        return tuple(sorted((item for item in self.items if item.seconds), key=lambda item: -item.seconds)[:count])

    def largest(self, count: int = 5) -> tuple[ReportItem, ...]:
        """The items with the largest wheels."""
        sized = [(item.wheel.size, item) for item in self.items if item.wheel is not None]
        return tuple(item for _, item in sorted(sized, key=lambda pair: -pair[0])[:count])

    @cached_property
    def libraries(self) -> tuple[tuple[MirrorLibrary, int], ...]:
        """The library wheels that wheels of the index require, each with the number of these wheels; the most wanted first."""
        users: dict[str, set[str]] = defaultdict(set)
        found: dict[str, MirrorLibrary] = {}
        for item in self.items:
            for library in item.libraries:
                found[library.wheel.filename] = library
                users[library.wheel.filename].add(item.wheel.filename if item.wheel is not None else "")
        return tuple((found[name], len(users[name])) for name in sorted(found, key=lambda name: (-len(users[name]), name)))

    @cached_property
    def newly_refused(self) -> tuple[ReportItem, ...]:
        """The items that this run refused and no earlier one: those that had a wheel, then damaged uploads, then the others."""
        found = [item for item in self.items if item.worked and item.status == "refused" and item.previous_status != "refused"]
        return tuple(sorted(found, key=_urgency))

    @cached_property
    def attention(self) -> tuple[str, ...]:
        """Return why a person should look, one reason a line.

        Refusals that were refusals before are no reason, nor are failures that were reported before and will be tried again.
        Quarantined items are one until they are retried or excluded. New uploads that are refused are one if they are damaged,
        or if they may be Python and this is not the first run.
        """
        failures = [item for item in self.items if item.worked and item.status == "failed" and item.previous_status != "failed"]
        lost = [item for item in self.newly_refused if item.previous_status == "done"]
        new = [item for item in self.newly_refused if item.previous_status != "done"]
        damaged = [item for item in new if item.code in DAMAGED]
        refused = [item for item in new if self.history and item.code not in (*DAMAGED, *NO_PYTHON)]
        quarantined = [item for item in self.items if item.quarantined]
        reasons = [f"nothing was published: {self.problem}"] if self.problem else []
        for what, found in (
            ("failed, and had not failed before", failures),
            ("had a wheel before, and is refused now", lost),
            ("new, and damaged or hostile", damaged),
            ("new, and refused", refused),
            ("quarantined, and no longer tried: retry or exclude them", quarantined),
        ):
            if found:
                names = ", ".join(item.label for item in found[:3]) + (", ..." if len(found) > 3 else "")
                reasons.append(f"{len(found)} {what}: {names}")
        return tuple(reasons)

    @property
    def exit_status(self) -> int:
        """0 for nothing to look at, 1 for something."""
        return 1 if self.attention else 0

    def json(self) -> dict[str, Any]:
        """The JSON form, as docs/reference/mirror-report.md describes it. Keys are added, never removed."""
        return dict(self._document)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "kind": "mirror-report",
            "converter": self.converter,
            "channels": list(self.channels),
            "generation": self.generation,
            "problem": self.problem,
            "look": list(self.attention),
            "notes": list(self.notes),
            "run": None if self.run is None else self.run.json(),
            "counts": self.counts,
            "before": dict(self.before),
            "changes": {kind: [f"{p.subdir}/{p.stem}" for p in packages] for kind, packages in self.changes.items()},
            "refused": {code: {"count": len(items), **_explain(code)} for code, items in self.refused.items()},
            "failed": {
                code: {
                    "count": len(items),
                    "meaning": retries()[code].why if code in retries() else None,
                    "package": items[-1].label,
                    "message": items[-1].result and items[-1].result.message,
                }
                for code, items in self.failed.items()
            },
            "runs_except": {
                code: {"count": len(items), "meaning": RULES[code].meaning if code in RULES else None}
                for code, items in self.runs_except.items()
            },
            "stages": {stage.name: {"items": stage.items, "seconds": round(stage.seconds, 3)} for stage in self.stages},
            "downloaded": self.downloaded,
            "slowest": [{"package": item.label, "seconds": round(item.seconds, 3)} for item in self.slowest()],
            "largest": [
                {"package": item.label, "wheel": item.wheel.filename, "bytes": item.wheel.size}
                for item in self.largest()
                if item.wheel is not None
            ],
            "libraries": [
                {
                    "project": library.wheel.project,
                    "version": library.wheel.version,
                    "wheel": library.wheel.filename,
                    "platform": library.wheel.platform,
                    "bytes": library.wheel.size,
                    "package": f"{library.package.subdir}/{library.package.stem}",
                    "users": users,
                }
                for library, users in self.libraries
            ],
            "missing": None if self.missing is None else [each.json() for each in self.missing],
            "missing_kinds": dict(KINDS),
            "unjudged": self.unjudged,
            "left_out_records": [record.json() for record in self.left_out],
            "history": [run.json() for run in self.history],
            "items": [item.json() for item in self.items],
        }


def _natural(package: ChannelPackage) -> tuple[Any, ...]:
    """Sort key: names, versions with 10 after 9, build numbers, builds."""
    parts = re.split(r"(\d+)", package.version)
    return (package.name, [int(part) if part.isdecimal() else part for part in parts], package.build_number, package.build)


def _urgency(refused: ReportItem) -> int:
    """The place of a newly refused item in a list: a wheel that is lost first, a package that is no Python last."""
    if refused.previous_status == "done":
        return 0
    return 1 if refused.code in DAMAGED else 3 if refused.code in NO_PYTHON else 2


def _counts(items: Sequence[ReportItem]) -> dict[str, int]:
    statuses = Counter(item.status for item in items)
    wheels = {item.wheel.filename: item.wheel for item in items if item.wheel is not None}
    wheels |= {library.wheel.filename: library.wheel for item in items for library in item.libraries}
    numbers = {
        **statuses,
        "packages": len(items),
        "quarantined": sum(item.quarantined for item in items),
        "projects": len({wheel.project for wheel in wheels.values()}),
        "wheels": len(wheels),
        "bytes": sum(wheel.size for wheel in wheels.values()),
        "runs_except": sum(bool(wheel.unusable) for wheel in wheels.values()),
    }
    return {name: numbers.get(name, 0) for name in COUNTS}


def _by_code(items: Iterable[ReportItem]) -> dict[str, tuple[ReportItem, ...]]:
    found: dict[str, list[ReportItem]] = defaultdict(list)
    for item in items:
        found[(item.result and item.result.code) or "unknown"].append(item)
    return _most_frequent_first(found)


def _most_frequent_first(found: Mapping[str, Sequence[ReportItem]]) -> dict[str, tuple[ReportItem, ...]]:
    return {code: tuple(found[code]) for code in sorted(found, key=lambda code: (-len(found[code]), code))}


def _missing(items: Iterable[ReportItem], runtimes: Sequence[Runtime]) -> tuple[tuple[MissingDistribution, ...], int]:
    wheels, rest = {}, []
    for item in items:
        if item.wheel is not None:
            if item.yanked is None:  # installers do not choose a yanked wheel, so it neither requires nor provides anything
                wheels[item.wheel.filename] = item.wheel
                wheels |= {library.wheel.filename: library.wheel for library in item.libraries}
        else:
            rest.append((item.package.name, item.status, item.result.code if item.result else None))
    return missing(wheels.values(), without_wheel(rest), runtimes)


def _explain(code: str) -> dict[str, str | None]:
    """The meaning of a refusal code and the advice for it; null for a class of failure."""
    row = REFUSAL_CODES.get(code)
    return {"meaning": row and row.meaning, "advice": row and row.advice}
