"""`--share-libs`: libraries that several wheels of a bundle need are in a common wheel that they require."""

from __future__ import annotations

import json
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from conda2wheel.commands.audit import audit, audit_each
from conda2wheel.commands.audit_result import Audited
from conda2wheel.commands.convert import convert
from conda2wheel.commands.verify import verify
from conda2wheel.errors import Failed, Refused
from tests.helpers import conda, judges, zig
from tests.helpers.common import Shared, shared
from tests.helpers.handmade import GOT, module
from tests.unit.link.test_isolation import exports, imports, inside
from tests.unit.link.test_linker import chain_packages, library, modules, python

INIT = {"PyInit__m": ">i"}
SITE = "/lib/python3.13/site-packages"


def user(name: str, *imports: tuple[str, str, str], needed: tuple[str, ...], **more: Any) -> Path:
    """A package of one extension module, NAME/_m."""
    return python({f"{name}/_m{zig.suffix('313')}": module(imports, INIT, needed=needed, **more)}, name=name)


def lib(name: str, exports: dict[str, str], *imports: tuple[str, str, str], needed: tuple[str, ...] = (), **more: Any) -> Path:
    """A package of one library, lib/NAME.so."""
    return library(name, {f"lib/{name}.so": module(imports, exports, needed=needed)}, **more)


def files(wheel: Path | None) -> dict[str, bytes]:
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def library_paths(found: Shared) -> dict[str, str]:
    """The path of each library in the common wheel, by its stem."""
    assert found.wheel is not None
    return {lib.name.rpartition("/")[2].rpartition("-")[0]: lib.name for lib in found.wheel.vendored}


def chains(tmp_path: Path, py: str = "313", **options: Any) -> Shared:
    """Two packages with the same libraries."""
    package, count, base = chain_packages(zig.chain(py), py)
    other = python({"other/__init__.py": "", f"other/{zig.chain(py).top.name}": zig.chain(py).top}, name="other", py=py)
    return shared(tmp_path, [package, other], [count, base], **options)


def test_a_library_of_two_wheels_is_in_the_common_wheel_that_both_require(tmp_path: Path) -> None:
    found = chains(tmp_path)
    assert found.wheel is not None
    version = found.wheel.version
    assert found.wheel.filename == f"geo_libs-{version}-py3-none-pyemscripten_2025_0_wasm32.whl"
    libraries = modules(found.wheel)
    count, base = library_paths(found)["libcount"], library_paths(found)["libbase"]
    assert sorted(libraries) == [base, count]
    assert libraries[count] == ((base.rpartition("/")[2],), ("$ORIGIN",))
    deep = (f"{SITE}/geo_libs.libs", "$ORIGIN/../../../geo_libs.libs")
    top = (f"{SITE}/geo_libs.libs", "$ORIGIN/../geo_libs.libs")
    for result, paths in zip(found.users, ({"_top": top, "_deep": deep}, {"_top": top}), strict=True):
        assert result.requires == (f"geo-libs=={version}",)
        assert result.vendored == ()
        assert [lib["name"] for lib in result.json()["shared"]] == [base, count]
        got = {name.rpartition("/")[2].partition(".")[0]: each for name, each in modules(result).items()}
        assert got == {name: ((count.rpartition("/")[2],), path) for name, path in paths.items()}


def test_later_platforms_find_it_by_origin(tmp_path: Path) -> None:
    found = chains(tmp_path, "314", pyodide="314.0.7")
    assert {path for result in found.users for _, path in modules(result).values()} == {
        ("$ORIGIN/../geo_libs.libs",),
        ("$ORIGIN/../../../geo_libs.libs",),
    }


