"""Names that PyPI cannot have, limits that no version satisfies, and a Requires-Python that excludes the wheel's own CPython."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conda2wheel import audit, convert
from conda2wheel.abi.platforms import marker_environment
from conda2wheel.conda.names import map_name, pypi_name
from conda2wheel.options import Pins
from conda2wheel.wheel.reader import read_wheel
from conda2wheel.wheel.requirements import from_depends, reconcile
from conda2wheel.wheel.versions import specifiers_of
from tests.helpers.shapes import MODULE, dist_info, extension, package

HERE = marker_environment("3.13", "4.0.9")
NO_NAMES = ["_x86_64-microarch-level >=1", "_python_abi3_support 1.*", "cpython >=3.10", "__glibc >=2.17", "_odd 1", "odd_ 2"]
NATIVE = {"demo/_m.cpython-313-wasm32-emscripten.so": extension("_m")}
PYTHON = ("python >=3.13,<3.14.0a0", "emscripten-abi >=4.0.9,<4.0.10")


def capped(*lines: str, depends: tuple[str, ...] = ()) -> Path:
    return package({**MODULE, **NATIVE, **dist_info("demo-1.0", *lines)}, depends=[*PYTHON, *depends])


@pytest.mark.parametrize("lines", [(), ("Requires-Dist: six",), ("Requires-Dist: six>=2,<1",)])
@pytest.mark.parametrize("pins", ["metadata", "conda"])
@pytest.mark.parametrize("metadata", [True, False])
def test_names_that_are_no_pypi_names_are_never_required(lines: tuple[str, ...], pins: Pins, metadata: bool) -> None:
    files = {**MODULE, **(dist_info("demo-1.0", *lines) if metadata else {})}
    made = convert(package(files, depends=["python", "six", *NO_NAMES], noarch="python"), dry_run=True, pins=pins)
    assert {Requirement(line).name for line in made.requires} == ({"six"} if lines or pins == "conda" or not metadata else set())


def test_a_name_that_pypi_cannot_have_has_no_project() -> None:
    assert [pypi_name(name) for name in ("_odd", "odd_", "odd.", "-", "a b", "a\nb", "grüße")] == [None] * 7
    assert map_name("_x86_64-microarch-level").source == "nobody"
    assert pypi_name("demo", {"demo": "x; import"}) is None
    found = from_depends(NO_NAMES)
    assert found.requires == ()
    assert {each.code for each in found.warnings} == {"dropped-requirement"}


CONFLICTS: list[tuple[list[str], list[str], tuple[str, ...]]] = [
    (["numpy<2"], ["numpy >=2.2,<3"], ("numpy<3,>=2.2",)),
    (["numpy==1.*"], ["numpy ==2.0"], ("numpy==2.0",)),
    (["numpy~=1.4"], ["numpy <1.4"], ("numpy<1.4",)),
    (["numpy!=2.0"], ["numpy ==2.0"], ("numpy==2.0",)),
    (["numpy<2,>=2.0rc1"], ["numpy >=2"], ("numpy>=2",)),
    (["numpy[all]<2; python_version >= '3.10'"], ["numpy >=2"], ('numpy[all]>=2; python_version >= "3.10"',)),
    (["numpy<2", "numpy>=1; python_version >= '3.10'"], ["numpy >=2"], ("numpy>=2", 'numpy>=2; python_version >= "3.10"')),
    (["numpy>2,<1"], ["numpy"], ("numpy",)),
    (["numpy>2,<1"], [], ("numpy",)),
]


@pytest.mark.parametrize(("own", "depends", "pinned"), CONFLICTS)
def test_limits_that_no_version_satisfies_are_told_and_with_pins_conda_not_written(
    own: list[str], depends: list[str], pinned: tuple[str, ...]
) -> None:
    kept = reconcile(own, depends, HERE)
    assert kept.requires == tuple(own)
    assert [(each.code, each.file) for each in kept.warnings if each.code != "requirement-differs"] == [
        ("requirement-conflict", "METADATA")
    ]
    assert kept.warnings[0].message.startswith("Requires-Dist: ")
    assert reconcile(own, depends, HERE, "conda").requires == pinned


@pytest.mark.parametrize(
    ("own", "depends"),
    [
        (["numpy<2"], ["numpy >=1.9,<3"]),
        (["numpy<2; python_version < '3.0'"], ["numpy >=2"]),
        (["numpy>=2.0rc1"], ["numpy >=2.0rc1,<2.0.1"]),
        (["numpy<=2.0"], ["numpy >=2.0"]),
        (["numpy==2.*"], ["numpy ~=2.5"]),
        (["numpy===2.0"], ["numpy >=2"]),
    ],
)
def test_limits_that_some_version_satisfies_are_no_conflict(own: list[str], depends: list[str]) -> None:
    assert "requirement-conflict" not in {each.code for each in reconcile(own, depends, HERE).warnings}


def test_depends_that_contradict_each_other_are_written_without_their_limits() -> None:
    found = from_depends(["numpy >=2", "numpy <1", "python >=3.13", "python <3.12"])
    assert (found.requires, found.requires_python) == (("numpy",), None)
    assert [each.code for each in found.warnings] == ["requirement-conflict"] * 2


@pytest.mark.parametrize(
    ("python", "pinned"),
    [
        (">=3.9,<3.13", "<3.14,>=3.13"),
        ("==3.12.*", "<3.14,>=3.13"),
        ("!=3.13.*,>=3.9", "<3.14,>=3.13"),
        (">=4,<3", "<3.14,>=3.13"),
    ],
)
def test_a_wheel_that_excludes_its_own_cpython_is_told_and_with_pins_conda_mended(
    python: str, pinned: str, tmp_path: Path
) -> None:
    source = capped(f"Requires-Python: {python}")
    expected: dict[Pins, str] = {"metadata": python, "conda": pinned}
    for pins, written in expected.items():
        made = convert(source, out=tmp_path / pins, pins=pins)
        assert read_wheel(made.wheel).metadata.all("Requires-Python") == [written]
        told = [each for each in made.warnings if each.code == "requires-python"]
        assert [each.file for each in told] == ["METADATA"]
        assert told[0].message.startswith(f"Requires-Python {python} excludes ")
        codes = {each.code for each in audit(made.wheel).warnings}
        assert ("requires-python" in codes) == (pins == "metadata")
    assert "requires-python" in {each.code for each in audit(source).warnings}


def test_a_wheel_that_admits_its_own_cpython_is_not_told() -> None:
    made = convert(capped("Requires-Python: >=3.13.1,<3.14"), dry_run=True)
    assert "requires-python" not in {each.code for each in made.warnings}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("==1.0+a|==2.0", "<=2.0,>=1.0"),
        ("==1.0+cu118|==1.0+cu121", "<=1.0,>=1.0"),
        (">=1.0+a,<2|==3.0+b", "!=2.*,<=3.0,>=1.0"),
    ],
)
def test_alternatives_with_local_versions_become_the_range_around_them(text: str, written: str) -> None:
    specifiers, exact = specifiers_of(text)
    assert (",".join(sorted(map(str, specifiers))), exact) == (written, False)


def test_many_alternatives_with_many_limits_cost_little() -> None:
    clauses = ",".join(f"!={n}" for n in range(300))
    assert not specifiers_of("|".join([clauses] * 3))[1]
    assert from_depends([f"numpy {'1' * 5000}", f"numpy >={'1' * 5000}"]).requires in ((), ("numpy",))
