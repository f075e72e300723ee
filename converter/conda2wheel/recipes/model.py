"""Conversion recipes: what a package needs beyond the rules, one TOML file for a conda name (docs/reference/recipes.md).

conda2wheel has its own recipes; a caller's folders come after them, and a later file for the same package wins. An invalid recipe
is an error with its file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.utils import canonicalize_name

from conda2wheel.conda.names import is_valid_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.parsing import InvalidSpecError, parse_version, parse_version_spec
from conda2wheel.conda.paths_json import glob_pattern
from conda2wheel.errors import REFUSAL_CODES, Failed, require_several
from conda2wheel.files.pypa import parse_pep440, parse_requirement, spdx_expression
from conda2wheel.files.toml import Problem, check_table, check_type, invalid_document, read_toml, suggestion

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0\n\"']+")
Scheme = Literal["site", "data"]
_KEYS: dict[str, dict[str, type]] = {
    "": {"package": str, "versions": str, "why": str},
    "wheel": {"name": str, "version": str, "patched": str, "lacks": str},
    "requires": {"add": list, "drop": list},
    "files": {"exclude": list},
    "license": {"expression": str, "files": list},
    "environment": {"module": str, "variables": list},
    "test": {"script": str},
    "refuse": {"code": str, "reason": str},
    "data": {"from": str, "files": str, "to": str, "scheme": str, "why": str},
}


class DataFiles(NamedTuple):
    """Files to add to the wheel.

    Attributes:
        package: The conda package that has them; None for the converted one.
        files: A glob for their paths in it.
        to: Their folder below site-packages or the data scheme. The folders before the first `*` of the glob are removed.
        scheme: Which of the two.
    """

    package: str | None
    files: str
    to: str
    scheme: Scheme = "site"

    def destinations(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (path in the package, path below the scheme) for each of `paths` that matches."""
        pattern = glob_pattern([self.files])
        base = self.files.partition("*")[0].rpartition("/")[0]
        for path in paths:
            if pattern.fullmatch(path):
                inside = path[len(base) :].lstrip("/") if base else path
                yield path, f"{self.to}/{inside}" if self.to else inside


class EnvironmentVariables(NamedTuple):
    """Environment variables that a package's `module` sets before its other code runs, unless they are set.

    Each is set to a path below site-packages.
    """

    module: str
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Recipe:
    """A conversion recipe.

    `document` is its TOML document, which `conda2wheel.json` keeps for `verify` and for `check`.
    """

    package: str
    why: str
    document: Mapping[str, Any] = field(hash=False, compare=False)
    versions: str = ""
    name: str | None = None
    version: str | None = None
    patched: str = ""
    lacks: str = ""
    adds: tuple[str, ...] = ()
    drops: frozenset[str] = frozenset()
    exclude: tuple[str, ...] = ()
    refuse: tuple[str, str] | None = None
    data: tuple[DataFiles, ...] = ()
    license: str | None = None
    license_files: tuple[str, ...] = ()
    environment: EnvironmentVariables | None = None
    test: str | None = None

    def fits(self, package: CondaPackage) -> bool:
        """Whether it applies to this package: by name, and by a version that `versions` admits."""
        if package.name.lower() != self.package:
            return False
        try:
            return not self.versions or parse_version_spec(self.versions).matches(parse_version(package.version))
        except InvalidSpecError:
            return False


