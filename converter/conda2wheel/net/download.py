"""Download one package by its URL: https only (plain http on this machine's loopback), bounded, with retries.

A connection that breaks in the middle goes on where it broke, if the server says that it is still the same file (RFC 9110: Range
and If-Range), and from the start otherwise.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from conda2wheel.errors import Failed, Refused
from conda2wheel.net.credentials import Credentials, credentials

if TYPE_CHECKING:
    import requests

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT = (15.0, 60.0)  # seconds to connect, seconds without a byte
TRIES = 4
BACKOFF = 0.5  # seconds, doubled with each try
PATIENCE = 30.0  # seconds at most that a server may ask to wait (Retry-After)
_CHUNK = 1 << 20


ProgressCallback = Callable[[str, int, int | None], None]  # (URL as it may be shown, bytes so far, all bytes if known)


@dataclass(frozen=True)
class RemoteFile:
    """A file to have: `url` without credentials of ours, `sha256` as hex digits and `size` in bytes, where they are promised."""

    url: str
    sha256: str | None = None
    size: int | None = None


def download(wanted: RemoteFile, folder: Path, max_bytes: int, watch: ProgressCallback | None = None) -> Path:
    """Fetch a file into `folder`, under the last part of its URL's path where that is a plain name. Follows redirects to https
    only. `watch` is told of every part that comes; what it raises ends the download.

    The promised sha256, or that of a fragment `#sha256=HEX`, and the size are compared with what came. Raises `Failed`
    (network, not-found, disk) and `Refused` (too-large, corrupt-archive).
    """
    import requests
    import urllib3

    shown = redacted(wanted.url)
    require_secure(wanted.url)
    expected = wanted.sha256 or fragment_sha256(wanted.url)
    last = urlsplit(wanted.url).path.rpartition("/")[2]
    target = folder / (last if re.fullmatch(r"\w[\w.+~!=-]{0,200}", last) else "package")
    try:
        with _session() as session, target.open("w+b") as out:
            partial = _Partial(out, max_bytes, wanted.size, watch)
            digest = _fetch(session, wanted.url.partition("#")[0], partial)
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise Failed("network", f"{shown}: {_reason(error)}", "check the network and try again") from None
    except OSError as error:
        raise Failed("disk", f"{shown}: cannot save it: {error.strerror}", "set TMPDIR to a place with room") from None
    if expected is not None:
        require_sha256(shown, digest, expected)
    return target


@contextmanager
def open_ranges(url: str) -> Iterator[Callable[[str], requests.Response]]:
    """For parts of one file, asked for as `download` asks for the whole: a function that takes what Range shall say
    (`bytes=0-99`) and gives the answer, to be read and closed: 206 with that part, 200 from a server that sends no parts, 416.

    Raises `Failed` (network, not-found), also for what breaks in the block.
    """
    import requests
    import urllib3

    require_secure(url)
    known = credentials(url)
    address = known.address(url.partition("#")[0])
    auth = _Auth(known) if known.bearer or known.basic else None

    def ask(part: str) -> requests.Response:
        response = session.get(address, stream=True, timeout=TIMEOUT, headers={"Range": part}, auth=auth)
        _require_found(redacted(url), response, (200, 206, 416))
        return response

    try:
        with _session() as session:
            yield ask
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise Failed("network", f"{redacted(url)}: {_reason(error)}", "check the network and try again") from None


class _BrokenError(Exception):
    """A connection ended before the file did, or the rest of the file cannot be had."""


@dataclass
class _Partial:
    """A file as far as it came. `validator` is what If-Range compares: a strong ETag, or else the date of the file."""

    out: IO[bytes]
    max_bytes: int
    size: int | None = None
    watch: ProgressCallback | None = None
    digest: Any = field(default_factory=hashlib.sha256)
    got: int = 0
    validator: str = ""

    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, if the server can be sure that it is the rest of the same file."""
        return {"Range": f"bytes={self.got}-", "If-Range": self.validator} if self.got and self.validator else {}

    def begin(self, response: requests.Response) -> None:
        """Go on with an answer: where it broke for a 206 that begins there, from the start for the whole file.

        Raises `_BrokenError` for a part that was not asked for; the next try is for the whole.
        """
        told = response.headers.get("Content-Range", "")
        if response.status_code == 416 or (response.status_code == 206 and not told.startswith(f"bytes {self.got}-")):
            self.validator = ""
            raise _BrokenError(f"the server does not send the rest after {self.got} bytes")
        if response.status_code == 200:
            self.out.seek(0)
            self.out.truncate()
            self.digest, self.got = hashlib.sha256(), 0
        etag = response.headers.get("ETag", "")
        self.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")

    def require_bounds(self, url: str, count: int) -> None:
        """Raises `Refused` for a file of so many bytes, if that is more than is allowed (too-large) or promised."""
        if self.size is not None and count > self.size:
            raise Refused("corrupt-archive", f"{url}: has {count} bytes or more, not {self.size}", "download it again")
        if count > self.max_bytes:
            raise Refused("too-large", f"{url}: more than {self.max_bytes} bytes", "download it yourself if you trust it")

    def add(self, url: str, chunk: bytes, announced: int | None) -> None:
        """The next bytes."""
        self.require_bounds(url, self.got + len(chunk))
        self.got += len(chunk)
        self.digest.update(chunk)
        self.out.write(chunk)
        if self.watch is not None:
            self.watch(url, self.got, self.size or announced)