def test_a_library_of_one_wheel_is_vendored_and_links_to_the_common_wheel(tmp_path: Path) -> None:
    one = user("one", ("env", "b", ">"), needed=("libb.so", "liba.so"))
    two = user("two", ("GOT.func", "a", GOT), needed=("liba.so",))
    libdirs = [lib("liba", {"a": ">"}), lib("libb", {"b": ">"}, ("env", "a", ">"), needed=("liba.so",))]
    found = shared(tmp_path, [one, two], libdirs)
    assert set(library_paths(found)) == {"liba"}
    (private,) = found.users[0].vendored
    tag = library_paths(found)["liba"].removesuffix(".so").rpartition("-")[2]
    own = inside(found.users[0])
    assert imports(own["libb"]) == {("env", f"a.{tag}")}
    assert exports(own["libb"]) == {f"b.{private.name.removesuffix('.so').rpartition('-')[2]}"}
    assert modules(found.users[0])[private.name] == (
        (library_paths(found)["liba"].rpartition("/")[2],),
        (f"{SITE}/geo_libs.libs", "$ORIGIN/../geo_libs.libs"),
    )
    assert imports(inside(found.users[1])["_m"]) == {("GOT.func", f"a.{tag}")}


def test_a_module_that_does_not_need_what_it_takes_gets_the_entry_of_the_common_wheel(tmp_path: Path) -> None:
    """So does a library in the common wheel, and its two users see one library, not two."""
    libdirs = [lib("liba", {"a": ">"}), lib("libb", {"b": ">"}, ("GOT.func", "a", GOT))]
    users = [user(name, ("env", "a", ">"), ("env", "b", ">"), needed=("libb.so", "liba.so")) for name in ("one", "two")]
    found = shared(tmp_path, [*users, user("three", ("env", "a", ">"), needed=())], libdirs)
    paths = library_paths(found)
    assert set(paths) == {"liba", "libb"}
    first = paths["liba"].rpartition("/")[2]
    tag = first.removesuffix(".so").rpartition("-")[2]
    assert modules(found.wheel)[paths["libb"]] == ((first,), ("$ORIGIN",))  # type: ignore[arg-type]
    (three,) = modules(found.users[2]).values()
    assert three == ((first,), (f"{SITE}/geo_libs.libs", "$ORIGIN/../geo_libs.libs"))
    assert imports(inside(found.users[2])["_m"]) == {("env", f"a.{tag}")}
    assert "needed-added" in {each.code for each in found.users[2].warnings}
    changes = json.loads(files(found.wheel.wheel)[f"geo_libs-{found.wheel.version}.dist-info/conda2wheel.json"])["members"]  # type: ignore[union-attr]
    assert changes[paths["libb"]]["changes"]["needed_added"] == {first: ["a"]}


def test_a_wheel_that_shares_nothing_does_not_change(tmp_path: Path) -> None:
    one, two = (user(name, ("env", "a", ">"), needed=("liba.so",)) for name in ("one", "two"))
    alone = user("alone", ("env", "c", ">"), needed=("libc.so",))
    libdirs = [lib("liba", {"a": ">"}), lib("libc", {"c": ">"})]
    found = shared(tmp_path / "set", [one, two, alone], libdirs)
    assert set(library_paths(found)) == {"liba"}
    assert found.users[2].sha256 == convert(alone, out=tmp_path / "alone", libdirs=libdirs).sha256
    nothing = shared(tmp_path / "nothing", [one, alone], libdirs)
    assert (nothing.common, nothing.wheel) == (None, None)
    assert nothing.users[0].sha256 == convert(one, out=tmp_path / "alone", libdirs=libdirs).sha256


def test_two_versions_of_a_library_in_one_bundle_are_two_files(tmp_path: Path) -> None:
    def own(name: str, version: str) -> Path:
        extension = module([("env", "a", ">")], INIT, needed=["liba.so"])
        library = module([], {"a": ">", f"only_{version}": ">"})
        return python({f"{name}/_m{zig.suffix('313')}": extension, "lib/liba.so": library}, name=name)

    found = shared(tmp_path, [own("one", "old"), own("two", "old"), own("three", "new"), own("four", "new")], [])
    assert found.wheel is not None
    assert len(found.wheel.vendored) == 2
    taken = [[lib.name for lib in result.shared] for result in found.users]
    assert taken[0] == taken[1]
    assert taken[2] == taken[3]
    assert taken[0] != taken[2]


