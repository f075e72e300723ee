"""Download a file by its URL: https only (plain http on this machine's loopback), bounded, with retries.

After a broken connection the download continues at the same byte if the server confirms that the file is unchanged (RFC 9110:
Range and If-Range), otherwise from the start.
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
MAX_RETRY_AFTER = 30.0  # seconds at most to wait for a server's Retry-After
_CHUNK = 1 << 20


ProgressCallback = Callable[[str, int, int | None], None]  # (redacted URL, bytes so far, total bytes if known)


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: `url`, and the expected `sha256` in hexadecimal and `size` in bytes, if known."""

    url: str
    sha256: str | None = None
    size: int | None = None


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
        raise Failed("disk", f"{shown}: cannot save it: {error.strerror}", "set TMPDIR to a folder with free space") from None
    if expected is not None:
        require_sha256(shown, digest, expected)
    return target


@contextmanager
def open_ranges(url: str) -> Iterator[Callable[[str], requests.Response]]:
    """Request ranges of one file under the rules of `download`.

    Yields a function that takes a Range (`bytes=0-99`) and returns the response, which the caller reads and closes: 206 with that
    range, 200 from a server without range requests, or 416. Raises `Failed` (network, not-found), also for errors in the block.
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

    def headers(self) -> dict[str, str]:
        """Return the headers that request the rest, if there is a validator for the file."""
        return {"Range": f"bytes={self.got}-", "If-Range": self.validator} if self.got and self.validator else {}

    def begin(self, response: requests.Response) -> None:
        """Continue with an answer: at the same byte for a 206 that begins there, from the start for a 200.

        Raises `_BrokenError` for another range; the next try requests the whole file.
        """
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 416 or (response.status_code == 206 and not content_range.startswith(f"bytes {self.got}-")):
            self.validator = ""
            raise _BrokenError(f"the server does not send the rest after {self.got} bytes")
        if response.status_code == 200:
            self.out.seek(0)
            self.out.truncate()
            self.digest, self.got = hashlib.sha256(), 0
        etag = response.headers.get("ETag", "")
        self.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")

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
                _require_found(redacted(url), response, (200, 206, 416) if partial.headers() else (200,))
                partial.begin(response)
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


_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://|^file:")


def is_url(source: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return bool(_URL.match(source))


def redacted(url: str) -> str:
    """Return a URL without user name, password and conda's `/t/TOKEN/`, for messages and files.

    >>> redacted("https://me:secret@host/t/tk-123/channel/noarch/x-1-0.conda#sha256=0")
    'https://host/channel/noarch/x-1-0.conda#sha256=0'
    """
    return re.sub(r"^([a-zA-Z][\w+.-]*://)(?:[^/?#@]*@)?([^/?#]*)(?:/t/[^/?#]+)?", r"\1\2", url)


def redact_text(text: str) -> str:
    """Remove credentials from the URLs in a text of another program."""
    return re.sub(r"/t/[^/\s?#]+", "/t/***", re.sub(r"://[^/@\s]+@", "://", text))


def fragment_sha256(url: str) -> str | None:
    """Return the sha256 in a URL's fragment, if it has one."""
    fragment = url.partition("#")[2]  # urlsplit raises for some URLs
    return fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None


def require_sha256(url: str, got: str, expected: str) -> None:
    """Raise `Refused` (corrupt-archive) if the hashes differ."""
    if got != expected.lower():
        raise Refused("corrupt-archive", f"{url}: has sha256 {got}, not {expected}", "download it again")


def _session() -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class RedirectCheckingSession(requests.Session):
        """A session that checks a redirect before following it."""

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
    session.headers["Accept-Encoding"] = (
        "identity"  # packages are compressed; a server must not take .tar.gz for an encoding of .tar
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def _require_found(url: str, response: requests.Response, wanted: Collection[int]) -> None:
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in (404, 410):
        raise Failed("not-found", f"{url}: the server has no such file ({status})", "check the address")
    if response.status_code not in wanted:
        raise Failed("network", f"{url}: the server answered {status}", "check the address, and whether it needs credentials")


def _save(url: str, response: requests.Response, partial: _Partial) -> None:
    """Append the body of an answer. Raises `_BrokenError` if it ends early."""
    import urllib3

    length = response.headers.get("Content-Length", "")
    announced = partial.got + int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
    partial.require_bounds(url, announced or 0)
    try:
        while chunk := response.raw.read1(_CHUNK):  # returns what arrived; iter_content drops an incomplete chunk
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
    """Raise `Failed` (network) for a URL that is neither https nor http on this machine's loopback."""
    if is_secure(url):
        return
    raise Failed("network", f"{redacted(url)}: only https and file URLs are opened", "use the channel's https address")


def _reason(error: Exception) -> str:
    """Return the innermost cause of an error; requests wraps it in two layers of class names."""
    inner: BaseException = error
    while (inner.__context__ or inner.__cause__) is not None and not isinstance(inner, OSError | TimeoutError):
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    text = str(error.args[0] if error.args else error)
    innermost = redact_text(text).rpartition(": ")[2].strip("()'\"")[:200]
    if innermost.count("(") > innermost.count(")"):
        innermost += ")"  # its own one, stripped with those of the wrappers
    return innermost or type(error).__name__
