"""/convert in a real browser, against a real service: files are uploaded, and become wheels or are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from conda2wheel.serve.tokens import Scope, TokenFolder
from tests.helpers import sets
from tests.helpers.browser import Browser
from tests.helpers.served import serve
from tests.helpers.service import RunningService, configured, request, running
from tests.runtime.test_pages import WHOLE, audited

pytestmark = pytest.mark.long
FILE = "#file"
DROP = """(async (name) => {
  const files = new DataTransfer();
  files.items.add(new File([await (await fetch(location.href)).blob()], name));
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: files, cancelable: true }));
})"""
STAGES = "[...document.querySelectorAll('#stages li')].map((each) => `${each.textContent} ${each.className}`.trim())"
ENDED = "document.getElementById('result').textContent !== '' && document.getElementById('job-state').textContent === ''"
# All that the steps showed, as it came.
WATCH = f"""window.seen = new Set();
new MutationObserver(() => {STAGES}.filter((each) => each.endsWith(' now')).forEach((each) => window.seen.add(each)))
  .observe(document.getElementById('stages'), {{ childList: true }});0"""


@dataclass
class Desk:
    """A service, and the page of it that takes a token of its own process."""

    service: RunningService
    session: str
    tokens: TokenFolder

    def token(self, *scopes: Scope) -> str:
        return self.tokens.create("test", list(scopes), time.time(), None)[0]

    @property
    def address(self) -> str:
        return f"{self.service.url}/convert"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    sets.indexed(folder / "channel", [sets.pure("one", "1.0"), sets.pure("two")])
    with serve(folder / "channel", prefix="/forge") as channel:
        config = configured(folder, '[serve]\nupload = "1M"\n', channel=channel.url)
        with running(config, executor=InProcessExecutor()) as service:
            service.idle()
            yield Desk(service, service.service.access.open_session(), TokenFolder(config.token_folder))


def complaints(page: Browser, *expected: str) -> list[str]:
    """What the page complained of, but for these statuses. Chromium calls a stream that was read to its end aborted."""
    found = [each for each in page("trouble") if not each.endswith("/events: net::ERR_ABORTED")]
    return [each for each in found if not any(f"status of {status} " in each for status in expected)]


def says(page: Browser, text: str) -> None:
    """What was begun has ended, and the page says a text of it."""
    page("waitForFunction", ENDED)
    assert text in page("innerText", "#result")


def test_a_file_becomes_a_wheel_stage_by_stage(page: Browser, desk: Desk) -> None:
    """The token comes with the address, and does not stay in it."""
    page("goto", f"{desk.address}#token={desk.session}")
    assert page("evaluate", "location.href") == desk.address
    assert page("inputValue", "[name=token]") == desk.session
    page("evaluate", WATCH)
    page("setInputFiles", FILE, str(sets.native("numeric", "2.4.0")))
    page("waitForSelector", "#result .button")
    stages = ["sent", "queued", "open", "link", "audit", "write", "report"]
    assert page("evaluate", STAGES) == [f"{each} done" for each in stages]
    seen = page("evaluate", "[...window.seen]")
    assert [each for each in seen if each.split()[0] in stages[2:]] == [f"{each} now" for each in stages[2:]]
    text = page("innerText", "#result")
    for words in (
        "Converted.",
        "The audit: runs in Pyodide 0.29.5.",
        "Runs in 0.28.3, 0.29.5.",
        "For pyemscripten_2025_0_wasm32",
    ):
        assert words in text
    wheel = request(page("getAttribute", "#result .button", "href"))
    assert (wheel.status, wheel.body[:2]) == (200, b"PK")
    assert page("getAttribute", "#result .button", "download").endswith("_wasm32.whl")
    page("evaluate", "document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert "0.22.1: does not load: numeric/_c" in page("innerText", "#result")
    assert audited(page) == []
    page("resize", 390, 844)
    assert page("evaluate", WHOLE) == 390
    assert complaints(page) == []


def test_a_package_of_the_channel_needs_no_token(page: Browser, desk: Desk) -> None:
    page("goto", f"{desk.address}?spec=one")
    page("click", "#convert button")
    page("waitForSelector", "#result .button")
    assert page("innerText", "#result .button") == "Download one-1.0-py3-none-any.whl"
    assert page("evaluate", STAGES) == ["queued done", "running done"]
    assert page("innerText", "#result .verdict") == "Converted."
    page("fill", "[name=spec]", "nothing-such")
    page("press", "Enter")
    says(page, "No channel has a package that fits the spec.")
    assert complaints(page, "404") == []


def test_a_dropped_file_that_is_no_package_is_refused_with_the_reason(page: Browser, desk: Desk) -> None:
    page("goto", f"{desk.address}#token={desk.session}")
    page("evaluate", f"{DROP}('bad-1.0-0.conda')")
    says(page, "Refused (corrupt-archive): ")
    assert "Give a .conda" in page("innerText", "#result .note")
    assert page("evaluate", STAGES)[:4] == ["sent done", "queued done", "open bad", "link"]
    page("evaluate", f"{DROP}('page.html')")
    says(page, "This is neither a package nor a wheel.")
    assert page("evaluate", STAGES) == []
    assert complaints(page, "415") == []


def test_who_may_not_reads_why(page: Browser, desk: Desk, tmp_path: Path) -> None:
    large = tmp_path / "large-1.0-0.conda"
    large.write_bytes(bytes(40_000_000))
    good = str(sets.pure("one"))
    page("goto", desk.address)
    page("setInputFiles", FILE, good)
    says(page, "This server wants a token for that.")
    assert page("evaluate", "document.activeElement.name") == "token"
    page("fill", "[name=token]", "c2w_wrong")
    page("click", "#result button")  # the same once more
    says(page, "The server does not take this token. The token is not known")
    for token, file, words in (
        ("c2w_wrong", good, "The server does not take this token."),  # the same file, chosen again
        ("wrong token", good, "This is no token"),
        (desk.token("audit"), good, "The token lacks the scope upload."),
        (desk.session, str(large), "The file is too large for this server. An upload has at most 1,"),
    ):
        page("fill", "[name=token]", token)
        page("setInputFiles", FILE, file)
        says(page, words)
    page("evaluate", f"location.hash = 'token={desk.session}'")  # the printed address, in a page that is open
    page("waitForFunction", f"document.querySelector('[name=token]').value === '{desk.session}' && !location.hash")
    page("setInputFiles", FILE, good)
    page("waitForSelector", "#result .button")
    assert complaints(page, "401", "403", "413") == []


def test_too_many_and_not_now_are_said_with_the_time_to_wait(page: Browser, tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", [sets.pure("one")])
    config = configured(tmp_path, '[serve]\nrate = "1/hour"\nopen = ["read", "convert", "upload"]\nupload = "1k"\n')
    with running(config, executor=InProcessExecutor()) as service:
        service.idle()
        page("goto", f"{service.url}/convert")
        page("evaluate", f"{DROP}('a-1.0-0.conda')")
        says(page, "The file is too large for this server.")
        page("evaluate", f"{DROP}('a-1.0-0.conda')")
        says(page, "That is too much at once. Too many requests: 1 per 1 hour; wait ")
        assert "Try again in 3" in page("innerText", "#result")
    assert complaints(page, "413", "429") == []
