"""Commands that take wheels take folders of them, and name what is not there before anything is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import Refused, lock
from conda2wheel.commands.repair import repair_each
from conda2wheel.errors import Conda2WheelError, Failed
from conda2wheel.pyodide import CheckOptions, check_each
from tests.helpers import command
from tests.helpers.foreign import Foreign


@pytest.mark.parametrize("name", ["check", "repair", "lock", "bundle", "index"])
@pytest.mark.parametrize("source", ["./distt", "some/wheels", "gone.whl"])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, name: str, source: str) -> None:
    done = command.run(name, source, cwd=tmp_path)
    assert done.returncode == 1
    assert f"not-found: {source.removeprefix('./') if name in ('check', 'repair') else source}: no such file" in done.stderr


@pytest.mark.parametrize("name", ["check", "repair", "lock", "bundle", "index"])
def test_an_empty_folder_is_no_match_spec(tmp_path: Path, name: str) -> None:
    (tmp_path / "dist").mkdir()
    # For bundle a bare name is a match spec, whatever folders there are.
    done = command.run(name, "./dist" if name == "bundle" else "dist", cwd=tmp_path)
    assert done.returncode == 1
    assert "not-found: dist: has no " in done.stderr


def test_a_name_that_no_channel_answers_for_may_have_been_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"distt: no such file or folder, so taken as a match spec"):
        lock(["distt"], out=tmp_path / "out", channels=["http://127.0.0.1:1/channel"])


def test_repair_and_check_take_the_wheels_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    for each in ("one", "two"):
        Foreign("py3-none-any", {f"{each}.py": ""}, name=each, version="1.0").write(folder)
    done = dict(repair_each([folder], out=tmp_path / "out"))
    assert [Path(each).name[:3] for each in done] == ["one", "two"]
    assert not any(isinstance(each, Conda2WheelError) for each in done.values())
    bad = tmp_path / "bad"
    for each in ("one", "two"):
        Foreign("cp313-cp313-linux_x86_64", {f"{each}.py": ""}, name=each, version="1.0").write(bad)
    checked = list(check_each([bad], CheckOptions()))
    assert [path.name[:3] for path, _ in checked] == ["one", "two"]
    assert all(isinstance(error, Refused) and error.code == "unknown-abi" for _, error in checked)
