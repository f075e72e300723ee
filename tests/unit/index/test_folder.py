"""`conda2wheel index`: an index of wheels from anywhere, in place or in another folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import conda2wheel.index.folder as module
from conda2wheel import Failed, Limits, WheelIndex, index_wheels
from conda2wheel.index.memo import now
from conda2wheel.index.simple import index_file
from tests.helpers import command
from tests.helpers.family import pure
from tests.helpers.installers import pip_from, uv_from
from tests.helpers.serve import served

SITE = "https://me.example.org/wheels"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """Wheels of two projects, one of them in two versions."""
    folder = tmp_path / "dist"
    for name, version in (("ham", "1.0"), ("ham", "1.1"), ("Spam.Eggs", "2.0")):
        pure(name, version, folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the wheels that are read whole."""
    names: list[str] = []

    def watched(path: Path, url: str, limits: Limits) -> object:
        names.append(path.name)
        return index_file(path, url, limits=limits)

    monkeypatch.setattr(module, "index_file", watched)
    return names


def pages(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".whl"}


def urls(index: WheelIndex) -> list[str]:
    return [wheel.url for wheel in index.wheels]


def test_an_index_in_place(dist: Path) -> None:
    done = command.run("index", dist)
    assert (done.returncode, done.stdout) == (0, f"{dist}/simple\n")
    assert "3 wheels of 2 projects" in done.stderr
    assert {path for path in pages(dist) if path.startswith("simple")} == {
        f"simple/{name}index.{form}" for name in ("", "ham/", "spam-eggs/") for form in ("html", "json")
    }
    page = json.loads((dist / "simple/ham/index.json").read_text())
    assert page["meta"] == json.loads((dist / "simple/index.json").read_text())["meta"] == {"api-version": "1.1"}
    assert [file["url"] for file in page["files"]] == [f"../../ham-1.{n}-py3-none-any.whl" for n in (0, 1)]
    assert (dist / "ham-1.0-py3-none-any.whl.metadata").read_bytes().startswith(b"Metadata-Version")


