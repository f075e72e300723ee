"""Hostile packages: nothing leaves the package, nothing is written beside it, nothing grows without bound."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Limits
from tests.helpers import installed
from tests.helpers.opened import aliases, contents, tar_bytes, tree

Member = tuple[tarfile.TarInfo, bytes]
SYMLINK, HARDLINK, CHAR, BLOCK, FOLDER, FIFO = b"2", b"1", b"3", b"4", b"5", b"6"
SUFFIXES = (".tar.bz2", ".tar.gz", ".conda")


def entry(name: str, content: bytes = b"", kind: bytes = b"0", link: str = "", **pax: str) -> Member:
    member, data = installed.entry(name, content, kind=kind, link=link)
    member.pax_headers = dict(pax)
    return member, data


def package(path: Path, members: list[Member]) -> Path:
    """A package with these members after an honest info/."""
    if path.suffix == ".conda":
        return installed.raw_conda(path, installed.honest(), members)
    return installed.raw_tar(path, [*installed.honest(), *members])


FILE = entry("lib/a", b"one")
HOSTILE: dict[str, tuple[list[Member], str]] = {
    "climbs out": ([entry("../evil", b"x")], "leads out of the package"),
    "climbs out deep inside": ([entry("lib/../../evil", b"x")], "leads out"),
    "climbs and comes back": ([entry("lib/../lib/a", b"x")], "leads out"),
    "a folder climbs out": ([entry("../evil", kind=FOLDER)], "leads out"),
    "absolute": ([entry("/etc/evil", b"x")], "absolute"),
    "absolute folder": ([entry("/evil", kind=FOLDER)], "absolute"),
    "a Windows drive": ([entry("C:/evil", b"x")], "absolute"),
    "backslash": ([entry("lib\\..\\..\\evil", b"x")], "not a plain path"),
    "NUL": ([entry("x", b"x", path="lib/evil\0.txt")], "not a plain path"),
    "newline": ([entry("lib/evil\nRecord", b"x")], "not a plain path"),
    "escape": ([entry("lib/\x1b[2Jevil", b"x")], "not a plain path"),
    "delete": ([entry("lib/\x7f", b"x")], "not a plain path"),
    "no UTF-8": ([entry("lib/\udcff", b"x")], "not UTF-8"),
    "without end": ([entry("x", b"x", path="a/" * 5000)], "more than 4096"),
    "the root as a file": ([entry("./", b"x", kind=b"7")], "no name|damaged"),
    "hard link to an absolute path": ([entry("lib/x", kind=HARDLINK, link="/etc/hostname")], "links out"),
    "hard link out": ([FILE, entry("lib/x", kind=HARDLINK, link="../a")], "links out"),
    "hard link to nothing": ([entry("lib/x", kind=HARDLINK, link="gone")], "not in the package"),
    "hard link to itself": ([entry("lib/x", kind=HARDLINK, link="lib/x")], "in a circle"),
    "a write through a symlink": ([FILE, entry("d", kind=SYMLINK, link="lib"), entry("d/evil", b"x")], "which is not a folder"),
    "a write through a symlink that comes later": (
        [FILE, entry("d/evil", b"x"), entry("d", kind=SYMLINK, link="lib")],
        "which is not a folder",
    ),
    "a file below a file": ([FILE, entry("lib/a/b", b"x")], "which is not a folder"),
    "a link below a file": ([FILE, entry("lib/a/b", kind=SYMLINK, link="../a")], "which is not a folder"),
    "named pipe": ([entry("lib/x", kind=FIFO)], "not a file, folder or link"),
    "character device": ([entry("lib/x", kind=CHAR)], "not a file, folder or link"),
    "block device": ([entry("lib/x", kind=BLOCK)], "not a file, folder or link"),
    "twice with different contents": ([FILE, entry("lib/a", b"two")], "comes twice"),
    "twice under two spellings": ([FILE, entry("./lib//a", b"two")], "comes twice"),
    "a file and a link": ([FILE, entry("b", b"x"), entry("b", kind=SYMLINK, link="lib/a")], "comes twice"),
    "two links": ([FILE, entry("b", kind=SYMLINK, link="lib/a"), entry("b", kind=HARDLINK, link="lib/a")], "comes twice"),
}


LOST: dict[str, tuple[list[Member], str]] = {
    "to an absolute path": ([entry("lib/x", kind=SYMLINK, link="/etc/passwd")], "links out of the package, to '/etc/passwd'"),
    "out": ([entry("lib/x", kind=SYMLINK, link="../../a")], "links out of the package"),
    "out through a link": (
        [entry("d", kind=SYMLINK, link="lib"), entry("lib/x", kind=SYMLINK, link="../d/../../a")],
        "links out of the package",
    ),
    "with a backslash": ([entry("lib/x", kind=SYMLINK, link="..\\..\\a")], "not in the package"),
    "to nothing": ([entry("lib/x", kind=SYMLINK, link="gone")], "links to 'gone', which is not in the package"),
    "to nothing through a link": (
        [entry("d", kind=SYMLINK, link="lib"), entry("lib/x", kind=SYMLINK, link="../d/gone")],
        "not in the package",
    ),
    "below a file": ([entry("lib/x", kind=SYMLINK, link="a/b")], "not in the package"),
    "without target": ([entry("lib/x", kind=SYMLINK, link="")], "not in the package"),
    "to the root": ([entry("lib/x", kind=SYMLINK, link="..")], "a folder that it lies in"),
    "to its own folder": ([entry("lib/x", kind=SYMLINK, link=".")], "a folder that it lies in"),
    "to itself": ([entry("lib/x", kind=SYMLINK, link="x")], "links in a circle"),
    "in a circle": ([entry("lib/x", kind=SYMLINK, link="y"), entry("lib/y", kind=SYMLINK, link="../lib/x")], "in a circle"),
    "to a link in a circle": ([entry("lib/x", kind=SYMLINK, link="y"), entry("lib/y", kind=SYMLINK, link="y")], "in a circle"),
    "to a folder of lost links": (
        [entry("lib/x", kind=SYMLINK, link="../e"), entry("e/y", kind=SYMLINK, link="y")],
        "without files",
    ),
    "to a target without end": ([entry("lib/x", kind=SYMLINK, link="./" * 5000 + "lib/a")], "not in the package"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_symlink_that_leads_nowhere_is_left_out_and_reported(suffix: str, tmp_path: Path) -> None:
    for number, (case, (members, words)) in enumerate(LOST.items()):
        found = open_package(package(tmp_path / f"a-{number}-0{suffix}", [FILE, *members]))
        assert contents(found)["lib/a"] == b"one", case
        assert not any(name in contents(found) for name in ("lib/x", "lib/y")), case
        warnings = {warning.file: warning for warning in found.warnings}
        assert warnings["lib/x"].code == "link-left-out", case
        assert words in warnings["lib/x"].message, case
        assert len(warnings["lib/x"].message) < 1000, case


def test_links_in_a_folder_behind_a_link_come_along(tmp_path: Path) -> None:
    members = [
        entry("share/demo/real.py", b"one"),
        entry("share/demo/alias.py", kind=SYMLINK, link="real.py"),
        entry("share/demo/more", kind=SYMLINK, link="../more"),
        entry("share/demo/deep/up", kind=SYMLINK, link="../../demo"),  # through which Linux goes on 40 times
        entry("share/demo/lost", kind=SYMLINK, link="gone"),
        entry("share/more/b", b"two"),
        entry("share/more/back", kind=SYMLINK, link="../demo"),
        entry("site-packages/demo", kind=SYMLINK, link="../share/demo"),
    ]
    found = open_package(package(tmp_path / "a-1-0.tar.gz", members))
    names = aliases(found)
    assert {name for name in names["share/demo/real.py"] if name.startswith("site-packages/")} == {
        f"site-packages/demo/{name}" for name in ("real.py", "alias.py")
    }
    assert {name for name in names["share/more/b"] if name.startswith("site-packages/")} == {"site-packages/demo/more/b"}
    assert [warning.file for warning in found.warnings] == ["share/demo/deep/up", "share/demo/lost"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_member_is_refused_and_nothing_is_written(
    case: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, words = HOSTILE[case]
    for folder in ("work/inside", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "inside")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path = package(tmp_path / f"evil-1.0-0{suffix}", members)
    before = tree(tmp_path)
    with pytest.raises(Refused, match=words) as caught:
        convert(path, out="dist")
    assert caught.value.code == "unsafe-archive"
    assert len(caught.value.message) < 1000
    assert tree(tmp_path) == before


def test_a_member_may_not_come_twice_over_both_halves_of_a_conda_file(tmp_path: Path) -> None:
    path = installed.raw_conda(tmp_path / "a.conda", [*installed.honest(), entry("lib/a", b"two")], [FILE])
    refused(path, "unsafe-archive", "comes twice")


def test_links_to_folders_and_through_links_stay_inside(tmp_path: Path) -> None:
    members = [
        entry("share/data-1/x/y", b"one"),
        entry("share/data", kind=SYMLINK, link="data-1"),
        entry("lib/deep/z", kind=SYMLINK, link="../../share/data/x/y"),
        entry("all", kind=HARDLINK, link="share/data"),
    ]
    found = aliases(open_package(package(tmp_path / "a-1-0.conda", members)))
    assert found == {"share/data-1/x/y": ("all/x/y", "lib/deep/z", "share/data/x/y")}


def test_a_chain_of_links_ends_where_linux_ends_it(tmp_path: Path) -> None:
    for length, fine in ((40, True), (42, False)):
        links = [entry(f"l{n}", kind=SYMLINK, link=f"l{n + 1}") for n in range(length)]
        path = package(tmp_path / f"a-{length}-0.conda", [*links, entry(f"l{length}", b"end")])
        if fine:
            assert len(contents(open_package(path))) == length + 1
        else:
            assert [warning.file for warning in open_package(path).warnings] == ["l0"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(members=4), "more than 4 members"),
        (Limits(size=30_000), "unpacks to more than 30000 bytes"),
        (Limits(member_size=9_999), "big has 10000 bytes"),
        (Limits(ratio=3, ratio_from=1_000), "more than 3 times its size"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_bound_on_what_unpacks_holds(suffix: str, limits: Limits, words: str, tmp_path: Path) -> None:
    members = [entry("lib/big", bytes(10_000)), *(entry(f"lib/{n}", bytes(9_000)) for n in range(3))]
    path = package(tmp_path / f"a-1-0{suffix}", members)
    assert len(open_package(path).files) == 4
    refused(path, "too-large", words, limits)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bounds_are_inclusive(suffix: str, tmp_path: Path) -> None:
    path = package(tmp_path / f"a-1-0{suffix}", [entry("lib/big", bytes(10_000)), entry("lib/b", b"x")])
    size = 2 * tarfile.RECORDSIZE if suffix != ".conda" else 3 * tarfile.RECORDSIZE
    assert len(open_package(path, Limits(members=4, member_size=10_000, size=size, ratio_from=size, ratio=1)).files) == 2


def test_names_that_links_multiply_are_members_too(tmp_path: Path) -> None:
    members = [entry(f"d/{n}", b"") for n in range(30)] + [entry(f"l{n}", kind=SYMLINK, link="d") for n in range(30)]
    path = package(tmp_path / "a-1-0.conda", members)
    assert len(contents(open_package(path, Limits(members=932)))) == 930
    refused(path, "too-large", "more than 931 names", Limits(members=931))


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python that takes: the same on any machine."""
    total = 0

    def trace(_: FrameType, event: str, __: object) -> Any:
        nonlocal total
        total += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return total


