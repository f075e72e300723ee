"""The pages in a real browser, as static files: searched, read and tried, at a desk's and a phone's size."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conda2wheel.index.pages.catalogue import PackageCatalogue
from conda2wheel.index.pages.ranking import SearchQuery, search
from conda2wheel.index.pages.site import POLICIES, Pages, Site
from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import catalogues, sets
from tests.helpers.browser import AXE, Browser, package
from tests.helpers.mirror_runs import small_mirror
from tests.helpers.served import serve
from tests.helpers.service import configured, until
from tests.helpers.service import running as running_service
from tests.unit.index.test_ranking import QUERIES

LONG = pytest.mark.long
SITE = Site("emscripten-forge-4x", api=True, report="report/report.html", tryable=("0.29.5",), locks=("pyemscripten_2025_0",))
NAMES = (
    "[...document.querySelectorAll('.packages tbody th')].map((each) => (each.querySelector('a') ?? each.firstChild).textContent)"
)
COUNT = "document.getElementById('count').textContent"
# What axe-core finds by any rule and calls serious or worse, and what it could not decide: but for texts on shapes of a drawing,
# whose ground it does not see.
AUDIT = """axe.run({ exclude: [['svg.needed']] }, { preload: false }).then((found) => [...found.violations, ...found.incomplete]
  .filter((each) => ['serious', 'critical'].includes(each.impact))
  .map((each) => `${each.id}: ${each.nodes.length} such as ${each.nodes[0].html.slice(0, 150)}`))"""
WHOLE = "document.documentElement.scrollWidth"
READY = "document.getElementById('measures').textContent.startsWith('Ready')"
CRASH = "import ctypes\nprint('before')\nctypes.string_at(0xfffffff0, 100000)\n"


@dataclass
class WebSite:
    """A folder over HTTP, with the Content-Security-Policies as headers."""

    url: str = ""


@contextmanager
def website(folder: Path) -> Iterator[WebSite]:
    site = WebSite()

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {  # noqa: RUF012 - as the base class has it
            **http.server.SimpleHTTPRequestHandler.extensions_map,
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
        }

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def end_headers(self) -> None:
            kind = "try" if self.path.startswith(("/try/", "/static/try-worker")) else "page"
            self.send_header("Content-Security-Policy", POLICIES[kind])
            super().end_headers()

        def do_GET(self) -> None:
            if self.path == "/convert":
                self.path = "/convert.html"
            super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/"
        yield site
        server.shutdown()


def write(folder: Path, catalogue: PackageCatalogue) -> Path:
    pages = Pages(catalogue, SITE)
    files = {**pages.files(), "convert.html": pages.convert().encode(), "busy.html": pages.error(503, "Busy.", "").encode()}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with website(write(tmp_path_factory.mktemp("small"), catalogues.small())) as site:
        yield site


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    with website(write(tmp_path_factory.mktemp("hostile"), catalogues.hostile())) as site:
        yield site


@pytest.fixture(scope="module")
def channel() -> PackageCatalogue:
    return catalogues.channel(2600)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, channel: PackageCatalogue) -> Iterator[WebSite]:
    folder = tmp_path_factory.mktemp("large")
    files = Pages(channel, SITE).files()
    for path in files:
        if not path.startswith("packages/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(files[path])
    with website(folder) as site:
        yield site


def names(page: Browser) -> list[str]:
    found: list[str] = page("evaluate", NAMES)
    return found


def audited(page: Browser) -> list[str]:
    page("evaluate", (package(*AXE) / "axe.min.js").read_text(encoding="utf-8") + ";0")
    found: list[str] = page("evaluate", AUDIT)
    return found


def test_a_package_is_found_read_and_no_text_of_it_runs(page: Browser, small: WebSite, hostile: WebSite) -> None:
    page("goto", small.url)
    assert page("title") == "emscripten-forge-4x for Pyodide"
    assert page("evaluate", COUNT) == "11 packages"
    page("fill", "#q", "Scientific")
    assert names(page) == ["scipy"]
    assert page("evaluate", "location.search") == "?q=Scientific"
    assert audited(page) == []
    page("click", ".packages tbody a")
    assert page("innerText", ".verdict") == "Runs in Pyodide 0.28. Runs in part in 0.29."
    assert "imports function MAIN__, which is not defined" in page("innerText", "table[aria-labelledby=matrix]")
    assert f'index_urls=["{small.url}simple", *DEFAULT_INDEX_URLS]' in page("innerText", ".ways details[open] pre")
    assert audited(page) == []
    page("goBack")
    assert page("inputValue", "#q") == "Scientific"
    assert names(page) == ["scipy"]
    page("resize", 390, 844)
    page("media", {"colorScheme": "dark"})
    for path in ("", "packages/evil/"):
        page("goto", hostile.url + path)
        assert page("evaluate", WHOLE) == 390
        assert page("evaluate", "document.querySelectorAll('img:not([src=\"badge.svg\"]), iframe').length") == 0


@LONG
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_can_be_read_by_all(page: Browser, small: WebSite, hostile: WebSite, width: int, scheme: str) -> None:
    page("resize", width, 844)
    page("media", {"colorScheme": scheme})
    paths = ["", "packages/scipy/", "packages/lost/", "coverage/", "try/", "convert", "busy.html"]
    for site, path in [*((small, path) for path in paths), (hostile, ""), (hostile, "packages/evil/"), (hostile, "coverage/")]:
        page("goto", site.url + path)
        page("evaluate", "document.querySelectorAll('details:not([name])').forEach((each) => (each.open = true))")
        assert audited(page) == [], path
        assert page("evaluate", WHOLE) == width, path  # nothing to move sideways for
        page("press", "Tab")
        assert page("evaluate", "document.activeElement.className") == "skip"


@LONG
def test_2600_rows_are_found_in_the_order_of_the_command_line(page: Browser, large: WebSite, channel: PackageCatalogue) -> None:
    page("goto", large.url)
    assert len(names(page)) < 300
    for query in QUERIES:
        page("goto", f"{large.url}{query.address()}")
        wanted = [
            each.name
            for each in search(channel, SearchQuery(**{**vars(query), "sort": "" if query.sort == "nonsense" else query.sort}))
        ]
        assert int(str(page("evaluate", COUNT)).replace("\u202f", "").split()[0]) == len(wanted)
        shown = names(page)
        assert shown == wanted[: len(shown)]
        assert len(shown) >= min(len(wanted), 100)


@LONG
def test_a_view_is_made_by_clicks_and_keys_and_has_an_address(page: Browser, large: WebSite, channel: PackageCatalogue) -> None:
    page("goto", large.url)
    page("selectOption", "select[name=state]", "runs")
    page("selectOption", "select[name=lacks]", "pyodide")
    page("click", "th[data-sort=size] button")
    address = "?state=runs&lacks=pyodide&sort=-size"
    assert page("evaluate", "location.search") == address
    sizes = page("evaluate", "[...document.querySelectorAll('.packages tbody tr')].map((row) => Number(row.dataset.size))")
    assert sizes == sorted(sizes, reverse=True)
    assert page("getAttribute", "th[data-sort=size]", "aria-sort") == "descending"
    page("goBack")
    assert page("evaluate", "location.search") == "?state=runs&lacks=pyodide"
    assert page("getAttribute", "th[data-sort=size]", "aria-sort") is None
    page("click", "[data-clear]")
    assert page("evaluate", "location.search + document.activeElement.id") == "q"
    page("click", ".lede a[href='?state=refused']")
    assert page("inputValue", "select[name=state]") == "refused"
    wanted = sum(each.state == "refused" for each in channel.packages)
    while (seen := len(names(page))) < wanted:
        page("evaluate", "document.getElementById('more').scrollIntoView()")
        page("waitForFunction", f"{NAMES}.length > {seen}")
    assert page("isHidden", "#more")
    page("goto", f"{large.url}?state=nonsense&sort=__proto__")
    assert page("evaluate", COUNT) == f"{len(channel.packages):,} packages".replace(",", "\u202f")
    page("goto", f"{large.url}?q={'x' * 5000}")
    assert names(page) == []


@LONG
def test_a_service_that_is_down_is_said_to_be(page: Browser, tmp_path: Path) -> None:
    with website(write(tmp_path, catalogues.small())) as site:
        page("goto", f"{site.url}convert")
    page("setInputFiles", "#file", str(sets.pure("one")))
    page("waitForFunction", "document.getElementById('result').textContent.includes('The server does not answer')")
    with website(tmp_path) as site:
        page("goto", f"{site.url}try/?package=nothing-such")
        page("waitForFunction", "document.getElementById('lede').textContent === 'There is no package nothing-such here.'")
        page("goto", f"{site.url}try/?package=clib")
        page("waitForFunction", "document.getElementById('lede').textContent.includes('has no wheel')")
    assert [each for each in page("trouble") if "404" not in each and "ERR_CONNECTION" not in each] == []


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """The pages of a real mirror, with the Pyodides that run on them."""
    folder = tmp_path_factory.mktemp("mirror")
    with small_mirror(folder) as mirror:
        mirror.add(*sets.packages())
        text = mirror.path.read_text(encoding="utf-8")
        mirror.path.write_text(text.replace("[output]", "[output]\npages = true"), encoding="utf-8")
        assert mirror.run().problem is None
        with website(folder / "public") as site:
            yield site


@LONG
@pytest.mark.parametrize("version", ["0.29.5", "0.28.3"])
def test_c_code_runs_in_the_page_and_a_crash_ends_only_the_interpreter(page: Browser, mirrored: WebSite, version: str) -> None:
    page("goto", f"{mirrored.url}packages/shapes-one/")
    assert page("evaluate", "document.querySelector('svg.needed .vendored text').textContent").startswith("libgeosy")
    page("click", ".actions .button")
    page("goto", f"{page('url')}&pyodide={version}")
    page("waitForFunction", f"{READY} || !document.getElementById('crash').hidden")
    assert "shapes-one 1.0" in page("innerText", "#measures")
    assert audited(page) == []
    page("fill", "#code", "from shapes_one import fail, one\nprint('C says', one(), one())\nfail()\n")
    page("press", "Control+Enter")
    page("waitForFunction", "!document.getElementById('run').disabled")
    output = page("innerText", "#output")
    assert output.startswith("C says 100 101\n")
    assert "ValueError: raised in C" in output
    page("fill", "#code", "6 * 7")
    page("click", "#run")
    page("waitForFunction", "document.getElementById('output').textContent === '42\\n'")
    page("fill", "#code", CRASH)
    page("click", "#run")
    page("waitForSelector", "#crash:not([hidden])")
    assert "crashed" in page("innerText", "#crash")
    assert page("innerText", "#output").startswith("before\nStack (most recent call first):\n")
    assert page("evaluate", "document.getElementById('run').disabled")
    own = ("memory access out of bounds", "fatal error", "ERR_ABORTED")  # Pyodide's, and of the page that was left at once
    assert [each for each in page("trouble") if not any(words in each for words in own)] == []
    page("click", "#restart")
    page("waitForFunction", READY)
    page("fill", "#code", "while True: pass")
    page("click", "#run")
    page("waitForFunction", "document.getElementById('measures').textContent === 'Running …'")
    page("click", "#restart")  # what runs for ever ends, too
    page("waitForFunction", READY)


@LONG
def test_the_service_shows_the_same_pages(page: Browser, tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", sets.packages())
    with (
        serve(tmp_path / "channel", prefix="/forge") as packages,
        running_service(configured(tmp_path, channel=packages.url), executor=InProcessExecutor()) as service,
    ):
        until(lambda: service.service.catalogue.is_read)
        service.page("shapes-one")
        until(
            lambda: "shapes-one" in [each["name"] for each in service.get("/catalogue.json").json()["packages"] if each["runs"]]
        )
        page("goto", service.url)
        page("fill", "#q", "shapes one")
        assert names(page) == ["shapes-one"]
        assert audited(page) == []
        page("click", ".packages tbody a")
        assert page("innerText", ".verdict") == "Runs in Pyodide 0.28, 0.29."
        page("click", ".actions .button")
        page("waitForFunction", f"{READY} || !document.getElementById('crash').hidden")
        assert "shapes-one 1.0" in page("innerText", "#measures")
        page("goto", f"{service.url}/coverage/")
        assert audited(page) == []
        page("goto", f"{service.url}/convert")
        assert audited(page) == []
