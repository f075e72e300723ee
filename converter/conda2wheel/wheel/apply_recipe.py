"""Apply a conversion recipe to a plan: excluded and added files, requirements, license, environment variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from packaging.utils import canonicalize_name

from conda2wheel.abi.side_module import SHARED_OBJECT
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.paths_json import glob_pattern
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.files.pypa import parse_requirement
from conda2wheel.link.library import LibraryUser
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.recipes.model import DataFiles, Recipe, Scheme
from conda2wheel.wheel.layout import Layout, Placed
from conda2wheel.wheel.metadata import Document


class AddedFile(NamedTuple):
    """A file that a recipe adds from another package.

    Attributes:
        path: its path below the scheme's folder.
        file: the file in `package`.
        origin: its path in `package`.
    """

    scheme: Scheme
    path: str
    file: PackageFile
    origin: str
    package: CondaPackage

    def member_path(self, stem: str) -> str:
        """Its path in a wheel whose NAME-VERSION is `stem`."""
        return self.path if self.scheme == "site" else f"{stem}.data/{self.scheme}/{self.path}"

    @property
    def is_module(self) -> bool:
        """Whether its name is that of a shared object, which Pyodide opens when it loads the wheel."""
        return bool(SHARED_OBJECT.search(self.path))


def without_excluded(package: CondaPackage, recipe: Recipe | None) -> CondaPackage:
    """The package without the files that a recipe excludes; a file with several names loses only the excluded ones."""
    if recipe is None or not recipe.exclude:
        return package
    pattern = glob_pattern(recipe.exclude)
    kept = []
    for file in package.files:
        names = [name for name in (file.path, *file.aliases) if not pattern.fullmatch(name)]
        if names:
            kept.append(file if len(names) == 1 + len(file.aliases) else replace(file, path=names[0], aliases=tuple(names[1:])))
    return replace(package, files=tuple(kept))


def with_recipe_data(layout: Layout, package: CondaPackage, recipe: Recipe | None) -> Layout:
    """The layout with the package's own files that the recipe's `[[data]]` tables place.

    Raises:
        Refused: corrupt-archive, if a glob of the recipe matches nothing: it was written for another version.
    """
    placed = list(layout.placed)
    taken: set[str] = set()
    for data in recipe.data if recipe else ():
        if data.package is None:
            for origin, path, file in _found(package, data, package):
                taken.add(origin)
                placed.append(Placed(data.scheme, path, file, origin))
    moved = [item for item in placed if item.origin not in taken or item not in layout.placed]
    return layout._replace(
        placed=tuple(sorted(moved, key=lambda item: (item.origin, item.path))),
        dropped=tuple(row for row in layout.dropped if row[0] not in taken),
    )


def added_files(package: LibraryUser, recipe: Recipe | None, index: LibraryIndex) -> tuple[AddedFile, ...]:
    """The files that a recipe takes from other packages, which are looked up in the libdirs and channels.

    Raises:
        Refused: missing-library for a package that is not found, corrupt-archive for a glob that matches nothing.
    """
    found = []
    for data in recipe.data if recipe else ():
        if data.package is None:
            continue
        other = index.package(data.package, package)
        if other is None:
            where = ", ".join(index.searched) or "any libdir"
            why = f"its recipe takes {data.files} of {data.package}, which is not in {where}"
            raise Refused("missing-library", f"{package.source}: {why}", "give its package with --libdir")
        found += [AddedFile(data.scheme, path, file, origin, other) for origin, path, file in _found(other, data, package)]
    return tuple(found)


def _found(package: CondaPackage, data: DataFiles, converted: LibraryUser) -> Iterator[tuple[str, str, PackageFile]]:
    """(path in the package, path in the scheme, file); a shared library with several names once, under its first."""
    names = {name: file for file in package.files for name in (file.path, *file.aliases)}
    paths = list(data.destinations(sorted(names)))
    if not paths:
        why = f"its recipe takes {data.files} of {package.name}, and {package.stem} has no such file"
        raise Refused("corrupt-archive", f"{converted.source}: {why}", "the recipe was written for another version of it")
    seen: set[str] = set()
    for origin, path in paths:
        file = names[origin]
        if SHARED_OBJECT.search(path) and file.path in seen:
            continue
        seen.add(file.path)
        yield origin, path, file


def with_requirements(document: Document, recipe: Recipe | None) -> Document:
    """The metadata without the requirements that a recipe drops, and with those that it adds."""
    if recipe is None or not (recipe.adds or recipe.drops):
        return document
    kept = [line for line in document.all("Requires-Dist") if _name(line) not in recipe.drops]
    return document.replaced("Requires-Dist", [*kept, *(line for line in recipe.adds if line not in kept)])


def _name(line: str) -> str | None:
    requirement = parse_requirement(line)
    return None if requirement is None else canonicalize_name(requirement.name)


def with_license(document: Document, recipe: Recipe | None) -> Document:
    """The metadata with the license expression of a recipe."""
    if recipe is None or recipe.license is None:
        return document
    return document.replaced("License-Expression", [recipe.license]).replaced("License", [])


def license_texts(package: CondaPackage, recipe: Recipe | None) -> list[tuple[str, PackageFile]]:
    """(name, file) of the license texts that a recipe names among a package's files.

    Raises:
        Refused: corrupt-archive, if a glob matches nothing.
    """
    found: dict[str, PackageFile] = {}
    for glob in recipe.license_files if recipe else ():
        pattern = glob_pattern([glob])
        texts = {file.name: file for file in package.files if pattern.fullmatch(file.path)}
        if not texts:
            why = f"its recipe names license texts {glob}, and {package.stem} has no such file"
            raise Refused("corrupt-archive", f"{package.source}: {why}", "the recipe was written for another version of it")
        found |= texts
    return sorted(found.items())


def with_environment(path: str, source: bytes, recipe: Recipe | None) -> bytes:
    """The source of a Python file of the wheel, with lines that set environment variables if a recipe asks for them in it.

    The lines follow the docstring and the imports from `__future__`.

    Raises:
        Refused: corrupt-archive, if the file is not valid Python.
    """
    environment = recipe.environment if recipe else None
    if environment is None or path != f"{environment.module.replace('.', '/')}/__init__.py":
        return source
    try:
        line = _first_statement(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused("corrupt-archive", f"{path}: is no Python: {error}", "its recipe sets variables there") from None
    up = "/".join([".."] * (environment.module.count(".") + 2))
    setting = "".join(
        f'__import__("os").environ.setdefault("{name}", __import__("os").path.abspath(f"{{__file__}}/{up}/{where}"))'
        "  # conda2wheel: a conversion recipe\n"
        for name, where in environment.variables
    )
    lines = source.splitlines(keepends=True)
    before = b"".join(lines[:line])
    return before + (b"" if not before or before.endswith(b"\n") else b"\n") + setting.encode() + b"".join(lines[line:])


def _first_statement(source: bytes) -> int:
    """The number of lines up to the end of the docstring and the imports from `__future__`."""
    last = 0
    for at, node in enumerate(ast.parse(source).body):
        docstring = (
            at == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        last = node.end_lineno or node.lineno
    return last or _comments(source)


def _comments(source: bytes) -> int:
    """The number of comment lines at the start of a file; the declaration of its encoding is one of them."""
    count = 0
    for line in source.splitlines():
        if not line.startswith(b"#"):
            break
        count += 1
    return count
