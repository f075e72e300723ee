"""Wheels that somebody else built are archives like any other: read within bounds, and refused where they are hostile."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import pytest

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
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
