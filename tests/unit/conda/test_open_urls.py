"""Opening packages by URL: what came is what was asked for, from where it was asked for."""

from __future__ import annotations

import functools
import hashlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util import connection

from conda2wheel.channels.open import open_package
from conda2wheel.commands.convert import convert_each
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.net import download as fetch
from tests.helpers import conda
from tests.helpers.opened import contents, demo

NAME = "demo-1.0-py313h1234567_0.conda"
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """A server that gives its answers in turn, the last one for ever."""

    port: int = 0
    answers: list[Answer] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str = f"emscripten-forge-4x/emscripten-wasm32/{NAME}") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.seen.append(handler.path)
        self.headers.append(dict(handler.headers))
        (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(handler)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, shared: Server, *arguments: object) -> None:
        self.shared = shared
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.shared.answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "BACKOFF", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    shared = Server(answers=[send(demo("conda").read_bytes())])
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, shared)) as running:
        shared.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield shared
        running.shutdown()
        thread.join()
    assert list(tmp_path.iterdir()) == []  # no download stays behind, whatever happened


def send(body: bytes, status: int = 200, length: int | None = None, **headers: Any) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(target: str) -> Answer:
    return send(b"", 302, Location=target)


def test_a_package_is_downloaded_and_opened(server: Server) -> None:
    package = open_package(server.url())
    assert contents(package) == contents(open_package(demo()))
    assert package.source == server.url()
    assert package.channel == f"http://127.0.0.1:{server.port}/emscripten-forge-4x/emscripten-wasm32"
    assert server.seen == [f"/emscripten-forge-4x/emscripten-wasm32/{NAME}"]


def test_the_address_of_a_channel_is_evidence_and_its_query_is_not(server: Server) -> None:
    package = open_package(server.url() + "?token=a/b#anything/else")
    assert package.channel == f"http://127.0.0.1:{server.port}/emscripten-forge-4x/emscripten-wasm32"


def test_a_tar_gz_is_no_encoding_of_a_tar(server: Server) -> None:
    open_package(server.url())
    assert server.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("path", ["..", ".", "", "a/", "x" * 300, "%2e%2e%2fevil", "a%00b"])
def test_no_address_chooses_where_its_download_lies(path: str, server: Server) -> None:
    assert open_package(server.url() + "/" + path).name == "demo"


def test_the_right_checksum_passes_however_it_is_written(server: Server) -> None:
    digest = hashlib.sha256(demo("conda").read_bytes()).hexdigest()
    for text in (digest, digest.upper()):
        assert open_package(f"{server.url()}#sha256={text}").name == "demo"


@pytest.mark.parametrize("digest", ["0" * 64, "", "nonsense"])
def test_a_wrong_checksum_is_refused(digest: str, server: Server) -> None:
    refused(f"{server.url()}#sha256={digest}", "corrupt-archive", f"has sha256 {hashed(demo('conda'))}, not")


@pytest.mark.parametrize("status", [404, 410])
def test_what_the_server_does_not_have_is_not_found(status: int, server: Server) -> None:
    server.answers = [send(b"no", status)]
    failed(server.url(), "not-found", f"no such file .{status} ")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 418, 204])
def test_any_other_answer_is_told(status: int, server: Server) -> None:
    server.answers = [send(b"", status)]
    failed(server.url(), "network", f"answered {status} ")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_recovers_is_asked_again(status: int, server: Server) -> None:
    server.answers = [send(b"busy", status), send(b"busy", status), *server.answers]
    assert open_package(server.url()).name == "demo"
    assert len(server.seen) == 3


def test_a_server_that_does_not_recover_is_given_up(server: Server) -> None:
    server.answers = [send(b"busy", 503)]
    failed(server.url(), "network", "503")
    assert len(server.seen) == 1 + fetch.TRIES