def test_pip_and_uv_install_from_it_in_another_folder(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    index_wheels([dist / "ham-1.0-py3-none-any.whl", *dist.glob("spam*.whl")], out=out, flat=True)
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert (out / ".nojekyll").read_bytes() == b""
    with served(out, negotiate=False) as site:
        for resolve in (pip_from, uv_from):
            found = resolve(f"{site.url}simple/", ["ham", "spam-eggs"], platform="pyemscripten_2025_0_wasm32", python="3.13")
            assert found.versions == {"ham": "1.0", "spam-eggs": "2.0"}, found.said


@pytest.mark.parametrize("url", [SITE, f"{SITE}/"])
def test_absolute_addresses(url: str, dist: Path) -> None:
    assert urls(index_wheels([dist], url=url))[0] == f"{SITE}/ham-1.0-py3-none-any.whl"
    assert f'href="{SITE}/ham-1.0-py3-none-any.whl#sha256=' in (dist / "simple/ham/index.html").read_text()


@pytest.mark.parametrize(
    "url", ["wheels/", "ftp://host/x", "https://", "https://h/?a=b", "https://h/#x", "https://[", "https://h/a\nb"]
)
def test_an_address_that_is_none(url: str, dist: Path) -> None:
    with pytest.raises(Failed, match="not the http or https address of a folder") as caught:
        index_wheels([dist], url=url)
    assert caught.value.code == "usage"
    assert not (dist / "simple").exists()


def test_nothing_that_is_as_it_should_be_is_read_or_written_again(dist: Path, read: list[str]) -> None:
    os.utime(dist / "ham-1.1-py3-none-any.whl", (1e9, 1e9))
    settle(dist)
    first = index_wheels([dist])
    assert first.written == 9
    before = {path: path.stat().st_ino for path in dist.rglob("*")}
    read.clear()
    assert index_wheels([dist]).written == 0
    assert read == []
    assert {path: path.stat().st_ino for path in dist.rglob("*")} == before
    changed = dist / "ham-1.1-py3-none-any.whl"
    size = changed.stat().st_size
    pure("ham", "1.1", dist)  # the same bytes in a new file
    os.utime(changed, (1e9, 1e9))
    assert changed.stat().st_size == size
    assert index_wheels([dist]).written == 0
    assert read == ["ham-1.1-py3-none-any.whl"]


def test_other_bytes_with_the_same_size_and_date_are_noticed(dist: Path) -> None:
    wheel = dist / "ham-1.1-py3-none-any.whl"
    os.utime(wheel, (1e9, 1e9))
    settle(dist)
    index_wheels([dist])
    data = wheel.read_bytes()
    wheel.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    os.utime(wheel, (1e9, 1e9))
    (error,) = index_wheels([dist]).errors
    assert error[0] == str(wheel)


def settle(folder: Path) -> None:
    """Wait until a change of a file there gets another time than its last one had."""
    newest = max(max(path.stat().st_ctime_ns, path.stat().st_mtime_ns) for path in folder.iterdir())
    while now() <= newest + 60_000_000:
        pass


def test_what_is_gone_leaves_the_index(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    index_wheels([dist])
    index_wheels([dist], out=out)
    (dist / "spam_eggs-2.0-py3-none-any.whl").unlink()
    (dist / "simple/spam-eggs/notes.txt").write_text("mine")
    done = command.run("index", dist)
    assert (done.returncode, "removed spam-eggs" in done.stderr) == (0, True)
    assert sorted(path.name for path in (dist / "simple/spam-eggs").iterdir()) == ["notes.txt"]
    assert not (dist / "spam_eggs-2.0-py3-none-any.whl.metadata").exists()
    assert "spam" not in (dist / "simple/index.html").read_text()
    done = command.run("index", dist, "-o", out)
    assert "spam_eggs-2.0-py3-none-any.whl: is in the folder and not in the index [not-indexed]" in done.stderr
    assert (out / "spam_eggs-2.0-py3-none-any.whl").exists()
    assert not (out / "simple/spam-eggs").exists()


def test_two_different_wheels_of_one_name_are_refused(dist: Path, tmp_path: Path) -> None:
    other = pure("ham", "1.0", tmp_path / "other", "spam-eggs")
    out = tmp_path / "site"
    done = command.run("index", dist, other, "-o", out)
    assert (done.returncode, done.stdout, out.exists()) == (1, "", False)
    assert f"conflict: {dist / other.name} and {other} are different wheels with one file name" in done.stderr
    copy = tmp_path / "copy" / other.name
    copy.parent.mkdir()
    copy.write_bytes((dist / other.name).read_bytes())
    assert len(index_wheels([dist, copy], out=out).wheels) == 3
    index_wheels([other], out=out)  # replaces the one that is there
    assert (out / other.name).read_bytes() == other.read_bytes()
    assert b"spam-eggs" in (out / f"{other.name}.metadata").read_bytes()


def broken(dist: Path) -> dict[str, bytes]:
    good = (dist / "ham-1.0-py3-none-any.whl").read_bytes()
    place = good.index(b"Metadata-Version") if b"Metadata-Version" in good else len(good) // 3
    return {
        "cut-1.0-py3-none-any.whl": good[: len(good) // 2],
        "flipped-1.0-py3-none-any.whl": good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :],
        "empty-1.0-py3-none-any.whl": b"",
        "name.whl": good,
        "other-1.0-py3-none-any.whl": good,
        "ham-3.0-py3-none-any.whl": good,
    }


def test_broken_wheels_are_reported_and_the_others_are_indexed(dist: Path) -> None:
    wrong = broken(dist)
    for name, data in wrong.items():
        (dist / name).write_bytes(data)
    done = command.run("index", dist, "--json")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == len(wrong)
    assert all("corrupt-archive" in line for line in errors)
    document = json.loads(done.stdout)
    assert [each["status"] for each in document["results"]] == ["indexed"] * 3 + ["refused"] * len(wrong)
    assert document["index"]["projects"] == ["ham", "spam-eggs"]
    assert len(json.loads((dist / "simple/ham/index.json").read_text())["files"]) == 2


def test_broken_wheels_alone_change_nothing(dist: Path) -> None:
    index_wheels([dist])
    before = pages(dist)
    for wheel in dist.glob("*.whl"):
        wheel.write_bytes(b"PK")
    done = command.run("index", dist)
    assert (done.returncode, done.stdout, pages(dist)) == (1, "", before)


@pytest.mark.parametrize(
    ("given", "code", "status", "words"),
    [
        (["empty"], "not-found", 1, "empty: has no wheels"),
        (["above"], "not-found", 1, "give its subfolder above/dist"),
        (["nothing.whl"], "not-found", 1, "nothing.whl: no such file"),
        (["a.txt"], "corrupt-archive", 1, "a.txt: not a wheel"),
        (["above/dist", "more"], "usage", 2, "the wheels are in several folders: above/dist, more"),
    ],
)
def test_inputs_that_give_no_index(
    given: list[str], code: str, status: int, words: str, dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "above").mkdir()
    dist.rename(tmp_path / "above/dist")
    pure("more", "1", tmp_path / "more")
    (tmp_path / "a.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    done = command.run("index", *given)
    assert (done.returncode, done.stdout) == (status, "")
    assert f"error: {code}: " in done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_index_of_another_tool_stays(dist: Path) -> None:
    (dist / "simple").mkdir()
    (dist / "simple/index.html").write_text("<html>mine</html>")
    done = command.run("index", dist)
    assert (done.returncode, "another tool wrote it" in done.stderr) == (2, True)
    assert (dist / "simple/index.html").read_text() == "<html>mine</html>"


def test_a_link_to_a_wheel_becomes_a_file_where_it_is_flat(dist: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for wheel in dist.glob("*.whl"):
        (links / wheel.name).symlink_to(wheel)
    index_wheels([links])
    assert all(path.is_symlink() for path in links.glob("*.whl"))
    index_wheels([links], flat=True)
    assert not any(path.is_symlink() for path in links.glob("*.whl"))
    assert {path.read_bytes() for path in links.glob("*.whl")} == {path.read_bytes() for path in dist.glob("*.whl")}


def test_a_damaged_or_unwritable_cache_costs_nothing_but_time(dist: Path, cache: Path) -> None:
    first = index_wheels([dist])
    (memo,) = (cache / "index").iterdir()
    for text in ("[]", "{", '{"version": null}', memo.read_text().replace("sha256", "sha")):
        memo.write_text(text)
        assert index_wheels([dist]).projects == first.projects
    memo.unlink()
    (cache / "index").rmdir()
    (cache / "index").write_text("a file")
    assert index_wheels([dist]).projects == first.projects


def test_one_text_is_no_list(dist: Path) -> None:
    with pytest.raises(Failed, match="one text where a list is wanted"):
        index_wheels(str(dist))


def test_limits_hold(dist: Path) -> None:
    done = command.run("index", dist, "--max-members", "1")
    assert (done.returncode, done.stderr.count("too-large")) == (1, 3)
