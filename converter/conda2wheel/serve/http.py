"""Parts of HTTP: the negotiation of content types, entity tags, compression, CORS, and answers as bytes.

RFC 9110 for all but CORS (the fetch standard). What is asked for often is computed once: an answer is its bytes and headers.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

SHORTEST = 512  # bytes that are worth compressing
TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
EXPOSED = b"Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Request-ID"
# What any page may read. Nothing depends on cookies, so that "*" gives away nothing that a request by hand would not get.
CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
)
PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"Accept, Authorization, Content-Type, If-None-Match, If-Range, Range, X-Request-ID"),
    (b"access-control-max-age", b"86400"),
)
_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


@dataclass(frozen=True)
class Body:
    """Bytes with their entity tag and all headers of the answer, the content's type, length and encoding among them."""

    data: bytes
    etag: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Answer:
    """An answer that any number of requests get: as it is, and compressed where that makes it smaller.

    `lasting`: the same request is answered by it until what it is made of changes. `headers` are those of a 304, too.
    """

    status: int
    plain: Body
    packed: Body | None
    headers: tuple[tuple[bytes, bytes], ...]
    lasting: bool = False

    @classmethod
    def of(cls, status: int, data: bytes, content_type: bytes, *headers: tuple[bytes, bytes]) -> Answer:
        """Make an answer of its bytes."""
        tag = hashlib.sha256(data).hexdigest()[:32].encode()
        packed = _gzip(data) if len(data) >= SHORTEST else data
        return cls(
            status,
            _body(data, content_type, tag, *headers),
            _body(packed, content_type, tag + b"-gzip", *headers, (b"content-encoding", b"gzip"))
            if len(packed) < len(data)
            else None,
            headers,
        )

    def body(self, accepted: bytes | None) -> Body:
        """The bytes for an Accept-Encoding header."""
        return self.packed if self.packed is not None and accepted is not None and accepts_gzip(accepted) else self.plain

    @property
    def size(self) -> int:
        """The bytes of its bodies."""
        return len(self.plain.data) + (0 if self.packed is None else len(self.packed.data))

    async def send(self, scope: Scope, send: Send) -> None:
        """Answer a GET or HEAD: 304 where the client has these bytes."""
        known = gzip = None
        for name, value in scope["headers"]:
            if name == b"if-none-match":
                known = value
            elif name == b"accept-encoding":
                gzip = value
        body = self.body(gzip)
        if self.status == 200 and known is not None and matches(known, self.plain, self.packed):
            await respond(send, 304, (*self.headers, (b"etag", body.etag)))
            return
        await respond(send, self.status, body.headers, body.data)


async def respond(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], data: bytes = b"") -> None:
    """Send an answer whole. `headers` has Content-Length where there may be a body."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def problem(status: int, detail: str, *headers: tuple[bytes, bytes], **more: Any) -> Answer:
    """An error for people and programs: `{"detail": ...}`, as FastAPI's own errors."""
    data = json.dumps({"detail": detail, **more}).encode() + b"\n"
    return Answer.of(status, data, JSON, (b"cache-control", b"no-store"), *headers)


def _body(data: bytes, content_type: bytes, tag: bytes, *more: tuple[bytes, bytes]) -> Body:
    etag = b'"' + tag + b'"'
    headers = ((b"content-type", content_type), (b"content-length", b"%d" % len(data)), (b"etag", etag), *more)
    return Body(data, etag, headers)


def _gzip(data: bytes) -> bytes:
    """Compress to the same bytes each time: without a time in the header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def matches(known: bytes, *bodies: Body | None) -> bool:
    """Whether If-None-Match names one of the bodies, by weak comparison (RFC 9110, 13.1.2)."""
    return any(body is not None and matches_tag(known, body.etag) for body in bodies)


def matches_tag(known: bytes, etag: bytes) -> bool:
    """Whether If-None-Match names an entity tag.

    >>> [matches_tag(each, b'"a"') for each in (b'"a"', b'"b", W/"a"', b"*", b'"b"')]
    [True, True, True, False]
    """
    return known.strip() == b"*" or etag in (each.strip().removeprefix(b"W/") for each in known.split(b","))


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header; several of one name are joined by a comma."""
    found = [value for key, value in scope["headers"] if key == name]
    return b", ".join(found) if found else None


@lru_cache(256)
def accepts_gzip(accepted: bytes) -> bool:
    """Whether Accept-Encoding admits gzip.

    >>> [accepts_gzip(each) for each in (b"gzip, deflate", b"br;q=1, *;q=0.1", b"gzip;q=0, *", b"identity", b"")]
    [True, True, False, False, False]
    """
    found = dict(_qualities(accepted.decode("latin-1")))
    return found.get("gzip", found.get("x-gzip", found.get("*", 0.0))) > 0


def _qualities(value: str) -> list[tuple[str, float]]:
    """The elements of a list of weighted values, in lower case, without other parameters. Those of a wrong weight are dropped."""
    found = []
    for element in value.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        weight = next((each[2:].strip() for each in parameters if each.startswith("q=")), "1")
        if name and _QUALITY.fullmatch(weight):
            found.append((name, float(weight)))
    return found


@lru_cache(1024)
def negotiate(accepted: str | None, offers: tuple[str, ...], default: str) -> str | None:
    """Choose one of the offered media types by an Accept header (RFC 9110, 12.5.1), or None.

    An offer's quality is that of the most specific range that covers it. Of equal ones an offer that is named precedes one that
    a wildcard covers, then the order of `offers` decides; where only wildcards cover the best, `default` is taken if it is one.

    Args:
        accepted: the header; None or "" for any type.
        offers: the types, the preferred ones first.
        default: the type for clients that do not care.

    >>> offers = ("application/json", "text/html")
    >>> [negotiate(each, offers, "text/html") for each in (None, "*/*", "application/json", "text/*", "image/png")]
    ['text/html', 'text/html', 'application/json', 'text/html', None]
    >>> [negotiate(each, offers, "text/html") for each in ("text/html, application/json;q=0.9", "text/html;q=0, */*;q=0.1")]
    ['text/html', 'application/json']
    """
    if accepted is None or not accepted.strip():
        return default
    ranges = dict(_qualities(accepted))
    best: list[tuple[float, bool, str]] = []
    for offer in offers:
        for named, pattern in ((True, offer), (False, f"{offer.partition('/')[0]}/*"), (False, "*/*")):
            if pattern in ranges:
                if ranges[pattern] > 0:
                    best.append((ranges[pattern], named, offer))
                break
    if not best:
        return None
    top = max((quality, named) for quality, named, _ in best)
    fitting = [offer for quality, named, offer in best if (quality, named) == top]
    return default if not top[1] and default in fitting else fitting[0]
