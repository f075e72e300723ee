"""A set in the hands of installers: micropip and loadPackage in real Pyodides, pip and uv, from its folder over HTTP alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from conda2wheel import convert, lock
from conda2wheel.abi.platforms import for_pyodide
from conda2wheel.bundle.build import bundle_specs
from conda2wheel.bundle.output import Bundle
from conda2wheel.index.simple import write_index
from conda2wheel.pyodide.lock import runtime_of_platform
from tests.helpers import sets
from tests.helpers.installers import load_from_lock, micropip_from, pip_from, pip_pylock, uv_compile, uv_from, uv_pylock
from tests.helpers.judges import UV_PLATFORMS
from tests.helpers.serve import served

pytestmark = pytest.mark.runtime

PLATFORM = "pyemscripten_2025_0_wasm32"
SPECS = ["shapes-one", "shapes-two", "matplotlib", "python-duckdb", "wants-sixish", "picky"]
PROJECTS = {
    "shapes-one": "1.0",
    "shapes-two": "1.0",
    "matplotlib": "3.0",
    "duckdb": "1.0",
    "wants-sixish": "1.0",
    "sixish": "1.16",
    "picky": "1.0",
    "numeric": "2.2.5",
}
SCRIPT = """
import duckdb, matplotlib, numeric, picky, shapes_one, shapes_two, sixish, wants_sixish
counts = [shapes_one.one(), shapes_one.one(), shapes_two.one()]
assert counts == [100, 101, 100], counts  # each wheel has the library for itself
assert {matplotlib.one(), duckdb.one(), numeric.one(), picky.one()} == {1}
try:
    shapes_two.fail()
except ValueError as error:
    assert str(error) == "raised in C"
else:
    raise AssertionError("nothing was raised")
