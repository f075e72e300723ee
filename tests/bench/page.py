"""docs/explanation/performance.md and the plots in docs/assets, out of the document of a run.

What stands between `<!-- bench: NAME -->` and `<!-- /bench -->` is made here; everything else is written by hand and stays.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench import tools
from tests.bench.audit import FLOOR, OURS, SHOW
from tests.bench.figures import MIB, Figure, as_json, figures, times
from tests.bench.goals import goals
from tests.bench.tables import many_row, seconds
from tests.bench.timing import Times
from tests.helpers.cache import REPOSITORY

PAGE = REPOSITORY / "docs" / "explanation" / "performance.md"
ASSETS = REPOSITORY / "docs" / "assets"
_SECTION = re.compile(r"(?<=<!-- bench: )([\w-]+)( -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def write(document: dict[str, Any], page: Path = PAGE, assets: Path = ASSETS) -> None:
    """Bring the page and its plots up to date with a document; sections whose part it lacks stay as they are."""
    draw(figures(document), assets, formats=("svg",))
    page.write_text(filled(page.read_text(encoding="utf-8"), document), encoding="utf-8")


def draw(every: list[Figure], folder: Path, formats: tuple[str, ...] = ("png", "svg")) -> None:
    """Write the plots as NAME.png and NAME.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(tools.installed(*tools.PLOTS))}
    command = [sys.executable, str(Path(__file__).with_name("draw.py")), str(folder), *formats]
    text = json.dumps(as_json(every))
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])


def filled(text: str, document: dict[str, Any]) -> str:
    """The page's text with the sections of the document's parts."""
    made = sections(document)

    def section(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}{made[match[1]]}" if match[1] in made else match[0]

    return _SECTION.sub(section, text)


def sections(document: dict[str, Any]) -> dict[str, str]:
    """The Markdown of each section, by its name."""
    parts, plots = document["parts"], {figure.name: figure for figure in figures(document)}
    found = {f"plot-{name.removeprefix('bench-')}": _plot(figure) for name, figure in plots.items()}
    found |= {f"machine-{name}": _machine(part) for name, part in parts.items()}
    if "convert" in parts:
        part = parts["convert"]
        found |= {"convert": _convert(part["by_size"]), "peers": _peers(part["by_size"]), "stages": _stages(part["by_size"])}
        found |= {"floor": _floor(part["by_size"]), "count": _count(part["by_count"]), "threads": _threads(part["threads"])}
        if "many" in part:
            found["many"] = f"{many_row(part['many'])}."
    if "audit" in parts:
        found["audit"] = _audit(parts["audit"]["wheels"])
        if parts["audit"]["repair"]:
            found["repair"] = _repair(parts["audit"]["repair"])
    if "downloads" in parts:
        found["downloads"] = _downloads(parts["downloads"])
    if reached := goals(document):
        lines = [[goal.words, goal.measured, "met" if goal.met else "**not met**"] for goal in reached]
        found["goals"] = table(["goal", "measured", ""], lines)
    return {name: f"\n{text}\n\n" for name, text in found.items()}


def _plot(figure: Figure) -> str:
    shown = f"{figure.title}: the tables below have the figures"
    return f"![{shown}](../assets/{figure.name}.svg)"


def _machine(part: dict[str, Any]) -> str:
    machine, commit = part["machine"], part["commit"] or "no commit"
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(machine["libraries"].items()))
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory'] / (1 << 30):.0f} GiB, {machine['system']}"
    return f"Measured on {part['date']} at {commit}: {where}, {machine['python']}, load {machine['load']}; {libraries}."


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _name(row: dict[str, Any]) -> str:
    return f"{row['size']} `.{row['archive']}`"