@pytest.mark.parametrize("announced", [True, False])
def test_a_connection_that_breaks_in_the_middle_gives_no_package(announced: bool, server: Server) -> None:
    data = demo("conda").read_bytes()
    server.answers = [send(data[: len(data) // 2], length=len(data) if announced else -1)]
    if announced:
        failed(server.url(), "network", "the connection broke after .* 5 times")
        assert len(server.seen) == 1 + fetch.TRIES
    else:  # nothing says how long it should be, but a package knows
        refused(server.url(), "corrupt-archive", server.url())


def rest(data: bytes, start: int, told: int | None = None, **headers: Any) -> Answer:
    where = start if told is None else told
    return send(data[start:], 206, Content_Range=f"bytes {where}-{len(data) - 1}/{len(data)}", **headers)


@pytest.mark.parametrize("validator", ["ETag", "Last_Modified"])
def test_a_download_that_broke_goes_on_where_it_broke(validator: str, server: Server) -> None:
    data = demo("conda").read_bytes()
    value = {"ETag": '"v1"', "Last_Modified": "Mon, 02 Jun 2025 00:00:00 GMT"}[validator]
    half = len(data) // 2
    known: dict[str, Any] = {validator: value}
    server.answers = [send(data[:half], length=len(data), **known), rest(data, half, **known)]
    package = open_package(f"{server.url()}#sha256={hashed(demo('conda'))}")
    assert package.sha256 == hashed(demo("conda"))
    assert "Range" not in server.headers[0]
    assert (server.headers[1]["Range"], server.headers[1]["If-Range"]) == (f"bytes={half}-", value)


@pytest.mark.parametrize("answer", ["whole", "other part", "not satisfiable", "weak tag", "no tag"])
def test_a_download_begins_anew_where_the_rest_cannot_be_had(answer: str, server: Server) -> None:
    data = demo("conda").read_bytes()
    half = len(data) // 2
    tag = {"weak tag": 'W/"v1"', "no tag": ""}.get(answer, '"v1"')
    between = {"other part": [rest(data, half, told=half + 1)], "not satisfiable": [send(b"", 416)]}.get(answer, [])
    known: dict[str, Any] = {"ETag": tag} if tag else {}
    server.answers = [send(data[:half], length=len(data), **known), *between, send(data)]
    assert open_package(server.url()).sha256 == hashed(demo("conda"))
    assert "Range" not in server.headers[-1] or answer == "whole"
    assert len(server.seen) == 2 + len(between)


def test_a_file_that_changed_in_between_is_not_mixed(server: Server) -> None:
    data = demo("conda").read_bytes()
    server.answers = [send(b"x" * 99, length=len(data), ETag='"old"'), send(data, ETag='"new"')]
    assert open_package(server.url()).sha256 == hashed(demo("conda"))


def test_a_server_that_is_not_there_is_the_networks_fault(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failed(f"http://127.0.0.1:{taken.getsockname()[1]}/{NAME}", "network", "refused")


def test_a_redirect_is_followed(server: Server) -> None:
    server.answers = [redirect(server.url("elsewhere")), redirect("/again"), *server.answers]
    assert open_package(server.url()).name == "demo"
    assert server.seen[1:] == ["/elsewhere", "/again"]


@pytest.mark.parametrize(
    "target", ["http://192.0.2.1/x.conda", "http://example.invalid/x.conda", "ftp://127.0.0.1/x", "file:///x"]
)
def test_a_redirect_to_an_open_line_is_not_followed(target: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    connect = connection.create_connection

    def watched(address: tuple[str, int], *arguments: object, **options: object) -> object:
        asked.append(address)
        return connect(address, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "create_connection", watched)
    server.answers = [redirect(target)]
    failed(server.url(), "network", "only https and file URLs")
    assert server.seen == [f"/emscripten-forge-4x/emscripten-wasm32/{NAME}"]
    assert asked == [("127.0.0.1", server.port)]


def test_another_machine_does_not_redirect_to_this_one() -> None:
    answer = requests.Response()
    answer.url, answer.status_code, answer.headers["Location"] = "https://example.org/a", 302, "http://127.0.0.1:8080/admin"
    with fetch._session() as session, pytest.raises(Failed, match="redirects to this machine"):
        session.get_redirect_target(answer)


def test_redirects_in_a_circle_end(server: Server) -> None:
    server.answers = [redirect(server.url())]
    failed(server.url(), "network", "redirect")


@pytest.mark.parametrize("announced", [True, False])
def test_a_package_larger_than_the_bound_is_not_kept(announced: bool, server: Server) -> None:
    data = demo("conda").read_bytes()
    server.answers = [send(data, length=None if announced else -1)]
    refused(server.url(), "too-large", f"more than {len(data) - 1} bytes", Limits(download=len(data) - 1))
    assert open_package(server.url(), Limits(download=len(data))).name == "demo"


def test_an_error_page_is_no_package(server: Server) -> None:
    server.answers = [send(b"<html>please log in</html>")]
    refused(server.url(), "corrupt-archive", "not a conda package")


@pytest.mark.parametrize(
    "url", ["http://example.org/a.conda", "ftp://example.org/a.conda", "s3://bucket/a.conda", "http://127.0.0.1.example.org/a"]
)
def test_open_lines_are_not_used(url: str) -> None:
    failed(url, "network", "only https and file URLs")


@pytest.mark.parametrize("url", ["https://", "https://[::1/a.conda", "https:///a.conda", "https://a b/c", "https://host:port/a"])
def test_a_broken_address_is_an_accident(url: str) -> None:
    with pytest.raises(Failed):
        open_package(url)


@pytest.mark.parametrize("start", ["file://", "file:", "FILE://localhost", "file://localhost"])
def test_a_file_url_is_a_path(start: str, tmp_path: Path) -> None:
    path = tmp_path / "a b%41.conda"
    path.write_bytes(demo("conda").read_bytes())
    package = open_package(start + path.as_uri().removeprefix("file://"))
    assert contents(package) == contents(open_package(demo()))
    assert package.channel is None


def test_a_file_url_may_name_a_folder_or_nothing(tmp_path: Path) -> None:
    assert open_package(conda.unpack(demo()).as_uri()).name == "demo"
    failed((tmp_path / "gone.conda").as_uri(), "not-found", "no such file")
    failed("file://elsewhere/a.conda", "not-found", "of this machine")


def test_a_file_urls_checksum_is_compared() -> None:
    assert open_package(f"{demo().as_uri()}#sha256={hashed(demo())}").name == "demo"
    refused(f"{demo().as_uri()}#sha256={'0' * 64}", "corrupt-archive", "has sha256")


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def failed(url: str, code: str, words: str) -> None:
    with pytest.raises(Failed, match=words) as caught:
        open_package(url)
    assert caught.value.code == code


def refused(url: str, code: str, words: str, limits: Limits | None = None) -> None:
    with pytest.raises(Refused, match=words) as caught:
        open_package(url, limits or Limits())
    assert caught.value.code == code


@pytest.mark.parametrize("status", [200, 403, 404, 0])
def test_what_opens_a_private_channel_is_sent_and_not_shown(status: int, server: Server, tmp_path: Path) -> None:
    url = server.url(f"t/tk-secret/emscripten-forge-4x/emscripten-wasm32/{NAME}").replace("://", "://me:secret@")
    if status in (403, 404):
        server.answers = [send(b"no", status)]
    elif status == 0:
        server.answers = [send(b"<html>please log in</html>")]
    (outcome,) = convert_each([url], out=tmp_path / "dist", dry_run=True)
    assert server.seen[0].startswith("/t/tk-secret/")
    assert server.headers[0]["Authorization"].startswith("Basic ")
    assert "secret" not in repr(outcome)
    assert "127.0.0.1" in outcome.source
    if status == 200:
        assert "secret" not in repr(open_package(url).channel)
