"""What users install with takes our index: micropip in real Pyodides with nothing else reachable, pip, uv; from plain servers,
from one that negotiates, and from nginx as the manual configures it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import nginx
from tests.helpers.family import Family, family
from tests.helpers.installers import Answer, micropip_from, pip_from, uv_from
from tests.helpers.serve import SIMPLE, served

TAG = "pyemscripten_2025_0_wasm32"
SCRIPT = """
import aunt, cousin, grand_parent, uncle
from pkg import _top
assert _top.bump() == 1
aunt.version
"""
WANTED = {"grand-parent": "1.0", "pkg": "1.0", "aunt": "2.0", "niece": "1.5", "cousin": "1.0", "uncle": "1.0"}
LONG = pytest.mark.long


def came(answer: Answer, host: str) -> None:
    """Everything is there in the right version, from this host alone, and of each wheel the metadata came first."""
    assert answer.errors == ()
    assert answer.result == "2.0"
    assert {name: version for name, version in answer.distributions.items() if name in WANTED} == WANTED
    assert answer.refused == ()
    assert all(url.startswith(host) for url in answer.asked)
    # A set: micropip 0.11.1 downloads a wheel twice where two of its requirements wait for the index page at the same time (after
    # the page it finds that the second is satisfied, says so, and goes on all the same). Here that is niece, by chance.
    wheels = {url for url in answer.asked if url.endswith(".whl")}
    assert len(wheels) == len(WANTED)
    assert all(answer.asked.index(f"{url}.metadata") < answer.asked.index(url) for url in wheels)


@pytest.mark.runtime
@pytest.mark.cold
@pytest.mark.parametrize(
    ("version", "python"),
    [
        pytest.param("0.27.7", "312", marks=LONG),
        pytest.param("0.28.3", "313", marks=LONG),
        ("0.29.5", "313"),
        pytest.param("314.0.7", "314", marks=LONG),
    ],
)
def test_micropip_installs_from_a_plain_server(version: str, python: str, tmp_path: Path) -> None:
    """Extras, markers, versions and what is needed in turn, from HTML whose links are relative."""
    made = family(tmp_path, python)
    with served(made.folder, negotiate=False) as site:
        came(micropip_from(f"{site.url}simple", ["Grand_Parent[visit]"], version, script=SCRIPT), site.url)


@pytest.mark.runtime
@pytest.mark.parametrize(("version", "python"), [pytest.param("0.29.5", "313", marks=LONG), ("314.0.7", "314")])
def test_micropip_installs_from_json_with_whole_addresses(version: str, python: str, tmp_path: Path) -> None:
    with served(tmp_path) as site:
        family(tmp_path, python, site.url)
        came(micropip_from(f"{site.url}simple", ["grand-parent[visit]"], version, script=SCRIPT), site.url)
        assert SIMPLE + "json" in site.accepts["/simple/grand-parent/"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def by_nginx(made: Family, tmp_path: Path) -> Iterator[str]:
    program = nginx.find()
    if program is None:
        pytest.skip("neither nginx nor apt-get to bring it")
    with nginx.running(program, made.folder, tmp_path) as address:
        yield address


@pytest.mark.parametrize("negotiate", [True, False], ids=["json", "html"])
def test_pip_and_uv_resolve_for_the_platform(negotiate: bool, made: Family) -> None:
    with served(made.folder, negotiate=negotiate) as site:
        index = f"{site.url}simple/"
        by_pip = pip_from(index, ["grand-parent[visit]"], platform=TAG, python="3.13")
        assert by_pip.versions == WANTED, by_pip.said
        assert all(url.startswith(site.url) for url in by_pip.urls.values())
        by_uv = uv_from(index, ["grand-parent[visit]"], platform=TAG, python="3.13")
        assert by_uv.versions == WANTED, by_uv.said


def test_pip_and_uv_resolve_from_the_folder(made: Family) -> None:
    for resolve in (pip_from, uv_from):
        found = resolve(made.folder / "wheels", ["grand-parent[visit]"], platform=TAG, python="3.13")
        assert found.versions == WANTED, found.said


def test_pip_and_uv_refuse_what_is_for_another_python(made: Family) -> None:
    for resolve in (pip_from, uv_from):
        found = resolve(made.folder / "wheels", ["grand-parent"], platform=TAG, python="3.12")
        assert not found.ok
        assert "pkg" in found.said


def test_nginx_as_in_the_manual_serves_pip_and_uv(by_nginx: str) -> None:
    for resolve in (pip_from, uv_from):
        found = resolve(f"{by_nginx}simple/", ["grand-parent[visit]"], platform=TAG, python="3.13")
        assert found.versions == WANTED, found.said


def test_nginx_as_in_the_manual_tells_types_and_lets_any_page_read(by_nginx: str, made: Family) -> None:
    def get(path: str, accept: str = "*/*") -> tuple[dict[str, str], bytes]:
        request = urllib.request.Request(by_nginx + path, headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            return {name.lower(): value for name, value in answer.headers.items()}, answer.read()

    headers, page = get("simple/aunt/", f"{SIMPLE}json, {SIMPLE}html;q=0.2, text/html;q=0.01")
    assert (headers["content-type"], headers["vary"]) == (f"{SIMPLE}json", "Accept")
    assert {file["url"] for file in json.loads(page)["files"]} == {
        f"{by_nginx}wheels/{wheel.name}" for wheel in made.wheels if wheel.name.startswith("aunt")
    }
    headers, page = get("simple/aunt", "text/html")  # a redirect to the folder, which keeps the port
    assert headers["content-type"] == "text/html"
    assert f'href="{by_nginx}wheels/aunt-1.0-py3-none-any.whl#sha256='.encode() in page
    headers, wheel = get(f"wheels/{made.wheels[0].name}")
    assert (headers["content-type"], wheel) == ("application/octet-stream", made.wheels[0].read_bytes())
    headers, metadata = get(f"wheels/{made.wheels[0].name}.metadata")
    assert (headers["content-type"], metadata[:16]) == ("text/plain; charset=utf-8", b"Metadata-Version")
    blob = made.folder / "blobs" / "00" / made.wheels[0].name
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(wheel)
    headers, _ = get(f"blobs/00/{blob.name}")
    assert (headers["content-type"], headers["cache-control"]) == (
        "application/octet-stream",
        "public, max-age=31536000, immutable",
    )


@pytest.mark.runtime
@pytest.mark.long
def test_micropip_installs_from_nginx_as_in_the_manual(by_nginx: str) -> None:
    came(micropip_from(f"{by_nginx}simple/", ["grand-parent[visit]"], "0.29.5", script=SCRIPT), by_nginx)
