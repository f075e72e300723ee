"""Pyodides of the default run start from snapshots; those of `--long`, and of tests that are marked `cold`, start anew."""

from __future__ import annotations

import pytest

from conda2wheel.pyodide import fetch
from tests.helpers.warm import warm


@pytest.fixture(autouse=True)
def _quick_start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyodide from npm or the cache as always, then its snapshot."""
    if request.config.option.markexpr == "not long" and request.node.get_closest_marker("cold") is None:
        real = fetch.pyodide
        monkeypatch.setattr(fetch, "pyodide", lambda *arguments: warm(real(*arguments)))
