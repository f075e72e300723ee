"""Addresses: what of a URL may be shown and written, and which URLs are opened.

A URL may open what it names: user and password, conda's `/t/TOKEN/`, a signed query. `Address` is a `str` whose text is the
redacted URL, so that messages, JSON documents, logs and databases have nothing else; only `secret_url` returns what is requested.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from conda2wheel.errors import Failed

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SUBDIRS = ("noarch", "emscripten-wasm32")
MAX_URL = 8192  # characters; servers refuse longer ones
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://|^file:")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s'\"<>]+")
_PARTS = re.compile(r"([A-Za-z][\w+.-]*://)([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
_TOKEN = re.compile(rf"/t/(?!(?:{'|'.join(SUBDIRS)})(?:/|$))[^/]+")
_HASHES = ("sha256", "md5")
_PLAIN_VALUE = re.compile(r"[0-9]{1,3}|true|false|yes|no")  # ?download=1, ?raw=true
_WHITESPACE = re.compile(r"[\x00-\x20\x7f]")


class Address(str):
    """A URL whose text is the redacted form. See `secret_url`.

    >>> place = Address("https://me:pw@host/t/tk-1/channel/noarch")
    >>> place, f"{place}", secret_url(place)
    ('https://host/channel/noarch', 'https://host/channel/noarch', 'https://me:pw@host/t/tk-1/channel/noarch')
    """

    _secret: str

    def __new__(cls, url: str) -> Address:
        """Make it from a URL with its secrets."""
        if isinstance(url, Address):
            return url
        made = super().__new__(cls, redacted(url))
        made._secret = url
        return made

    def __str__(self) -> str:
        """Return itself, so that `str(source)` of a path or an address does not lose the secret."""
        return self

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        """Keep the secret where a process sends it to a process of its own."""
        return Address, (self._secret,)

    def child(self, path: str) -> Address:
        """Return the address of a file or folder below this one, with its secrets; a query stays at the end."""
        base, mark, rest = _split_tail(self._secret)
        return Address(f"{base.rstrip('/')}/{path}{mark}{rest}")

    def without_fragment(self) -> Address:
        """Return the same without a fragment."""
        return Address(self._secret.partition("#")[0])

    def with_sha256(self, sha256: str | None) -> Address:
        """Return the same with `#sha256=HEX`; itself without a hash."""
        return Address(f"{self._secret.partition('#')[0]}#sha256={sha256}") if sha256 else self


def _split_tail(url: str) -> tuple[str, str, str]:
    plain = url.partition("#")[0]
    return plain.partition("?")


def secret_url(url: str) -> str:
    """Return the URL with its secrets, to request it. A plain `str` is returned unchanged."""
    return url._secret if isinstance(url, Address) else url


def redacted(url: str) -> str:
    """Return a URL without user name, password, conda's `/t/TOKEN/` and the values of its query, for messages and files.

    >>> redacted("https://me:secret@host/t/tk-123/channel/noarch/x-1-0.conda#sha256=0")
    'https://host/channel/noarch/x-1-0.conda#sha256=0'
    >>> redacted("https://host/x.conda?X-Amz-Signature=0f3a&download=1")
    'https://host/x.conda?X-Amz-Signature=***&download=1'
    """
    if isinstance(url, Address):
        return "".join((url,))
    found = _PARTS.fullmatch(url)
    if found is None or found[1].lower() == "file://":
        return url
    scheme, authority, path, query, fragment = (part or "" for part in found.groups())
    host = authority.rpartition("@")[2]
    if not _HOST.fullmatch(host) and "@" in path + query + fragment:
        # A password with / ? or #: it is no URL that anything opens, and the password is not shown either.
        return redacted(scheme + (path + query + fragment).rpartition("@")[2])
    return scheme + host + _TOKEN.sub("", path) + _redacted_pairs(query, ()) + _redacted_pairs(fragment, _HASHES)


def _redacted_pairs(text: str, public: tuple[str, ...]) -> str:
    """Return `?NAME=VALUE&...` with the values that say nothing secret."""
    if len(text) < 2:
        return text
    pairs = [pair.partition("=") for pair in text[1:].split("&")]
    if not any(mark for _, mark, _ in pairs) and text[0] == "?":
        return "?***"
    shown = (
        f"{name}{mark}{value if not value or name in public or _PLAIN_VALUE.fullmatch(value) else '***'}"
        for name, mark, value in pairs
    )
    return text[0] + "&".join(shown)


def redact_text(text: str) -> str:
    """Remove credentials from the URLs in a text of another program."""
    text = _IN_TEXT.sub(lambda found: redacted(found[0]), text)
    text = re.sub(r"://[^/@'\"<>]{1,300}@", "://", text)
    text = re.sub(r"/t/[^/\s?#'\")]+", "/t/***", text)
    return re.sub(r"([?&][\w.-]{1,60}=)[^\s&'\")]+", r"\1***", text)


def source_of(text: str) -> str:
    """Return what a user names: a URL as an address, anything else unchanged."""
    return Address(text) if is_url(text) else text


def file_path(url: str) -> Path:
    """Return the path of a file URL on this machine.

    >>> file_path("file:///srv/my%20channel").as_posix()
    '/srv/my channel'
    """
    path = urlsplit(secret_url(url)).path
    if os.name != "nt":
        return Path(unquote(path))
    from urllib.request import url2pathname

    return Path(url2pathname(path))


def is_path(text: str) -> bool:
    """Whether a text that may be a name is the path of a folder or file.

    >>> is_path("./x"), is_path("~/x"), is_path("emscripten-forge")
    (True, True, False)
    """
    return text.startswith((".", "/", "~")) or os.path.isabs(text)


def is_url(source: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return bool(_URL.match(source))


def fragment_sha256(url: str) -> str | None:
    """Return the sha256 in a URL's fragment, if it has one."""
    fragment = url.partition("#")[2]  # urlsplit raises for some URLs
    return fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None