class RecipeBook:
    """The recipes of conda2wheel and of a caller's folders; the last one that applies to a package is used.

    Those of folders are read and checked at once. conda2wheel's own are sound, and each is in the file of its package: one is
    read when it is asked for, and not for every conversion all of them.
    """

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        """Read the recipes of folders. Raises `Failed` (usage, not-found, unreadable) for a missing folder or an invalid one."""
        require_several("recipes", folders)
        own, *others = (_recipe_files(folder) for folder in (builtin(), *map(Path, folders)))
        self._own = {path.stem: path for path in own}
        self._read: dict[str, Recipe] = {}  # of these
        self._given = [read_recipe(path) for paths in others for path in paths]  # the later wins

    @classmethod
    def of(cls, recipes: Iterable[Recipe]) -> RecipeBook:
        """Make a book of these recipes alone."""
        book = cls.__new__(cls)
        book._own, book._read, book._given = {}, {}, list(recipes)
        return book

    @property
    def recipes(self) -> list[Recipe]:
        """All recipes; the later wins."""
        return [*map(self._own_recipe, self._own), *self._given]

    def find(self, package: CondaPackage) -> Recipe | None:
        """Return the recipe for a package, None without one."""
        name = package.name.lower()
        own = [self._own_recipe(name)] if name in self._own else []
        return next((recipe for recipe in reversed([*own, *self._given]) if recipe.fits(package)), None)

    def _own_recipe(self, name: str) -> Recipe:
        if name not in self._read:
            self._read[name] = read_recipe(self._own[name])
        return self._read[name]


def _recipe_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Failed("not-found", f"--recipes {folder}: no such folder", "check the path")
    return sorted(folder.glob("*.toml"))


def builtin() -> Path:
    """Return the folder of conda2wheel's own recipes: in the installed package, or in a checkout."""
    installed = Path(str(files("conda2wheel"))) / "_recipes"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file. Raises `Failed` (usage) with the lines of all problems, or `Failed` (unreadable)."""
    text, document = read_toml(path)
    problems = list(find_problems(document))
    if not problems and document["package"] != path.stem:
        problems = [Problem(("package",), f"says {document['package']}, and the file is called {path.name}")]
    if problems:
        raise invalid_document(path, text, problems, "docs/reference/recipes.md says what a recipe may have")
    return from_document(document)


def from_document(document: Mapping[str, Any]) -> Recipe:
    """Make a recipe from its document. Raises `ValueError` for an invalid one."""
    if problems := [each.why for each in find_problems(document)]:
        raise ValueError(problems[0])
    wheel, requires, refuse, licenses = (document.get(key, {}) for key in ("wheel", "requires", "refuse", "license"))
    environment = document.get("environment")
    return Recipe(
        package=document["package"],
        why=document["why"],
        document=document,
        versions=document.get("versions", ""),
        name=wheel.get("name"),
        version=wheel.get("version"),
        patched=wheel.get("patched", ""),
        lacks=wheel.get("lacks", ""),
        adds=tuple(requires.get("add", ())),
        drops=frozenset(canonicalize_name(name) for name in requires.get("drop", ())),
        exclude=tuple(document.get("files", {}).get("exclude", ())),
        refuse=(refuse["code"], refuse["reason"]) if refuse else None,
        data=tuple(
            DataFiles(each.get("from"), each["files"], each["to"].strip("/"), each.get("scheme", "site"))
            for each in document.get("data", ())
        ),
        license=licenses.get("expression"),
        license_files=tuple(licenses.get("files", ())),
        environment=None
        if environment is None
        else EnvironmentVariables(environment["module"], tuple(_variable(text) for text in environment["variables"])),
        test=document.get("test", {}).get("script"),
    )


def _variable(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    return name, path.strip("/")


def find_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield every problem of a recipe's document, in the order of its keys."""
    for key in ("package", "why"):
        if not document.get(key):
            yield Problem((), f"has no {key}")
    for key, value in document.items():
        if key in _KEYS[""]:
            yield from check_type((key,), key, value, _KEYS[""][key])
        elif key == "data":
            if not isinstance(value, list):
                yield Problem(("data",), "data is not a list of tables ([[data]])")
            tables = value if isinstance(value, list) else []
            for number, each in enumerate(tables):
                yield from check_table(("data", number), each, "data", _KEYS["data"])
                for wanted in ("files", "to"):
                    if isinstance(each, dict) and wanted not in each:
                        yield Problem(("data", number), f"has no {wanted}")
        elif key in _KEYS:
            yield from check_table((key,), value, key, _KEYS[key])
        else:
            known = [*_KEYS[""], *(name for name in _KEYS if name)]
            yield Problem((key,), f"a recipe has no {key}; {suggestion(key, known)}")
    yield from _values(document)


