"""The pages of a catalogue: complete, the same each time, and harmless whatever packages say."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from conda2wheel.index.pages import rendering
from conda2wheel.index.pages.catalogue import CataloguePackage, PackageCatalogue, WheelCommand, WheelLibrary
from conda2wheel.index.pages.details import read_details
from conda2wheel.index.pages.drawings import needed_graph
from conda2wheel.index.pages.ranking import SearchQuery, search, summary_json
from conda2wheel.index.pages.site import Pages, Site
from tests.helpers import catalogues, conda, wasi

SITE = Site(api=True, tryable=("0.29.5",), locks=("pyemscripten_2025_0",), report="report/report.html")
ATTACKS = re.compile(r"<img|onerror=|onclick=|<script>|javascript:", re.IGNORECASE)


class Elements(html.parser.HTMLParser):
    """The elements of a page: names and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def small() -> PackageCatalogue:
    return catalogues.small()


@pytest.fixture(scope="module")
def files(small: PackageCatalogue) -> Mapping[str, bytes]:
    return Pages(small, SITE).files()


def package(catalogue: PackageCatalogue, name: str) -> CataloguePackage:
    found = catalogue.find(name)
    assert found is not None
    return found


def test_what_a_package_says_is_shown_and_never_runs() -> None:
    shown = 0
    for path, data in Pages(catalogues.hostile(), SITE).files().items():
        if not path.endswith(".html"):
            continue
        page = Elements(data.decode())
        for tag, attributes in page.found:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (path, tag)
            for key in ("href", "src", "action"):
                assert urlsplit(attributes.get(key, "")).scheme in ("", "http", "https"), (path, attributes)
        assert all(script.get("src", "").startswith(("static/", "../static/", "../../static/")) for script in page.all("script"))
        assert page.all("iframe") == page.all("style") == page.all("object") == page.all("base") == []
        assert {image["src"] for image in page.all("img")} <= {"badge.svg"}
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", data.decode())
        shown += "".join(page.texts).count("onerror=")
    assert shown > 20  # as text


def test_pictures_and_feeds_of_hostile_packages_are_xml_without_scripts_and_addresses() -> None:
    names = set()
    for path, data in Pages(catalogues.hostile(), SITE).files().items():
        if path.endswith((".svg", ".xml")):
            root = ElementTree.fromstring(data)  # noqa: S314 - of this test
            for element in root.iter():
                assert element.tag.rpartition("}")[2] not in ("script", "style", "a", "image", "use", "foreignObject")
                assert not [key for key in element.attrib if key.startswith("on") or (key.endswith("href") and "svg" in path)]
            names.add(path.rpartition("/")[2])
    assert {"badge.svg", "needed.svg", "feed.xml", "icon.svg"} == names


