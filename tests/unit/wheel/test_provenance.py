"""What a wheel says of itself: from which package and file each member came, what was changed, what else is inside."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Refused, convert, inspect, repair
from conda2wheel.channels.open import open_package
from conda2wheel.conda.host_environment import host_libraries
from conda2wheel.conda.origin import public_channel
from tests.helpers import command, conda, zig
from tests.helpers.foreign import unvendored
from tests.helpers.shapes import ABI, MODULE, PREFIX, SUFFIX, dist_info, made, package, placeheld
from tests.unit.link.test_linker import chain_packages, library, python

T313 = "pyemscripten_2025_0_wasm32"


def told(wheel: Path | None, name: str = "conda2wheel.json") -> dict[str, Any]:
    """A JSON document of a wheel's dist-info."""
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        document: dict[str, Any] = json.loads(archive.read(path))
    return document


def bill(wheel: Path | None) -> dict[str, Any]:
    return told(wheel, "sboms/conda2wheel.cdx.json")


def components(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By name, each with its properties as keys."""
    return {
        each["name"]: {**each, **{p["name"].removeprefix("conda2wheel:"): p["value"] for p in each.get("properties", [])}}
        for each in document.get("components", [])
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_member_is_traced_to_its_package_and_what_is_not_changed_is_the_same(tmp_path: Path) -> None:
    packages = chain_packages(zig.chain())
    result = convert(packages[0], out=tmp_path, libdirs=packages[1:])
    account = told(result.wheel)
    contents = {sha256(path.read_bytes()): conda.members(path) for path in packages}
    sources = [contents[source["sha256"]] for source in account["sources"]]
    assert [source["filename"] for source in account["sources"]] == [packages[0].name, packages[2].name, packages[1].name]
    changed = {}
    with zipfile.ZipFile(tmp_path / result.filename) as archive:
        for path, entry in account["members"].items():
            if entry["source"] is None:
                continue
            was = sources[entry["source"]][entry["file"]]
            assert isinstance(was, bytes)
            if "before" in entry:
                assert (entry["before"], entry["before"] == sha256(archive.read(path))) == (sha256(was), False)
                changed[path] = entry["changes"]
            else:
                assert archive.read(path) == was
    count, base = (next(lib.name for lib in result.vendored if stem in lib.name) for stem in ("libcount", "libbase"))
    top, deep = zig.chain().package()
    assert changed.keys() == {count, base, top, deep}
    assert changed[top] == {
        "needed": [Path(count).name],
        "runtime_path": ["/lib/python3.13/site-packages/pkg.libs", "$ORIGIN/../pkg.libs"],
        "renamed": 4,
    }
    assert changed[base].keys() == {"renamed"}
    made_here = {path.partition("/")[2] for path, entry in account["members"].items() if entry["source"] is None}
    assert made_here == {"METADATA", "WHEEL", "sboms/conda2wheel.cdx.json"}  # the package has no dist-info


def test_what_else_is_changed_in_a_file_is_told(tmp_path: Path) -> None:
    files: dict[str, Any] = {**MODULE, **dist_info("demo-1.0"), "demo/where.py": f"home = '{PREFIX}/share'\n"}
    source = placeheld(
        package(files, outside={"bin/tool": "#!/usr/bin/python3.13\n"}), {"lib/python3.13/site-packages/demo/where.py": "text"}
    )
    members = told(made(source, tmp_path).result.wheel)["members"]
    changes = {path.rpartition("/")[2]: entry.get("changes") for path, entry in members.items()}
    assert (changes["where.py"], changes["tool"], changes["METADATA"]) == (
        {"prefix": "/"},
        {"shebang": "#!python"},
        {"mended": True},
    )
    assert changes["__init__.py"] is None


def test_options_evidence_and_the_pyodide_that_was_asked_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    packages = chain_packages(zig.chain())
    account = told(convert(packages[0], out=tmp_path, libdirs=packages[1:], isolate=False, platform="0.29.5", level=1).wheel)
    assert account["options"] == {
        "platform": T313,
        "compat_tags": False,
        "level": 1,
        "isolate": False,
        "provided": True,
        "bridge": True,
        "allow": [],
        "pins": "metadata",
        "strict": False,
        "recipe": None,
        "source_date_epoch": 1000000000,
        "names": {},
    }
    assert (account["platform"], account["judged_by"], bool(account["evidence"])) == (T313, ["0.29.5"], True)
    assert account["overrides"] == []


def test_what_was_let_pass_is_told_and_inspect_shows_it(tmp_path: Path) -> None:
    code = zig.extension("_demo", {"go": zig.integer("nobody_has_this")}, declarations="extern int nobody_has_this;")
    module = zig.side_module("_demo", code)
    source = package({**MODULE, **dist_info("demo-1.0"), f"demo/_demo{SUFFIX}": module})
    result = convert(source, out=tmp_path, allow=["unresolved-symbol"])
    (override,) = told(result.wheel)["overrides"]
    assert (override["code"], override["file"], "nobody_has_this" in override["message"]) == (
        "unresolved-symbol",
        f"demo/_demo{SUFFIX}",
        True,
    )
    assert told(result.wheel)["options"]["allow"] == ["unresolved-symbol"]
    (shown,) = dict(inspect(result.wheel or source).facts)["overrides"]
    assert "nobody_has_this" in shown


def test_a_library_that_was_allowed_to_be_missing_names_no_place_of_this_machine(tmp_path: Path) -> None:
    package_, count, _ = chain_packages(zig.chain())
    (tmp_path / "libs").mkdir()
    result = convert(package_, out=tmp_path, libdirs=[count, tmp_path / "libs"], allow=["missing-library", "unresolved-symbol"])
    overrides = told(result.wheel)["overrides"]
    assert {each["code"] for each in overrides} >= {"missing-library"}
    assert str(tmp_path) not in json.dumps(overrides)


def test_the_bill_names_each_library_that_travels_with_its_package(tmp_path: Path) -> None:
    chain = zig.chain()
    count = conda.assemble(
        "libcount",
        "1.2.3",
        {"lib/libcount.so.1": chain.count},
        string="habc_7",
        depends=list(ABI),
        licenses={"COPYING": "free\n"},
        about={"license": "Zlib"},
    )
    source, _, base = chain_packages(chain)
    result = convert(source, out=tmp_path, libdirs=[count, base])
    document = bill(result.wheel)
    found = components(document)
    assert found.keys() == {"libcount", "libbase"}
    one = found["libcount"]
    assert one["purl"] == "pkg:conda/libcount@1.2.3?build=habc_7&subdir=emscripten-wasm32&type=tar.bz2"
    assert (one["version"], one["build"], one["linkage"], one["subdir"]) == ("1.2.3", "habc_7", "shared", "emscripten-wasm32")
    assert one["hashes"] == [{"alg": "SHA-256", "content": sha256(count.read_bytes())}]
    assert one["licenses"] == [{"expression": "Zlib"}]
    (file,) = one["components"]
    name = next(lib.name for lib in result.vendored if "libcount" in lib.name)
    with zipfile.ZipFile(tmp_path / result.filename) as archive:
        assert (file["name"], file["type"], file["hashes"][0]["content"]) == (name, "file", sha256(archive.read(name)))
    assert {p["value"] for p in file["properties"]} == {"lib/libcount.so.1", sha256(chain.count.read_bytes())}
    (ancestor,) = document["metadata"]["component"]["pedigree"]["ancestors"]
    assert ancestor["hashes"][0]["content"] == sha256(source.read_bytes())
    edges = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert edges["wheel"] == [one["bom-ref"]]
    assert edges[one["bom-ref"]] == [found["libbase"]["bom-ref"]]


def record(name: str, version: str = "1.0", *depends: str, subdir: str = "emscripten-wasm32", **more: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "build": "h_0",
        "subdir": subdir,
        "depends": list(depends),
        "fn": f"{name}-{version}-h_0.conda",
        "sha256": sha256(name.encode()),
        "channel": "https://prefix.dev/emscripten-forge-4x",
        **more,
    }


def hosted(specs: list[Any], *records: Any, name: str = "demo") -> Path:
    """A package whose host environment rattler-build resolved so."""
    recipe = {"finalized_dependencies": {"build": None, "host": {"specs": specs, "resolved": list(records)}}}
    files: conda.Files = {"lib/python3.13/site-packages/demo.py": "x = 1\n"}
    return conda.assemble(
        name, "1.0", files, recipe={"rendered_recipe.yaml": json.dumps(recipe)}, depends=["python"], noarch=None
    )


HOST = (
    record("python", "3.13.1", "bzip2"),
    record("bzip2", "1.0.8"),
    record("numpy", "2.4", "python", "openblas"),
    record("openblas", "0.3", "libflang"),
    record("libflang"),
    record("libfoo", "2.0", "libbar >=3", license="LGPL-2.1-or-later"),
    record("libbar", "3.0", license="Weird"),
    record("headers", "1", subdir="noarch"),
    record("emscripten-abi", "4.0.9"),
)


def test_libraries_of_the_host_environment_are_static_ones_but_pythons_own_are_not() -> None:
    asked = [{"source": "libfoo >=1"}, {"variant": "python", "spec": "python 3.13.*"}, {"source": "numpy"}, {"source": "headers"}]
    found = host_libraries(open_package(hosted([*asked, {"source": "emscripten-abi"}], *HOST)))
    assert [(each.name, each.version, each.license) for each in found] == [
        ("libbar", "3.0", "Weird"),
        ("libfoo", "2.0", "LGPL-2.1-or-later"),
    ]
    asked_itself = host_libraries(open_package(hosted([{"source": "openblas"}, {"source": "python"}], *HOST)))
    assert [each.name for each in asked_itself] == ["libflang", "openblas"]


@pytest.mark.parametrize(
    "host",
    [
        None,
        5,
        {"specs": 3, "resolved": [1, {"name": [1]}, {"name": "x", "depends": 7}]},
        {"specs": [{"source": ""}, "zlib"], "resolved": None},
        {"resolved": [{"name": "zlib", "subdir": ["x"]}]},
    ],
)
def test_a_strange_recipe_names_no_libraries(host: Any) -> None:
    text = json.dumps({"finalized_dependencies": {"host": host}})
    source = conda.assemble("demo", "1.0", {"lib/python3.13/site-packages/demo.py": ""}, recipe={"rendered_recipe.yaml": text})
    assert host_libraries(open_package(source)) == ()


def test_static_libraries_are_in_the_bill_with_their_purl_and_license(tmp_path: Path) -> None:
    result = convert(hosted([{"source": "libfoo"}], *HOST), out=tmp_path)
    found = components(bill(result.wheel))
    assert {name: (each["linkage"], each["licenses"]) for name, each in found.items()} == {
        "libfoo": ("static", [{"expression": "LGPL-2.1-or-later"}]),
        "libbar": ("static", [{"license": {"name": "Weird"}}]),
    }
    assert (
        found["libfoo"]["purl"]
        == "pkg:conda/libfoo@2.0?build=h_0&channel=emscripten-forge-4x&subdir=emscripten-wasm32&type=conda"
    )
    assert found["libfoo"]["hashes"][0]["content"] == sha256(b"libfoo")


def test_a_library_that_is_needed_as_a_shared_one_is_not_a_static_one_too(tmp_path: Path) -> None:
    chain = zig.chain()
    host = {"specs": [{"source": "libcount"}, {"source": "libfoo"}], "resolved": [record("libcount"), *HOST]}
    text = json.dumps({"finalized_dependencies": {"host": host}})
    source, count, base = chain_packages(chain)
    source = conda.repack(source, {"info/recipe/rendered_recipe.yaml": text})
    result = convert(source, out=tmp_path, libdirs=[count, base])
    found = components(bill(result.wheel))
    linkage = {name: each["linkage"] for name, each in found.items()}
    assert linkage == {"libcount": "shared", "libbase": "shared", "libfoo": "static", "libbar": "static"}


def test_a_library_of_a_folder_that_is_no_package_is_told_as_such(tmp_path: Path) -> None:
    source = python({"pkg/__init__.py": "", **zig.chain().package()})
    conda.lay(tmp_path / "env", {"lib/libcount.so.1": zig.chain().count, "lib/libbase.so": zig.chain().base})
    result = convert(source, out=tmp_path / "out", libdirs=[tmp_path / "env"])
    assert [w.file for w in result.warnings if w.code == "missing-license"] == [lib.name for lib in result.vendored]
    account = told(result.wheel)
    assert account["sources"][1:] == [{"kind": "folder"}]
    assert components(bill(result.wheel)).keys() == {"libraries of no package"}


def test_a_secret_in_a_channels_address_goes_nowhere(tmp_path: Path) -> None:
    source = conda.edit(library("demo", {"lib/python3.13/site-packages/demo.py": ""}), "info/index.json", lambda index: {
        **index, "channel": "https://me:secret@prefix.dev/t/tk-123/emscripten-forge-4x/noarch?x=secret"})  # fmt: skip
    result = convert(source, out=tmp_path)
    assert told(result.wheel)["sources"][0]["channel"] == "https://prefix.dev/emscripten-forge-4x"
    assert b"secret" not in (result.wheel or source).read_bytes()


@pytest.mark.parametrize(
    ("channel", "public"),
    [
        (None, None),
        ("emscripten-forge-4x", "emscripten-forge-4x"),
        ("https://prefix.dev/emscripten-forge-4x/emscripten-wasm32/x-1-0.conda", "https://prefix.dev/emscripten-forge-4x"),
        ("file:///home/me/channels/mine/noarch", "mine"),
        ("/home/me/mine", "mine"),
        ("file:///", None),
    ],
)
def test_a_place_on_one_machine_is_told_by_its_last_part(channel: str | None, public: str | None) -> None:
    assert public_channel(channel) == public


def test_a_repaired_wheel_tells_of_the_wheel_that_it_was_and_keeps_what_that_told(tmp_path: Path) -> None:
    chain = zig.chain()
    wheel = unvendored(chain, "313", "pyodide_2025_0_wasm32").write(tmp_path)
    _, count, base = chain_packages(chain)
    first = repair(wheel, out=tmp_path / "one", libdirs=[count, base])
    account = told(first.wheel)
    assert (account["command"], account["sources"][0]["filename"]) == ("repair", wheel.name)
    assert account["sources"][0]["sha256"] == sha256(wheel.read_bytes())
    assert account["members"]["pkg/__init__.py"] == {"source": 0, "file": "pkg/__init__.py"}
    assert {each["kind"] for each in account["sources"]} == {"wheel", "package"}
    again = repair(first.wheel or wheel, out=tmp_path / "two", compat_tags=True)
    assert again.changed
    assert told(again.wheel)["previous"] == account
    with zipfile.ZipFile(tmp_path / "two" / again.filename) as archive:
        bills = [name for name in archive.namelist() if "/sboms/" in name]
    assert [Path(name).name for name in bills] == ["conda2wheel-2.cdx.json", "conda2wheel.cdx.json"]


def test_inspect_shows_what_a_wheel_tells_of_itself(tmp_path: Path) -> None:
    packages = chain_packages(zig.chain())
    result = convert(packages[0], out=tmp_path, libdirs=packages[1:])
    report = inspect(tmp_path / result.filename)
    facts = dict(report.facts)
    assert facts["made_by"].startswith("conda2wheel ")
    assert set(facts["made_of"]) == {path.name for path in packages}
    assert set(facts["vendored"]) == {lib.name for lib in result.vendored}
    fates = dict(report.files)
    assert "symbols renamed; from libcount-1.0-h1234567_0.tar.bz2: lib/libcount.so.1.2.3" in fates[result.vendored[1].name]
    shown = json.loads(command.run("inspect", result.wheel, "--json").stdout)["results"][0]
    assert shown["account"] == told(result.wheel)


@pytest.mark.parametrize("text", ["[1]", "{", '{"members": ' + "[" * 200 + "]" * 200 + "}", "9" * 5000])
def test_an_account_that_nobody_can_read_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        archive.writestr("demo-1.0.dist-info/conda2wheel.json", text)
    with pytest.raises(Refused, match=r"conda2wheel\.json is n") as caught:
        inspect(wheel)
    assert caught.value.code == "corrupt-archive"


def test_an_account_with_strange_parts_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    members = {"a": {"source": 0, "changes": 4}, "b": 7, "c": {"source": 9}}
    strange = {"sources": [3, {"kind": "x"}], "members": members, "tool": 5, "vendored": {}, "overrides": [{}]}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        archive.writestr("demo-1.0.dist-info/conda2wheel.json", json.dumps(strange))
    report = inspect(wheel)
    assert dict(report.files) == {"a": "changed; from an unknown source: None"}
    assert dict(report.facts)["made_of"] == ("an unknown source",)
