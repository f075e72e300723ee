"""/simple/: the index as PEP 503, 592, 629, 658, 691, 700 and 792 have it, over HTTP."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.publisher import publish
from tests.helpers.mirror_index import entry, publish_release, put, sha
from tests.helpers.mirror_index import served as published
from tests.helpers.service import HTML, JSON, RunningService, configured, request, running

OLD = "application/vnd.pypi.simple.v2+json"
PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
MICROPIP = "application/vnd.pypi.simple.v1+json, */*;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
TEXT = "text/html; charset=utf-8"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Three releases in one store: `some-0` of the first is yanked by now."""
    config = configured(tmp_path_factory.mktemp("service"), "[serve]\non_demand = false\n")
    with running(config) as started:
        for number in range(3):
            publish_release(started.service.store, number)
        started.service.index.update()
        yield started


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        (None, 200, TEXT),
        ("", 200, TEXT),
        ("*/*", 200, TEXT),
        ("text/*", 200, TEXT),
        ("text/html", 200, TEXT),
        (BROWSER, 200, TEXT),
        ("application/*", 200, JSON),
        (JSON, 200, JSON),
        (JSON.upper(), 200, JSON),
        ("application/vnd.pypi.simple.latest+json", 200, JSON),
        (HTML, 200, HTML),
        ("application/vnd.pypi.simple.latest+html", 200, HTML),
        (PIP, 200, JSON),
        (UV, 200, JSON),
        (MICROPIP, 200, JSON),
        (f"{JSON};q=0.1, {HTML};q=0.2, text/html;q=0.05", 200, HTML),
        (f"{JSON};q=0, */*", 200, TEXT),
        (f"{JSON};q=0.5, text/html;q=0.5", 200, JSON),
        (f"{OLD}, {HTML};q=0.1", 200, HTML),
        (f"{JSON};q=2, text/html;q=0.1", 200, TEXT),
        ("text/html;q=0, application/*;q=0.1", 200, JSON),
        (OLD, 406, "application/json"),
        ("image/png, text/plain", 406, "application/json"),
        ("*/*;q=0", 406, "application/json"),
    ],
)
def test_every_accept_header_has_its_answer(service: RunningService, accept: str | None, status: int, content_type: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    for path in ("/simple/", "/simple/grows/"):
        answer = service.get(path, **headers)
        assert (answer.status, answer.headers["content-type"]) == (status, content_type)
        assert "Accept" in answer.headers["vary"].split(", ")


def test_format_and_file_names_choose_as_well(service: RunningService) -> None:
    types = {path: service.get(path).headers["content-type"] for path in (f"/simple/grows/?format={JSON.replace('+', '%2B')}",)}
    types |= {path: service.get(path, Accept=JSON).headers["content-type"] for path in ("/simple/grows/index.html",)}
    types |= {path: service.get(path, Accept="text/html").headers["content-type"] for path in ("/simple/index.json",)}
    assert list(types.values()) == [JSON, TEXT, JSON]
    assert [service.get(f"/simple/grows/?format={each}").status for each in ("text/plain", "")] == [406, 406]


def test_the_api_version_is_the_lowest_that_has_the_fields_and_one_that_the_client_reads(service: RunningService) -> None:
    for name, said in (("some-0", ["1.4", "1.4", "1.1"]), ("grows", ["1.1", "1.1", "1.1"])):
        metas = [service.get(f"/simple/{name}/", Accept=accept).json()["meta"] for accept in (PIP, UV, MICROPIP)]
        assert [each["api-version"] for each in metas] == said
    assert "project-status" not in service.get("/simple/some-0/", Accept=MICROPIP).json()
    old = service.get("/simple/grows/", Accept=MICROPIP).json()
    assert old["versions"] == service.page("grows")["versions"] == ["1.0", "1.1", "1.2"]


def test_the_pages_list_all_files_with_their_metadata(service: RunningService) -> None:
    names = [each["name"] for each in service.get("/simple/", Accept=JSON).json()["projects"]]
    assert re.findall(r'<a href="([^"]+)/">', service.get("/simple/").text) == names
    assert names[0] == "grows"
    for name in names:
        page = service.page(name)
        html = service.get(f"/simple/{name}/").text
        assert page["files"]
        for file in page["files"]:
            assert file["url"].startswith(f"{service.url}/files/")
            wheel, metadata = request(file["url"]), request(f"{file['url']}.metadata")
            assert (sha(wheel.body), sha(metadata.body)) == (file["hashes"]["sha256"], file["core-metadata"]["sha256"])
            assert wheel.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert wheel.headers["content-type"] == "application/octet-stream"
            assert metadata.headers["content-type"] == "text/plain; charset=utf-8"
            relative = file["url"].replace(f"{service.url}/", "../../")
            assert f'<a href="{relative}#sha256={file["hashes"]["sha256"]}"' in html


def test_what_is_yanked_is_said_in_both_forms(service: RunningService) -> None:
    page = service.page("some-0")
    assert page["project-status"]["status"] == "archived"
    assert "no longer in" in page["files"][0]["yanked"]
    html = service.get("/simple/some-0/").text
    assert 'data-yanked="no longer in' in html
    assert '<meta name="pypi:project-status" content="archived">' in html
    assert '<meta name="pypi:repository-version" content="1.4">' in html


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/simple/Grows/", "../grows/"),
        ("/simple/Some_0/", "../some-0/"),
        ("/simple/some..0/", "../some-0/"),
        ("/simple/grows", "grows/"),
        ("/simple/Some.0", "some-0/"),
        ("/simple", "simple/"),
        ("/simple/Grows/?format=json", "../grows/?format=json"),
    ],
)
def test_other_spellings_are_redirected(service: RunningService, path: str, location: str) -> None:
    answer = service.get(path)
    assert (answer.status, answer.headers["location"]) == (301, location)


