"""Download one package by its URL: https only (plain http on this machine's loopback), bounded, with retries."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from conda2wheel.outcome import Failed, Refused

if TYPE_CHECKING:
    import requests

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT = (15.0, 60.0)  # seconds to connect, seconds without a byte
TRIES = 4
BACKOFF = 0.5  # seconds, doubled with each try
_CHUNK = 1 << 20


def download(url: str, folder: Path, max_bytes: int, sha256: str | None = None) -> Path:
    """Fetch `url` into `folder`, under the last part of its path where that is a plain name. Follows redirects to https
    only.

    A fragment `#sha256=HEX` or the argument is compared with what came. Raises `Failed` (network, not-found, disk) and
    `Refused` (too-large, corrupt-archive).
    """
    import requests
    import urllib3

    shown = redacted(url)
    _require_secure(url)
    expected = sha256 or checksum(url)
    last = urlsplit(url).path.rpartition("/")[2]
    target = folder / (last if re.fullmatch(r"\w[\w.+~!=-]{0,200}", last) else "package")
    try:
        with _session() as session, session.get(url.partition("#")[0], stream=True, timeout=TIMEOUT) as response:
            _require_found(shown, response)
            digest = _save(shown, response, target, max_bytes)
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise Failed("network", f"{shown}: {_reason(error)}", "check the network and try again") from None
    except OSError as error:
        raise Failed("disk", f"{shown}: cannot save it: {error.strerror}", "set TMPDIR to a place with room") from None
    if expected is not None:
        require_sha256(shown, digest, expected)
    return target


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


def checksum(url: str) -> str | None:
    """The sha256 in a URL's fragment, if it has one."""
    fragment = urlsplit(url).fragment
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
                _require_secure(there)
                if urlsplit(there).scheme == "http" and urlsplit(resp.url).hostname not in LOOPBACK:
                    raise Failed(
                        "network", f"{redacted(resp.url)}: it redirects to this machine", "use the channel's https address"
                    )
            return target

    retry = Retry(
        total=TRIES, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True
    )
    session = Session()
    session.headers["Accept-Encoding"] = "identity"  # packages are compressed, and .tar.gz is no encoding of a .tar
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def _require_found(url: str, response: requests.Response) -> None:
    status = f"{response.status_code} {response.reason}".strip()
    if response.status_code in (404, 410):
        raise Failed("not-found", f"{url}: the server has no such file ({status})", "check the address")
    if response.status_code != 200:
        raise Failed("network", f"{url}: the server answered {status}", "check the address, and whether it wants a password")


def _save(url: str, response: requests.Response, target: Path, max_bytes: int) -> str:
    """Write the body; its sha256."""
    length = response.headers.get("Content-Length", "")
    announced = int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
    digest = hashlib.sha256()
    got = 0
    with target.open("wb") as out:
        for chunk in response.iter_content(_CHUNK):
            got += len(chunk)
            if got > max_bytes or (announced or 0) > max_bytes:
                raise Refused("too-large", f"{url}: more than {max_bytes} bytes", "download it yourself if you trust it")
            digest.update(chunk)
            out.write(chunk)
    if announced is not None and got != announced:
        raise Failed("network", f"{url}: the connection broke after {got} of {announced} bytes", "try again")
    return digest.hexdigest()


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise Failed("network", f"{redacted(url)}: only https and file URLs are opened", "use the channel's https address")


def _reason(error: Exception) -> str:
    """The innermost cause, which says what happened; requests wraps it in two layers of class names."""
    inner: BaseException = error
    while (inner.__context__ or inner.__cause__) is not None and not isinstance(inner, OSError | TimeoutError):
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    text = str(error.args[0] if error.args else error)
    return text.rpartition(": ")[2].strip("()'\"")[:200] or type(error).__name__
