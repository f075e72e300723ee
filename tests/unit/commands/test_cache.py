"""`cache info` and `cache clear`: what is counted, what is removed, and what stays."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import lock_descriptor

from conda2wheel.net.cache import is_in_use
from tests.helpers import command

SHA = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with an entry of each kind, and what is not its own."""
    made = tmp_path / "cache"
    files = {
        f"conda/ab/{SHA}": 1000,
        f"conda/ab/{SHA}.txt": 1,
        "conda/.parts/part-x/half": 20,
        "repodata/0123456789abcdef/noarch.zst": 300,
        "repodata/mine/file": 1,
        "pyodide/0.29.5/pyodide.js": 50,
        "pyodide/0.29.5/lib/a": 50,
        "pyodide/notes.txt": 1,
        "packages/0.29.5/micropip.whl": 70,
        f"index/{'0a' * 16}.json": 30,
        "precious/file": 1,
    }
    for name, size in files.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    os.utime(made / "conda/.parts/part-x/half", (0, 0))
    with closing(sqlite3.connect(made / "contents.sqlite")) as database, database:
        database.execute("CREATE TABLE package (sha256 TEXT PRIMARY KEY, told TEXT NOT NULL) WITHOUT ROWID")
        database.execute("INSERT INTO package VALUES (?, ?)", (SHA, "x" * 100_000))
    return made


def run(cache: Path, *words: object, status: int = 0) -> Any:
    done = command.run("cache", *words, "--json", env={**os.environ, "CONDA2WHEEL_CACHE": str(cache)})
    assert done.returncode == status, done.stderr
    return {each["kind"]: each for each in json.loads(done.stdout)["kinds"]} if status == 0 else done.stderr


def left(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}


FOREIGN = {f"conda/ab/{SHA}.txt", "repodata/mine/file", "pyodide/notes.txt", "precious/file", "contents.sqlite"}


def test_info_counts_what_is_there_and_changes_nothing(cache: Path) -> None:
    before = left(cache)
    found = run(cache, "info")
    counts = {kind: (each["files"], each["bytes"]) for kind, each in found.items() if kind != "contents"}
    assert counts == {
        "conda": (1, 1000),
        "repodata": (1, 300),
        "index": (1, 30),
        "pyodide": (2, 100),
        "packages": (1, 70),
        "partial": (1, 20),
    }
    assert found["contents"]["bytes"] > 100_000
    assert left(cache) == before
    shown = command.run("cache", "info", env={**os.environ, "CONDA2WHEEL_CACHE": str(cache)}).stdout.splitlines()
    assert [line.split()[0] for line in shown] == [*found, "all"]
    assert shown[-1].endswith(f"files  {cache}")
    assert all(each["files"] == 0 for each in run(cache / "none", "info").values())


def test_clear_removes_all_that_is_the_caches_and_nothing_else(cache: Path) -> None:
    would = run(cache, "clear", "--dry-run")
    assert f"conda/ab/{SHA}" in left(cache)
    assert run(cache, "clear") == would
    assert left(cache) == FOREIGN
    assert (cache / "contents.sqlite").stat().st_size < 100_000
    assert {each["files"] for kind, each in run(cache, "info").items() if kind != "contents"} == {0}


def test_clear_of_a_kind_and_of_what_is_old(cache: Path) -> None:
    before = left(cache)
    os.utime(cache / "conda" / "ab" / SHA, (0, 0))
    assert run(cache, "clear", "repodata", "conda", "--older-than", "1d")["repodata"]["files"] == 0
    assert left(cache) == before - {f"conda/ab/{SHA}"}
    run(cache, "clear", "pyodide")
    assert left(cache) == {name for name in before if not name.startswith(("pyodide/0", f"conda/ab/{SHA}"))} | {
        f"conda/ab/{SHA}.txt"
    }
    assert "'tests' is no kind of the cache (kinds are conda, " in run(cache, "clear", "tests", status=2)
    assert "--older-than" in run(cache, "clear", "--older-than", "soon", status=2)


def test_what_a_running_process_has_locked_stays(cache: Path) -> None:
    """A download, a Pyodide that another process runs, and a database that is written."""
    hold = (
        "import sys; from pathlib import Path; from conda2wheel.net.cache import mark_in_use\n"
        "mark_in_use(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    place = cache / "pyodide" / "0.29.5"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "held\n"
        lock = os.open(cache / "conda" / ".parts" / f"{SHA}.lock", os.O_RDWR | os.O_CREAT)
        assert lock_descriptor(lock, blocking=False)
        with closing(sqlite3.connect(cache / "contents.sqlite", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            found = run(cache, "clear")
            database.execute("ROLLBACK")
        os.close(lock)
        assert {kind: each["locked"] for kind, each in found.items()} == {
            "conda": 1,
            "repodata": 0,
            "contents": 1,
            "index": 0,
            "pyodide": 1,
            "packages": 1,
            "partial": 0,
        }
        assert {f"conda/ab/{SHA}", "pyodide/0.29.5/lib/a", "packages/0.29.5/micropip.whl"} <= left(cache)
        user.kill()
    assert not is_in_use(place)  # what it left is no lock
    assert {each["locked"] for each in run(cache, "clear").values()} == {0}
    assert left(cache) - {f"conda/.parts/{SHA}.lock"} == FOREIGN


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    (cache / "pyodide" / "0.28.3").symlink_to(other)
    (cache / "conda" / "cd").symlink_to(other)
    (cache / "repodata" / ("a" * 16)).symlink_to(other)
    run(cache, "clear")
    assert (other / "file").read_text() == "x"
