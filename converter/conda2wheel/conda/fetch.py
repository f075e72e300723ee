"""Download one package by its URL: https only (plain http on this machine's loopback), bounded, with retries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from conda2wheel.outcome import Failed, Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT = (15.0, 60.0)  # seconds to connect, seconds without a byte
TRIES = 4


def download(url: str, folder: Path, max_bytes: int, sha256: str | None = None) -> Path:
    """Fetch `url` into `folder` under the last part of its path. Follows redirects to https only.

    A fragment `#sha256=HEX` or the argument is compared with what came. Raises `Failed` (network, not-found) and
    `Refused` (too-large, corrupt-archive).
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    parts = urlsplit(url)
    _require_secure(url)
    expected = sha256 or (parts.fragment.removeprefix("sha256=") if parts.fragment.startswith("sha256=") else None)
    target = folder / (parts.path.rpartition("/")[2] or "package")
    retry = Retry(total=TRIES, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True)
    digest = hashlib.sha256()
    try:
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.mount("http://", HTTPAdapter(max_retries=retry))
            with session.get(url.partition("#")[0], stream=True, timeout=TIMEOUT) as response:
                for step in (*response.history, response):
                    _require_secure(step.url)
                if response.status_code in (404, 410):
                    raise Failed("not-found", f"{url}: the server has no such file ({response.status_code})", "check the address")
                response.raise_for_status()
                announced = response.headers.get("Content-Length")
                got = 0
                with target.open("wb") as out:
                    for chunk in response.iter_content(1 << 20):
                        got += len(chunk)
                        if got > max_bytes:
                            raise Refused("too-large", f"{url}: more than {max_bytes} bytes", "raise --max-size if you trust it")
                        digest.update(chunk)
                        out.write(chunk)
                if announced is not None and "Content-Encoding" not in response.headers and got != int(announced):
                    raise Failed("network", f"{url}: the connection broke after {got} of {announced} bytes", "try again")
    except requests.RequestException as error:
        raise Failed("network", f"{url}: {_reason(error)}", "check the network and try again") from None
    if expected is not None and digest.hexdigest() != expected:
        raise Refused("corrupt-archive", f"{url}: has sha256 {digest.hexdigest()}, not {expected}", "download it again")
    return target


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise Failed("network", f"{url}: only https and file URLs are opened", "use the channel's https address")


def _reason(error: Exception) -> str:
    """The innermost cause, which says what happened; requests wraps it in two layers of class names."""
    inner: BaseException = error
    while (inner.__context__ or inner.__cause__) is not None and not isinstance(inner, OSError | TimeoutError):
        inner = inner.__cause__ or inner.__context__  # type: ignore[assignment]
    text = str(error.args[0] if error.args else error)
    return text.rpartition(": ")[2][:200] or type(error).__name__