def test_many_links_to_folders_take_no_time(tmp_path: Path) -> None:
    lines = []
    for count in (100, 400):
        members = [entry(f"d{n}/x", b"") for n in range(count)] + [
            entry(f"l{n}", kind=SYMLINK, link=f"d{n}") for n in range(count)
        ]
        path = package(tmp_path / f"a-{count}-0.tar.gz", members)
        assert len(contents(open_package(path))) == 2 * count
        lines.append(lines_run(lambda path=path: contents(open_package(path))))  # type: ignore[misc]
    assert lines[1] < 6 * lines[0]


def test_long_chains_of_links_take_no_time(tmp_path: Path) -> None:
    lines = []
    for count in (100, 400):
        members = [entry(f"l{n:04}", kind=SYMLINK, link="x/../" * 20 + f"l{n + 1:04}") for n in range(count)]
        path = package(tmp_path / f"a-{count}-0.tar.gz", [*members, entry(f"l{count:04}", b"end"), entry("x/y", b"")])
        assert len(contents(open_package(path))) == 43  # the last 41 links
        lines.append(lines_run(lambda path=path: open_package(path)))  # type: ignore[misc]
    assert lines[1] < 6 * lines[0]


SMALL = Limits(ratio_from=1 << 20, path_bytes=1 << 18, aliases=1000, depth=128)


