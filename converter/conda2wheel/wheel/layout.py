"""Map the files of a package to paths in the wheel: its import roots to the wheel's, other files by the rules of `layout.toml`.

Specification: PyPA binary distribution format, "The .data directory". Pyodide installs only the data scheme, to sys.prefix; other
installers know all schemes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.conda.import_roots import import_paths, python_versions
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.paths_json import SITE, glob_pattern
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.dist_infos import Distribution, choose_distribution, find_distributions

Scheme = Literal["site", "scripts", "data"]
_EXTENSION = re.compile(r"\.(cpython-\d[^.]*|abi3[^.]*)\.so$")


class Placed(NamedTuple):
    """A file and its path below a scheme's folder (site-packages, scripts or data); `origin` is its path in the package."""

    scheme: Scheme
    path: str
    file: PackageFile
    origin: str


class Layout(NamedTuple):
    """The layout of a package.

    Attributes:
        placed: the files that become members of the wheel.
        libraries: shared libraries outside of site-packages, which are vendored if a side module NEEDs them.
        distribution: the installed distribution that becomes the wheel; None if the package has no metadata.
        python: the CPython of the site-packages folder ("3.13"); None for noarch packages, whose path names none.
        dropped: (path, reason) of each file that is left out.
    """

    placed: tuple[Placed, ...]
    libraries: tuple[PackageFile, ...]
    distribution: Distribution | None
    python: str | None
    dropped: tuple[tuple[str, str], ...]
    warnings: tuple[ConversionWarning, ...]


@cache
def _rules(where: str) -> tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...]:
    table = tomllib.loads(files(__package__).joinpath("layout.toml").read_text(encoding="utf-8"))
    return tuple((tuple(rule["globs"]), rule) for rule in table["rule"] if rule["from"] == where)


_pattern = cache(glob_pattern)  # compiled when a path comes to the rule


def _rule(where: str, path: str) -> Mapping[str, Any] | None:
    return next((rule for globs, rule in _rules(where) if _pattern(globs).fullmatch(path)), None)


def program_rule(path: str) -> Mapping[str, Any] | None:
    """The rule for a file of a package whose programs are brought along; None if it travels with them."""
    return _rule("program", path)


def plan_layout(package: CondaPackage) -> Layout:
    """Lay out every file of a package.

    Raises:
        Refused: abi-conflict for site-packages of two CPythons; several-distributions; not-python if no file remains for
            site-packages (only bytecode, a zipped egg).
    """
    names = {name: file for file in package.files for name in (file.path, *file.aliases)}
    site_paths = import_paths(names)
    pythons = python_versions(site_paths)
    if len(pythons) > 1:
        raise Refused(
            "abi-conflict", f"{package.source}: has site-packages of CPython {' and '.join(sorted(pythons))}", "split it"
        )
    site = {path: names[name] for name, path in site_paths.items()}
    distribution, others, warnings = choose_distribution(package, find_distributions(package.source, site))
    placer = _Placer(distribution, tuple(others), warnings, site_paths)
    hidden = _hidden(site_paths)
    for name, file in sorted(names.items()):
        if name in hidden:
            placer.drop(name, {"why": f"{hidden[name]} comes first on sys.path", "warn": True})
        elif name in site_paths:
            placer.site(name, site_paths[name], file)
    for name, file in sorted(names.items()):
        if name not in site_paths:
            placer.prefix(name, file)
    if distribution is None and not any(item.scheme == "site" for item in placer.placed):
        why = next((f"{name}: {why}" for name, why in placer.dropped if name in site_paths), "")
        raise Refused("not-python", f"{package.source}: nothing is left for site-packages ({why})", "rebuild it with pip")
    placed = sorted(placer.placed, key=lambda item: item.origin)
    python = next(iter(pythons), None)
    return Layout(tuple(placed), tuple(placer.libraries), distribution, python, tuple(placer.dropped), tuple(placer.warnings))


def _hidden(site_paths: Mapping[str, str]) -> dict[str, str]:
    """The names in site-packages of which lib/pythonX.Y has one of the same path, with that one."""
    beside = {path: name for name, path in site_paths.items() if not SITE.match(name)}
    return {name: beside[path] for name, path in site_paths.items() if SITE.match(name) and path in beside}


@dataclass
class _Placer:
    """Collects the layout of one package during `plan_layout`."""

    distribution: Distribution | None
    others: tuple[Distribution, ...]
    warnings: list[ConversionWarning]
    site_paths: Mapping[str, str]  # each importable name -> its path below site-packages
    placed: list[Placed] = field(default_factory=list)
    libraries: list[PackageFile] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    in_site: dict[str, str] = field(default_factory=dict)  # the path of a file -> its name in site-packages

    def site(self, name: str, path: str, file: PackageFile) -> None:
        """Lay out a name in site-packages; `path` is relative to it."""
        rule = _rule("site", path)
        if rule is not None:
            self.drop(name, rule)
        elif _is_metadata(path, self.distribution, self.others):
            return
        elif self._is_others(path):
            self.dropped.append((name, "belongs to another distribution in the package"))
        elif SHARED_OBJECT.search(path) and not _EXTENSION.search(path) and (twin := self._twin(name, file)):
            why = f"another name of {twin}; a second copy would be a second instance"
            self.dropped.append((name, why))
            self.warnings.append(
                ConversionWarning("alias-left-out", f"{why}; code that opens it by this name will not find it", name)
            )
        else:
            self.in_site.setdefault(file.path, name)
            self.placed.append(Placed("site", _without_egg(path, self.distribution), file, name))

    def prefix(self, path: str, file: PackageFile) -> None:
        """Lay out a name outside of site-packages."""
        rule = _rule("prefix", path)
        if rule is None or rule["action"] == "drop":
            self.drop(path, rule or {})
        elif rule["action"] == "library":
            if path == file.path and path not in self.in_site:
                self.libraries.append(file)
        elif rule["action"] == "scripts":
            self.placed.append(Placed("scripts", path.rpartition("/")[2], file, path))
        else:
            self.placed.append(Placed("data", path, file, path))

    def drop(self, name: str, rule: Mapping[str, Any]) -> None:
        """Leave a name out for the reason of a rule, with a warning if it asks for one."""
        why = str(rule.get("why", ""))
        self.dropped.append((name, why))
        if rule.get("warn"):
            self.warnings.append(ConversionWarning("left-out", why, name))

    def _twin(self, name: str, file: PackageFile) -> str | None:
        """The other name in site-packages under which the wheel has this library."""
        if name == file.path:
            return None
        return file.path if file.path in self.site_paths else self.in_site.get(file.path)

    def _is_others(self, path: str) -> bool:
        """Whether a path belongs to another project of the package: by its RECORD, else its top_level.txt, else its egg."""
        own = self.distribution
        for other in self.others:
            if other.kind == "egg" and path.startswith(other.root):
                return True
            if own is None or other.project == own.project or path in own.recorded:
                continue
            recorded = other.recorded
            top = path.partition("/")[0].partition(".")[0]
            if path in recorded or (not recorded and top in other.top_level - own.top_level):
                return True
        return False


def _is_metadata(path: str, distribution: Distribution | None, others: Iterable[Distribution]) -> bool:
    every = [d for d in (distribution, *others) if d is not None]
    folder = path.partition("/")[0]
    if any(d.kind == "egg" and path.startswith(f"{d.folder}/EGG-INFO/") for d in every):
        return True
    return any(d.kind != "egg" and d.folder == folder for d in every)


def _without_egg(path: str, distribution: Distribution | None) -> str:
    root = distribution.root if distribution else ""
    return path[len(root) :] if root and path.startswith(root) else path
