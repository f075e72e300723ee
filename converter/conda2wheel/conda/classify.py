"""Decide by its contents whether a package can become a wheel, and refuse it if not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.conda.formats import format_named
from conda2wheel.conda.import_roots import import_paths, standard_modules
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import fits, foreign_pattern
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile

_PROGRAM = re.compile(r"^(?:s?bin/.*\.(?:js|mjs|wasm)|libexec/.*)$")
_STATIC = re.compile(r"\.(?:a|la|lo|o|h|hh|hpp|hxx|inc|pc|cmake|pxd)$|^include/|/cmake/|^(?:lib|lib64|share)/pkgconfig/")
_R = re.compile(r"^lib(?:64)?/R/library/[^/]+/")  # R.home("library")

EMPTIED = "empack leaves files out: if it should have files, take the channel's package; else leave it out"


@cache
def _rows() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("kinds.toml").read_text(encoding="utf-8"))


def other_main_modules() -> frozenset[str]:
    """The Python packages that only another main module than Pyodide's has."""
    return frozenset(_rows()["bound_to"]["modules"])


def refuse_unless_python(package: CondaPackage) -> None:
    """Refuse a package that has nothing for site-packages.

    Raises:
        Refused: interpreter, metapackage, executable, not-python or static-library.
    """
    name = package.name
    if (refused := refused_by_name(name, package.source)) is not None:
        raise refused
    bound = [spec for spec in package.depends if spec_name(spec) in _rows()["bound_to"]["names"]]
    if bound:
        raise Refused(
            "interpreter", f"{package.source}: {name} depends on {bound[0]}, another main module than Pyodide's", "leave it out"
        )
    # Files that conda-build leaves for its tests do not count: metapackages have them, too.
    patterns = _rows()["bookkeeping"]["patterns"]
    counted = [file for file in package.files if not any(fits(file.path, pattern) for pattern in patterns)]
    if any(path != "README.txt" for path in import_paths(file.path for file in counted).values()):
        return
    if not counted:
        raise _without_files(package)
    raise _without_python(package, counted)


def refused_by_name(name: str, source: str) -> Refused | None:
    """The verdict on a conda name that cannot become a wheel whatever is in it; None where its contents decide."""
    why = _no_wheel(name)
    return None if why is None else Refused("interpreter", f"{source}: {name} has no wheel: {why}", "leave it out")


@cache  # a mirror asks for each build
def _no_wheel(name: str) -> str | None:
    rows = (row for row in _rows()["interpreter"] if any(fits(name, pattern) for pattern in row["names"]))
    return next((row["why"] for row in rows), None)


def _without_files(package: CondaPackage) -> Refused:
    where = f"{package.source}: {package.name} has no files of its own"
    common = _rows()["common"]["names"]
    needs = [spec for spec in package.depends if spec_name(spec) not in common]
    if needs:
        return Refused("metapackage", f"{where}; it only depends on {', '.join(needs[:3])}", "convert its dependencies")
    # empack leaves files out by name: of widgetsnbextension and xeus-lite none remain, and nothing records that there were any.
    archive = format_named(package.filename or "")
    emptied = archive is not None and not archive.complete and package.name not in common
    return Refused("metapackage", where, EMPTIED if emptied else "leave it out")


def is_for_r(package: CondaPackage) -> bool:
    """Whether a package is one for R."""
    if package.name == "r-base":
        return False
    return foreign_pattern(package.name) is not None or any(_R.match(file.path) for file in package.files)


def _without_python(package: CondaPackage, files: Sequence[PackageFile]) -> Refused:
    where, paths = f"{package.source}: {package.name}", [file.path for file in files]
    if is_for_r(package):
        return Refused("not-python", f"{where} is a package for R", "leave it out")
    if standard := standard_modules(paths):
        some = ", ".join(standard[:3]) + (", ..." if len(standard) > 3 else "")
        why = f"{where} has only modules of CPython's standard library ({some}), which belong to the interpreter"
        return Refused("interpreter", why, "leave it out; Pyodide has a standard library of its own")
    if any(_PROGRAM.match(path) for path in paths):
        return Refused("executable", f"{where} is a command line program, which Pyodide cannot start", "leave it out")
    kinds = {SideModule(file).kind for file in files if SHARED_OBJECT.search(file.path)}
    if any(kind.is_loadable for kind in kinds):
        return Refused(
            "not-python", f"{where} is a shared library without Python code", "give it as --libdir to the packages that NEED it"
        )
    if kinds:
        what = (
            "has shared libraries for another system"
            if any(kind.is_foreign for kind in kinds)
            else "has nothing that Python loads"
        )
        return Refused("not-python", f"{where} {what}: what is named .so in it is {' and '.join(sorted(kinds))}", "leave it out")
    if any(path.endswith(".a") for path in paths) or all(_STATIC.search(path) for path in paths):
        return Refused(
            "static-library",
            f"{where} has only static libraries, headers and build files",
            "leave it out; it is already linked into its users",
        )
    return Refused("not-python", f"{where} has nothing for site-packages", "leave it out")