def bombs() -> dict[str, tuple[list[Member], str, str]]:
    """Small packages whose names, folders or links are many or long, and their refusals with the bounds of `SMALL`."""
    long = [entry(f"d/{n:02}{'a' * 3000}", b"") for n in range(50)]
    pairs = [entry(f"f{n:02}/{name}", kind=SYMLINK, link=f"../f{n + 1:02}") for n in range(30) for name in "ab"]
    return {
        "deep paths": ([entry(f"{n}/{'a/' * 1000}b", b"") for n in range(5)], "too-large", "lies in more than 128 folders"),
        "long paths": ([entry(f"{n:04}{'a' * 4000}", b"") for n in range(70)], "too-large", "more than 262144 bytes together"),
        "many paths": ([entry(f"{n}", b"") for n in range(270)], "too-large", "more than 256 names"),
        "many folders": ([entry(f"{n}/{'a/' * 100}b", b"") for n in range(5)], "too-large", "more than 256 folders"),
        "long names of links": (
            [*long, *(entry(f"{n}{'b' * 900}", kind=SYMLINK, link="d") for n in range(10))],
            "too-large",
            "more than 262144 bytes together",
        ),
        "names longer than any": (
            [long[0], entry("b" * 2000, kind=SYMLINK, link="d")],
            "unsafe-archive",
            "a name of more than 4096 characters",
        ),
        "links that double": ([*pairs, entry("f30/x", b"")], "too-large", "more than 256 names"),
        "links that double and lead nowhere": (
            [*pairs, entry("f30/x", kind=SYMLINK, link="x")],
            "too-large",
            "more than 1000 other names",
        ),
        "a file with many names": (
            [entry("lib/big", bytes(1 << 17)), *(entry(f"l{n}", kind=SYMLINK, link="lib") for n in range(20))],
            "too-large",
            "more than 1048576 bytes under all their names",
        ),
    }


