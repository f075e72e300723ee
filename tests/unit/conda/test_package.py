"""What a package says of itself is read from every place that says it, and never believed against its own bytes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert
from conda2wheel.conda.package import MAX_IDENTITY, MAX_PREFIXES, CondaPackage, read_info
from conda2wheel.errors import Refused
from conda2wheel.files.links import PackageFiles
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from tests.helpers import conda, installed
from tests.helpers.opened import FILES, SITE, aliases, contents, demo

ARCHIVES: tuple[conda.ArchiveType, ...] = ("tar.bz2", "conda")


def rich(archive: conda.ArchiveType = "tar.bz2") -> Path:
    """A package with everything that rattler-build writes."""
    return conda.build(
        "rich",
        "2.5",
        {"lib/python3.13/site-packages/rich_demo/__init__.py": "", "lib/x": "x"},
        depends=["python >=3.10", "numpy >=2,<3"],
        constrains=["other <1"],
        noarch="python",
        entry_points=["rich-demo = rich_demo:main"],
        licenses={"LICENSE": "do what you like", "third-party/COPYING": "do not"},
        about={
            "homepage": "https://example.org",
            "license": "BSD-3-Clause",
            "summary": "A rich package",
            "description": "It has **everything**.",
            "documentation": "https://docs.example.org",
            "repository": "https://git.example.org/rich",
        },
        run_exports=["rich >=2.5,<3"],
        compiler="4.0.9",
        extra={"recipe-maintainers": ["somebody"]},
        archive=archive,
    )


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_document_of_rattler_build_is_read(archive: conda.ArchiveType) -> None:
    package = open_package(rich(archive))
    assert (package.name, package.version, package.subdir, package.noarch) == ("rich", "2.5", "noarch", "python")
    assert package.stem == conda.stem(rich(archive))
    assert package.depends == ("python >=3.10", "numpy >=2,<3")
    assert package.about["home"] == "https://example.org/"
    assert package.about["description"] == "It has **everything**."
    assert package.about["extra"]["recipe-maintainers"] == ["somebody"]
    assert package.link["noarch"] == {"type": "python", "entry_points": ["rich-demo = rich_demo:main"]}
    assert package.hash_input["c_compiler_version"] == "4.0.9"
    assert package.run_exports == {"weak": ["rich >=2.5,<3"]}
    assert package.recipe["package"] == {"name": "rich", "version": "${{ version }}"}
    assert package.rendered_recipe["recipe"]["package"]["version"] == "2.5"
    assert {"build"} <= set(package.rendered_recipe["finalized_dependencies"])
    assert package.variant_config["c_compiler_version"] == "4.0.9"
    assert {name: blob.read() for name, blob in package.licenses} == {
        "LICENSE": b"do what you like",
        "third-party/COPYING": b"do not",
    }
    assert set(contents(package)) == {"site-packages/rich_demo/__init__.py", "lib/x"}
    assert package.timestamp is not None
    assert abs(package.timestamp - time.time()) < 10 * 365 * 86400
    assert package.warnings == ()


CONDA_BUILD: dict[str, conda.Content | None] = {
    "info/paths.json": None,
    "info/files": "lib/data.txt\nlib/with space.bin\nlib/old.pc\nlib/linked\nlib/folder\nlib/real/x\n",
    "info/has_prefix": '"/opt/place hold" binary "lib/with space.bin"\n/opt/placehold text lib/data.txt\nlib/old.pc\n',
    "info/recipe/meta.yaml": "# rendered\npackage:\n  name: old\n  version: '1.2'\nabout:\n  license: MIT\n",
    "info/recipe/meta.yaml.template": "{% set version = '1.2' %}",
    "info/recipe/conda_build_config.yaml": "c_compiler: emscripten\nc_compiler_version: 3.1.45\n",
    "info/test/run_test.py": "import old",
    "info/git": "",
    "lib/unlisted": "u",
}


def conda_build(changes: Mapping[str, conda.Content | None] | None = None) -> CondaPackage:
    files: dict[str, conda.Content] = {
        f"lib/{name}": "/opt/placehold" for name in ("data.txt", "with space.bin", "old.pc", "real/x")
    }
    links: dict[str, conda.Content] = {"lib/linked": conda.Link("data.txt"), "lib/folder": conda.Link("real")}
    package = conda.assemble("old", "1.2", {**files, **links})
    return open_package(conda.repack(package, {**CONDA_BUILD, **(changes or {})}))


def test_a_package_of_conda_build_is_read_from_its_older_files() -> None:
    package = conda_build()
    assert {path: (p.mode, p.prefix) for path, p in package.placeholders.items()} == {
        "lib/with space.bin": ("binary", "/opt/place hold"),
        "lib/data.txt": ("text", "/opt/placehold"),
        "lib/old.pc": ("text", "/opt/anaconda1anaconda2anaconda3"),
    }
    assert package.recipe["package"]["name"] == "old"
    assert package.variant_config["c_compiler_version"] == "3.1.45"
    assert package.rendered_recipe == {}
    assert [(w.code, w.file) for w in package.warnings] == [("unlisted-file", "lib/unlisted")]
    assert set(contents(package)) == {
        f"lib/{n}" for n in ("data.txt", "linked", "with space.bin", "old.pc", "real/x", "folder/x")
    }


def test_a_file_that_conda_build_lists_must_be_there() -> None:
    with pytest.raises(Refused, match="lib/gone is listed in info/files") as caught:
        conda_build({"info/files": "lib/gone\n"})
    assert caught.value.code == "corrupt-archive"
    with pytest.raises(Refused, match="info/has_prefix") as caught:
        conda_build({"info/has_prefix": '"unclosed text lib/data.txt\n'})
    assert caught.value.code == "corrupt-archive"


def test_without_any_list_everything_is_content() -> None:
    package = conda_build({"info/files": None, "info/has_prefix": None})
    assert "lib/unlisted" in contents(package)
    assert (package.placeholders, package.warnings) == ({}, ())


def changed(changes: Mapping[str, conda.Content | None]) -> Path:
    return conda.repack(demo(), changes)


@pytest.mark.parametrize("name", ["index", "paths", "about", "link", "hash_input", "run_exports"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"text"', b"1", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": ' * 5000, b"1" * 5000],
    ids=["empty", "cut", "list", "text", "number", "null", "binary", "deep list", "deep object", "long number"],
)
def test_a_broken_document_is_damage(name: str, content: bytes) -> None:
    refused(changed({f"info/{name}.json": content}), f"info/{name}.json is not")


@pytest.mark.parametrize(
    "record", [b"{", b"[]", b"{}", b'{"name": "a"}', b'{"name": "a", "version": 1}', b'{"name": "", "version": "1"}']
)
def test_a_broken_record_is_damage(record: bytes, tmp_path: Path) -> None:
    members = [installed.entry("conda-meta/a-1-0.json", record), installed.entry("lib/a", b"x")]
    refused(installed.raw_tar(tmp_path / "a.tar.gz", members), "not JSON|not a JSON object|has no")


@pytest.mark.parametrize("missing", ["name", "version"])
@pytest.mark.parametrize("value", [None, "", 3, ["demo"]])
def test_an_index_without_name_or_version_is_damage(missing: str, value: object) -> None:
    refused(conda.edit(demo(), "info/index.json", lambda index: {**index, missing: value}), f"has no {missing}")


Change = Callable[[dict[str, Any]], None]


def paths(change: Change) -> Path:
    """The demo package with a changed paths.json; `change` gets its rows by path."""

    def apply(document: dict[str, Any]) -> dict[str, Any]:
        rows = {row["_path"]: row for row in document["paths"]}
        change(rows)
        return {**document, "paths": list(rows.values())}

    return conda.edit(demo(), "info/paths.json", apply)


INIT = f"{SITE}/demo/__init__.py"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[INIT].update(sha256="0" * 64), r"__init__\.py does not have the sha256"),
        (lambda rows: rows[INIT].update(size_in_bytes=7), r"__init__\.py has 6 bytes, 7 by"),
        (lambda rows: rows["lib/libz.so"].update(sha256="0" * 64), r"libz\.so does not have the sha256"),
        (lambda rows: rows.update(gone={"_path": "lib/gone", "path_type": "hardlink"}), "lib/gone is listed in info/paths.json"),
        (lambda rows: rows.update(gone={"_path": "lib/gone", "path_type": "softlink"}), "lib/gone is listed in info/paths.json"),
        (lambda rows: rows["share/demo"].update(path_type="hardlink"), "share/demo is listed"),
        (lambda rows: rows[INIT].pop("_path"), "no list of paths"),
        (lambda rows: rows[INIT].update(_path=3), "no list of paths"),
        (lambda rows: rows.update(x="lib/x"), "no list of paths"),
    ],
)
def test_contents_that_are_not_as_listed_are_damage(change: Change, words: str) -> None:
    refused(paths(change), words)


@pytest.mark.parametrize("value", [None, 3, "x", {"a": 1}])
def test_a_list_of_paths_that_is_none_is_damage(value: object) -> None:
    refused(conda.edit(demo(), "info/paths.json", lambda document: {**document, "paths": value}), "no list of paths")


def test_a_changed_file_is_damage_even_if_its_size_is_right() -> None:
    refused(changed({INIT: "x = 2\n"}), "does not have the sha256")


def test_a_file_that_is_not_listed_stays_out_with_a_warning() -> None:
    package = open_package(paths(lambda rows: rows.pop(INIT)))
    assert set(contents(open_package(demo()))) - set(contents(package)) == {INIT}
    assert [(warning.code, warning.file) for warning in package.warnings] == [("unlisted-file", INIT)]


def test_a_name_that_is_not_listed_stays_out() -> None:
    package = open_package(paths(lambda rows: rows.pop("lib/libz.so")))
    assert aliases(package)["lib/libz.so.1.3"] == ("lib/libz.so.1",)


def test_a_link_to_a_folder_is_found_where_paths_json_lists_it() -> None:
    rows = json.loads(conda.members(demo())["info/paths.json"])["paths"]  # type: ignore[arg-type]
    assert next(row for row in rows if row["_path"] == "share/demo")["path_type"] == "softlink"
    assert aliases(open_package(demo()))["share/demo-1/readme.txt"] == ("share/demo/readme.txt",)
    assert isinstance(FILES["share/demo"], conda.Link)


BROKEN_YAML: dict[str, str | bytes] = {
    "a template": "{% set version = '1' %}\npackage:\n  name: {{ name }}\n",
    "not UTF-8": b"a: \xff\xfe\x80",
    "a wrong date": "a: 2025-13-45",
    "an unknown tag": "a: !!python/object/apply:os.system ['touch /tmp/conda2wheel-was-here']",
    "nested without end": "[" * 200_000,
    "nested lists without end": "- " * 200_000,
    "nested and closed": "{a: " * 30_000 + "1" + "}" * 30_000,
    "contains itself": "a: &a [*a]",
    "aliases without end": "a: &a0 [x, x]\n" + "".join(f"b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30)),
    "merges without end": "a0: &a0 {k: v}\n"
    + "".join(f"a{n + 1}: &a{n + 1}\n  <<: [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30)),
    "too long": "# " + "x" * (5 << 20),
}


PATIENCE = 600.0  # seconds


@pytest.mark.parametrize("file", ["recipe.yaml", "rendered_recipe.yaml", "variant_config.yaml", "meta.yaml"])
@pytest.mark.parametrize("case", BROKEN_YAML)
def test_a_broken_recipe_is_a_warning_and_no_more(case: str, file: str, tmp_path: Path) -> None:
    source = conda.assemble("pure", "1.0", {"lib/python3.13/site-packages/pure.py": ""})
    started = time.monotonic()
    result = convert(conda.repack(source, {f"info/recipe/{file}": BROKEN_YAML[case]}), dry_run=True)
    assert time.monotonic() - started < PATIENCE  # or it would be without end
    assert [(w.code, w.file) for w in result.warnings if w.code == "unreadable-recipe"] == [
        ("unreadable-recipe", f"info/recipe/{file}")
    ]
    assert not os.path.exists("/tmp/conda2wheel-was-here")


def test_numbers_without_end_do_not_hang() -> None:
    sexagesimal = "1" + ":59" * 100_000
    package = with_recipe(f"package: {{name: {sexagesimal}, version: {sexagesimal}.5}}\nbuild: {{number: 12}}")
    assert package.recipe["package"]["name"] == sexagesimal
    assert package.recipe["build"]["number"] == 12


def test_ordinary_anchors_and_merges_of_a_recipe_are_read() -> None:
    package = with_recipe("base: &b {a: 1, b: [x]}\nmore: {<<: *b, c: 2}\nsame: [*b, *b]\n")
    assert package.recipe["more"] == {"a": 1, "b": ["x"], "c": 2}
    assert package.recipe["same"] == [{"a": 1, "b": ["x"]}] * 2
    assert package.warnings == ()


def test_a_recipe_yaml_that_is_broken_leaves_the_meta_yaml() -> None:
    source = conda.repack(demo(), {"info/recipe/recipe.yaml": "{% x %}", "info/recipe/meta.yaml": "package: {name: old}"})
    assert open_package(source).recipe == {"package": {"name": "old"}}


def with_recipe(text: str) -> CondaPackage:
    assert len(text) < 1 << 20
    return open_package(changed({"info/recipe/recipe.yaml": text}))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1748736000000, 1748736000.0),
        (1748736000, 1748736000.0),
        (1748736000000.5, 1748736000.0005),
        (0, None),
        (-5, None),
        (None, None),
        ("1748736000", None),
        (True, None),
        (math.inf, None),
        (math.nan, None),
        (1e300, None),
        pytest.param(10**400, None, id="10**400"),
    ],
)
def test_a_timestamp_may_be_in_seconds_or_milliseconds_or_nonsense(value: object, seconds: float | None) -> None:
    source = conda.assemble("pure", "1.0", {"lib/python3.13/site-packages/pure.py": ""})
    changed = conda.edit(source, "info/index.json", lambda index: {**index, "timestamp": value})
    assert open_package(changed).timestamp == seconds
    assert convert(changed, dry_run=True).name == "pure"


def test_an_old_package_with_platform_linux_is_known_by_its_subdir() -> None:
    old = conda.edit(demo(), "info/index.json", lambda index: {**index, "platform": "linux", "arch": "wasm32"})
    assert open_package(old).subdir == "emscripten-wasm32"
    del_subdir = conda.edit(demo(), "info/index.json", lambda index: {k: v for k, v in index.items() if k != "subdir"})
    assert open_package(del_subdir).subdir is None


@pytest.mark.parametrize("value", [None, 5, "numpy", {"numpy": 1}])
def test_depends_of_a_wrong_type_are_none(value: object) -> None:
    assert open_package(conda.edit(demo(), "info/index.json", lambda index: {**index, "depends": value})).depends == ()


@pytest.mark.parametrize("value", [[], 5, "x", {"paths": 3}, {"paths": [3]}])
def test_a_records_strange_paths_are_nothing_or_damage_but_no_bug(value: object) -> None:
    path = installed.empack_targz("a", "1", "0", {"lib/a": "x"}, record={"paths_data": value})
    if isinstance(value, dict):
        refused(path, "paths_data has no list of paths")
    else:
        assert open_package(path).placeholders == {}


def test_a_record_is_the_index_where_there_is_no_info(tmp_path: Path) -> None:
    fields = {"depends": ["numpy"], "channel": "https://repo.mamba.pm/emscripten-forge", "license": "MIT", "subdir": "noarch"}
    package = open_package(installed.empack_targz("a", "1.5", "py_3", {"lib/a": "x"}, record=fields))
    assert (package.stem, package.depends, package.channel) == ("a-1.5-py_3", ("numpy",), fields["channel"])
    assert (package.about, package.subdir) == ({"license": "MIT"}, "noarch")


def test_two_records_in_one_archive_are_two_packages(tmp_path: Path) -> None:
    records = [installed.entry(f"conda-meta/{n}-1-0.json", b'{"name": "a", "version": "1"}') for n in "ab"]
    with pytest.raises(Refused, match="2 packages") as caught:
        open_package(installed.raw_tar(tmp_path / "a.tar.gz", records))
    assert caught.value.code == "several-distributions"


def test_hostile_values_in_a_recipe_reach_no_one(tmp_path: Path) -> None:
    strange = {"finalized_dependencies": {"build": {"resolved": 5}, "host": [1]}, "recipe": [1]}
    for text in (
        yaml.safe_dump(strange),
        yaml.safe_dump({"finalized_dependencies": {"build": {"resolved": [1, {"name": [1]}]}}}),
    ):
        source = conda.assemble(
            "pure", "1.0", {"lib/python3.13/site-packages/pure.py": ""}, recipe={"rendered_recipe.yaml": text}
        )
        assert convert(source, dry_run=True).name == "pure"


def refused(path: Path, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        open_package(path)
    assert caught.value.code == "corrupt-archive"


def test_texts_of_a_package_that_no_tool_writes_are_refused() -> None:
    """Read from the files in memory, as they come out of an archive."""

    def read(**files: bytes) -> CondaPackage:
        index = {"name": "x", "version": "1", **json.loads(files.pop("index", b"{}"))}
        members = {"info/index.json": json.dumps(index).encode(), **{f"info/{name}": data for name, data in files.items()}}
        return read_info("x", PackageFiles(tuple(PackageFile(path, BytesBlob(data)) for path, data in members.items())))

    assert read(has_prefix=b"/opt/p text lib/x\n").placeholders
    with pytest.raises(Refused) as caught:
        read(has_prefix=b"#" * (MAX_PREFIXES + 1))
    assert caught.value.code == "too-large"
    for key in ("name", "version"):
        assert read(index=json.dumps({key: "1" * MAX_IDENTITY}).encode())
        with pytest.raises(Refused, match=key) as caught:
            read(index=json.dumps({key: "1" * (MAX_IDENTITY + 1)}).encode())
        assert caught.value.code == "corrupt-archive"
