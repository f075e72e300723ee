"""Conversion recipes: what they change, what they take along, and where a wrong one is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from conda2wheel import Failed, Refused, audit, convert, verify
from conda2wheel.channels.open import open_package
from conda2wheel.recipes import model
from conda2wheel.recipes.model import RecipeBook, builtin, from_document, read_recipe
from tests.helpers import conda, schemas, zig
from tests.helpers.command import run
from tests.helpers.shapes import ABI, MODULE, dist_info, made, package, refused
from tests.unit.link.test_linker import library
from tests.unit.wheel.test_provenance import bill, components, told

OURS = sorted(builtin().glob("*.toml"))
PROJ: conda.Files = {"share/proj/proj.db": "db", "share/proj/deformation/x.json": "{}", "share/doc/proj/README": "read"}


def folder(tmp_path: Path, name: str = "demo", **tables: Any) -> Path:
    """A folder with one recipe, written as TOML of JSON values (which TOML takes)."""
    lines = [f'package = "{name}"', 'why = "a test"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, (dict, list))]
    for key, value in tables.items():
        for table in value if isinstance(value, list) else [value] if isinstance(value, dict) else []:
            lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
            lines += [f"{inner} = {json.dumps(each)}" for inner, each in table.items()]
    place = tmp_path / "recipes"
    place.mkdir(exist_ok=True)
    (place / f"{name}.toml").write_text("\n".join(lines) + "\n")
    return place


def demo(*requires: str, **options: Any) -> Path:
    lines = [f"Requires-Dist: {line}" for line in requires]
    return package({**MODULE, **dist_info("demo-1.0", *lines), "demo/tests/test_x.py": "x"}, **options)


def test_name_version_and_requirements_are_those_of_the_recipe(tmp_path: Path) -> None:
    recipes = folder(
        tmp_path,
        wheel={"name": "Demo-Thing", "version": "1.0.post2"},
        requires={"add": ["certifi>=2024"], "drop": ["six", "Typing_Extensions"]},
    )
    wheel = made(demo("numpy>=2", "six", "typing-extensions; python_version < '4'"), tmp_path / "out", recipes=[recipes])
    assert wheel.result.filename.startswith("demo_thing-1.0.post2-")
    assert wheel.fields("Requires-Dist") == ["numpy>=2", "certifi>=2024"]


def test_files_go_out_and_come_in(tmp_path: Path) -> None:
    recipes = folder(
        tmp_path,
        files={"exclude": ["lib/python*/site-packages/demo/tests/**"]},
        data=[{"files": "include/demo/*.h", "to": "demo/include"}],
    )
    source = demo(outside={"include/demo/api.h": "int x;\n", "include/demo/deep/no.h": ""})
    wheel = made(source, tmp_path / "out", recipes=[recipes])
    assert "demo/tests/test_x.py" not in wheel.contents
    assert wheel.members["demo/include/api.h"] == b"int x;\n"
    assert not any("no.h" in name for name in wheel.contents)
    entry = json.loads(wheel.read("conda2wheel.json"))["members"]["demo/include/api.h"]
    assert entry == {"source": 0, "file": "include/demo/api.h"}


def test_data_of_another_package_travels_with_its_license_and_is_accounted_for(tmp_path: Path) -> None:
    proj = conda.assemble("proj", "9.4", PROJ, licenses={"COPYING": "free\n"}, about={"license": "MIT"})
    source = package(
        {"pyproj/__init__.py": "", **dist_info("pyproj-3.7")}, name="pyproj", version="3.7", noarch="python", depends=["python"]
    )
    wheel = made(source, tmp_path, libdirs=[proj])
    assert wheel.members["pyproj/proj_dir/share/proj/proj.db"] == b"db"
    assert "pyproj/proj_dir/share/proj/deformation/x.json" in wheel.contents
    assert not any("README" in name for name in wheel.contents)
    assert wheel.read("licenses/proj-9.4/COPYING") == b"free\n"
    account = told(wheel.result.wheel)
    assert [each["name"] for each in account["sources"]] == ["pyproj", "proj"]
    assert account["members"]["pyproj/proj_dir/share/proj/proj.db"] == {"source": 1, "file": "share/proj/proj.db"}
    assert account["options"]["recipe"]["package"] == "pyproj"
    proj_in_bill = components(bill(wheel.result.wheel))["proj"]
    assert {each["name"] for each in proj_in_bill["components"]} == {name for name in wheel.contents if "/proj_dir/" in name}
    assert wheel.result.wheel is not None
    assert verify(wheel.result.wheel, [source, proj]).identical
    with pytest.raises(Failed, match=r"its sources proj-9\.4"):
        verify(wheel.result.wheel, [source])
    refused(source, tmp_path / "no", "missing-library", r"its recipe takes share/proj/\*\* of proj, which is not in any libdir")


def test_the_best_package_that_depends_admits_is_taken(tmp_path: Path) -> None:
    recipes = folder(tmp_path, data=[{"from": "proj", "files": "share/proj/**", "to": "demo"}])
    versions = [conda.assemble("proj", version, {"share/proj/proj.db": version}) for version in ("9.2", "9.4", "9.10")]
    source = demo(depends=["python", *ABI, "proj >=9.3,<9.9"])
    wheel = made(source, tmp_path / "out", recipes=[recipes], libdirs=versions)
    assert wheel.members["demo/proj.db"] == b"9.4"


def test_a_library_that_ctypes_loads_is_in_the_data_scheme_and_makes_the_wheel_a_platforms(tmp_path: Path) -> None:
    shared = zig.shared_library("libfreetype.so", "int FT_Init_FreeType(void) { return 0; }", exports=["FT_Init_FreeType"])
    freetype = library("freetype-shared", {"lib/libfreetype.so.6": shared, "lib/libfreetype.so": conda.Link("libfreetype.so.6")})
    source = package({"freetype/__init__.py": "", **dist_info("freetype_py-2.5")}, name="freetype-py", version="2.5")
    wheel = made(source, tmp_path, libdirs=[freetype])
    assert wheel.result.filename == "freetype_py-2.5-py3-none-pyemscripten_2025_0_wasm32.whl"
    assert [name for name in wheel.contents if ".so" in name] == ["freetype_py-2.5.data/data/lib/libfreetype.so"]
    assert wheel.told("patched") == {"METADATA"}
    broken = zig.shared_library(
        "libfreetype.so", "extern int nobody; int FT_Init_FreeType(void) { return nobody; }", exports=["FT_Init_FreeType"]
    )
    refused(
        source,
        tmp_path / "no",
        "unresolved-symbol",
        "nobody",
        libdirs=[library("freetype-shared", {"lib/libfreetype.so": broken})],
    )


def test_audit_judges_the_files_that_a_recipe_takes_from_other_packages() -> None:
    """`audit` of a package gives the verdict on what `convert` would write."""
    broken = zig.shared_library(
        "libfreetype.so", "extern int nobody; int FT_Init_FreeType(void) { return nobody; }", exports=["FT_Init_FreeType"]
    )
    source = package({"freetype/__init__.py": "", **dist_info("freetype_py-2.5")}, name="freetype-py", version="2.5")
    result = audit(source, libdirs=[library("freetype-shared", {"lib/libfreetype.so": broken})])
    assert (result.ok, result.modules) == (False, 1)
    assert {finding.symbol for finding in result.findings} == {"nobody"}
    with pytest.raises(Refused, match="nobody"):
        convert(source, libdirs=[library("freetype-shared", {"lib/libfreetype.so": broken})], dry_run=True)


def test_a_recipe_can_refuse(tmp_path: Path) -> None:
    recipes = folder(tmp_path, refuse={"code": "interpreter", "reason": "needs its own main module"})
    refused(demo(), tmp_path / "out", "interpreter", "needs its own main module", recipes=[recipes])


def test_versions_choose_and_a_callers_recipe_beats_ours(tmp_path: Path) -> None:
    recipes = folder(tmp_path, versions=">=2", refuse={"code": "interpreter", "reason": "x"})
    assert convert(demo(), dry_run=True, recipes=[recipes]).name == "demo"
    with pytest.raises(Refused):
        convert(demo(version="2.1"), dry_run=True, recipes=[recipes])
    folder(tmp_path, "pyproj", wheel={"patched": "mine"})
    found = RecipeBook([tmp_path / "recipes"]).find(open_package(package(dict(MODULE), name="pyproj")))
    assert found is not None
    assert (found.patched, found.data) == ("mine", ())


def test_of_our_recipes_the_one_of_the_package_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = mock.Mock(wraps=read_recipe)
    monkeypatch.setattr(model, "read_recipe", reader)
    book = RecipeBook()
    assert book.find(open_package(demo())) is None
    assert book.find(open_package(package(dict(MODULE), name="pyproj"))) == read_recipe(builtin() / "pyproj.toml")
    assert [call.args[0].name for call in reader.call_args_list] == ["pyproj.toml"]
    assert [each.package for each in book.recipes] == [path.stem for path in OURS]


def test_a_glob_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    recipes = folder(tmp_path, data=[{"files": "share/demo/**", "to": "demo"}])
    refused(demo(), tmp_path / "out", "corrupt-archive", r"takes share/demo/\*\* of demo, and demo-1.0", recipes=[recipes])


GOOD = 'package = "demo"\nwhy = "w"\n'
WRONG = [
    ('why = "w"\n', 1, "has no package"),
    ('package = "other"\nwhy = "w"\n', 1, "says other, and the file is called demo.toml"),
    ('package = "demo"\n', 1, "has no why"),
    (GOOD + "colour = 1\n", 3, "a recipe has no colour"),
    (GOOD + "versions = 3\n", 3, "versions is not a text"),
    (GOOD + 'versions = ">=1,,"\n', 3, "not a range of conda versions"),
    (GOOD + '\n[wheel]\nname = "not a name"\n', 5, "not a distribution name"),
    (GOOD + '[wheel]\n# said so\nversion = "2023c!"\n', 5, "not a PEP 440 version"),
    (GOOD + '[wheel]\ncolor = "x"\n', 4, "wheel has no color; it may have name, version, patched"),
    (GOOD + '[requires]\nadd = ["a b c"]\n', 4, "is not a requirement"),
    (GOOD + '[requires]\ndrop = ["numpy>=2"]\n', 4, "is not the name of a distribution"),
    (GOOD + '[requires]\nadd = "numpy"\n', 4, "add is not a list of texts"),
    (GOOD + '[refuse]\ncode = "nope"\nreason = "r"\n', 4, "code is not one of"),
    (GOOD + '[refuse]\ncode = "interpreter"\n', 3, "has no reason"),
    (GOOD + '[[data]]\nfiles = "a"\nto = "b"\n[[data]]\nfiles = "a"\nto = "../b"\n', 8, "not a path below its folder"),
    (GOOD + '[[data]]\nfiles = "a"\n', 3, "has no to"),
    (GOOD + '[[data]]\nfiles = "/etc/passwd"\nto = "b"\n', 4, "not a path below its folder"),
    (GOOD + '[[data]]\nfiles = "a"\nto = "b"\nscheme = "scripts"\n', 6, "scheme is neither site nor data"),
    (GOOD + "data = 3\n", 3, "data is not a list of tables"),
    (GOOD + "files = []\n", 3, "files is not a table"),
    (GOOD + '[license]\nexpression = "BSD"\n', 4, "not an SPDX license expression"),
    (GOOD + '[license]\nfiles = ["../x"]\n', 4, "not a path below its folder"),
    (GOOD + '[environment]\nvariables = ["A=b"]\n', 3, "module is not a Python module name"),
    (GOOD + '[environment]\nmodule = "demo"\n', 3, "variables is not a list such as"),
    (GOOD + '[environment]\nmodule = "demo"\nvariables = ["A=/etc"]\n', 5, "is not NAME=PATH"),
    (GOOD + '[environment]\nmodule = "demo"\nvariables = ["A B=x"]\n', 5, "is not NAME=PATH"),
    (GOOD + "[test]\n", 3, "has no script"),
]


@pytest.mark.parametrize(("text", "line", "why"), WRONG)
def test_a_wrong_recipe_is_told_with_its_line(text: str, line: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(text)
    with pytest.raises(Failed) as caught:
        read_recipe(path)
    assert caught.value.code == "usage"
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert why in caught.value.message


def test_no_toml_and_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text("package = \n")
    with pytest.raises(Failed, match="line 1"):
        read_recipe(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Failed, match=r"demo\.toml"):
        read_recipe(path)
    with pytest.raises(ValueError, match="has no package"):
        from_document({})


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_own_recipes_are_right(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.why
    assert recipe.data or recipe.patched or recipe.lacks or recipe.refuse or recipe.adds or recipe.drops or recipe.name
    if recipe.test:
        compile(recipe.test, path.name, "exec")
    schema = json.loads((builtin() / "schema.json").read_text(encoding="utf-8"))
    assert schemas.problems(schema, dict(recipe.document)) == []


@pytest.mark.parametrize(
    ("text", "line", "why"), [each for each in WRONG if "other.toml" not in each[2] and "says other" not in each[2]]
)
def test_the_published_schema_refuses_what_we_refuse(text: str, line: int, why: str) -> None:
    """What JSON Schema can say: not versions, licenses, requirements and names, whose grammars are their own."""
    schema = json.loads((builtin() / "schema.json").read_text(encoding="utf-8"))
    valid = schemas.problems(schema, tomllib.loads(text)) == []
    ours_alone = ("conda versions", "distribution name", "PEP 440", "not a requirement", "name of a distribution", "SPDX")
    assert valid == any(words in why for words in ours_alone), why


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ipython", "patched"),
        ("llvmlite", "patched"),
        ("numba", "patched"),
        *((f"passagemath-{each}", "lacks") for each in ("gap", "nauty", "qepcad", "sympow", "topcom")),
        ("pythran", "lacks"),
        ("whiteboxgui", "lacks"),
    ],
)
def test_what_is_not_as_upstream_means_it_is_told(name: str, word: str, tmp_path: Path) -> None:
    wheel = made(package({"demo.py": "", **dist_info(f"{name.replace('-', '_')}-1.0")}, name=name), tmp_path)
    assert wheel.told(word) == {"METADATA"}


@pytest.mark.parametrize(
    ("name", "depends", "requires"),
    [
        ("py-opencv", ["libopencv 5.0.0.*"], ["numpy>=2"]),
        ("pyarrow", ["numpy >=2.2,<3", "libffi", "pycparser", "cloudpickle", "fsspec", "arrow-cpp 23.0.0.*"], ["numpy<3,>=2.2"]),
        ("kwant", ["matplotlib-base", "scipy", "pytest"], ["matplotlib", "scipy"]),
    ],
)
def test_requirements_that_conda_has_otherwise_are_right(
    name: str, depends: list[str], requires: list[str], tmp_path: Path
) -> None:
    wheel = made(package(dict(MODULE), name=name, depends=["python", *ABI, *depends]), tmp_path)
    assert wheel.fields("Requires-Dist") == requires


@pytest.mark.parametrize(("name", "tests"), [("cytoolz", "nose"), ("pycalphad", "pytest")])
def test_what_only_tests_need_is_not_pinned(name: str, tests: str, tmp_path: Path) -> None:
    source = package({**MODULE, **dist_info(f"{name}-1.0")}, name=name, depends=["python", *ABI, tests, "toolz >=0.10"])
    assert made(source, tmp_path, pins="conda").fields("Requires-Dist") == ["toolz>=0.10"]


def test_a_license_is_that_of_the_recipe_with_its_texts(tmp_path: Path) -> None:
    recipes = folder(tmp_path, license={"expression": "Zlib OR LicenseRef-own", "files": ["share/licenses/**"]})
    source = demo(outside={"share/licenses/demo/COPYING": "do as you like\n"}, about={"license": "BSD"})
    wheel = made(source, tmp_path / "out", recipes=[recipes], ignore=["W002"])  # it lies in share/ as well
    assert wheel.fields("License-Expression") == ["Zlib OR LicenseRef-own"]
    assert wheel.read("licenses/COPYING") == b"do as you like\n"
    missing = folder(tmp_path, license={"files": ["share/nowhere/**"]})
    refused(source, tmp_path / "no", "corrupt-archive", "names license texts share/nowhere", recipes=[missing])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import os\nwhere = os.environ['DEMO_DATA']\n",
        '"""Words.\n\nMore.\n"""\nfrom __future__ import annotations\nwhere = 1\n',
        "# -*- coding: utf-8 -*-\n# more\nwhere = 1",
        "from __future__ import annotations",
    ],
)
def test_the_environment_is_set_before_anything_of_the_package_runs(source: str, tmp_path: Path) -> None:
    recipes = folder(tmp_path, environment={"module": "demo", "variables": ["DEMO_DATA=demo/data", "OTHER=demo"]})
    files: dict[str, conda.Content] = {"demo/__init__.py": source, "demo/data/x": "1", **dist_info("demo-1.0")}
    wheel = made(package(files), tmp_path / "out", recipes=[recipes])
    entry = json.loads(wheel.read("conda2wheel.json"))["members"]["demo/__init__.py"]
    assert entry["changes"] == {"environment": True}
    place = tmp_path / "site"
    for name, content in wheel.members.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    told = "import os, demo; print(os.environ['DEMO_DATA'], os.environ['OTHER'], demo.__doc__)"
    environ = {**os.environ, "PYTHONPATH": str(place), "OTHER": "mine"}
    done = subprocess.run([sys.executable, "-c", told], env=environ, capture_output=True, text=True, check=True)
    doc = "Words.\n\nMore.\n" if source.startswith('"""') else "None"
    assert done.stdout == f"{place}/demo/data mine {doc}\n"
    assert verify(wheel.result.wheel or "", [package(files)]).identical


