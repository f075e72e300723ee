"""What the figures are to show, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.bench.timing import Times

MIB = 1 << 20
LARGE, SMALL = 40_000_000, 1_000_000  # bytes: a ratio is a goal from here on, and the time above the floor below
RATIO, ABOVE = 1.5, 0.060  # times the floor; seconds above it
MEMORY = ((45_000_000, 160), (130_000_000, 400))  # MiB for a package that unpacks to that
MANY_MEMORY = 512  # MiB for 1 GB of many files
GRILL = 3.0  # seconds


@dataclass(frozen=True)
class Goal:
    """One of them: in words, the figure that was measured, and whether that is good enough."""

    words: str
    measured: str
    met: bool


def goals(document: dict[str, Any]) -> list[Goal]:
    """Every goal of which the document has figures."""
    parts = document["parts"]
    return [*_convert(parts.get("convert", {})), *_audit(parts.get("audit", {}).get("wheels", []))]


def _convert(part: dict[str, Any]) -> Iterator[Goal]:
    rows = part.get("by_size", [])
    for row in rows:
        name, ratio = f"{row['size']} `.{row['archive']}`", row["ratio"]["median"]
        if row["unpacked"] >= LARGE:
            yield Goal(f"`convert` of {name}: at most {RATIO:g} times the floor", f"{ratio:.2f}", ratio <= RATIO)
        if row["unpacked"] < SMALL:
            words = f"`convert` of {name}: at most {ABOVE * 1000:.0f} ms above the floor"
            yield Goal(words, f"{row['above_floor'] * 1000:.0f} ms", row["above_floor"] <= ABOVE)
    for size, bound in MEMORY:
        for row in rows:
            if abs(row["unpacked"] - size) < size / 20:
                peak = row["memory"]["peak"] / MIB
                words = (
                    f"memory of {row['size']} `.{row['archive']}`, {row['unpacked'] / 1e6:.0f} MB unpacked: at most {bound} MiB"
                )
                yield Goal(words, f"{peak:.0f} MiB", peak <= bound)
    if "many" in part:
        peak, files = part["many"]["memory"] / MIB, part["many"]["files"]
        yield Goal(f"memory of 1 GB in {files:,} files: at most {MANY_MEMORY} MiB", f"{peak:.0f} MiB", peak <= MANY_MEMORY)
    for row in part.get("threads", []):
        words = f"wheels of {row['package']} with {', '.join(row['by_threads'])} threads: the same bytes"
        yield Goal(words, "the same" if row["identical"] else "different", row["identical"])


def _audit(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    for row in rows:
        if row["wheel"].startswith("pymupdf-"):
            for key, words in (("in_process", "in process"), ("command", "as a command")):
                ratio = row[key]["ratio"]["median"]
                yield Goal(f"`audit` of pymupdf {words}: faster than `show`", f"{ratio:.2f} of its time", ratio < 1)
        if row["wheel"].startswith("grill_usd_core-"):
            taken = Times.of(row["command"]["times"]["audit"]).median
            yield Goal(f"`audit` of grill-usd-core as a command: at most {GRILL:g} s", f"{taken:.2f} s", taken <= GRILL)
