"""nginx in front of the service, with the configuration in the manual."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import nginx, sets
from tests.helpers.mirror_index import publish_release
from tests.helpers.service import JSON, configured, request, running

BIG = b"x" * (2 << 20)  # more than nginx takes by itself


@pytest.mark.long
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
