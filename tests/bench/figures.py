"""The plots as data: what each shows, out of the document of a run. `draw.py` draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tests.bench.timing import Times

GOAL = 1.5  # times the floor
MIB = 1 << 20
# Each has a contrast of at least 3 with white and with the dark background of the documentation (WCAG 2.2, 1.4.11).
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = "#3b82c4", "#cc6a1e", "#25946a", "#a86bb5", "#d2555f", "#7f858f"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY, "#6f7fe0", "#9a7b1f", "#2b93a5", "#b8609a")


@dataclass(frozen=True)
class Series:
    """One line: points, and the least and most of each where they are known."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    dashed: bool = False
    spread: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Lines:
    """Lines over an axis of numbers. Axes that are no scale by themselves begin at 0."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log: Literal["", "x", "xy"] = "xy"
    goal: float | None = None
    kind: Literal["lines"] = "lines"


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, each of one or several parts."""

    name: str
    title: str
    x_label: str
    rows: tuple[str, ...]
    parts: tuple[tuple[str, str, tuple[float, ...]], ...]  # name, colour, one value a row
    kind: Literal["bars"] = "bars"


Figure = Lines | Bars


def figures(document: dict[str, Any]) -> list[Figure]:
    """Every plot that the parts of the document give."""
    parts, found = document["parts"], list[Figure]()
    if "convert" in parts:
        rows = parts["convert"]["by_size"]
        if len({row["size"] for row in rows}) > 1:
            found += [_time_by_size(rows), _ratio_by_size(rows), _memory_by_size(rows)]
        if any("stages" in row for row in rows):
            found.append(_stages(rows))
        if len(parts["convert"]["by_count"]) > 1:
            found.append(_time_by_count(parts["convert"]["by_count"]))
    if "audit" in parts:
        found.append(_audit(parts["audit"]["wheels"]))
    return found


def as_json(every: Iterable[Figure]) -> list[dict[str, Any]]:
    """What `draw.py` reads."""
    return [asdict(figure) for figure in every]


def times(row: dict[str, Any]) -> dict[str, Times]:
    """The times of a row, by name."""
    return {name: Times.of(value) for name, value in row["times"].items()}


def _archives(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["archive"] for row in rows))


def _line(name: str, rows: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], colour: str, dashed: bool) -> Series:
    return Series(name, tuple(row["unpacked"] / 1e6 for row in rows), tuple(map(value, rows)), colour, dashed)


def _time_by_size(rows: list[dict[str, Any]]) -> Lines:
    series = []
    for archive, colour in zip(_archives(rows), PALETTE, strict=False):
        mine = [row for row in rows if row["archive"] == archive]
        series.append(_line(f"convert .{archive}", mine, lambda row: times(row)["convert"].median, colour, dashed=False))
        series.append(_line(f"floor .{archive}", mine, lambda row: times(row)["floor"].median, colour, dashed=True))
    peer = "cph extract + zipfile"
    for archive, colour in zip(_archives(rows), PALETTE[2:], strict=False):
        having = [row for row in rows if row["archive"] == archive and peer in row["times"]]
        if len(having) > 1:
            series.append(_line(f"{peer} .{archive}", having, lambda row: times(row)[peer].median, colour, dashed=False))
    return Lines("bench-size", "Time by size", "unpacked size (MB)", "time (s)", tuple(series))


def _ratio_by_size(rows: list[dict[str, Any]]) -> Lines:
    series = []
    for archive, colour in zip(_archives(rows), PALETTE, strict=False):
        mine = [row for row in rows if row["archive"] == archive]
        spread = tuple((row["ratio"]["least"], row["ratio"]["most"]) for row in mine)
        x, y = tuple(row["unpacked"] / 1e6 for row in mine), tuple(row["ratio"]["median"] for row in mine)
        series.append(Series(f".{archive}", x, y, colour, spread=spread))
    title, label = "Conversion beside the floor", "time of convert / time of the floor"
    return Lines("bench-ratio", title, "unpacked size (MB)", label, tuple(series), log="x", goal=GOAL)


def _memory_by_size(rows: list[dict[str, Any]]) -> Lines:
    series = []
    for archive, colour in zip(_archives(rows), PALETTE, strict=False):
        mine = [row for row in rows if row["archive"] == archive and "memory" in row]
        series.append(_line(f".{archive}", mine, lambda row: row["memory"]["peak"] / MIB, colour, dashed=False))
    first = next(row for row in rows if "memory" in row)
    sizes = sorted({row["unpacked"] / 1e6 for row in rows})
    idle = first["memory"]["idle"] / MIB
    series.append(Series("after the imports", (sizes[0], sizes[-1]), (idle, idle), GREY, dashed=True))
    return Lines("bench-memory", "Peak memory of a conversion", "unpacked size (MB)", "VmHWM (MiB)", tuple(series), log="x")


def _time_by_count(rows: list[dict[str, Any]]) -> Lines:
    x = tuple(float(row["files"]) for row in rows)
    series = [
        Series(name, x, tuple(times(row)[name].median for row in rows), colour, dashed)
        for name, colour, dashed in (("convert", BLUE, False), ("floor", BLUE, True))
    ]
    total = rows[0]["unpacked"] / 1e6
    return Lines("bench-count", f"Time by number of files of {total:.0f} MB", "files", "time (s)", tuple(series), log="x")


def _stages(rows: list[dict[str, Any]]) -> Bars:
    """Shares of the time of each conversion, since the sizes differ by a factor of a thousand."""
    having = [row for row in rows if "stages" in row]
    names = list(dict.fromkeys(stage for row in having for stage in row["stages"]))
    totals = [sum(stage["wall"] for stage in row["stages"].values()) or 1.0 for row in having]
    parts = []
    for name, colour in zip(names, PALETTE, strict=False):
        values = [row["stages"].get(name, {"wall": 0.0})["wall"] for row in having]
        parts.append((name, colour, tuple(100 * value / total for value, total in zip(values, totals, strict=True))))
    labels = tuple(f"{row['size']} .{row['archive']}" for row in having)
    return Bars("bench-stages", "Where the time of a conversion goes", "share of the time (%)", labels, tuple(parts))


def _audit(rows: list[dict[str, Any]]) -> Bars:
    """Ratios to `show`, in process and as a command, where it does not fail."""
    rows = [row for row in rows if row["in_process"]["ratio"] and row["command"]["ratio"]]
    values = {key: tuple(row[key]["ratio"]["median"] for row in rows) for key in ("in_process", "command")}
    labels = tuple(f"{row['wheel'].partition('-')[0]}, {row['modules_size'] / 1e6:.1f} MB of modules" for row in rows)
    parts = (("in process", BLUE, values["in_process"]), ("as a command", ORANGE, values["command"]))
    return Bars("bench-audit", "Audit beside show", "time of audit / time of auditwheel-emscripten's show", labels, parts)
