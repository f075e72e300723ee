"""Opening packages: every form gives the same contents, and damage is seen whatever it hits."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import Blob, Spool, SpooledInMemory, SpooledOnDisk
from tests.helpers import conda, installed, real
from tests.helpers.opened import FORMS, SITE, aliases, contents, demo, empack, form, skip_unpacked, tar_bytes

FORMATS = ("tar.bz2", "conda", "tar.gz")


def packed(kind: str, folder: Path) -> Path:
    return empack(folder / "demo-1.0-py313h1234567_0.tar.gz") if kind == "tar.gz" else Path(form(kind, folder))


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_of_a_package_opens_to_the_same_contents(kind: str, tmp_path: Path) -> None:
    skip_unpacked(kind)
    package = open_package(form(kind, tmp_path))
    assert contents(package) == {
        f"{SITE}/demo/__init__.py": b"x = 1\n",
        f"{SITE}/demo/data.bin": bytes(range(256)) * 40,
        f"{SITE}/demo/config.py": b"prefix = '@/share'\n",
        "lib/compiled.dat": b"\0\1@/share/xafter",
        "lib/libz.so.1.3": b"\0asm\1\0\0\0 a library",
        "lib/libz.so.1": b"\0asm\1\0\0\0 a library",
        "lib/libz.so": b"\0asm\1\0\0\0 a library",
        "share/demo-1/readme.txt": b"read me\n",
        "share/demo/readme.txt": b"read me\n",
    }
    assert (package.name, package.version, package.build) == ("demo", "1.0", "py313h1234567_0")
    assert package.subdir == conda.SUBDIR


@pytest.mark.parametrize("kind", FORMS)
def test_a_library_with_three_names_is_one_file(kind: str, tmp_path: Path) -> None:
    skip_unpacked(kind)
    assert aliases(open_package(form(kind, tmp_path))) == {
        "lib/libz.so.1.3": ("lib/libz.so", "lib/libz.so.1"),
        "share/demo-1/readme.txt": ("share/demo/readme.txt",),
    }


@pytest.mark.parametrize("kind", FORMS)
def test_files_know_which_of_them_had_the_prefix_in_them(kind: str, tmp_path: Path) -> None:
    found = open_package(form(kind, tmp_path)).placeholders
    assert {path: value.mode for path, value in found.items()} == {f"{SITE}/demo/config.py": "text", "lib/compiled.dat": "binary"}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".conda", "", ".so"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_package_is_known_by_its_content_not_by_its_name(kind: str, suffix: str, tmp_path: Path) -> None:
    package = packed(kind, tmp_path)
    renamed = shutil.copy(package, tmp_path / f"renamed{suffix}")
    assert contents(open_package(renamed)) == contents(open_package(package))


@pytest.mark.parametrize("version", sorted(real.XEUS))
def test_emscripten_forges_own_packages_open(version: str) -> None:
    (numpy,) = real.xeus(version).glob("numpy-1.*.tar.gz")
    package = open_package(numpy)
    assert package.name == "numpy"
    assert sum(file.path.endswith(".so") for file in package.files) >= 15
    assert not any(file.path.startswith("conda-meta/") for file in package.files)


def test_a_script_stays_executable_and_forgets_its_privileges(tmp_path: Path) -> None:
    tool, privileged, plain = (installed.entry(f"bin/{name}", b"#!/bin/sh\n") for name in ("tool", "privileged", "plain"))
    tool[0].mode, privileged[0].mode, plain[0].mode = 0o755, 0o6755, 0o644
    package = open_package(installed.raw_tar(tmp_path / "a-1-0.tar.bz2", [*installed.honest(), tool, privileged, plain]))
    assert {file.name: file.executable for file in package.files} == {"tool": True, "privileged": True, "plain": False}
    assert not any(hasattr(file, "mode") for file in package.files)


def test_hard_links_are_names_of_one_file(tmp_path: Path) -> None:
    members = [*installed.honest(), installed.entry("lib/a", b"one"), installed.entry("lib/deep/b", kind=b"1", link="lib/a")]
    package = open_package(installed.raw_tar(tmp_path / "a-1-0.tar.bz2", members))
    assert aliases(package) == {"lib/a": ("lib/deep/b",)}


def test_a_hard_link_before_its_file_and_a_link_through_a_link_are_found(tmp_path: Path) -> None:
    members = [
        *installed.honest(),
        installed.entry("b", kind=b"1", link="d/real/a"),
        installed.entry("d/link", kind=b"2", link="real"),
        installed.entry("c", kind=b"2", link="./d//link/../real/a"),
        installed.entry("e", kind=b"2", link="d/link/a"),
        installed.entry("d/real/a", b"one"),
    ]
    package = open_package(installed.raw_tar(tmp_path / "a-1-0.tar.bz2", members))
    assert aliases(package) == {"d/real/a": ("b", "c", "d/link/a", "e")}


def test_a_member_that_comes_twice_with_the_same_content_is_one(tmp_path: Path) -> None:
    members = [*installed.honest(), installed.entry("lib/a", b"one"), installed.entry("./lib//a", b"one")]
    package = open_package(installed.raw_conda(tmp_path / "a-1-0.conda", members[:3], members[2:]))
    assert contents(package) == {"lib/a": b"one"}


def test_folder_members_are_no_files(tmp_path: Path) -> None:
    folders = [installed.entry(name, kind=b"5") for name in ("./", "/", ".", "/.", ".//", "lib/", "lib/empty")]
    package = open_package(installed.raw_tar(tmp_path / "a-1-0.tar.bz2", [*folders, *installed.honest(), *folders]))
    assert contents(package) == {}


def test_a_package_in_several_compressed_streams_is_read_to_its_end(tmp_path: Path) -> None:
    tar = tar_bytes([*installed.honest(), installed.entry("lib/a", b"one" * 9999)])
    parts = tar[:5000], tar[5000:]
    for name, compress in (("b.tar.bz2", bz2.compress), ("g.tar.gz", gzip.compress)):
        (tmp_path / name).write_bytes(b"".join(map(compress, parts)))
        assert contents(open_package(tmp_path / name)) == {"lib/a": b"one" * 9999}
    with zipfile.ZipFile(tmp_path / "c.conda", "w") as archive:
        archive.writestr("info-c.tar.zst", zstandard.compress(tar_bytes(installed.honest())))
        archive.writestr("pkg-c.tar.zst", b"".join(map(zstandard.compress, parts)))
    assert contents(open_package(tmp_path / "c.conda")) == {"lib/a": b"one" * 9999}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("twentieth", range(20))
def test_a_package_cut_anywhere_is_damaged(kind: str, twentieth: int, tmp_path: Path) -> None:
    data = packed(kind, tmp_path).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: len(data) * twentieth // 20])
    assert_refused(cut, "corrupt-archive", ".")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_package_without_its_last_byte_is_damaged(kind: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(packed(kind, tmp_path).read_bytes()[:-1])
    assert_refused(cut, "corrupt-archive", ".")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_tar_cut_between_two_blocks_and_compressed_again_is_damaged(kind: str, tmp_path: Path) -> None:
    tar = tar_bytes([*installed.honest(), installed.entry("lib/a", b"one"), installed.entry("lib/b", b"two" * 400)])
    end = len(tar.rstrip(b"\0"))
    info = zstandard.compress(tar_bytes(installed.honest()))
    for size in range(0, end, 512):
        path = tmp_path / f"cut.{kind}"
        if kind == "conda":
            installed.raw_zip(path, [("info-a.tar.zst", info), ("pkg-a.tar.zst", zstandard.compress(tar[:size]))])
        else:
            path.write_bytes((bz2 if kind == "tar.bz2" else gzip).compress(tar[:size]))
        assert_refused(path, "corrupt-archive", ".")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_tar_without_its_end_is_sound_if_it_has_all_that_it_lists(kind: str, tmp_path: Path) -> None:
    a, b = installed.entry("lib/a", b"one"), installed.entry("lib/b", b"two" * 400)
    listed = installed.entry("info/files", b"lib/a\nlib/b\n")
    info = tar_bytes([*installed.honest(), listed])
    for members, sound in (([a, b], True), ([a], False)):
        tar = tar_bytes(members if kind == "conda" else [*installed.honest(), listed, *members])
        cut, path = tar[: -(-len(tar.rstrip(b"\0")) // 512) * 512], tmp_path / f"cut.{kind}"
        if kind == "conda":
            installed.raw_zip(path, [("info-a.tar.zst", zstandard.compress(info)), ("pkg-a.tar.zst", zstandard.compress(cut))])
        else:
            path.write_bytes((bz2 if kind == "tar.bz2" else gzip).compress(cut))
        if sound:
            assert contents(open_package(path)) == {"lib/a": b"one", "lib/b": b"two" * 400}
        else:
            assert_refused(path, "corrupt-archive", "lib/b is listed in info/files but not in the package")


@pytest.mark.parametrize("packing", ["lz4", "xz", "bz2", ""])
def test_a_conda_file_of_another_packing_says_so(packing: str, tmp_path: Path) -> None:
    names = [f"{half}-a.tar{'.' * bool(packing)}{packing}" for half in ("info", "pkg")]
    path = installed.raw_zip(tmp_path / "a.conda", [(name, b"x") for name in names])
    with pytest.raises(Refused, match=r"is no \.tar\.zst") as caught:
        open_package(path)
    assert (caught.value.code, "download" in caught.value.hint) == ("corrupt-archive", False)


def test_a_half_of_a_conda_file_may_come_twice_if_both_are_the_same(tmp_path: Path) -> None:
    tar = zstandard.compress(tar_bytes(installed.honest()))
    halves = [("info-a.tar.zst", tar), ("pkg-a.tar.zst", tar)]
    with pytest.warns(UserWarning, match="Duplicate"):
        same = installed.raw_zip(tmp_path / "a.conda", [*halves, halves[1]])
    with pytest.warns(UserWarning, match="Duplicate"):
        other = installed.raw_zip(tmp_path / "b.conda", [*halves, ("pkg-a.tar.zst", zstandard.compress(tar_bytes([])))])
    assert open_package(same).name == "evil"
    assert_refused(other, "unsafe-archive", "comes twice")


UNUSUAL: dict[str, conda.Content] = {f"{SITE}/demo/grüße/漢.txt": "ä", f"{SITE}/demo/ü": conda.Link("grüße/漢.txt")}


def test_names_are_utf_8_in_every_locale(tmp_path: Path) -> None:
    package = conda.assemble("demo", "1.0", {f"{SITE}/demo/__init__.py": "x = 1\n", **UNUSUAL})
    folder = conda.unpack(package)
    code = "import sys; from conda2wheel import convert; print(*(convert(each, out=sys.argv[1]).sha256 for each in sys.argv[2:]))"
    found = set()
    for locale in ({"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out"), str(package), str(folder)],
            env={**os.environ, **locale},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_a_damaged_header_is_not_the_end_of_the_archive(tmp_path: Path) -> None:
    tar = bytearray(tar_bytes([*installed.honest(), installed.entry("lib/a", b"one"), installed.entry("lib/b", b"two")]))
    tar[tar.index(b"lib/b") + 150] ^= 1  # the checksum
    (tmp_path / "a.tar.bz2").write_bytes(bz2.compress(bytes(tar)))
    assert_refused(tmp_path / "a.tar.bz2", "corrupt-archive", "damaged member")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_flipped_bit_is_noticed_or_harmless(kind: str, tmp_path: Path) -> None:
    package = packed(kind, tmp_path)
    data, good = package.read_bytes(), contents(open_package(package))
    dice, noticed = random.Random(7), 0  # noqa: S311 - the same bits each time
    for _ in range(120):
        spoiled = bytearray(data)
        spoiled[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        (tmp_path / "spoiled").write_bytes(spoiled)
        try:
            assert contents(open_package(tmp_path / "spoiled")) == good
        except (Refused, Failed):
            noticed += 1
    assert noticed > 90


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello\n", "not a conda package"),
        (b"B", "not a conda package"),
        (b"PK\x05\x06" + bytes(18), "not a conda package"),
        (b"PK\x03\x04", "."),
        (b"BZh9", "."),
        (b"BZh9 is how bzip2 starts", "."),
        (b"\x1f\x8b\x08 is how gzip starts", "."),
        (gzip.compress(b"", mtime=0), "."),
        (gzip.compress(b"hello\n" * 1000, mtime=0), "."),
        (bz2.compress(b"\0" * 10240), "neither info/index.json nor conda-meta"),
        (tar_bytes(installed.honest()), "not a conda package"),
        (b"\0asm\1\0\0\0", "not a conda package"),
    ],
)
def test_what_is_no_package_says_so(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a-1-0.tar.bz2").write_bytes(content)
    assert_refused(tmp_path / "a-1-0.tar.bz2", "corrupt-archive", words)


def test_a_wheel_given_as_a_package_is_called_a_wheel() -> None:
    assert_refused(real.pypi_wheel("msgpack"), "corrupt-archive", "this is already a wheel")


@pytest.mark.parametrize("parts", [["pkg-a"], ["info-a"], ["info-a", "info-b", "pkg-a"], ["info-a", "folder/pkg-a"], []])
def test_a_conda_file_without_both_halves_is_none(parts: list[str], tmp_path: Path) -> None:
    tar = zstandard.compress(tar_bytes(installed.honest()))
    path = installed.raw_zip(tmp_path / "a.conda", [("metadata.json", b"{}"), *((f"{part}.tar.zst", tar) for part in parts)])
    assert_refused(path, "corrupt-archive", "one info-.*and one pkg-")


def test_an_encrypted_or_strangely_packed_conda_file_is_refused(tmp_path: Path) -> None:
    tar = zstandard.compress(tar_bytes(installed.honest()))
    path = installed.raw_zip(tmp_path / "a.conda", [("info-a.tar.zst", tar), ("pkg-a.tar.zst", tar)])
    data = path.read_bytes()
    for flag in (1, 0x20):  # encrypted; compressed patched data
        path.write_bytes(patched(data, {b"PK\x03\x04": 6, b"PK\x01\x02": 8}, 0xFF, flag))
        assert_refused(path, "corrupt-archive", ".")
    for method in (9, 12, 14, 99):  # Deflate64, bzip2, LZMA, AES: none of them is what the bytes are
        path.write_bytes(patched(data, {b"PK\x03\x04": 8, b"PK\x01\x02": 10}, 0, method))
        assert_refused(path, "corrupt-archive", ".")
    lzma = [("info-a.tar.zst", tar), ("pkg-a.tar.zst", tar)]
    spoiled = bytearray(installed.raw_zip(path, lzma, compression=zipfile.ZIP_LZMA).read_bytes())
    spoiled[70:150] = b"\xff" * 80
    path.write_bytes(spoiled)
    assert_refused(path, "corrupt-archive", ".")
    path.write_bytes(patched(data, {b"PK\x05\x06": 15}, 0xFF, 0x7F))  # a directory longer than the file
    assert_refused(path, "corrupt-archive", ".")


def patched(data: bytes, places: dict[bytes, int], mask: int, bits: int) -> bytes:
    """One byte changed at an offset behind every occurrence of these magic numbers."""
    out = bytearray(data)
    for magic, offset in places.items():
        at = data.find(magic)
        while at >= 0:
            out[at + offset] = out[at + offset] & mask | bits
            at = data.find(magic, at + 1)
    return bytes(out)


def test_a_missing_file_a_folder_in_the_way_and_a_pipe_are_accidents(tmp_path: Path) -> None:
    assert_failed(tmp_path / "gone-1-0.conda", "not-found")
    (tmp_path / "file").write_bytes(b"x")
    assert_failed(tmp_path / "file" / "a-1-0.conda", "unreadable")
    assert_failed(tmp_path / ("x" * 300), "unreadable")
    os.mkfifo(tmp_path / "pipe")
    assert_failed(tmp_path / "pipe", "unreadable")


def test_a_folder_that_is_no_package_is_not_searched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "conda-meta").mkdir()
    assert_refused(tmp_path, "corrupt-archive", "neither info/index.json nor conda-meta")


UNREADABLE = """
import os, sys
from conda2wheel.channels.open import open_package
from conda2wheel.conda.open import expand
from conda2wheel.errors import Failed
import tarfile, zipfile, zstandard
if os.getuid() == 0:
    os.seteuid(65534)
