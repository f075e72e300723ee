"""Bundles: METADATA admits the chosen versions, the folder is complete, and its lock gives the same bytes again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from conda2wheel.bundle.build import bundle_locked, bundle_specs
from conda2wheel.bundle.lockfile import BundleLock, read_bundle_lock
from conda2wheel.bundle.output import Bundle
from conda2wheel.errors import Failed, Refused
from tests.helpers import command, conda, judges, sets

PLATFORM = "pyemscripten_2025_0_wasm32"


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("channels")
    return [sets.indexed(root / "native", sets.packages()), sets.indexed(root / "pure", sets.pure_packages())]


def build(specs: Sequence[str], channels: Sequence[str], out: Path, **options: Any) -> Bundle:
    result = bundle_specs(specs, channels=channels, out=out / "set", **options)
    for wheel in result.wheels:
        assert wheel.wheel is not None
        judges.judge(wheel.wheel)
    return result


def projects(result: Bundle) -> dict[str, str]:
    return {canonicalize_name(wheel.name): wheel.version for wheel in result.wheels}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_newest_of_each_that_works_together_is_chosen(channels: list[str], tmp_path: Path) -> None:
    result = build(["shapes-one", "strict"], channels, tmp_path)
    assert projects(result) == {"shapes-one": "1.0", "strict": "1.0", "numeric": "2.4.0"}
    assert {wheel.platform for wheel in result.wheels} == {PLATFORM}
    (shapes,) = [wheel for wheel in result.wheels if wheel.name == "shapes_one"]
    assert [library.source for library in shapes.vendored] == ["geosy-1.0-h1234567_0:lib/libgeosy.so"]
    names = {path.name for path in result.folder.iterdir() if not path.name.endswith((".whl", ".metadata"))}
    assert {"simple", "bundle.lock", "requirements.txt", "report.json"} <= names


def test_limits_that_only_metadata_has_constrain_the_choice(channels: list[str], tmp_path: Path) -> None:
    """conda's depends of picky admit any numeric; its METADATA wants one below 2.3."""
    assert projects(build(["picky"], channels, tmp_path)) == {"picky": "1.0", "numeric": "2.2.5"}


def test_a_conflict_is_an_error_with_the_reason(channels: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        Failed, match=r"picky, strict cannot be installed together: .*numeric 2\.4\.\*.*but picky requires numeric<2\.3"
    ) as caught:
        bundle_specs(["picky", "strict"], channels=channels, out=tmp_path / "set")
    assert caught.value.code == "conflict"
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_metapackage_is_replaced_by_the_package_of_its_project(channels: list[str], tmp_path: Path) -> None:
    result = build(["matplotlib"], channels, tmp_path)
    assert projects(result) == {"matplotlib": "3.0", "numeric": "2.4.0"}
    assert result.lock.folded == (("matplotlib", "matplotlib"),)


def test_pure_packages_are_left_to_pypi_or_included(channels: list[str], tmp_path: Path) -> None:
    left = build(["matplotlib-base"], channels, tmp_path)
    assert "sixish" not in projects(left)
    assert [(each.requirement, each.why) for each in left.lock.external] == [("sixish>=1", "matplotlib requires sixish>=1")]
    assert "sixish>=1" in (left.folder / "requirements.txt").read_text().splitlines()
    whole = build(["matplotlib-base"], channels, tmp_path, complete=True)
    assert projects(whole)["sixish"] == "1.16"
    assert whole.lock.external == ()


def test_a_requested_pure_package_is_converted(channels: list[str], tmp_path: Path) -> None:
    result = build(["wants-sixish"], channels, tmp_path)
    assert projects(result) == {"wants-sixish": "1.0"}
    assert [each.requirement for each in result.lock.external] == ["sixish>=1.10"]


def test_a_renamed_package_has_its_pypi_name_and_unused_extras_are_ignored(channels: list[str], tmp_path: Path) -> None:
    result = build(["python-duckdb"], channels, tmp_path)
    assert projects(result) == {"duckdb": "1.0"}
    assert result.lock.external == ()  # no member requires the extra


def test_a_dependency_that_no_channel_has_is_removed_and_recorded(tmp_path: Path) -> None:
    channel = sets.indexed(
        tmp_path / "channel", [sets.native("lonely", depends=["tomli-like >=2", "zlib"], requires=["tomli-like>=2"])]
    )
    result = build(["lonely"], [channel], tmp_path)
    assert [(each.name, each.pypi, each.specs) for each in result.lock.absent] == [
        ("tomli-like", "tomli-like", ("tomli-like >=2",)),
        ("zlib", None, ("zlib",)),
    ]
    assert [warning.code for warning in result.warnings] == ["absent-dependency"]  # the library; the other is left to PyPI
    assert [each.requirement for each in result.lock.external] == ["tomli-like>=2"]


