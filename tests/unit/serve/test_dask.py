"""`serve --dask` with a real cluster: conversions on demand and jobs end on it; one that goes away is waited for."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers import conda, sets
from tests.helpers.dask_cluster import cluster
from tests.helpers.nginx import free_port
from tests.helpers.served import serve
from tests.helpers.service import request, until
from tests.helpers.service_process import ServiceProcess, started

pytestmark = pytest.mark.long  # two clusters start


def ended(service: ServiceProcess, path: str, data: bytes, kind: str) -> dict[str, object]:
    """Add a job, and follow it to its end."""
    added = request(f"{service.url}/api/v1/jobs{path}", "POST", data=data, Content_Type=kind)
    assert added.status == 202, added.text
    events = request(added.json()["links"]["events"]).text
    found: dict[str, object] = json.loads(events.rpartition("data: ")[2])
    return found


def test_jobs_end_on_a_cluster_that_may_go_away(tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", [sets.pure(name) for name in ("one", "two", "three", "four")])
    upload = conda.assemble("demo", "1.0", {"lib/python3.13/site-packages/demo/__init__.py": "x = 1"}, depends=["python >=3.13"])
    config, log, port = tmp_path / "mirror.toml", tmp_path / "log", free_port()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with serve(tmp_path / "channel", prefix="/forge") as channel, ExitStack() as stack:
        config.write_text(
            f'[channel]\nurls = ["{channel.url}"]\n[output]\nstore = "public"\n[serve]\nwait = "1s"\n'
            'open = ["read", "convert", "upload"]\n',
            encoding="utf-8",
        )
        with cluster(tmp_path / "first", 1, port) as (address, _):
            service = stack.enter_context(started(config, "--dask", address, log=log))
            until(lambda: service.get("/readyz").status == 200)
            until(lambda: len(service.page("one").get("files", [])) == 1)
            assert ended(service, "", b'{"spec": "two"}', "application/json")["status"] == "done"
            assert ended(service, f"?filename={upload.name}", upload.read_bytes(), "application/octet-stream")["status"] == "done"
            held = stack.enter_context(channel.hold("*/three-*"))
            assert service.get("/simple/three/").status == 503
            held.arrived()  # a worker has begun
        until(lambda: service.get("/readyz").status == 503)  # the cluster has gone, and what it was doing with it
        assert any("Dask scheduler" in each for each in service.get("/readyz").json()["problems"])
        assert service.page("one")["files"]
        late = service.get("/simple/four/")
        assert (late.status, "retry-after" in late.headers) == (503, True)
        until(lambda: any("no Dask scheduler" in str(each["message"]) for each in service.events("workers")))
        assert service.metric("jobs", status="queued") == 2
        assert service.metric("jobs", status="failed") == 0
        held.free()
        with cluster(tmp_path / "second", 1, port):
            until(lambda: service.get("/readyz").status == 200)
            service.idle()
            assert [len(service.page(name)["files"]) for name in ("three", "four")] == [1, 1]
            assert service.events("workers")[-1]["message"] == "they can be reached"
