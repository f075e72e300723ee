"""The pages of the service: what the channel has before anything is converted, and what became of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.index.pages.site import POLICIES
from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve import pages
from tests.helpers import channel4x, sets
from tests.helpers.served import serve
from tests.helpers.service import RunningService, configured, running, until


def packages() -> list[Path]:
    whole = channel4x.shared_channel()
    return [
        *(whole.file(each) for each in whole.builds if each.name in ("numpy", "r-arrow")),
        sets.pure("one", requires=["two"]),
        sets.pure("two"),
        sets.pure("renamed", project="other-name"),
    ]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    for name in ("FRESH", "PAUSE"):  # pages are made again for each request
        monkeypatch.setattr(pages, name, 0.0)
    sets.indexed(tmp_path / "channel", packages())
    with (
        serve(tmp_path / "channel", prefix="/forge") as channel,
        running(configured(tmp_path, channel=channel.url), executor=InProcessExecutor()) as started,
    ):
        until(lambda: started.service.catalogue.is_read)
        yield started


def states(service: RunningService) -> dict[str, str]:
    return {each["name"]: each["state"] for each in service.get("/catalogue.json").json()["packages"]}


@pytest.mark.long
def test_pages_before_and_after_conversions(service: RunningService) -> None:
    until(
        lambda: (
            states(service)
            == {"numpy": "pending", "one": "pending", "two": "pending", "renamed": "pending", "r-arrow": "refused"}
        )
    )
    page = service.get("/")
    assert page.status == 200
    assert page.headers["content-security-policy"] == f"{POLICIES['page']}; frame-ancestors 'none'"
    assert "4 are not converted yet" in page.text
    assert "Convert it now" in service.get("/packages/numpy/").text

    for name in ("numpy", "one", "renamed"):
        service.page(name)
    until(lambda: [states(service)[name] for name in ("numpy", "one", "two", "renamed")] == ["runs"] * 4)
    moved = service.get("/packages/Other_Name/")
    assert (moved.status, moved.headers["location"]) == (302, "../renamed/")
    document = service.get("/packages/numpy/index.json").json()["package"]
    wheel = document["builds"][0]["wheel"]
    assert document["runs"] == ["0.29.5", "0.28.3"]
    assert wheel["details"]["modules"] > 0
    for path in (wheel["path"], wheel["sbom"], wheel["provenance"]):
        found = service.get(f"/files/{path.removeprefix('blobs/')}")
        assert found.status == 200
    assert json.loads(found.body)["command"] == "convert"
    page = service.get("/packages/numpy/")
    assert f'href="../../files/{wheel["path"].removeprefix("blobs/")}"' in page.text
    assert service.get("/packages/numpy/badge.svg").headers["content-type"] == "image/svg+xml"
    assert service.get("/packages/numpy/", If_None_Match=page.headers["etag"]).status == 304
    assert service.get("/?q=numpy&state=runs").text.count('<tr role="row" hidden') == 4
    assert "wasm-unsafe-eval" in service.get("/try/").headers["content-security-policy"]
    assert service.get("/pyodide/0.29.5/pyodide.mjs").headers["content-type"].startswith("text/javascript")


@pytest.mark.long
@pytest.mark.parametrize(
    "path",
    [
        "/packages/nothing/",
        "/packages/numpy/other.json",
        "/packages/%2e%2e/",
        "/packages/..%2f..%2fetc/passwd",
        "/packages/%3Cscript%3Ealert(1)%3E/",
        "/static/other.js",
        "/static/..%2fsite.py",
        "/pyodide/0.29.5/..%2f..%2f..%2fpasswd",
        "/pyodide/9.9/pyodide.mjs",
        "/pyodide/0.29.5/package.json",
    ],
)
def test_what_is_not_there_is_404(service: RunningService, path: str) -> None:
    found = service.get(path)
    assert found.status == 404
    assert b"<script>alert" not in found.body


@pytest.mark.long
def test_odd_views_are_views(service: RunningService) -> None:
    for query in (
        "q=%00%ff",
        "q=" + "x" * 5000,
        "state=%3Cb%3E&sort=__proto__",
        "q=a&q=b&lacks=,,,",
        "pyodide=%22%3E%3Cscript%3Ealert(1)",
    ):
        page = service.get(f"/?{query}")
        assert page.status == 200
        assert "<script>alert" not in page.text
