"""Repair: what a foreign wheel NEEDs travels in it, its tag is the right one, and everything else keeps its bytes."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Refused, Repaired, audit, convert, repair, verify
from conda2wheel.errors import Failed
from conda2wheel.pyodide.check import check_wheels
from tests.helpers import cache, conda, judges, real, zig
from tests.helpers.foreign import MATURIN, Foreign, unvendored
from tests.helpers.shapes import ABI, PREFIX, placeheld
from tests.unit.link.test_linker import chain_packages, modules

T313 = "pyemscripten_2025_0_wasm32"
PANDAS = ("pandas", "3.1.1", "6705575b65750e4494b4f9328eed8cb263b4b809984d4eeb8f492a3e804b0c53")


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def info(result: Repaired, name: str) -> str:
    assert result.wheel is not None
    return next(data for path, data in members(result.wheel).items() if path.endswith(f".dist-info/{name}")).decode()


def plain(name: str = "_x", python: str = "313") -> Path:
    """An extension module that NEEDs nothing."""
    return zig.side_module(name, zig.extension(name, {"answer": zig.integer("42")}), python=python)


def simple(tag: str, python: str = "313", **options: Any) -> Foreign:
    return Foreign(tag, {"pkg/__init__.py": "", f"pkg/_x{zig.suffix(python)}": plain(python=python)}, **options)


def copied(wheel: Path, out: Path, **options: Any) -> Repaired:
    """Repair a wheel that needs nothing, and make sure that nothing happened to it."""
    result = repair(wheel, out=out, **options)
    assert result.wheel is not None
    assert result.wheel.read_bytes() == wheel.read_bytes()
    assert (result.changed, result.json()["status"], result.filename) == (False, "copied", wheel.name)
    return result


def test_needed_libraries_travel_and_everything_else_keeps_its_bytes(tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", T313).write(tmp_path)
    _, count, base = chain_packages(zig.chain())
    result = repair(wheel, out=tmp_path / "out", libdirs=[count, base])
    assert (result.changed, result.json()["status"], result.filename) == (True, "repaired", wheel.name)
    found = modules(result)
    libcount, libbase = (next(n for n in found if f"/{stem}-" in n) for stem in ("libcount", "libbase"))
    top, deep = zig.chain().package()
    site = "/lib/python3.13/site-packages/pkg.libs"
    assert found[top] == ((libcount.removeprefix("pkg.libs/"),), (site, "$ORIGIN/../pkg.libs"))
    assert found[deep] == ((libcount.removeprefix("pkg.libs/"),), (site, "$ORIGIN/../../../pkg.libs"))
    assert found[libcount] == ((libbase.removeprefix("pkg.libs/"),), ("$ORIGIN",))
    assert {lib.name for lib in result.vendored} == {libcount, libbase}
    before, after = members(wheel), members(result.wheel or wheel)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {top, deep, "pkg-1.0.dist-info/METADATA", "pkg-1.0.dist-info/RECORD"}
    assert after["pkg-1.0.dist-info/licenses/libcount-1.0/COPYING"] == b"libcount's license\n"
    head, _, body = after["pkg-1.0.dist-info/METADATA"].decode().partition("\n\n")
    assert head.splitlines()[-3:] == [f"License-File: {n}" for n in ("LICENSE", "libbase-1.0/COPYING", "libcount-1.0/COPYING")]
    assert body == "License-File: is told in the description, too\n"


def test_a_plain_folder_of_libraries_will_do(tmp_path: Path) -> None:
    chain = zig.chain()
    libs = tmp_path / "prefix" / "lib"
    conda.lay(
        libs, {"libcount.so.1.2.3": chain.count, "libcount.so.1": conda.Link("libcount.so.1.2.3"), "libbase.so": chain.base}
    )
    wheel = unvendored(chain, "314", "pyemscripten_2026_0_wasm32").write(tmp_path)
    with pytest.raises(Refused) as caught:
        repair(wheel, out=tmp_path / "out", libdirs=[libs])
    assert caught.value.code == "abi-conflict"  # the chain's suffix is of CPython 3.13
    wheel = unvendored(chain, "313", T313).write(tmp_path)
    for libdir in (libs, tmp_path / "prefix"):
        result = repair(wheel, out=tmp_path / "out", libdirs=[libdir])
        assert len(modules(result)) == 4
        assert sum(name.startswith("pkg.libs/") for name in members(result.wheel or wheel)) == 2


def test_what_is_nowhere_is_refused_with_who_needs_it(tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", T313).write(tmp_path)
    with pytest.raises(Refused, match=r"pkg/_top\.cpython-313-wasm32-emscripten\.so NEEDs libcount\.so\.1") as caught:
        repair(wheel, out=tmp_path / "out")
    assert (caught.value.code, "--libdir" in caught.value.hint) == ("missing-library", True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("python", ["312", "313", "314"])
def test_a_repaired_wheel_needs_no_repair(python: str, tmp_path: Path) -> None:
    platform = {"312": "pyemscripten_2024_0_wasm32", "313": T313, "314": "pyemscripten_2026_0_wasm32"}[python]
    chain = zig.chain(python)
    _, count, base = chain_packages(chain, python)
    result = repair(unvendored(chain, python, platform).write(tmp_path), out=tmp_path / "once", libdirs=[count, base])
    assert result.changed
    copied(result.wheel or tmp_path, tmp_path / "twice", libdirs=[count, base])
    copied(result.wheel or tmp_path, tmp_path / "without libdirs")


def test_a_converted_wheel_needs_no_repair(tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    for compat in (True, False):
        ours = convert(package, out=tmp_path / "ours", libdirs=[count, base], compat_tags=compat)
        copied(ours.wheel or tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", list(real.WHEELS))
def test_real_wheels_need_nothing(name: str, tmp_path: Path) -> None:
    copied(real.pypi_wheel(name), tmp_path)


def test_real_pandas_needs_nothing(tmp_path: Path) -> None:
    options = ("--python-version", "3.12", "--abi", "cp312", "--platform", "pyemscripten_2024_0_wasm32")
    result = copied(cache.pypi(*PANDAS, "--implementation", "cp", *options), tmp_path)
    assert result.platform == "pyemscripten_2024_0_wasm32"


def test_pure_python_needs_nothing(tmp_path: Path) -> None:
    wheel = Foreign("py3-none-any", {"pkg/__init__.py": ""}, purelib=True).write(tmp_path)
    result = copied(wheel, tmp_path / "out")
    assert (result.platform, sorted(result.tags)) == ("any", ["py3-none-any"])
    copied(real.typing_extensions(), tmp_path / "out")


def test_the_time_is_the_newest_member_s_or_source_date_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = simple("cp313-cp313-pyodide_2025_0_wasm32").write(tmp_path)

    def dates(folder: str) -> set[tuple[int, ...]]:
        result = repair(wheel, out=tmp_path / folder)
        with zipfile.ZipFile(result.wheel or wheel) as archive:
            return {entry.date_time for entry in archive.infolist()}

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert dates("own") == {(2025, 3, 4, 5, 6, 8)}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert dates("given") == {(2023, 11, 14, 22, 13, 20)}


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    wheel = simple(f"cp313-cp313-{T313}", told=["cp313-cp313-linux_wasm32"]).write(tmp_path)
    before = wheel.read_bytes()
    with pytest.raises(Failed, match="would replace it") as caught:
        repair(wheel, out=tmp_path)
    assert (caught.value.code, wheel.read_bytes() == before) == ("usage", True)
    fine = simple(f"cp313-cp313-{T313}").write(tmp_path / "fine")
    stat = fine.stat()
    copied(fine, tmp_path / "fine")
    assert (fine.stat().st_ino, fine.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    other = simple("cp313-cp313-emscripten_4_0_9_wasm32").write(tmp_path)
    assert repair(other, out=tmp_path).filename == f"pkg-1.0-cp313-cp313-{T313}.whl"
    assert other.exists()


def test_a_broken_record_is_made_new(tmp_path: Path) -> None:
    good = simple(f"cp313-cp313-{T313}", extra={"RECORD.jws": b"{}"})
    copied(good.write(tmp_path / "good"), tmp_path / "out")
    rows = "pkg/__init__.py,sha256=AAAA,0\n"
    for name, broken in {"none": None, "wrong": rows, "gone": rows + "gone.py,,\n", "csv": '"'}.items():
        result = repair(replace(good, record=broken).write(tmp_path / name), out=tmp_path / "out" / name)
        judges.judge(result.wheel or tmp_path)
        assert {"record-mended", "left-out"} <= {warning.code for warning in result.warnings}
        assert "pkg-1.0.dist-info/RECORD.jws" not in members(result.wheel or tmp_path)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(64), "abi-conflict"),
        (b"", "fake-dylib"),
        (b"INPUT(libx.so.1)\n", "fake-dylib"),
        (b"\0asm\1\0\0\0", "fake-dylib"),
        (b"\0asm\1\0\0\0\0\x0c\x08dylink.0\x02\x7f", "fake-dylib"),
    ],
    ids=["elf", "empty", "linker script", "no dylink.0", "cut"],
)
def test_a_file_that_only_its_name_makes_a_library_is_refused(content: bytes, code: str, tmp_path: Path) -> None:
    wheel = Foreign(f"py3-none-{T313}", {"pkg/__init__.py": "", "pkg/libx.so": content}).write(tmp_path)
    with pytest.raises(Refused, match=r"pkg/libx\.so is no side module") as caught:
        repair(wheel, out=tmp_path / "out")
    assert caught.value.code == code


def test_links_in_a_zip_become_what_they_mean(tmp_path: Path) -> None:
    """Some zip tools store symbolic links, which installers write as small text files, and Pyodide gives up the wheel."""
    chain = zig.chain()
    files = {
        **unvendored(chain, "313", T313).files,
        "pkg/data.txt": "x" * 99,
        "pkg/link.txt": conda.Link("data.txt"),
        "pkg.libs/libcount.so.1.2.3": chain.count,
        "pkg.libs/libcount.so.1": conda.Link("libcount.so.1.2.3"),
        "pkg.libs/libcount.so": conda.Link("libcount.so.1"),
        "pkg.libs/libbase.so": chain.base,
    }
    result = repair(Foreign(f"cp313-cp313-{T313}", files).write(tmp_path), out=tmp_path / "out")
    found = modules(result, ignore=("W002",))  # data.txt is twice there, as it should be
    assert sorted(found) == sorted([*chain.package(), "pkg.libs/libbase.so"])  # and libcount.so.1.2.3, which ends otherwise
    top, deep = chain.package()
    assert found[top][0] == found[deep][0] == ("libcount.so.1.2.3",)
    assert members(result.wheel or tmp_path)["pkg/link.txt"] == b"x" * 99
    assert [w.file for w in result.warnings if w.code == "alias-left-out"] == ["pkg.libs/libcount.so", "pkg.libs/libcount.so.1"]


def test_metadata_before_2_4_gets_the_texts_and_no_fields(tmp_path: Path) -> None:
    wheel = replace(unvendored(zig.chain(), "313", T313), metadata_version="2.1", generator=MATURIN).write(tmp_path)
    _, count, base = chain_packages(zig.chain())
    result = repair(wheel, out=tmp_path / "out", libdirs=[count, base])
    assert members(wheel)["pkg-1.0.dist-info/METADATA"].decode() == info(result, "METADATA")
    assert "pkg-1.0.dist-info/licenses/libcount-1.0/COPYING" in members(result.wheel or wheel)
    assert f"Generator: {MATURIN}\n" in info(result, "WHEEL")


def test_a_library_loses_the_prefix_that_its_package_was_built_in(tmp_path: Path) -> None:
    source = f'const char *where(void) {{ return "{PREFIX}/share/units.xml"; }}\n'
    units = {"lib/libunits.so": zig.shared_library("libunits.so", source, exports=["where"])}
    package = placeheld(conda.assemble("units", "2.0", units, depends=ABI[:1]), {"lib/libunits.so": "binary"})
    user = zig.extension("_x", {"where": "PyUnicode_FromString(where())"}, declarations="extern const char *where(void);")
    module = zig.side_module("_x", user, needed=["libunits.so"])
    wheel = Foreign(f"cp313-cp313-{T313}", {f"pkg/{module.name}": module}).write(tmp_path)
    result = repair(wheel, out=tmp_path / "out", libdirs=[package])
    (vendored,) = (data for path, data in members(result.wheel or wheel).items() if path.startswith("pkg.libs/"))
    assert b"/share/units.xml\0" in vendored
    assert PREFIX.encode() not in vendored
    assert "prefix-in-binary" in {warning.code for warning in result.warnings}


def test_json_has_the_keys_of_convert(tmp_path: Path) -> None:
    package, count, base = chain_packages(zig.chain())
    theirs = convert(package, out=tmp_path, libdirs=[count, base]).json()
    ours = repair(unvendored(zig.chain(), "313", T313).write(tmp_path), out=tmp_path / "out", libdirs=[count, base]).json()
    assert list(ours) == list(theirs)
    assert json.loads(json.dumps(ours))["vendored"] == theirs["vendored"]


SCHEMES = {
    "pkg-1.0.data/platlib/pkg/__init__.py": "",
    f"pkg-1.0.data/platlib/pkg/_x{zig.suffix('313')}": plain,
    "pkg-1.0.data/purelib/pkg/data.txt": "text",
    "pkg-1.0.data/scripts/tool": "#!python",
}


def schemed(**more: Any) -> Foreign:
    """A wheel whose files are where installers other than Pyodide's take them from."""
    return Foreign(
        f"cp313-cp313-{T313}",
        {path: content() if callable(content) else content for path, content in {**SCHEMES, **more}.items()},
    )


