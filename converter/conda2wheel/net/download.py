"""Download a file by its URL: https only (plain http on this machine's loopback), bounded, with retries.

After a broken connection the download continues at the same byte if the server confirms that the file is unchanged (RFC 9110:
Range and If-Range), otherwise from the start. A server that sends less than SLOWEST for WINDOW is given up: a limit for each byte
alone would let it take a minute for each.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from conda2wheel.errors import Failed, Refused
from conda2wheel.files.file_names import is_portable
from conda2wheel.net.credentials import Credentials, credentials
from conda2wheel.net.remote_file import ProgressCallback, RemoteFile, require_sha256
from conda2wheel.net.urls import (
    fragment_sha256,
    is_on_loopback,
    redact_text,
    redacted,
    require_secure,
    secret_url,
)

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

TIMEOUT = (15.0, 60.0)  # seconds to connect, seconds without a byte
HEAD_TIMEOUT = 120.0  # seconds from a request to the end of the answer's headers
WINDOW = 60.0  # seconds over which the rate of a download is measured
SLOWEST = 1000.0  # bytes a second
MAX_REDIRECTS = 10
MAX_RANGES = 1000  # requests for parts of one file
CONNECTIONS = 16  # to one host at once
TRIES = 4
BACKOFF = 0.5  # seconds, doubled with each try
MAX_RETRY_AFTER = 30.0  # seconds at most to wait for a server's Retry-After
_CHUNK = 1 << 20
_TAG = re.compile(r'"[\x21\x23-\x7e]{0,500}"')  # a strong ETag
_DATE = re.compile(r"[A-Za-z0-9,: +-]{1,60}")
_NUMBER = re.compile(r"[0-9]{1,18}")


def download(wanted: RemoteFile, folder: Path, max_bytes: int, watch: ProgressCallback | None = None) -> Path:
    """Download a file. Redirects are followed to https only.

    Args:
        wanted: The file; its sha256 (else that of a fragment `#sha256=HEX`) and size are compared with the result.
        folder: Where it is saved, under the last part of its URL's path if that is a plain name.
        max_bytes: The largest size.
        watch: Called after each chunk; an exception of it ends the download.

    Returns:
        The path of the file.

    Raises:
        Failed: network, not-found or disk.
        Refused: too-large or corrupt-archive.
    """
    require_secure(wanted.url)
    expected = wanted.sha256 or fragment_sha256(wanted.url)
    last = urlsplit(secret_url(wanted.url)).path.rpartition("/")[2]
    plain = re.fullmatch(r"\w[\w.+~!=-]{0,200}", last, re.ASCII) is not None and is_portable(last)
    target = folder / (last if plain else "package")
    shown = redacted(wanted.url)
    with _network_errors(shown), _disk_errors(shown, folder), _session() as session, target.open("w+b") as out:
        partial = _Partial(out, max_bytes, wanted.size, watch)
        digest = _fetch(session, secret_url(wanted.url).partition("#")[0], partial)
    if expected is not None:
        require_sha256(shown, digest, expected)
    return target


@dataclass(frozen=True)
class Validators:
    """What a server says of a file's version: its ETag, also a weak one, and Last-Modified."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """Take those that may be sent back."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        known = _TAG.fullmatch(etag.removeprefix("W/")) is not None
        return cls(etag if known else "", modified if _DATE.fullmatch(modified) else "")

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for another version only."""
        pairs = (("If-None-Match", self.etag), ("If-Modified-Since", self.modified))
        return {name: value for name, value in pairs if value}


class FileRequests:
    """Requests for many files under the rules of `download`, on connections that stay open; for several threads.

    Args:
        headers: sent with each request; Authorization not after a redirect to another host.
        certificates: a file of certificate authorities; None for those of requests.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, certificates: str | None = None) -> None:
        self._session = _session()
        self._session.headers.update(headers or {})
        if certificates is not None:
            self._session.verify = certificates

    def get(self, url: str, out: IO[bytes], max_bytes: int, known: Validators = Validators()) -> Validators | None:
        """Write a file to `out`, if it is another version than the one that is known.

        Returns:
            The version that was written; None for the known one.

        Raises:
            Failed: network, not-found.
            Refused: too-large, corrupt-archive.
            OSError: `out` cannot be written.
        """
        require_secure(url)
        partial = _Partial(out, max_bytes, conditions=known.headers())
        with _network_errors(redacted(url)):
            _fetch(self._session, secret_url(url).partition("#")[0], partial)
        return None if partial.unchanged else partial.found

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


