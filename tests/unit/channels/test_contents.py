"""What packages of a channel have inside: read without the rest of them, kept, and never believed where it is damaged."""

from __future__ import annotations

import bz2
import io
import random
import shutil
import sqlite3
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conda2wheel import Failed, Refused
from conda2wheel.channels import remote_info as peek
from conda2wheel.channels.contents import FILE, Build, PackageContents, read_contents
from conda2wheel.channels.downloads import Downloads
from conda2wheel.conda.archive import open_archive
from conda2wheel.files.packagefile import FileBlob, Limits
from conda2wheel.net import download as fetch
from tests.helpers import conda, served

BOUND = 1 << 30
BULK = 5_000_000  # bytes that do not compress: what must not be fetched
FILES: conda.Files = {
    "lib/libx.so.1.2": b"\0asm",
    "lib/libx.so": conda.Link("libx.so.1.2"),
    "lib/R/lib/libR.so": b"\0asm",
    "lib/python3.13/site-packages/_private.so": b"\0asm",
    "lib/python3.13/site-packages/X_y-1.0.dist-info/METADATA": "Name: X_y\n",
    "lib/python3.13/site-packages/old-1.0-py3.13.egg-info": "Name: old\n",
    "lib/python3.13/site-packages/x/_vendor/other-1.dist-info/METADATA": "Name: other\n",
    "lib/zz.bin": random.Random(7).randbytes(BULK),  # noqa: S311 - bytes, no secret
}
INSIDE = PackageContents(("lib/R/lib/libR.so", "lib/libx.so", "lib/libx.so.1.2"), ("X_y", "old"))


def big(archive: conda.ArchiveType) -> Path:
    return conda.assemble("big", "1.0", FILES, archive=archive)


