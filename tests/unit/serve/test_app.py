"""The application around the index: health, readiness, metrics, logs and the end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.mirror_index import publish_release
from tests.helpers.service import JSON, RunningService, configured, running, until

OFF = "[serve]\non_demand = false\n"


def samples(service: RunningService) -> dict[tuple[str, ...], float]:
    """What /metrics has, by name and values of labels."""
    found = text_string_to_metric_families(service.get("/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in found for each in family.samples}


def test_a_store_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        assert service.get("/readyz").json()["status"] == "ready"  # nothing is published yet
        publish_release(service.service.store, 1)
        until(lambda: service.get("/readyz").json()["generation"] is not None)
        shutil.move(tmp_path / "public", tmp_path / "away")
        until(lambda: service.get("/readyz").status == 503)
        assert "was there, and nothing is now" in service.get("/readyz").json()["problems"][0]
        assert service.get("/healthz").status == 200
        assert service.page("grows")["files"]  # the index that it knows
        shutil.move(tmp_path / "away", tmp_path / "public")
        until(lambda: service.get("/readyz").status == 200)
        assert [each["level"] for each in service.events("store")][-2:] == ["error", "info"]


def test_requests_are_counted_and_logged_with_their_ids(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        for _ in range(3):
            assert service.get("/simple/nothing/").status == 404
        known = service.get("/healthz", X_Request_ID="from-a-proxy.1")
        assert known.headers["x-request-id"] == "from-a-proxy.1"
        made = service.get("/healthz", X_Request_ID='"; drop').headers["x-request-id"]
        assert made.isascii()
        assert '"' not in made
        found = samples(service)
        assert found["conda2wheel_serve_requests_total", "/simple/", "GET", "404"] == 3
        assert found["conda2wheel_serve_requests_total", "/healthz", "GET", "200"] == 2
        assert found["conda2wheel_serve_request_seconds_count", "/simple/"] == 3
        strange = service.get("/simple/%22%0a%7b%c3%a9/", X_Request_ID="strange")
        assert strange.status == 404
        until(lambda: service.events("request")[-1]["request"] == "strange")
        assert service.events("request")[-1]["path"] == '/simple/"\n{é/'
        logged = {each["request"]: each for each in service.events("request")}
        assert {"from-a-proxy.1", made} <= logged.keys()
        assert (logged[made]["path"], logged[made]["status"]) == ("/healthz", 200)


def test_an_error_of_the_service_is_logged_and_is_no_page(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        service.service.simple._index = None  # type: ignore[assignment]
        answer = service.get("/simple/")
        assert (answer.status, answer.json()) == (500, {"detail": "an error of the service; it is in its log"})
        [event] = service.events("error")
        assert event["request"] == answer.headers["x-request-id"]
        assert "Traceback" in event["trace"]


def test_the_openapi_document_has_the_operations(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        document = service.get("/openapi.json").json()
        paths = document["paths"]
        assert {"/healthz", "/readyz", "/metrics", "/api/v1/jobs", "/api/v1/packages"} <= paths.keys()
        publish_release(service.service.store, 1)
        service.service.index.update()
        [file, *_] = service.page("grows")["files"]
        start, sha256, filename = file["url"].rpartition("/files/")[2].split("/")
        values = {"project": "grows", "start": start, "sha256": sha256, "filename": filename}
        for path in ("/simple/", "/simple/{project}/", "/files/{start}/{sha256}/{filename}"):
            operation = paths[path]["get"]
            named = {each["name"]: each["schema"].get("pattern", "") for each in operation["parameters"] if each["in"] == "path"}
            assert all(re.fullmatch(pattern, values[name]) or not pattern for name, pattern in named.items())
            answer = service.get(path.format(**values), Accept=JSON)
            assert answer.headers["content-type"].partition(";")[0] in operation["responses"][str(answer.status)]["content"]
            assert service.get(path.format(**values), If_None_Match=answer.headers["etag"], Accept=JSON).status == 304
            assert "304" in operation["responses"]
        assert "ApiProblem" in document["components"]["schemas"]


def test_a_browser_gets_a_page_of_what_is_not_there_and_a_program_json(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        for path in ("/nothing", "/packages/", "/a/b/c"):
            page = service.get(path, Accept="text/html,*/*;q=0.8")
            assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
            top = "../" * (path.count("/") - 1)
            assert f'href="{top}static/pages.css' in page.text
            assert service.get(path).json() == {"detail": "Not Found"}
        assert service.get("/api/v1/nothing", Accept="text/html").json() == {"detail": "Not Found"}


def test_the_report_of_the_mirror_is_beside_its_pages(tmp_path: Path) -> None:
    with running(configured(tmp_path, OFF)) as service:
        service.service.store.put("report/report.html", b"<p>of the last run</p>")
        (tmp_path / "public" / "secret.html").write_text("secret")
        page = service.get("/report/report.html")
        assert (page.status, page.text) == (200, "<p>of the last run</p>")
        assert page.headers["content-type"].startswith("text/html")
        assert '<a href="../report/report.html">' in service.get("/coverage/").text
        for path in ("other.html", "..%2fsecret.html", "%2e%2e/secret.html", "report.html%00", "REPORT.html"):
            assert service.get(f"/report/{path}").status == 404