@pytest.mark.parametrize("suffix", [".tar.gz", ".conda"])
def test_bombs_of_names_are_refused(suffix: str, tmp_path: Path) -> None:
    for number, (case, (members, code, words)) in enumerate(bombs().items()):
        with pytest.raises(Refused, match=words) as caught:
            open_package(package(tmp_path / f"a-{number}-0{suffix}", members), SMALL)
        assert caught.value.code == code, case


def test_each_bound_on_names_holds_and_can_be_raised(tmp_path: Path) -> None:
    members = [entry("a/b/c/x", b""), entry("l", kind=SYMLINK, link="a"), entry("m", kind=SYMLINK, link="a")]
    path = package(tmp_path / "a-1-0.tar.gz", members)
    length = sum(map(len, (*(each.name for each, _ in installed.honest()), "a/b/c/x", "l/b/c/x", "m/b/c/x")))
    for limits, words in (
        (Limits(depth=2), "more than 2 folders"),
        (Limits(aliases=1), "more than 1 other names"),
        (Limits(path_bytes=length - 1), f"more than {length - 1} bytes together"),
    ):
        refused(path, "too-large", words, limits)
    assert len(contents(open_package(path, Limits(depth=3, aliases=2, path_bytes=length)))) == 3


def test_a_bomb_of_zeros_is_stopped_early(tmp_path: Path) -> None:
    one = tarfile.TarInfo("lib/zeros")
    one.size = 1 << 30
    zeros = gzip.compress(bytes(1 << 24))
    stream = gzip.compress(one.tobuf()) + zeros * 24 + b"no gzip" * (len(zeros) * 40 // 7)  # which it does not come to
    (tmp_path / "a.tar.gz").write_bytes(stream)
    refused(tmp_path / "a.tar.gz", "too-large", "more than 250 times")


def test_a_bomb_behind_the_end_of_the_tar_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar_bytes(installed.honest())) + gzip.compress(bytes(1 << 24)) * 8)
    refused(tmp_path / "a.tar.gz", "too-large", "more than 250 times")


def test_a_zip_bomb_around_the_two_tars_is_refused(tmp_path: Path) -> None:
    tar = zstandard.compress(tar_bytes(installed.honest()))
    skipped = b"\x50\x2a\x4d\x18" + (1 << 22).to_bytes(4, "little") + bytes(1 << 22)  # a frame without contents
    path = installed.raw_zip(
        tmp_path / "a.conda", [("info-a.tar.zst", tar), ("pkg-a.tar.zst", skipped + tar)], compression=zipfile.ZIP_DEFLATED
    )
    refused(path, "too-large", "more than the package itself")


