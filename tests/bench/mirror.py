"""`scripts/bench mirror`: nights of a mirror of a whole channel over HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench import document
from tests.bench.timing import Times, by_turns, ratio

ARTIFACTS = 2600
READ = """
import sys
from conda2wheel.channels.downloads import Downloads
from conda2wheel.mirror.plan.select import list_packages
assert list_packages(sys.argv[1:], Downloads())
"""


def night(config: Path, workers: int) -> dict[str, Any]:
    """A run: seconds, items, and the least and the most memory of its own process (VmRSS) after its first tenth, in bytes."""
    words = [sys.executable, "-m", "conda2wheel", "mirror", "run", str(config), "--workers", str(workers), "--json"]
    started = time.perf_counter()
    sizes = []
    with tempfile.TemporaryFile() as out, subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.25)
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                sizes.append(int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024)
        taken = time.perf_counter() - started
        out.seek(0)
        report = json.load(out)
    middle = sizes[len(sizes) // 10 : len(sizes) * 9 // 10] or sizes  # the last is spent on publishing and reporting
    return {
        "workers": workers,
        "seconds": taken,
        "worked": report["run"]["worked"],
        "counts": report["counts"],
        "memory": {"least": min(middle), "most": max(middle), "end": max(sizes)} if middle else None,
    }


def without_news(config: Path, url: str) -> dict[str, Times]:
    """A night that finds nothing new, and a process that reads the list alone, by turns."""
    words = [sys.executable, "-c", READ, url]
    return by_turns({"night": lambda: night(config, 2), "floor": lambda: subprocess.run(words, check=True)})


def bench(artifacts: int = ARTIFACTS, report: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """First runs with one and two workers, and nights without news by turns with a process that reads the list alone."""
    from tests.helpers import channel4x
    from tests.helpers.served import serve

    made = channel4x.shared_channel(artifacts)
    nights = []
    with serve(made.root, prefix="/emscripten-forge-4x") as channel, tempfile.TemporaryDirectory() as place:
        for workers in (1, 2):
            folder = Path(place) / str(workers)
            folder.mkdir()
            config = folder / "mirror.toml"
            config.write_text(f'[channel]\nurls = ["{channel.url}"]\n[select]\nbuilds = 0\n[output]\nstore = "public"\n')
            channel.forget()
            with mock.patch.dict(os.environ, {"CONDA2WHEEL_CACHE": str(folder / "cache")}):
                row = night(config, workers)
                row |= {"requests": sum(channel.requests.values()), "bytes": sum(channel.bytes.values())}
                nights.append(row)
                report(night_row(row))
                if workers == 2:
                    times = without_news(config, channel.url)
    each = ratio(times["night"], times["floor"])
    return document.part(
        artifacts=artifacts,
        first=nights,
        without_news={
            "times": {name: value.json() for name, value in times.items()},
            "ratio": {"median": each.median, "least": each.least, "most": each.most},
        },
    )


def night_row(row: dict[str, Any]) -> str:
    """One run, for a terminal."""
    ended = ", ".join(f"{row['counts'][status]} {status}" for status in ("done", "refused", "failed", "pending"))
    each = f"{row['worked'] / row['seconds']:.1f} a second, {row['workers']} workers: {ended}"
    lines = [f"  {row['seconds']:8.1f} s   {row['worked']} items, {each}"]
    if row["memory"] is not None:
        least, most, end = (row["memory"][key] / 1e6 for key in ("least", "most", "end"))
        lines.append(f"  {'':8}     memory of its own process {least:.0f} to {most:.0f} MB, at the end {end:.0f} MB")
    lines.append(f"  {'':8}     {row['requests']} requests, {row['bytes'] / 1e6:.1f} MB")
    return "\n".join(lines)


def table(part: dict[str, Any]) -> str:
    """For a terminal."""
    quiet = part["without_news"]
    taken, floor = (statistics.median(quiet["times"][name]["wall"]) for name in ("night", "floor"))
    each = quiet["ratio"]
    return "\n".join(
        [
            f"a mirror of {part['artifacts']} artifacts over HTTP",
            *map(night_row, part["first"]),
            f"  {taken:8.2f} s   a night without news: {each['median']:.1f} times the {floor:.2f} s of reading the list alone",
        ]
    )
