"""Where METADATA and conda's depends require different things: what is told, and whose bounds hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

from conda2wheel import Failed, convert, verify
from conda2wheel.abi.platforms import marker_environment
from conda2wheel.wheel.requirements import reconcile
from tests.helpers import command
from tests.helpers.shapes import ABI, MODULE, dist_info, made, package

HERE = marker_environment("3.13", "4.0.9")


def told(own: list[str], depends: list[str]) -> list[str]:
    return [warning.message for warning in reconcile(own, depends, HERE).warnings]


@pytest.mark.parametrize(
    ("own", "depends"),
    [
        ([], ["python >=3.10", "python_abi 3.13.* *_cp313", "emscripten-abi >=4,<5.0a0", "zlib", "pip", "__unix"]),
        (["numpy>=1.25"], ["numpy"]),
        (["numpy>=1.25"], ["numpy >=1.20"]),
        (["Typing.Extensions"], ["typing_extensions"]),
        (["matplotlib>=3"], ["matplotlib-base >=3"]),
        (["numpy>=2,<3"], ["numpy >=2,<3.0a0"]),
        (["colorama; sys_platform == 'win32'", "pytest; extra == 'test'"], []),
        (["tomli; python_version < '3.11'"], ["python"]),
        (["foo (>=1)"], ["foo >=1"]),
        (["not a requirement !!"], []),
        (["numpy[all]>=2"], ["numpy >=2"]),
    ],
)
def test_what_means_the_same_is_no_difference(own: list[str], depends: list[str]) -> None:
    assert told(own, depends) == []


def test_each_difference_is_told_with_both_texts() -> None:
    own = ["jedi>=0.16", "numpy>=1.25", 'pexpect>4.3; sys_platform != "emscripten"', "six"]
    depends = ["numpy >=2.2,<3", "numpy", "pexpect", "backcall", "six >=1.5", "zlib"]
    assert told(own, depends) == [
        "METADATA requires numpy>=1.25, conda numpy<3,>=2.2, which admits less",
        "METADATA requires six, conda six>=1.5, which admits less",
        "only conda requires backcall",
        'only conda requires pexpect; METADATA has it as pexpect>4.3; sys_platform != "emscripten"',
        "only METADATA requires jedi>=0.16",
    ]


def test_conda_s_bounds_join_metadata_s_where_somebody_wants_them() -> None:
    own = ["numpy>=1.25,!=2.3", 'numpy<2; sys_platform == "win32"', "jedi>=0.16", "pytest; extra == 'test'", "odd !!"]
    found = reconcile(own, ["numpy >=2.2,<3", "backcall >=1", "jedi"], HERE, "conda").requires
    assert found == (
        "numpy!=2.3,<3,>=1.25,>=2.2",
        'numpy<2; sys_platform == "win32"',
        "jedi>=0.16",
        "pytest; extra == 'test'",
        "odd !!",
        "backcall>=1",
    )
    assert reconcile(own, ["numpy >=2.2,<3"], HERE).requires == tuple(own)


versions = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: f"{pair[0]}.{pair[1]}")
bounds = st.lists(st.tuples(st.sampled_from([">=", "<", "<=", "!=", "=="]), versions), max_size=3)


@given(bounds, bounds, st.lists(versions, min_size=1, max_size=16))
def test_a_joined_requirement_admits_what_both_admit_and_a_difference_is_one(
    own: list[tuple[str, str]], conda: list[tuple[str, str]], tried: list[str]
) -> None:
    ours = Requirement("foo" + ",".join(operator + version for operator, version in own))
    spec = f"foo {','.join(operator + version for operator, version in conda)}"
    compared = reconcile([str(ours)], [spec], HERE, "conda")
    (line,) = compared.requires
    theirs = Requirement("foo" + ",".join(operator + version for operator, version in conda))
    assert not Requirement(line).specifier.is_unsatisfiable()
    if (ours.specifier & theirs.specifier).is_unsatisfiable():
        assert "requirement-conflict" in [each.code for each in compared.warnings]
        return
    for version in map(Version, tried):
        both = version in ours.specifier and version in theirs.specifier
        assert (version in Requirement(line).specifier) == both
        if version in ours.specifier and version not in theirs.specifier:
            assert compared.warnings


def native(*requires: str, depends: tuple[str, ...] = ("numpy >=2.2,<3", "numpy")) -> Path:
    lines = [f"Requires-Dist: {line}" for line in requires]
    return package({**MODULE, **dist_info("demo-1.0", *lines)}, depends=["python", *ABI, *depends])


def test_a_wheel_keeps_metadata_s_requirements_and_says_what_differs(tmp_path: Path) -> None:
    wheel = made(native("numpy>=1.25", "jedi"), tmp_path)
    assert wheel.fields("Requires-Dist") == ["numpy>=1.25", "jedi"]
    messages = [warning.message for warning in wheel.result.warnings if warning.code == "requirement-differs"]
    assert len(messages) == 2
    assert wheel.told("requirement-differs") == {"METADATA"}


def test_a_wheel_with_conda_s_pins_can_be_made_again(tmp_path: Path) -> None:
    source = native("numpy>=1.25", "jedi")
    wheel = made(source, tmp_path, pins="conda")
    assert wheel.fields("Requires-Dist") == ["numpy<3,>=1.25,>=2.2", "jedi"]
    assert json.loads(wheel.read("conda2wheel.json"))["options"]["pins"] == "conda"
    assert wheel.result.wheel is not None
    assert verify(wheel.result.wheel, [source]).identical


def test_a_package_without_requirements_of_its_own_has_conda_s_and_no_difference(tmp_path: Path) -> None:
    wheel = made(package(dict(MODULE), depends=["python", *ABI, "numpy >=2.2,<3"]), tmp_path)
    assert wheel.fields("Requires-Dist") == ["numpy<3,>=2.2"]
    assert "requirement-differs" not in wheel.codes


def test_the_command_takes_pins_and_shows_differences_when_asked(tmp_path: Path) -> None:
    words = ["convert", native("numpy>=1.25"), "-o", tmp_path]
    done = command.run(*words, "--pins", "conda")
    assert (done.returncode, "requirement-differs" in done.stderr) == (0, False)
    done = command.run(*words, "-v")
    assert (done.returncode, "which admits less [requirement-differs]" in done.stderr) == (0, True)
    assert command.run(*words, "--pins", "pip").returncode == 2
    with pytest.raises(Failed, match="one of metadata, conda"):
        convert(native(), pins="pip", dry_run=True)  # type: ignore[call-overload]
