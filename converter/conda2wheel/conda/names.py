"""What a conda package is called on PyPI, and who says so.

The distribution inside a package knows its own name best (`plan`), that of a dependency, too, where somebody looked into it
(`Seen`). What is here besides is for all others, and for packages without metadata. In this order: our own rows (`names.toml`),
each read against PyPI's project of that name; conda-forge's map, cleaned of what it only guesses (`conda_forge_names.json`, made
by `scripts/update-names`); the same name. A C library whose PyPI namesake is another project never becomes a name.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from packaging.utils import canonicalize_name

CONDA_FORGE = "conda_forge_names.json"
Origin = Literal["dist-info", "table", "conda-forge", "identity", "nobody"]
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# How conda names a part of a project, or tells its Python binding from the library: `matplotlib-base`, `python-graphviz`.
_AFFIXES = re.compile(r"^(?:python-|py-?)(?=\w)|-(?:base|core|python|py)$")


Names = Mapping[str, str | None]  # conda names, and what is known of them beyond all rows: PyPI's, None for nobody's
NO_NAMES: Names = {}


@dataclass(frozen=True)
class Seen:
    """A package that was looked into: which one it is (NAME-VERSION-BUILD), and the names of its distributions as their metadata
    folders have them. `empty`: it has no files, a metapackage, and so says nothing."""

    package: str
    distributions: tuple[str, ...]
    empty: bool = False


@dataclass(frozen=True)
class Answer:
    """What a conda name is on PyPI: `pypi` is None where nothing there is this package. `source` says by what: dist-info (the
    package's own), table, conda-forge, identity, or nobody (it is no Python distribution)."""

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
def _nobodys() -> Mapping[str, str]:
    """Names that no distribution has, with the reason."""
    rows = _rows()
    denied = dict.fromkeys(rows["deny"]["names"], "PyPI's project of that name is another one")
    return {**dict.fromkeys(rows["not_python"]["names"], "no Python package"), **denied}


@cache
def _conda_forge() -> Mapping[str, str]:
    names: dict[str, str] = json.loads(files(__package__).joinpath(CONDA_FORGE).read_text(encoding="utf-8"))["names"]
    return names


def is_marker(conda_name: str) -> bool:
    """A dependency that says nothing about distributions: markers, the interpreter, build tools."""
    return any(fnmatchcase(conda_name, pattern) for pattern in _rows()["drop"]["patterns"])


def foreign_pattern(conda_name: str) -> str | None:
    """The pattern of names of another language's packages that this is one of, if any.

    >>> foreign_pattern("r-base"), foreign_pattern("numpy")
    ('r-*', None)
    """
    return next((pattern for pattern in _rows()["not_python"]["patterns"] if fnmatchcase(conda_name.lower(), pattern)), None)


def answer(conda_name: str, seen: Seen | None = None) -> Answer:
    """What a conda package is called on PyPI, and who says so; `seen` is the package itself, where it is at hand.

    A package that has no distribution inside is nobody's, unless our rows say which one it is nevertheless. Of several in one,
    the one that the name means counts.

    >>> answer("foo", Seen("foo-1.0-0", ("foo_core",))).pypi, answer("libfoo", Seen("libfoo-1.0-0", ())).pypi
    ('foo-core', None)
    >>> answer("matplotlib-base"), answer("zlib").pypi, answer("pysoundfile").source
    (Answer(conda='matplotlib-base', pypi='matplotlib', source='table', note=''), None, 'conda-forge')
    """
    name = conda_name.lower()  # conda's names are; what writes them otherwise means the same package
    told = _told(name)
    if seen is None or seen.empty or is_marker(name):
        return told
    if not seen.distributions:
        known = told.pypi is None or told.source == "table"
        return told if known else Answer(name, None, "nobody", f"{seen.package} has no distribution inside")
    named = {canonicalize_name(each) for each in seen.distributions if is_valid_name(each)}
    meant = named & {canonicalize_name(each) for each in (name, told.pypi) if each}
    found = meant if len(named) > 1 else named
    return Answer(name, found.pop(), "dist-info", seen.package) if len(found) == 1 else told


def _told(name: str) -> Answer:
    """What our rows say, conda-forge's, or the name itself."""
    rows = _rows()
    if name in rows["pypi"]:
        mapped = rows["pypi"][name]
        return Answer(name, mapped or None, "table", rows["notes"].get(name, ""))
    if is_marker(name):
        return Answer(name, None, "nobody", "a marker, the interpreter or a build tool")
    if name in _nobodys():
        return Answer(name, None, "table", _nobodys()[name])
    if (pattern := foreign_pattern(name)) is not None:
        return Answer(name, None, "nobody", f"{pattern} is no Python package")
    if name in _conda_forge():
        return Answer(name, _conda_forge()[name], "conda-forge")
    return Answer(name, name, "identity")


def pypi_name(conda_name: str, names: Names = NO_NAMES) -> str | None:
    """The PyPI name of a conda package, None where no distribution on PyPI is this package; `names` come first.

    >>> pypi_name("matplotlib-base"), pypi_name("zlib"), pypi_name("attrs")
    ('matplotlib', None, 'attrs')
    """
    name = conda_name.lower()
    return names[name] if name in names else answer(name).pypi


def is_valid_name(name: str) -> bool:
    """The form that core metadata demands of Name. `UNKNOWN` is what setuptools wrote where it found none."""
    return bool(_NAME.fullmatch(name)) and name.upper() != "UNKNOWN"


def cleaned(conda_name: str, candidates: Sequence[str]) -> str | None:
    """The one distribution that a row of conda-forge's map means, None where it says nothing that identity does not.

    The map was made from what lies in the packages, so that one that vendors or tests others has their names as well, and
    one that could not be read is `unknown`. A package that has a distribution of its own name is that one. Of several
    others it is the one that its name means without conda's own affixes; else the map does not know.

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