numeric.__version__
"""
RUNS = [pytest.param(("0.29.5", "313"), id="0.29.5"), pytest.param(("314.0.7", "314"), id="314.0.7", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=RUNS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Bundle]:
    version, python = request.param
    root = tmp_path_factory.mktemp("set")
    channels = [sets.indexed(root / "native", sets.packages(python)), sets.indexed(root / "pure", sets.pure_packages())]
    return version, bundle_specs(SPECS, channels=channels, platform=version, complete=True, out=root / "out")


def test_micropip_installs_the_set_from_its_index(made: tuple[str, Bundle]) -> None:
    version, result = made
    with served(result.folder, negotiate=False) as site:
        names = ["shapes-one", "shapes-two", "matplotlib", "duckdb", "wants-sixish", "picky"]
        answer = micropip_from(f"{site.url}simple", names, version, script=SCRIPT)
    assert (answer.errors, answer.refused, answer.result) == ((), (), "2.2.5"), "".join(answer.errors)
    assert {name: answer.distributions[name] for name in PROJECTS} == PROJECTS


def test_load_package_loads_the_set_by_its_lock_file(made: tuple[str, Bundle], tmp_path: Path) -> None:
    version, result = made
    with served(result.folder) as site:
        url = f"{site.url}pyodide-lock.json"
        answer = load_from_lock(url, sorted(PROJECTS), version, base=site.url, packages=tmp_path, script=SCRIPT)
    assert (answer.errors, answer.refused, answer.result) == ((), (), "2.2.5"), "".join(answer.errors)
    assert dict(answer.distributions) == PROJECTS


def test_pip_and_uv_install_the_set_from_its_pylock(made: tuple[str, Bundle], tmp_path: Path) -> None:
    version, result = made
    row = for_pyodide(version)
    assert row is not None
    lock = result.folder / "pylock.toml"
    ended = {"pip": pip_pylock(lock, tmp_path / "pip", runtime_of_platform(row, version))}
    if row.tag in UV_PLATFORMS:
        ended["uv"] = uv_pylock(lock, tmp_path / "uv", platform=row.tag, python=str(row.python))
        ended["sync"] = uv_pylock(lock, tmp_path / "sync", platform=row.tag, python=str(row.python), sync=True)
    for name, done in ended.items():
        assert done.returncode == 0, done.stderr
        found = {each.name.removesuffix(".dist-info") for each in (tmp_path / name).glob("*.dist-info")}
        assert {canonicalize_name(each.partition("-")[0]): each.partition("-")[2] for each in found} == PROJECTS


def test_a_worker_takes_wheels_of_an_index_beside_pyodides_own(made: tuple[str, Bundle], tmp_path: Path) -> None:
    """What pywrangler 1.17 runs: `uv pip compile` of pyproject.toml for Pyodide into pylock.toml, and its installation."""
    version, result = made
    if version != "0.29.5":
        pytest.skip("uv 0.13 knows the platforms of Python 3.12 and 3.13")
    pyodides = tmp_path / "pyodides"
    convert(sets.pure("sixish", "1.99"), out=pyodides)
    write_index(pyodides, sorted(pyodides.glob("*.whl")))
    project = tmp_path / "worker"
    project.mkdir()
    with served(result.folder) as ours, served(pyodides) as theirs:
        text = '[project]\nname = "worker"\nversion = "0"\nrequires-python = ">=3.11"\n'
        text += 'dependencies = ["shapes-one", "sixish>=1.20"]\n'
        index = f'[[tool.uv.index]]\nname = "forge"\nurl = "{ours.url}simple"\ndefault = true\n'
        (project / "pyproject.toml").write_text(text + index)
        compiled = uv_compile(project, f"{theirs.url}simple", platform=PLATFORM, python="3.13")
        assert compiled.returncode == 0, compiled.stderr
        flat = text + f'[[tool.uv.index]]\nname = "forge"\nurl = "{result.folder.as_uri()}"\nformat = "flat"\ndefault = true\n'
        (project / "pyproject.toml").write_text(flat)
        assert "shapes_one" in uv_compile(project, f"{theirs.url}simple", platform=PLATFORM, python="3.13").stdout
        (project / "pyproject.toml").write_text(text + index)
        assert uv_compile(project, f"{theirs.url}simple", platform=PLATFORM, python="3.13").returncode == 0
        compiled_lock = project / "pylock.toml"
        # uv compares what it wrote here with the interpreter that it runs on; pywrangler's is a Pyodide with Python 3.13.
        compiled_lock.write_text(compiled_lock.read_text().replace('requires-python = ">=3.13"', ""))
        done = uv_pylock(compiled_lock, tmp_path / "modules", platform=PLATFORM, python="3.13")
    assert done.returncode == 0, done.stderr
    found = {each.name for each in (tmp_path / "modules").glob("*.dist-info")}
    assert found == {"shapes_one-1.0.dist-info", "numeric-2.2.5.dist-info", "sixish-1.99.dist-info"}


@pytest.mark.long
def test_load_package_finds_wheels_relative_to_a_lock_file_elsewhere(made: tuple[str, Bundle]) -> None:
    version, result = made
    locks = result.folder.parent / "locks"
    assert lock([result.folder], out=locks, pyodide=version).missing == ()
    answer = load_from_lock(locks / "pyodide-lock.json", sorted(PROJECTS), version, packages=locks, script=SCRIPT)
    assert (answer.errors, answer.refused, answer.result) == ((), (), "2.2.5"), "".join(answer.errors)


SHARING = """
import shapes_one, shapes_two
counts = [shapes_one.one(), shapes_one.one(), shapes_two.one(), shapes_one.one()]
assert counts == [100, 101, 102, 103], counts  # one library for both
shapes_two.__version__
"""


@pytest.mark.parametrize("version_and_python", RUNS)
def test_a_shared_library_is_one_for_all_by_each_installer(version_and_python: tuple[str, str], tmp_path: Path) -> None:
    version, python = version_and_python
    """loadPackage waits for what `depends` has before it opens a wheel's modules; micropip installs it before the others."""
    channel = sets.indexed(tmp_path / "native", sets.packages(python))
    names = ["shapes-one", "shapes-two"]
    result = bundle_specs(names, channels=[channel], platform=version, out=tmp_path / "out", share_libs="geo-libs")
    with served(result.folder, negotiate=False) as site:
        url = f"{site.url}pyodide-lock.json"
        loaded = load_from_lock(url, names, version, base=site.url, packages=tmp_path / "kept", script=SHARING)
        assert (loaded.errors, loaded.result) == ((), "1.0"), "".join(loaded.errors)
        assert loaded.loaded.index("geo-libs") < min(map(loaded.loaded.index, names))
        installed = micropip_from(f"{site.url}simple", names, version, first=["geo-libs"], script=SHARING)
        assert (installed.errors, installed.refused, installed.result) == ((), (), "1.0"), "".join(installed.errors)


def test_pip_and_uv_resolve_the_set_from_its_index(made: tuple[str, Bundle]) -> None:
    version, result = made
    platform, python = result.lock.target, "3.13" if version == "0.29.5" else "3.14"
    with served(result.folder) as site:
        found = pip_from(f"{site.url}simple/", [*PROJECTS], platform=platform, python=python)
        assert (found.ok, dict(found.versions)) == (True, PROJECTS), found.said
        if version == "0.29.5":  # uv knows the platform of no later Pyodide
            found = uv_from(f"{site.url}simple/", [*PROJECTS], platform=platform, python=python)
            assert (found.ok, dict(found.versions)) == (True, PROJECTS), found.said
