"""Progress shows how far a run is, the estimated time and what each worker does; a log has lines."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import IO

import pytest

from conda2wheel.mirror.report.progress import ProgressView, RunProgress, show_progress
from conda2wheel.mirror.state.model import ItemResult, ResultStatus
from tests.helpers import mirror_reports as reports

REPOSITORY = Path(__file__).parents[3]
RUN = """
import sys
from conda2wheel.mirror.report.progress import show_progress
from tests.helpers.mirror_reports import HOSTILE, done, package
of = package("numpy")
with show_progress(8) as view:
    for number in range(6):
        view.started("worker 1", f"numpy-{number}")
        view.started("worker 2", HOSTILE)
        view.stage("worker 1", "download", 3_000_000)
        sys.stdin.readline()  # until the terminal has shown it
        view.finished("worker 1", "numpy", done(of, "done", downloaded=5_000_000))
    view.finished("worker 2", HOSTILE, done(of, "failed", "crash", message="signal 11"))
    print("the result")
"""


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(status: ResultStatus = "done", downloaded: int = 0) -> ItemResult:
    return reports.done(
        reports.package("x"), status, None if status == "done" else "crash", message="signal 11", downloaded=downloaded
    )


def test_the_estimated_time_follows_the_rate_of_the_last_minute() -> None:
    progress = RunProgress(1000, began=0.0)
    for second in range(100):  # a hundred items, one a second
        progress.finish(None, ended(), float(second))
    assert progress.seconds_left(99.0) == pytest.approx(900, rel=0.05)
    for second in range(100, 220, 12):  # then five a minute
        progress.finish(None, ended(), float(second))
    assert progress.seconds_left(219.0) == pytest.approx(890 * 12, rel=0.1)


def test_no_time_is_estimated_from_few_or_old_items() -> None:
    progress = RunProgress(10, began=0.0)
    assert progress.rates(0.0) == (0.0, 0.0)
    for second in range(4):
        progress.finish(None, ended(), float(second))
    assert progress.seconds_left(4.0) is None
    progress.finish(None, ended(), 5.0)
    assert progress.seconds_left(5.0) == pytest.approx(5.0)
    assert progress.seconds_left(3600.0) is None


def test_bytes_of_running_items_are_counted_once() -> None:
    progress = RunProgress(2, began=0.0)
    progress.start("1", "x", 0.0)
    progress.stage("1", "download", 300)
    assert progress.bytes() == 300
    progress.finish("1", ended(downloaded=1000), 10.0)
    assert (progress.bytes(), progress.rates(10.0)[1]) == (1000, 100.0)
    assert progress.workers["1"].what is None
    progress.remove_worker("1")
    progress.stage("1", "download", 5)  # a late event of a worker that is gone
    assert progress.workers == {}


def test_a_log_has_a_line_at_intervals_and_for_each_failure() -> None:
    clock, log = Clock(), io.StringIO()
    view = ProgressView(20, log, every=10.0, clock=clock)
    for _ in range(12):
        view.started("1", "x-1.0-0")
        clock.now += 2.0
        view.finished("1", "x-1.0-0", ended(downloaded=1_000_000))
    view.finished("1", "linux-64/bad\x1b[2J", ended("failed"))
    view.close()
    assert log.getvalue().splitlines() == [
        "5 of 20; 5 done; 30 items/min; 5.0 MB (500 kB/s); 30.0 s left",
        "10 of 20; 10 done; 30 items/min; 10 MB (500 kB/s); 20.0 s left",
        "linux-64/bad\\x1b[2J: failed: crash: signal 11",
        "13 of 20; 12 done, 1 failed; 32 items/min; 12 MB (500 kB/s); 12.9 s left",
    ]


def test_lines_have_the_time_of_day_only_with_stamps() -> None:
    log = io.StringIO()
    with show_progress(1, log, stamps=True) as view:
        view.finished(None, "x", ended())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} 1 of 1; 1 done.*\n", log.getvalue())


def test_quiet_prints_nothing_and_counts() -> None:
    log = io.StringIO()
    with show_progress(1, log, quiet=True) as view:
        view.finished(None, "x", ended("failed"))
    assert (log.getvalue(), view.progress.ended) == ("", 1)


def test_the_last_line_is_printed_after_an_exception() -> None:
    log = io.StringIO()

    def broken() -> None:
        with show_progress(3, log) as view:
            view.finished(None, "x", ended("refused"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert log.getvalue().startswith("1 of 3; 1 refused")


@dataclass
class Terminal:
    """Records what is sent to a terminal."""

    shown: list[bytes] = field(default_factory=list)

    def read(self, end: int, watched: IO[bytes]) -> None:
        """Read all; each item that is seen to be downloaded may end."""
        seen = 0
        try:
            while data := os.read(end, 65536):
                self.shown.append(data)
                while re.search(
                    rf"numpy-{seen} +download".encode(), re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", b"".join(self.shown))
                ):
                    seen += 1
                    watched.write(b"\n")
                    watched.flush()
        except OSError:  # the other end is closed
            return


def test_a_terminal_shows_a_bar_and_the_workers_and_keeps_failures_and_the_last_line() -> None:
    leader, follower = pty.openpty()
    terminal = Terminal()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=REPOSITORY, env=environ, stdin=PIPE, stdout=PIPE, stderr=follower
    ) as done:
        assert done.stdin is not None
        assert done.stdout is not None
        reader = threading.Thread(target=terminal.read, args=(leader, done.stdin))
        reader.start()
        said = done.stdout.read()
    os.close(follower)
    reader.join()
    os.close(leader)
    shown = b"".join(terminal.shown).decode()
    assert (done.returncode, said) == (0, b"the result\n"), shown
    assert "━" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"^worker 1 +numpy-\d +download 3\.0 MB +[\d.]+ s", plain, re.M), plain
    assert re.search(r"^5 of 8; 5 done; .* left", plain, re.M), plain
    assert "\x1b[2J" not in shown  # an escape sequence in a package's name
    last = shown.rpartition("\x1b[2K")[2].replace("\r", "")  # what remains after the live view is removed
    assert "signal 11" in shown
    assert re.search(r"7 of 8; 6 done, 1 failed; .*\n$", last)
