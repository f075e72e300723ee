"""Servers that answer slowly, wrongly or with what is no HTTP, and disks that are full: one error of the right class."""

from __future__ import annotations

import gzip
import io
import itertools
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.remote_info import read_remote_info
from conda2wheel.channels.search import find
from conda2wheel.errors import Conda2WheelError, Failed
from conda2wheel.net import credentials, download
from conda2wheel.net.download import FileRequests, Validators
from conda2wheel.net.remote_file import RemoteFile
from tests.helpers import lists
from tests.helpers.raw import answering
from tests.helpers.served import serve

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS = {
    "no status": b"hello\r\n\r\n",
    "status": b"HTTP/1.1 99999999999999999999 x\r\n\r\n",
    "nothing": b"",
    "location": b"HTTP/1.1 302 x\r\nLocation: http://[::1\r\n\r\n",
    "location port": b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:99999999/\r\n\r\n",
    "location name": b"HTTP/1.1 302 x\r\nLocation: https://" + b"a" * 300 + b".example/\r\n\r\n",
    "location idna": b"HTTP/1.1 302 x\r\nLocation: https://\xe2\x80\xa8..\xff/\r\n\r\n",
    "location escape": b"HTTP/1.1 302 x\r\nLocation: https://host/\x1b[2J\r\n\r\n",
    "location label": b"HTTP/1.1 302 x\r\nLocation: https://a..b/\r\n\r\n",
    "location empty": b"HTTP/1.1 302 x\r\nLocation:\r\n\r\n",
    "location none": b"HTTP/1.1 302 x\r\n\r\n",
    "length": OK + b"Content-Length: -5\r\n\r\nabc",
    "length digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
    "length other digits": OK + "Content-Length: ²\r\n\r\nabc".encode("latin-1"),
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 9000 + b"\r\nabc",
    "long header": OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": OK + b"X: a\r\n" * 500 + b"\r\n",
    "retry": b"HTTP/1.1 503 x\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    "range": b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\nContent-Length: 2\r\n\r\nab",
    "challenge": b"HTTP/1.1 401 x\r\nWWW-Authenticate: \x00\x01\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF", 0.0)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_answer_is_a_failure_or_a_file(name: str, tmp_path: Path) -> None:
    """Never another exception: a file of these bytes is what a server may well send, and is refused by its hash."""
    with answering(ANSWERS[name]) as url:
        for ask in (
            lambda: download.download(RemoteFile(f"{url}/x-1-0.conda", "0" * 64), tmp_path, 1 << 20),
            lambda: read_remote_info(f"{url}/x-1-0.tar.bz2"),
            lambda: find("x", [url], Downloads()),
        ):
            with pytest.raises(Conda2WheelError) as caught:
                ask()
            assert caught.value.code in ("network", "corrupt-archive", "not-found")
            assert len(str(caught.value)) < 2000
            assert "\n" not in str(caught.value)


def test_what_a_server_packs_is_not_unpacked(tmp_path: Path) -> None:
    """A bomb of Content-Encoding stays as it is, since none was asked for; the size is that of what was sent."""
    packed = gzip.compress(b"\0" * (64 << 20), 1)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with answering(OK + head + packed) as url:
        path = download.download(RemoteFile(f"{url}/x.bin"), tmp_path, 1 << 20)
    assert path.stat().st_size == len(packed)


@pytest.mark.parametrize("tag", ['"a\r\n b"', "W/\"x'", '"\xff"', '"' + "a" * 1000 + '"', "plain"])
def test_a_version_that_cannot_be_sent_back_is_forgotten(tag: str) -> None:
    assert Validators.of({"ETag": tag, "Last-Modified": "Mon\r\nX: y"}).headers() == {}
    known = Validators.of({"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2026 00:00:00 GMT"})
    assert set(known.headers()) == {"If-None-Match", "If-Modified-Since"}


def test_a_server_that_sends_next_to_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(step=10)
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x.conda").write_bytes(b"a" * 100_000)
    with serve(tmp_path / "root") as served:
        for ask in (
            lambda: download.download(RemoteFile(f"{served.url}/x.conda"), tmp_path, 1 << 20),
            lambda: read_remote_info(f"{served.url}/x.conda"),
            lambda: FileRequests().get(f"{served.url}/x.conda", io.BytesIO(), 1 << 20),
        ):
            with served.hold("*.conda", drip=True), monkeypatch.context() as patched:
                patched.setattr(download, "time", clock)
                with pytest.raises(Failed, match=r"the server sent \d+ bytes in \d+ seconds, and was given up") as caught:
                    ask()
            assert caught.value.code == "network"


def test_a_server_that_never_ends_its_headers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr(download, "TRIES", 0)
    closed = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        try:
            while not closed.wait(0.01):
                connection.sendall(b"a")
        except OSError:
            closed.set()

    with answering(drip) as url:
        with pytest.raises(Failed) as caught:
            download.download(RemoteFile(f"{url}/x.conda"), tmp_path, 1 << 20)
        assert caught.value.code == "network"
        assert closed.wait(60), "the connection is still open"


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process have more bytes: the error of a disk that is full, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_cache_disk_is_a_disk_error_with_its_path(tmp_path: Path) -> None:
    records = {f"p{n}-1-h_0.conda": {**lists.SOUND, "name": f"p{n}"} for n in range(2000)}
    cache = tmp_path / "cache"
    with serve(lists.channel(tmp_path / "channel", "plain", records)) as served:
        (served.root / "x.conda").write_bytes(b"a" * 200_000)
        with full_disk(50_000):
            with pytest.raises(Failed) as of_list:
                find("p1", [served.url], Downloads(cache=cache))
            with pytest.raises(Failed) as of_package, Downloads(cache=cache).package(f"{served.url}/x.conda", "0" * 64, 1 << 20):
                pass
        for caught in (of_list, of_package):
            assert caught.value.code == "disk"
            assert str(cache) in caught.value.message
        assert find("p1", [served.url], Downloads(cache=cache)).name == "p1"


@pytest.mark.parametrize("kind", ["BearerToken", "CondaToken"])
def test_a_token_that_ends_in_a_newline_is_used_without_it(kind: str) -> None:
    found = credentials._parsed({kind: "tk-secret\n"})
    assert found is not None
    assert "tk-secret" in (found.bearer, found.token)
    for bad in ("a b", "a\nb", "", "\n", "é", "a" * 9000):
        assert credentials._parsed({kind: bad}) is None


def test_a_header_that_cannot_be_sent_is_not_shown(tmp_path: Path) -> None:
    with answering(b"") as url, pytest.raises(Failed) as caught:
        download.download(RemoteFile(url.replace("//", "//me:hunter2%0a@")), tmp_path, 1 << 20)
    assert "hunter2" not in repr(caught.value)
