"""SIGHUP: the configuration is read again while the service runs."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve.run import serve
from tests.helpers import sets
from tests.helpers.mirror_index import publish_release
from tests.helpers.service import JSON, PATIENCE, Response, configured, request, until

ADDRESS = "https://wheels.example/forge"
HEAD = "[serve]\nport = 0\n"


@contextmanager
def kept_loggers(*names: str) -> Iterator[None]:
    """Give loggers back their handlers."""
    before = [(each, each.handlers, each.propagate, each.level) for each in map(logging.getLogger, names)]
    try:
        yield
    finally:
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def served(folder: Path, scenario: Callable[[str], None]) -> None:
    """Run the service in this thread, as the command does, while a scenario runs in another."""
    addresses: queue.Queue[str] = queue.Queue()

    def play() -> None:
        if not (address := addresses.get(timeout=PATIENCE)):
            return  # it did not start
        try:
            scenario(address)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with kept_loggers("uvicorn", "uvicorn.error", "conda2wheel"), ThreadPoolExecutor(1) as pool:
        played = pool.submit(play)
        try:
            serve(lambda: configured(folder, (folder / "more").read_text()), InProcessExecutor(), addresses.put)
        finally:
            addresses.put("")
        played.result()


def test_sighup_takes_over_what_can_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses, scopes, sizes and rates; not a file with a mistake, nor what needs a restart."""
    more, lines = tmp_path / "more", list[dict[str, Any]]()
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    publish_release(open_store(str(tmp_path / "public")), 1)
    more.write_text(HEAD)

    def reloads() -> list[dict[str, Any]]:
        lines.extend(json.loads(line) for line in capsys.readouterr().err.splitlines())
        return [each for each in lines if each["event"] == "reload"]

    def reload(text: str) -> dict[str, Any]:
        before = len(reloads())
        more.write_text(text)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: len(reloads()) > before)
        return reloads()[-1]

    def scenario(url: str) -> None:
        def post(data: bytes) -> Response:
            return request(
                f"{url}/api/v1/jobs?kind=audit&filename=a.whl", "POST", data=data, Content_Type="application/octet-stream"
            )

        def files() -> list[str]:
            return [each["url"] for each in request(f"{url}/simple/grows/", Accept=JSON).json()["files"]]

        assert files()[0].startswith(f"{url}/files/")
        assert post(b"x").status == 401
        assert (
            reload(f'[serve]\nport = 0\nurl = "{ADDRESS}/"\nopen = ["read", "audit"]\nupload = "2"\nrate = "2/hour"\n')["level"]
            == "info"
        )
        assert files()[0].startswith(f"{ADDRESS}/files/")
        assert [post(data).status for data in (b"xyz", b"xy", b"x")] == [413, 202, 429]
        mistaken = reload("[serve]\nprot = 1\n")
        assert (mistaken["level"], "did you mean port?" in mistaken["message"]) == ("error", True)
        other = reload('[serve]\nport = 9\nopen = []\n[work]\nworkers = 7\n[state]\npath = "other.sqlite"\n')
        assert other["changed"] == ["port", "[state] path", "[work] workers"]
        assert files()[0].startswith(f"{ADDRESS}/files/")
        assert reload("[serve]\nport = 0\nopen = []\n")["level"] == "info"
        assert request(f"{url}/simple/grows/").status == 401
        assert request(f"{url}/healthz").status == 200

    served(tmp_path, scenario)
    assert [each["event"] for each in map(json.loads, capsys.readouterr().err.splitlines())][-1] == "stopped"
