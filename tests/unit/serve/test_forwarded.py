"""Who the client is behind proxies: X-Forwarded-For counts for the log and the rate if a proxy of `[serve] proxies` sent it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import sets
from tests.helpers.service import RunningService, configured, request, running, until

FORGED = "203.0.113.9"


def ask(service: RunningService, forwarded: str) -> int:
    """Ask for a conversion with an X-Forwarded-For; the status."""
    data = json.dumps({"spec": "one"}).encode()
    answer = request(f"{service.url}/api/v1/jobs", "POST", data=data, Content_Type="application/json", X_Forwarded_For=forwarded)
    return answer.status


@pytest.mark.parametrize(
    ("proxies", "asked", "clients", "statuses"),
    [
        pytest.param(
            ["127.0.0.1", "198.51.100.7"],
            ["192.0.2.1", f"{FORGED}, 192.0.2.1", "192.0.2.2", "192.0.2.2, 198.51.100.7", "2001:db8::1", "2001:db8::2"],
            ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "2001:db8::1", "2001:db8::2"],
            [202, 429, 202, 429, 202, 429],  # what a client itself wrote stands before what the proxy has added
            id="of a trusted proxy",
        ),
        pytest.param(["198.51.100.7"], [FORGED, "192.0.2.1"], ["127.0.0.1"] * 2, [202, 429], id="of another"),
        pytest.param([], [FORGED, "192.0.2.1"], ["127.0.0.1"] * 2, [202, 429], id="without proxies"),
    ],
)
def test_the_client_is_whom_a_trusted_proxy_names(
    tmp_path: Path, proxies: list[str], asked: list[str], clients: list[str], statuses: list[int]
) -> None:
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    config = configured(tmp_path, f'[serve]\nrate = "1/day"\nproxies = {json.dumps(proxies)}\n')
    with running(config, executor=InProcessExecutor()) as service:
        service.idle()
        assert [ask(service, each) for each in asked] == statuses
        until(lambda: len(_posts(service)) == len(asked))
        assert [each["client"] for each in _posts(service)] == clients


def _posts(service: RunningService) -> list[dict[str, Any]]:
    return [each for each in service.events("request") if each["method"] == "POST"]
