"""The lock file for loadPackage: what comes along, what is missing, what is replaced, decided before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conda2wheel.abi import platforms
from conda2wheel.errors import Failed
from conda2wheel.index.pyodide_lock import LockEntry, MissingRequirement, ReplacedPackage, merged_lock, standalone_lock
from conda2wheel.pyodide.lock import Runtime, read_runtime, runtime_of_platform

SHA = "0" * 64


def entry(name: str, version: str = "1.0", *requires: str, tag: str = "py3-none-any", **more: Any) -> LockEntry:
    filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
    return LockEntry(name, version, filename, f"wheels/{filename}", SHA, tuple(requires), (name.replace("-", "_"),), **more)


def row(version: str, *depends: str, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "file_name": f"file-{version}.whl",
        "sha256": "1" * 64,
        "depends": list(depends),
        "imports": [],
        "tool": {"theirs": 1},
        **more,
    }


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A Pyodide whose lock file is like that of 0.29.5, but short."""
    packages = {
        "numpy": row("2.2.5", name="numpy"),
        "numpy-tests": row("2.2.5", "numpy", name="numpy-tests"),
        "scipy": row("1.14.1", "numpy", "libopenblas", name="scipy"),
        "libopenblas": row("0.3.26w", name="libopenblas"),
        "jinja2": row("3.1", "MarkupSafe", name="Jinja2"),
        "markupsafe": row("3.0", name="MarkupSafe"),
    }
    info = {"abi_version": "2025_0", "arch": "wasm32", "platform": "emscripten_4_0_9", "python": "3.13.2"}
    (tmp_path / "pyodide-lock.json").write_text(json.dumps({"info": info, "packages": packages, "tool": {"x": 1}}))
    return read_runtime("0.29.5", tmp_path)


