"""`conda2wheel search`: the search of the pages on the command line, from a store, an address or a mirror's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from conda2wheel.cli import app
from conda2wheel.index.pages.site import Pages
from tests.helpers import catalogues
from tests.helpers.mirror_runs import small_mirror
from tests.helpers.serve import served


def search(*words: object) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, words)])


def names(*words: object) -> list[str]:
    found: dict[str, Any] = json.loads(search(*words, "--json").stdout)
    return [each["name"] for each in found["packages"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "catalogue.json").write_bytes(Pages(catalogues.small()).files()["catalogue.json"])
    return folder


def test_a_line_says_what_runs_where_or_why_not(store: Path) -> None:
    done = search("--index", store)
    assert done.exit_code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert lines["numpy"] == "2.10.0 0.28, 0.29 What numpy is for, in one line"
    assert lines["scipy"] == "1.0 0.28, 0.29 in part Fundamental algorithms for scientific computing in Python"
    assert lines["lost"] == "1.0 refused fake-dylib: lost/a.so is no side module"
    assert lines["later"] == "1.0 not converted yet"


def test_words_filters_and_order_are_those_of_the_page(store: Path) -> None:
    assert names("scientific", "--index", store) == ["scipy"]
    assert names("--index", store, "--state", "refused", "--sort", "-name") == ["lost", "libpure", "clib"]
    assert names("--index", store, "--pyodide", "0.28.3", "--sort", "-size") == ["scipy", "numpy", "kept"]
    assert names("--index", store, "--pyodide", "0.28", "--sort", "-size") == ["scipy", "numpy", "kept"]
    assert names("--index", store, "--pyodide", "0.29.5", "--lacks", "pyodide") == ["kept", "scipy"]
    assert names("--index", store, "--limit", 2) == ["kept", "numpy"]
    done = search("--index", store, "--limit", 2)
    assert "9 more" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_nothing_found_and_nothing_to_search(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = search("no such thing", "--index", store)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "conda2wheel: nothing matches 'no such thing' among 11 packages\n"
    assert "nothing matches 'numpy' with these options" in search("numpy", "--index", store, "--state", "failed").stderr
    monkeypatch.chdir(tmp_path)
    for words, status, text in [
        ((), 2, "--index"),
        (("--index", tmp_path), 1, "has no catalogue.json"),
        (("--index", tmp_path / "gone"), 1, "no such folder"),
        (("--index", tmp_path / "gone.toml"), 1, "no such file"),
        (("--index", store, "--sort", "colour"), 2, "colour"),
        (("--index", store, "--state", "tired"), 2, "tired"),
    ]:
        done = search(*words)
        assert (done.exit_code, done.stdout) == (status, "")
        assert text in done.stderr
    (tmp_path / "catalogue.json").write_text("[1]")
    assert "not a catalogue" in search("--index", tmp_path).stderr


def test_an_index_is_searched_by_its_address(store: Path, tmp_path: Path) -> None:
    with served(store) as site:
        assert names("numpy", "--index", site.url) == names("numpy", "--index", f"{site.url}simple/") == ["numpy"]
        assert set(site.asked) == {"/catalogue.json"}
    with served(tmp_path) as site:
        done = search("numpy", "--index", site.url)
    assert (done.exit_code, done.stdout) == (1, "")


@pytest.mark.long
def test_a_mirror_without_pages_is_searched_by_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_mirror(tmp_path) as mirror:
        monkeypatch.chdir(tmp_path)
        assert "no run has finished yet" in search("one").stderr
        mirror.run()
        assert names("one") == ["one"]
        assert names("--state", "refused", "--sort", "name") == ["bzip2", "r-arrow"]
