"""Draw the plots that `figures.py` describes: one PNG and one SVG each. A program of its own, since matplotlib is not in .venv.

usage: python draw.py FOLDER png svg < FIGURES.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

INK = "#7f858f"  # readable on white and on the dark background
SIZE = (7.4, 4.2)  # inches
MARKERS = "osD^vP"
NO_DATES: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}


def main(folder: Path, formats: list[str], figures: list[dict[str, Any]]) -> None:
    """Draw each of the figures in each format."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "bench",  # the same figures are the same bytes
            "font.family": "sans-serif",
            "font.size": 11,
            "axes.titlesize": 12,
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        }
    )
    for each in figures:
        shape, axes = plt.subplots(figsize=SIZE if each["kind"] == "lines" else (SIZE[0], _height(each)))
        {"lines": _lines, "bars": _bars}[each["kind"]](axes, each)
        axes.set_title(each["title"], loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        for name in formats:
            place = folder / f"{each['name']}.{name}"
            shape.savefig(place, dpi=130, transparent=True, bbox_inches="tight", metadata=NO_DATES[name])
        plt.close(shape)


def _lines(axes: Any, each: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for number, series in enumerate(each["series"]):
        style = {"color": series["colour"], "linestyle": "--" if series["dashed"] else "-", "label": series["name"]}
        axes.plot(series["x"], series["y"], marker=MARKERS[number % len(MARKERS)], markersize=5, linewidth=1.8, **style)
        if series["spread"]:
            least, most = zip(*series["spread"], strict=True)
            axes.fill_between(series["x"], least, most, color=series["colour"], alpha=0.18, linewidth=0)
    if "x" in each["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if "y" in each["log"]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    if each["goal"] is not None:
        axes.axhline(each["goal"], color=INK, linestyle=":", linewidth=1.4, label=f"goal from 45 MB: {each['goal']:g}")
    axes.set_xlabel(each["x_label"])
    axes.set_ylabel(each["y_label"])
    axes.grid(True, which="major", color=INK, alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False, fontsize=9.5)


def _bars(axes: Any, each: dict[str, Any]) -> None:
    stacked = "share" in each["x_label"]
    rows, left = range(len(each["rows"])), [0.0] * len(each["rows"])
    height = 0.7 if stacked else 0.8 / len(each["parts"])
    for number, (name, colour, values) in enumerate(each["parts"]):
        if stacked:
            axes.barh(rows, values, left=left, color=colour, height=height, label=name)
            left = [before + value for before, value in zip(left, values, strict=True)]
            continue
        places = [row + (number - (len(each["parts"]) - 1) / 2) * height for row in rows]
        drawn = axes.barh(places, values, color=colour, height=height * 0.9, label=name)
        axes.bar_label(drawn, fmt="%.2f", padding=3, color=INK, fontsize=9.5)
    axes.set_yticks(list(rows), each["rows"])
    axes.invert_yaxis()
    axes.set_xlabel(each["x_label"])
    if stacked:
        axes.set_xlim(0, 100)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.18 * SIZE[1] / _height(each)))
    else:
        axes.axvline(1, color=INK, linestyle=":", linewidth=1.4)
        axes.margins(x=0.12)
        axes.legend(frameon=False, fontsize=9.5)


def _height(each: dict[str, Any]) -> float:
    return 1.0 + 0.36 * len(each["rows"]) * (1 if "share" in each["x_label"] else 1.6)


def _number(value: float, _: object) -> str:
    return f"{value:g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:], json.load(sys.stdin))
