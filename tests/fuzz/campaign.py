"""Fuzz one target for some time, over crashes of its process, and say what was done."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.fuzz.model import MEMORY, Target
from tests.fuzz.mutate import HOSTILE
from tests.helpers.rooms import REPOSITORY

HANGS = 120  # seconds of the clock after which one input counts as endless, also on a busy machine
MOST_STARTS = 20  # of the process of one target; each ends with a crash


@dataclass
class Campaign:
    """The fuzzing of one target, in `work/NAME`."""

    target: Target
    work: Path
    seeds: Path | None = None

    @property
    def folder(self) -> Path:
        """Where its inputs are."""
        return self.work / self.target.name

    def run(self, seconds: float | None, runs: int | None) -> int:
        """Fuzz for some time or with a number of inputs; returns the number of new findings."""
        known = len(self.findings())
        before, began = self.inputs(), time.monotonic()
        self._begin()
        for _ in range(MOST_STARTS):
            spent = time.monotonic() - began
            left = None if seconds is None else int(seconds - spent)
            more = None if runs is None else runs - (self.inputs() - before)
            if (left is not None and left < 1) or (more is not None and more < 1):
                break
            status = self._process(left, more)
            if status == 0:
                break
            self._note_crash(status)
        return len(self.findings()) - known

    def _begin(self) -> None:
        corpus = self.folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        if self.seeds is not None:
            os.environ["CONDA2WHEEL_FUZZ_SEEDS"] = str(self.seeds)
        for number, data in enumerate(self.target.seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
        words = {text.encode("utf-8", "surrogatepass")[:64] for text in HOSTILE if text}
        lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in sorted(words))
        (self.folder / "words").write_text("".join(f'"{line}"\n' for line in lines), encoding="ascii")

    def _process(self, seconds: int | None, runs: int | None) -> int:
        options = [
            f"-artifact_prefix={self.folder}/crash-",
            f"-dict={self.folder / 'words'}",
            f"-max_len={self.target.size}",
            f"-rss_limit_mb={MEMORY}",
            f"-timeout={HANGS}",
            "-detect_leaks=0",
            "-print_final_stats=1",
            "-seed=1" if runs else f"-seed={int(time.time()) & 0xFFFFFF}",
        ]
        if seconds is not None:
            options.append(f"-max_total_time={seconds}")
        if runs is not None:
            options.append(f"-runs={runs}")
        return _ask({"name": self.target.name, "folder": str(self.folder), "options": options})

    def _note_crash(self, status: int) -> None:
        """What ended the process is a finding, too: a signal, a hang, memory; its input is in a file `crash-*`."""
        log = (self.folder / "log").read_bytes()[-20_000:].decode("utf-8", "replace")
        reasons = [line for line in log.splitlines() if "ERROR: libFuzzer" in line]
        why = reasons[-1].partition("libFuzzer: ")[2] if reasons else log.strip().splitlines()[-1:]
        known = self.findings()
        key = f"process ended with {status}: {why}"
        known[key] = known.get(key, 0) + 1
        (self.folder / "findings.json").write_text(json.dumps(known, indent=2), encoding="utf-8")

    def findings(self) -> dict[str, int]:
        """How often each finding was met, by its signature."""
        path = self.folder / "findings.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def inputs(self) -> int:
        """How many inputs were tried so far."""
        return self._number(0)

    def seconds(self) -> float:
        """The processor time of all of them."""
        return self._number(8) / 1000

    def _number(self, at: int) -> int:
        path = self.folder / "count"
        return int.from_bytes(path.read_bytes()[at : at + 8], "little") if path.exists() else 0

    def line(self) -> str:
        """What was done, and the findings."""
        found = self.findings()
        done = f"{self.inputs()} inputs, {self.seconds():.0f} s of processor time"
        head = f"{self.target.name}: {done}, {len(found)} findings in {self.folder}"
        return "\n".join([head, *(f"  {count} times {each}" for each, count in found.items())])


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.run"]
    server = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # it ends with its input
    return server


def _ask(request: dict[str, object]) -> int:
    """Have a target run, and return the status of its process."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise RuntimeError(f"tests.fuzz.run ended with {server.wait()}")
    return int(answer)


def table(work: Path, targets: Iterable[Target]) -> str:
    """A Markdown table of what was done in a folder."""
    lines = ["| target | reads | inputs | processor time | open findings |", "| --- | --- | --- | --- | --- |"]
    for target in targets:
        each = Campaign(target, work)
        row = (f"`{target.name}`", target.what, f"{each.inputs():,}", f"{each.seconds():.0f} s", str(len(each.findings())))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
