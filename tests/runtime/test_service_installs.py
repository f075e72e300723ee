"""micropip, pip and uv install from an empty service, which converts what they ask for; the second time nothing is converted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conda2wheel.mirror.work.executors import InProcessExecutor
from tests.helpers import sets
from tests.helpers.installers import micropip_from, pip_from, uv_from
from tests.helpers.served import Served, serve
from tests.helpers.service import RunningService, configured, running

TAG = "pyemscripten_2025_0_wasm32"
WANTED = {"calc": "2.0", "pure-part": "1.0"}
SCRIPT = "import calc, pure_part\nf'{calc.one()} {pure_part.__version__}'"


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Served]:
    """`calc` needs a project of the channel, and one of Pyodide's own; its older version needs nothing."""
    calc = sets.native("calc", "2.0", requires=["pure-part >=1", "six ; extra == 'more'"])
    sets.indexed(tmp_path / "channel", [calc, sets.native("calc", "1.0"), sets.pure("pure-part")])
    with serve(tmp_path / "channel", prefix="/forge") as served:
        yield served


@pytest.fixture
def service(tmp_path: Path, channel: Served) -> Iterator[RunningService]:
    with running(configured(tmp_path, channel=channel.url), executor=InProcessExecutor()) as started:
        yield started


def converted(channel: Served) -> int:
    """How often the channel was asked for a package."""
    return sum(number for path, number in channel.requests.items() if path.endswith((".conda", ".bz2")))


def test_pip_and_uv_install_and_the_second_time_nothing_is_converted(service: RunningService, channel: Served) -> None:
    for resolve in (pip_from, uv_from):
        found = resolve(f"{service.url}/simple/", ["calc"], platform=TAG, python="3.13")
        assert found.versions == WANTED, found.said
        service.idle()
        assert converted(channel) == 3
    pinned = pip_from(f"{service.url}/simple/", ["calc<2"], platform=TAG, python="3.13")
    assert pinned.versions == {"calc": "1.0"}, pinned.said
    lacking = uv_from(f"{service.url}/simple/", ["calc", "neither-here-nor-there"], platform=TAG, python="3.13")
    assert "neither-here-nor-there" in lacking.said
    assert not lacking.ok


@pytest.mark.runtime
@pytest.mark.parametrize(
    "version", ["0.29.5", pytest.param("0.28.3", marks=pytest.mark.long), pytest.param("314.0.7", marks=pytest.mark.long)]
)
def test_micropip_installs_without_a_warning(service: RunningService, channel: Served, version: str) -> None:
    wanted = ["calc"] if version != "314.0.7" else ["pure-part"]  # of another CPython
    script = SCRIPT if version != "314.0.7" else "import pure_part\npure_part.__version__"
    answer = micropip_from(f"{service.url}/simple", wanted, version, script=script)
    assert answer.errors == (), answer
    assert answer.result == ("1 1.0" if version != "314.0.7" else "1.0")
    assert [line for line in answer.messages if "API" in line or "Warning" in line] == []
    assert answer.refused == ()
    service.idle()
    assert converted(channel) == (3 if version != "314.0.7" else 1)
