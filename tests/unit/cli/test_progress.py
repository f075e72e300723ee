"""Progress on a terminal does not change the result, which may go to a file."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers import conda, sets
from tests.helpers.served import Held, serve

ABOUT = {"license": "MIT", "summary": "a demo"}


def demo(name: str, data: bytes = b"") -> Path:
    files: dict[str, str | bytes] = {"site-packages/demo.py": "x = 1\n", "site-packages/demo.bin": data}
    return conda.assemble(name, "1.0", files, noarch="python", string="pyh1_0", about=ABOUT)


def plain(shown: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def watched(arguments: list[str], stdout: Path, held: Held | None = None, until: Sequence[str] = ()) -> tuple[int, str]:
    """Exit status, and what a terminal showed of stderr; stdout goes to a file. What is held is let go as soon as the terminal
    showed what all of these regular expressions find."""
    leader, follower = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(leader, 65536):
                shown.append(data)
                text = plain(b"".join(shown).decode(errors="replace"))
                if held is not None and all(re.search(each, text) for each in until):
                    held.free()
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    with stdout.open("wb") as out:
        command = [sys.executable, "-m", "conda2wheel", *arguments]
        done = subprocess.run(command, stdout=out, stderr=follower, env={**os.environ, "TERM": "xterm"}, check=False)
    os.close(follower)
    reader.join()
    os.close(leader)
    return done.returncode, b"".join(shown).decode()


@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"]])
def test_the_result_goes_to_its_file_and_the_bar_to_the_terminal(names: list[str], tmp_path: Path) -> None:
    sources = [str(demo(name)) for name in names]
    status, shown = watched(["convert", *sources, "-o", str(tmp_path / "dist")], tmp_path / "out.txt")
    assert status == 0
    expected = [str(tmp_path / "dist" / f"{name}-1.0-py3-none-any.whl") for name in names]
    assert (tmp_path / "out.txt").read_text().splitlines() == expected
    assert "converting" in shown
    assert (f"{len(names)}/{len(names)}" in shown) is (len(names) > 1)
    assert not any(path in shown for path in expected)


def test_warnings_and_errors_are_lines_of_their_own_below_the_bar(tmp_path: Path) -> None:
    status, shown = watched(
        ["convert", str(demo("one")), str(tmp_path / "gone.conda"), "-o", str(tmp_path)], tmp_path / "out.txt"
    )
    assert status == 1
    lines = [line.rpartition("\x1b[2K")[2].rpartition("\r")[2] for line in plain(shown).replace("\r\n", "\n").splitlines()]
    assert any(line.startswith("conda2wheel: error: not-found: ") for line in lines), shown
    assert any(line.startswith("conda2wheel: warning: one-1.0") for line in lines), shown


def test_downloads_show_their_names_bytes_and_rate(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = demo(name, os.urandom(60_000))
        made.rename(tmp_path / made.name)
    with serve(tmp_path) as served:
        urls = [f"{served.url}/{name}-1.0-pyh1_0.tar.bz2" for name in ("one", "two")]
        rates = {name: rf"{name}-1\.0-pyh1_0\.tar\.bz2 .*\d+(\.\d+)?/\d+\.\d+ kB +[\d.]+ (bytes|kB)/s" for name in ("one", "two")}
        with served.hold(drip=True) as held:
            status, shown = watched(
                ["convert", *urls, "-o", str(tmp_path / "dist")], tmp_path / "out.txt", held, [*rates.values()]
            )
    assert status == 0
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 2
    for name in ("one", "two"):
        assert re.search(rates[name], plain(shown)), shown
    lines = [line.rpartition("\x1b[2K")[2].rpartition("\r")[2] for line in plain(shown).replace("\r\n", "\n").splitlines()]
    assert any(line.startswith("conda2wheel: warning: one, two: 2 warnings: ") for line in lines), shown


@pytest.mark.parametrize("verbose", [(), ("-v",)])
def test_bundle_shows_its_steps_and_downloads_and_permanent_lines_are_whole(verbose: tuple[str, ...], tmp_path: Path) -> None:
    sets.indexed(tmp_path / "channel", [demo("one", os.urandom(60_000)), sets.native("numeric")])
    with serve(tmp_path / "channel") as served:
        command = ["bundle", "one", "numeric", "--channel", served.url, "-o", str(tmp_path / "set"), *verbose]
        downloading = [r"one-1\.0-pyh1_0\.tar\.bz2 .*/6\d\.\d kB", "downloading 2 packages"]
        with served.hold("*.tar.bz2", drip=True) as held:
            status, shown = watched(command, tmp_path / "out.txt", held, downloading)
    assert (status, (tmp_path / "out.txt").read_text()) == (0, f"{tmp_path / 'set'}\n"), shown
    assert re.search(r"one-1\.0-pyh1_0\.tar\.bz2 .*/6\d\.\d kB", plain(shown)), shown
    lines = [
        line.rpartition("\x1b[2K")[2].rpartition("\r")[2].rstrip() for line in plain(shown).replace("\r\n", "\n").splitlines()
    ]
    assert any(re.search(r". downloading 2 packages$", line) for line in lines), shown
    kept = [line.removeprefix("conda2wheel: ") for line in lines if line.startswith("conda2wheel: ")]
    assert any(line.startswith("2 converted, ") for line in kept), kept
    assert ("downloading 2 packages" in kept, "writing the index" in kept) == (bool(verbose), bool(verbose))
