"""NEEDED libraries looked up over a whole channel by file name: whatever the package is called, in the version that fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conda2wheel import Failed, Planned, Refused, convert, repair, verify
from conda2wheel.channels.contents import FILE
from conda2wheel.channels.downloads import Downloads
from conda2wheel.commands.convert import convert_source
from conda2wheel.commands.pipeline import Context
from conda2wheel.options import Options
from tests.helpers import channel4x, conda, handmade, served, zig
from tests.helpers.foreign import Foreign
from tests.unit.link.test_channel_lookup import indexed
from tests.unit.link.test_linker import ABI, chain_packages, library, modules, python
from tests.unit.wheel.test_provenance import told

NEEDED = "libcount.so.1"


def holder(
    name: str, version: str = "1.0", *, exports: str = "", so: str = "libcount.so.1.2.3", links: tuple[str, ...] = ()
) -> Path:
    """A package with the library, as a file and links, and run_exports of its own."""
    files: conda.Files = {f"lib/{so}": zig.chain().count, **{f"lib/{link}": conda.Link(so) for link in links or (NEEDED,)}}
    package = library(name, {**files, f"share/{name}/version": version}, version=version)
    document = json.dumps({"weak": [exports]})
    return conda.repack(package, {"info/run_exports.json": document}) if exports else package


def user(name: str = "pkg", *, host: Mapping[str, tuple[str, ...]] | None = None, depends: tuple[str, ...] = ()) -> Path:
    """A package that NEEDs the library; `host` are packages that it was built with (NAME VERSION), and what these export."""
    placed: dict[str, conda.Content] = {"pkg/__init__.py": "", **zig.chain().package()}
    files = {f"lib/python3.13/site-packages/{place}": content for place, content in placed.items()}
    files["lib/libbase.so"] = zig.chain().base
    resolved: list[dict[str, Any]] = [
        {"name": each.split()[0], "version": each.split()[1], "subdir": "emscripten-wasm32", "depends": []}
        | ({"run_exports": {"weak": list(exports)}} if exports else {})
        for each, exports in (host or {}).items()
    ]
    rendered = yaml.safe_dump({"finalized_dependencies": {"host": {"specs": [], "resolved": resolved}}})
    needs = [f"emscripten-abi {ABI['313']}", "python_abi 3.13.* *_cp313", *depends]
    recipe = {"rendered_recipe.yaml": rendered}
    return conda.assemble(name, "1.0", files, string="py313h1234567_0", depends=needs, recipe=recipe)


def found(result: Planned) -> tuple[str, str]:
    """Which package brought the library, and why it is that one."""
    (message,) = [warning.message for warning in result.warnings if warning.code == "library-from-channel"]
    what, _, why = message.partition(", from ")
    return what.rpartition(" of ")[2].removesuffix("-h1234567_0"), why.split(": ", 1)[1]


def converted(tmp_path: Path, package: Path, *others: Path, **options: Any) -> Planned:
    root = indexed(tmp_path / "channel", *others)
    return convert(package, channels=[root.as_uri()], out=tmp_path / "out", dry_run=True, **options)


def test_a_package_whose_name_says_nothing_is_found_and_nothing_else_is_downloaded(tmp_path: Path) -> None:
    others = [library(f"other{n}", {f"lib/libother{n}.so": zig.chain().base}) for n in range(12)]
    root = indexed(tmp_path / "channel", *others, holder("toolbox"), *chain_packages(zig.chain())[2:])
    package = python({"pkg/__init__.py": "", **zig.chain().package()})
    downloads = Downloads(tmp_path / "cache")
    with served.serve(root) as record:
        result = convert(package, channels=[record.url], out=tmp_path / "out", downloads=downloads)
        asked = record.parts()
        assert set(asked) == {path.name for path in (root / "emscripten-wasm32").glob("*.tar.bz2")}
        whole = {name for name, parts in asked.items() if None in parts}
        assert whole == {"toolbox-1.0-h1234567_0.tar.bz2", "libbase-1.0-h1234567_0.tar.bz2"}
        assert all(parts == ["bytes=0-262143"] for name, parts in asked.items() if name not in whole)
        record.forget()
        again = convert(package, channels=[record.url], out=tmp_path / "again", downloads=downloads)
        assert record.parts() == {}
    offline = convert(package, channels=[record.url], out=tmp_path / "off", downloads=Downloads(tmp_path / "cache", offline=True))
    assert result.sha256 == again.sha256 == offline.sha256
    first = next(warning.message for warning in result.warnings if warning.code == "library-from-channel")
    assert first.startswith("libcount.so.1 is lib/libcount.so.1.2.3 of toolbox-1.0-h1234567_0, from http://127.0.0.1")
    assert first.endswith(": it has that file")
    assert result.wheel is not None
    assert verify(result.wheel, [package, *(root / "emscripten-wasm32").glob("*.bz2")]).identical


@pytest.mark.parametrize(
    ("host", "depends", "version", "why"),
    [
        ({}, (), "2.1", "it has that file"),  # the newest
        ({}, ("toolbox <2",), "1.7", "pkg depends on toolbox <2"),
        (
            {"toolbox 1.2": ("toolbox >=1.2,<1.6.0a0",)},
            (),
            "1.5",
            "built with toolbox 1.2, which asks for toolbox >=1.2,<1.6.0a0",
        ),
        (
            {"toolbox 1.2": ("toolbox >=1.2,<2.0a0",)},
            ("toolbox",),
            "1.7",
            "pkg depends on toolbox; built with toolbox 1.2, which asks for toolbox >=1.2,<2.0a0",
        ),
        (  # another package exports the pin, as libgdal does for libgdal-core
            {"toolbox-dev 1": ("toolbox >=1.2,<1.6.0a0",)},
            (),
            "1.5",
            "built with toolbox-dev 1, which asks for toolbox >=1.2,<1.6.0a0",
        ),
        ({"toolbox 2.0": ()}, (), "2.0", "built with toolbox 2.0, which asks for toolbox 2.0.*"),  # its own run_exports.json
        ({"toolbox 1.5": ()}, (), "1.5", "built with toolbox 1.5, which exports no pin"),
    ],
)
def test_the_newest_build_that_the_build_time_pin_admits_wins(
    host: Mapping[str, tuple[str, ...]], depends: tuple[str, ...], version: str, why: str, tmp_path: Path
) -> None:
    versions = [holder("toolbox", each) for each in ("1.0", "1.2", "1.5", "1.7", "2.1")]
    exporting = holder("toolbox", "2.0", exports="toolbox 2.0.*")
    result = converted(tmp_path, user(host=host, depends=depends), *versions, exporting)
    assert found(result) == (f"toolbox-{version}", why)


def test_of_several_packages_that_have_it_the_one_that_it_was_built_with_wins(tmp_path: Path) -> None:
    packages = [holder(name) for name in ("aaa", "libcount", "was-there", "zzz")]
    assert found(converted(tmp_path / "1", user(), *packages))[0] == "libcount-1.0"
    assert found(converted(tmp_path / "2", user(host={"was-there 1.0": ()}), *packages))[0] == "was-there-1.0"
    assert found(converted(tmp_path / "3", user(depends=("zzz",), host={"was-there 1.0": ()}), *packages))[0] == "zzz-1.0"


def test_the_build_that_has_the_very_file_wins_over_newer_ones_that_have_it_in_another_version(tmp_path: Path) -> None:
    newer = [holder("toolbox", f"2.{n}", so=f"libcount.so.2.{n}", links=("libcount.so", "libcount.so.2")) for n in range(5)]
    assert found(converted(tmp_path, user(), holder("toolbox", "1.0"), *newer))[0] == "toolbox-1.0"


def test_a_name_that_is_only_a_links_or_only_a_lost_links_is_found(tmp_path: Path) -> None:
    linked = holder("toolbox", so="libcount.so.1.310.4", links=("libcount.so", NEEDED))
    assert found(converted(tmp_path / "1", user(), linked))[0] == "toolbox-1.0"
    lost = converted(tmp_path / "2", user(), library("toolbox", {"lib/libcount.so.1.2.3": zig.chain().count}))
    assert found(lost)[0] == "toolbox-1.0"
    assert "lost-link" in {warning.code for warning in lost.warnings}


def test_what_cannot_be_meant_is_rejected(tmp_path: Path) -> None:
    """A build for another Emscripten, a Python package's own library, one below site-packages, and a file that is none."""
    wrong = [
        library("other-abi", {f"lib/{NEEDED}": zig.chain("314").count}, py="314"),
        python({f"lib/{NEEDED}": zig.chain().count, "x.py": ""}, name="python-package"),
        library("private", {f"lib/python3.13/site-packages/p/{NEEDED}": zig.chain().count}),
        library("no-library", {f"lib/{NEEDED}": "GROUP ( /lib/libcount.so )"}),
    ]
    with pytest.raises(Refused, match=r"no-library-1\.0-h1234567_0: is no side module") as caught:
        converted(tmp_path / "1", user(), *wrong)
    assert caught.value.code == "missing-library"
    assert found(converted(tmp_path / "2", user(), *wrong, holder("zzz")))[0] == "zzz-1.0"