def test_an_index_url_that_ends_with_a_slash_works(service: RunningService) -> None:
    assert service.get("/simple//grows/").status == 200  # what micropip asks for then


@pytest.mark.parametrize("name", ["nothing", "-x", "a/b", "%00", "..", "a" * 300, "x%0d%0aSet-Cookie:a", "%ff"])
def test_no_other_name_has_a_page(service: RunningService, name: str) -> None:
    answer = service.get(f"/simple/{name}/")
    assert answer.status == 404
    assert "detail" in answer.json()
    assert "set-cookie" not in answer.headers


def test_an_etag_saves_the_body_until_the_project_changes(tmp_path: Path) -> None:
    with running(configured(tmp_path, "[serve]\non_demand = false\n")) as service:
        store, index = service.service.store, service.service.index
        publish(store, put(store, entry("one"), entry("two")), {}, now=1.8e9, grace=0)
        index.update()
        tags = {name: service.get(f"/simple/{name}/", Accept=JSON).headers["etag"] for name in ("one", "two")}
        for known in (tags["one"], f"W/{tags['one']}", f'"x", {tags["one"]}', "*"):
            answer = service.get("/simple/one/", Accept=JSON, If_None_Match=known)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tags["one"])
        assert service.get("/simple/one/", If_None_Match=tags["one"]).status == 200  # another form is another body
        publish(store, put(store, entry("one"), entry("one", "2.0"), entry("two")), {}, now=1.8e9, grace=0)
        index.update()
        assert service.get("/simple/one/", Accept=JSON, If_None_Match=tags["one"]).status == 200
        assert service.get("/simple/two/", Accept=JSON, If_None_Match=tags["two"]).status == 304


