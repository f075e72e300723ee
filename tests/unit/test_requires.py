"""What a wheel without upstream's own requirements asks for: no C library, no build string, and the same versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version
from rattler import MatchSpec, VersionSpec
from rattler import Version as CondaVersion

from conda2wheel.wheel.requires import Requirements, from_depends
from tests.build import shapes
from tests.build.shapes import MODULE, made, package

SPECS = [
    line
    for line in (Path(__file__).parents[1] / "data" / "match_specs.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def told(result: Requirements) -> list[str]:
    return [warning.code for warning in result.warnings]


@pytest.mark.parametrize(
    ("spec", "requirement"),
    [
        ("numpy", "numpy"),
        ("numpy *", "numpy"),
        ("six >=1.5", "six>=1.5"),
        ("typing-extensions>=4.1", "typing-extensions>=4.1"),
        ("numpy >=2.2,<3", "numpy<3,>=2.2"),
        ("numpy >= 2.2, < 3", "numpy<3,>=2.2"),
        ("prompt-toolkit >=2.0.0,<3.1.0,!=3.0.0,!=3.0.1", "prompt-toolkit!=3.0.0,!=3.0.1,<3.1.0,>=2.0.0"),
        ("gast =0.5", "gast==0.5.*"),
        ("numpy 2.4.*", "numpy==2.4.*"),
        ("numpy 2.4*", "numpy==2.4.*"),
        ("numpy =2", "numpy==2.*"),
        ("llvmlite ==0.49.0", "llvmlite==0.49.0"),
        ("llvmlite 0.49.0", "llvmlite==0.49.0"),
        ("matplotlib-base ==3.11.1 np23py313h878ade0_0", "matplotlib==3.11.1"),
        ("xeus-python-shell 0.7.0 pyh332efcf_0", "xeus-python-shell==0.7.0"),
        ("conda-forge::attrs >=20", "attrs>=20"),
        ("attrs[version='>=20,<21',build=py_0]", "attrs<21,>=20"),
        ("stack_data", "stack-data"),
        ("foo ~=1.4.2", "foo~=1.4.2"),
        ("foo !=1.2.*", "foo!=1.2.*"),
        ("foo >1.0", "foo!=1.0,>=1.0"),
        ("foo <2.0a0", "foo<2.0"),
        ("foo <2020.3.0a0", "foo<2020.3"),
        ("foo <3.1.0dev0", "foo<3.1"),
        ("foo <1.10a0", "foo<1.10"),
        ("foo <2.0rc1", "foo<2.0rc1"),
        ("foo ==1!2.0", "foo==1!2.0"),
    ],
)
def test_each_form_of_a_match_spec_keeps_its_meaning(spec: str, requirement: str) -> None:
    result = from_depends([spec])
    assert result.requires == (requirement,)
    assert not result.warnings


@pytest.mark.parametrize(
    "spec",
    ["foo 1.0|2.0", "foo >=1,<2|>3", "foo =2023c", "foo >=1.0_1", "foo >=1.0+cu118", "foo ~=1", "foo (>=1,<2)|3"],
)
def test_a_range_that_pep_440_cannot_say_is_widened_and_told(spec: str) -> None:
    result = from_depends([spec])
    assert (result.requires, told(result)) == (("foo",), ["widened-requirement"])


@pytest.mark.parametrize(
    "spec",
    [
        "python_abi 3.13.* *_cp313",
        "emscripten-abi >=4,<5.0a0",
        "nlohmann_json-abi 3.12.0",
        "__unix",
        "pyjs >=2,<3",
        "pip",
        "python",
    ],
)
def test_markers_are_no_requirements(spec: str) -> None:
    result = from_depends([spec])
    assert (result.requires, told(result)) == ((), [])


@pytest.mark.parametrize(
    "spec", ["zlib", "graphviz =15.1.0", "qhull >=2020.2,<2020.3.0a0", "r-base >=4.5", "tzdata", "^not a spec^", "foo ^1"]
)
def test_what_is_no_distribution_is_dropped_and_told(spec: str) -> None:
    result = from_depends([spec])
    assert (result.requires, told(result)) == ((), ["dropped-requirement"])


def test_several_specs_of_one_package_become_one_requirement() -> None:
    specs = ["numpy", "numpy >=2.2,<3", "NumPy !=2.3", "typing_extensions >=4", "typing-extensions <5"]
    assert from_depends(specs).requires == ("numpy!=2.3,<3,>=2.2", "typing-extensions<5,>=4")


@pytest.mark.parametrize(
    ("specs", "python"),
    [
        (["python >=3.10"], ">=3.10"),
        (["python >=3.9,<3.13.0a0"], "<3.13,>=3.9"),
        (["python", "python_abi 3.13.* *_cp313"], "==3.13.*"),
        (["python 3.11.* *_cpython"], "==3.11.*"),
        (["python >=3.9", "python"], ">=3.9"),
        (["numpy"], None),
    ],
)
def test_python_becomes_requires_python(specs: list[str], python: str | None) -> None:
    result = from_depends(specs)
    assert result.requires_python == python
    assert not result.warnings


@pytest.mark.parametrize("spec", SPECS)
def test_every_spec_of_real_records_is_understood(spec: str) -> None:
    result = from_depends([spec])
    assert set(told(result)) <= {"dropped-requirement"}  # none is widened
    for requirement in result.requires:
        assert not requirement.startswith(("python>", "python=", "r-", "xeus>", "nlohmann", "cppinterop"))
        parsed = Requirement(requirement)
        assert bool(parsed.specifier) == any(c in spec for c in "<>=!0123456789")


def test_a_generated_wheel_has_them(tmp_path: Path) -> None:
    depends = ["python", *shapes.ABI, "numpy >=2.2,<3", "numpy", "zlib", "matplotlib-base >=3", "foo 1|2"]
    wheel = made(package(dict(MODULE), depends=depends), tmp_path)
    assert wheel.fields("Requires-Dist") == ["foo", "matplotlib>=3", "numpy<3,>=2.2"]
    assert {"dropped-requirement", "widened-requirement", "no-metadata"} <= wheel.codes
    assert wheel.result.requires == ("foo", "matplotlib>=3", "numpy<3,>=2.2")


release = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
version = st.builds(lambda number, post: number + post, release, st.sampled_from(["", "", "", ".post1", ".post2"]))
clause = st.builds(
    lambda operator, number, tail: (operator + number + tail) if operator else number + ".*",
    st.sampled_from([">=", ">", "<=", "<", "==", "!=", "="]),
    version,
    st.sampled_from(["", "", "", "a0"]),
)
glob = st.builds(lambda operator, number: f"{operator}{number}.*", st.sampled_from(["", "==", "!="]), release)
compatible = release.filter(lambda number: "." in number).map(lambda number: f"~={number}")


def same_order(one: str, other: str) -> bool:
    """Whether both worlds order two versions alike: conda takes 1.post1 for newer than 1.0.1."""
    ours, theirs = (Version(one), Version(other)), (CondaVersion(one), CondaVersion(other))
    return (ours[0] < ours[1], ours[0] == ours[1]) == (theirs[0] < theirs[1], theirs[0] == theirs[1])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(clause, glob, compatible), min_size=1, max_size=3), st.lists(version, min_size=4, max_size=12))
def test_the_same_versions_are_admitted(clauses: list[str], candidates: list[str]) -> None:
    text = ",".join(clauses)
    spec = VersionSpec(str(MatchSpec(f"foo {text}", strict=False).version))
    result = from_depends([f"foo {text}"])
    assume(not result.warnings)
    (requirement,) = result.requires
    ours = Requirement(requirement).specifier
    around = [part.strip("<>=!~").removesuffix(".*").removesuffix("a0") for part in clauses]
    near = [number + more for number in around if "post" not in number for more in (".0", ".1", ".post1")]
    for candidate in {*candidates, *around, *near}:
        if not all(same_order(candidate, bound) for bound in around):
            continue
        admitted = spec.matches(CondaVersion(candidate))
        assert ours.contains(Version(candidate), prereleases=True) == admitted, candidate
