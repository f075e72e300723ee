"""Search a catalogue: the same filters and the same order in the page (`static/search.js`), the service and the command line.

Every word of a query must match. A word matches, from best to worst: a name (the conda name or the project), a module that the
package imports as or a command that it has, the beginning of a name, the beginning of a part of a name, a part of a name, the
beginning of a word of the summary, any part of it. `tests/unit/index/test_ranking.py` compares this module with the script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal
from urllib.parse import urlencode

from packaging.utils import canonicalize_name

from conda2wheel.index.pages.catalogue import STATES, CataloguePackage, PackageCatalogue

WHOLE, NAME, IMPORT, BEGINS, PART, INSIDE, WORD, TEXT = 1000, 100, 80, 60, 40, 25, 10, 3
Sort = Literal["", "name", "-name", "state", "-state", "updated", "-updated", "size", "-size"]
GROUPS = {"runs": 0, "partly": 0, "programs": 0, "nowhere": 1, "pending": 1, "failed": 1, "refused": 2}  # between equal matches
_SEPARATORS = re.compile(r"[-_.]+")
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class SearchQuery:
    """A view of the search page, as its address has it.

    Attributes:
        q: words.
        state: one of `STATES`, or "" for all.
        pyodide: a version in which the package runs, at least in part.
        platform: a platform tag of one of its wheels, or any.
        lacks: `pyodide` for what no Pyodide (or not the given one) has itself, `pypi` for what is not on PyPI for Pyodide, or
            both, joined by a comma. What is not known is not left out.
        sort: a column, with - for the other direction; "" for the best match first, and what runs before what does not.
    """

    q: str = ""
    state: str = ""
    pyodide: str = ""
    platform: str = ""
    lacks: str = ""
    sort: str = ""

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> SearchQuery:
        """Read the parameters of an address; unknown ones are ignored."""
        return cls(**{each.name: str(parameters.get(each.name, ""))[:500] for each in fields(cls)})

    def address(self, **changed: str) -> str:
        """The query string of an address, with some values changed: `?q=numpy&state=runs`, or ""."""
        values = {each.name: changed.get(each.name, getattr(self, each.name)) for each in fields(self)}
        text = urlencode({key: value for key, value in values.items() if value})
        return f"?{text}" if text else ""


def normalise(text: str) -> str:
    """Lower case, with - for all separators of names."""
    return _SEPARATORS.sub("-", text.lower())


def words_of(query: str) -> list[str]:
    """The words of a query, normalised."""
    return [word for word in (normalise(each).strip("-") for each in query.split()) if word]


def score(words: Sequence[str], names: Sequence[str], imports: Sequence[str], summary: str) -> int:
    """How well words match a package; 0 where one of them does not. Commands are among `imports`."""
    names = [normalise(name) for name in names]
    imports = [normalise(name) for name in imports]
    text = f" {_NO_WORD.sub(' ', summary.lower())}"
    total = WHOLE if "-".join(words) in names else 0
    for word in words:
        best = max([*(_of_name(word, name) for name in names), *(_of_import(word, name) for name in imports)], default=0)
        spaced = word.replace("-", " ")
        best = max(best, WORD if f" {spaced}" in text else TEXT if spaced in text else 0)
        if not best:
            return 0
        total += best
    return total


def _of_name(word: str, name: str) -> int:
    if name == word:
        return NAME
    if name.startswith(word):
        return BEGINS
    return PART if f"-{word}" in name else INSIDE if word in name else 0


def _of_import(word: str, name: str) -> int:
    return IMPORT if name == word else INSIDE if name.startswith(word) else 0


def search(catalogue: PackageCatalogue, query: SearchQuery) -> list[CataloguePackage]:
    """The packages of a view, in its order."""
    words = words_of(query.q)
    found = []
    for package in catalogue.packages:
        if not fits(package, query):
            continue
        points = score(words, names_of(package), called_of(package), package.summary or "") if words else 1
        if points:
            found.append((points, package))
    found.sort(key=lambda pair: (0 if query.sort else -pair[0], GROUPS[pair[1].state], pair[1].name))
    order = _ORDERS.get(query.sort.removeprefix("-"))
    if order is not None:
        found.sort(key=lambda pair: order(pair[1]), reverse=query.sort.startswith("-"))
    return [package for _, package in found]


def search_json(catalogue: PackageCatalogue, query: SearchQuery, limit: int = 0, offset: int = 0) -> dict[str, Any]:
    """The packages of a view as JSON: `limit` of them (0: all) from `offset` on, as docs/reference/schemas/search.json has it."""
    found = search(catalogue, query)
    part = found[offset : offset + limit] if limit else found[offset:]
    return {
        "schema": 1,
        "kind": "search",
        "query": {each.name: getattr(query, each.name) for each in fields(query)},
        "found": len(found),
        "packages": [summary_json(package) for package in part],
    }


def summary_json(package: CataloguePackage) -> dict[str, Any]:
    """What a list shows of a package."""
    wheel = package.wheel
    return {
        "name": package.name,
        "project": package.project,
        "version": package.version,
        "newest": package.newest,
        "summary": package.summary,
        "state": package.state,
        "code": package.reason[0] if package.reason else None,
        "reason": package.reason[1] if package.reason else None,
        "runs": list(package.runs),
        "partly": list(package.partly),
        "platforms": list(package.platforms),
        "imports": list(imports_of(package)),
        "programs": [each.name for each in package.programs],
        "in_pyodide": None if package.in_pyodide is None else dict(package.in_pyodide),
        "on_pypi": None if package.on_pypi is None else list(package.on_pypi),
        "wheel": None if wheel is None else {"filename": wheel.filename, "sha256": wheel.sha256, "size": wheel.size},
        "updated": package.updated,
    }


def fits(package: CataloguePackage, query: SearchQuery) -> bool:
    """Whether a package passes the filters of a query, its words aside."""
    if query.state and package.state != query.state:
        return False
    if query.pyodide and query.pyodide not in (*package.runs, *package.partly):
        return False
    if query.platform and query.platform not in package.platforms:
        return False
    lacks = query.lacks.split(",")
    if "pyodide" in lacks and package.in_pyodide and (query.pyodide in package.in_pyodide if query.pyodide else True):
        return False
    return not ("pypi" in lacks and package.on_pypi)


def names_of(package: CataloguePackage) -> tuple[str, ...]:
    """Its conda name, and its project's if it is another one, not only another spelling."""
    same = package.project is None or canonicalize_name(package.name) == package.project
    return (package.name,) if same else (package.name, str(package.project))


def imports_of(package: CataloguePackage) -> tuple[str, ...]:
    """The top-level modules of its newest wheel, those that are private aside; none where they only start its programs."""
    if package.wheel is None or package.state == "programs":
        return ()
    return tuple(name for name in package.wheel.imports if not name.startswith("_"))


def called_of(package: CataloguePackage) -> tuple[str, ...]:
    """What people call: the modules that it imports as, and its commands."""
    return (*imports_of(package), *(each.name for each in package.programs))


def _rank(package: CataloguePackage) -> int:
    return list(STATES).index(package.state)


COLUMNS = ("name", "state", "updated", "size")  # by which a view is sorted
_ORDERS: dict[str, Callable[[CataloguePackage], Any]] = {
    "name": lambda package: package.name,
    "state": _rank,
    "updated": lambda package: package.updated or 0.0,
    "size": lambda package: package.wheel.size if package.wheel else 0,
}
