"""What a bundle is made of beside match specs: package files, folders, requirements of pip's and environments of conda's."""

from __future__ import annotations

import bz2
import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from conda2wheel.bundle.build import bundle_locked, bundle_specs
from conda2wheel.bundle.output import Bundle
from conda2wheel.bundle.sources import read_sources
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
from tests.helpers import command, sets


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("channels")
    return [sets.indexed(root / "native", sets.packages()), sets.indexed(root / "pure", sets.pure_packages())]


def build(sources: Sequence[object], channels: Sequence[str], out: Path, **options: Any) -> Bundle:
    return bundle_specs(list(map(str, sources)), channels=channels, out=out / "set", **options)


def projects(result: Bundle) -> dict[str, str]:
    return {canonicalize_name(wheel.name): wheel.version for wheel in result.wheels}


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / next(iter(files))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_requirements_name_projects_and_their_limits_hold(channels: list[str], tmp_path: Path) -> None:
    """duckdb is python-duckdb in the channel; numeric 2.4.0 is newer, and other files and markers limit it."""
    text = "# what we need\n--index-url https://example.org/simple\nduckdb[all] >=1  \\\n  ,<2 # a comment\n"
    text += "-r more.txt\n-c limits.txt\n"
    more = "shapes_one ; sys_platform == 'emscripten'\nabsent-thing; sys_platform == 'win32'\nnumeric==2.*\n"
    source = written(tmp_path, {"requirements.txt": text, "more.txt": more, "limits.txt": "numeric<2.3\nsix<1.17\n"})
    result = build([source], channels, tmp_path)
    assert projects(result) == {"duckdb": "1.0", "shapes-one": "1.0", "numeric": "2.2.5"}
    assert [each.requirement for each in result.lock.external] == ["typing-extensions-like>=1"]  # of the extra
    assert [each.code for each in result.warnings] == ["requirements-option"]
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_a_project_that_no_channel_has_comes_from_pypi(channels: list[str], tmp_path: Path) -> None:
    source = written(tmp_path, {"requirements.txt": "six==1.16.0\nnumeric\n"})
    result = build([source], channels, tmp_path)
    assert (projects(result), [each.version for each in result.lock.pypi]) == ({"numeric": "2.4.0"}, ["1.16.0"])


def test_limits_of_a_project_of_metadata_and_of_the_file_are_one_conflict(channels: list[str], tmp_path: Path) -> None:
    source = written(tmp_path, {"requirements.txt": "numeric>=2.4\npicky\n"})
    with pytest.raises(Failed, match="picky") as caught:
        build([source], channels, tmp_path)
    assert caught.value.code == "conflict"


def test_an_environment_has_packages_requirements_and_channels(channels: list[str], tmp_path: Path) -> None:
    names = "".join(f"  - {channel}\n" for channel in channels)
    text = f"name: demo\nchannels:\n{names}  - nodefaults\ndependencies:\n  - python=3.13\n  - numeric=2.2\n  - pip\n"
    source = written(tmp_path, {"environment.yml": f"{text}  - pip:\n    - duckdb>=1  # a comment\n"})
    assert projects(build([source], (), tmp_path)) == {"numeric": "2.2.5", "duckdb": "1.0"}


