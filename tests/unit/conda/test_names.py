"""What conda names are on PyPI: every name of the channel, who says so, and the command that explains it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from conda2wheel.conda.names import _conda_forge, cleaned, is_valid_name, map_name
from tests.helpers import command

CHANNEL = json.loads((Path(__file__).parents[2] / "data" / "channel_4x_names.json").read_text(encoding="utf-8"))

# What the Python outputs of emscripten-forge's main branch (August 2026) are on PyPI where that is not their own name: by their
# source URLs and dist-info names. None: no project there is this one.
DIFFERENT = {
    "astropy-base": "astropy",
    "brotli": None,  # the C library; PyPI's is its Python binding
    "brotli-python": "brotli",
    "cvxpy-base": "cvxpy",
    "dtks": None,
    "dynare-preprocessor-pylib": None,
    "graphviz-python": None,  # graphviz's own SWIG module; PyPI's graphviz is another project
    "httpx2-jsfetch": "httpx2-jsfetch-emscripten-forge",
    "libnetcdf": None,  # the C library
    "lrcalc-python": "lrcalc",
    "matplotlib-base": "matplotlib",
    "mlir-python-bindings": None,
    "msgpack-python": "msgpack",
    "py-opencv": "opencv-python",
    "pybind11_json": None,  # headers of C++
    "pytensor-base": "pytensor",
    "python-duckdb": "duckdb",
    "python-igraph": "igraph",
    "python-symengine": "symengine",
    "qdldl-python": "qdldl",
    "xsimd": None,  # headers of C++
}
# Libraries of the channel that have a namesake on PyPI, which is another project (or their own binding, built elsewhere).
NAMESAKES = (
    *("box2d", "flatbuffers", "flex", "glpk", "graphviz", "igraph", "leveldb", "libtiff", "lrcalc", "openexr", "planarity"),
    *("symengine", "vtk", "xxhash", "zstd", "sentencepiece", "ewah_bool_utils", "nanoarrow", "primesieve", "osqp", "lfortran"),
)


def test_no_name_of_the_channel_is_wrong() -> None:
    wrong = {name: map_name(name).pypi for name in CHANNEL["python"] if map_name(name).pypi != DIFFERENT.get(name, name)}
    assert wrong == {}
    assert DIFFERENT.keys() <= set(CHANNEL["python"])
    assert {name: map_name(name).pypi for name in CHANNEL["other"] if map_name(name).pypi is not None} == {}
    assert set(NAMESAKES) <= set(CHANNEL["other"])


# What packages of conda-forge and of older channels depend on: libraries, programs, fonts, and names for the interpreter.
@pytest.mark.parametrize(
    "name",
    [
        *("openblas-flang", "lapack", "boxedwine", "emf2c", "spdlog", "yaml", "yaml-cpp", "gmock", "libsolv", "pango", "pcre"),
        *("ruby", "rice", "libxml", "llvmdev", "libpython-static", "font-ttf-dejavu-sans-mono", "zeromq", "fftw"),
        *("cpython", "python-gil", "python-freethreading", "_python_abi3_support"),
    ],
)
def test_what_is_no_python_project_has_no_name_on_pypi(name: str) -> None:
    assert map_name(name).pypi is None
    assert map_name(name).note


@pytest.mark.parametrize(
    ("conda", "pypi", "source"),
    [
        ("matplotlib", "matplotlib", "table"),  # a metapackage: what depends on it means what its -base is
        ("matplotlib-base", "matplotlib", "table"),
        ("antlr-python-runtime", "antlr4-python3-runtime", "table"),
        ("zstd", None, "table"),
        ("blosc", None, "table"),  # the C library; PyPI's is the binding, conda's python-blosc
        ("python-blosc", "blosc", "conda-forge"),
        ("boost", None, "table"),
        ("r-dplyr", None, "nobody"),
        ("python_abi", None, "nobody"),
        ("__unix", None, "nobody"),
        ("pysoundfile", "soundfile", "conda-forge"),
        ("python-eccodes", "eccodes", "conda-forge"),
        ("scikit-image", "scikit-image", "identity"),
        ("Scikit-Image", "scikit-image", "identity"),
        ("pip", "pip", "table"),
    ],
)
def test_each_answer_knows_who_gave_it(conda: str, pypi: str | None, source: str) -> None:
    found = map_name(conda)
    assert (found.conda, found.pypi, found.source) == (conda.lower(), pypi, source)


@pytest.mark.parametrize(
    ("conda", "candidates", "pypi"),
    [
        ("docutils", ["docutils", "setuptools"], None),  # itself, and what it was built with
        ("kwant", ["kwant", "tinyarray"], None),
        ("cvxpy-base", ["cvxpy", "unknown"], "cvxpy"),
        ("hist-base", ["boost-histogram", "click", "hist", "numpy"], "hist"),
        ("python-blosc", ["blosc", "blosc2"], "blosc"),
        ("spacy-model-nb_core_news_sm", ["nb-core-news-sm"], "nb-core-news-sm"),
        ("Some_Thing", ["some.thing"], None),
        ("dbt-all", ["dbt-core", "jinja2", "six"], None),
        ("only-noise", ["unknown"], None),
        ("nothing", [], None),
        ("vtk-base", ["vtk"], "vtk"),
        ("x", ["not a name!", "y"], "y"),
    ],
)
def test_the_map_is_believed_where_it_says_one_thing(conda: str, candidates: list[str], pypi: str | None) -> None:
    assert cleaned(conda, candidates) == pypi


def test_the_map_in_the_package_has_names_that_are_names_and_differ() -> None:
    names = _conda_forge()
    assert len(names) > 700
    assert all(
        is_valid_name(pypi) and canonicalize_name(conda) != pypi == canonicalize_name(pypi) for conda, pypi in names.items()
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command.run("names", *arguments)


def test_the_command_explains_an_answer() -> None:
    done = run("matplotlib-base", "graphviz", "attrs")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "matplotlib-base  matplotlib  table",
        "graphviz  -  table  (PyPI's project of that name is another one)",
        "attrs  attrs  identity",
    ]
    assert done.stderr.startswith("conda2wheel: attrs: a guess: no table has the name, and no package ")
    (guess,) = json.loads(run("--json", "nunpy").stdout)["results"]
    assert (guess["pypi"], guess["source"], guess["note"].partition(":")[0]) == ("nunpy", "identity", "a guess")
    document = json.loads(run("--json", "zlib", "pysoundfile").stdout)
    assert document == {
        "schema": 1,
        "results": [
            {"conda": "zlib", "pypi": None, "source": "table", "note": "no Python package"},
            {"conda": "pysoundfile", "pypi": "soundfile", "source": "conda-forge", "note": None},
        ],
    }


@pytest.mark.parametrize("arguments", [[], ["numpy >=2"], ["conda-forge::numpy"], [""]])
def test_a_spec_is_no_name(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2
