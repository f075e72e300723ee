"""Who may do what: open scopes, tokens by Bearer and Basic, sessions, and rates for each client."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from conda2wheel.serve.access import Access, Client, DeniedError
from conda2wheel.serve.tokens import TokenFolder


def _request(*authorization: str, host: str = "192.0.2.1") -> dict[str, object]:
    return {"client": (host, 1), "headers": [(b"authorization", each.encode("latin-1")) for each in authorization]}


def _status(access: Access, client: Client, scope: str) -> int:
    try:
        access.require(client, scope)  # type: ignore[arg-type]
    except DeniedError as denied:
        return denied.status
    return 200


def test_scopes_of_tokens_and_open_ones(tmp_path: Path) -> None:
    tokens = TokenFolder(tmp_path)
    text, _ = tokens.create("x", ["audit"], time.time(), 3600)
    access = Access(tokens, ["read"], {})
    stranger = access.client(_request())
    assert [_status(access, stranger, each) for each in ("read", "audit", "upload")] == [200, 401, 401]
    for header in (f"Bearer {text}", f"bearer  {text}", "Basic " + base64.b64encode(f"__token__:{text}".encode()).decode()):
        client = access.client(_request(header))
        assert [_status(access, client, each) for each in ("read", "audit", "upload")] == [200, 200, 403]


def test_an_unknown_token_is_an_error_also_where_none_is_needed(tmp_path: Path) -> None:
    tokens = TokenFolder(tmp_path)
    expired, _ = tokens.create("old", ["read"], time.time() - 10, 5)
    access = Access(tokens, ["read"], {})
    wrong = [f"Bearer {expired}", "Bearer", "", "Basic %%%", "Basic é", "Digest x", "Bearer " + "x" * 100_000, "Bearer \x00\xff"]
    for header in wrong:
        with pytest.raises(DeniedError) as caught:
            access.client(_request(header))
        assert caught.value.status == 401
        assert "WWW-Authenticate" in caught.value.headers
    with pytest.raises(DeniedError):  # two headers are not one token
        access.client(_request("Bearer a", "Bearer b"))


def test_a_session_permits_everything_and_is_stored_nowhere(tmp_path: Path) -> None:
    access = Access(TokenFolder(tmp_path), [], {})
    text = access.open_session()
    client = access.client(_request(f"Bearer {text}"))
    assert [_status(access, client, each) for each in ("read", "convert", "upload", "audit")] == [200] * 4
    assert not list(tmp_path.iterdir())
    with pytest.raises(DeniedError):
        Access(TokenFolder(tmp_path), [], {}).client(_request(f"Bearer {text}"))


def test_rates_are_counted_by_client(tmp_path: Path) -> None:
    access = Access(TokenFolder(tmp_path), ["convert"], {"convert": "2/day", "read": ""})
    first, second = access.client(_request()), access.client(_request(host="192.0.2.2"))
    access.count(first, "convert")
    access.count(first, "convert")
    with pytest.raises(DeniedError) as caught:
        access.count(first, "convert")
    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) > 3600
    access.count(second, "convert")
    for _ in range(1000):
        access.count(first, "read")


def test_one_host_has_one_key_whatever_its_address(tmp_path: Path) -> None:
    access = Access(TokenFolder(tmp_path), [], {})
    keys = {access.client(_request(host=host)).key for host in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:1::")}
    assert len(keys) == 1
