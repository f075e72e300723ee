"""Map conda package names to PyPI project names.

The metadata of a distribution in the package (`PackageDistributions`) is the best source of its name. Without it the name comes
from, in this order: the table `names.toml`, each row of which was compared with PyPI's project of that name; conda-forge's map
without its guesses (`conda_forge_names.json`, made by `scripts/update-names`); the conda name itself. A C library whose PyPI
namesake is another project has no PyPI name.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from packaging.utils import canonicalize_name

CONDA_FORGE = "conda_forge_names.json"
Origin = Literal["dist-info", "table", "conda-forge", "identity", "nobody"]
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# Affixes of conda names for a part of a project, or for the Python binding of a library: `matplotlib-base`, `python-graphviz`.
_AFFIXES = re.compile(r"^(?:python-|py-?)(?=\w)|-(?:base|core|python|py)$")


# PyPI names by conda name, None for packages that are not on PyPI; they take precedence over the tables.
Names = Mapping[str, str | None]
NO_NAMES: Names = {}
PROGRAM_SUFFIX = "-wasm"  # of wheels of programs whose conda name is another project's on PyPI


class PackageDistributions(NamedTuple):
    """The distributions in a conda package.

    Attributes:
        package: NAME-VERSION-BUILD.
        distributions: their names, as in the names of their metadata folders.
        empty: whether the package has no files (a metapackage), so that it says nothing about its name.
    """

    package: str
    distributions: tuple[str, ...]
    empty: bool = False


class NameMapping(NamedTuple):
    """The PyPI name of a conda package.

    Attributes:
        pypi: None if no project on PyPI is this package.
        source: where the name comes from: dist-info (the package's own metadata), table, conda-forge, identity (the same name),
            or nobody (it is no Python distribution).
        note: a remark for people.
    """

    conda: str
    pypi: str | None
    source: Origin
    note: str = ""

    def json(self) -> dict[str, Any]:
        """`{"conda", "pypi", "source", "note"}`."""
        return {"conda": self.conda, "pypi": self.pypi, "source": self.source, "note": self.note or None}


@cache
def _rows() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("names.toml").read_text(encoding="utf-8"))


@cache
def _not_on_pypi() -> Mapping[str, str]:
    """Conda names that are no PyPI project, with the reason."""
    rows = _rows()
    denied = dict.fromkeys(rows["deny"]["names"], "PyPI's project of that name is another one")
    return {**dict.fromkeys(rows["not_python"]["names"], "no Python package"), **denied}


@cache
def _conda_forge() -> Mapping[str, str]:
    names: dict[str, str] = json.loads(files(__package__).joinpath(CONDA_FORGE).read_text(encoding="utf-8"))["names"]
    return names


def fits(name: str, pattern: str) -> bool:
    """Whether a name fits a shell pattern, as `fnmatchcase` says.

    Most patterns of tables are plain or have one star. To compile a regular expression for each takes longer than the rest.

    >>> fits("r-base", "r-*"), fits("r", "r-*"), fits("python", "python"), fits("aba", "ab*ba"), fits("license", "licen[cs]e*")
    (True, False, True, False, True)
    """
    before, star, after = pattern.partition("*")
    if any(special in pattern for special in "?[") or "*" in after:
        return fnmatchcase(name, pattern)
    if not star:
        return name == pattern
    return len(name) >= len(before) + len(after) and name.startswith(before) and name.endswith(after)


def is_marker(conda_name: str) -> bool:
    """Whether a dependency is no distribution: a virtual or marker package, the interpreter, a build tool."""
    return any(fits(conda_name, pattern) for pattern in _rows()["drop"]["patterns"])


@cache
def foreign_pattern(conda_name: str) -> str | None:
    """The pattern for another language's packages that a name matches, if any.

    >>> foreign_pattern("r-base"), foreign_pattern("numpy")
    ('r-*', None)
    """
    return next((pattern for pattern in _rows()["not_python"]["patterns"] if fits(conda_name.lower(), pattern)), None)


def map_name(conda_name: str, seen: PackageDistributions | None = None) -> NameMapping:
    """The PyPI name of a conda package.

    A package without a distribution has no PyPI name, unless the table gives it one. If it has several, the one that its conda
    name or its name in the tables means is taken.

    Args:
        conda_name: the name of the package.
        seen: the distributions in it, if they are known.

    >>> map_name("foo", PackageDistributions("foo-1.0-0", ("foo_core",))).pypi
    'foo-core'
    >>> map_name("libfoo", PackageDistributions("libfoo-1.0-0", ())).pypi is None
    True
    >>> map_name("matplotlib-base"), map_name("zlib").pypi, map_name("pysoundfile").source
    (NameMapping(conda='matplotlib-base', pypi='matplotlib', source='table', note=''), None, 'conda-forge')
    """
    name = conda_name.lower()  # conda package names are case-insensitive
    mapping = _from_tables(name)
    if seen is None or seen.empty or is_marker(name):
        return mapping
    if not seen.distributions:
        known = mapping.pypi is None or mapping.source == "table"
        return mapping if known else NameMapping(name, None, "nobody", f"{seen.package} has no distribution inside")
    named = {canonicalize_name(each) for each in seen.distributions if is_valid_name(each)}
    meant = named & {canonicalize_name(each) for each in (name, mapping.pypi) if each}
    found = meant if len(named) > 1 else named
    return NameMapping(name, found.pop(), "dist-info", seen.package) if len(found) == 1 else mapping


def _from_tables(name: str) -> NameMapping:
    """The name in the table, in conda-forge's map, or the name itself."""
    rows = _rows()
    if name in rows["pypi"]:
        mapped = rows["pypi"][name]
        return NameMapping(name, mapped or None, "table", rows["notes"].get(name, ""))
    if is_marker(name):
        return NameMapping(name, None, "nobody", "a marker, the interpreter or a build tool")
    if name in _not_on_pypi():
        return NameMapping(name, None, "table", _not_on_pypi()[name])
    if (pattern := foreign_pattern(name)) is not None:
        return NameMapping(name, None, "nobody", f"{pattern} is no Python package")
    if name in _conda_forge():
        return NameMapping(name, _conda_forge()[name], "conda-forge")
    if not is_valid_name(name):
        return NameMapping(name, None, "nobody", "no project on PyPI can have this name")
    return NameMapping(name, name, "identity")


@cache
def _by_project() -> Mapping[str, tuple[str, ...]]:
    """The conda names in the tables of each project, by its normalised name."""
    found: dict[str, list[str]] = {}
    for conda, project in [*_rows()["pypi"].items(), *_conda_forge().items()]:
        if project and map_name(conda).pypi == project:
            found.setdefault(canonicalize_name(project), []).append(conda)
    return {project: tuple(dict.fromkeys(names)) for project, names in found.items()}


def conda_names(project: str) -> tuple[str, ...]:
    """The names that the conda package of a PyPI project may have: its own, as conda may write it, and those of the tables.

    >>> conda_names("msgpack"), conda_names("duckdb")[-1], conda_names("zlib")
    (('msgpack', 'msgpack-python'), 'python-duckdb', ())
    """
    name = canonicalize_name(project)
    spellings = dict.fromkeys((name, name.replace("-", "_"), name.replace("-", ".")))
    own = [each for each in spellings if (found := map_name(each).pypi) is not None and canonicalize_name(found) == name]
    return tuple(dict.fromkeys((*own, *_by_project().get(name, ()))))


def pypi_name(conda_name: str, names: Names = NO_NAMES) -> str | None:
    """The PyPI name of a conda package, None if no project on PyPI is this package; `names` take precedence.

    >>> pypi_name("matplotlib-base"), pypi_name("zlib"), pypi_name("attrs"), pypi_name("_x86_64-microarch-level")
    ('matplotlib', None, 'attrs', None)
    """
    name = conda_name.lower()
    found = names[name] if name in names else map_name(name).pypi
    return found if found is not None and is_valid_name(found) else None


def program_name(conda_name: str) -> str | None:
    """The name of a wheel with the programs of a conda package: its own, with `-wasm` where PyPI's namesake is another project.

    A package of programs has no metadata that could say which project it is. Where the tables say that it is none on PyPI, its
    name may be anybody's there, now or later; `-wasm` says in what the wheel differs from any such project.

    >>> program_name("graphviz"), program_name("gap"), program_name("wordcount")
    ('graphviz-wasm', 'gap-wasm', 'wordcount')
    """
    name = pypi_name(conda_name) or f"{conda_name.lower()}{PROGRAM_SUFFIX}"
    return name if is_valid_name(name) else None


def is_valid_name(name: str) -> bool:
    """Whether core metadata allows a name. `UNKNOWN` is none: setuptools writes it for a project without a name."""
    return bool(_NAME.fullmatch(name)) and name.upper() != "UNKNOWN"


def cleaned(conda_name: str, candidates: Sequence[str]) -> str | None:
    """The distribution that a row of conda-forge's map names; None if it is ambiguous or equals the conda name.

    The map lists every distribution in a package: vendored and test dependencies too, and `unknown` for those it could not
    read. A package that has a distribution of its own name is that distribution. Of several others, the one whose name is the
    conda name without conda's affixes is taken.

    >>> cleaned("hist-base", ["boost-histogram", "click", "hist"]), cleaned("bleach", ["bleach", "six"])
    ('hist', None)
    >>> cleaned("cvxpy-base", ["cvxpy", "unknown"]), cleaned("quippy", ["quippy-ase"]), cleaned("dbt-x", ["dbt", "jinja2"])
    ('cvxpy', 'quippy-ase', None)
    """
    names = sorted({canonicalize_name(each) for each in candidates if is_valid_name(each)})
    own = canonicalize_name(conda_name)
    if own in names:
        return None
    if len(names) == 1:
        return names[0]
    plain = _AFFIXES.sub("", own)
    if plain in names:
        return plain
    fitting = [each for each in names if _AFFIXES.sub("", each) == plain]
    return fitting[0] if len(fitting) == 1 else None
