"""The service's pages in a real browser: tested, attacked, used without a mouse, and left alone by their service."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import conda, sets, shapes
from tests.helpers.browser import Browser
from tests.helpers.served import serve
from tests.helpers.service import RunningService, configured, running, until
from tests.helpers.service_process import started
from tests.runtime.test_convert_page import ENDED, FILE, STAGES, complaints, says
from tests.runtime.test_pages import READY, audited

pytestmark = pytest.mark.long
DONE = "!document.getElementById('run').disabled"
SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><a href='javascript:window.hacked = 1'>x</a>"
ESCAPES = "\x1b[31mred\x1b]0;title\x07\u202e"
FOCUS = "((found) => [found.outlineStyle, found.outlineWidth, found.boxShadow])(getComputedStyle(document.activeElement))"
# Whatever text has become a script, a handler, or an address that runs.
ALIVE = """[window.hacked ?? '', ...[...document.querySelectorAll('*')].flatMap((each) => [
  ...(each.localName === 'script' && !each.src ? [each.outerHTML] : []),
  ...(['iframe', 'object', 'embed', 'base'].includes(each.localName) ? [each.outerHTML] : []),
  ...[...each.attributes].filter((one) => one.name.startsWith('on') || /^\\s*(javascript|data|vbscript):/i.test(one.value))
    .map((one) => `${each.localName} ${one.name}=${one.value}`),
])].filter(Boolean)"""


@contextmanager
def service(folder: Path, packages: list[Path], more: str = "") -> Iterator[RunningService]:
    sets.indexed(folder / "channel", packages)
    with (
        serve(folder / "channel", prefix="/forge") as channel,
        running(configured(folder, more, channel=channel.url), executor=InProcessExecutor()) as found,
    ):
        until(lambda: found.service.catalogue.is_read)
        yield found


def listed(found: RunningService, name: str) -> None:
    """Convert a package, and wait until the pages have it."""
    found.page(name)
    until(lambda: any(each["name"] == name and each["runs"] for each in found.get("/catalogue.json").json()["packages"]))


def evil() -> Path:
    """A package whose every text, and every name that may, attacks who shows it."""
    lines = [
        f"Summary: {SCRIPT}{ESCAPES}",
        "Home-page: javascript:window.hacked=1",
        f"Project-URL: {SCRIPT}, javascript:window.hacked=1",
        'Project-URL: Documentation, https://evil.example/"><script>window.hacked=1</script>',
        "Project-URL: data, data:text/html,<script>1</script>",
        f"Author: {SCRIPT}",
        f"License: {SCRIPT}",
        f"Keywords: {SCRIPT}",
        "License-File: LICENSE<img src=x onerror=alert(1)>",
        f"Requires-Dist: numpy ; extra == '{SCRIPT[:20]}'",
        "Requires-Dist: two",
        "Description-Content-Type: text/html",
    ]
    files: dict[str, conda.Content] = {
        "evil.py": "x = 1\n",
        '"><img src=x onerror=alert(1)>.py': "x = 1\n",
        "<script>alert(1)<script>/__init__.py": "x = 1\n",
        **shapes.dist_info("evil-1.0", *lines, tag="py3-none-any", body=SCRIPT * 3),
        "evil-1.0.dist-info/LICENSE<img src=x onerror=alert(1)>": SCRIPT,
    }
    about = {"license": "MIT", "summary": SCRIPT, "description": SCRIPT, "homepage": "javascript:window.hacked=1"}
    return conda.assemble(
        "evil",
        "1.0",
        {f"site-packages/{path}": content for path, content in files.items()},
        noarch="python",
        string="pyh1234567_0",
        depends=["python >=3.9"],
        about={key: value for key, value in about.items() if key != "homepage"},
    )


def test_the_recipes_test_runs_in_the_page(page: Browser, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    script = "import demo\nprint('computed', demo.one())\n"
    (tmp_path / "recipes" / "demo.toml").write_text(f'package = "demo"\nwhy = "w"\n[test]\nscript = """\n{script}"""\n')
    with service(tmp_path, [sets.native("demo")], '[convert]\nrecipes = ["recipes"]\n') as found:
        listed(found, "demo")
        page("goto", f"{found.url}/try/?package=demo")
        page("waitForFunction", f"{READY} || !document.getElementById('crash').hidden")
        page("click", "#smoke")
        page("waitForFunction", f"{DONE} && document.getElementById('output').textContent !== ''")
        assert page("innerText", "#output") == "computed 1\n"
        assert page("inputValue", "#code") == script
        assert page("innerText", "#measures").startswith("Ran for ")
        assert audited(page) == []


def test_no_text_of_a_package_runs_anywhere(page: Browser, tmp_path: Path) -> None:
    package = evil()
    with service(tmp_path, [package, sets.pure("two")], '[serve]\nopen = ["read", "convert", "upload"]\n') as found:
        listed(found, "evil")
        for path in ("", "?q=evil", "packages/evil/", "coverage/", "try/?package=evil", f"?q={SCRIPT}", f"packages/{SCRIPT}/"):
            page("goto", f"{found.url}/{path}")
            page("evaluate", "document.querySelectorAll('details').forEach((each) => (each.open = true))")
            assert page("evaluate", ALIVE) == [], path
        page("goto", f"{found.url}/packages/evil/")
        assert "<script>" in page("innerText", "main")
        assert page("evaluate", "[...document.querySelectorAll('main a')].every((each) => /^https?:/.test(each.href))")
        page("trouble")  # of the worker that was left while it started
        for path in ("packages/evil/badge.svg", "packages/evil/feed.xml", "feed.xml", "simple/evil/", "packages/evil/index.json"):
            page("goto", f"{found.url}/{path}")
            assert page("evaluate", ALIVE) == [], path
            # Chromium shows XML by a style of its own, which the policy of the file forbids.
            said = [each for each in page("trouble") if "Applying inline style" not in each]
            assert [each for each in said if "status of 404 " not in each] == []  # it asks for /favicon.ico
        page("goto", f"{found.url}/convert?spec={SCRIPT}")
        page("click", "#convert button")
        page("waitForFunction", ENDED)
        page("setInputFiles", FILE, str(package))
        says(page, "Converted.")
        page("evaluate", "document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert page("evaluate", ALIVE) == []
        assert found.events("error") == []
        assert "\x1b" not in found.lines.getvalue()
    assert complaints(page, "404", "422") == []


def test_a_job_goes_on_when_its_service_is_back_and_a_started_pyodide_without_one(page: Browser, tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", [sets.native("demo"), sets.pure("two")])
    (tmp_path / "mirror.toml").write_text(
        '[channel]\nurls = ["./channel"]\n[output]\nstore = "public"\n[serve]\nopen = ["read", "convert", "upload"]\n'
    )
    config, log = tmp_path / "mirror.toml", tmp_path / "log"
    with started(config, log=log) as first:
        until(lambda: first.get("/readyz").status == 200)
        first.page("demo")
        until(lambda: any(each["runs"] for each in first.get("/catalogue.json").json()["packages"]))
        page("goto", f"{first.url}/try/?package=demo")
        page("waitForFunction", f"{READY} || !document.getElementById('crash').hidden")
        first.end(signal.SIGKILL)
        page("fill", "#code", "import demo\ndemo.one()")
        page("click", "#run")
        page("waitForFunction", f"{DONE} && document.getElementById('output').textContent !== ''")
        assert page("innerText", "#output") == "1\n"
        page("click", "#restart")
        page("waitForSelector", "#crash:not([hidden])")
        assert page("innerText", "#crash").startswith("Pyodide could not be started.")
    port = int(first.url.rpartition(":")[2])
    with started(config, log=log, port=port) as second:
        until(lambda: second.get("/readyz").status == 200)
        page("click", "#restart")
        page("waitForFunction", READY)
        page("goto", second.url)
        page("fill", "#q", "two")
        page("waitForFunction", "document.getElementById('count').textContent.startsWith('1 of ')")
        page("goto", f"{second.url}/convert")
        page("setInputFiles", FILE, str(sets.pure("two")))
        page("waitForFunction", f"{STAGES}[0] === 'sent done'")
        second.end(signal.SIGKILL)
        page("waitForFunction", "document.getElementById('job-state').textContent.includes('does not answer. It keeps the job')")
    with started(config, log=log, port=port):
        says(page, "Converted.")
        assert page("evaluate", STAGES)[-1] == "report done"
        assert "Download two-1.0-py3-none-any.whl" in page("innerText", "#result")
    allowed = ("ERR_CONNECTION", "ERR_ABORTED", "ERR_INCOMPLETE", "ERR_FAILED", "ERR_EMPTY")
    assert [each for each in page("trouble") if not any(words in each for words in allowed)] == []


def test_all_is_done_without_a_mouse(page: Browser, tmp_path: Path) -> None:
    def reach(selector: str) -> None:
        """Press Tab until something has the focus, and see that it shows."""
        for _ in range(80):
            if page("evaluate", f"document.activeElement.matches({selector!r})"):
                style = page("evaluate", FOCUS)
                assert (style[0] != "none" and style[1] != "0px") or style[2] != "none", (selector, style)
                return
            page("press", "Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    with service(tmp_path, [sets.native("demo"), sets.pure("two")], '[serve]\nopen = ["read", "convert", "upload"]\n') as found:
        listed(found, "demo")
        page("goto", found.url)
        reach("th[data-sort=size] button")
        page("press", "Enter")
        assert page("getAttribute", "th[data-sort=size]", "aria-sort") == "descending"
        page("goto", found.url)
        reach("#q")
        for letter in "demo":
            page("press", letter)
        page("waitForFunction", "document.getElementById('count').textContent.startsWith('1 of ')")
        reach(".packages tbody a")
        page("press", "Enter")
        page("waitForSelector", ".actions .button")
        reach(".ways summary")
        reach(".actions .button")
        page("press", "Enter")
        page("waitForSelector", "#lab:not([hidden])")
        page("waitForFunction", READY)
        reach("#code")
        page("press", "Control+a")
        for letter in "6*7":
            page("press", letter)
        page("press", "Control+Enter")
        page("waitForFunction", "document.getElementById('output').textContent === '42\\n'")
        reach("#restart")
        page("goto", f"{found.url}/convert?spec=two")
        reach("#file")
        reach("[name=spec]")
        page("press", "Enter")
        says(page, "Converted.")
        reach("#result .button")
    assert complaints(page) == []