def test_a_header_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = package(tmp_path / f"a-1-0{suffix}", [entry("lib/a", b"one", comment="x" * (3 << 20))])
        refused(path, "too-large", "header has more than 1048576 bytes")
        assert contents(open_package(path, Limits(header=4 << 20))) == {"lib/a": b"one"}


def test_many_members_without_contents_are_no_long_header(tmp_path: Path) -> None:
    links = [entry(f"links/{n}", kind=SYMLINK, link="../lib/a") for n in range(300)]
    path = package(tmp_path / "a-1-0.tar.bz2", [*links, FILE])
    assert len(contents(open_package(path, Limits(header=512)))) == 301


def test_a_chain_of_headers_is_damage(tmp_path: Path) -> None:
    extended = tarfile.TarInfo("x")
    extended.type = tarfile.XHDTYPE
    tar = tar_bytes(installed.honest())
    (tmp_path / "a.tar.bz2").write_bytes(bz2.compress(extended.tobuf() * 1900 + tar))  # tarfile follows them by recursion
    refused(tmp_path / "a.tar.bz2", "corrupt-archive", ".")


def test_a_zstd_window_of_two_gigabytes_is_refused(tmp_path: Path) -> None:
    tar = tar_bytes(installed.honest())
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=30)
    stream = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(stream, closefd=False) as writer:
        writer.write(tar)
    path = installed.raw_zip(tmp_path / "a.conda", [("info-a.tar.zst", stream.getvalue()), ("pkg-a.tar.zst", stream.getvalue())])
    refused(path, "too-large", "memory")
    assert open_package(path, Limits(zstd_window=1 << 30)).name == "evil"


def sparse(name: str, size: int) -> bytes:
    """An old GNU sparse file that is one hole."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (size, 0)
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_the_holes_of_sparse_files_count(tmp_path: Path) -> None:
    head = tar_bytes(installed.honest()).rstrip(b"\0")
    head += bytes(-len(head) % 512)
    (tmp_path / "a.tar.bz2").write_bytes(bz2.compress(head + sparse("lib/hole", 1 << 20) + bytes(10240)))
    assert contents(open_package(tmp_path / "a.tar.bz2")) == {"lib/hole": bytes(1 << 20)}
    refused(tmp_path / "a.tar.bz2", "too-large", "more than 1000000 bytes", Limits(size=1_000_000))
    many = b"".join(sparse(f"lib/{n}", 1 << 25) for n in range(40))
    (tmp_path / "b.tar.bz2").write_bytes(bz2.compress(head + many + bytes(10240)))
    refused(tmp_path / "b.tar.bz2", "too-large", "more than 250 times")


def test_a_size_below_zero_or_beyond_the_file_is_damage(tmp_path: Path) -> None:
    for size in (-512, -1, 1 << 20):
        lying = tarfile.TarInfo("lib/a")
        lying.size = size
        head = tar_bytes(installed.honest())[:2048]
        (tmp_path / "a.tar.bz2").write_bytes(bz2.compress(head + lying.tobuf(tarfile.GNU_FORMAT) + bytes(10240)))
        refused(tmp_path / "a.tar.bz2", "corrupt-archive", ".")


NAMES = st.sampled_from(["a", "b", "a/b", "a/b/c", "./a", "../a", "/a", "b/../a", "a//b", ".", "", "c"])
KINDS = st.sampled_from([b"0", SYMLINK, HARDLINK, FOLDER, FIFO])
MEMBERS = st.lists(st.tuples(NAMES, KINDS, NAMES, st.sampled_from([b"", b"x"])), max_size=6)


@settings(max_examples=300, deadline=None)
@given(members=MEMBERS)
def test_whatever_links_to_whatever_no_name_leaves_the_package(
    members: list[tuple[str, bytes, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "links-1-0.tar.gz"
    package(path, [entry(name, content, kind, link) for name, kind, link, content in members])
    try:
        opened = open_package(path)
    except Refused as error:
        code = error.code
    else:
        code = ""
    if code:
        assert code in ("unsafe-archive", "corrupt-archive")
        return
    for name in contents(opened):
        assert os.path.normpath(name) == name
        assert not name.startswith(("/", ".."))


def refused(path: Path, code: str, words: str, limits: Limits | None = None) -> None:
    with pytest.raises(Refused, match=words) as caught:
        open_package(path, limits or Limits())
    assert caught.value.code == code
    assert str(path) in caught.value.message
