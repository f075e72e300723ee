"""`conda2wheel index --jupyterlite`: `all.json` for piplite, and names that `jupyter lite build` takes."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from conda2wheel import index_wheels
from conda2wheel.index.jupyterlite import piplite_name
from tests.helpers import command
from tests.helpers.family import pure
from tests.helpers.foreign import Foreign

# jupyterlite_pyodide_kernel 0.7.2, constants.py: ALL_WHL
PATTERNS = ("*py3-none-any.whl", "*emscripten_*_wasm32.whl", "*pyodide_*_wasm32.whl")
PEP783 = "pyemscripten_2025_0_wasm32"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """One version of a project for two Pythons, one of them with both names, and a pure wheel."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for tag in (f"cp313-cp313-{PEP783}.pyodide_2025_0_wasm32", "cp314-cp314-pyemscripten_2026_0_wasm32"):
        Foreign(tag, {"demo/__init__.py": b"", "demo/data.bin": b"\0" * 9}, name="demo").write(folder)
    pure("ham", "1.0", folder)
    return folder


def document(folder: Path) -> dict[str, dict[str, dict[str, list[dict[str, object]]]]]:
    found: dict[str, dict[str, dict[str, list[dict[str, object]]]]] = json.loads((folder / "all.json").read_text())
    return found


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


@pytest.mark.parametrize(
    "tag",
    [
        f"cp313-cp313-{PEP783}",
        f"cp313-cp313-{PEP783}.pyodide_2025_0_wasm32",
        "cp313-cp313-pyodide_2025_0_wasm32",
        f"cp311-abi3-{PEP783}.pyemscripten_2026_0_wasm32.pyodide_2025_0_wasm32",
        f"py3-none-{PEP783}",
        "cp312-cp312-pyemscripten_2024_0_wasm32.pyodide_2024_0_wasm32",
        "cp314-cp314-pyemscripten_2026_0_wasm32",
        "cp311-cp311-emscripten_3_1_45_wasm32",
        "py3-none-any",
        "py2.py3-none-any",
        "py310-none-any",
        "cp313-none-any",
    ],
)
def test_exactly_one_pattern_of_the_addon_finds_the_name(tag: str) -> None:
    for build in ("", "2-"):
        name = piplite_name(f"demo-1.0-{build}{tag}.whl")
        assert name is not None
        assert name.startswith(f"demo-1.0-{build}")
        assert sum(fnmatch(name, pattern) for pattern in PATTERNS) == 1, name
        assert piplite_name(name) == name or "pyodide_2026" in name


@pytest.mark.parametrize("tag", ["cp313-cp313-manylinux_2_28_x86_64", "py2-none-any", "cp313-cp313-win_amd64", "cp313-cp313-any"])
def test_wheels_for_other_systems_have_no_name(tag: str) -> None:
    assert piplite_name(f"demo-1.0-{tag}.whl") is None


def test_copies_get_the_name_and_keep_every_other_byte(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "pypi"
    result = index_wheels([dist], out=out, jupyterlite=True)
    assert result.all_json == out / "all.json"
    names = {"demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl", "demo-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl"}
    assert {path.name for path in out.glob("*.whl")} == {*names, "ham-1.0-py3-none-any.whl"}
    before = contents(next(dist.glob("demo-1.0-cp313*.whl")))
    after = contents(out / "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"demo-1.0.dist-info/WHEEL", "demo-1.0.dist-info/RECORD"}
    assert b"Tag: cp313-cp313-pyodide_2025_0_wasm32\n" in after["demo-1.0.dist-info/WHEEL"]
    assert b"pyemscripten" not in after["demo-1.0.dist-info/WHEEL"]
    rows = {row[0] for row in csv.reader(io.StringIO(after["demo-1.0.dist-info/RECORD"].decode()))}
    assert rows == after.keys()
    releases = document(out)["demo"]["releases"]
    assert {str(each["filename"]) for each in releases["1.0"]} == names
    assert [warning.code for warning in result.warnings] == ["several-of-a-version"]
    assert "2 wheels of demo 1.0" in result.warnings[0].message
    assert all(each["url"] == f"./{each['filename']}" for each in releases["1.0"])
    assert index_wheels([dist], out=out, jupyterlite=True).written == 0


def test_in_place_wheels_keep_their_names_and_piplite_is_told_others(dist: Path) -> None:
    done = command.run("index", dist, "--jupyterlite", "--url", "https://me.example.org/w/", "--json")
    assert done.returncode == 0, done.stderr
    assert "with -o DIR the wheel is copied as demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl [piplite-name]" in done.stderr
    assert json.loads(done.stdout)["index"]["all_json"] == str(dist / "all.json")
    first = document(dist)["demo"]["releases"]["1.0"][0]
    assert first["filename"] == "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl"
    assert first["url"] == f"https://me.example.org/w/demo-1.0-cp313-cp313-{PEP783}.pyodide_2025_0_wasm32.whl"


def test_what_is_not_for_pyodide_is_left_out(dist: Path, tmp_path: Path) -> None:
    Foreign("cp313-cp313-manylinux_2_28_x86_64", {"linux/__init__.py": b""}, name="linux").write(dist)
    done = command.run("index", dist, "--jupyterlite", "-o", tmp_path / "pypi")
    assert (done.returncode, "linux" in document(tmp_path / "pypi")) == (0, False)
    assert "manylinux_2_28_x86_64.whl: is not for Pyodide, and is left out [not-for-pyodide]" in done.stderr


def test_two_wheels_that_would_have_one_name_are_refused(dist: Path, tmp_path: Path) -> None:
    Foreign(f"cp313-cp313-{PEP783}", {"demo/__init__.py": b"1"}, name="demo").write(dist)
    done = command.run("index", dist, "--jupyterlite", "-o", tmp_path / "pypi")
    assert (done.returncode, (tmp_path / "pypi").exists()) == (1, False)
    assert "conflict" in done.stderr
    assert "demo-1.0-cp313-cp313-pyodide_2025_0_wasm32.whl" in done.stderr
