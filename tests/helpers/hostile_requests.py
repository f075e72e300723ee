"""Requests that attack a server: paths, parameters, headers and methods, as bytes; and archives that claim ten gigabytes."""

from __future__ import annotations

import bz2
import gzip
import io
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from urllib.parse import urlsplit

import zstandard

from tests.helpers.hostile import SITE, Hostile, info, tar

CLAIM = 10 << 30
WORDS = (
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..;/",
    "%00",
    "a%00b",
    "\\",
    "%5c..%5c",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "%ff",
    "%c0%ae",
    "%ed%a0%80",
    "\xc3\xa9",
    "%e2%80%ae",
    "a" * 9000,
    "%0d%0aSet-Cookie:x",
    "%1b%5b31m",
    "*",
    "~",
    "{x}",
    "con",
    "-",
    "__proto__",
    "%25%32%65",
    "one%20",
    "ONE",
    "one..",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "'%20OR%201=1",
    "9" * 400,
)
JOB = "0" * 24
PATHS = (
    *("/{}", "/{}/", "/packages/{}/", "/packages/one/{}", "/packages/{}/index.json", "/static/{}", "/pyodide/{}/x"),
    *("/pyodide/0.29.5/{}", "/simple/{}/", "/simple/{}", "/simple/one/{}", "/files/{}", "/files/00/{}"),
    *(f"/files/00/{'0' * 64}/{{}}", "/api/v1/packages/{}", "/api/v1/jobs/{}", "/api/v1/jobs/{}/events"),
    *("/api/v1/jobs/{}/files/x", f"/api/v1/jobs/{JOB}/files/{{}}", "/healthz/{}"),
    *(f"/api/v1/packages?{name}={{}}" for name in ("q", "sort", "limit", "offset", "state", "pyodide", "platform", "lacks")),
    *(f"/?{name}={{}}" for name in ("q", "state", "pyodide", "platform", "lacks", "sort")),
    *("/simple/?format={}", "/simple/one/?format={}", "/api/v1/jobs?limit={}", "/api/v1/jobs?before={}", "/convert?spec={}"),
    *("/try/?package={}", "/coverage/?x={}", "/feed.xml?{}", "/metrics?{}"),
)
POSTS = tuple(f"/api/v1/jobs?{query}={{}}" for query in ("filename", "filename=a.whl&platform", "filename=a.whl&kind"))
HOSTS = ("", "[", "]", "[::1", "a b", 'a"><script>', "a/b", "a@b", "\xe9", "x" * 5000, "a:99999999", "%00", "javascript:1")
HOSTED = ("/", "/packages/one/", "/simple/one/", "/simple/one/?format=json", "/api/v1/packages/one", "/api/v1/jobs", "/feed.xml")
HEADERS = (
    *("Accept", "Accept-Encoding", "If-None-Match", "Range", "If-Range", "Authorization", "X-Request-ID", "X-Forwarded-For"),
    *("X-Forwarded-Proto", "Last-Event-ID", "Content-Type", "Content-Encoding", "Expect", "Upgrade", "Cookie"),
    *("Content-Length", "Transfer-Encoding"),
)
VALUES = (
    *("", "x" * 30_000, "\xff\xfe", ",,,;;;q=9", '"\\', "bytes=-", "bytes=0-,1-2", "Basic !!!", "Bearer \xff", "-1", "1e9"),
    *("0" * 400, "chunked, identity", "websocket", "9" * 30, "a\x1b[31m", "a\rSet-Cookie: x"),
)
METHODS = ("PUT", "PATCH", "TRACE", "CONNECT", "FOO", "PROPFIND", "OPTIONS", "HEAD", "DELETE", "POST")
TARGETS = ("/", "/simple/one/", "/files/x", "/api/v1/jobs", "*", "http://evil.example/", "//evil.example/..", "api")


def requests() -> Iterator[bytes]:
    """Requests, each of which ends its connection. None may be answered by 5xx, or by more than the server's own files."""

    def made(method: str, target: str, *headers: str, host: str = "127.0.0.1", body: bytes = b"") -> bytes:
        length = [f"Content-Length: {len(body)}"] if method == "POST" else []
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    for path in PATHS:
        yield from (made("GET", path.replace("{}", word)) for word in WORDS)
    for path in POSTS:
        yield from (made("POST", path.replace("{}", word), body=b"x") for word in WORDS)
    for host in HOSTS:
        yield from (made("GET", path, host=host) for path in HOSTED)
        yield made("POST", "/api/v1/jobs?filename=a.whl", host=host, body=b"x")
    for name in HEADERS:
        for value in VALUES:
            more = ["Connection: Upgrade"] if name == "Upgrade" else []
            yield from (made("GET", path, f"{name}: {value}", *more) for path in ("/", "/simple/one/", "/api/v1/jobs"))
    for method in METHODS:
        yield from (made(method, target) for target in TARGETS)


def exchange(url: str, data: bytes, patience: float) -> bytes:
    """What a server answers to bytes, until it closes the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), patience) as connection:
        found = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                found += piece
        except (ConnectionResetError, BrokenPipeError):  # the server has answered, and reads no more
            pass
    return found


def claims() -> Iterator[Hostile]:
    """Archives of some kilobytes that claim, or are, ten gigabytes."""
    member = tarfile.TarInfo(f"{SITE}/big.bin")
    member.size = CLAIM
    head = tar(info())[:-1024].rstrip(b"\0")
    head += bytes(-len(head) % 512) + member.tobuf(tarfile.GNU_FORMAT)
    piece = bytes(64 << 20)
    number = CLAIM // len(piece)
    packed = zstandard.compress(head) + zstandard.compress(piece) * number
    yield Hostile("claim-gzip", "demo-1.0-0.tar.gz", gzip.compress(head, mtime=0) + gzip.compress(piece, mtime=0) * number)
    yield Hostile("claim-bzip2", "demo-1.0-0.tar.bz2", bz2.compress(head) + bz2.compress(piece) * number)
    parts = {"metadata.json": b'{"conda_pkg_format_version": 2}', "info-demo-1.0-0.tar.zst": zstandard.compress(tar(info()))}
    yield Hostile("claim-zstd", "demo-1.0-0.conda", _zip({**parts, "pkg-demo-1.0-0.tar.zst": packed}))
    yield Hostile("claim-conda", "demo-1.0-0.conda", _zip({**parts, "pkg-demo-1.0-0.tar.zst": b"x"}, "pkg-demo-1.0-0.tar.zst"))
    wheel = {
        "demo.py": b"x = 1\n",
        "demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "demo-1.0.dist-info/RECORD": b"",
    }
    yield from (Hostile(f"claim-{name[-8:]}", "demo-1.0-py3-none-any.whl", _zip(wheel, name)) for name in wheel)


def _zip(files: dict[str, bytes], claimed: str = "") -> bytes:
    """A zip archive whose directory says that a member of it has ten gigabytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if claimed else zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for each in archive.filelist:
            if each.filename == claimed:
                each.file_size = CLAIM
    return stream.getvalue()
