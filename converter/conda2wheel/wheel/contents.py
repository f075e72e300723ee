"""What is wrong with the modules of a package as a whole: some are missing by its own RECORD, or need another main module.

empack leaves out what its filters name, such as `_vendor` folders, and writes no list of what it left out. Files of tests do not
count: builds remove them, and nothing imports them.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from conda2wheel.abi.audit.findings import listed
from conda2wheel.conda.classify import EMPTIED, other_main_modules
from conda2wheel.conda.import_roots import import_paths, is_module
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import MAX_PATH
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.dist_infos import Distribution
from conda2wheel.wheel.layout import Layout, Placed

_CODE = (".py", ".so")  # the endings of all modules, and of libraries
_TESTS = re.compile(r"(?:^|/)(?:tests?/|conftest\.py$|test_[^/]*$)")


@dataclass(frozen=True)
class _Missing:
    """Modules that a package does not have: the file that lists them, how many there are, and names for a message."""

    proof: str
    count: int
    names: Sequence[str]

    def __str__(self) -> str:
        what = "modules" if self.count > 1 else "module"
        return f"{self.proof} lists {self.count} {what} that the package does not have: {listed(self.names)}"


def require_complete(package: CondaPackage, layout: Layout) -> tuple[ConversionWarning, ...]:
    """Compare the modules of a package with those that its metadata lists.

    Args:
        package: the package with every file, also those that a recipe excludes.
        layout: what is left for the wheel.

    Returns:
        A warning that counts and names the missing ones.

    Raises:
        Refused: incomplete, if none is left.
    """
    distribution = layout.distribution
    if distribution is None:
        return ()
    have = set(import_paths(name for file in package.files for name in (file.path, *file.aliases)).values())
    empty = not any(item.scheme == "site" and item.path.endswith(_CODE) for item in layout.placed)
    missing = _missing(distribution, have, _recorded(distribution, unhashed=empty))
    if missing is None:
        return ()
    if empty:
        raise Refused("incomplete", f"{package.source}: {missing}, and nothing to import is left", EMPTIED)
    return (ConversionWarning("incomplete", f"{missing}; what needs them fails", f"{distribution.folder}/{missing.proof}"),)


def _missing(distribution: Distribution, have: Collection[str], recorded: Collection[str]) -> _Missing | None:
    if recorded or distribution.text("RECORD") is not None:
        modules = {_module(path) for path in have}
        lost = sorted(path for path in set(recorded) if _module(path) not in modules)
        return (
            _Missing("RECORD" if distribution.kind == "dist-info" else "installed-files.txt", len(lost), _folded(lost, have))
            if lost
            else None
        )
    tops = {_top(path) for path in have if path.endswith(_CODE)}
    absent = sorted(top for top in distribution.top_level - tops if top.isidentifier())
    if distribution.top_level & tops:  # an optional extension module that was not built is listed all the same
        absent = [top for top in absent if not top.startswith("_")]
    return _Missing("top_level.txt", len(absent), absent) if absent else None


def _recorded(distribution: Distribution, *, unhashed: bool) -> list[str]:
    """The modules that a distribution lists, but for tests.

    A row of RECORD without a hash can be of what an installer makes; it counts with `unhashed`.
    """
    if distribution.kind == "dist-info":
        try:
            rows = list(csv.reader(io.StringIO(distribution.text("RECORD") or "")))
        except csv.Error:
            return []
        paths: Iterable[str] = (row[0] for row in rows if row and (unhashed or (len(row) > 1 and row[1])))
    else:
        paths = distribution.recorded
    paths = (path for path in paths if len(path) <= MAX_PATH)
    return [path for path in paths if is_module(path) and not path.startswith("/") and not _TESTS.search(path)]


def _module(path: str) -> tuple[str, str]:
    """A module by its folder and name: the suffix of an extension module may differ from the recorded one."""
    folder, _, file = path.rpartition("/")
    stem, _, rest = file.partition(".")
    return f"{folder}/{stem}", "so" if rest.endswith("so") else rest


def _folded(lost: Sequence[str], have: Collection[str]) -> list[str]:
    """The paths, with one name for a folder of which nothing is there."""
    folders = {path[:place] for path in have for place, letter in enumerate(path) if letter == "/"}
    found: dict[str, None] = {}
    for path in lost:
        parts = path.split("/")
        ends = [part for part in range(1, len(parts)) if "/".join(parts[:part]) not in folders]
        found.setdefault("/".join(parts[: ends[0]]) + "/" if ends else path)
    return list(found)


def require_pyodides(package: CondaPackage, placed: Iterable[Placed]) -> tuple[ConversionWarning, ...]:
    """Look for modules that import another main module's Python package, such as pyjs, whenever they are imported.

    Returns:
        A warning for those that are not the module or package that users import first.

    Raises:
        Refused: interpreter, if every top-level module is one of them, so that nothing of the package can be imported.
    """
    site = {item.path: item for item in placed if item.scheme == "site" and is_module(item.path)}
    tops = {_top(path) for path in site}
    foreign = other_main_modules() - tops
    bound = _bound(site, foreign)
    if not bound:
        return ()
    entries = {_top(path): path for path in sorted(bound) if path in (f"{_top(path)}.py", f"{_top(path)}/__init__.py")}
    if entries.keys() == tops:
        path = min(entries.values())
        why = f"{path} begins with an import of {bound[path]}, which belongs to another main module than Pyodide's"
        raise Refused("interpreter", f"{package.source}: {why}", "leave it out")
    names = ", ".join(sorted(set(bound.values())))
    why = f"begins with an import of {names}, which belongs to another main module than Pyodide's: cannot be imported"
    others = f" (also {listed(sorted(bound)[1:])})" if len(bound) > 1 else ""
    return (ConversionWarning("other-main-module", f"{why}{others}", min(bound)),)


def _bound(site: Mapping[str, Placed], foreign: frozenset[str]) -> dict[str, str]:
    """The modules that import one of these packages at once, directly or through each other, with that package's name."""
    texts = {path: item.file.blob.read() for path, item in site.items() if path.endswith(".py")}
    suspects = [path for path, text in texts.items() if any(name.encode() in text for name in foreign)]
    direct = {path: min(_imported(path, texts[path]) & foreign, default=None) for path in suspects}
    found = {path: name for path, name in direct.items() if name is not None}
    if not found:
        return {}
    imports = {path: _imported(path, text) for path, text in texts.items()}
    while True:
        names = {_dotted(path): name for path, name in found.items()}
        reached = {path: min(wanted & names.keys(), default=None) for path, wanted in imports.items() if path not in found}
        new = {path: names[first] for path, first in reached.items() if first is not None}
        if not new:
            return found
        found |= new


def _top(path: str) -> str:
    return path.partition("/")[0].partition(".")[0]


def _dotted(path: str) -> str:
    """The name by which a module is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(path: str, text: bytes) -> set[str]:
    r"""The names of what a module imports, and of their packages, but for imports in a function, a condition, `try` or `with`.

    >>> sorted(_imported("a/b.py", b"import x.y\nfrom .c import d\ntry:\n  import z\nexcept ImportError: pass"))
    ['a', 'a.c', 'a.c.d', 'x', 'x.y']
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a template, or for another Python
        return set()
    parents = path.split("/")[:-1]
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            base = parents[: len(parents) - statement.level + 1] if statement.level else []
            whence = ".".join([*base, *([statement.module] if statement.module else [])])
            found |= {whence, *(f"{whence}.{alias.name}" for alias in statement.names)}
    return {".".join(parts[:end]) for parts in (name.split(".") for name in found) for end in range(1, len(parts) + 1)}
