"""The report's page in a real browser: found, filtered, sorted, opened and sent on, by mouse, by keyboard, on a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.errors import REFUSAL_CODES
from conda2wheel.mirror.report.pages import pages
from tests.helpers import mirror_reports as reports
from tests.helpers.browser import AXE, Browser, package

ROWS = "[...document.querySelectorAll('tr.item .open')].map(each => each.textContent)"
OPENED = "document.querySelector('tr.detail').previousSibling"
COUNT = "document.getElementById('count').textContent"
# Every rule of axe-core (WCAG 2 and its best practices); what it could not decide counts as well. It may ask for no style sheet.
AUDIT = """axe.run({ preload: false }).then((found) => [...found.violations, ...found.incomplete].map(
  (each) => `${each.id}: ${each.nodes.length} such as ${each.nodes[0].html.slice(0, 150)}`))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel of 2600 packages and, beside it, one of every kind and with hostile names."""
    folder = tmp_path_factory.mktemp("site")
    for name, report in (("large", reports.channel()), ("small", reports.report(runtimes=[reports.runtime()]))):
        (folder / name).mkdir()
        for file, data in pages(report.json()).items():
            (folder / name / file).write_bytes(data)
    return folder


def visit(page: Browser, site: Path, fragment: str = "", which: str = "large") -> None:
    page("goto", f"{(site / which / 'report.html').as_uri()}{fragment}")


def rows(page: Browser) -> list[str]:
    found: list[str] = page("evaluate", ROWS)
    return found


def test_the_page_opens_from_a_disk_and_shows_the_beginning_of_2600_rows(page: Browser, site: Path) -> None:
    visit(page, site)
    assert page("title") == "Wheels of emscripten-forge-4x"
    assert page("evaluate", COUNT) == "2600 packages"
    assert 50 <= len(rows(page)) < 1000
    assert page("evaluate", "document.querySelectorAll('svg.history g').length") == 41


def test_all_rows_come_by_scrolling(page: Browser, site: Path) -> None:
    visit(page, site, "#status=refused")
    wanted = int(str(page("evaluate", COUNT)).split()[0])
    while (seen := len(rows(page))) < wanted:
        page("evaluate", "document.getElementById('more').scrollIntoView()")
        page("waitForFunction", f"{ROWS}.length > {seen}")
    assert len(rows(page)) == wanted > 600
    assert page("isHidden", "#more")


def test_a_search_finds_names_first_and_goes_into_the_address(page: Browser, site: Path) -> None:
    visit(page, site)
    page("fill", "#search", "SciPy done")
    assert rows(page)[0] == "scipy 1.0"
    assert page("evaluate", "location.hash") == "#search=SciPy%20done"
    page("fill", "#search", "requires:numpy<2")
    assert rows(page) == ["scipy 1.0"]
    page("fill", "#search", "warning:not-isolated")
    assert rows(page) == ["scipy 1.0"]
    page("fill", "#search", "no such thing anywhere")
    assert rows(page) == []
    assert page("evaluate", COUNT) == "0 of 2600 packages"
    page("click", "#clear")
    page("waitForFunction", "document.getElementById('count').textContent === '2600 packages'")
    assert page("evaluate", "location.hash") == ""


def test_filters_offer_what_there_is_and_hold_together(page: Browser, site: Path) -> None:
    visit(page, site)
    offered: list[str] = page("evaluate", "[...document.getElementById('code').options].map(each => each.value)")
    assert set(offered) - {"", "crash", "network", "timeout"} <= REFUSAL_CODES.keys()
    page("selectOption", "#status", "quarantined")
    assert rows(page) == ["poison 1.0"]
    page("selectOption", "#status", "runs_except")
    assert rows(page) == ["scipy 1.0"]
    page("click", "a[href*='warning%3Aunresolved-symbol']")  # in the overview
    assert rows(page) == ["scipy 1.0"]
    page("click", "button.open")
    assert "scipy/_x.so: imports function MAIN__" in page("evaluate", "document.querySelector('tr.detail').textContent")
    page("click", "#clear")
    page("waitForFunction", "document.getElementById('count').textContent === '2600 packages'")
    page("selectOption", "#status", "refused")
    page("selectOption", "#code", "fake-dylib")
    assert "lost 1.0" in rows(page)
    assert page("evaluate", "location.hash") == "#status=refused&code=fake-dylib"
    page("selectOption", "#platform", reports.NATIVE)
    assert rows(page) == []


def test_sorting_by_size_begins_with_the_largest_and_turns_around(page: Browser, site: Path) -> None:
    visit(page, site)
    sizes = "[...document.querySelectorAll('tr.item')].slice(0, 3).map(row => row.querySelector('[data-label=Size]').textContent)"
    page("click", "[data-sort=size]")
    largest = [f"{int(size.split()[0])} MB" for size in page("evaluate", sizes)]
    assert largest == page("evaluate", sizes) == sorted(largest, key=lambda text: -int(text.split()[0]))
    assert page("getAttribute", "th:has([data-sort=size])", "aria-sort") == "descending"
    page("click", "[data-sort=size]")
    assert page("evaluate", sizes) == ["", "", ""]
    assert page("getAttribute", "th:has([data-sort=size])", "aria-sort") == "ascending"
    page("click", "[data-sort=name]")
    assert page("getAttribute", "th:has([data-sort=size])", "aria-sort") is None


def test_a_link_brings_somebody_else_to_the_same_place(page: Browser, site: Path) -> None:
    visit(page, site, "#search=lost&status=refused&sort=-seconds")
    assert page("inputValue", "#search") == "lost"
    assert page("inputValue", "#status") == "refused"
    assert rows(page)[-1] == "lost 1.0"
    page("evaluate", "location.hash = '#open=emscripten-wasm32%2Fscipy-1.0-py313h0_0'")
    page("waitForSelector", "tr.detail")
    assert page("evaluate", f"{OPENED}.querySelector('.open').textContent") == "scipy 1.0"
    place = f"{OPENED}.getBoundingClientRect()"
    page("waitForFunction", f"{place}.top > -50 && {place}.bottom < innerHeight")
    visit(page, site, "#status=nonsense&sort=__proto__")
    page("reload")
    assert page("evaluate", COUNT) == "2600 packages"


def test_a_chart_leads_to_its_packages(page: Browser, site: Path) -> None:
    visit(page, site)
    page("click", ".bars a:text-is('fake-dylib')")
    page("waitForFunction", "document.getElementById('code').value === 'fake-dylib'")
    assert "lost 1.0" in rows(page)


def test_details_say_why_and_lead_to_the_wheel(page: Browser, site: Path) -> None:
    visit(page, site, "#search=lost")
    page("focus", ".open")
    page("press", "Enter")  # as without a mouse
    details = page("innerText", "tr.detail")
    assert "lost/a.so is no side module" in details
    assert REFUSAL_CODES["fake-dylib"].meaning.replace("`", "") in details
    assert page("getAttribute", ".open", "aria-expanded") == "true"
    page("press", "Enter")
    assert page("evaluate", "document.querySelector('tr.detail')") is None
    visit(page, site, "#search=scipy&open=emscripten-wasm32%2Fscipy-1.0-py313h0_0")
    made = reports.wheel("scipy")
    assert page("getAttribute", "tr.item [data-label=Wheel] a", "href") == made.blob
    assert "python_version < '3'" in page("innerText", "tr.detail")
    assert page("getAttribute", "tr.detail a[rel]", "href").startswith("https://repo.example/emscripten-forge-4x/")


def test_every_code_is_explained_with_a_link_to_its_packages(page: Browser, site: Path) -> None:
    visit(page, site, "#code-fake-dylib")
    explained = page("evaluate", "[...document.querySelectorAll('dt[id^=code-]')].map(each => each.id.slice(5))")
    assert explained == list(REFUSAL_CODES)
    assert page("evaluate", "Math.round(scrollY)") > 0  # a place in the page, no search
    assert page("evaluate", COUNT) == "2600 packages"


def test_a_hostile_name_is_shown_and_does_nothing(page: Browser, site: Path) -> None:
    visit(page, site, "#status=failed", "small")
    shown = page("innerText", "tr.item:has-text('alert')")
    assert '</script><img src=x onerror="alert(1)">' in shown
    assert "\\x1b[2J\\x0a\\u202e\\ud800\\x00" in shown
    assert "$title" in shown
    page("click", ".open >> nth=0")
    assert page("evaluate", "document.images.length") == 0
    assert page("evaluate", "document.scripts.length") == 2


def test_an_address_that_is_none_is_no_link(page: Browser, tmp_path: Path) -> None:
    evil = reports.item("evil", "refused", "not-python", message="no", url="javascript:alert(1)")
    for file, data in pages(reports.report([evil]).json()).items():
        (tmp_path / file).write_bytes(data)
    page("goto", (tmp_path / "report.html").as_uri())
    page("click", ".open")
    assert page("evaluate", "[...document.links].filter(each => !/^(file|https):/.test(each.href)).length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_who_sees_little_or_hears_it_read_finds_the_same(page: Browser, site: Path, scheme: str, width: int) -> None:
    page("resize", width, 844)
    page("media", {"colorScheme": scheme})
    visit(page, site, "", "small")
    page("click", ".open >> nth=2")
    page("evaluate", (package(*AXE) / "axe.min.js").read_text(encoding="utf-8") + ";0")
    assert page("evaluate", AUDIT) == []
    assert page("evaluate", "document.documentElement.scrollWidth") == width  # nothing to move sideways for


def test_without_a_script_the_overview_is_there(site: Path) -> None:
    text = (site / "large" / "report.html").read_text(encoding="utf-8")
    visible = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert "Needs attention" in visible
    assert "The table needs JavaScript" in visible
    assert "in the channel, but refused" in visible


def test_the_same_report_gives_the_same_bytes() -> None:
    def make() -> Any:
        return pages(reports.channel(300).json())

    assert make() == make()
