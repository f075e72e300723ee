"""Where each file of a package goes in the wheel: site-packages to the root, the rest by the rules of `layout.toml`.

Specification: PyPA binary distribution format, "The .data directory". Pyodide copies only the data scheme, to
sys.prefix; other installers know all of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from conda2wheel.conda.binaries import SHARED_OBJECT
from conda2wheel.conda.files import PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.outcome import Refused, Warned

from .distributions import SITE, Distribution, choose, find_distributions

Scheme = Literal["site", "scripts", "data"]
_EXTENSION = re.compile(r"\.(cpython-\d+[^.]*|abi3[^.]*)\.so$")


@dataclass(frozen=True)
class Placed:
    """A file in its place: `path` is below site-packages, scripts or data; `origin` is its path in the package."""

    scheme: Scheme
    path: str
    file: PackageFile
    origin: str


@dataclass(frozen=True)
class Layout:
    """The plan: files in their places, libraries that may have to travel, and the distribution that this is.

    `python` is the CPython of the site-packages folder ("3.13"), None for noarch packages, which have none in the path.
    """

    placed: tuple[Placed, ...]
    libraries: tuple[PackageFile, ...]
    distribution: Distribution | None
    python: str | None
    dropped: tuple[tuple[str, str], ...]
    warnings: tuple[Warned, ...]


@cache
def _rules() -> tuple[tuple[str, re.Pattern[str], Mapping[str, Any]], ...]:
    table = tomllib.loads(files(__package__).joinpath("layout.toml").read_text(encoding="utf-8"))
    return tuple((rule["from"], _pattern(rule["globs"]), rule) for rule in table["rule"])


def _pattern(globs: Iterable[str]) -> re.Pattern[str]:
    def one(glob: str) -> str:
        parts = re.split(r"(\*\*/|\*\*|\*)", glob)
        return "".join({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)

    return re.compile("|".join(f"(?:{one(glob)})" for glob in globs))


def _rule(where: str, path: str) -> Mapping[str, Any] | None:
    return next((rule for origin, pattern, rule in _rules() if origin == where and pattern.fullmatch(path)), None)


def plan_layout(package: CondaPackage) -> Layout:
    """Place every file. Raises `Refused` (abi-conflict for two interpreters' folders, several-distributions)."""
    names = {name: file for file in package.files for name in (file.path, *file.aliases)}
    pythons = {match[1] for name in names if (match := SITE.match(name)) and match[1]}
    if len(pythons) > 1:
        raise Refused(
            "abi-conflict", f"{package.source}: has site-packages of CPython {' and '.join(sorted(pythons))}", "split it"
        )
    site = {name[match.end() :]: file for name, file in names.items() if (match := SITE.match(name))}
    distribution, others, warnings = choose(package, find_distributions(site))
    hidden = _hidden(distribution, others)
    placed: list[Placed] = []
    libraries: list[PackageFile] = []
    dropped: list[tuple[str, str]] = []
    for name, file in sorted(names.items()):
        match = SITE.match(name)
        path = name[match.end() :] if match else name
        rule = _rule("site" if match else "prefix", path)
        alias = name != file.path
        if match and rule is None:
            if _is_metadata(path, distribution, others):
                continue
            if path in hidden:
                dropped.append((name, "belongs to another distribution in the package"))
            elif alias and SHARED_OBJECT.search(path) and SITE.match(file.path) and not _EXTENSION.search(path):
                dropped.append((name, f"another name of {file.path}; a second copy would be a second instance"))
            else:
                placed.append(Placed("site", _without_egg(path, distribution), file, name))
        elif rule is None or rule["action"] == "drop":
            why = str(rule["why"]) if rule else ""
            dropped.append((name, why))
            if rule and rule.get("told"):
                warnings.append(Warned("left-out", why, name))
        elif rule["action"] == "library":
            if not alias:
                libraries.append(file)
        elif rule["action"] == "scripts":
            placed.append(Placed("scripts", path.rpartition("/")[2], file, name))
        else:
            placed.append(Placed("data", path, file, name))
    return Layout(tuple(placed), tuple(libraries), distribution, next(iter(pythons), None), tuple(dropped), tuple(warnings))


def _hidden(distribution: Distribution | None, others: Iterable[Distribution]) -> set[str]:
    """Files that only another distribution's RECORD lists."""
    ours = distribution.recorded() if distribution else set()
    theirs = {path for other in others for path in other.recorded()}
    return theirs - ours if ours else set()


def _is_metadata(path: str, distribution: Distribution | None, others: Iterable[Distribution]) -> bool:
    every = [d for d in (distribution, *others) if d is not None]
    folder = path.partition("/")[0]
    if any(d.kind == "egg" and path.startswith(f"{d.folder}/EGG-INFO/") for d in every):
        return True
    return any(d.kind != "egg" and d.folder == folder for d in every)


def _without_egg(path: str, distribution: Distribution | None) -> str:
    root = distribution.root if distribution else ""
    return path[len(root) :] if root and path.startswith(root) else path
