"""A wheel's large members are inflated by libdeflate: with zipfile's results, and its errors."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import deflate
import pytest

from conda2wheel.errors import Refused
from conda2wheel.files import zips
from conda2wheel.files.zips import LARGE, WheelArchive
from conda2wheel.pyodide.wheelfile import modules, open_wheel

MEMBER = "demo/large.so"


def written(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("demo/__init__.py", "")
        archive.writestr(MEMBER, data)
    return path


def ours(path: Path) -> bytes | None:
    """What a member is read as; None where the wheel is refused."""
    try:
        with WheelArchive(path) as archive:
            return archive.read(MEMBER)
    except Refused:
        return None


def zipfiles(path: Path) -> bytes | None:
    """The same, read by zipfile alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zips, "LARGE", 1 << 62)
        return ours(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("size", [LARGE - 1, LARGE, 3 * LARGE + 5])
def test_members_are_as_zipfile_reads_them(tmp_path: Path, method: int, size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)  # noqa: S311 - a test
    assert ours(written(tmp_path / "a.whl", data, method)) == data


def test_deflated_members_do_not_go_through_zlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.whl", bytes(range(256)) * 1000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("zlib"))
    assert ours(path) == bytes(range(256)) * 1000


def test_damage_has_zipfiles_answer(tmp_path: Path) -> None:
    """Bytes anywhere are changed: in headers, in the stream, in the directory."""
    whole = written(tmp_path / "a.whl", random.Random(1).randbytes(300) * 300).read_bytes()  # noqa: S311
    readable = 0
    for seed in range(400):
        chance = random.Random(seed)  # noqa: S311
        data = bytearray(whole)
        for _ in range(chance.randint(1, 2)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / "b.whl"
        path.write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)
        assert ours(path) == zipfiles(path), seed
        readable += ours(path) is not None
    assert 0 < readable < 400


def test_a_size_that_no_stream_has_allocates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.whl", b"a" * LARGE)
    data = path.read_bytes()
    place = data.rindex(struct.pack("<L", LARGE))  # in the directory
    path.write_bytes(data[:place] + struct.pack("<L", 1 << 24) + data[place + 4 :])
    monkeypatch.setattr(deflate, "deflate_decompress", lambda *_: pytest.fail("allocated"))
    assert ours(path) == zipfiles(path)


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "demo-1.0-py3-none-any.whl", b"data")
    path.write_bytes(path.read_bytes().replace(MEMBER.encode(), b"\0" + MEMBER.encode()[1:]))  # zipfile cuts names there
    with WheelArchive(path) as archive:
        assert "" in archive.namelist()
        with pytest.raises(Refused, match="is not a plain path"):
            archive.members()

    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    assert modules(open_wheel(path), "3.13") == ("demo",)