def is_secure(url: str) -> bool:
    """Whether a URL is https with a host, or http on this machine's loopback."""
    url = secret_url(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if len(url) > MAX_URL or _WHITESPACE.search(url) or port == 0:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def is_base(url: str) -> bool:
    """Whether a text is the http or https address of a folder, to which paths of files can be appended.

    >>> is_base("https://example.org/wheels/"), is_base("https://example.org/?a=b"), is_base("wheels/")
    (True, False, False)
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        return False
    return whole and not any(ord(letter) <= 32 or ord(letter) == 127 for letter in url)


def require_base(url: str, option: str) -> None:
    """Check the address that a folder of wheels will have. Raises `Failed` (usage)."""
    if not is_base(url):
        why = f"{option} {redacted(url)}: not the http or https address of a folder, such as https://example.org/wheels"
        raise Failed("usage", why, f"without {option} files are named relative to the index or lock file")


def is_on_loopback(url: str) -> bool:
    """Whether a URL is one of this machine's loopback."""
    try:
        return urlsplit(secret_url(url)).hostname in LOOPBACK
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Raise `Failed` (network) for a URL that is neither https nor http on this machine's loopback."""
    if is_secure(url):
        return
    raise Failed("network", f"{redacted(url)}: only https and file URLs are opened", "use the channel's https address")


def steered(base: Address, reference: str) -> Address:
    """Return the folder that an address at `base` names, for its files: a list's `base_url`.

    A server may name another https server, and this machine only if it runs there itself; a folder may name other folders.

    Raises:
        Failed: network.
    """
    text = secret_url(base)
    try:
        there = urljoin(text if text.endswith("/") else f"{text}/", reference)
        is_file = urlsplit(there).scheme == "file"
    except ValueError:
        there, is_file = reference, False
    local = text.startswith("file:")
    allowed = local if is_file else is_secure(there) and (not is_on_loopback(there) or local or is_on_loopback(text))
    if not allowed:
        why = f"{base}: its list of packages names {redacted(reference)[:200]!r}, which is not opened"
        raise Failed("network", why, "a list may name https addresses; tell the channel's owner")
    return Address(there)
