"""A bundle from a faulty HTTP channel: a retry succeeds, or the error is one line and nothing is written."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.bundle.build import bundle_specs
from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed, Refused
from conda2wheel.net import download as fetch
from tests.helpers import sets
from tests.helpers.served import serve
from tests.unit.bundle.test_bundle import contents


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("channel")
    sets.indexed(root, sets.packages())
    return root


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.01)


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": 0.5, "times": 3},
        {"status": 503, "times": 3},
    ],
    ids=["cut", "503"],
)
def test_a_temporary_fault_changes_nothing(fault: dict[str, Any], channel: Path, tmp_path: Path) -> None:
    plain = bundle_specs(["shapes-one", "strict"], channels=[channel.as_uri()], out=tmp_path / "plain")
    with serve(channel) as site:
        site.fault("*.tar.bz2", **fault)
        made = bundle_specs(["shapes-one", "strict"], channels=[site.url], out=tmp_path / "set")
    wheels = {name: digest for name, digest in contents(made.folder).items() if name.endswith(".metadata")}
    assert wheels == {name: digest for name, digest in contents(plain.folder).items() if name.endswith(".metadata")}


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"status": 404}, Failed, "not-found"),
        ({"status": 500}, Failed, "network"),
        ({"status": 403}, Failed, "network"),
        ({"cut": 0.5}, Failed, "network"),
        ({"spoil": True}, Refused, "corrupt-archive"),
    ],
    ids=["404", "500", "403", "cut", "wrong hash"],
)
def test_a_permanent_fault_is_one_line_and_writes_nothing(
    fault: dict[str, Any], error: type[Failed | Refused], code: str, channel: Path, tmp_path: Path, cache: Path
) -> None:
    with serve(channel) as site:
        site.fault("*numeric*.tar.bz2", **fault)
        with pytest.raises(error) as caught:
            bundle_specs(["shapes-one"], channels=[site.url], out=tmp_path / "set")
        assert caught.value.code == code
        assert "numeric" in caught.value.message
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        site.heal()
        bundle_specs(["shapes-one"], channels=[site.url], out=tmp_path / "set")  # nothing spoiled was kept
        kept = [path for path in (cache / "conda").rglob("*") if path.is_file() and re.fullmatch(r"[0-9a-f]{64}", path.name)]
        assert kept
        assert [path for path in kept if hashlib.sha256(path.read_bytes()).hexdigest() != path.name] == []


def test_a_second_run_reads_packages_from_the_cache_and_offline_everything(channel: Path, tmp_path: Path) -> None:
    with serve(channel) as site:
        first = bundle_specs(["shapes-one", "strict"], channels=[site.url], out=tmp_path / "one")
        asked = sum(count for path, count in site.requests.items() if path.endswith(".tar.bz2"))
        assert asked > 0
        second = bundle_specs(["shapes-one", "strict"], channels=[site.url], out=tmp_path / "two")
        assert sum(count for path, count in site.requests.items() if path.endswith(".tar.bz2")) == asked
    third = bundle_specs(["shapes-one", "strict"], channels=[site.url], out=tmp_path / "three", downloads=Downloads(offline=True))
    assert contents(first.folder) == contents(second.folder) == contents(third.folder)


def test_offline_without_a_cache_is_one_line(channel: Path, tmp_path: Path) -> None:
    with serve(channel) as site, pytest.raises(Failed) as caught:
        bundle_specs(["numeric"], channels=[site.url], out=tmp_path / "set", downloads=Downloads(offline=True))
    assert caught.value.code == "network"
    assert "--offline" in str(caught.value)
