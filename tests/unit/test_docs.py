"""The documentation agrees with the code, and builds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
import yaml

import conda2wheel
from conda2wheel.abi.platforms import platforms
from conda2wheel.cli import app
from conda2wheel.errors import CODES
from tests.helpers import command

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "converter").rglob("*.py")))


def page(*names: str) -> str:
    return REFERENCE.joinpath(*names).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", REPOSITORY / "scripts" / "docs_hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning, a broken link or a missing anchor fails.

    By the last line of scripts/docs alone: its setup makes .venv anew where pyproject.toml changed, which the tests run in.
    """
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--clean", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Resources(HTMLParser):
    """What a page loads when it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe") or (tag == "link" and given.get("rel") in ("stylesheet", "preconnect", "icon")):
            self.found += [value for value in (given.get("src"), given.get("href")) if value]


def test_the_site_builds_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        resources = Resources()
        resources.feed(path.read_text(encoding="utf-8"))
        assert resources.found
        assert [each for each in resources.found if "//" in each] == []


def test_the_site_documents_what_is_exported(site: Path) -> None:
    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    names = [name for name in conda2wheel.__all__ if not name.startswith("__")]
    assert [name for name in names if f'id="conda2wheel.{name}"' not in text] == []


def test_the_site_has_every_schema(site: Path) -> None:
    published = site / "reference" / "schemas"
    own = {path.name for path in (REFERENCE / "schemas").glob("*.json")}
    assert {path.name for path in published.iterdir()} == own | {"openapi.json"}
    assert "/api/v1/jobs" in json.loads((published / "openapi.json").read_text(encoding="utf-8"))["paths"]


def commands(found: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = getattr(found, "commands", None)
    if below is None:
        yield words
    else:
        for name, each in below.items():
            yield from commands(each, (*words, name))


@pytest.mark.parametrize("words", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_has_a_page_with_its_options(hooks: ModuleType, words: tuple[str, ...]) -> None:
    text = hooks.on_page_markdown(page("commands", f"{words[0]}.md"))
    shown = command.run(*words, "--help").stdout
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown))
    assert "--help" in options
    assert sorted(option for option in options if option not in text) == []


def test_a_marker_that_is_none_stays(hooks: ModuleType) -> None:
    assert hooks.on_page_markdown("<!-- a comment -->\n") == "<!-- a comment -->\n"
    pages = {path: hooks.on_page_markdown(path.read_text(encoding="utf-8")) for path in DOCS.rglob("*.md")}
    left = [path for path, text in pages.items() if re.search("<!-- (?!/?bench)", text)]  # scripts/bench keeps its own
    assert left == []


def test_every_code_is_explained(hooks: ModuleType) -> None:
    text = hooks.on_page_markdown(page("codes.md"))
    rows = [f"| `{code}` | {row.meaning} | {row.advice} |" for code, row in CODES.items()]
    assert [row for row in rows if row not in text.splitlines()] == []


def test_every_warning_is_explained() -> None:
    codes = set(re.findall(r'\bConversionWarning\(\s*"([a-z-]+)"', SOURCES))
    assert len(codes) >= 25
    text = page("warnings.md") + page("findings.md")
    assert sorted(code for code in codes if f"`{code}`" not in text) == []


def test_no_warning_is_explained_that_there_is_not() -> None:
    codes = {
        code for row in re.findall(r"^\|([^|]*)\|", page("warnings.md"), re.MULTILINE) for code in re.findall(r"`([a-z-]+)`", row)
    }
    assert len(codes) > 40
    assert sorted(code for code in codes if f'"{code}"' not in SOURCES) == []


def test_every_environment_variable_is_explained() -> None:
    text = page("environment.md")
    names = set(re.findall(r'"((?:CONDA2WHEEL|SOURCE_DATE|RATTLER|NETRC|XDG)[A-Z_]*)"', SOURCES))
    assert {"CONDA2WHEEL_CACHE", "SOURCE_DATE_EPOCH"} <= names
    assert sorted(name for name in names if name not in text) == []


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 120
    assert len(README.split()) <= 900
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 20
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_the_readme_says_what_runs_where() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if line.startswith("| emscripten-forge")
    ]
    assert len(rows) == 3
    known = {row.tag: row for row in platforms()}
    for channel, tag, runs, _ in rows:
        platform = known.get(tag.strip("`"))
        versions = [] if platform is None else [version.rpartition(".")[0] for version, _ in platform.pyodide]
        assert re.findall(r"0\.\d+", runs.partition(";")[0]) == versions, channel
        if platform is not None:
            assert f"CPython {platform.python}" in channel
            assert f"Emscripten {platform.emscripten}" in channel


def test_every_page_is_in_the_navigation() -> None:
    text = re.sub(r"!!python\S+", "", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))
    assert sorted(named) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_every_path_that_is_named_exists() -> None:
    """Paths in backticks are of the repository, or of the package where they begin with a room."""
    package = REPOSITORY / "converter" / "conda2wheel"
    roots = {path.name for root in (REPOSITORY, package) for path in root.iterdir() if path.is_dir()} - {
        "build",
        "dist",
        ".github",
    }
    found = {}
    for path in [*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md")]:
        for named in re.findall(r"`(?:\./)?([\w.-]+/[\w./-]+)`", path.read_text(encoding="utf-8")):
            if named.partition("/")[0] in roots and not re.search(r"\b[A-Z]+\b", named):  # PLACEHOLDERS
                found[named] = path.name
    assert len(found) > 50
    exists = {named for named in found if (REPOSITORY / named).exists() or (package / named).exists()}
    assert {named: page for named, page in found.items() if named not in exists} == {}
