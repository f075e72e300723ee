"""Fixtures of the tests of channels."""

from __future__ import annotations

import pytest

from conda2wheel.net import download


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the pauses between tries."""
    monkeypatch.setattr(download, "BACKOFF", 0.0)
