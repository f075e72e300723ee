"""loadPackage from our lock files, in real Pyodides: from local files and over HTTP, alone and merged with Pyodide's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from conda2wheel.index.pyodide_lock import LockEntry, PyodideLock, merged_lock, standalone_lock
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.fetch import from_pypi, package_cache
from tests.helpers.family import Family, family, pure
from tests.helpers.installers import Answer, load_from_lock, runtime
from tests.helpers.serve import served

pytestmark = pytest.mark.runtime

SCRIPT = """
import aunt, grand_parent
from pkg import _top
from pkg.sub.deep import _deep
assert (_top.bump(), _deep.bump(), _top.bump()) == (1, 2, 3), "two instances of one library"
aunt.version
"""
FORMS = {"beside": standalone_lock, "merged": merged_lock}
COMPLETE = {"grand-parent", "pkg", "aunt", "niece", "cousin"}  # cousin: for an extra that is asked for
LONG = pytest.mark.long
FILES = [
    pytest.param("0.26.4", "312", "merged", marks=LONG),
    pytest.param("0.27.7", "312", "beside", marks=LONG),
    pytest.param("0.27.7", "312", "merged"),
    pytest.param("0.28.3", "313", "merged", marks=LONG),
    pytest.param("0.29.5", "313", "merged", marks=LONG),
    pytest.param("314.0.7", "314", "beside", marks=LONG),
    pytest.param("314.0.7", "314", "merged", marks=LONG),
]
HTTP = [
    pytest.param("0.28.3", "313", "beside", marks=LONG),
    pytest.param("0.29.5", "313", "beside", marks=LONG),
    pytest.param("0.29.5", "313", "merged", marks=LONG),
    pytest.param("314.0.7", "314", "beside"),
    pytest.param("314.0.7", "314", "merged", marks=LONG),
]


def locked(made: Family, version: str, form: str) -> PyodideLock:
    """Write `pyodide-lock.json` among the wheels, which it names by their file names alone."""
    here = runtime(version)
    wheels = [(wheel, hashlib.sha256(wheel.read_bytes()).hexdigest()) for wheel in made.wheels]
    lock = FORMS[form]([LockEntry.of_file(wheel, wheel.name, sha, here.python_version) for wheel, sha in wheels], here)
    (made.wheels[0].parent / "pyodide-lock.json").write_bytes(lock.data)
    return lock


def came(answer: Answer) -> None:
    assert answer.errors == ()
    assert answer.refused == ()
    assert answer.result == "2.0"  # neither the older one nor the release candidate
    assert set(answer.loaded) == COMPLETE
    assert set(answer.distributions) == COMPLETE
    assert answer.loaded.index("niece") < answer.loaded.index("aunt") < answer.loaded.index("grand-parent")


@pytest.mark.parametrize(("version", "python", "form"), FILES)
def test_what_a_package_needs_comes_first_from_local_files(version: str, python: str, form: str, tmp_path: Path) -> None:
    made = family(tmp_path, python)
    lock = locked(made, version, form)
    assert (lock.missing, lock.cut, lock.replaced) == ((), (), ())
    folder = made.wheels[0].parent
    came(load_from_lock(folder / "pyodide-lock.json", ["grand-parent"], version, packages=folder, script=SCRIPT))


@pytest.mark.cold
@pytest.mark.parametrize(("version", "python", "form"), HTTP)
def test_what_a_package_needs_comes_first_over_http(version: str, python: str, form: str, tmp_path: Path) -> None:
    """Pyodides before 0.28 look below their own indexURL alone, which is a folder under node."""
    made = family(tmp_path / "site", python)
    locked(made, version, form)
    with served(made.folder) as site:
        base = site.url + "wheels/"
        answer = load_from_lock(
            base + "pyodide-lock.json", ["grand-parent"], version, base=base, packages=tmp_path / "kept", script=SCRIPT
        )
        came(answer)
        assert len(site.asked) == 1 + len(COMPLETE)


@LONG
def test_a_package_of_pyodides_own_gets_ours_without_a_look_at_its_version(tmp_path: Path) -> None:
    """What `replaced` warns of: micropip 0.9.0 of Pyodide 0.27.7 depends on packaging, whichever that is."""
    here = runtime("0.27.7")
    packages = package_cache(here, cache_folder())
    assert not from_pypi(here, ["micropip"], packages)
    ours = pure("packaging", "99.0", tmp_path)
    own = next(packages.glob("micropip-*.whl"))
    (tmp_path / own.name).write_bytes(own.read_bytes())
    lock = merged_lock([LockEntry.of_file(ours, ours.name, hashlib.sha256(ours.read_bytes()).hexdigest(), "3.12")], here)
    (replaced,) = lock.replaced
    assert (replaced.project, replaced.ours, replaced.pyodides) == ("packaging", "99.0", "24.2")
    assert "micropip" in replaced.dependents
    (tmp_path / "pyodide-lock.json").write_bytes(lock.data)
    answer = load_from_lock(
        tmp_path / "pyodide-lock.json", ["micropip"], "0.27.7", packages=tmp_path, script="import packaging; packaging.version"
    )
    assert (answer.errors, set(answer.loaded), answer.result) == ((), {"micropip", "packaging"}, "99.0")


def circle(folder: Path) -> tuple[PyodideLock, Path]:
    """The lock file of two wheels that require each other, and where it is."""
    wheels = [pure("ping", "1.0", folder, "pong"), pure("pong", "1.0", folder, "ping")]
    entries = [LockEntry.of_file(wheel, wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), "3.13") for wheel in wheels]
    lock = standalone_lock(entries, runtime("0.29.5"))
    place = folder / "pyodide-lock.json"
    place.write_bytes(lock.data)
    return lock, place


def test_a_circle_is_opened_and_loaded(tmp_path: Path) -> None:
    lock, place = circle(tmp_path)
    assert lock.cut == (("ping", "pong"),)
    answer = load_from_lock(place, ["pong"], "0.29.5", packages=tmp_path, script="import ping, pong; ping.version")
    assert (answer.errors, answer.result) == ((), "1.0")


@LONG
def test_a_circle_that_is_not_opened_is_never_loaded(tmp_path: Path) -> None:
    """Why we open them: nothing is said, nothing comes, and node ends with the promise pending."""
    lock, place = circle(tmp_path)
    closed = json.loads(lock.data)
    closed["packages"]["ping"]["depends"] = ["pong"]
    place.write_text(json.dumps(closed))
    answer = load_from_lock(place, ["pong"], "0.29.5", packages=tmp_path)
    assert (answer.loaded, answer.ended) == ((), False)
