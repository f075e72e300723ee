"""What the commands print with `--json` is what docs/reference/schemas says, with no key more and none less."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from conda2wheel.cli import app
from conda2wheel.cli.habits import leaves, option_name, options_of
from conda2wheel.pyodide.report import Checked, Crash, Imported, Ran
from conda2wheel.results import ConversionWarning, document
from tests.helpers import catalogues, mirror_reports, schemas, sets, zig
from tests.helpers.family import pure
from tests.helpers.foreign import Foreign
from tests.helpers.mirror_runs import Mirror, small_mirror
from tests.helpers.schemas import FOLDER, closed, schema

SCHEMAS = sorted(path.stem for path in FOLDER.glob("*.json"))
MISSING = "gone-1.0-py3-none-any.whl"


def check(name: str, found: Any) -> None:
    assert schemas.problems(closed(schema(name)), found) == []


def run(name: str, *words: object) -> Any:
    """The document that a command prints, valid by its schema."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    found = json.loads(done.stdout)
    check(name, found)
    return found


def statuses(found: Any) -> list[str]:
    return [each["status"] for each in found["results"]]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sets.indexed(tmp_path_factory.mktemp("channel"), sets.packages())


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with small_mirror(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = zig.side_module("_x", zig.extension("_x", {"answer": zig.integer("nope()")}, declarations="extern int nope(void);"))
    name = f"pkg/{module.name}"
    return Foreign("cp313-cp313-pyodide_2025_0_wasm32", {name: module}).write(tmp_path_factory.mktemp("foreign"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_valid_and_named_in_the_manual(name: str) -> None:
    schemas.problems(schema(name), None)
    assert f"schemas/{name}.json" in (FOLDER.parent / "json.md").read_text(encoding="utf-8")


def test_index(tmp_path: Path) -> None:
    pure("ham", "1.0", tmp_path / "dist")
    (tmp_path / "dist" / "bad-1.0-py3-none-any.whl").write_bytes(b"")
    found = run("index", "index", tmp_path / "dist")
    assert (statuses(found), found["index"]["projects"]) == (["indexed", "refused"], ["ham"])
    assert run("index", "index", tmp_path / "gone")["index"] is None
    assert statuses(run("index", "index", tmp_path / "dist", "--url", "x")) == ["failed"]


def test_the_schemas_have_consistent_names() -> None:
    for name in SCHEMAS:
        found = schema(name)
        assert list(found)[:3] == ["$schema", "$id", "title"], name
        assert found["$id"] == f"urn:conda2wheel:json:1:{name}"


def test_each_command_with_json_has_a_schema() -> None:
    having = {
        " ".join(words) for words, found in leaves(typer.main.get_command(app)) if "json" in map(option_name, options_of(found))
    }
    assert having <= schemas.commands().keys()
    assert set(schemas.commands().values()) <= set(SCHEMAS)


def test_a_key_more_or_less_is_found() -> None:
    good = document([{"conda": "a", "pypi": None, "source": "nobody", "note": None}])
    check("names", good)
    more, less = copy.deepcopy(good), copy.deepcopy(good)
    more["results"][0]["more"] = 1
    del less["results"][0]["note"]
    for bad in (more, less):
        assert schemas.problems(closed(schema("names")), bad) != []
    assert schemas.problems(schema("names"), more) == []  # as published, it may grow


def test_convert_inspect_and_verify(tmp_path: Path) -> None:
    package = sets.native("numeric", "2.4.0")
    found = run("convert", "convert", package, tmp_path / "gone.conda", "-o", tmp_path)
    assert statuses(found) == ["converted", "failed"]
    wheel = found["results"][0]["wheel"]
    assert statuses(run("convert", "convert", package, "--dry-run")) == ["converted"]
    assert statuses(run("verify", "verify", wheel, "--from", package)) == ["verified"]
    assert statuses(run("verify", "verify", wheel, "--from", sets.pure("other"))) == ["failed"]
    kinds = [each["kind"] for each in run("inspect", "inspect", package, wheel)["results"]]
    assert kinds == ["package", "wheel"]


def test_repair_and_audit(foreign: Path, tmp_path: Path) -> None:
    pure = Foreign("py3-none-any", {"pure.py": "x = 1\n"}, name="pure", purelib=True).write(tmp_path)
    found = run("convert", "repair", foreign, pure, tmp_path / MISSING, "-o", tmp_path / "out")
    assert statuses(found) == ["repaired", "copied", "failed"]
    assert [part["symbols"] for part in found["results"][0]["unusable"]] == [["nope"]]
    assert statuses(run("convert", "repair", foreign, "-o", tmp_path / "out", "--strict")) == ["refused"]
    found = run("audit", "audit", foreign, pure, tmp_path / MISSING)
    assert statuses(found) == ["audited", "audited", "failed"]
    assert [finding["code"] for finding in found["results"][0]["findings"]] == ["unresolved-symbol"]
    assert [found["results"][0][key] for key in ("ok", "verdict")] == [False, "runs-except"]
    assert {row["verdict"] for row in found["results"][0]["matrix"]} == {"runs-except", "does-not-load"}


def test_inspect_of_a_module(tmp_path: Path) -> None:
    module = zig.side_module("_m", zig.extension("_m", {"f": zig.integer("1")}), needed=["libz.so"], rpath=["$ORIGIN"])
    (result,) = run("inspect", "inspect", module)["results"]
    assert result["kind"] == "module"


def test_bundle(channel: str, tmp_path: Path) -> None:
    assert statuses(run("bundle", "bundle", "numeric", "--channel", channel, "-o", tmp_path / "set")) == ["bundled"]
    assert statuses(run("bundle", "bundle", "nobody", "--channel", channel, "-o", tmp_path / "other")) == ["failed"]


def test_lock(tmp_path: Path) -> None:
    made = Foreign("py3-none-any", {"demo.py": "", "_demo.py": ""}, name="demo").write(tmp_path)
    assert statuses(run("lock", "lock", made, "-o", tmp_path)) == ["locked"]
    assert statuses(run("lock", "lock", tmp_path / MISSING)) == ["failed"]


def test_names_and_recipes(tmp_path: Path) -> None:
    run("names", "names", "matplotlib-base", "graphviz", "libpng")
    bad = tmp_path / "bad.toml"
    bad.write_text("package = 1\n")
    recipes = Path(__file__).parents[2] / "recipes"
    assert statuses(run("recipe-check", "recipe", "check", recipes / "pyproj.toml", bad)) == ["ok", "failed"]


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(tmp_path))
    assert run("cache", "cache", "info")["bytes"] == 0
    assert run("cache", "cache", "clear", "conda")["kind"] == "cache-clear"


def test_check(tmp_path: Path) -> None:
    """Values of the kinds that a real Pyodide gives; tests/runtime has those."""
    crash = Crash("fatal", "the end")
    modules = (Imported("a", True, seconds=1.0), Imported("b", False, "no", "Traceback", 1.0, crash))
    script = Ran(False, "out", "no", "Traceback", 1.0)
    report = Checked(
        wheel=tmp_path / MISSING,
        pyodide="0.29.5",
        platform=None,
        installer="micropip",
        installed=("a 1",),
        install_errors=("no",),
        modules=modules,
        script=script,
        warnings=(ConversionWarning("conflict", "text"),),
        crash=crash,
        seconds=2.0,
    )
    check("check", document([report.json()]))
    assert statuses(run("check", "check", tmp_path / MISSING, "--find-links", tmp_path)) == ["failed"]


def test_the_mirror(mirror: Mirror) -> None:
    run("mirror-plan", "mirror", "plan", mirror.path)
    assert run("mirror-report", "mirror", "run", mirror.path, "--workers", "1")["generation"]
    run("mirror-report", "mirror", "report", mirror.path)
    assert run("mirror-status", "mirror", "status", mirror.path)["last_run"]
    assert len(run("mirror-rollback", "mirror", "rollback", mirror.path)["generations"]) == 1
    run("mirror-gc", "mirror", "gc", mirror.path)


def test_a_report_with_everything_in_it() -> None:
    made = mirror_reports.report(
        generation="000002-0a1b2c3d",
        changes={"new": [mirror_reports.package("numpy")], "vanished": [mirror_reports.package("old")]},
        runtimes=[mirror_reports.runtime(cffi="1.17.1")],
    )
    found = made.json()
    assert found["missing"]
    assert found["failed"]
    check("mirror-report", found)


@pytest.mark.parametrize("which", ["small", "hostile"])
def test_the_catalogue_of_the_pages(which: str, tmp_path: Path) -> None:
    found = getattr(catalogues, which)()
    (tmp_path / "catalogue.json").write_text(json.dumps(found.json()))
    assert run("search", "search", "e", "--index", tmp_path)["found"] > 3
    check("catalogue", json.loads(json.dumps(found.json())))
    first = json.loads(json.dumps(found.packages[0].json()))
    check("catalogue-package", {"schema": 1, "kind": "catalogue-package", "package": first})


WITH_ASDICT = (
    "mirror.state.model",
    "mirror.publish.generation",
    "bundle.packages",
    "bundle.pypi",
    "bundle.unsatisfied",
)


@pytest.mark.parametrize("module", WITH_ASDICT)
def test_what_is_written_as_an_object_has_no_named_tuple_in_it(module: str) -> None:
    """`dataclasses.asdict` keeps a named tuple, of which JSON makes a list."""
    todo = [each for each in vars(importlib.import_module(f"conda2wheel.{module}")).values() if dataclasses.is_dataclass(each)]
    seen: set[Any] = set()
    while todo:
        kind = todo.pop()
        if isinstance(kind, type) and kind not in seen:
            seen.add(kind)
            assert not hasattr(kind, "_fields"), f"{module}: {kind.__name__}"
            todo += typing.get_type_hints(kind).values() if dataclasses.is_dataclass(kind) else []
        todo += typing.get_args(kind)
    assert seen
