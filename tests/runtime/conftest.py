"""Pyodides of the default run start from snapshots; those of `--long`, and of tests that are marked `cold`, start anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conda2wheel.pyodide import fetch
from tests.helpers.browser import Browser, browser
from tests.helpers.warm import warm


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of a process."""
    with browser(tmp_path_factory.mktemp("browser") / "profile") as started:
        yield started


@pytest.fixture
def page(running: Browser) -> Iterator[Browser]:
    """A browser of one page that complained of nothing until the end of the test, neither of errors nor of its own policy."""
    running("resize", 1280, 900)
    running("media", {"colorScheme": "light"})
    running("goto", "about:blank")
    running("trouble")  # of a test that failed
    yield running
    assert running("trouble") == []


@pytest.fixture(autouse=True)
def _quick_start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyodide from npm or the cache as always, then its snapshot."""
    if request.config.option.markexpr == "not long" and request.node.get_closest_marker("cold") is None:
        real = fetch.pyodide
        monkeypatch.setattr(fetch, "pyodide", lambda *arguments: warm(real(*arguments)))
