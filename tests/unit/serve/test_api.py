"""/api/v1/jobs: packages of the channel and uploads, with tokens, limits and events."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve.config import ServeConfig
from conda2wheel.serve.tokens import TokenFolder
from tests.helpers import conda, sets
from tests.helpers.served import serve
from tests.helpers.service import Response, RunningService, configured, request, running

JOBS = "/api/v1/jobs"
BINARY = "application/octet-stream"


@dataclass
class Api:
    """A running service and a token for everything."""

    service: RunningService
    token: str

    def send(self, path: str, method: str = "POST", data: bytes | None = None, **headers: str) -> Response:
        return request(f"{self.service.url}{path}", method, data=data, **{"Authorization": f"Bearer {self.token}", **headers})

    def convert(self, spec: str, **headers: str) -> Response:
        return self.send(JOBS, data=json.dumps({"spec": spec}).encode(), Content_Type="application/json", **headers)

    def upload(self, path: Path, kind: str = "convert", name: str = "") -> Response:
        return self.send(f"{JOBS}?kind={kind}&filename={name or path.name}", data=path.read_bytes(), Content_Type=BINARY)

    def ended(self, added: Response) -> dict[str, Any]:
        """The job that an answer added, when it has ended."""
        assert added.status == 202, added.text
        events = request(added.json()["links"]["events"])
        data = [line.removeprefix("data: ") for line in events.text.splitlines() if line.startswith("data: ")]
        found: dict[str, Any] = json.loads(data[-1])
        return found


@contextmanager
def api(folder: Path, more: str = "[serve]\n") -> Iterator[Api]:
    sets.indexed(
        folder / "channel", [sets.pure("one", "1.0"), sets.pure("one", "2.0"), sets.pure("two"), sets.pure("brotli-python")]
    )
    with serve(folder / "channel", prefix="/forge") as served:
        config: ServeConfig = configured(folder, more, channel=served.url)
        token, _ = TokenFolder(config.token_folder).create("test", ["read", "convert", "upload", "audit"], time.time(), None)
        with running(config, executor=InProcessExecutor()) as service:
            if config.on_demand:
                service.idle()
            yield Api(service, token)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("api"), '[serve]\nrate = ""\nupload = "1M"\n') as found:
        yield found


@pytest.fixture(scope="module")
def package() -> Path:
    files = {"lib/python3.13/site-packages/demo/__init__.py": "x = 1"}
    return conda.assemble("demo", "1.0", files, depends=["python >=3.13"], archive="conda")


def test_a_spec_is_converted_into_the_index(shared: Api) -> None:
    job = shared.ended(shared.convert("one <2"))
    assert (job["kind"], job["source"], job["status"], job["subject"][:8]) == ("convert", "channel", "done", "one-1.0-")
    wheel = request(job["links"]["wheel"])
    assert wheel.status == 200
    page = shared.service.page("one")
    assert [file["url"] for file in page["files"] if file["filename"].startswith("one-1.0")] == [job["links"]["wheel"]]
    again = request(job["links"]["self"]).json()
    assert {**again, "stage": None} == {**job, "stage": None}


def test_an_upload_becomes_a_wheel_outside_of_the_index(shared: Api, package: Path) -> None:
    job = shared.ended(shared.upload(package))
    assert (job["status"], job["source"], job["subject"]) == ("done", "upload", package.name), job
    [entry] = job["result"]["document"]["results"]
    assert (entry["status"], entry["name"], entry["version"]) == ("converted", "demo", "1.0")
    assert job["result"]["audit"]["results"][0]["ok"]
    wheel = request(job["links"]["wheel"])
    assert (wheel.status, len(wheel.body)) == (200, job["result"]["wheel"]["size"])
    assert shared.send("/simple/demo/", "GET").status == 404
    assert [each["id"] for each in shared.send(JOBS, "GET").json()["jobs"]][:1] == [job["id"]]
    assert job["id"] not in shared.service.get(JOBS).text  # another client
    audited = shared.ended(shared.upload(package, "audit"))
    assert (audited["status"], audited["result"]["command"]) == ("done", "audit")


def test_events_tell_the_stages_and_go_on_where_a_client_stopped(shared: Api, package: Path) -> None:
    added = shared.upload(package)
    shared.ended(added)
    events = added.json()["links"]["events"]
    lines = request(events).text.splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    stages = [json.loads(line[6:])["stage"] for line in lines if line.startswith('data: {"event": "stage"')]
    assert (names[0], names[1], names[-1]) == ("queued", "running", "done")
    assert stages == ["open", "link", "audit", "write", "report"]
    rest = request(events, Last_Event_ID="2").text
    assert "event: queued" not in rest
    assert "event: done" in rest


def test_a_damaged_upload_is_a_refusal_with_its_code(shared: Api, package: Path, tmp_path: Path) -> None:
    damaged = tmp_path / package.name
    damaged.write_bytes(package.read_bytes()[:200])
    job = shared.ended(shared.upload(damaged))
    assert (job["status"], job["result"]["document"]["results"][0]["code"]) == ("refused", "corrupt-archive")
    assert "wheel" not in job["links"]
    assert str(shared.service.service.uploads.folder) not in json.dumps(job)


@pytest.mark.parametrize(
    ("query", "kind", "data", "status"),
    [
        ("", BINARY, b"x", 415),
        ("?filename=../../etc/passwd.whl", BINARY, b"x", 400),
        ("?filename=a%0d%0ab.whl", BINARY, b"x", 400),
        ("?filename=x.whl", BINARY, b"", 400),
        ("?filename=x.whl", BINARY, b"x" * ((1 << 20) + 1), 413),
        ("?filename=x.whl&platform=9", BINARY, b"x", 422),
        ("?filename=x.whl&platform=../x", BINARY, b"x", 422),
        ("?kind=run&filename=x.whl", BINARY, b"x", 422),
        ("", "application/json", b"", 422),
        ("", "application/json", b"[" * 60_000, 422),
        ("", "application/json", b'{"spec": "one", "shell": "rm"}', 422),
        ("", "application/json", b'{"spec": "' + b"(" * 400 + b'"}', 422),
        ("", "application/json", b'{"spec": "nothing-of-this"}', 404),
        ("", "application/json", b" " * (1 << 17), 413),
    ],
)
def test_wrong_requests_get_an_answer_and_no_job(shared: Api, query: str, kind: str, data: bytes, status: int) -> None:
    before = shared.send(JOBS, "GET").json()["jobs"]
    answer = shared.send(JOBS + query, data=data, Content_Type=kind)
    assert (answer.status, type(answer.json()["detail"])) == (status, str), answer.text
    assert shared.send(JOBS, "GET").json()["jobs"] == before


@pytest.mark.parametrize("path", ["x", "0" * 24, "0" * 24 + "/events", "0" * 24 + "/files/x.whl", "..%2f..%2f", "%00"])
def test_jobs_that_are_not_there(shared: Api, path: str) -> None:
    answer = shared.send(f"{JOBS}/{path}", "GET")
    assert (answer.status, type(answer.json()["detail"])) == (404, str)


def test_answers_to_wrong_requests_name_what_is_wrong(shared: Api) -> None:
    def detail(query: str, data: bytes) -> str:
        return str(shared.send(JOBS + query, data=data, Content_Type="application/json").json()["detail"])

    assert shared.send(f"{JOBS}/zzz", "GET").json() == {"detail": "no job has the id zzz"}
    assert shared.send(f"{JOBS}?limit=200", "GET").json() == {"detail": "limit should be less than or equal to 100"}
    assert detail("", b"{}") == "spec: field required"
    assert detail("", b'{"spec": 7}') == "spec should be a valid string"
    assert detail("", b'{"spec": ""}') == "spec should have at least 1 character"
    assert detail("?kind=run", b"{}") == "kind should be 'convert' or 'audit'"
    assert detail("", b'{"spec": "nothing >3"}') == "no channel has a package that fits 'nothing >3'"
    assert detail("", b'{"spec": "brotli >=1"}').endswith("fits 'brotli >=1'; did you mean brotli-python?")


def test_what_costs_needs_a_token_with_its_scope(tmp_path: Path, package: Path) -> None:
    with api(tmp_path, '[serve]\nopen = ["read"]\nrate = "3/day"\n') as found:
        tokens = TokenFolder(found.service.service.config.token_folder)
        weak, _ = tokens.create("weak", ["read"], time.time(), None)
        old, _ = tokens.create("old", ["upload", "audit"], time.time() - 10, 5)
        whole = found.token
        for found.token, status in ((weak, 403), (old, 401), ("c2w_nothing", 401), ("", 401)):
            assert [found.convert("one").status, found.upload(package).status, found.upload(package, "audit").status] == [
                status
            ] * 3
        bare = request(found.service.url + JOBS, "POST", data=b'{"spec": "one"}', Content_Type="application/json")
        assert (bare.status, bare.headers["www-authenticate"]) == (401, 'Bearer realm="conda2wheel"')
        found.token = whole
        assert [found.convert("two").status for _ in range(4)] == [202, 202, 202, 429]


def test_what_everybody_may_read_is_answered_whatever_credentials_are_sent(shared: Api) -> None:
    paths = ("/simple/", "/simple/one/", "/", "/api/v1/packages")
    netrc = base64.b64encode(b"someone:else").decode()
    for sent in ("Bearer c2w_nothing", f"Basic {netrc}", "Digest x"):
        assert [shared.service.get(path, Authorization=sent).status for path in paths] == [200] * len(paths)
        assert shared.service.get(JOBS, Authorization=sent).status == 401


def test_a_private_service_shows_nothing_without_a_token(tmp_path: Path) -> None:
    with api(tmp_path, "[serve]\nopen = []\non_demand = false\n") as found:
        paths = ("/simple/", "/simple/one/", "/files/x", JOBS, "/openapi.json", "/metrics", "/nothing")
        assert [found.service.get(path).status for path in paths] == [401] * len(paths)
        assert [found.service.get(path).status for path in ("/healthz", "/readyz")] == [200, 200]
        assert found.send("/simple/", "GET").status == 200
        basic = base64.b64encode(f"__token__:{found.token}".encode()).decode()  # as pip and uv send it
        assert found.service.get("/simple/", Authorization=f"Basic {basic}").status == 200
        assert request(f"{found.service.url}/simple/", "OPTIONS").status == 204


def test_a_client_has_a_bounded_number_of_jobs_and_cancels_those_that_wait(tmp_path: Path, package: Path) -> None:
    with api(tmp_path, '[serve]\njobs = 2\nrate = ""\n') as found:
        found.service.service.runner.begin_stop()  # nothing is claimed any more
        added = [found.upload(package) for _ in range(3)]
        assert [each.status for each in added] == [202, 202, 429]
        first = added[0].json()["links"]["self"].removeprefix(found.service.url)
        assert [found.send(first, "DELETE").status for _ in range(2)] == [204, 409]
        assert found.send(first, "GET").json()["status"] == "cancelled"
        assert found.upload(package).status == 202


def test_a_service_that_converts_nothing_takes_no_jobs(tmp_path: Path) -> None:
    with api(tmp_path, "[serve]\non_demand = false\n") as found:
        assert found.convert("one").status == 403


@pytest.mark.long
def test_schemathesis_finds_no_answer_that_is_not_described(tmp_path: Path) -> None:
    # Not every text is a match spec, and not every name a package's: the schema cannot say it.
    # DELETE of a job cancels it, and what is cancelled can still be read.
    unwanted = "ignored_auth,positive_data_acceptance,use_after_free"
    with api(tmp_path, '[serve]\nrate = ""\njobs = 100000\nupload = "1M"\n') as found:
        command = [str(Path(sys.executable).with_name("st")), "run", f"{found.service.url}/openapi.json", "--seed", "1"]
        options = ["-H", f"Authorization: Bearer {found.token}", "--checks", "all", "--exclude-checks", unwanted]
        limits = ["--request-timeout", "600", "--suppress-health-check", "all", "--max-examples", "50"]
        ran = subprocess.run([*command, *options, *limits], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout
        assert found.service.events("error") == []
