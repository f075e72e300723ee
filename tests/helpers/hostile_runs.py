"""Runs commands over inputs, each input in a forked process with bounds. As a program it reads jobs as lines of JSON.

A job is {"commands": [[word, ...], ...], "warm" (commands to run before it becomes another user), "cwd", "user",
"memory" (bytes of address space), "seconds"}; the answer is {"status",
"peak" (bytes), "seconds", "runs": [{"status", "stdout", "stderr"}, ...]}.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

NOBODY = 65534
ENCODINGS_OF_JSON = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16", "utf-32")  # json.loads takes each for bytes


def run_all(jobs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run jobs one after the other, and yield their answers."""
    command = [sys.executable, "-m", "tests.helpers.hostile_runs"]
    environ = {**os.environ, "CONDA2WHEEL_OFFLINE": "1"}  # or a channel is asked for the libraries that inputs name
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for job in jobs:
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            yield json.loads(server.stdout.readline())
        server.stdin.close()


def _run_job(job: dict[str, Any], answer: int) -> None:
    os.chdir(job["cwd"])
    if job["user"] is not None:
        for words in job["warm"]:  # another user may not be able to read the interpreter's modules
            _run(words)
        for encoding in ENCODINGS_OF_JSON:
            codecs.lookup(encoding)
        os.setgroups([])
        os.setgid(job["user"])
        os.setuid(job["user"])
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(job["seconds"])  # a hang ends the process
    with os.fdopen(answer, "w") as stream:
        for words in job["commands"]:
            stream.write(json.dumps(_run(words)) + "\n")
            stream.flush()


def _run(words: list[str]) -> dict[str, Any]:
    """Run the console script with its own streams."""
    from conda2wheel.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    sys.argv = ["conda2wheel", *words]
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        except BaseException:  # noqa: BLE001 - it is what the tests look for
            status = "exception"
            err.write(traceback.format_exc())
        out.flush()
        err.flush()
    read = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err)]
    return {"words": words, "status": status, "stdout": read[0], "stderr": read[1]}


def _serve() -> None:
    import importlib

    from tests.helpers.command import PRELOADED

    for name in PRELOADED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in iter(sys.stdin.readline, ""):
        reader, writer = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(reader)
            status = 1
            try:
                _run_job(json.loads(line), writer)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as stream:
            runs = [json.loads(each) for each in stream]
        _, status, usage = os.wait4(child, 0)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "peak": usage.ru_maxrss << 10,
            "seconds": time.monotonic() - started,
        }
        answers.write(json.dumps({**answer, "runs": runs}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
