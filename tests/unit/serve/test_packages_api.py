"""/api/v1/packages: the search and the packages of the pages, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.index.pages.ranking import SearchQuery, search
from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve import packages_api, pages
from conda2wheel.serve.packages_api import PackageDocument, PackageListing, list_document, package_document
from tests.helpers import catalogues, sets
from tests.helpers.schemas import problems
from tests.helpers.served import serve
from tests.helpers.service import RunningService, configured, running, until

PACKAGES = "/api/v1/packages"
BASE = "https://wheels.example"
SCHEMAS = Path(__file__).parents[3] / "docs" / "reference" / "schemas"
BOTH = [catalogues.small(), catalogues.hostile()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("packages")
    sets.indexed(
        folder / "channel", [sets.pure("one", "1.0"), sets.pure("one", "2.0"), sets.pure("renamed", project="other-name")]
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        serve(folder / "channel", prefix="/forge") as channel,
        running(configured(folder, channel=channel.url), executor=InProcessExecutor()) as started,
    ):
        for name in ("FRESH", "PAUSE"):  # pages are made again for each request
            patch.setattr(pages, name, 0.0)
        until(lambda: started.service.catalogue.is_read)
        started.page("renamed")
        until(lambda: states(started) == {"one": "pending", "renamed": "runs"})
        yield started


def states(service: RunningService) -> dict[str, str]:
    return {each["name"]: each["state"] for each in service.get(PACKAGES).json()["packages"]}


def plain(document: Any) -> Any:
    """What a client reads of a document."""
    return json.loads(json.dumps(document))


@pytest.mark.parametrize("catalogue", BOTH, ids=["small", "hostile"])
def test_documents_are_those_of_the_search_and_the_pages_and_as_openapi_has_them(catalogue: Any) -> None:
    found = plain(list_document(catalogue, SearchQuery(), BASE, 200, 0))
    PackageListing.model_validate(found, strict=True)
    assert problems(json.loads((SCHEMAS / "search.json").read_text()), found) == []
    documents = [plain(package_document(catalogue, package, BASE)) for package in catalogue.packages]
    schema = json.loads((SCHEMAS / "catalogue-package.json").read_text())
    assert problems({"type": "array", "items": schema}, documents) == []
    for package, document in zip(catalogue.packages, documents, strict=True):
        PackageDocument.model_validate(document)
        assert document["package"] == plain(package.json())
        urls = [*document["links"].values(), *(each["url"] for each in document["files"])]
        assert all(url.startswith(f"{BASE}/") and url.isascii() and not set(url) & set("<>\"' ") for url in urls), urls


def test_a_package_has_its_files_its_matrix_and_what_is_in_its_wheel() -> None:
    catalogue = catalogues.small()
    package = catalogue.by_name["scipy"]
    found = plain(package_document(catalogue, package, BASE))
    rich = catalogues.rich()
    assert found["license"] == {"expression": rich.license, "files": list(rich.license_files)}
    assert [each["name"] for each in found["libraries"]] == [each.name for each in rich.libraries]
    assert [each["code"] for each in found["findings"]] == ["private-api"]
    assert [each["name"] for each in found["components"]] == ["openblas"]
    assert {each["pyodide"]: each["verdict"] for each in found["matrix"]} == {
        each.pyodide: each.verdict for each in rich.verdicts
    }
    wheel = package.wheel
    assert wheel is not None
    file = next(each for each in found["files"] if each["filename"] == wheel.filename)
    assert file["hashes"] == {"sha256": wheel.sha256}
    assert file["url"] == f"{BASE}/files/{wheel.path.removeprefix('blobs/')}" == found["links"]["wheel"]
    assert {"html", "feed", "badge", "index", "sbom", "provenance"} <= found["links"].keys()
    assert {each["by"] for each in found["package"]["requirements"]} <= {"index", "pyodide", "elsewhere"}


@pytest.mark.parametrize("query", [SearchQuery(), SearchQuery(q="py"), SearchQuery(sort="-name"), SearchQuery(state="runs")])
def test_parts_of_a_list_are_the_whole_in_the_order_of_the_page(query: SearchQuery) -> None:
    catalogue = catalogues.small()
    wanted = [package.name for package in search(catalogue, query)]
    found: list[str] = []
    for offset in range(0, len(wanted) + 2, 2):
        part = list_document(catalogue, query, BASE, 2, offset)
        assert part["total"] == len(wanted)
        assert ("next" in part["links"]) == (offset + 2 < len(wanted))
        assert ("previous" in part["links"]) == (offset > 0)
        found += [each["name"] for each in part["packages"]]
    assert found == wanted


def test_the_service_lists_and_shows_what_is_not_converted_yet(service: RunningService) -> None:
    found = service.get(f"{PACKAGES}?q=one&limit=1")
    assert (found.status, found.headers["content-type"], found.headers["cache-control"]) == (200, "application/json", "no-cache")
    [one] = found.json()["packages"]
    assert (one["name"], one["state"], one["versions"], one["runs"]) == ("one", "pending", ["2.0", "1.0"], [])
    shown = service.get(one["links"]["self"].removeprefix(service.url))
    assert [each["version"] for each in shown.json()["package"]["builds"]] == ["2.0", "1.0"]
    assert service.get(one["links"]["html"].removeprefix(service.url)).status == 200
    for answer, path in ((found, f"{PACKAGES}?q=one&limit=1"), (shown, f"{PACKAGES}/one")):
        again = service.get(path, If_None_Match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/renamed", 200),
        ("/Other_Name", 200),
        ("/RENAMED", 200),
        ("/nothing", 404),
        ("/..%2f..%2fetc", 404),
        ("/%00", 404),
        ("/%3Cscript%3E", 404),
        ("/" + "x" * 201, 422),
        ("?q=%00%ff", 200),
        ("?q=" + "x" * 501, 422),
        ("?state=other", 422),
        ("?state=&sort=&pyodide=&platform=", 200),
        ("?sort=__proto__", 422),
        ("?lacks=pyodide,pypi", 200),
        ("?lacks=x", 422),
        ("?limit=0", 422),
        ("?limit=201", 422),
        ("?limit=x", 422),
        ("?offset=-1", 422),
        ("?offset=1000000", 200),
        ("?offset=" + "9" * 30, 422),
        ("?platform=" + "x" * 101, 422),
    ],
)
def test_names_and_parameters(service: RunningService, path: str, status: int) -> None:
    answer = service.get(PACKAGES + path)
    assert (answer.status, isinstance(answer.json().get("detail"), str)) == (status, status != 200), answer.text
    if path == "/nothing":
        assert answer.json() == {"detail": "the channel has no package 'nothing'"}
    if "/" in path and status == 200:
        assert answer.json()["package"]["name"] == "renamed"


def test_a_converted_package_has_files_that_are_there(service: RunningService) -> None:
    found = service.get(f"{PACKAGES}/other-name").json()
    [file] = found["files"]
    body = service.get(file["url"].removeprefix(service.url)).body
    assert (hashlib.sha256(body).hexdigest(), len(body)) == (file["hashes"]["sha256"], file["size"])
    links = {**found["links"], **file["links"]}
    assert {name: service.get(url.removeprefix(service.url)).status for name, url in links.items()} == dict.fromkeys(links, 200)
    assert {"html", "feed", "badge", "index", "wheel", "sbom", "provenance", "metadata"} <= links.keys()


def test_links_are_of_the_address_that_was_asked_and_never_of_an_improper_one(service: RunningService) -> None:
    for host, base in (("wheels.example:81", "http://wheels.example:81"), ('a"b<c', "")):
        links = service.get(PACKAGES, Host=host).json()["links"]
        assert links["catalogue"] == f"{base}/catalogue.json"


def test_openapi_describes_every_answer(service: RunningService) -> None:
    document = service.get("/openapi.json").json()
    for path, statuses in ((PACKAGES, {"200", "304", "401", "403", "422", "503"}), (f"{PACKAGES}/{{name}}", {"200", "404"})):
        operation = document["paths"][path]["get"]
        assert statuses <= operation["responses"].keys()
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].startswith("#/components/")
    [limit] = [each for each in document["paths"][PACKAGES]["get"]["parameters"] if each["name"] == "limit"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, packages_api.LONGEST)