def test_packages_on_disk_are_taken_with_libraries_of_the_folder_or_the_channel(channels: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    geosy, *_ = sets.packages()
    mine = sets.native("mine", depends=["geosy", "numeric 2.2.*"], calls="geosy_next", needed=["libgeosy.so"])
    for package in (geosy, mine):
        (folder / package.name).write_bytes(package.read_bytes())
    result = build([folder], channels, tmp_path)
    assert projects(result) == {"mine": "1.0", "numeric": "2.2.5"}
    assert [each.source for each in result.wheels[0].vendored] == ["geosy-1.0-h1234567_0:lib/libgeosy.so"]
    older = sets.native("numeric", "1.0")
    single = build([older, "shapes-two"], channels, tmp_path / "single")
    assert projects(single) == {"numeric": "1.0", "shapes-two": "1.0"}
    again = bundle_locked(single.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(single.folder)


def test_a_folder_of_any_archives_is_read_and_what_is_no_package_is_named(channels: list[str], tmp_path: Path) -> None:
    """empack's archives and files with names of their own are in no channel, so rattler does not know them by name."""
    folder = tmp_path / "packages"
    folder.mkdir()
    packed = sets.native("mine")
    with bz2.open(packed) as file, gzip.open(folder / "mine-1.0-py313h1234567_0.tar.gz", "wb") as other:
        shutil.copyfileobj(file, other)
    shutil.copy(sets.native("yours"), folder / "renamed.tar.bz2")
    (folder / "junk-1.0-0.conda").write_bytes(b"PK\x03\x04 no zip file")
    result = build([folder], channels, tmp_path)
    assert projects(result) == {"mine": "1.0", "yours": "1.0"}
    [warning] = [each for each in result.warnings if each.code == "package-skipped"]
    assert "junk-1.0-0.conda" in warning.message
    for path in folder.glob("*.tar.*"):
        path.unlink()
    with pytest.raises(Refused, match="junk"):
        build([folder], channels, tmp_path)


def test_a_request_without_a_wheel_is_an_error(channels: list[str], tmp_path: Path) -> None:
    bare = sets.indexed(tmp_path / "bare", [sets.meta("matplotlib", ["matplotlib-base ==3.0"], "3.0"), sets.native("numeric")])
    for request, code, why in (
        (["matplotlib"], "metapackage", "no channel has matplotlib-base, on which it depends"),
        (["python"], "interpreter", "Pyodide has it itself"),
    ):
        with pytest.raises(Refused, match=why) as caught:
            build(request, [bare], tmp_path)
        assert (caught.value.code, (tmp_path / "set").exists()) == (code, False)
    with pytest.raises(Refused, match=r"geosy-1\.0-h1234567_0: geosy is a shared library"):
        build(["geosy"], channels, tmp_path)
    assert build(["geosy", "shapes-two"], channels, tmp_path / "used").unsatisfied == ()
    done = command.run("bundle", "matplotlib", "numeric", "--channel", bare, "-o", tmp_path / "part")
    assert (done.returncode, done.stdout) == (1, f"{tmp_path / 'part'}\n")
    assert "error: metapackage: no wheel for matplotlib: matplotlib-3.0-pyh1234567_0: is a metapackage" in done.stderr
    assert contents(bundle_locked(tmp_path / "part/bundle.lock", out=tmp_path / "again").folder) == contents(tmp_path / "part")


WRONG = {
    "requirements.txt": {
        "./here.whl\n": "no project of an index",
        "demo @ https://example.org/demo-1.0.conda\n": "is at an address",
        "-e .\n": "no project of an index",
        "what is this\n": "is no requirement",
        "-r gone.txt\n": "no such file",
    },
    "environment.yml": {"- a\n": "no list `dependencies`", "dependencies:\n  - 1\n": "no match spec", "a: [\n": "not YAML"},
}


@pytest.mark.parametrize(("name", "text", "why"), [(name, *row) for name, rows in WRONG.items() for row in rows.items()])
def test_a_wrong_file_is_one_line_with_its_place(name: str, text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=why) as caught:
        read_sources([str(written(tmp_path, {name: text}))], Limits())
    assert "\n" not in caught.value.message


def test_a_folder_of_the_name_of_a_package_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numeric").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_sources(["numeric"], Limits()).specs == ("numeric",)
    with pytest.raises(Failed, match="has no conda packages"):
        read_sources(["./numeric"], Limits())


def test_what_is_not_there_or_no_source_is_named(tmp_path: Path) -> None:
    for source in (
        "gone.txt",
        "gone.yml",
        "gone.conda",
        str(tmp_path),
        "demo-1.0-py3-none-any.whl",
        "https://example.org/a.conda",
    ):
        with pytest.raises(Failed, match=source.rpartition("/")[2]):
            read_sources([source], Limits())
