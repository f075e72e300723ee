"""Under what name and version a wheel appears: never another project's name, never a version that conda does not mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from conda2wheel.commands.convert import convert
from conda2wheel.conda.names import is_valid_name, pypi_name
from conda2wheel.wheel.versions import pep440
from tests.helpers import conda, shapes
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, dist_info, made, package, refused


@pytest.mark.parametrize(
    ("conda_name", "pypi"),
    [
        ("matplotlib-base", "matplotlib"),
        ("Matplotlib-Base", "matplotlib"),
        ("brotli-python", "brotli"),
        ("python-graphviz", "graphviz"),
        ("python-tzdata", "tzdata"),
        ("typing_extensions", "typing_extensions"),
        ("attrs", "attrs"),
        *((name, None) for name in ("graphviz", "igraph", "brotli", "xxhash", "zstd", "vtk", "sentencepiece", "nanoarrow")),
        *((name, None) for name in ("zlib", "libopencv", "openblas", "tzdata", "r-ggplot2", "r-caTools", "bioconductor-biobase")),
    ],
)
def test_a_c_library_never_becomes_its_pypi_namesake(conda_name: str, pypi: str | None) -> None:
    assert pypi_name(conda_name) == pypi


@pytest.mark.parametrize("name", ["a", "a.b_c-d", "A1"])
def test_names_that_are_names(name: str) -> None:
    assert is_valid_name(name)


@pytest.mark.parametrize("name", ["", "UNKNOWN", "unknown", "-a", "a b", "é", "a\n"])
def test_names_that_are_none(name: str) -> None:
    assert not is_valid_name(name)


@pytest.mark.parametrize(
    ("folder", "name", "filename"),
    [
        ("pydantic_core-1.0", "pydantic-core", "pydantic_core"),
        ("Brotli-1.0", "brotli-python", "brotli"),
        ("xeus_python_shell-1.0", "xeus-python-shell-raw", "xeus_python_shell"),
        ("ruamel.yaml-1.0", "ruamel.yaml", "ruamel_yaml"),
        ("opencv-python-1.0", "py-opencv", "opencv_python"),
    ],
)
def test_the_dist_info_says_the_name_not_conda(folder: str, name: str, filename: str, tmp_path: Path) -> None:
    wheel = made(package({**MODULE, **dist_info(folder)}, name=name), tmp_path)
    assert wheel.result.filename == f"{filename}-1.0-py3-none-any.whl"
    assert wheel.metadata["Name"] == wheel.result.name == folder.rpartition("-")[0]


@pytest.mark.parametrize(
    ("files", "conda_name", "name"),
    [
        (dist_info("UNKNOWN-1.0"), "pillow", "pillow"),
        (dist_info("Deep_Thing-1.0", metadata="Metadata-Version: 2.1\nVersion: 1.0\n"), "conda-thing", "Deep_Thing"),
        (dist_info("Deep_Thing-1.0", metadata=""), "conda-thing", "Deep_Thing"),
        (dist_info("Deep_Thing-1.0", metadata=shapes.core("not a name!", "1.0")), "conda-thing", "Deep_Thing"),
        ({"Thing.egg-info/PKG-INFO": "Metadata-Version: 1.0\nVersion: 1.0\n"}, "conda-thing", "Thing"),
        ({"Thing-1.0-py3.13-unknown-wasm32.egg-info": "Version: 1.0\n"}, "conda-thing", "Thing"),
        ({}, "matplotlib-base", "matplotlib"),
        ({}, "my-thing", "my-thing"),
    ],
)
def test_a_missing_name_is_found_elsewhere(files: dict[str, Content], conda_name: str, name: str, tmp_path: Path) -> None:
    assert made(package({**MODULE, **files}, name=conda_name), tmp_path).metadata["Name"] == name


@pytest.mark.parametrize("name", ["graphviz-python", "brotli", "zlib"])
def test_a_name_that_is_somebody_elses_is_refused_without_metadata(name: str, tmp_path: Path) -> None:
    refused(package(dict(MODULE), name=name), tmp_path / "out", "bad-name", name)
    assert made(package({**MODULE, **dist_info("demo-1.0")}, name=name), tmp_path).metadata["Name"] == "demo"


@pytest.mark.parametrize(
    ("claimed", "version"), [("0.0.0", "1.4.9"), ("1.15.0", "1.15.1"), ("1.0.2", "1.0.2.post1"), ("1.1", "1.0")]
)
def test_the_version_is_condas_since_dist_infos_lie(claimed: str, version: str, tmp_path: Path) -> None:
    wheel = made(package({**MODULE, **dist_info(f"demo-{claimed}")}, version=version), tmp_path)
    assert wheel.metadata["Version"] == wheel.result.version == version
    assert wheel.info == f"demo-{version}.dist-info"
    assert len([name for name in wheel.members if name.endswith(".dist-info/METADATA")]) == 1
    assert "version-mended" in wheel.codes


def test_an_equal_version_in_other_words_is_no_news(tmp_path: Path) -> None:
    files = {**MODULE, **dist_info("demo-1.0rc1", metadata=shapes.core("demo", "v1.0-rc.1"))}
    wheel = made(package(files, version="1.0.0.rc1"), tmp_path)
    assert wheel.metadata["Version"] == wheel.result.version == "1.0.0rc1"
    assert "version-mended" not in wheel.codes


@pytest.mark.parametrize(
    ("version", "normal"),
    [
        ("1.0", "1.0"),
        ("2.0.0.0a1", "2.0.0.0a1"),
        ("1.0.2.post1", "1.0.2.post1"),
        ("1.0.dev3", "1.0.dev3"),
        ("1!2.0", "1!2.0"),
        ("1.0_rc1", "1.0rc1"),
        ("3.0_beta2", "3.0b2"),
        ("1.0+cu118", "1.0+cu118"),
        ("1.0+g1a", "1.0+g1a"),
        ("2025.07.14", "2025.7.14"),
        ("V1.0", "1.0"),
        *(
            (text, None)
            for text in ("2023c", "9e", "1.0a", "1.0_1", "0.20_21", "1.0_g12ab", "20_b", "1.0c+x.1", "main", "1.0-x", "", "1..0")
        ),
    ],
)
def test_versions(version: str, normal: str | None) -> None:
    assert pep440(version) == normal


@pytest.mark.parametrize("version", ["2023c", "9e", "1.0_1"])
def test_a_version_without_a_pep_440_form_is_refused(version: str, tmp_path: Path) -> None:
    refused(package({**MODULE, **dist_info("demo-1.0")}, version=version), tmp_path / "out", "bad-version", version)


def test_a_local_version_converts_and_is_told(tmp_path: Path) -> None:
    spoiled = package({**MODULE, **dist_info("demo-1.0")}, version="1.0+cu118")
    with pytest.raises(AssertionError, match="a local version"):  # PyPI takes none; an index of one's own does
        made(spoiled, tmp_path)
    result = convert(spoiled, out=tmp_path)
    assert result.filename == "demo-1.0+cu118-py3-none-any.whl"
    assert "local-version" in {warning.code for warning in result.warnings}


def test_an_epoch_reaches_the_file_name(tmp_path: Path) -> None:
    assert made(package(dict(MODULE), version="1!2.0"), tmp_path).result.filename == "demo-1!2.0-py3-none-any.whl"


@given(st.from_regex(r"\A([0-9]!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9]{1,2}|\.post[0-9]|\.dev[0-9])?\Z"))
def test_what_both_worlds_can_read_keeps_its_order(text: str) -> None:
    from rattler import Version as CondaVersion

    normal = pep440(text)
    assert normal is not None
    assert CondaVersion(normal) == CondaVersion(text)
    assert Version(normal) == Version(text)


def test_a_package_of_conda_forge_without_any_odd_thing_has_no_warning(tmp_path: Path) -> None:
    files = shapes.in_site({**MODULE, **dist_info("demo-1.0", tag="py3-none-any", more={"RECORD": ""})}, "site-packages")
    assert not made(conda.assemble("demo", "1.0", files, noarch="python", depends=["python >=3.9"]), tmp_path).codes
