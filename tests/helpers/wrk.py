"""wrk (Debian's package): requests in turn from a list of paths on kept connections, as many as are answered or at a pace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 16
# Latencies are in microseconds. `delay` is called for every request, and in its absence there is none.
SCRIPT = """
local requests, number = {}, 0
init = function(args)
    for line in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", line) end
end
request = function()
    number = number % #requests + 1
    return requests[number]
end
done = function(summary, latency, _)
    local e = summary.errors
    io.write(string.format('\\n{"requests": %d, "duration": %d, "p50": %d, "p99": %d, "errors": %d}\\n', summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What a load found: requests per second, times of answers in milliseconds, processor time of the server per request in
    microseconds (its children's included)."""

    rate: float
    p50: float
    p99: float
    cpu: float


def find() -> str | None:
    """The program, where it is installed."""
    return shutil.which("wrk")


def load(urls: Sequence[str], accept: str, seconds: int, process: int, pause: float = 0.0) -> Load:
    """Load one server.

    Args:
        urls: what is asked for in turn.
        accept: the Accept header.
        seconds: how long.
        process: the server's process, of which the processor time is read.
        pause: milliseconds that each connection waits between two requests; 0 for none.
    """
    parts = [urlsplit(url) for url in urls]
    with tempfile.TemporaryDirectory() as name:
        script, paths = Path(name, "requests.lua"), Path(name, "paths")
        script.write_text(SCRIPT + (f"delay = function() return {pause:g} end\n" if pause else ""), encoding="utf-8")
        paths.write_text("".join(f"{each.path}\n" for each in parts), encoding="utf-8")
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, "-H", f"Accept: {accept}"]
        before = processor_time(process)
        done = subprocess.run(
            [*map(str, command), f"http://{parts[0].netloc}/", "--", str(paths)], capture_output=True, text=True, check=True
        )
        used = processor_time(process) - before
    found = json.loads(done.stdout.splitlines()[-1])
    if found["errors"] or not found["requests"]:
        raise ValueError(f"{urls[0]}: {done.stdout}")
    count = found["requests"]
    return Load(count / found["duration"] * 1e6, found["p50"] / 1e3, found["p99"] / 1e3, used / count * 1e6)


def processor_time(process: int) -> float:
    """Seconds of processor time that a process and its children have used: /proc/PID/stat, proc(5)."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if process in (int(folder.name), int(fields[1])):
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
