"""Import roots: site-packages, and in a package that is no interpreter lib/pythonX.Y itself.

Both are on sys.path (sysconfig's purelib and stdlib). CMake projects install to the second, such as robostack's ROS packages.
What is the interpreter's own there has a name of the standard library, or one of `standard_library.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from conda2wheel.conda.paths_json import SITE

_BESIDE = re.compile(r"^lib/python(\d+\.\d+)t?/(?!site-packages/)(([^/]+)(?:/.*)?)$")
_MODULE = re.compile(r"(?P<name>[^./]+)\.(?:py|(?:cpython-\d[^./]*\.|abi3[^./]*\.)so)")
_LANDMARK = re.compile(r"^lib/python\d+\.\d+t?/(?:os\.py|encodings/__init__\.py)$")  # what CPython itself finds its prefix by
_METADATA = (".dist-info", ".egg-info")


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("standard_library.toml").read_text(encoding="utf-8"))


@cache
def standard_library(python: str) -> frozenset[str]:
    """The names of the modules of a CPython's standard library (`3.13`); of an unknown version's, those of the nearest one.

    >>> "imp" in standard_library("3.11"), "imp" in standard_library("3.13"), "numpy" in standard_library("3.13")
    (True, False, False)
    """
    names: set[str] = set()
    for number, row in enumerate(_table()["python"]):
        if number and _version(row["version"]) > _version(python):
            break
        names = (names | set(row["added"])) - set(row["removed"])
    return frozenset(names)


def import_paths(names: Iterable[str]) -> dict[str, str]:
    """The path below site-packages that each importable name of a package gets in the wheel, with the files beside it.

    >>> import_paths(["lib/python3.11/site-packages/a.py", "lib/python3.11/rclpy/node.py", "lib/python3.11/ast.py", "bin/x"])
    {'lib/python3.11/site-packages/a.py': 'a.py', 'lib/python3.11/rclpy/node.py': 'rclpy/node.py'}
    """
    names = tuple(names)
    found = {name: name[match.end() :] for name in names if (match := SITE.match(name))}
    if any(_LANDMARK.match(name) for name in names):
        return found
    beside = [(name, match) for name in names if (match := _BESIDE.match(name)) and not _is_interpreters(match[3], match[1])]
    code = {match[3] for _, match in beside if is_module(match[2])}
    return found | {name: match[2] for name, match in beside if match[3] in code or match[3].endswith(_METADATA)}


def standard_modules(names: Iterable[str]) -> tuple[str, ...]:
    """The modules of the interpreter's own that a package has in lib/pythonX.Y, by their top-level names.

    >>> standard_modules(["lib/python3.13/tkinter/__init__.py", "lib/python3.13/turtle.py", "lib/python3.13/rclpy/node.py"])
    ('tkinter', 'turtle')
    """
    matches = (match for name in names if (match := _BESIDE.match(name)) and is_module(match[2]))
    return tuple(sorted({match[3].partition(".")[0] for match in matches if _is_interpreters(match[3], match[1])}))


def python_versions(names: Iterable[str]) -> set[str]:
    """The CPythons (`3.13`) in the paths of importable names; noarch packages have none."""
    matches = (SITE.match(name) or _BESIDE.match(name) for name in names)
    return {match[1] for match in matches if match and match[1]}


def _is_interpreters(top: str, python: str) -> bool:
    stem = top.partition(".")[0]
    return stem in standard_library(python) or any(fnmatchcase(top, pattern) for pattern in _table()["interpreter"]["patterns"])


def is_module(path: str) -> bool:
    """Whether Python can import a file by its path from the root.

    >>> [is_module(path) for path in ("a/b/c.py", "a.cpython-311-wasm32-emscripten.so", "a/libx.so", "a-b/c.py", "a/x.txt")]
    [True, True, False, False, False]
    """
    folder, _, file = path.rpartition("/")
    match = _MODULE.fullmatch(file)
    return match is not None and match["name"].isidentifier() and all(part.isidentifier() for part in folder.split("/") if part)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
