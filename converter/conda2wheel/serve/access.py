"""Who a client is, what it may do, and how often.

A client is its token, or else its address: one of IPv4, or a network of 64 bits of IPv6, of which one host has all addresses.
`open` of the configuration says what needs no token. A token that is sent and not known is an error even there, so that a client
with an expired one learns it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import math
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from conda2wheel.serve import http
from conda2wheel.serve.tokens import Scope, Token, TokenFolder

REALM = b'Bearer realm="conda2wheel"'
MAX_HEADER = 4096  # bytes of an Authorization header that are looked at


class DeniedError(Exception):
    """A request that a client may not make, or not now.

    Attributes:
        status: 401, 403 or 429.
        detail: one sentence for the client.
        headers: WWW-Authenticate or Retry-After.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers)


@dataclass(frozen=True)
class Client:
    """A client: the key that its limits are counted by, and its token."""

    key: str
    token: Token | None = None


class Access:
    """Tokens and rates of a service.

    Args:
        tokens: the folder of tokens.
        open_scopes: what needs no token.
        rates: for each scope how often a client may, such as "60/minute"; a scope without one has no limit.
    """

    def __init__(self, tokens: TokenFolder, open_scopes: Collection[Scope], rates: Mapping[Scope, str]) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self.configure(tokens, open_scopes, rates)
        self._session: Token | None = None
        self._session_text = ""

    def configure(self, tokens: TokenFolder, open_scopes: Collection[Scope], rates: Mapping[Scope, str]) -> None:
        """Take over other arguments; what was counted stays counted, and the session stays open."""
        self._tokens, self._open = tokens, frozenset(open_scopes)
        self._rates: dict[Scope, RateLimitItem] = {scope: parse(rate) for scope, rate in rates.items() if rate}

    def open_session(self) -> str:
        """Make the token of this process: it is stored nowhere, permits everything, and ends with the process."""
        self._session_text = f"c2w_{'0' * 12}_{secrets.token_urlsafe(32)}"
        self._session = Token("0" * 12, "this session", ("read", "convert", "upload", "audit"), time.time(), None, "")
        return self._session_text

    def is_open(self, scope: Scope) -> bool:
        """Whether a scope needs no token."""
        return scope in self._open

    def client(self, request: http.Scope) -> Client:
        """The client of a request.

        Raises:
            DeniedError: 401 for a token that is not known, expired or revoked, and for another kind of Authorization.
            Failed: unreadable, for a damaged token file.
        """
        sent = http.header(request, b"authorization")
        if sent is None:
            return Client(address_key(request["client"][0] if request.get("client") else ""))
        token = self._known(_token_of(sent))
        if token is None:
            raise _unauthorised("the token is not known, has expired or was revoked")
        return Client(f"token {token.id}", token)

    def require(self, client: Client, scope: Scope) -> None:
        """Raise `DeniedError` if a client may not: 401 without a token that is needed, 403 with one that lacks the scope."""
        if scope in self._open:
            return
        if client.token is None:
            raise _unauthorised(f"this needs a token with the scope {scope}")
        if scope not in client.token.scopes:
            raise DeniedError(403, f"the token lacks the scope {scope}", {})

    def count(self, client: Client, scope: Scope) -> None:
        """Count a request, or raise `DeniedError` (429) if the client has made too many."""
        rate = self._rates.get(scope)
        if rate is not None and not self._limiter.hit(rate, scope, client.key):
            reset = self._limiter.get_window_stats(rate, scope, client.key).reset_time
            wait = max(1, math.ceil(reset - time.time()))
            raise DeniedError(429, f"too many requests: {rate}; wait {wait} s", {"Retry-After": str(wait)})

    def _known(self, text: str) -> Token | None:
        if self._session is not None and hmac.compare_digest(text.encode(), self._session_text.encode()):
            return self._session
        return self._tokens.find(text, time.time())


def address_key(host: str) -> str:
    """The key of a client's address.

    >>> address_key("192.0.2.1"), address_key("2001:db8::1:2:3:4"), address_key("::ffff:192.0.2.1"), address_key("unix")
    ('192.0.2.1', '2001:db8::/64', '192.0.2.1', 'unix')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _token_of(header: bytes) -> str:
    """The token of an Authorization header: a Bearer's, or the password of Basic, which pip and uv send.

    >>> _token_of(b"Bearer c2w_x"), _token_of(b"basic " + base64.b64encode(b"__token__:c2w_x")), _token_of(b"Digest x")
    ('c2w_x', 'c2w_x', '')
    """
    if len(header) > MAX_HEADER:
        return ""
    scheme, _, value = header.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("latin-1").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _unauthorised(detail: str) -> DeniedError:
    return DeniedError(401, detail, {"WWW-Authenticate": REALM.decode()})
