"""Opening what lies unpacked: packages, prefixes, records; and what hides in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert, convert_each, expand_all
from conda2wheel.conda.open import expand
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import FileBlob, Limits
from tests.helpers import conda, installed
from tests.helpers.opened import SITE, contents, demo, skip_unpacked, tree

RECORD = "conda-meta/demo-1.0-py313h1234567_0.json"


def other(name: str = "other") -> Path:
    return conda.assemble(name, "2.0", {f"{SITE}/{name}.py": "y = 2\n", f"lib/lib{name}.so.2": b"\0asm"})


def env(folder: Path, *packages: Path) -> Path:
    return installed.prefix(folder / "env", [demo(), *packages], location=str(folder / "env"))


def unpacked(folder: Path) -> Path:
    return Path(shutil.copytree(conda.unpack(demo()), folder / "demo", symlinks=True))


def test_a_prefix_of_several_packages_is_each_of_them(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    found = expand(str(root))
    assert [Path(record).name for record in found] == ["demo-1.0-py313h1234567_0.json", "other-2.0-h1234567_0.json"]
    assert [open_package(record).name for record in found] == ["demo", "other"]
    assert expand_all([str(root), "x.conda"]) == [*found, "x.conda"]
    assert set(contents(open_package(found[1]))) == {f"{SITE}/other.py", "lib/libother.so.2"}


@pytest.mark.parametrize("source", ["x.conda", "/gone/for/good", "ftp://example.org/x.conda", "file://[", "x" * 5000, "a\0b"])
def test_what_is_no_prefix_stays_as_it_was_named_and_ends_in_one_line(source: str) -> None:
    assert expand(source) == [source]
    (outcome,) = convert_each(expand_all([source]), out="dist", dry_run=True)
    assert outcome.error is not None
    assert outcome.bug is None


def test_a_prefix_named_as_if_it_were_one_package_says_how_to_name_one(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    with pytest.raises(Refused, match="a prefix with 2 packages") as caught:
        open_package(root)
    assert (caught.value.code, RECORD in caught.value.hint) == ("several-distributions", True)


def test_a_prefix_with_one_package_is_that_package_and_nothing_else_that_lies_there(tmp_path: Path) -> None:
    skip_unpacked("prefix")
    root = env(tmp_path)
    conda.lay(root, {f"{SITE}/stranger.py": "z = 3\n", "lib/libstranger.so": b"\0asm"})
    assert contents(open_package(root)) == contents(open_package(demo()))


def test_installed_files_get_their_placeholders_back(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    package = open_package(root / RECORD)
    assert f"{root}/share".encode() in next(f for f in package.files if f.name == "config.py").blob.read()
    assert {value.prefix for value in package.placeholders.values()} == {str(root)}


def test_a_prefix_behind_a_link_gets_its_placeholders_back(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "env").symlink_to("real")
    package = open_package(env(tmp_path) / RECORD)
    assert {value.prefix for value in package.placeholders.values()} == {str(tmp_path / "env")}
    assert contents(package)[f"{SITE}/demo/config.py"] == b"prefix = '@/share'\n"


def test_a_relative_path_is_as_good_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = env(tmp_path)
    expected = contents(open_package(root))
    monkeypatch.chdir(root / "conda-meta")
    assert contents(open_package("../" + RECORD)) == expected
    monkeypatch.chdir(root)
    assert contents(open_package(RECORD)) == expected
    assert contents(open_package(".")) == expected


def test_a_record_without_its_list_of_files_cannot_be_told_from_its_neighbours(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    record = json.loads((root / RECORD).read_text())
    del record["files"]
    (root / RECORD).write_text(json.dumps(record))
    refused(root / RECORD, "corrupt-archive", "does not list its files")


def test_a_broken_neighbour_does_not_stop_a_package(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    (root / "conda-meta" / "other-2.0-h1234567_0.json").write_text("{")
    assert open_package(root / RECORD).name == "demo"
    refused(root / "conda-meta" / "other-2.0-h1234567_0.json", "corrupt-archive", "is not JSON")


def test_a_record_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        open_package(env(tmp_path) / "conda-meta" / "gone.json")
    assert caught.value.code == "not-found"


def test_a_neighbours_file_behind_a_link_is_a_file_of_this_package(tmp_path: Path) -> None:
    root = env(tmp_path, other())
    (root / "lib" / "libz.so").unlink()
    (root / "lib" / "libz.so").symlink_to("libother.so.2")
    package = open_package(root / RECORD)
    assert contents(package)["lib/libz.so"] == b"\0asm"
    assert "lib/libother.so.2" not in contents(package)


def test_installed_files_that_are_gone_are_told_and_no_hollow_wheel_is_made(tmp_path: Path) -> None:
    root = env(tmp_path)
    record = json.loads((root / RECORD).read_text())
    record["files"].append(f"{SITE}/demo/__pycache__/config.cpython-313.pyc")  # bytecode comes and goes
    (root / RECORD).write_text(json.dumps(record))
    assert open_package(root).name == "demo"
    (root / SITE / "demo" / "data.bin").unlink()
    (root / "lib" / "libz.so.1.3").unlink()  # its aliases dangle then
    with pytest.raises(
        Refused, match=r"2 of the files .* are missing in the prefix: lib/libz\.so\.1\.3, lib/.*/data\.bin "
    ) as caught:
        open_package(root)
    assert caught.value.code == "corrupt-archive"


Spoil = Callable[[Path, Path], None]


def replaced(make: Callable[[Path, Path], None]) -> Spoil:
    """Put something else where lib/libz.so.1.3 was, which every form lists."""

    def spoil(root: Path, outside: Path) -> None:
        (root / "lib" / "libz.so.1.3").unlink()
        make(root / "lib" / "libz.so.1.3", outside)

    return spoil


def folder_link(root: Path, outside: Path) -> None:
    shutil.move(root / "lib", outside / "lib")
    (root / "lib").symlink_to(outside / "lib")


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "a folder that is a link out": (folder_link, "lies below a link out|links out|is listed in info/paths.json but not in"),
    "a named pipe": (replaced(lambda path, outside: os.mkfifo(path)), "not a file, folder or link"),
}


@pytest.mark.parametrize("kind", ["folder", "prefix", "record"])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_hides_in_a_folder_is_refused_and_nothing_is_written(case: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = unpacked(tmp_path) if kind == "folder" else env(tmp_path)
    spoil, words = HOSTILE[case]
    spoil(root, outside)
    before = tree(tmp_path)
    with pytest.raises(Refused, match=words) as caught:
        convert(root / RECORD if kind == "record" else root, out=tmp_path / "dist")
    assert caught.value.code in ("unsafe-archive", "corrupt-archive")
    assert tree(tmp_path) == before


LOST: dict[str, tuple[Spoil, str]] = {
    "out": (replaced(lambda path, outside: path.symlink_to(outside / "secret")), "links out of the package, to"),
    "out, relative": (replaced(lambda path, outside: path.symlink_to("../../outside/secret")), "links out of the package, to"),
    "out to nothing": (replaced(lambda path, outside: path.symlink_to("../../gone")), "links out of the package, to"),
    "out to a folder": (replaced(lambda path, outside: path.symlink_to(outside)), "links out of the package, to"),
    "to itself": (replaced(lambda path, outside: path.symlink_to(path.name)), "links in a circle"),
    "to nothing": (replaced(lambda path, outside: path.symlink_to("gone")), "which is not in the package"),
}


@pytest.mark.parametrize("kind", ["folder", "prefix", "record"])
@pytest.mark.parametrize("case", LOST)
def test_a_link_that_leads_nowhere_is_left_out_and_nothing_of_the_outside_is_read(case: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = unpacked(tmp_path) if kind == "folder" else env(tmp_path)
    spoil, words = LOST[case]
    spoil(root, outside)
    if kind == "folder":  # which lists it as a file, with a hash
        refused(root, "corrupt-archive", r"lib/libz\.so\.1\.3 is listed in info/paths\.json but not in the package")
        rows = json.loads((root / "info" / "paths.json").read_text())
        for row in rows["paths"]:
            if row["_path"].startswith("lib/libz"):
                row["path_type"] = "softlink"
        (root / "info" / "paths.json").write_text(json.dumps(rows))
    package = open_package(root / RECORD if kind == "record" else root)
    warnings = {warning.file: warning.message for warning in package.warnings if warning.code == "link-left-out"}
    assert words in warnings["lib/libz.so.1.3"]
    assert set(warnings) == {"lib/libz.so", "lib/libz.so.1", "lib/libz.so.1.3"}
    assert not any(b"secret" in data for data in contents(package).values())


@pytest.mark.parametrize("listed", ["../outside/secret", "/etc/passwd", "lib/\\x", "a\0b", "lib/../../outside/secret"])
def test_a_record_may_not_name_files_out_of_its_prefix(listed: str, tmp_path: Path) -> None:
    conda.lay(tmp_path, {"outside/secret": "secret"})
    root = env(tmp_path)
    record = json.loads((root / RECORD).read_text())
    record["files"].append(listed)
    (root / RECORD).write_text(json.dumps(record))
    refused(root / RECORD, "unsafe-archive", "leads out|absolute|not a plain path")


def test_a_strange_name_in_a_folder_are_refused(tmp_path: Path) -> None:
    root = unpacked(tmp_path)
    (root / "lib" / "evil\nname").write_bytes(b"x")
    refused(root, "unsafe-archive", "not a plain path")
    (root / "lib" / "evil\nname").unlink()
    Path(os.fsdecode(bytes(root / "lib" / "x") + b"\xff")).write_bytes(b"x")
    refused(root, "unsafe-archive", "not UTF-8")


@pytest.mark.parametrize("kind", ["folder", "prefix"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(members=3), "more than 3 files"),
        (Limits(size=10_000), "more than 10000 bytes"),
        (Limits(member_size=10_000), "data.bin has 10240 bytes"),
    ],
)
def test_bounds_hold_for_folders_too(kind: str, limits: Limits, words: str, tmp_path: Path) -> None:
    root = unpacked(tmp_path) if kind == "folder" else env(tmp_path)
    refused(root, "too-large", words, limits)


def test_a_file_that_changes_while_it_is_converted_is_an_accident(tmp_path: Path) -> None:
    package = open_package(env(tmp_path))
    init = next(file for file in package.files if file.name == "__init__.py")
    assert isinstance(init.blob, FileBlob)
    init.blob.path.write_text("x = 1000\n")
    with pytest.raises(Failed, match="changed") as caught:
        init.blob.read()
    assert caught.value.code == "unreadable"
    init.blob.path.unlink()
    (tmp_path / "same-size").write_bytes(b"x = 3\n")
    init.blob.path.symlink_to(tmp_path / "same-size")
    with pytest.raises(Failed):
        init.blob.read()


def test_folders_deeper_than_python_recurses_open(tmp_path: Path) -> None:
    skip_unpacked("folder")
    root = unpacked(tmp_path)
    deep = str(root)
    for _ in range(1500):
        deep += "/d"
        os.mkdir(deep)
    Path(deep, "f").write_bytes(b"x")
    try:
        refused(root, "too-large", "more than 128 folders")
        package = open_package(root, Limits(depth=2000))
    finally:
        subprocess.run(["rm", "-rf", root / "d"], check=True)  # Python's own rmtree recurses
    assert [warning.code for warning in package.warnings] == ["unlisted-file"]


def test_an_unpacked_package_must_have_what_it_lists(tmp_path: Path) -> None:
    root = unpacked(tmp_path)
    (root / SITE / "demo" / "data.bin").unlink()
    refused(root, "corrupt-archive", r"data\.bin is listed in info/paths\.json but not in the package")


def refused(path: Path, code: str, words: str, limits: Limits | None = None) -> None:
    with pytest.raises(Refused, match=words) as caught:
        open_package(path, limits or Limits())
    assert caught.value.code == code