def _values(document: Mapping[str, Any]) -> Iterator[Problem]:
    def table(key: str) -> Mapping[str, Any]:
        value = document.get(key, {})
        return value if isinstance(value, dict) else {}

    if isinstance(versions := document.get("versions"), str) and not _is_version_spec(versions):
        yield Problem(("versions",), f"{versions!r} is not a range of conda versions")
    if isinstance(name := table("wheel").get("name"), str) and not is_valid_name(name):
        yield Problem(("wheel", "name"), f"{name!r} is not a distribution name")
    if isinstance(version := table("wheel").get("version"), str) and parse_pep440(version) is None:
        yield Problem(("wheel", "version"), f"{version!r} is not a PEP 440 version")
    for key in ("add", "drop"):
        names = table("requires").get(key)
        for text in names if isinstance(names, list) else ():
            if isinstance(text, str) and not _is_requirement(text, bare=key == "drop"):
                what = "the name of a distribution" if key == "drop" else "a requirement"
                yield Problem(("requires", key), f"{text!r} is not {what}", text)
    refuse = table("refuse")
    if refuse and refuse.get("code") not in REFUSAL_CODES:
        yield Problem(("refuse", "code"), f"code is not one of {', '.join(REFUSAL_CODES)}")
    if refuse and not refuse.get("reason"):
        yield Problem(("refuse",), "has no reason")
    yield from _licenses(table("license"))
    if "environment" in document:
        yield from _environment(table("environment"))
    if "test" in document and not table("test").get("script"):
        yield Problem(("test",), "has no script")
    tables = document.get("data")
    for number, each in enumerate(tables if isinstance(tables, list) else ()):
        if not isinstance(each, dict):
            continue
        for key in ("files", "to"):
            value = each.get(key)
            if isinstance(value, str) and not _is_below(value):
                yield Problem(("data", number, key), f"{value!r} is not a path below its folder")
        if each.get("scheme", "site") not in ("site", "data"):
            yield Problem(("data", number, "scheme"), "scheme is neither site nor data")


def _licenses(table: Mapping[str, Any]) -> Iterator[Problem]:
    expression = table.get("expression")
    if isinstance(expression, str) and spdx_expression(expression) is None:
        yield Problem(("license", "expression"), f"{expression!r} is not an SPDX license expression")
    paths = table.get("files")
    for path in paths if isinstance(paths, list) else ():
        if isinstance(path, str) and not _is_below(path):
            yield Problem(("license", "files"), f"{path!r} is not a path below its folder")


def _environment(table: Mapping[str, Any]) -> Iterator[Problem]:
    module, variables = table.get("module"), table.get("variables")
    if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
        yield Problem(("environment", "module"), f"module is not a Python module name such as pyproj: {module!r}")
    if not isinstance(variables, list) or not variables:
        why = 'variables is not a list such as ["PROJ_DATA=pyproj/proj_dir/share/proj"]'
        yield Problem(("environment", "variables"), why)
        return
    for text in variables:
        if isinstance(text, str) and not (_VARIABLE.fullmatch(text) and _is_below(text.partition("=")[2])):
            yield Problem(("environment", "variables"), f"{text!r} is not NAME=PATH with a path below site-packages")


def _is_below(path: str) -> bool:
    return not (path.startswith("/") or ".." in path.split("/") or "\\" in path)


def _is_version_spec(text: str) -> bool:
    try:
        parse_version_spec(text)
    except InvalidSpecError:
        return False
    return True


def _is_requirement(text: str, *, bare: bool) -> bool:
    requirement = parse_requirement(text)
    return requirement is not None and (not bare or requirement.name == text)