def test_files_that_pyodide_does_not_install_are_found_and_moved_to_the_root(tmp_path: Path) -> None:
    wheel = schemed().write(tmp_path)
    audited = audit(wheel)
    (finding,) = (each for each in audited.findings if each.code == "not-installed")
    assert (audited.ok, str(finding.severity), finding.module) == (False, "load", "pkg-1.0.data/platlib/pkg/__init__.py")
    assert finding.message.startswith("is one of 2 modules in pkg-1.0.data/platlib, which Pyodide does not install")
    assert not any(row.runs for row in audited.matrix)
    result = repair(wheel, out=tmp_path / "out")
    assert {name for name in members(result.wheel) if ".dist-info/" not in name} == {
        "pkg/__init__.py",
        f"pkg/_x{zig.suffix('313')}",
        "pkg/data.txt",
        "pkg-1.0.data/scripts/tool",
    }
    assert [each.code for each in result.warnings] == ["moved"]
    assert audit(result.wheel).ok
    assert verify(result.wheel, [wheel]).identical
    assert copied(result.wheel, tmp_path / "again").filename == wheel.name


def test_a_module_that_is_moved_is_linked(tmp_path: Path) -> None:
    wheel = unvendored(zig.chain(), "313", T313)
    inside = {f"pkg-1.0.data/platlib/{path}": content for path, content in wheel.files.items()}
    moved = replace(wheel, files=inside).write(tmp_path)
    _, *libraries = chain_packages(zig.chain())
    here, there = (
        repair(each, out=tmp_path / out, libdirs=libraries)
        for each, out in ((wheel.write(tmp_path / "plain"), "1"), (moved, "2"))
    )
    linked = [{name: data for name, data in members(each.wheel).items() if ".dist-info/" not in name} for each in (here, there)]
    assert linked[0] == linked[1]