def test_a_broken_package_of_the_channel_is_a_warning(tmp_path: Path) -> None:
    others = (library("aaa", {"lib/liba.so": zig.chain().base}), holder("gone"), holder("libcount"))
    root = indexed(tmp_path / "channel", holder("toolbox"), *others)
    (root / "emscripten-wasm32" / "aaa-1.0-h1234567_0.tar.bz2").write_bytes(b"BZh9 no more")
    late = root / "emscripten-wasm32" / "libcount-1.0-h1234567_0.tar.bz2"  # its list is whole, and it has not the sha256
    late.write_bytes(late.read_bytes() + b"more")
    with served.serve(root) as record:
        record.fault("*/gone-1.0-h1234567_0.tar.bz2", status=404)
        result = convert(user(), channels=[record.url], out=tmp_path, dry_run=True)
    assert found(result)[0] == "toolbox-1.0"
    told = {warning.file for warning in result.warnings if warning.code == "channel-skipped"}
    assert told == {f"{name}-1.0-h1234567_0.tar.bz2" for name in ("aaa", "gone", "libcount")}


def test_a_broken_package_of_the_channel_is_in_the_refusal(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel", holder("toolbox"))
    (root / "emscripten-wasm32" / "toolbox-1.0-h1234567_0.tar.bz2").write_bytes(b"BZh9 no more")
    with pytest.raises(Refused, match=r"not looked into, because it cannot be read: .*toolbox-1\.0") as refused:
        convert(user(), channels=[root.as_uri()], out=tmp_path, dry_run=True)
    assert {"channel-skipped", "no-metadata"} == {each.code for each in refused.value.warnings}


def test_offline_says_how_much_of_the_channel_it_has_not_read(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel", holder("toolbox"))
    cache = tmp_path / "cache"
    with served.serve(root) as record:
        convert(user(), channels=[record.url], out=tmp_path, dry_run=True, downloads=Downloads(cache))
        offline = Downloads(cache, offline=True)
        assert convert(user(), channels=[record.url], out=tmp_path, dry_run=True, downloads=offline).vendored
        shutil.rmtree(cache / "conda")
        with pytest.raises(Failed, match=r"toolbox.*is not in the cache"):  # it is known to have it, and cannot be had
            convert(user(), channels=[record.url], out=tmp_path, downloads=offline)
        (cache / FILE).unlink()
        with pytest.raises(Refused, match="1 packages not, because of --offline"):
            convert(user(), channels=[record.url], out=tmp_path, downloads=offline)


def test_pins_choose_among_libdirs_too_so_that_verify_agrees(tmp_path: Path) -> None:
    root = indexed(tmp_path / "channel", holder("toolbox", "1.0"), holder("toolbox", "2.0"))
    package = user(host={"toolbox 1.0": ("toolbox >=1,<2.0a0",)})
    result = convert(package, channels=[root.as_uri()], out=tmp_path / "out")
    assert found(result)[0] == "toolbox-1.0"
    assert [each["version"] for each in told(result.wheel)["sources"]] == ["1.0", "1.0"]
    assert result.wheel is not None
    assert verify(result.wheel, [package, root / "emscripten-wasm32"]).identical
    again = convert(package, libdirs=[root / "emscripten-wasm32"], out=tmp_path / "again")
    assert {lib.source.partition(":")[0] for lib in again.vendored} >= {"toolbox-1.0-h1234567_0"}


def test_over_a_channel_of_the_real_size_each_user_gets_its_library_and_few_requests_are_made(tmp_path: Path) -> None:
    """654 packages by their real names; only their sizes are small, so requests are counted, not bytes."""
    channel = channel4x.shared_channel()
    builds = {build.name: build for build in channel.builds}
    brought: dict[str, set[str]] = {}
    with served.serve(channel.root) as record:
        context = Context.of(channels=[record.url], downloads=Downloads(tmp_path / "cache"))
        for name in ("h5py", "lz4", "netcdf4", "python-symengine", "qdldl-python", "rasterio", "scipy", "shapely"):
            result = convert_source(str(channel.file(builds[name])), Options.of(), context, None)
            brought[name] = {library.source.partition("-")[0] for library in result.vendored}
        whole = {name for name, asked in record.parts().items() if None in asked}
        assert len(record.parts()) < 40
    assert brought == {
        "h5py": {"hdf5"},
        "lz4": {"lz4"},
        "netcdf4": {"hdf5"},
        "python-symengine": {"symengine"},
        "qdldl-python": {"libqdldl"},
        "rasterio": {"libgdal"},  # and its recipe takes gdal's data along, from the same channel
        "scipy": {"openblas"},
        "shapely": {"geos"},
    }
    assert len(whole) < 12


@pytest.mark.parametrize("name", ["libx.wasm", "libx.1.dylib", "libx"])
@pytest.mark.parametrize("place", ["package", "libdir", "below a library", "wheel", "channel"])
def test_a_library_with_a_name_that_no_loader_takes_is_linked_under_one(name: str, place: str, tmp_path: Path) -> None:
    """Pyodide opens what is named .so; CMake and emcc write side modules under other names, which users NEED."""
    user = handmade.module([("env", "x", ">")], {"PyInit__m": ">i"}, needed=["liby.so" if place == "below a library" else name])
    module, lib = f"_m{zig.suffix('313')}", handmade.module([], {"x": ">"})
    options: dict[str, Any] = {"out": tmp_path / "out"}
    if place == "wheel":
        wheel = Foreign(
            "cp313-cp313-pyemscripten_2025_0_wasm32", {module: user, "pkg/__init__.py": "", f"pkg/{name}": lib}
        ).write(tmp_path)
        result: Planned = repair(wheel, **options)
    elif place == "channel":
        if name == "libx":
            return  # only files with a known suffix are looked for in channels
        root = indexed(tmp_path / "channel", library("box", {f"lib/{name}": lib}))
        result = convert(python({module: user}), channels=[root.as_uri()], **options)
    else:
        files: conda.Files = {module: user, **({f"lib/{name}": lib} if place == "package" else {})}
        through = handmade.module([("env", "x", ">")], {"y": ">", "x": ">"}, needed=[name])
        inside: conda.Files = {f"lib/{name}": lib, **({"lib/liby.so": through} if place == "below a library" else {})}
        result = convert(python(files), libdirs=[library("x", inside)], **options)
    assert {each.name.rpartition("-")[0] for each in result.vendored} >= {"pkg.libs/libx"}
    assert all(each.name.endswith(".so") for each in result.vendored)
    found = modules(result)
    hashed = next(each.name.rpartition("/")[2] for each in result.vendored if "/libx-" in each.name)
    assert any(hashed in needed for needed, _ in found.values())