def test_a_dependency_that_no_channel_has_is_downloaded_from_pypi_with_its_hash(tmp_path: Path) -> None:
    channel = sets.indexed(tmp_path / "channel", [sets.native("lonely", requires=["python-dateutil==2.9.0.post0", "six<1.17"])])
    result = build(["lonely"], [channel], tmp_path, complete=True)
    assert [(each.name, each.version) for each in result.lock.pypi] == [("python-dateutil", "2.9.0.post0"), ("six", "1.16.0")]
    pinned = (result.folder / "requirements.txt").read_text()
    assert "six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254" in pinned
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_the_same_lock_gives_the_same_bytes_after_the_channel_changed(channels: list[str], tmp_path: Path) -> None:
    root = tmp_path / "channel"
    channel = sets.indexed(root, sets.packages())
    result = build(["shapes-one", "shapes-two", "matplotlib"], [channel, channels[1]], tmp_path, complete=True)
    before = contents(result.folder)
    sets.indexed(root, [sets.native("numeric", "9.0"), sets.shared("geosy", "libgeosy.so", "geosy_next", 0, version="9.0")])
    shutil.copy(result.folder / "bundle.lock", tmp_path)
    again = bundle_locked(tmp_path / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == before
    assert projects(build(["numeric"], [channel], tmp_path)) == {"numeric": "9.0"}


def test_share_libs_moves_libraries_of_several_wheels_into_one_wheel(channels: list[str], tmp_path: Path) -> None:
    apart = build(["shapes-one", "shapes-two"], channels, tmp_path)
    assert [len(wheel.vendored) for wheel in apart.wheels] == [0, 1, 1]
    result = build(["shapes-one", "shapes-two"], channels, tmp_path, share_libs="geo-libs")
    common = result.wheels[-1]
    assert (common.name, [library.source for library in common.vendored]) == (
        "geo-libs",
        ["geosy-1.0-h1234567_0:lib/libgeosy.so"],
    )
    users = [wheel for wheel in result.wheels if f"geo-libs=={common.version}" in wheel.requires]
    assert [wheel.name for wheel in users] == ["shapes_one", "shapes_two"]
    assert f"geo-libs=={common.version} --hash=sha256:{common.sha256}" in (result.folder / "requirements.txt").read_text()
    rows = json.loads((result.folder / "pyodide-lock.json").read_text())["packages"]
    assert "geo-libs" in rows["shapes-one"]["depends"]
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_a_library_of_one_wheel_is_not_shared(channels: list[str], tmp_path: Path) -> None:
    result = build(["shapes-two"], channels, tmp_path, share_libs="geo-libs")
    assert projects(result) == {"shapes-two": "1.0"}
    assert [warning.code for warning in result.warnings] == ["nothing-shared"]
    with pytest.raises(Failed, match="not a distribution name"):
        bundle_specs(["shapes-one", "shapes-two"], channels=channels, out=tmp_path / "no", share_libs="no name")


def test_a_dependency_has_the_name_in_its_own_dist_info(tmp_path: Path) -> None:
    """odd-conda-name is what conda calls it; its dist-info is that of another project, which no table has."""
    renamed = sets.native("odd-conda-name", project="proper-project")
    bare = conda.assemble(
        "bare",
        "1.0",
        {"lib/python3.13/site-packages/bare/__init__.py": "x = 1\n"},
        string="py313h1234567_0",
        depends=["emscripten-abi >=4,<5.0a0", "python_abi 3.13.* *_cp313", "odd-conda-name >=1"],
    )
    result = build(["bare"], [sets.indexed(tmp_path / "channel", [renamed, bare])], tmp_path)
    assert {wheel.name: wheel.requires for wheel in result.wheels}["bare"] == ("proper-project>=1",)
    assert (projects(result), result.lock.external) == ({"bare": "1.0", "proper-project": "1.0"}, ())
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_an_index_may_have_absolute_urls(channels: list[str], tmp_path: Path) -> None:
    result = build(["numeric"], channels, tmp_path, url="https://example.org/set/")
    page = json.loads((result.folder / "simple/numeric/index.json").read_text())
    assert [each["url"] for each in page["files"]] == [f"https://example.org/set/{result.wheels[0].filename}"]
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_a_library_that_only_the_channel_has_is_in_the_lock(tmp_path: Path) -> None:
    """hidden depends on no library, and NEEDs one that is called like the package that has it."""
    user = sets.native("hidden", calls="other_next", needed=["libquite.so"])
    library = sets.shared("quite", "libquite.so", "other_next", 500)
    root = tmp_path / "channel"
    result = build(["hidden"], [sets.indexed(root, [user, library])], tmp_path)
    (step,) = result.lock.steps
    assert [each.name for each in step.libraries] == ["quite"]
    newer = sets.shared("quite", "libquite.so", "other_next", 900, version="2.0")
    sets.indexed(root, [newer])
    again = bundle_locked(result.folder / "bundle.lock", out=tmp_path / "again")
    assert contents(again.folder) == contents(result.folder)


def test_a_package_that_cannot_become_a_wheel_refuses_the_bundle(tmp_path: Path) -> None:
    bad = sets.native("bad", calls="nobody_has_this")
    channel = sets.indexed(tmp_path / "channel", [bad, sets.native("good", depends=["bad"])])
    with pytest.raises(Refused) as caught:
        bundle_specs(["good"], channels=[channel], out=tmp_path / "set", strict=True)
    assert caught.value.code == "unresolved-symbol"
    assert not (tmp_path / "set").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["channel"]


def test_a_wheel_of_which_a_part_does_not_run_is_in_the_bundle_and_named(tmp_path: Path) -> None:
    bad = sets.native("bad", calls="nobody_has_this")
    channel = sets.indexed(tmp_path / "channel", [bad])
    done = command.run("bundle", "bad", "--channel", channel, "-o", tmp_path / "set")
    (line,) = [line for line in done.stderr.splitlines() if "runs except for" in line]
    assert re.search(r"bad-1\.0-.*\.whl: runs except for bad/_c.*\.so \(nobody_has_this\)", line)
    again = bundle_locked(tmp_path / "set" / "bundle.lock", out=tmp_path / "again")
    (wheel,) = again.wheels
    assert [part.symbols for part in wheel.unusable] == [("nobody_has_this",)]


def test_a_folder_that_is_no_bundle_is_not_replaced(channels: list[str], tmp_path: Path) -> None:
    mine = tmp_path / "set" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(Failed, match="is there already") as caught:
        bundle_specs(["numeric"], channels=channels, out=tmp_path / "set")
    assert caught.value.code == "usage"
    assert mine.read_text() == "precious"


def test_a_bundle_is_replaced_as_a_whole(channels: list[str], tmp_path: Path) -> None:
    build(["shapes-one"], channels, tmp_path)
    build(["numeric =2.2"], channels, tmp_path)
    assert [path.name for path in (tmp_path / "set").glob("*.whl")] == [
        f"numeric-2.2.5-cp313-cp313-{PLATFORM}.pyodide_2025_0_wasm32.whl"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("specs", "options", "code", "match"),
    [
        (["nobody-has-it"], {}, "not-found", "no such package in"),
        (["numeric =9"], {}, "not-found", "numeric"),
        (["=>1"], {}, "usage", "is no match spec"),
        (["numeric"], {"platform": "win32"}, "usage", "neither auto, nor"),
        (["numeric"], {"platform": "314.0.7"}, "conflict", "emscripten-abi"),
    ],
)
def test_specs_that_cannot_be_solved_are_one_line(
    channels: list[str], tmp_path: Path, specs: list[str], options: dict[str, Any], code: str, match: str
) -> None:
    with pytest.raises(Failed, match=match) as caught:
        bundle_specs(specs, channels=channels, out=tmp_path / "set", **options)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1}', "nonsense"])