def build(record: served.Served, package: Path) -> Build:
    return Build(f"{record.url}/{package.name}", FileBlob(package, package.stat().st_size).sha256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "channel"
    found.mkdir()
    return found


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their pauses."""
    for module in (fetch, peek):
        monkeypatch.setattr(module, "BACKOFF", 0.0)


@pytest.mark.parametrize(("archive", "most"), [("tar.bz2", 1_300_000), ("conda", 70_000)])
def test_only_the_part_with_info_is_fetched_and_only_once(
    archive: conda.ArchiveType, most: int, folder: Path, tmp_path: Path
) -> None:
    """bzip2 gives nothing before a whole block is there, which is 900 kB of what does not compress."""
    package = shutil.copy(big(archive), folder)
    downloads = Downloads(tmp_path / "cache")
    with served.serve(folder) as record:
        wanted = build(record, Path(package))
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        assert sum(record.bytes.values()) < most < Path(package).stat().st_size / 3
        asked = record.parts()[Path(package).name]
        assert None not in asked
        assert len(asked) <= (6 if archive == "tar.bz2" else 2)
        record.forget()
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        assert not record.requests
    offline = Downloads(tmp_path / "cache", offline=True)
    assert read_contents([wanted], offline, BOUND).found == {wanted.url: INSIDE}


@pytest.mark.parametrize("archive", ["tar.bz2", "conda"])
def test_a_server_that_sends_no_parts_is_read_from_all_the_same(archive: conda.ArchiveType, folder: Path, tmp_path: Path) -> None:
    """A .tar.bz2 until info/ has come; a .conda, whose directory is at its end, whole: then it is in the cache of downloads."""
    package = Path(shutil.copy(big(archive), folder))
    downloads = Downloads(tmp_path / "cache")
    with served.serve(folder) as record:
        record.ranges = False
        wanted = build(record, package)
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        record.forget()
        if archive == "conda":
            assert wanted.sha256 is not None
            with downloads.package(wanted.url, wanted.sha256, BOUND) as path:
                assert path.read_bytes() == package.read_bytes()
            assert not record.requests


def test_what_is_in_the_cache_of_downloads_is_read_there(folder: Path, tmp_path: Path) -> None:
    package = Path(shutil.copy(big("conda"), folder))
    downloads = Downloads(tmp_path / "cache")
    with served.serve(folder) as record:
        wanted = build(record, package)
        assert wanted.sha256 is not None
        with downloads.package(wanted.url, wanted.sha256, BOUND):
            record.forget()
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        assert not record.requests


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("archive", ["tar.bz2", "conda"])
def test_a_connection_that_breaks_is_tried_again_and_no_more_than_a_few_times(
    archive: conda.ArchiveType, folder: Path, tmp_path: Path
) -> None:
    package = Path(shutil.copy(big(archive), folder))
    with served.serve(folder) as record:
        wanted = build(record, package)
        record.fault(f"/{package.name}", cut=0.5, times=2)
        assert read_contents([wanted], Downloads(tmp_path / "one"), BOUND).found == {wanted.url: INSIDE}
        record.fault(f"/{package.name}", cut=0.5)
        with pytest.raises(Failed, match="the connection broke, 5 times") as caught:
            read_contents([wanted], Downloads(tmp_path / "two"), BOUND)
        assert caught.value.code == "network"
    assert not (tmp_path / "two" / FILE).exists()


def test_broken_packages_are_told_and_the_others_read(folder: Path, tmp_path: Path) -> None:
    good = Path(shutil.copy(big("conda"), folder))
    broken = {"cut-1-0.conda": good.read_bytes()[: BULK // 2], "no-1-0.tar.bz2": b"BZh9nothing", "none-1-0.conda": b""}
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    with served.serve(folder) as record:
        wanted = build(record, good)
        others = [
            Build(f"{record.url}/{name}", "0" * 63 + str(number)) for number, name in enumerate((*broken, "gone-1-0.conda"))
        ]
        looked = read_contents([*others, wanted], Downloads(tmp_path / "cache"), BOUND)
    assert looked.found == {wanted.url: INSIDE}
    assert {(told.code, told.file) for told in looked.unreadable.values()} == {
        ("channel-skipped", name) for name in (*broken, "gone-1-0.conda")
    }
    assert "server has no such file" in looked.unreadable[others[3].url].message


def test_offline_says_what_it_could_not_look_into(folder: Path, tmp_path: Path) -> None:
    looked = read_contents([Build("http://127.0.0.1:9/a-1-0.conda", "0" * 64)], Downloads(tmp_path, offline=True), BOUND)
    assert not looked.found
    assert set(looked.skipped_offline) == {"http://127.0.0.1:9/a-1-0.conda"}


@pytest.mark.parametrize("spoil", ["garbage", "empty", "other rows", "other schema"])
def test_a_damaged_cache_is_made_anew(spoil: str, folder: Path, tmp_path: Path) -> None:
    package = Path(shutil.copy(big("conda"), folder))
    downloads = Downloads(tmp_path / "cache")
    place = tmp_path / "cache" / FILE
    with served.serve(folder) as record:
        wanted = build(record, package)
        read_contents([wanted], downloads, BOUND)
        if spoil in ("garbage", "empty"):
            place.write_bytes(b"no database, but longer than its header" * 100 if spoil == "garbage" else b"")
        else:
            with sqlite3.connect(place) as database:
                database.execute("UPDATE package SET told = '[1]'" if spoil == "other rows" else "PRAGMA user_version = 99")
            database.close()
        record.forget()
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        assert record.parts()
        record.forget()
        assert read_contents([wanted], downloads, BOUND).found == {wanted.url: INSIDE}
        assert not record.requests


def test_several_at_once_lose_nothing(folder: Path, tmp_path: Path) -> None:
    packages = [conda.assemble(f"small{n}", "1.0", {f"lib/lib{n}.so": b"\0asm"}) for n in range(8)]
    for package in packages:
        shutil.copy(package, folder)
    downloads = Downloads(tmp_path / "cache")
    with served.serve(folder) as record:
        wanted = [build(record, package) for package in packages]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: read_contents([each], downloads, BOUND), wanted))
        record.forget()
        assert len(read_contents(wanted, downloads, BOUND).found) == 8
        assert not record.requests


def test_a_cache_that_is_busy_for_a_moment_is_tried_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says busy at once while another connection starts or ends the write-ahead log: a race of a few in a hundred."""
    package = Path(shutil.copy(conda.assemble("small", "1.0", {"lib/liba.so": b"\0asm"}), folder))
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    faults = [busy, busy, busy]
    connect = sqlite3.connect

    def sometimes(*arguments: Any, **options: Any) -> sqlite3.Connection:
        if faults:
            raise faults.pop()
        connection: sqlite3.Connection = connect(*arguments, **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", sometimes)
    downloads = Downloads(tmp_path / "cache")
    with served.serve(folder) as record:
        wanted = build(record, package)
        read_contents([wanted], downloads, BOUND)
        assert faults == []
        record.forget()
        assert len(read_contents([wanted], downloads, BOUND).found) == 1
        assert not record.requests


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path) -> None:
    package = Path(shutil.copy(big("conda"), folder))
    (tmp_path / "file").write_text("in the way")
    with served.serve(folder) as record:
        wanted = build(record, package)
        assert read_contents([wanted], Downloads(tmp_path / "file"), BOUND).found == {wanted.url: INSIDE}


def old(*members: tuple[str, str | bytes]) -> bytes:
    """A .tar.bz2 with these members in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in members:
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return bz2.compress(out.getvalue())


@pytest.mark.parametrize(
    "members",
    [
        (("info/files", "lib/libx.so\nlib/a\n"), ("lib/libx.so", "")),  # conda-build's older list
        (("lib/a", ""), ("lib/libx.so", ""), ("info/index.json", "{}")),  # no list: what is there
        (("lib/libx.so", ""), ("info/paths.json", '{"paths": [{"_path": "lib/libx.so"}, {"_path": "lib/a"}]}')),  # info/ last
    ],
)
def test_packages_list_their_files_in_several_ways(members: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    path = tmp_path / "a-1-0.tar.bz2"
    path.write_bytes(old(*members))
    assert PackageContents.of(peek.read_local_info(path, "a").paths) == PackageContents(("lib/libx.so",))


def test_a_package_without_files_is_empty_and_one_that_says_nothing_is_damaged(tmp_path: Path) -> None:
    meta = conda.assemble("meta", "1.0", {}, noarch="generic")
    assert PackageContents.of(peek.read_local_info(meta, "meta").paths) == PackageContents(empty=True)
    path = tmp_path / "a-1-0.tar.bz2"
    for members in ([("info/index.json", "{}")], [("info/paths.json", "[]")], [("info/paths.json", "{")]):
        path.write_bytes(old(*members))
        with pytest.raises(Refused) as caught:
            peek.read_local_info(path, "a")
        assert caught.value.code == "corrupt-archive"


def test_a_list_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "bomb-1-0.tar.bz2"
    path.write_bytes(old(("info/recipe/zeros", bytes(peek.MAX_INFO + 1)), ("info/paths.json", '{"paths": []}')))
    with pytest.raises(Refused) as caught:
        peek.read_local_info(path, "bomb")
    assert caught.value.code == "too-large"


def test_no_insecure_address_is_asked() -> None:
    with pytest.raises(Failed, match="only https"):
        peek.read_remote_info("http://example.org/a-1-0.conda")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_member_that_says_it_is_endless_is_not_skipped_block_by_block(kind: bytes, tmp_path: Path) -> None:
    """tarfile goes on reading after the end of the stream until it has read what the header says."""
    member = tarfile.TarInfo("info/x")
    member.type = kind
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\x80" + b"\x7f" * 11
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "a-1-0.tar.bz2"
    path.write_bytes(bz2.compress(bytes(head) + bytes(1024)))
    for read in (lambda: peek.read_local_info(path, "a"), lambda: open_archive(path, "a", Limits())):
        with pytest.raises(Refused) as caught:
            read()
        assert caught.value.code in ("corrupt-archive", "too-large")