@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_is_at_the_root_already_is_not_replaced(same: bool, tmp_path: Path) -> None:
    wheel = schemed(**{"pkg/__init__.py": "" if same else "other"}).write(tmp_path)
    if same:
        assert members(repair(wheel, out=tmp_path / "out").wheel)["pkg/__init__.py"] == b""
        return
    with pytest.raises(Refused, match=r"__init__\.py would be pkg/__init__\.py, which is another file") as refused:
        repair(wheel, out=tmp_path / "out")
    assert refused.value.code == "corrupt-archive"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "verdict", "severity"), [("mod.py", "does-not-load", "load"), ("mod/table.csv", "runs", "suspicious")]
)
def test_a_wheel_of_pure_python_or_data_is_moved_too(name: str, verdict: str, severity: str, tmp_path: Path) -> None:
    wheel = Foreign("py3-none-any", {f"pkg-1.0.data/purelib/{name}": "x"}, purelib=True).write(tmp_path)
    audited = audit(wheel)
    assert (str(audited.verdict), [str(each.severity) for each in audited.findings]) == (verdict, [severity])
    result = repair(wheel, out=tmp_path / "out")
    assert (result.filename, result.platform, members(result.wheel)[name]) == (wheel.name, "any", b"x")
    assert verify(result.wheel, [wheel]).identical
    assert not audit(result.wheel).findings


@pytest.mark.long
@pytest.mark.parametrize("installer", ["loadPackage", "micropip"])
def test_what_was_moved_is_imported_in_a_real_pyodide(installer: Any, tmp_path: Path) -> None:
    wheel = schemed().write(tmp_path)
    repaired = repair(wheel, out=tmp_path / "out", compat_tags=True).wheel
    before, after = (check_wheels([each], pyodide="0.29.5", installer=installer)[0] for each in (wheel, repaired))
    assert (before.ok, after.ok) == (False, True)
    assert [each.name for each in after.modules] == ["pkg"]