for source in sys.argv[1:]:
    try:
        open_package(expand(source)[0])
    except Failed as error:
        print(error.code)
"""


def test_what_this_user_may_not_read_is_unreadable(tmp_path: Path) -> None:
    package = Path(shutil.copy(demo(), tmp_path / "a.tar.bz2"))
    closed, inner = tmp_path / "closed", tmp_path / "folder"
    closed.mkdir()
    shutil.copy(package, closed)
    shutil.copytree(conda.unpack(demo()), inner, symlinks=True)
    sources = [package, closed / "a.tar.bz2", closed, closed / "conda-meta" / "a.json", inner]
    package.chmod(0)
    closed.chmod(0)
    (inner / "info").chmod(0o700)
    (inner / "info" / "index.json").chmod(0)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNREADABLE, *map(str, sources)], capture_output=True, text=True, check=False, timeout=600
        )
    finally:
        closed.chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.split() == ["unreadable"] * len(sources)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", b"BZh9", b"PK\x03\x04", b"\x1f\x8b\x08"]), st.binary(max_size=300))
def test_random_bytes_end_in_a_verdict(tmp_path_factory: pytest.TempPathFactory, magic: bytes, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(magic + data)
    with pytest.raises(Conda2WheelError):
        open_package(path)


MUTATED = tar_bytes(
    [
        *installed.honest(),
        installed.entry("lib/" + "long" * 60, b"one"),
        installed.entry("lib/ä", b"two" * 300),
        installed.entry("lib/c", kind=b"2", link="ä"),
        installed.entry("lib/d", kind=b"1", link="lib/ä"),
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, len(MUTATED) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(EDITS, st.booleans())
def test_a_spoiled_tar_ends_in_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], sums: bool
) -> None:
    tar = bytearray(MUTATED)
    for at, new in edits:
        tar[at : at + len(new)] = new
    if sums:  # headers whose checksum is right are looked at more closely
        for at in range(0, len(tar) - 511, 512):
            block = bytes(tar[at : at + 148]) + b" " * 8 + bytes(tar[at + 156 : at + 512])
            if block[257:262] == b"ustar":
                tar[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    path = tmp_path_factory.getbasetemp() / "spoiled.tar.bz2"
    path.write_bytes(bz2.compress(bytes(tar), 1))
    try:
        package = open_package(path)
    except (Refused, Failed):
        return
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in contents(package))


ZIPPED = zstandard.compress(tar_bytes(installed.honest()))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_spoiled_conda_file_ends_in_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, bytes]], deflated: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "spoiled.conda"
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    installed.raw_zip(path, [("info-a.tar.zst", ZIPPED), ("pkg-a.tar.zst", ZIPPED)], compression=method)
    data = bytearray(path.read_bytes())
    for where, new in edits:
        at = int(where * len(data))
        data[at : at + len(new)] = new
    path.write_bytes(data)
    try:
        open_package(path)
    except (Refused, Failed):
        return


def assert_refused(path: Path, code: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        open_package(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    with pytest.raises(Refused):
        convert(path, dry_run=True)


def assert_failed(path: Path, code: str) -> None:
    with pytest.raises(Failed) as caught:
        open_package(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message


@pytest.mark.parametrize("kind", FORMATS)
def test_a_package_that_does_not_fit_in_memory_lies_on_disk(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = packed(kind, tmp_path)
    wanted = contents(open_package(package))
    largest = max(map(len, wanted.values()))
    for most in (0, 1, largest, sum(map(len, wanted.values())) - 1):
        monkeypatch.setattr("conda2wheel.files.packagefile.IN_MEMORY", most)
        found = open_package(package)
        assert contents(found) == wanted
        blobs = [file.blob for file in found.files if file.blob.size]
        assert any(isinstance(blob, SpooledOnDisk) for blob in blobs)
        assert sum(blob.size for blob in blobs if isinstance(blob, SpooledInMemory)) <= most
        assert all(hashlib.sha256(blob.read()).hexdigest() == blob.sha256 for blob in blobs)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_given_away_before_the_next_ones_are_read(kind: str, tmp_path: Path) -> None:
    package = packed(kind, tmp_path)
    given: list[tuple[str, bytes]] = []
    opened = open_package(package, on_file=lambda path, blob: given.append((path, blob.read())))
    assert dict(given)[f"{SITE}/demo/data.bin"] == bytes(range(256)) * 40
    assert {file.path for file in opened.files} <= {path for path, _ in given}

    class Enough(Exception):
        """What the one who is given files may raise."""

    def stop(path: str, _: Blob) -> None:
        given.append((path, b""))
        raise Enough

    given.clear()
    with pytest.raises(Enough):
        open_package(package, on_file=stop)
    assert len(given) == 1


def test_spooled_files_are_read_while_another_is_spooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conda2wheel.files.packagefile.IN_MEMORY", 0)
    spool = Spool()
    first = spool.add([b"first" * 1000])

    def parts() -> Iterator[bytes]:
        for number in range(4):
            yield b"%d" % number * 3000
            assert first.read() == b"first" * 1000  # which moves the position in the file

    second = spool.add(parts())
    assert second.read() == b"".join(b"%d" % number * 3000 for number in range(4))
    assert second.sha256 == hashlib.sha256(second.read()).hexdigest()
