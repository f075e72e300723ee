"""[serve] in the mirror's TOML, and what holds without a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conda2wheel import Failed
from conda2wheel.mirror.config import load as load_mirror
from conda2wheel.serve import config
from tests.helpers.service import configured
from tests.helpers.systems import IS_WINDOWS

ROOT = Path(Path.cwd().anchor)
OWN = {"nt": "AppData/Local", "darwin": "Library/Application Support"}.get(
    "nt" if IS_WINDOWS else sys.platform, ".local/share"
)  # of docs/reference/systems.md


def test_without_a_file_it_is_on_loopback_with_a_store_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDA2WHEEL_DATA", str(tmp_path))
    found = config.default()
    assert (found.host, found.port, found.on_demand) == ("127.0.0.1", 8000, True)
    assert found.mirror.channels == ("emscripten-forge-4x",)
    assert found.mirror.output.store == str(tmp_path / "store")
    assert found.mirror.state == tmp_path / "state.sqlite"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CONDA2WHEEL_DATA": str(ROOT / "srv"), "XDG_DATA_HOME": str(ROOT / "xdg")}, ROOT / "srv"),
        ({"XDG_DATA_HOME": str(ROOT / "xdg")}, ROOT / "xdg/conda2wheel"),
        ({"XDG_DATA_HOME": "relative"}, Path.home() / OWN / "conda2wheel"),
    ],
)
def test_the_data_folder_follows_the_environment(environ: dict[str, str], expected: Path) -> None:
    assert config.data_folder(environ) == expected


def test_another_store_has_another_state(tmp_path: Path) -> None:
    first = configured(tmp_path)
    assert config.with_store(first, str(tmp_path / "public")) is first
    others = [config.with_store(first, store) for store in (str(tmp_path / "other"), "s3://bucket/wheels")]
    assert [each.mirror.output.store for each in others] == [str(tmp_path / "other"), "s3://bucket/wheels"]
    assert len({each.mirror.state for each in (first, *others)}) == 3


def test_the_mirror_and_the_service_read_one_file(tmp_path: Path) -> None:
    found = configured(tmp_path, '[serve]\nport = 9000\nurl = "https://wheels.example/forge/"\nwait = "5s"\nlog = "text"\n')
    assert (found.port, found.url, found.wait, found.log) == (9000, "https://wheels.example/forge", 5.0, "text")
    assert load_mirror(tmp_path / "mirror.toml") == found.mirror


def test_all_mistakes_are_reported_with_their_lines(tmp_path: Path) -> None:
    text = '[serve]\nprot = 1\nport = 70000\nwait = "soon"\nurl = "wheels.example"\nlog = "xml"\nhost = 1\n'
    with pytest.raises(Failed) as caught:
        configured(tmp_path, f"{text}[works]\n")
    expected = ["6: [serve] has no prot; did you mean port?", "7: port is 70000", "8: 'soon' is not a duration"]
    expected += ["9: url is 'wheels.example'", "10: log is 'xml'", "11: host is not a text", "12: there is no [works]"]
    assert caught.value.code == "usage"
    assert [each for each in expected if f"mirror.toml:{each}" not in caught.value.message] == []


def test_who_may_do_what(tmp_path: Path) -> None:
    found = configured(tmp_path, '[serve]\ntokens = "keys"\nopen = ["read"]\nrate = ""\njobs = 3\nupload = "5M"\n')
    assert (found.token_folder, found.open, found.rate, found.jobs, found.upload) == (
        tmp_path / "keys",
        ("read",),
        "",
        3,
        5 << 20,
    )
    with pytest.raises(Failed) as caught:
        configured(tmp_path, '[serve]\nopen = ["reed"]\nrate = "often"\njobs = 0\nupload = "big"\n')
    for expected in ("open has 'reed'; did you mean read?", "rate is 'often'", "jobs is 0", "'big' is not a size"):
        assert expected in caught.value.message
