"""Libraries that a wheel already has stay where they are; who NEEDs them is led there by the one path that its loader reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from conda2wheel import repair
from tests.helpers import conda, zig
from tests.helpers.foreign import Foreign
from tests.unit.link.test_linker import modules

SITE = "/lib/python3.13/site-packages"
PLATFORMS = {"312": "pyemscripten_2024_0_wasm32", "313": "pyemscripten_2025_0_wasm32", "314": "pyemscripten_2026_0_wasm32"}
OTHER = "libother.so"


def library(value: int = 3) -> Path:
    return zig.shared_library("libnear.so", f"int near(void) {{ return {value}; }}", exports=["near"])


def wheel(folder: Path, python: str, files: conda.Files) -> Path:
    return Foreign(f"cp{python}-cp{python}-{PLATFORMS[python]}", {"pkg/__init__.py": "", **files}).write(folder)


def user(python: str, rpath: list[str], needed: Path | str | None = None) -> Path:
    source = zig.extension("_m", {"f": zig.integer("near()")}, declarations="extern int near(void);")
    return zig.side_module("_m", source, python=python, needed=[needed or library()], rpath=rpath)


@pytest.mark.parametrize(
    ("python", "place", "rpath", "repaired"),
    [
        ("313", "pkg", ["$ORIGIN"], None),
        ("313", "pkg", [], ["$ORIGIN"]),
        ("313", "pkg", ["${ORIGIN}"], ["$ORIGIN"]),
        ("313", "pkg", ["$ORIGIN/"], ["$ORIGIN"]),
        ("314", "pkg", ["$ORIGIN/"], None),
        ("313", "pkg/lib", ["$ORIGIN/lib"], None),
        ("313", "pkg/lib", ["$ORIGIN/nowhere", "$ORIGIN/lib"], None),
        ("313", "pkg/lib", ["${ORIGIN}/lib"], [f"{SITE}/pkg/lib", "$ORIGIN/lib"]),
        ("314", "pkg/lib", ["$ORIGIN/nowhere:$ORIGIN/lib"], ["$ORIGIN/lib"]),
        ("314", "pkg.libs", ["$ORIGIN/nowhere:$ORIGIN/../pkg.libs"], ["$ORIGIN/../pkg.libs"]),
        ("313", "pkg.libs", ["$ORIGIN/../pkg.libs"], [f"{SITE}/pkg.libs", "$ORIGIN/../pkg.libs"]),
        ("313", "pkg.libs", ["$ORIGIN/../pkg.libs", f"{SITE}/pkg.libs"], [f"{SITE}/pkg.libs", "$ORIGIN/../pkg.libs"]),
        ("313", "pkg.libs", [f"{SITE}/pkg.libs"], None),
        ("313", "pkg.libs", [f"$ORIGIN/nowhere:{SITE}/pkg.libs"], None),
        ("314", "pkg/lib", ["$ORIGIN/lib:$ORIGIN/nowhere"], None),
        ("314", "pkg.libs", ["$ORIGIN/../pkg.libs"], None),
        ("314", "pkg.libs", ["$ORIGIN/..", "$ORIGIN/../pkg.libs", "/home/builder/lib"], None),
        ("314", "pkg.libs", ["/home/builder/lib"], ["$ORIGIN/../pkg.libs"]),
        ("314", "", [], None),
        ("312", "pkg.libs", [], None),
        ("312", "pkg", [], None),
        ("312", "pkg", ["$ORIGIN"], None),
    ],
)
def test_the_runtime_path_is_corrected_only_where_the_loader_misreads_it(
    python: str, place: str, rpath: list[str], repaired: list[str] | None, tmp_path: Path
) -> None:
    module, lib = user(python, rpath), library()
    result = repair(
        wheel(tmp_path, python, {f"{place}/libnear.so".lstrip("/"): lib, f"pkg/{module.name}": module}), out=tmp_path / "out"
    )
    assert result.changed == (repaired is not None)
    assert result.vendored == ()
    assert "unreachable-library" not in {warning.code for warning in result.warnings}
    if repaired is not None:
        found = modules(result)
        assert found[f"pkg/{module.name}"] == (("libnear.so",), tuple(repaired))
        assert f"{place}/libnear.so" in found


def test_of_two_libraries_of_one_name_it_stays_the_one_that_the_loader_takes(tmp_path: Path) -> None:
    module = user("314", ["$ORIGIN/b"])
    files = {f"pkg/{module.name}": module, "pkg/a/libnear.so": library(1), "pkg/b/libnear.so": library(2)}
    assert not repair(wheel(tmp_path, "314", files), out=tmp_path / "out").changed
    module = user("314", ["${ORIGIN}/b"])
    result = repair(wheel(tmp_path, "314", {**files, f"pkg/{module.name}": module}), out=tmp_path / "out")
    assert modules(result)[f"pkg/{module.name}"] == (("libnear.so",), ("$ORIGIN/b",))


def test_a_needed_name_with_a_folder_loses_it(tmp_path: Path) -> None:
    """The loader does not search for a name with a slash."""
    (tmp_path / "lib").mkdir()
    module = zig.side_module("_m", zig.extension("_m", {"f": zig.integer("1")}), python="314", needed=["./libnear.so"])
    result = repair(wheel(tmp_path, "314", {f"pkg/{module.name}": module, "pkg/libnear.so": library()}), out=tmp_path / "out")
    assert modules(result)[f"pkg/{module.name}"] == (("libnear.so",), ("$ORIGIN",))


def test_copies_in_the_place_of_links_are_one_instance(tmp_path: Path) -> None:
    """A zip has no links, so builders leave a library once for each of its names; and each is loaded on its own."""
    lib = library()
    one = user("314", ["$ORIGIN/../pkg.libs"], "libnear.so.1")
    two = zig.side_module(
        "_n",
        zig.extension("_n", {"f": zig.integer("near()")}, declarations="extern int near(void);"),
        python="314",
        needed=["libnear.so.1.2"],
        rpath=["$ORIGIN/../pkg.libs"],
    )
    copies = {f"pkg.libs/{name}": lib for name in ("libnear.so", "libnear.so.1", "libnear.so.1.2")}
    result = repair(wheel(tmp_path, "314", {f"pkg/{one.name}": one, f"pkg/{two.name}": two, **copies}), out=tmp_path / "out")
    found = modules(result, ignore=("W002",))
    assert found[f"pkg/{one.name}"] == found[f"pkg/{two.name}"] == (("libnear.so",), ("$ORIGIN/../pkg.libs",))
    # All names are kept, since code may open one by its path; and the first is loaded first, so its symbols count.
    assert result.vendored == ()


@pytest.mark.parametrize("there", ["libnear.so.1.2", "libnear.so"])
def test_a_name_that_only_a_lost_link_had_is_found(there: str, tmp_path: Path) -> None:
    module = user("314", ["$ORIGIN/../pkg.libs"], "libnear.so.1")
    result = repair(wheel(tmp_path, "314", {f"pkg/{module.name}": module, f"pkg.libs/{there}": library()}), out=tmp_path / "out")
    found = modules(result, ignore=("W010",))  # a check that takes pkg.libs for a package, unless some name in it ends in .so
    assert found[f"pkg/{module.name}"] == ((there,), ("$ORIGIN/../pkg.libs",))


def test_libraries_inside_and_in_libdirs_are_reached_together(tmp_path: Path) -> None:
    other = zig.shared_library(OTHER, "int other(void) { return 5; }", exports=["other"])
    source = zig.extension(
        "_m", {"f": zig.integer("near() + other()")}, declarations="extern int near(void);\nextern int other(void);"
    )
    module = zig.side_module("_m", source, needed=[library(), other])
    result = repair(
        wheel(tmp_path, "313", {f"pkg/{module.name}": module, "pkg/libnear.so": library()}),
        out=tmp_path / "out",
        libdirs=[other.parent],
    )
    (vendored,) = result.vendored
    assert modules(result)[f"pkg/{module.name}"] == (
        ("libnear.so", vendored.name.removeprefix("pkg.libs/")),
        ("$ORIGIN", f"{SITE}/pkg.libs", "$ORIGIN/../pkg.libs"),
    )