def test_a_file_that_is_no_lock_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.lock").write_text(text)
    with pytest.raises(Failed) as caught:
        bundle_locked(tmp_path / "bundle.lock", out=tmp_path / "set")
    assert caught.value.code == "unreadable"


def test_a_step_of_a_lock_has_a_recipe_that_is_a_table(tmp_path: Path) -> None:
    package: dict[str, Any] = {"name": "x", "version": "1", "build": "0", "subdir": "noarch", "url": "https://host/x"}
    package |= {"sha256": None, "size": None, "channel": "https://host", "depends": []}
    step = {"package": package, "libraries": [], "recipe": [1], "notes": [], "names": {}}
    document = {**json.loads(BundleLock().text()), "packages": [step]}
    (tmp_path / "bundle.lock").write_text(json.dumps(document))
    with pytest.raises(Failed, match="no table"):
        read_bundle_lock(tmp_path / "bundle.lock")


def test_the_report_lists_the_contents_of_the_bundle(channels: list[str], tmp_path: Path) -> None:
    result = build(["matplotlib", "shapes-two"], channels, tmp_path)
    report = json.loads((result.folder / "report.json").read_text())
    assert report["schema"] == 1
    assert {wheel["name"] for wheel in report["wheels"]} == {"matplotlib", "shapes_two", "numeric"}
    assert report["left"] == [{"requirement": "sixish>=1", "why": "matplotlib requires sixish>=1"}]
    assert str(tmp_path / "set") not in json.dumps(report)
