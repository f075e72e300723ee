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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve.config import KEYS, ServeConfig
from conda2wheel.serve.run import serve
from conda2wheel.serve.tokens import TokenFolder
from tests.helpers import sets
from tests.helpers.mirror_index import publish_release
from tests.helpers.served import serve as channel_server
from tests.helpers.service import JSON, PATIENCE, Response, RunningService, configured, request, running, until

ADDRESS = "https://wheels.example/forge"
HEAD = "[serve]\nport = 0\n"


# [serve] and the mirror's keys that a reload does not take over, each with another value than before.
FIXED = {
    "host": 'host = "127.0.0.2"',
    "port": "port = 9",
    "proxies": 'proxies = ["192.0.2.1"]',
    "on_demand": "on_demand = false",
    "log": 'log = "text"',
    "[state] path": '[state]\npath = "other.sqlite"',
    "[work] workers": "[work]\nworkers = 7",
}


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


def test_a_reload_takes_over_all_keys_of_serve_but_those_that_it_names(tmp_path: Path) -> None:
    """Each of `FIXED` alone changes nothing and is named; the others hold at once, in what answers and in what repeats."""
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    taken = {"url", "wait", "refresh", "stop", "tokens", "open", "rate", "jobs", "upload", "upload_wait", "uploads"}
    assert taken | {name for name in FIXED if "[" not in name} == KEYS.keys()
    with channel_server(tmp_path / "channel", prefix="/forge") as channel:

        def config(serve: str = "", more: str = "") -> ServeConfig:
            return configured(tmp_path, f"{more}[serve]\n{serve}\n", channel=channel.url)

        with running(config(), executor=InProcessExecutor()) as service:
            service.idle()

            def reload(new: ServeConfig) -> dict[str, Any]:
                before = len(service.events("reload"))
                service.service.reload_soon(replace(new, port=0) if new.port == 8000 else new)
                until(lambda: len(service.events("reload")) > before)
                return service.events("reload")[-1]

            for name, text in FIXED.items():
                changed = config(more=f"{text}\n") if "[" in name else config(text)
                event = reload(changed)
                assert (event["level"], event["changed"]) == ("warning", [name])
                assert "a restart is needed" in event["message"]
            mirror = config().mirror
            elsewhere = replace(config(), mirror=replace(mirror, output=replace(mirror.output, store="other")))
            assert reload(elsewhere)["changed"] == ["[output] store"]
            texts = {}
            for folder in ("a", "b"):
                texts[folder], _ = TokenFolder(tmp_path / folder).create("t", ["read"], 1.8e9, None)
            assert reload(config('open = []\ntokens = "a"'))["level"] == "info"
            statuses = [service.get("/simple/", Authorization=f"Bearer {texts[each]}").status for each in "ab"]
            assert statuses == [200, 401]
            assert reload(config('open = []\ntokens = "b"'))["level"] == "info"
            statuses = [service.get("/simple/", Authorization=f"Bearer {texts[each]}").status for each in "ab"]
            assert statuses == [401, 200]
            reload(config('rate = ""\njobs = 1'))
            with channel.hold("*/one-*") as held:
                jobs = [_add(service) for _ in range(2)]
                held.arrived()
                assert [each.status for each in jobs] == [202, 429]
                held.free()
            service.idle()
            channel.forget()
            reload(config('refresh = "1s"\nurl = "https://wheels.example"'))
            assert _add(service).json()["links"]["self"].startswith("https://wheels.example/api/")
            until(lambda: ">https://wheels.example/<" in service.get("/packages/one/").text)  # pages are made behind a request
            until(lambda: max(channel.requests.values(), default=0) >= 4)  # it was ten minutes


def _add(service: RunningService) -> Response:
    return request(f"{service.url}/api/v1/jobs", "POST", data=b'{"spec": "one"}', Content_Type="application/json")
