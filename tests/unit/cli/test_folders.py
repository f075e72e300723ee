"""Commands that take wheels take folders of them, and name what is not there before anything is downloaded."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from conda2wheel import Refused, audit, bundle_specs, lock
from conda2wheel.abi.audit.findings import Severity
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


def test_addresses_of_the_library_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    for write in (lock, bundle_specs):
        for wrong in ({"url": "wheels/"}, {"pyodide_url": "p/", "with_pyodide": True}, {"pyodide_url": "https://example.org/"}):
            with pytest.raises(Failed) as caught:
                write(["./nothere"], out=tmp_path / "out", **wrong)
            assert caught.value.code == "usage"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["lock", "bundle"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "wheels/"), "not the http or https address"),
        (("--with-pyodide", "--pyodide-url", "htp:/x"), "neither the http or https address"),
        (("--with-pyodide", "--pyodide-url", "pyodide/"), "(./pyodide/ is a folder beside the lock file)"),
        (("--pyodide-url", "https://example.org/p/"), "--with-pyodide, which is not given"),
    ],
)
def test_addresses_that_are_none_are_a_wrong_use(tmp_path: Path, name: str, words: tuple[str, ...], said: str) -> None:
    done = command.run(name, "./x", *words, cwd=tmp_path, env={**os.environ, "COLUMNS": "400"})
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_files_that_name_nothing_or_are_damaged_say_where(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# none\n")
    (tmp_path / "environment.yml").write_text("dependencies: [a\nchannels: b: c\n")
    assert "requirements.txt names no package" in command.run("bundle", "requirements.txt", cwd=tmp_path).stderr
    assert "environment.yml: is not YAML (line 2, column " in command.run("bundle", "environment.yml", cwd=tmp_path).stderr


def test_a_missing_requirement_of_a_lock_has_a_code_of_its_own(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one-1.0-py3-none-any.whl", "w") as made:
        made.writestr("one-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: one\nVersion: 1.0\nRequires-Dist: gone\n")
    [warning] = lock([tmp_path], pyodide="0.29").warnings
    assert warning.code == "missing-requirement"
    assert warning.message.endswith("--with-pyodide adds the packages of Pyodide")


def test_an_index_takes_wheels_alone(tmp_path: Path) -> None:
    wheel = Foreign("py3-none-any", {"one.py": ""}, name="one", version="1.0").write(tmp_path)
    package = replace(audit(wheel), index="pypi", kind="package")
    assert not package.passes(Severity.FATAL)
    assert package.line().endswith("PyPI refuses it (no wheel)")
