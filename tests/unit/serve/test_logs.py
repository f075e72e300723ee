"""The service's log lines, and which of them -q and --log-level leave."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from conda2wheel.serve.logs import EventLog
from tests.helpers import command


@pytest.mark.parametrize(("least", "shown"), [("info", ["a", "b", "c"]), ("warning", ["b", "c"]), ("error", ["c"])])
def test_less_important_lines_are_left_out(least: str, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventLog, "least", least)
    lines = io.StringIO()
    log = EventLog(stream=lines)
    for event, level in (("a", "info"), ("b", "warning"), ("c", "error")):
        log(event, level)
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == shown


def test_serve_takes_the_options_of_all_commands(tmp_path: Path) -> None:
    """A wrong configuration ends it at once, and is an error that -q shows."""
    done = command.run("serve", tmp_path / "gone.toml", "-q", "--log-level", "error")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
