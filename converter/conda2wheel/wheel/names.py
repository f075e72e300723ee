"""What a conda package is called on PyPI, by the rows of `names.toml`.

The distribution inside a package knows its own name best; these rows are for dependencies and for packages without
metadata. A C library whose PyPI namesake is another project never becomes a name.
"""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@cache
def _rows() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("names.toml").read_text(encoding="utf-8"))


@cache
def _nobodys() -> frozenset[str]:
    rows = _rows()
    return frozenset([*rows["deny"]["names"], *rows["not_python"]["names"]])


def _is_nobodys(name: str) -> bool:
    return name in _nobodys() or any(fnmatchcase(name, pattern) for pattern in _rows()["not_python"]["patterns"])


def is_marker(conda_name: str) -> bool:
    """A dependency that says nothing about distributions: markers, the interpreter, build tools."""
    return any(fnmatchcase(conda_name, pattern) for pattern in _rows()["drop"]["patterns"])


def pypi_name(conda_name: str) -> str | None:
    """The PyPI name of a conda package, None where no distribution on PyPI is this package.

    >>> pypi_name("matplotlib-base"), pypi_name("zlib"), pypi_name("attrs")
    ('matplotlib', None, 'attrs')
    """
    conda_name = conda_name.lower()  # conda's names are; what writes them otherwise means the same package
    mapped = _rows()["pypi"].get(conda_name)
    if mapped is not None:
        return mapped or None
    return None if _is_nobodys(conda_name) else conda_name


def is_valid_name(name: str) -> bool:
    """The form that core metadata demands of Name. `UNKNOWN` is what setuptools wrote where it found none."""
    return bool(_NAME.fullmatch(name)) and name.upper() != "UNKNOWN"