def test_the_version_follows_from_the_content(tmp_path: Path) -> None:
    one, two = (user(name, ("env", "a", ">"), needed=("liba.so",)) for name in ("one", "two"))
    libdir = lib("liba", {"a": ">"})
    first = shared(tmp_path / "first", [one, two], [libdir])
    again = shared(tmp_path / "again", [two, one], [libdir])
    other = shared(tmp_path / "other", [one, two], [lib("liba", {"a": ">", "more": ">"})])
    wheels = [found.wheel for found in (first, again, other)]
    assert wheels[0]
    assert wheels[1]
    assert wheels[2]
    assert (wheels[0].filename, wheels[0].sha256) == (wheels[1].filename, wheels[1].sha256)
    assert wheels[0].version != wheels[2].version
    assert Version(wheels[0].version).local is None
    assert {result.sha256 for result in first.users} == {result.sha256 for result in again.users}


def test_a_library_that_pyodide_does_not_provide_for_one_wheel_is_shared_by_all(tmp_path: Path) -> None:
    z = lib("libz", {"crc32": "iii>i", "more": ">"})
    png = lib("libpng", {"png": ">"}, ("env", "crc32", "iii>i"), needed=("libz.so",))
    one = user("one", ("env", "png", ">"), ("env", "crc32", "iii>i"), needed=("libpng.so", "libz.so"))
    two = user("two", ("env", "png", ">"), ("env", "more", ">"), needed=("libpng.so", "libz.so"))
    assert convert(one, out=tmp_path / "alone", libdirs=[z, png]).provided
    found = shared(tmp_path / "set", [one, two], [z, png])
    assert set(library_paths(found)) == {"libpng", "libz"}
    tag = library_paths(found)["libz"].removesuffix(".so").rpartition("-")[2]
    assert imports(inside(found.users[0])["_m"]) >= {("env", f"crc32.{tag}")}
    both = shared(tmp_path / "both", [one, python({f"x/_m{zig.suffix('313')}": _same(one)}, name="x")], [z, png])
    assert set(library_paths(both)) == {"libpng"}  # where all can, all leave it


def _same(package: Path) -> bytes:
    """The module of `one` above, in another package."""
    assert package.name.startswith("one-")
    return module([("env", "png", ">"), ("env", "crc32", "iii>i")], INIT, needed=("libpng.so", "libz.so"))


def test_symbols_that_one_wheel_looks_up_by_name_keep_their_names_for_all(tmp_path: Path) -> None:
    one = user("one", ("env", "a", ">"), ("env", "dlsym", "ii>i"), needed=("liba.so",), strings=["a"])
    two = user("two", ("env", "a", ">"), needed=("liba.so",))
    found = shared(tmp_path, [one, two], [lib("liba", {"a": ">"})])
    assert found.wheel is not None
    assert exports(inside(found.wheel)["liba"]) == {"a"}
    assert imports(inside(found.users[1])["_m"]) == {("env", "a")}
    assert [warning.code for warning in found.wheel.warnings if warning.code == "not-isolated"]


def test_an_unresolved_symbol_is_refused_in_a_user_and_in_a_library(tmp_path: Path) -> None:
    one, two = (user(name, ("env", "a", ">"), needed=("liba.so",)) for name in ("one", "two"))
    wrong = user("wrong", ("GOT.func", "b", GOT), needed=("liba.so",))
    with pytest.raises(Refused, match=r"wrong.*imports function pointer b") as refused:
        shared(tmp_path, [one, two, wrong], [lib("liba", {"a": ">"})])
    assert refused.value.code == "unresolved-symbol"
    with pytest.raises(Refused, match=r"--share-libs geo-libs.*geo_libs\.libs/liba-.*nowhere") as refused:
        shared(tmp_path, [one, two], [lib("liba", {"a": ">"}, ("GOT.func", "nowhere", GOT))])
    assert refused.value.code == "unresolved-symbol"