def _fetch(session: requests.Session, url: str, partial: _Partial) -> str:
    """Download into a file; its sha256. A connection that breaks is tried again TRIES times, each after a longer pause."""
    known = credentials(url)
    url = known.address(url)
    for attempt in range(TRIES + 1):
        if attempt:
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        try:
            with session.get(url, stream=True, timeout=TIMEOUT, headers=partial.headers(), auth=_Auth(known)) as response:
                _require_found(redacted(url), response, (200, 206, 416) if partial.headers() else (200,))
                partial.begin(response)
                _save(redacted(url), response, partial)
                return str(partial.digest.hexdigest())
        except _BrokenError as broken:
            why = str(broken)
    raise Failed("network", f"{redacted(url)}: {why}, {TRIES + 1} times", "try again later")


class _Auth:
    """Puts what is known of a host into the request, be it nothing: without it, requests would look into netrc by itself."""

    def __init__(self, known: Credentials) -> None:
        self.known = known

    def __call__(self, request: Any) -> Any:
        from requests.auth import HTTPBasicAuth

        if self.known.basic is not None:
            return HTTPBasicAuth(*self.known.basic)(request)
        if self.known.bearer is not None:
            request.headers["Authorization"] = f"Bearer {self.known.bearer}"
        return request


_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://|^file:")


def is_url(source: str) -> bool:
    """Whether it is a URL rather than a path."""
    return bool(_URL.match(source))


def redacted(url: str) -> str:
    """A URL as it may be shown and kept: without a user's name and password, and without conda's `/t/TOKEN/`.

    >>> redacted("https://me:secret@host/t/tk-123/channel/noarch/x-1-0.conda#sha256=0")
    'https://host/channel/noarch/x-1-0.conda#sha256=0'
    """
    return re.sub(r"^([a-zA-Z][\w+.-]*://)(?:[^/?#@]*@)?([^/?#]*)(?:/t/[^/?#]+)?", r"\1\2", url)


def redact_text(text: str) -> str:
    """What somebody else says of an address, without what opens a private channel."""
    return re.sub(r"/t/[^/\s?#]+", "/t/***", re.sub(r"://[^/@\s]+@", "://", text))


def fragment_sha256(url: str) -> str | None:
    """The sha256 in a URL's fragment, if it has one."""
    fragment = url.partition("#")[2]  # urlsplit refuses some
    return fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None


def require_sha256(url: str, got: str, expected: str) -> None:
    """Raises `Refused` (corrupt-archive) if they differ."""
    if got != expected.lower():
        raise Refused("corrupt-archive", f"{url}: has sha256 {got}, not {expected}", "download it again")


def _session() -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Session(requests.Session):
        """One that looks at a redirect before it goes there."""

        def get_redirect_target(self, resp: Any) -> str | None:
            target = super().get_redirect_target(resp)
            if target is not None:
                there = urljoin(resp.url, target)
                require_secure(there)
                if urlsplit(there).scheme == "http" and urlsplit(resp.url).hostname not in LOOPBACK:
                    raise Failed(
                        "network", f"{redacted(resp.url)}: it redirects to this machine", "use the channel's https address"
                    )
            return target

        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Credentials stay with their host; none are looked up for another, which the first one chose."""
            if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
                prepared_request.headers.pop("Authorization", None)

    class Patient(Retry):
        """One that does not wait until tomorrow because a server says so."""

        def get_retry_after(self, response: Any) -> float | None:
            asked = super().get_retry_after(response)
            return None if asked is None else min(asked, PATIENCE)

    retry = Patient(
        total=TRIES, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True
    )
    session = Session()
    session.headers["Accept-Encoding"] = "identity"  # packages are compressed, and .tar.gz is no encoding of a .tar
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def _require_found(url: str, response: requests.Response, wanted: Collection[int]) -> None:
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in (404, 410):
        raise Failed("not-found", f"{url}: the server has no such file ({status})", "check the address")
    if response.status_code not in wanted:
        raise Failed("network", f"{url}: the server answered {status}", "check the address, and whether it wants a password")


def _save(url: str, response: requests.Response, partial: _Partial) -> None:
    """Add the body. Raises `_BrokenError` where it ends too early."""
    import urllib3

    length = response.headers.get("Content-Length", "")
    announced = partial.got + int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
    partial.require_bounds(url, announced or 0)
    try:
        while chunk := response.raw.read1(_CHUNK):  # what is there: iter_content loses a chunk that is cut
            partial.add(url, chunk, announced)
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError) as error:
        raise _BrokenError(f"the connection broke after {partial.got} bytes") from error
    if announced is not None and partial.got != announced:
        raise _BrokenError(f"the connection broke after {partial.got} of {announced} bytes")


def is_secure(url: str) -> bool:
    """Whether a URL is https with a host, or http on this machine's loopback."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def require_secure(url: str) -> None:
    """Raises `Failed` (network) for a URL that is neither https nor http on this machine's loopback."""
    if is_secure(url):
        return
    raise Failed("network", f"{redacted(url)}: only https and file URLs are opened", "use the channel's https address")


def _reason(error: Exception) -> str:
    """The innermost cause, which says what happened; requests wraps it in two layers of class names."""
    inner: BaseException = error
    while (inner.__context__ or inner.__cause__) is not None and not isinstance(inner, OSError | TimeoutError):
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    text = str(error.args[0] if error.args else error)
    return redact_text(text).rpartition(": ")[2].strip("()'\"")[:200] or type(error).__name__