def _few(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The smallest, the largest, and the one nearest to 45 MB: a page has no room for more columns."""
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    near = min(rows, key=lambda row: abs(row["unpacked"] - 45e6))["size"] if rows else ""
    return [row for row in rows if row["size"] in (*sizes[:1], near, *sizes[-1:])]


def _convert(rows: list[dict[str, Any]]) -> str:
    head = ["package", "unpacked", "files", "convert", "floor", "ratio", "spread", "above", "peak memory"]
    lines = []
    for row in rows:
        timed, ratio = times(row), row["ratio"]
        lines.append(
            [
                _name(row),
                f"{row['unpacked'] / 1e6:.1f} MB",
                f"{row['files']:,}",
                seconds(timed["convert"].median),
                seconds(timed["floor"].median),
                f"{ratio['median']:.2f}",
                f"{ratio['least']:.2f} to {ratio['most']:.2f}",
                seconds(row["above_floor"]),
                f"{row['memory']['peak'] / MIB:.0f} MiB",
            ]
        )
    return table(head, lines)


def _peers(rows: list[dict[str, Any]]) -> str:
    having = [row for row in rows if len(row["times"]) > 2]
    names = [name for name in having[0]["times"] if name != "floor"] if having else []
    lines = [[_name(row), *(seconds(times(row)[name].median) for name in names)] for row in having]
    return table(["package", *names], lines)


def _stages(rows: list[dict[str, Any]]) -> str:
    having = _few([row for row in rows if "stages" in row])
    names = list(dict.fromkeys(stage for row in having for stage in row["stages"]))
    lines = [[name, *(seconds(row["stages"].get(name, {"wall": 0.0})["wall"]) for row in having)] for name in names]
    return table(["stage", *map(_name, having)], lines)


def _floor(rows: list[dict[str, Any]]) -> str:
    having = _few([row for row in rows if "floor_parts" in row])
    names = list(having[0]["floor_parts"]) if having else []
    lines = [[name, *(seconds(row["floor_parts"][name]) for row in having)] for name in names]
    return table(["one core", *map(_name, having)], lines)


def _count(rows: list[dict[str, Any]]) -> str:
    head = ["files", "convert", "floor", "ratio", "spread", "a file", "peak memory"]
    lines = []
    for row in rows:
        timed, ratio = times(row), row["ratio"]
        lines.append(
            [
                f"{row['files']:,}",
                seconds(timed["convert"].median),
                seconds(timed["floor"].median),
                f"{ratio['median']:.2f}",
                f"{ratio['least']:.2f} to {ratio['most']:.2f}",
                f"{1e6 * timed['convert'].median / row['files']:,.0f} µs",
                f"{row['memory']['peak'] / MIB:.0f} MiB",
            ]
        )
    return table(head, lines)


def _threads(rows: list[dict[str, Any]]) -> str:
    counts = list(rows[0]["by_threads"]) if rows else []
    lines = []
    for row in rows:
        cells = [row["by_threads"][count] for count in counts]
        shown = [f"{seconds(cell['wall'])}, {seconds(cell['cpu'])}" for cell in cells]
        lines.append([row["package"], *shown, "yes" if row["identical"] else "no"])
    return table(["package", *(f"{count} threads: time, of all cores" for count in counts), "the same bytes"], lines)


def _audit(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        for key, words in (("in_process", "in process"), ("command", "as a command")):
            timed, ratio = {name: Times.of(value) for name, value in row[key]["times"].items()}, row[key]["ratio"]
            first = f"{row['wheel'].partition('-')[0]}, {row['modules']} modules, {row['modules_size'] / 1e6:.1f} MB of them"
            figures_ = [seconds(timed[work].median) if work in timed else "fails" for work in (OURS, SHOW, FLOOR)]
            spread = f"{ratio['least']:.2f} to {ratio['most']:.2f}" if ratio else ""
            peak = f"{row['memory']['peak'] / MIB:.0f} MiB" if key == "command" else ""
            lines.append(
                [first if key == "in_process" else "", words, *figures_, f"{ratio['median']:.2f}" if ratio else "", spread, peak]
            )
    return table(["wheel", "", "audit", "`show`", "floor: unpacked in memory", "audit / show", "spread", "peak memory"], lines)


def _repair(rows: dict[str, dict[str, list[float]]]) -> str:
    return table(["pymupdf, to another tag", "time"], [[name, seconds(Times.of(value).median)] for name, value in rows.items()])


def _downloads(part: dict[str, Any]) -> str:
    lines = []
    for what, row in part["rows"].items():
        ours = statistics.median(row["times"]["conda2wheel"]["wall"])
        for name, ratio in row["ratios"].items():
            theirs = statistics.median(row["times"][name]["wall"])
            lines.append([what, f"{ours:.2f} s", f"{name} {theirs:.2f} s", f"{ratio['median']:.2f}"])
    return table(["", "conda2wheel", "beside", "ratio"], lines)