def test_pages_are_compressed_for_who_takes_it(service: RunningService) -> None:
    plain = service.get("/simple/grows/", Accept=JSON)
    packed = service.get("/simple/grows/", Accept=JSON, Accept_Encoding="gzip, deflate, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert int(packed.headers["content-length"]) == len(packed.body) < len(plain.body)
    assert packed.headers["etag"] != plain.headers["etag"]
    again = service.get("/simple/grows/", Accept=JSON, Accept_Encoding="gzip", If_None_Match=packed.headers["etag"])
    assert again.status == 304
    assert "content-encoding" not in service.get("/simple/grows/", Accept=JSON, Accept_Encoding="gzip;q=0").headers


def test_addresses_are_those_of_the_request_or_of_the_configuration(service: RunningService, tmp_path: Path) -> None:
    page = service.get("/simple/grows/", Accept=JSON, Host="wheels.example:81").json()
    assert page["files"][0]["url"].startswith("http://wheels.example:81/files/")
    for host in ("a b", "x/y", 'x"><script>', "a" * 300):
        assert service.get("/simple/grows/", Accept=JSON, Host=host).status == 400
    proxied = service.get("/simple/grows/", Accept=JSON, X_Forwarded_Proto="https").json()
    assert proxied["files"][0]["url"].startswith("https://127.0.0.1")
    with running(configured(tmp_path, '[serve]\non_demand = false\nurl = "https://wheels.example/forge"\n')) as other:
        store = other.service.store
        publish(store, put(store, entry("one")), {}, now=1.8e9, grace=0)
        other.service.index.update()
        assert other.page("one")["files"][0]["url"].startswith("https://wheels.example/forge/files/")


def test_pages_of_other_origins_may_read_it(service: RunningService) -> None:
    for path in ("/simple/grows/", "/simple/nothing/", "/healthz"):
        assert service.get(path, Origin="https://app.example").headers["access-control-allow-origin"] == "*"
    asked = {"Origin": "https://app.example", "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "range"}
    answer = request(f"{service.url}/simple/grows/", "OPTIONS", data=None, **asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Range" in answer.headers["access-control-allow-headers"]
    assert "ETag" in service.get("/simple/").headers["access-control-expose-headers"]


def test_only_reading_is_allowed_and_head_has_no_body(service: RunningService) -> None:
    for path in ("/simple/", "/simple/grows/", "/files/x"):
        answer = request(f"{service.url}{path}", "POST", data=b"x")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    whole, head = service.get("/simple/grows/"), request(f"{service.url}/simple/grows/", "HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", whole.headers["etag"])
    assert head.headers["content-length"] == str(len(whole.body))


def test_json_says_the_same_as_the_static_index(service: RunningService) -> None:
    for name in ("grows", "some-0"):
        static = json.loads(published(service.service.store)[f"simple/{name}/index.json"])
        page = service.page(name)
        assert [{**each, "url": ""} for each in page.pop("files")] == [{**each, "url": ""} for each in static.pop("files")]
        assert page == static


def test_a_request_that_was_answered_before_is_answered_the_same_until_its_page_changes(tmp_path: Path) -> None:
    asked: list[tuple[str, dict[str, str]]] = [
        *((f"/simple/{name}", {"Accept": accept}) for name in ("", "one/", "two/") for accept in (JSON, HTML, BROWSER, OLD)),
        ("/simple/one/", {"Accept": JSON, "Accept_Encoding": "gzip"}),
        ("/simple/one/", {"Accept": JSON, "Host": "wheels.example"}),
        ("/simple/one/", {"Accept": JSON, "X_Forwarded_Proto": "https"}),
        ("/simple/one/?format=json", {}),
        ("/simple/One/", {"Accept": JSON}),
        ("/simple/no/", {"Accept": JSON}),
        ("/simple/one/", {"Accept": JSON, "Host": "a b"}),
    ]
    with running(configured(tmp_path, "[serve]\non_demand = false\n")) as service:
        store, index = service.service.store, service.service.index

        def all_of_them() -> list[tuple[int, str | None, bytes]]:
            answers = [service.get(path, **headers) for path, headers in asked]
            return [(each.status, each.headers.get("etag"), each.body) for each in answers]

        def shown(*entries: IndexEntry) -> list[tuple[int, str | None, bytes]]:
            publish(store, put(store, *entries), {}, now=1.8e9, grace=0)
            index.update()
            found = all_of_them()
            assert all_of_them() == found
            return found

        before = shown(entry("one"), entry("two"))
        assert [status for status, _, _ in before] == [200, 200, 200, 406] * 3 + [200, 200, 200, 200, 301, 404, 400]
        after = shown(entry("one"), entry("one", "2.0"), entry("two"))
        changed = [path for (path, _), first, second in zip(asked, before, after, strict=True) if first != second]
        assert set(changed) == {"/simple/one/", "/simple/one/?format=json"}
        service.get("/simple/one/", Accept=JSON)
        index.remove([entry("two")])
        assert service.get("/simple/one/", Accept=JSON).headers["etag"] == after[4][1]