def test_a_name_that_no_address_can_have_has_no_page() -> None:
    found = catalogues.hostile()
    folders = {path.split("/")[1] for path in Pages(found).files() if path.startswith("packages/")}
    assert all(re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", name) for name in folders)
    assert len(folders) == len(found.packages) - 2  # .. and the attack


def test_links_within_the_pages_lead_somewhere(files: Mapping[str, bytes]) -> None:
    outside = {"simple/", "convert", "openapi.json", "report/report.html"}
    for path, data in files.items():
        for tag, attributes in Elements(data.decode()).found if path.endswith(".html") else ():
            link = attributes.get("href") or attributes.get("src")
            if link is None or urlsplit(link).scheme or link.startswith(("#", "?")) or path == "404.html":
                continue
            target = resolved(path, urlsplit(link).path)
            if target.startswith(("blobs/", "simple/")) or target in outside:
                continue
            assert target in files or f"{target}index.html" in files, (path, tag, link)


def resolved(path: str, link: str) -> str:
    parts = path.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def test_the_same_catalogue_gives_the_same_bytes_also_after_json(small: PackageCatalogue, files: Mapping[str, bytes]) -> None:
    read = PackageCatalogue.parse(json.dumps(small.json()))
    assert read == small
    assert Pages(read, SITE).files() == files
    assert json.loads(files["catalogue.json"]) == json.loads(json.dumps(small.json(long=False)))
    assert "description" in json.loads(files["packages/scipy/index.json"])["package"]["builds"][0]["wheel"]["details"]


@pytest.mark.parametrize(
    "text", ["[]", "{}", "1", "no", '{"kind": "catalogue", "schema": 1}', '{"kind": "catalogue", "schema": 2}']
)
def test_what_is_no_catalogue_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(Failed, match="not a catalogue") as error:
        PackageCatalogue.parse(text)
    assert error.value.code == "unreadable"


def test_states_and_reasons(small: PackageCatalogue) -> None:
    found = {each.name: (each.state, each.runs, each.partly) for each in small.packages}
    assert found["numpy"] == ("runs", ("0.29.5", "0.28.3"), ())
    assert found["scipy"] == ("runs", ("0.28.3",), ("0.29.5",))
    assert found["lost"][0] == "refused"
    assert found["later"][0] == "pending"
    assert found["flaky"][0] == "failed"
    assert found["kept"][0] == "runs"  # the wheel of an earlier conversion stays
    assert found["old"][0] == "pending"  # its wheel is yanked
    assert package(small, "lost").reason == ("fake-dylib", "lost/a.so is no side module")
    assert package(small, "clib").project is None
    assert package(small, "numpy").in_pyodide == {"0.29.5": "2.2.5"}
    assert package(small, "scipy").in_pyodide == {}


def test_requirements_say_what_satisfies_them(small: PackageCatalogue) -> None:
    found = {each.requirement: (each.by, each.package, each.optional) for each in package(small, "scipy").requirements}
    assert found == {
        "numpy<2": ("elsewhere", "numpy", False),
        "absent>=1": ("elsewhere", None, False),
        "cffi": ("pyodide", None, False),
        "gone; python_version < '3'": ("elsewhere", None, True),
        "libpure": ("elsewhere", "libpure", False),
    }


def test_lines_to_copy_name_the_index_the_tags_and_the_hash(small: PackageCatalogue) -> None:
    pages, numpy = Pages(small, SITE), package(small, "numpy")
    assert numpy.wheel is not None
    ways = {way.name: way.text for way in pages.install(numpy, numpy.wheel)}
    assert list(ways) == ["micropip", "loadPackage", "pip", "uv", "JupyterLite", "pylock.toml"]
    assert 'micropip.install("numpy", index_urls="{top}simple")' in ways["micropip"]
    assert "{top}pyodide-lock-pyemscripten_2025_0.json" in ways["loadPackage"]
    assert "--platform pyemscripten_2025_0_wasm32" in ways["pip"]
    assert "--abi cp313" in ways["pip"]
    assert "--python-platform wasm32-pyodide2025" in ways["uv"]
    assert numpy.wheel.sha256 in ways["pylock.toml"]
    alone = {way.name: way.text for way in Pages(small).install(numpy, numpy.wheel)}
    assert f"{{top}}{numpy.wheel.path}" in alone["loadPackage"]  # no lock file: by the wheel's address
    scipy = package(small, "scipy")
    assert scipy.wheel is not None
    assert "DEFAULT_INDEX_URLS" in next(iter(pages.install(scipy, scipy.wheel))).text  # it needs what is not here


def test_programs_are_no_packages_for_pyodide() -> None:
    found = catalogues.tools()
    tools, words = package(found, "tools"), package(found, "words")
    assert (tools.state, tools.runs, tools.reason) == ("programs", (), (None, "counts, words"))
    assert words.state == package(found, "plain").state == "runs"
    pages = Pages(found, SITE)
    assert tools.wheel is not None
    assert tools.wheel.verdicts == ()
    ways = {way.name: way.text for way in pages.install(tools, tools.wheel)}
    wanted = f'"tools-wasm[node] @ {{top}}{tools.wheel.path}"'
    assert ways["pip"] == f"pip install {wanted}"
    assert ways["uvx"] == f"uvx --from {wanted} counts --help"
    assert list(ways) == ["pip", "uv", "pipx", "uvx", "pylock.toml"]
    page = pages.package(tools)
    text = "".join(Elements(page).texts)
    assert "Command line programs for Linux, macOS and Windows, not for Pyodide: counts, words" in text
    assert "node, with all rights of the user who starts it" in text
    assert "none, only standard input and output" in text
    for absent in ("micropip", "loadPackage", "try/?package", "Where it runs", "tools_wasm_programs"):
        assert absent not in page
    assert "micropip" in pages.package(words)
    assert "Pyodide starts no programs" in pages.package(words)
    assert ">Pyodide: programs<" in pages.badge(tools)
    assert "1 are command line programs for other machines" in "".join(Elements(pages.search()).texts)
    assert {each.name for each in pages._coverage(found.columns[0])["only_here"]} <= {"words", "plain"}
    found_by_command = [each.name for each in search(found, SearchQuery(q="counts"))]
    assert found_by_command == ["tools"]
    assert [each.name for each in search(found, SearchQuery(state="programs"))] == ["tools"]
    assert summary_json(tools)["programs"] == ["counts", "words"]
    assert summary_json(tools)["imports"] == []


def test_a_wheel_of_programs_says_what_it_has(tmp_path: Path) -> None:
    made = convert(conda.assemble("tools-of-tests", "1.0", {"bin/one.wasm": wasi.status(0)}), out=tmp_path)
    assert made.wheel is not None
    details = read_details(made.wheel).details
    assert (details.programs, details.only_programs) == ((WheelCommand("one", "wasi", "folders"),), True)


def test_a_package_cannot_pass_its_python_off_as_programs(tmp_path: Path) -> None:
    """A table of programs that the package has itself: `check` would start its code on this machine."""
    table = json.dumps({"programs": {"x; touch y": {"kind": "wasi"}, "x": {"kind": "wasi"}}})
    files: conda.Files = {
        f"site-packages/liar_programs/{name}": text
        for name, text in (("__init__.py", ""), ("__main__.py", ""), ("programs.json", table))
    }
    made = convert(conda.assemble("liar", "1.0", files, noarch="python"), out=tmp_path)
    details = read_details(made.wheel).details
    assert (details.programs, details.only_programs) == ((), False)


def test_without_a_script_the_search_shows_every_package_and_its_own_view(small: PackageCatalogue) -> None:
    rows = Elements(Pages(small, SITE).search()).all("tr")
    assert len(rows) == len(small.packages) + 1
    page = Elements(Pages(small, SITE).search(SearchQuery(q="num", state="runs", sort="-size")))
    hidden = [row for row in page.all("tr") if "hidden" in row]
    assert len(hidden) == len(small.packages) - 1
    assert {"value": "num", "name": "q"}.items() <= page.all("input")[0].items()


def test_the_graph_groups_modules_and_puts_what_is_needed_to_the_right(small: PackageCatalogue) -> None:
    drawing = needed_graph("x", catalogues.LIBRARIES)
    assert drawing is not None
    root = ElementTree.fromstring(drawing)  # noqa: S314 - made here
    places = {
        group.findtext("{*}text"): float(group.find("{*}rect").attrib["x"])  # type: ignore[union-attr]
        for group in root.iter("{http://www.w3.org/2000/svg}g")
    }
    assert places["6 modules"] < places["libopenblas-1a2b3c4d.so"] < places["libgfortran-0badcafe.so"] < places["libz.so"]
    circle = [WheelLibrary(f"{a}.so", "vendored", None, (f"{b}.so",)) for a, b in ("ab", "bc", "ca")]
    assert needed_graph("circle", circle) is not None
    assert needed_graph("none", ()) is None


def test_no_jinja_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, small: PackageCatalogue) -> None:
    rendering.environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(Failed, match="need Jinja2") as error:
        Pages(small)
    assert (error.value.code, "serve" in error.value.hint) == ("dependency", True)
