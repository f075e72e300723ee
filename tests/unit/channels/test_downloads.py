"""Packages from the network: each once, several at a time, whole or not at all, and later from the cache alone."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rattler.index import index_fs

from conda2wheel.channels.downloads import STALE, Downloads
from conda2wheel.commands.convert import ConvertOutcome, convert_each
from conda2wheel.errors import Failed, Refused
from conda2wheel.net import download as fetch
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.results import Converted
from tests.helpers import conda
from tests.helpers.served import Served, serve

NAMES = [f"demo{number}" for number in range(8)]
BOUND = 1 << 30


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(fetch, "BACKOFF", 0.0)
    root = tmp_path / "channel"
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir).mkdir(parents=True)
    for name in NAMES:
        files: dict[str, bytes | str] = {f"site-packages/{name}.py": "x = 1\n", f"site-packages/{name}.bin": os.urandom(40_000)}
        made = conda.assemble(name, "1.0", files, noarch="python", string="pyh1_0", about={"license": "MIT", "summary": "x"})
        shutil.move(made, root / "noarch" / made.name)
    asyncio.run(index_fs(root))
    with serve(root) as running:
        yield running


def package(served: Served, name: str = "demo0") -> RemoteFile:
    path = served.root / "noarch" / f"{name}-1.0-pyh1_0.tar.bz2"
    data = path.read_bytes()
    return RemoteFile(f"{served.url}/noarch/{path.name}", hashlib.sha256(data).hexdigest(), len(data))


def kept(cache: Path) -> list[str]:
    """What the cache has, with no part of anything: each file is what its name says."""
    found = [path for path in (cache / "conda").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in found)
    return sorted(path.name for path in found)


def converted(served: Served, sources: list[str], out: Path, downloads: Downloads) -> list[ConvertOutcome[Converted]]:
    return list(convert_each(sources, channels=[served.url], out=out, downloads=downloads))


def test_many_come_at_once_and_a_second_run_needs_no_network(served: Served, cache: Path, tmp_path: Path) -> None:
    with served.hold("*.tar.bz2", until=3):
        outcomes = converted(served, NAMES, tmp_path / "dist", Downloads(fresh=3600))
    assert [outcome.error for outcome in outcomes] == [None] * len(NAMES)
    assert served.most_at_once > 2
    assert {served.requests[path] for path in served.asked("*.tar.bz2")} == {1}
    assert kept(cache) == sorted(str(package(served, name).sha256) for name in NAMES)
    before = {path.name: path.read_bytes() for path in (tmp_path / "dist").iterdir()}
    served.forget()
    shutil.rmtree(tmp_path / "dist")
    outcomes = converted(served, NAMES, tmp_path / "dist", Downloads(offline=True))
    assert [outcome.error for outcome in outcomes] == [None] * len(NAMES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "dist").iterdir()} == before
    assert not served.requests


def test_offline_works_with_the_server_gone(served: Served, tmp_path: Path) -> None:
    """As a person does it: twice, in processes of their own."""
    command = [sys.executable, "-m", "conda2wheel", "convert", *NAMES[:2], "-o", str(tmp_path / "dist")]
    with serve(served.root) as short:
        command += ["--channel", short.url]
        first = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, last = first.stderr.splitlines()
    assert all("no-metadata" in line for line in lines)  # nobody watches: nothing moves
    assert last == "conda2wheel: 2 converted"
    second = subprocess.run([*command, "--offline"], capture_output=True, text=True, check=True)
    assert (second.stdout, second.stderr) == (first.stdout, first.stderr)
    third = subprocess.run([*command, "--offline", "demo7"], capture_output=True, text=True, check=False)
    assert third.returncode == 1
    assert third.stdout == first.stdout
    line, last = [each for each in third.stderr.splitlines() if each not in first.stderr.splitlines()]
    assert last == "conda2wheel: 2 converted, 1 failed"
    assert line.startswith("conda2wheel: error: network: ")
    assert "--offline" in line


def test_urls_come_at_once_too_and_those_without_a_hash_are_not_kept(served: Served, cache: Path, tmp_path: Path) -> None:
    with served.hold("*.tar.bz2", until=3):
        outcomes = converted(served, [package(served, name).url for name in NAMES], tmp_path / "dist", Downloads())
    assert [outcome.error for outcome in outcomes] == [None] * len(NAMES)
    assert served.most_at_once > 2
    assert {served.requests[path] for path in served.asked("*.tar.bz2")} == {1}
    assert not (cache / "conda").exists()


def test_the_first_is_converted_while_others_are_under_way(served: Served, tmp_path: Path) -> None:
    with served.hold("*demo1-*") as held:
        outcomes = convert_each(NAMES, channels=[served.url], out=tmp_path / "dist", downloads=Downloads())
        assert next(iter(outcomes)).error is None
        held.arrived()
        assert list((tmp_path / "dist").iterdir())
        held.free()
        del outcomes  # nobody wants the rest


def test_what_fails_ahead_fails_in_its_turn_and_is_asked_for_once(served: Served, tmp_path: Path) -> None:
    served.fault("*demo1-*", status=404)
    served.fault("*demo3-*", spoil=True)
    outcomes = converted(served, ["demo0", "demo1", "nodemo", "demo3", "demo4"], tmp_path / "dist", Downloads(fresh=3600))
    assert [getattr(outcome.error, "code", None) for outcome in outcomes] == [
        None,
        "not-found",
        "not-found",
        "corrupt-archive",
        None,
    ]
    assert {served.requests[path] for path in served.asked("*.tar.bz2")} == {1}


@pytest.mark.parametrize(("fault", "asked"), [({"status": 500}, 2), ({"status": 503}, 2), ({"cut": 0.5}, 2)])
def test_a_fault_that_passes_is_survived(fault: dict[str, float], asked: int, served: Served, cache: Path) -> None:
    wanted = package(served)
    served.fault("*.tar.bz2", times=1, **fault)
    Downloads().fetch([wanted], BOUND)
    assert kept(cache) == [wanted.sha256]
    assert served.requests.total() == asked


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ({"status": 404}, "not-found", "no such file"),
        ({"status": 401}, "network", "401"),
        ({"status": 500}, "network", "500"),
        ({"cut": 0.5}, "network", "the connection broke after"),
        ({"spoil": True}, "corrupt-archive", "has sha256"),
    ],
)
def test_a_fault_that_stays_is_one_clear_line_and_nothing_is_kept(
    fault: dict[str, float], code: str, words: str, served: Served, cache: Path
) -> None:
    served.fault("*.tar.bz2", **fault)
    with pytest.raises((Failed, Refused), match=words) as caught:
        Downloads().fetch([package(served)], BOUND)
    assert (caught.value.code, "\n" in str(caught.value)) == (code, False)
    assert kept(cache) == []
    served.heal()
    Downloads().fetch([package(served)], BOUND)
    assert kept(cache) == [package(served).sha256]


def test_a_file_larger_than_the_channel_lists_is_not_read_to_its_end(served: Served, cache: Path) -> None:
    wanted = package(served)
    with pytest.raises(Refused, match="not 100") as caught:
        Downloads().fetch([RemoteFile(wanted.url, wanted.sha256, 100)], BOUND)
    assert caught.value.code == "corrupt-archive"
    assert kept(cache) == []


def test_a_server_may_ask_for_patience_but_not_until_tomorrow(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_RETRY_AFTER", 0.0)
    with fetch._session() as session:
        retries = session.get_adapter("https://example.org").max_retries  # type: ignore[attr-defined]
    from urllib3 import HTTPResponse

    assert retries.get_retry_after(HTTPResponse(headers={"Retry-After": "86400"})) == 0
    assert retries.get_retry_after(HTTPResponse()) is None


def test_a_spoiled_file_in_the_cache_is_brought_again(served: Served, cache: Path) -> None:
    wanted = package(served)
    Downloads().fetch([wanted], BOUND)
    (place,) = (cache / "conda").rglob(str(wanted.sha256))
    place.write_bytes(b"spoiled")
    Downloads().fetch([wanted], BOUND)
    assert kept(cache) == [wanted.sha256]
    assert served.requests.total() == 2


def test_of_many_that_want_a_file_one_brings_it(served: Served, cache: Path) -> None:
    wanted = package(served)
    code = (
        "from conda2wheel.channels.downloads import Downloads; from conda2wheel.net.download import RemoteFile; "
        f"print(flush=True); Downloads().fetch([{wanted!r}], {BOUND})"
    )
    with served.hold("*.tar.bz2") as held:
        threads = [threading.Thread(target=Downloads().fetch, args=([wanted], BOUND)) for _ in range(4)]
        for thread in threads:
            thread.start()
        held.arrived()
        others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [other.stdout and other.stdout.readline() for other in others] == ["\n", "\n"]
    for thread in threads:
        thread.join()
    assert [other.communicate()[0] for other in others] == ["", ""]
    assert [other.returncode for other in others] == [0, 0]
    assert served.requests.total() == 1
    assert kept(cache) == [wanted.sha256]


def test_a_killed_download_leaves_nothing_that_is_taken_for_a_package(served: Served, cache: Path) -> None:
    wanted = package(served)
    code = (
        "from conda2wheel.channels.downloads import Downloads; from conda2wheel.net.download import RemoteFile; "
        f"Downloads(watch=lambda *_: print('!', flush=True)).fetch([{wanted!r}], {BOUND})"
    )
    with (
        served.hold("*.tar.bz2", drip=True),
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"!\n"
        other.kill()
    parts = cache / "conda" / ".parts"
    (left,) = [path for path in parts.iterdir() if path.is_dir()]
    Downloads().fetch([wanted], BOUND)  # its lock died with it
    assert [*(cache / "conda").glob(f"*/{wanted.sha256}")]
    os.utime(left, (0, time.time() - STALE - 1))
    Downloads().fetch([package(served, "demo1")], BOUND)
    assert not left.exists()


def test_where_no_cache_can_be_it_works_without(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = Downloads(cache=tmp_path / "file" / "cache", fresh=3600)
    assert [outcome.error for outcome in converted(served, NAMES[:3], tmp_path / "dist", nowhere)] == [None] * 3
    assert {served.requests[path] for path in served.asked("*.tar.bz2")} == {1}


def test_a_full_disk_is_told_with_what_to_do(served: Served, cache: Path) -> None:
    code = (
        "import resource; from conda2wheel.channels.downloads import Downloads; from conda2wheel.net.download import RemoteFile\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        f"Downloads().fetch([{package(served)!r}], {BOUND})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "disk: " in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr.splitlines()[-1]
    assert kept(cache) == []
