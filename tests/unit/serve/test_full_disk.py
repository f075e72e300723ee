"""A disk that is full: what needs it is answered by 503, what does not goes on, and all of it recovers without a restart."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve import runner
from tests.helpers import sets
from tests.helpers.mounts import tmpfs
from tests.helpers.service import JSON, configured, request, running, until

BINARY = "application/octet-stream"
SPEC = json.dumps({"spec": "two"}).encode()


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill a file system during the block, to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    assert os.statvfs(folder).f_bavail == 0
    yield
    ballast.unlink()


@pytest.mark.long
@pytest.mark.parametrize("what", ["state", "store"])
def test_a_full_disk_is_503_and_recovers(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PAUSE", 0.2)
    sets.indexed(tmp_path / "channel", [sets.pure("one"), sets.pure("two"), sets.pure("three")])
    with tmpfs(tmp_path / "small", "size=8m") as folder:
        more = '[serve]\nopen = ["read", "convert", "audit"]\nrate = ""\n'
        if what == "state":
            more = f'[state]\npath = "{folder / "mirror.sqlite"}"\n{more}'
        else:
            (tmp_path / "public").symlink_to(folder, target_is_directory=True)
        with running(configured(tmp_path, more), executor=InProcessExecutor()) as service:
            service.idle()
            [known] = service.page("one")["files"]
            service.idle()
            with full(folder):
                asked = service.get("/simple/two/", Accept=JSON)
                assert (asked.status, int(asked.headers["retry-after"]) > 0) == (503, True), asked.text
                if what == "state":
                    added = request(f"{service.url}/api/v1/jobs", "POST", data=SPEC, Content_Type="application/json")
                    sent = request(
                        f"{service.url}/api/v1/jobs?kind=audit&filename=a-1-py3-none-any.whl",
                        "POST",
                        data=b"x" * 100_000,
                        Content_Type=BINARY,
                    )
                    assert (added.status, sent.status) == (503, 503), (added.text, sent.text)
                    assert not list((folder / "uploads").glob("*/*"))
                assert service.page("one")["files"] == [known]
                assert request(known["url"]).status == 200
                assert service.get("/healthz").status == 200
            now = time.time() + 86400.0  # the pause of the failure is over
            with monkeypatch.context() as later:
                later.setattr("conda2wheel.serve.ondemand.time.time", lambda: now)
                until(lambda: service.get("/simple/two/", Accept=JSON).status == 200)
                assert len(service.page("two")["files"]) == 1
            until(lambda: service.get("/readyz").status == 200)
            assert service.page("three")["files"]
            assert not service.events("error")
