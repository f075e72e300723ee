"""The command line in processes of its own, which are forked from one that has imported everything.

Each has its own working folder, environment, file descriptors and end, and starts in some milliseconds. What a fresh
interpreter does is the matter of `python -m conda2wheel`, which the first test of each command runs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers import schemas

PRELOADED = (
    "rattler",
    "conda2wheel.cli",
    "conda2wheel.bundle.build",
    "conda2wheel.commands.audit",
    "conda2wheel.commands.convert",
    "conda2wheel.commands.inspect",
    "conda2wheel.commands.repair",
    "conda2wheel.commands.verify",
    "conda2wheel.mirror.run",
)


def run(
    *arguments: object,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: str = "file",
    user: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """`conda2wheel ARGUMENTS`, with what it wrote. A document of --json must be valid by the schema of the manual.

    `stdout` may also be "ascii" (a file whose encoding the environment says), "closed", "full" or "unread" (a pipe whose reader
    has ended). `user` is the number of an unprivileged user.
    """
    words = [str(each) for each in arguments]
    if not hasattr(os, "fork"):
        return _fresh(words, cwd, env, stdout, user)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {
            "words": words,
            "cwd": str(Path(cwd or ".").absolute()),
            "environ": dict(os.environ if env is None else env),
            "out": str(out),
            "err": str(err),
            "stdout": stdout,
            "user": user,
        }
        out.touch()
        status = _ask(_server(os.getpid()), request)
        done = subprocess.CompletedProcess(words, status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    return _checked(done)


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if "--json" in done.args and done.stdout.startswith("{"):
        schemas.check_printed(done.args, done.stdout)
    return done


def _fresh(
    words: list[str], cwd: str | Path | None, env: Mapping[str, str] | None, stdout: str, user: int | None
) -> subprocess.CompletedProcess[str]:
    """The same in a fresh interpreter, where processes are not forked."""
    if stdout not in ("file", "ascii") or user is not None:
        pytest.skip("needs the file descriptors and users of POSIX")
    environ = {"PYTHONIOENCODING": "utf-8", **(os.environ if env is None else env)}
    command = [sys.executable, "-m", "conda2wheel", *words]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, encoding="utf-8", check=False)


@functools.cache
def _server(_process: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.helpers.command"]
    server = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    atexit.register(server.communicate)  # it ends with its input
    return server


def _ask(server: subprocess.Popen[str], request: Mapping[str, object]) -> int:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def _become(words: list[str], cwd: str, environ: Mapping[str, str], out: str, err: str, stdout: str, user: int | None) -> None:
    """Turn this forked process into one of the command line."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        file = os.open(path, flags | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    _change_stdout(stdout, environ.get("PYTHONIOENCODING", "utf-8"))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    sys.argv = ["conda2wheel", *words]
    from conda2wheel.cli import main

    main()


def _change_stdout(kind: str, encoding: str) -> None:
    if kind == "ascii":
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(encoding=encoding, errors="strict")
    elif kind == "closed":
        os.close(1)
    elif kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif kind == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    requests, answers = os.fdopen(os.dup(0), closefd=True), os.dup(1)
    for line in iter(requests.readline, ""):
        child = os.fork()
        if child == 0:
            os.close(answers)
            requests.close()
            _become(**json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