def test_the_folder_is_audited_as_it_will_be_installed(tmp_path: Path) -> None:
    found = chains(tmp_path)
    results = dict(audit_each([str(tmp_path)]))
    assert len(results) == 3
    assert all(isinstance(result, Audited) and result.ok for result in results.values()), results
    wheel = found.users[0].wheel
    assert wheel is not None
    assert audit(wheel, find_links=[tmp_path]).ok
    assert not audit(wheel).ok


def test_the_common_wheel_has_metadata_provenance_and_sbom(tmp_path: Path) -> None:
    one, two = (user(name, ("env", "b", ">"), needed=("libb.so",)) for name in ("one", "two"))
    base = conda.assemble(
        "liba",
        "1.0",
        {"lib/liba.so": module([], {"a": ">"})},
        depends=["emscripten-abi >=4,<5.0a0"],
        licenses={"COPYING": "A's\n"},
        about={"license": "MIT OR Apache-2.0"},
    )
    above = conda.assemble(
        "libb",
        "2.0",
        {"lib/libb.so": module([("env", "a", ">")], {"b": ">"}, needed=["liba.so"])},
        depends=["emscripten-abi >=4,<5.0a0"],
        licenses={"COPYING": "B's\n"},
        about={"license": "BSD-3-Clause"},
    )
    found = shared(tmp_path, [one, two], [base, above])
    assert found.wheel is not None
    assert found.wheel.wheel is not None
    judges.judge(found.wheel.wheel)
    inside_ = files(found.wheel.wheel)
    info = f"geo_libs-{found.wheel.version}.dist-info"
    metadata = message_from_bytes(inside_[f"{info}/METADATA"])
    assert metadata["License-Expression"] == "(MIT OR Apache-2.0) AND BSD-3-Clause"
    assert metadata["Requires-Python"] == "==3.13.*"
    assert metadata.get_all("License-File") == ["liba-1.0/COPYING", "libb-2.0/COPYING"]
    assert inside_[f"{info}/licenses/libb-2.0/COPYING"] == b"B's\n"
    bill = json.loads(inside_[f"{info}/sboms/conda2wheel.cdx.json"])
    assert {(each["name"], each["version"]) for each in bill["components"]} == {("liba", "1.0"), ("libb", "2.0")}
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert [ref.partition("@")[0] for ref in needs["wheel"]] == ["shared:pkg:conda/libb"]
    account = json.loads(inside_[f"{info}/conda2wheel.json"])
    assert account["command"] == "share"
    assert account["members"][library_paths(found)["liba"]]["file"] == "lib/liba.so"
    told = json.loads(files(found.users[0].wheel)["one-1.0.dist-info/conda2wheel.json"])
    assert told["shared"]["requires"] == f"geo-libs=={found.wheel.version}"
    assert [each["name"] for each in told["shared"]["libraries"]] == sorted(library_paths(found).values())


def test_verify_points_to_the_bundle(tmp_path: Path) -> None:
    found = chains(tmp_path)
    for result in (found.wheel, found.users[0]):
        assert result is not None
        assert result.wheel is not None
        with pytest.raises(Failed, match="shared by a set of wheels") as failed:
            verify(result.wheel, [])
        assert failed.value.hint.startswith("conda2wheel bundle --locked makes a set again")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pyodide": "0.27.7"}, "the loader of pyemscripten_2024_0_wasm32 does not look into other wheels"),
        ({"name": "geo libs"}, "--share-libs geo libs: not a distribution name"),
        ({"name": "Other"}, "--share-libs Other: the bundle has a package of that name"),
    ],
)
def test_a_common_wheel_that_is_not_possible_is_a_usage_error(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=message) as failed:
        chains(tmp_path, **options)
    assert failed.value.code == "usage"