def test_the_commands_check_and_use_recipes(tmp_path: Path) -> None:
    good = folder(tmp_path)
    done = run("recipe", "check", good)
    assert (done.returncode, done.stdout) == (0, f"ok {good / 'demo.toml'}\n")
    (good / "bad.toml").write_text("package = 3\n")
    done = run("recipe", "check", good, "--json")
    assert done.returncode == 1
    assert [each["status"] for each in json.loads(done.stdout)["results"]] == ["failed", "ok"]
    done = run("convert", demo(), "-o", tmp_path / "out", "--recipes", good)
    assert (done.returncode, "bad.toml:1: " in done.stderr.replace("\n", "")) == (2, True)
    assert run("convert", demo(), "--recipes", tmp_path / "none").returncode == 2
    (tmp_path / "empty").mkdir()
    done = run("recipe", "check", tmp_path / "gone.toml", tmp_path / "empty")
    assert (done.returncode, done.stderr.count("error: not-found: ")) == (1, 2)
    (good / "bad.toml").unlink()
    assert run("convert", demo(), "-o", tmp_path / "out", "--recipes", good).returncode == 0


def test_the_page_tells_of_each_of_ours() -> None:
    page = (
        (Path(__file__).parents[3] / "docs" / "reference" / "recipes.md")
        .read_text(encoding="utf-8")
        .partition("## The recipes")[2]
    )
    assert [path.stem for path in OURS if f"`{path.stem}`" not in page] == []