class UnreachableError(Failed):
    """No server answers at an address."""

    def __init__(self, message: str) -> None:
        super().__init__("network", message, "check the network and try again")

    def __reduce__(self) -> tuple[type[UnreachableError], tuple[str]]:
        return type(self), (self.message,)


@contextmanager
def _network_errors(shown: str) -> Iterator[None]:
    """Turn what requests, urllib3 and the parsing of answers raise into `Failed` (network)."""
    import requests
    import urllib3

    try:
        yield
    except (requests.ConnectionError, requests.Timeout) as error:
        raise UnreachableError(f"{shown}: {_reason(error)}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise Failed("network", f"{shown}: {_reason(error)}", "check the network and try again") from None


@contextmanager
def _disk_errors(shown: str, folder: Path) -> Iterator[None]:
    import requests

    try:
        yield
    except requests.RequestException:
        raise  # an OSError, too
    except OSError as error:
        why = f"{shown}: cannot save it in {error.filename or folder}: {error.strerror}"
        raise Failed("disk", why, "set TMPDIR and CONDA2WHEEL_CACHE to folders with free space") from None


class RangeRequests:
    """Requests for ranges of one file, and the pace at which they all are answered."""

    def __init__(self, url: str, session: requests.Session) -> None:
        secret = secret_url(url).partition("#")[0]
        known = credentials(secret)
        self._shown = redacted(url)
        self._address = known.address(secret)
        self._auth = _Auth(known)
        self._session = session
        self._pace = _Pace(self._shown)
        self._asked = 0

    def ask(self, part: str) -> requests.Response:
        """Request a Range (`bytes=0-99`); the caller reads and closes the response.

        That is 206 with that range, 200 from a server without range requests, or 416.
        """
        self._asked += 1
        if self._asked > MAX_RANGES:
            raise Failed("network", f"{self._shown}: not read after {MAX_RANGES} requests", "download it and give the file")
        with _network_errors(self._shown):
            response = self._session.get(self._address, stream=True, timeout=TIMEOUT, headers={"Range": part}, auth=self._auth)
        _require_found(self._shown, response, (200, 206, 416))
        return response

    def read(self, response: requests.Response, size: int) -> bytes:
        """Read what arrived of an answer, at most `size` bytes; nothing at its end."""
        return self._pace.read(response, size)


@contextmanager
def open_ranges(url: str) -> Iterator[RangeRequests]:
    """Request ranges of one file under the rules of `download`.

    Raises `Failed` (network, not-found), also for errors in the block.
    """
    import requests
    import urllib3

    require_secure(url)
    try:
        with _session() as session:
            yield RangeRequests(url, session)
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise Failed("network", f"{redacted(url)}: {_reason(error)}", "check the network and try again") from None


class _Pace:
    """The rate at which a server sends: bytes by the seconds spent waiting for them, over WINDOW."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._waited, self._bytes = 0.0, 0

    def read(self, response: requests.Response, size: int) -> bytes:
        """Return what arrived of an answer, at most `size` bytes; nothing at its end.

        Raises `Failed` (network) if too few bytes came in the last WINDOW.
        """
        began = time.monotonic()
        chunk: bytes = response.raw.read1(size)  # iter_content drops an incomplete chunk
        self._waited += time.monotonic() - began
        self._bytes += len(chunk)
        if self._waited >= WINDOW:
            if self._bytes < SLOWEST * self._waited:
                why = f"{self._shown}: the server sent {self._bytes} bytes in {self._waited:.0f} seconds, and was given up"
                raise Failed("network", why, "try again later, or from another network")
            self._waited, self._bytes = 0.0, 0
        return chunk


class _BrokenError(Exception):
    """The connection ended before the file did, or the server does not send the rest."""


@dataclass
class _Partial:
    """A partly downloaded file. `validator` is the value for If-Range: a strong ETag, else Last-Modified."""

    out: IO[bytes]
    max_bytes: int
    size: int | None = None
    watch: ProgressCallback | None = None
    digest: Any = field(default_factory=hashlib.sha256)
    got: int = 0
    validator: str = ""
    conditions: Mapping[str, str] = field(default_factory=dict)
    found: Validators = Validators()
    unchanged: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers that request the rest, if there is a validator for the file; at first those of a condition."""
        if self.got:
            return {"Range": f"bytes={self.got}-", "If-Range": self.validator} if self.validator else {}
        return dict(self.conditions)

    @property
    def statuses(self) -> Collection[int]:
        """The statuses of an answer that can be used."""
        if self.got:
            return (200, 206, 416) if self.validator else (200,)
        return (200, 304) if self.conditions else (200,)

    def begin(self, response: requests.Response) -> None:
        """Continue with an answer: at the same byte for a 206 that begins there, from the start for a 200.

        Raises `_BrokenError` for another range; the next try requests the whole file.
        """
        if response.status_code == 304:
            self.unchanged = True
            return
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 416 or (response.status_code == 206 and not content_range.startswith(f"bytes {self.got}-")):
            self.validator = ""
            raise _BrokenError(f"the server does not send the rest after {self.got} bytes")
        if response.status_code == 200:
            self.out.seek(0)
            self.out.truncate()
            self.digest, self.got = hashlib.sha256(), 0
        self.found = Validators.of(response.headers)
        self.validator = self.found.etag if self.found.etag.startswith('"') else self.found.modified

    def require_bounds(self, url: str, count: int) -> None:
        """Raise `Refused` if a file has more bytes than expected (corrupt-archive) or allowed (too-large)."""
        if self.size is not None and count > self.size:
            raise Refused("corrupt-archive", f"{url}: has {count} bytes or more, not {self.size}", "download it again")
        if count > self.max_bytes:
            raise Refused("too-large", f"{url}: more than {self.max_bytes} bytes", "download it yourself if you trust it")

    def add(self, url: str, chunk: bytes, announced: int | None) -> None:
        """Append bytes."""
        self.require_bounds(url, self.got + len(chunk))
        self.got += len(chunk)
        self.digest.update(chunk)
        self.out.write(chunk)
        if self.watch is not None:
            self.watch(url, self.got, self.size or announced)


def _fetch(session: requests.Session, url: str, partial: _Partial) -> str:
    """Download into a file and return its sha256; a broken connection is retried TRIES times with growing pauses."""
    known = credentials(url)
    url = known.address(url)
    for attempt in range(TRIES + 1):
        if attempt:
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        try:
            with session.get(url, stream=True, timeout=TIMEOUT, headers=partial.headers(), auth=_Auth(known)) as response:
                _require_found(redacted(url), response, partial.statuses)
                partial.begin(response)
                if not partial.unchanged:
                    _save(redacted(url), response, partial)
                return str(partial.digest.hexdigest())
        except _BrokenError as broken:
            why = str(broken)
    raise Failed("network", f"{redacted(url)}: {why}, {TRIES + 1} times", "try again later")


class _Auth:
    """Add the credentials to a request, or none; without an auth object, requests would read netrc itself."""

    def __init__(self, known: Credentials) -> None:
        self.known = known

    def __call__(self, request: Any) -> Any:
        from requests.auth import HTTPBasicAuth

        if self.known.basic is not None:
            return HTTPBasicAuth(*self.known.basic)(request)
        if self.known.bearer is not None:
            request.headers["Authorization"] = f"Bearer {self.known.bearer}"
        return request


def _session() -> requests.Session:
    import requests
    from urllib3.util import Retry

    class RedirectCheckingSession(requests.Session):
        """A session that checks a redirect before following it."""

        def get_redirect_target(self, resp: Any) -> str | None:
            target = super().get_redirect_target(resp)
            if target is not None:
                try:
                    there = urljoin(resp.url, target)
                except ValueError:
                    why = f"{redacted(resp.url)}: it redirects to {redact_text(target)[:200]!r}, which is no address"
                    raise Failed("network", why, "tell the channel's owner") from None
                require_secure(there)
                if is_on_loopback(there) and not is_on_loopback(resp.url):
                    raise Failed(
                        "network", f"{redacted(resp.url)}: it redirects to this machine", "use the channel's https address"
                    )
            return target

        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Drop credentials on a redirect to another host, and look up none for it."""
            if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
                prepared_request.headers.pop("Authorization", None)

    class BoundedRetry(Retry):
        """A retry policy with a bound on Retry-After."""

        def get_retry_after(self, response: Any) -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, MAX_RETRY_AFTER)

    retry = BoundedRetry(
        total=TRIES, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True
    )
    session = RedirectCheckingSession()
    session.max_redirects = MAX_REDIRECTS
    session.headers["Accept-Encoding"] = (
        "identity"  # packages are compressed; a server must not take .tar.gz for an encoding of .tar
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, _head_bounded_adapter(max_retries=retry, pool_maxsize=CONNECTIONS))
    return session


def _head_bounded_adapter(**settings: Any) -> HTTPAdapter:
    """Return an adapter that gives up an answer whose headers are not there after HEAD_TIMEOUT.

    TIMEOUT is for each piece that arrives: without this, a server that sends a byte of a header a minute is never given up.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class HeadBounded:
        """A connection that ends where its answer's headers take too long."""

        sock: Any
        given_up = False

        def getresponse(self) -> Any:
            timer = threading.Timer(HEAD_TIMEOUT, self._give_up)
            timer.daemon = True
            timer.start()
            try:
                response = super().getresponse()  # type: ignore[misc]
            finally:
                timer.cancel()
            if self.given_up:  # http.client takes the end of the connection for that of the headers
                raise TimeoutError(f"no answer in {HEAD_TIMEOUT:.0f} seconds")
            return response

        def _give_up(self) -> None:
            self.given_up = True
            if (connected := self.sock) is not None:
                with suppress(OSError):  # it has just been closed
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)

    class PlainConnection(HeadBounded, HTTPConnection):
        pass

    class SecureConnection(HeadBounded, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        """An adapter with these connections, through a proxy, too."""

        def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
            super().init_poolmanager(*arguments, **keywords)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

        def proxy_manager_for(self, proxy: Any, **keywords: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **keywords)
            if type(manager) is ProxyManager:  # SOCKS has connections of its own
                manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
            return manager

    return Adapter(**settings)


def _require_found(url: str, response: requests.Response, wanted: Collection[int]) -> None:
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in (404, 410):
        raise Failed("not-found", f"{url}: the server has no such file ({status})", "check the address")
    if response.status_code not in wanted:
        raise Failed("network", f"{url}: the server answered {status}", "check the address, and whether it needs credentials")


def _save(url: str, response: requests.Response, partial: _Partial) -> None:
    """Append the body of an answer. Raises `_BrokenError` if it ends early."""
    import urllib3

    length = _NUMBER.fullmatch(response.headers.get("Content-Length", ""))
    announced = partial.got + int(length[0]) if length and "Content-Encoding" not in response.headers else None
    partial.require_bounds(url, announced or 0)
    pace = _Pace(url)
    try:
        while chunk := pace.read(response, _CHUNK):
            partial.add(url, chunk, announced)
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError) as error:
        raise _BrokenError(f"the connection broke after {partial.got} bytes") from error
    if announced is not None and partial.got != announced:
        raise _BrokenError(f"the connection broke after {partial.got} of {announced} bytes")


def _reason(error: Exception) -> str:
    """Return the innermost cause of an error; requests wraps it in two layers of class names."""
    import requests

    if isinstance(error, requests.exceptions.InvalidHeader):
        return "a header of the request cannot be sent"  # its text has the header, which may be a password
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return f"not a valid address or answer: {redact_text(str(error))[:200]}"
    inner: BaseException = error
    while (inner.__context__ or inner.__cause__) is not None and not isinstance(inner, OSError | TimeoutError):
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    text = str(error.args[0] if error.args else error)
    innermost = redact_text(text).rpartition(": ")[2].strip("()'\"")[:200]
    if innermost.count("(") > innermost.count(")"):
        innermost += ")"  # its own one, stripped with those of the wrappers
    return innermost or type(error).__name__