def rows(data: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(data)["packages"]
    return found


def test_a_wheel_for_several_platforms_is_in_the_lock_file_of_each() -> None:
    tags = "pyemscripten_2025_0_wasm32.pyemscripten_2026_0_wasm32.pyodide_2025_0_wasm32"
    several = entry("several", tag=f"cp312-abi3-{tags}")
    one = entry("one", tag="cp313-cp313-pyemscripten_2025_0_wasm32")
    found = {}
    for row in platforms.platforms():
        if row.on_pypi:
            lock = standalone_lock([several, one], runtime_of_platform(row))
            found[row.name] = [each.project for each in lock.entries]
    assert found == {
        "pyemscripten_2024_0": [],
        "pyemscripten_2025_0": ["one", "several"],
        "pyemscripten_2026_0": ["several"],
        "pyemscripten_2026_5": [],
    }


def test_needs_are_followed_as_they_hold_in_that_pyodide(runtime: Runtime) -> None:
    lock = standalone_lock(
        [
            entry("A.b", "1.0", "c-d>=1", 'e; sys_platform == "win32"', 'f; sys_platform == "emscripten"', 'g; extra == "more"'),
            entry("C_d", "1.0"),
            entry("f"),
            entry("g"),
        ],
        runtime,
    )
    assert {name: each["depends"] for name, each in rows(lock.data).items()} == {"a-b": ["c-d", "f"], "c-d": [], "f": [], "g": []}
    assert (lock.missing, lock.cut, lock.left_out) == ((), (), {})


def test_what_an_extra_needs_comes_with_who_asked_for_it(runtime: Runtime) -> None:
    lock = standalone_lock(
        [entry("a", "1", "b[x]"), entry("b", "1", 'b[y]; extra == "x"', 'c; extra == "y"'), entry("c", "1")], runtime
    )
    assert {name: each["depends"] for name, each in rows(lock.data).items()} == {"a": ["b", "c"], "b": [], "c": []}


def test_a_need_that_is_nowhere_or_in_another_version_is_told_and_not_depended_on(runtime: Runtime) -> None:
    wheel = entry("a", "1.0", "numpy>=2.4", "nowhere", "what is this?", "scipy", "jinja2>3")
    assert standalone_lock([wheel], runtime).missing == (
        MissingRequirement("a", "numpy>=2.4"),
        MissingRequirement("a", "nowhere"),
        MissingRequirement("a", "what is this?"),
        MissingRequirement("a", "scipy"),
        MissingRequirement("a", "jinja2>3"),
    )
    lock = merged_lock([wheel], runtime)
    assert lock.missing == (
        MissingRequirement("a", "numpy>=2.4", "2.2.5"),
        MissingRequirement("a", "nowhere"),
        MissingRequirement("a", "what is this?"),
    )
    assert str(lock.missing[0]) == "a requires numpy>=2.4, 2.2.5 is there"
    assert rows(lock.data)["a"]["depends"] == ["jinja2", "scipy"]


def test_a_wheel_in_the_place_of_pyodides_own_tells_who_was_built_with_the_other(runtime: Runtime) -> None:
    ours = entry("numpy", "2.4.4", tag="cp313-cp313-pyemscripten_2025_0_wasm32.pyodide_2025_0_wasm32")
    lock = merged_lock([ours, entry("a", "1", "numpy>=2.4")], runtime)
    assert lock.replaced == (ReplacedPackage("numpy", "2.4.4", "2.2.5", ("scipy",)),)
    assert str(lock.replaced[0]) == ("numpy 2.4.4 replaces Pyodide's 2.2.5; scipy of Pyodide's own were built with the latter")
    found = rows(lock.data)
    assert (found["numpy"]["version"], found["a"]["depends"], found["scipy"]["version"]) == ("2.4.4", ["numpy"], "1.14.1")
    assert "numpy-tests" not in found  # those of another version
    assert merged_lock([replace(ours, sha256="1" * 64)], runtime).replaced == ()  # it is Pyodide's own file


def test_what_is_pyodides_own_stays_as_it_was_but_for_where_it_is(runtime: Runtime) -> None:
    theirs = json.loads((runtime.folder / "pyodide-lock.json").read_text())
    lock = json.loads(merged_lock([entry("a")], runtime).data)
    assert (lock["info"], lock["tool"]) == (theirs["info"], theirs["tool"])
    assert {name: each for name, each in lock["packages"].items() if name != "a"} == theirs["packages"]
    elsewhere = rows(merged_lock([entry("a")], runtime, own="https://example.org/full/").data)
    assert elsewhere["scipy"]["file_name"] == "https://example.org/full/file-1.14.1.whl"
    assert elsewhere["a"]["file_name"] == "wheels/a-1.0-py3-none-any.whl"


def test_the_newest_wheel_that_fits_is_taken_and_the_others_are_told(runtime: Runtime) -> None:
    lock = standalone_lock(
        [
            entry("a", "1.9"),
            entry("a", "1.10"),
            entry("a", "2.0rc1"),
            entry("b", "1", tag="cp314-cp314-pyemscripten_2026_0_wasm32"),
            entry("c", "1", requires_python="<3.13"),
            entry("d", "1", tag="cp313-cp313-pyemscripten_2025_0_wasm32"),
            entry("d", "1"),
        ],
        runtime,
    )
    assert [each.filename for each in lock.entries] == [
        "a-1.10-py3-none-any.whl",
        "d-1-cp313-cp313-pyemscripten_2025_0_wasm32.whl",
    ]
    assert lock.left_out == {
        "a-1.9-py3-none-any.whl": "a-1.10-py3-none-any.whl is in its place",
        "a-2.0rc1-py3-none-any.whl": "a-1.10-py3-none-any.whl is in its place",
        "b-1-cp314-cp314-pyemscripten_2026_0_wasm32.whl": "its tags do not fit Pyodide 0.29.5",
        "c-1-py3-none-any.whl": "Requires-Python <3.13 does not admit 3.13.2",
        "d-1-py3-none-any.whl": "d-1-cp313-cp313-pyemscripten_2025_0_wasm32.whl is in its place",
    }


def test_of_library_wheels_the_version_is_taken_that_most_wheels_require(runtime: Runtime) -> None:
    """Wheels that require another version of it are not in the lock file, or in an older version that agrees."""
    libraries = [entry("forge-base", version, is_library=True) for version in ("1.0.post1", "1.0.post2", "1.0.post3")]
    above = entry("forge-above", "2.0.post1", "forge-base==1.0.post2", is_library=True)
    users = [
        entry("one", "1.0", "forge-base==1.0.post2"),
        entry("two", "1.0", "forge-above==2.0.post1"),
        entry("five", "1.0", "forge-above==2.0.post1"),
        entry("three", "2.0", "forge-base==1.0.post3"),
        entry("three", "1.0", "forge-base==1.0.post2"),
        entry("four", "1.0", "forge-base==1.0.post3"),
    ]
    lock = standalone_lock([*libraries, above, *users], runtime)
    versions = {each.project: each.version for each in lock.entries}
    assert versions == {
        "forge-base": "1.0.post2",
        "forge-above": "2.0.post1",
        "one": "1.0",
        "two": "1.0",
        "three": "1.0",
        "five": "1.0",
    }
    assert lock.missing == ()
    assert lock.left_out[users[5].filename] == "no library wheel here is the one that it requires"


def test_a_circle_is_opened_and_who_needs_a_part_of_it_needs_all(runtime: Runtime) -> None:
    """loadPackage would wait for ever (test_lock_runs shows it)."""
    circle = [entry("a", "1", "b"), entry("b", "1", "c"), entry("c", "1", "a"), entry("d", "1", "a"), entry("e", "1", "e[x]")]
    lock = standalone_lock(circle, runtime)
    assert {name: each["depends"] for name, each in rows(lock.data).items()} == {
        "a": [],
        "b": [],
        "c": ["a"],
        "d": ["a", "b", "c"],
        "e": [],
    }
    assert lock.cut == (("a", "b"), ("b", "c"))


def test_a_circle_through_pyodides_own_packages_is_opened_too(runtime: Runtime) -> None:
    lock = merged_lock([entry("markupsafe", "4", "jinja2"), entry("z", "1", "markupsafe")], runtime)
    found = rows(lock.data)
    assert [found[name]["depends"] for name in ("jinja2", "markupsafe", "z")] == [[], ["jinja2"], ["jinja2", "markupsafe"]]
    assert lock.cut == (("jinja2", "markupsafe"),)


def test_the_same_wheels_in_any_order_give_the_same_bytes(runtime: Runtime) -> None:
    wheels = [entry("b", "1", "a", "numpy"), entry("a", "1"), entry("a", "0.9"), entry("c", "1", "a[x]", "b")]
    assert merged_lock(wheels, runtime) == merged_lock(wheels[::-1], runtime)


@pytest.mark.parametrize(("version", "libraries"), [("0.27.7", True), ("0.29.5", False)])
def test_loaders_that_find_libraries_by_the_file_name_get_it_bare(version: str, libraries: bool, runtime: Runtime) -> None:
    data = standalone_lock([entry("a")], replace(runtime, version=version)).data
    assert rows(data)["a"]["file_name"] == ("a-1.0-py3-none-any.whl" if libraries else "wheels/a-1.0-py3-none-any.whl")


def test_a_platform_of_the_table_is_enough_for_wheels_alone() -> None:
    row = platforms.parse("pyemscripten_2026_0")
    assert row is not None
    data = json.loads(standalone_lock([entry("a", "1", 'b; python_full_version < "3.14.1"')], runtime_of_platform(row)).data)
    assert data["info"] == {
        "abi_version": "2026_0",
        "arch": "wasm32",
        "platform": "emscripten_5_0_3",
        "python": "3.14.2",
        "version": "314.0.7",
    }
    with pytest.raises(Failed, match="unreadable"):
        merged_lock([entry("a")], runtime_of_platform(row))
    with pytest.raises(ValueError, match="emscripten_3_1_73"):
        runtime_of_platform(platforms.for_emscripten("3.1.73"))


@pytest.mark.parametrize(
    ("info", "row_"),
    [
        ({"python": {}}, {}),
        ({"python": "3.x"}, {}),
        ({"platform": "emscripten"}, {}),
        ({"abi_version": 2025}, {}),
        ({}, {"version": 1}),
        ({}, {"depends": [1]}),
        ({}, {"depends": None}),
    ],
)
def test_a_lock_file_of_another_form_is_unreadable(info: dict[str, Any], row_: dict[str, Any], tmp_path: Path) -> None:
    plain = {"abi_version": "2025_0", "platform": "emscripten_4_0_9", "python": "3.13.2"}
    packages = {"numpy": {**row("2.2.5"), **row_}}
    (tmp_path / "pyodide-lock.json").write_text(json.dumps({"info": {**plain, **info}, "packages": packages}))
    with pytest.raises(Failed, match="unreadable"):
        read_runtime("0.29.5", tmp_path)
    (tmp_path / "pyodide-lock.json").write_text("[" * 100_000)
    with pytest.raises(Failed, match="unreadable"):
        read_runtime("0.29.5", tmp_path)
