"""nginx in front of the service, with the configuration in the manual."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import nginx, sets
from tests.helpers.mirror_index import publish_release
from tests.helpers.served import serve
from tests.helpers.service import JSON, PATIENCE, configured, request, running, until

pytestmark = pytest.mark.long  # nginx is installed
BIG = b"x" * (2 << 20)  # more than nginx takes by itself


def test_the_manuals_proxy_passes_addresses_uploads_and_events(tmp_path: Path) -> None:
    program = nginx.find()
    if program is None:
        pytest.skip("nginx is not to be had")
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    (tmp_path / "nginx").mkdir()
    publish_release(open_store(str(tmp_path / "public")), 1)
    with running(configured(tmp_path, '[serve]\nopen = ["read", "audit"]\n'), executor=InProcessExecutor()) as service:
        service.idle()
        with nginx.in_front(program, service.url, tmp_path / "nginx", "https") as address:
            [file, *_] = request(f"{address}simple/grows/", Accept=JSON).json()["files"]
            assert file["url"].startswith(f"{address.replace('http:', 'https:')}files/")
            assert request(file["url"].replace("https:", "http:"), Range="bytes=0-9").status == 206
            added = request(
                f"{address}api/v1/jobs?kind=audit&filename=a-1-py3-none-any.whl",
                "POST",
                data=BIG,
                Content_Type="application/octet-stream",
                X_Forwarded_For="192.0.2.1",
            )
            assert added.status == 202, added.text
            events = request(f"{address}api/v1/jobs/{added.json()['id']}/events")
            assert events.headers["content-type"].startswith("text/event-stream")
            assert "event: queued" in events.text
            assert "event: refused" in events.text or "event: failed" in events.text


def test_events_arrive_one_by_one_and_the_proxy_says_who_the_client_is(tmp_path: Path) -> None:
    """The conversion waits for its package until the events before it were read: a proxy that buffers would end nothing."""
    program = nginx.find()
    if program is None:
        pytest.skip("nginx is not to be had")
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    (tmp_path / "nginx").mkdir()
    with serve(tmp_path / "channel", prefix="/forge") as channel:
        config = configured(tmp_path, '[serve]\nrate = "1/day"\n', channel=channel.url)
        with running(config, executor=InProcessExecutor()) as service, channel.hold("*/one-*") as held:
            until(lambda: service.get("/readyz").status == 200)
            with nginx.in_front(program, service.url, tmp_path / "nginx") as address:
                forged = {"Content_Type": "application/json", "X_Forwarded_For": "192.0.2.1"}
                added = request(f"{address}api/v1/jobs", "POST", data=b'{"spec": "one"}', **forged)
                assert added.status == 202, added.text
                again = request(f"{address}api/v1/jobs", "POST", data=b'{"spec": "one"}', **{**forged, "X_Forwarded_For": "::1"})
                assert again.status == 429  # nginx says who asks, whatever that one says itself
                connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
                connection.request("GET", f"/api/v1/jobs/{added.json()['id']}/events")
                with connection.getresponse() as events:
                    read = [events.readline() for _ in range(8)]
                    assert [line.strip() for line in read if line.startswith(b"event:")] == [b"event: queued", b"event: running"]
                    held.arrived()
                    held.free()
                    rest = events.read().decode()
                connection.close()
                assert "event: done" in rest
                assert json.loads(rest.rpartition("data: ")[2])["status"] == "done"
        posts = [each for each in service.events("request") if each["method"] == "POST"]
        assert [each["client"] for each in posts] == ["127.0.0.1", "127.0.0.1"]
