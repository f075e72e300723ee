"""The search of the pages: what is found, in which order, and the same in Python and in the page's script."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from conda2wheel.index.pages import ranking
from conda2wheel.index.pages.catalogue import PackageCatalogue
from conda2wheel.index.pages.ranking import SearchQuery, called_of, names_of, normalise, search
from conda2wheel.pyodide.node import find_node
from tests.helpers import catalogues
from tests.helpers import mirror_reports as reports

SCRIPT = files("conda2wheel.index.pages").joinpath("static", "search.js").read_text(encoding="utf-8")
QUERIES = [
    SearchQuery(q=words, state=state, pyodide=pyodide, platform=platform, lacks=lacks, sort=sort)
    for words, state, pyodide, platform, lacks, sort in [
        ("", "", "", "", "", ""),
        ("py", "", "", "", "", ""),
        ("Num Py", "", "", "", "", ""),
        ("argon2-cffi_bindings", "", "", "", "", ""),
        ("in one line", "", "", "", "", ""),
        ("line what aiohttp", "", "", "", "", "-size"),
        ("-", "", "", "", "", "name"),
        ("", "refused", "", "", "", "-name"),
        ("", "runs", "0.29.5", "", "pyodide", "updated"),
        ("a", "", "0.28.3", reports.NATIVE, "", "size"),
        ("r", "", "", "any", "pyodide,pypi", "-state"),
        ("c", "pending", "", "", "pypi", "state"),
        ("É ß İ", "", "", "", "", "nonsense"),
        ("nothing like it", "", "", "", "", ""),
    ]
]


@pytest.fixture(scope="module")
def channel() -> PackageCatalogue:
    return catalogues.channel(300)


def names(catalogue: PackageCatalogue, **query: str) -> list[str]:
    return [package.name for package in search(catalogue, SearchQuery(**query))]


def test_python_and_the_script_agree(channel: PackageCatalogue, tmp_path: Path) -> None:
    rows = [
        {
            "name": package.name,
            "state": package.state,
            "names": [normalise(name) for name in names_of(package)],
            "imports": [normalise(name) for name in called_of(package)],
            "text": f" {ranking._NO_WORD.sub(' ', (package.summary or '').lower())}",
            "runs": [*package.runs, *package.partly],
            "platforms": package.platforms,
            "own": [*(package.in_pyodide or ())],
            "pypi": bool(package.on_pypi),
            "size": package.wheel.size if package.wheel else 0,
            "updated": package.updated or 0,
        }
        for package in channel.packages
    ]
    queries = [vars(query) for query in QUERIES]
    script = tmp_path / "search.js"
    data = json.dumps({"rows": rows, "queries": queries})
    answers = (
        "console.log(JSON.stringify(given.queries.map((query) => ranking.search(given.rows, query).map((row) => row.name))));"
    )
    script.write_text(f"{SCRIPT}\nconst given = {data};\n{answers}\n", encoding="utf-8")
    said = subprocess.run([find_node().path, str(script)], capture_output=True, text=True, check=True).stdout
    found = [[package.name for package in search(channel, query)] for query in QUERIES]
    assert json.loads(said) == found
    assert [bool(each) for each in found].count(True) > 8


def test_the_best_match_comes_first() -> None:
    items = [
        reports.item(name, wheel=reports.wheel(name, imports=imports))
        for name, imports in {
            "opencv": ("cv2",), "cv2-tools": ("tools",), "xcv2": ("x",), "mycv": ("mycv",), "other": ("other",),
        }.items()
    ]  # fmt: skip
    found = catalogues.catalogue(items, {items[-1].wheel.filename: catalogues.details("other", summary="Like cv2, but other")})  # type: ignore[union-attr]
    assert names(found, q="CV2") == ["opencv", "cv2-tools", "xcv2", "other"]
    assert names(found, q="other cv2") == ["other"]
    assert names(found, q="cv2_TOOLS") == ["cv2-tools"]


def test_what_runs_comes_before_what_does_not(channel: PackageCatalogue) -> None:
    states = [package.state for package in search(channel, SearchQuery())]
    assert states == sorted(states, key=lambda state: ranking.GROUPS[state])


def test_a_view_has_an_address_and_is_read_from_it() -> None:
    query = SearchQuery(q="a b", state="runs", lacks="pyodide")
    assert query.address() == "?q=a+b&state=runs&lacks=pyodide"
    assert query.address(state="", lacks="") == "?q=a+b"
    assert SearchQuery().address() == ""
    assert SearchQuery.of({"q": "a b", "state": "runs", "lacks": "pyodide", "more": "x"}) == query
