"""The same package gives the same bytes anywhere, and a wheel is there whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import BytesBlob
from conda2wheel.files.writing import write_file
from conda2wheel.wheel.writer import Member, build_wheel, order
from tests.helpers import conda, installed, shapes
from tests.helpers.conda import Content
from tests.helpers.shapes import MODULE, SUFFIX, dist_info, extension, made, package
from tests.helpers.systems import IS_WINDOWS

NOISE = random.Random(7).randbytes(100_000)  # noqa: S311
INFO = "demo-1.0.dist-info"
CODE = (
    "import os, sys, hashlib; from conda2wheel.commands.convert import convert\n"
    "os.umask(int(sys.argv[3], 8))\n"
    "convert(sys.argv[1], out=sys.argv[2], dry_run=True)  # imports everything while Python's own folder can be read\n"
    "if os.getuid() == 0 and sys.argv[4] != '0': os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))\n"
    "made = convert(sys.argv[1], out=sys.argv[2])\n"
    "print(made.sha256, oct(os.stat(made.wheel).st_mode & 0o777), made.wheel.name)\n"
)


def demo(**options: object) -> Path:
    files: dict[str, Content] = {
        **MODULE,
        f"demo/_demo{SUFFIX}": extension(),
        "demo/empty.py": "",
        "demo/nöise.bin": NOISE,
        'demo/a "quoted", name.txt': "q",
        "demo/run.sh": "#!/bin/sh\n",
        "Zebra.py": "z = 1\n",
        **dist_info("demo-1.0", "License-Expression: MIT", more={"licenses/LICENSE": "MIT\n", "licenses/b": "b\n"}),
    }
    return package(files, outside={"bin/tool": "#!/usr/bin/python\n", "share/demo/x": "x"}, **options)  # type: ignore[arg-type]


def elsewhere(source: Path, out: Path, *, umask: str, uid: int = 0, cwd: Path | None = None, **env: str) -> list[str]:
    """Convert in another process, under other circumstances; its sha256, mode and file name."""
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    clean = {key: value for key, value in os.environ.items() if key not in ("SOURCE_DATE_EPOCH", "TZ", "LC_ALL")}
    command = [sys.executable, "-c", CODE, str(source), str(out), umask, str(uid)]
    done = subprocess.run(command, env={**clean, **env}, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(IS_WINDOWS, reason="Windows has no permissions of POSIX")
def test_time_zone_umask_user_hash_seed_and_folder_change_no_byte(tmp_path: Path) -> None:
    shared = Path("/tmp") / f"conda2wheel-test-{os.getpid()}"  # where another user may come
    shared.mkdir(mode=0o755)
    try:
        source = Path(shutil.copy(demo(), shared))
        source.chmod(0o644)
        one = elsewhere(source, shared / "one", umask="0077", TZ="Pacific/Kiritimati", PYTHONHASHSEED="1", LC_ALL="C")
        other = Path("/usr")
        two = elsewhere(source, shared / "two", umask="0", uid=65534, cwd=other, TZ="America/Los_Angeles", PYTHONHASHSEED="2")
        assert one == two
        assert one[1] == "0o644"
        assert (shared / "one" / one[2]).read_bytes() == (shared / "two" / two[2]).read_bytes()
    finally:
        shutil.rmtree(shared)


def test_an_archive_and_its_unpacked_folder_give_the_same_members(tmp_path: Path) -> None:
    """All but the account and the bill of materials, which name the archive."""
    source = demo()
    folder = shutil.copytree(conda.unpack(source), tmp_path / "unpacked", symlinks=True)
    for n, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, (n * 86400, n * 86400))
    (folder / "bin" / "tool").chmod(0o600)
    as_conda = demo(archive="conda")
    wheels = [made(each, tmp_path / f"out{n}") for n, each in enumerate([source, folder, as_conda])]
    told = {f"{wheels[0].info}/{name}" for name in ("conda2wheel.json", "sboms/conda2wheel.cdx.json", "RECORD")}
    first, *others = ({name: data for name, data in wheel.members.items() if name not in told} for wheel in wheels)
    assert others == [first, first]
    assert wheels[0].modes == wheels[1].modes == wheels[2].modes


def test_members_have_the_packages_time_or_that_of_source_date_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert times(demo(), tmp_path) == {(2025, 6, 1, 0, 0, 0)}
    assert times(demo(when=datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)), tmp_path) == {(2024, 2, 29, 23, 59, 58)}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert times(demo(), tmp_path) == {(2001, 9, 9, 1, 46, 40)}


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(1979, 1, 1, tzinfo=UTC).timestamp(), (1980, 1, 1, 0, 0, 0)),
        (-1.0, (1980, 1, 1, 0, 0, 0)),
        (datetime(2108, 1, 1, tzinfo=UTC).timestamp(), (2107, 12, 31, 23, 59, 58)),
        (float("inf"), (2107, 12, 31, 23, 59, 58)),
    ],
)
def test_times_that_a_zip_cannot_hold_are_clamped(moment: float, written: tuple[int, ...]) -> None:
    data = b"".join(build_wheel([member("a.py", b"x")], INFO, moment))
    assert {info.date_time for info in zipfile.ZipFile(io.BytesIO(data)).infolist()} == {written}


def times(source: Path, out: Path) -> set[tuple[int, ...]]:
    wheel = made(source, out).result.wheel
    assert wheel is not None
    return {info.date_time for info in zipfile.ZipFile(wheel).infolist()}


def member(path: str, data: bytes, executable: bool = False) -> Member:
    return Member(path, BytesBlob(data), executable)


def test_members_are_sorted_with_dist_info_and_then_record_last(tmp_path: Path) -> None:
    names = list(made(demo(), tmp_path).members)
    head = [name for name in names if not name.startswith(INFO)]
    assert head == sorted(head)
    assert names == [*head, *sorted(set(names) - set(head) - {f"{INFO}/RECORD"}), f"{INFO}/RECORD"]
    assert sorted(["a.dist-info/RECORD", "z.py", "a.dist-info/WHEEL", "a.dist-info/METADATA"], key=order)[0] == "z.py"
    assert sorted(["B/x.so", "a.libs", "b.libs/x.so", "b/y.libs/x.so", "a.py"], key=order)[0] == "b.libs/x.so"


def test_modes_are_of_two_kinds(tmp_path: Path) -> None:
    wheel = made(demo(), tmp_path)
    executable = {name for name, mode in wheel.modes.items() if mode == stat.S_IFREG | 0o755}
    assert executable >= {"demo-1.0.data/scripts/tool", f"demo/_demo{SUFFIX}"}
    assert {wheel.modes[name] for name in set(wheel.modes) - executable} == {stat.S_IFREG | 0o644}


def test_names_are_marked_utf_8_where_they_are_not_ascii(tmp_path: Path) -> None:
    wheel = made(demo(), tmp_path).result.wheel
    assert wheel is not None
    flags = {info.filename: info.flag_bits & 0x800 for info in zipfile.ZipFile(wheel).infolist()}
    assert {name for name, flag in flags.items() if flag} == {"demo/nöise.bin"}


def test_record_quotes_what_csv_must_quote(tmp_path: Path) -> None:
    wheel = made(demo(), tmp_path)
    text = wheel.read("RECORD").decode()
    assert '"demo/a ""quoted"", name.txt",sha256=' in text
    rows = list(csv.reader(io.StringIO(text)))
    assert [row[0] for row in rows] == list(wheel.members)
    assert rows[-1] == [f"{INFO}/RECORD", "", ""]
    assert "\r" not in text


@pytest.mark.parametrize("level", [1, 12])
def test_every_level_makes_a_valid_wheel(level: int, tmp_path: Path) -> None:
    wheel = made(demo(), tmp_path, level=level)
    assert wheel.members["demo/nöise.bin"] == NOISE


@pytest.mark.parametrize("level", [0, 13, -1])
def test_a_level_that_there_is_not_is_the_callers_mistake(level: int, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="1 to 12"):
        convert(demo(), out=tmp_path, level=level)


def test_what_cannot_be_compressed_is_stored() -> None:
    data = b"".join(build_wheel([member("a", NOISE), member("b", b"x" * 9999), member("c", b"")], INFO, 0))
    found = {info.filename: info for info in zipfile.ZipFile(io.BytesIO(data)).infolist()}
    assert (found["a"].compress_type, found["a"].compress_size) == (zipfile.ZIP_STORED, len(NOISE))
    assert found["b"].compress_type == zipfile.ZIP_DEFLATED
    assert (found["c"].compress_type, found["c"].file_size) == (zipfile.ZIP_STORED, 0)
    assert struct.unpack("<H", data[6:8]) == (0,)  # no data descriptor, no UTF-8 mark


def test_the_order_in_which_members_are_given_changes_no_byte() -> None:
    many = [member(f"m{n:04}.bin", NOISE[n : n + 40_000]) for n in range(150)]
    assert b"".join(build_wheel(reversed(many), INFO, 0)) == b"".join(build_wheel(many, INFO, 0))


KILLED = (
    "import sys; from conda2wheel.files.writing import write_file\n"
    "def slow():\n"
    "    yield b'x' * 100000\n"
    "    print('writing', flush=True)\n"
    "    sys.stdin.read()\n"
    "write_file(__import__('pathlib').Path(sys.argv[1]), slow)\n"
)


def test_a_killed_conversion_leaves_no_wheel_and_the_next_one_works(tmp_path: Path) -> None:
    target = tmp_path / "demo-1.0-py3-none-any.whl"
    for _ in range(2):
        command = [sys.executable, "-c", KILLED, str(target)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "writing\n"
            child.kill()
        assert not list(tmp_path.glob("*.whl"))
    wheel = made(package({**MODULE, **dist_info("demo-1.0")}), tmp_path)
    assert wheel.result.wheel == target


def test_a_part_file_of_a_process_with_our_number_is_not_in_the_way(tmp_path: Path) -> None:
    for name in (f".demo-1.0-py3-none-any.whl.{os.getpid()}.part", ".conda2wheel-x.part"):
        (tmp_path / name).write_bytes(b"stale")
    made(package({**MODULE, **dist_info("demo-1.0")}), tmp_path)


def test_threads_that_write_the_same_wheel_all_succeed(tmp_path: Path) -> None:
    source = demo()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: convert(source, out=tmp_path), range(8)))
    assert len({result.sha256 for result in results}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [results[0].filename]


@pytest.mark.parametrize("unnamed", [True, False], ids=["O_TMPFILE", "a file system without it"])
def test_an_error_half_way_leaves_the_old_wheel_as_it_was(unnamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    whole = tmp_path / "sub" / "b.whl"
    assert write_file(whole, lambda: iter([b"a", b"b"])) == hashlib.sha256(b"ab").hexdigest()
    assert (whole.read_bytes(), list(whole.parent.iterdir())) == (b"ab", [whole])
    shutil.rmtree(whole.parent)
    target = tmp_path / "a.whl"
    target.write_bytes(b"old")

    def breaks() -> Iterator[bytes]:
        yield b"new"
        raise Failed("unreadable", "gone")

    with pytest.raises(Failed, match="gone"):
        write_file(target, breaks)
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(IS_WINDOWS, reason="Windows replaces no file that is open")
def test_an_old_wheel_is_replaced_in_one_step(tmp_path: Path) -> None:
    source = package({**MODULE, **dist_info("demo-1.0")})
    target = tmp_path / "demo-1.0-py3-none-any.whl"
    target.write_bytes(b"old")
    with target.open("rb") as reader:  # who has it open goes on reading the old one
        wheel = made(source, tmp_path)
        assert reader.read() == b"old"
    assert hashlib.sha256(target.read_bytes()).hexdigest() == wheel.result.sha256


FULL = (
    "import sys, signal, resource; from conda2wheel.commands.convert import convert; from conda2wheel.errors import Failed\n"
    "if sys.argv[3] == 'limit':\n"
    "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    "try: convert(sys.argv[1], out=sys.argv[2])\n"
    "except Failed as error: print(error.code, error.message)\n"
)


@pytest.mark.parametrize("kind", ["limit", "tmpfs"])
def test_a_full_disk_is_one_failure_and_nothing_stays(kind: str, tmp_path: Path) -> None:
    big = package({**MODULE, "demo/big.bin": NOISE * 12 + random.Random(8).randbytes(2 << 20), **dist_info("demo-1.0")})  # noqa: S311
    out = tmp_path / "out"
    out.mkdir()
    if (
        kind == "tmpfs"
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "x", out], capture_output=True, check=False).returncode
    ):
        pytest.skip("no right to mount")
    try:
        done = subprocess.run([sys.executable, "-c", FULL, big, out, kind], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("disk cannot write")
        assert done.stdout.count("\n") == 1
        assert not list(out.iterdir())
    finally:
        if kind == "tmpfs":
            subprocess.run(["umount", out], check=False)


@pytest.mark.parametrize("kind", ["a file", "below a file", "a folder of that name", "read-only"])
def test_an_output_folder_that_is_none_is_one_failure(kind: str, tmp_path: Path) -> None:
    source = package({**MODULE, **dist_info("demo-1.0")})
    out = tmp_path / "out"
    if kind == "a folder of that name":
        (out / "demo-1.0-py3-none-any.whl" / "x").mkdir(parents=True)
    elif kind == "read-only":
        out = Path("/proc/conda2wheel")
    else:
        out.write_text("a file")
    with pytest.raises(Failed, match="cannot write") as caught:
        convert(source, out=out / "below" if kind == "below a file" else out)
    assert caught.value.code == "disk"
    assert not list(tmp_path.rglob("*.part"))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    result = convert(demo(), out=tmp_path / "out", dry_run=True)
    assert (result.wheel, result.sha256) == (None, None)
    assert result.filename == convert(demo(), out=tmp_path / "real").filename
    assert not (tmp_path / "out").exists()


def test_the_time_of_a_package_without_a_timestamp_is_the_first_that_a_zip_has(tmp_path: Path) -> None:
    files = shapes.in_site({**MODULE, **dist_info("demo-1.0", tag="py3-none-any")})
    empack = installed.empack_targz("demo", "1.0", "pyh0_0", files)
    assert times(empack, tmp_path) == {(1980, 1, 1, 0, 0, 0)}
