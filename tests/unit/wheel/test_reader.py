"""Wheels that somebody else built are archives like any other: read within bounds, and refused where they are hostile."""

from __future__ import annotations

import re
import stat
import warnings
import zipfile
from pathlib import Path

import pytest

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.pyodide.wheelfile import open_wheel
from conda2wheel.wheel.reader import read_wheel
from tests.helpers import real

METADATA = "demo-1.0.dist-info/METADATA"
NAME = "demo-1.0-py3-none-any.whl"


def wheel(folder: Path, members: list[tuple[str, bytes]], name: str = NAME) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that come twice
        for member, data in members:
            archive.writestr(member, data)
    return path


def whole(folder: Path) -> Path:
    return wheel(
        folder, [("demo.py", b"x = 1\n"), ("folder/", b""), (METADATA, b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")]
    )


def test_a_real_wheel_is_read_whole() -> None:
    path = real.pypi_wheel("msgpack")
    found = read_wheel(path)
    with zipfile.ZipFile(path) as archive:
        expected = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    assert {file.path: file.blob.read() for file in found.files} == expected
    assert (found.name, found.version, found.metadata.get("Name")) == ("msgpack", "1.2.4", "msgpack")
    assert {str(tag) for tag in found.tags} == {"cp313-cp313-pyemscripten_2025_0_wasm32"}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([("demo.py", b"")], "corrupt-archive"),
        ([("../evil", b""), (METADATA, b"")], "unsafe-archive"),
        ([("/etc/evil", b""), (METADATA, b"")], "unsafe-archive"),
        ([("twice.py", b"1"), ("twice.py", b"2"), (METADATA, b"")], "unsafe-archive"),
        ([("bomb", bytes(600 << 20)), (METADATA, b"")], "too-large"),
    ],
    ids=["no METADATA", "climbs out", "absolute", "twice", "bomb"],
)
def test_a_hostile_wheel_is_refused(members: list[tuple[str, bytes]], code: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_wheel(wheel(tmp_path, members))
    assert caught.value.code == code


@pytest.mark.parametrize("limits", [Limits(members=1), Limits(size=10), Limits(member_size=10)])
def test_the_bounds_hold(limits: Limits, tmp_path: Path) -> None:
    path = whole(tmp_path)
    assert len(read_wheel(path).files) == 2
    with pytest.raises(Refused) as caught:
        read_wheel(path, limits)
    assert caught.value.code == "too-large"


def test_damage_and_absence_are_told(tmp_path: Path) -> None:
    data = whole(tmp_path).read_bytes()
    for cut in range(0, len(data), 17):
        (tmp_path / NAME).write_bytes(data[:cut])
        with pytest.raises(Refused) as caught:
            read_wheel(tmp_path / NAME)
        assert caught.value.code == "corrupt-archive"
    (tmp_path / "no wheel.whl").write_bytes(data)
    with pytest.raises(Refused, match="wheel"):
        read_wheel(tmp_path / "no wheel.whl")
    (tmp_path / NAME).unlink()
    with pytest.raises(Failed) as gone:
        read_wheel(tmp_path / NAME)
    assert gone.value.code == "not-found"


CORE = (METADATA, b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")


def test_a_member_that_comes_twice_with_the_same_bytes_is_one(tmp_path: Path) -> None:
    path = wheel(tmp_path, [("twice.py", b"1"), CORE, ("./twice.py", b"1"), ("twice.py", b"1")])
    assert [(file.path, file.blob.read()) for file in read_wheel(path).files] == [(METADATA, CORE[1]), ("twice.py", b"1")]


def test_the_hint_for_a_hostile_wheel_names_no_channel(tmp_path: Path) -> None:
    path = wheel(tmp_path, [("twice.py", b"1"), ("twice.py", b"2"), CORE])
    with pytest.raises(Refused) as caught:
        read_wheel(path)
    assert "channel" not in caught.value.hint
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Refused) as caught:
        read_wheel(path)
    assert "channel" not in caught.value.hint


def test_the_ratio_holds_for_a_wheel_as_a_whole(tmp_path: Path) -> None:
    path = wheel(tmp_path, [*((f"demo/{n}", bytes(90_000)) for n in range(12)), CORE])
    packed = path.stat().st_size
    fine = Limits(ratio=1_100_000 // packed + 1, ratio_from=1 << 20)
    assert len(read_wheel(path, fine).files) == 13
    tight = Limits(ratio=1_000_000 // packed, ratio_from=1 << 20)
    for only in (None, re.compile("nothing")):
        with pytest.raises(Refused, match="times its size") as caught:
            read_wheel(path, tight, only)
        assert (caught.value.code, "--max-ratio" in caught.value.hint) == ("too-large", True)


def test_a_folder_of_the_root_is_no_member(tmp_path: Path) -> None:
    assert len(read_wheel(wheel(tmp_path, [("/", b""), ("./", b""), CORE])).files) == 1


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_contents_of_any_packing_are_damage(method: int, tmp_path: Path) -> None:
    path = tmp_path / NAME
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(METADATA, CORE[1] * 200)
    data = bytearray(path.read_bytes())
    start = 30 + len(METADATA) + 9  # behind LZMA's properties
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    for read in (read_wheel, open_wheel):
        with pytest.raises(Refused) as caught:
            read(path)
        assert caught.value.code == "corrupt-archive"


def test_a_link_of_a_wheel_that_leads_nowhere_is_left_out(tmp_path: Path) -> None:
    path = wheel(tmp_path, [("demo.py", b"x = 1\n"), CORE])
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("demo/lost")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../../etc/passwd")
    found = read_wheel(path)
    assert [link.path for link in found.lost] == ["demo/lost"]
    assert {file.path for file in found.files} == {"demo.py", METADATA}
