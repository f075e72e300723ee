"""What a wheel without upstream's own requirements asks for: no C library, no build string, and the same versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rattler import MatchSpec, VersionSpec
from rattler import Version as CondaVersion

from conda2wheel.wheel.requirements import CondaRequirements, from_depends
from tests.helpers import shapes
from tests.helpers.shapes import MODULE, made, package

DATA = Path(__file__).parents[2] / "data"
SPECS = {
    spec.strip(): requirement.strip()
    for spec, arrow, requirement in (line.partition("->") for line in (DATA / "match_specs.txt").read_text().splitlines())
    if arrow and not spec.startswith("#")
}


def told(result: CondaRequirements) -> list[str]:
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
    ("spec", "requirement"),
    [
        ("foo >=1,<2|>=2,<3", "foo<3,>=1"),
        ("foo >=1,<1.5|>=1.2,<2", "foo<2,>=1"),
        ("foo >=1|*", "foo"),
        ("foo <2|>=2", "foo"),
        ("foo >=1,(<2|>=2)", "foo>=1"),
        ("foo 1.2.*|>=1.3", "foo>=1.2"),
        ("foo 1.2.*|1.3.*", "foo<1.4,>=1.2"),
        ("foo <2|>=3", "foo!=2.*"),
        ("foo >=1,<1.5|>=1.6,<3", "foo!=1.5.*,<3,>=1"),
        ("foo <1.5|>1.5", "foo!=1.5"),
        ("foo ==1.2|>=1.0,<2", "foo<2,>=1.0"),
        ("foo >=1.2rc1", "foo>=1.2rc1"),
        ("foo >=1,<2|>3", "foo!=2.*,!=3,>=1"),
        ("foo (>=1,<2)|3", "foo!=2.*,<=3,>=1"),
        ("foo 1!1.*|1!2.*", "foo<1!3,>=1!1"),
    ],
)
def test_alternatives_that_are_one_range_are_said_as_that(spec: str, requirement: str) -> None:
    result = from_depends([spec])
    assert (result.requires, told(result)) == ((requirement,), [])


@pytest.mark.parametrize(
    ("spec", "requirement"),
    [
        ("foo 1.0|2.0", "foo<=2.0,>=1.0"),
        ("foo 1.0|1.1", "foo<=1.1,>=1.0"),
        ("foo >=1,<2|>=4", "foo!=2.*,>=1"),
        ("foo ~=1", "foo>=1"),
        ("foo =2023c", "foo"),
        ("foo >=2020a,<3000", "foo<3000"),
        ("foo >=1.0_1", "foo"),
        ("foo >=1.0+cu118", "foo>=1.0"),
        ("foo <1.0+cu118", "foo<=1.0"),
        ("foo =1.0.dev1", "foo==1.0.*,>=1.0.dev1"),
        ("foo =1.2rc1", "foo==1.2.*,>=1.2rc1"),
        ("foo " + ",".join(f"({n}|{n + 1})" for n in range(20)), "foo"),
    ],
)
def test_what_pep_440_cannot_say_is_the_smallest_range_around_it_and_told(spec: str, requirement: str) -> None:
    result = from_depends([spec])
    assert (result.requires, told(result)) == ((requirement,), ["widened-requirement"])


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
    assert result.requires == ((SPECS[spec],) if SPECS[spec] else ())
    assert set(told(result)) <= {"dropped-requirement"}  # none is widened


def test_a_generated_wheel_has_them(tmp_path: Path) -> None:
    depends = ["python", *shapes.ABI, "numpy >=2.2,<3", "numpy", "zlib", "matplotlib-base >=3", "foo 1|2"]
    wheel = made(package(dict(MODULE), depends=depends), tmp_path)
    assert wheel.fields("Requires-Dist") == ["foo<=2,>=1", "matplotlib>=3", "numpy<3,>=2.2"]
    assert {"dropped-requirement", "widened-requirement", "no-metadata"} <= wheel.codes
    assert wheel.result.requires == ("foo<=2,>=1", "matplotlib>=3", "numpy<3,>=2.2")


release = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
epoch = st.sampled_from(["", "", "", "", "1!"])
suffix = st.sampled_from(["", "", "", "", "a1", "b2", "rc1", ".post1", ".post2", ".dev1", "rc1.post1"])
version = st.builds(lambda before, number, after: before + number + after, epoch, release, suffix)
bound = st.builds(
    lambda number, tail: number + (tail if Version(number).base_version == number else ""),
    version,
    st.sampled_from(["", "", "", "a0", ".0a0", ".dev0"]),
)
clause = st.builds(lambda operator, number: operator + number, st.sampled_from([">=", ">", "<=", "<", "==", "!=", "="]), bound)
glob = st.builds(
    lambda operator, before, number, star: f"{operator}{before}{number}{star}",
    st.sampled_from(["", "==", "!="]),
    epoch,
    release,
    st.sampled_from([".*", "*"]),
)
compatible = st.builds(lambda before, number: f"~={before}{number}", epoch, release)
simple = st.lists(st.one_of(clause, glob, compatible), min_size=1, max_size=3).map(",".join)
alternatives = st.lists(simple, min_size=2, max_size=3).map("|".join)
plain = st.builds(lambda operator, number: operator + number, st.sampled_from([">=", "<", "==", "="]), release)
plain_alternatives = st.lists(plain, min_size=2, max_size=3).map("|".join)
nested = st.builds(lambda one, others: f"{one},({others})", simple, alternatives)
BOUND = re.compile(r"(?:\d+!)?\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)*")


def same_order(one: str, other: str) -> bool:
    """Whether both worlds order two versions alike: conda takes 1.post1 for newer than 1.0.1, 1.0.dev1 for newer than 1.0a1."""
    ours, theirs = (Version(one), Version(other)), (CondaVersion(one), CondaVersion(other))
    return (ours[0] < ours[1], ours[0] == ours[1]) == (theirs[0] < theirs[1], theirs[0] == theirs[1])


def around(number: str) -> Iterator[str]:
    """Versions at which a mistake would show."""
    yield number
    exact = Version(number)
    before = f"{exact.epoch}!" if exact.epoch else ""
    for last in (exact.release[-1] - 1, exact.release[-1], exact.release[-1] + 1):
        if last >= 0:
            plain = before + ".".join(map(str, (*exact.release[:-1], last)))
            yield from (plain + more for more in ("", ".0", ".1", "a1", "rc1", ".dev1", ".post1"))


def is_prerelease_of(candidate: str, bounds: Iterable[str]) -> bool:
    own = Version(candidate)
    return own.is_prerelease and any(Version(own.base_version) == Version(Version(each).base_version) for each in bounds)


@settings(max_examples=250, deadline=None)
@given(st.one_of(simple, alternatives, nested), st.lists(version, min_size=4, max_size=12))
def test_the_same_versions_are_admitted(text: str, candidates: list[str]) -> None:
    """Whatever version both can order is admitted by the requirement if the spec admits it, and, unless it was told that the
    requirement is wider, only then. But for pre-releases of a bound, which PEP 440's `<3` leaves out, and those of
    alternatives, which are put together by their releases."""
    spec = VersionSpec(str(MatchSpec(f"foo {text}", strict=False).version))
    result = from_depends([f"foo {text}"])
    (requirement,) = result.requires
    ours = Requirement(requirement).specifier
    bounds = BOUND.findall(text)
    for candidate in {*candidates, *(near for each in bounds for near in around(each))}:
        if not all(same_order(candidate, each) for each in bounds):
            continue
        if "|" in text and Version(candidate).is_prerelease:
            continue
        admitted, got = spec.matches(CondaVersion(candidate)), ours.contains(Version(candidate), prereleases=True)
        if admitted and not got:
            assert "<" in text, candidate
            assert is_prerelease_of(candidate, bounds), candidate
        elif got and not admitted:
            impossible = ours == SpecifierSet() and "requirement-conflict" in told(result)  # such as >=2,<1
            assert impossible or told(result) == ["widened-requirement"], candidate


@settings(max_examples=60, deadline=None)
@given(plain_alternatives)
def test_what_is_told_to_be_wider_is_wider(text: str) -> None:
    result = from_depends([f"foo {text}"])
    ours = Requirement(result.requires[0]).specifier
    spec = VersionSpec(str(MatchSpec(f"foo {text}", strict=False).version))
    bounds = BOUND.findall(text)
    finals = {near for each in bounds for near in around(each) if re.fullmatch(r"[\d.]+", near)}
    tried = [f"{each}{more}" for each in finals for more in ("", ".1", ".99", ".1.99")]
    tried += [f"{n}.{m}" for n in range(15) for m in (0, 5, 99)]
    wider = [each for each in tried if ours.contains(each) and not spec.matches(CondaVersion(each))]
    assert bool(wider) == bool(result.warnings)
