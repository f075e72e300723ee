"""A new Python that converts or audits: its peak memory, and its times with a given number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.packages import ENTRIES

# Not ru_maxrss: a child that was forked off inherits its parent's.
_REPORT = """
import json
print(json.dumps([next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) * 1024, value]))
"""
_CONVERT = """
import sys, time
from conda2wheel.commands.convert import convert
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.threads import use_threads
use_threads(int(sys.argv[2]) or None)
started, used = time.perf_counter(), time.process_time()
result = convert(sys.argv[1], out=sys.argv[3], limits=Limits(entries=int(sys.argv[4])))
value = [time.perf_counter() - started, time.process_time() - used, result.sha256]
"""
IDLE = "import conda2wheel.commands.convert, rattler\nvalue = None"


@dataclass(frozen=True)
class Conversion:
    """What a new process says: peak memory in bytes (VmHWM), seconds without its start, the wheel's hash."""

    memory: int
    wall: float
    cpu: float
    sha256: str


def fresh(code: str, *arguments: str) -> tuple[int, Any]:
    """The peak memory of a new Python that runs `code`, in bytes, and the `value` that it leaves."""
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    words = [sys.executable, "-c", code + _REPORT, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    memory, value = json.loads(done.stdout.splitlines()[-1])
    return memory, value


def convert_in_new_process(package: Path, out: Path, threads: int = 0) -> Conversion:
    """Convert a package with so many threads; 0: as many as there are processors."""
    memory, (wall, cpu, sha256) = fresh(_CONVERT, str(package), str(threads), str(out), str(ENTRIES))
    return Conversion(memory, wall, cpu, sha256)
