"""Tokens: made once, hashed at rest, with scopes and an end, and gone at once when they are revoked."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from conda2wheel.errors import Failed
from conda2wheel.serve.tokens import TokenFolder

NOW = 1_800_000_000.0


def test_a_token_is_found_until_it_expires_or_is_revoked(tmp_path: Path) -> None:
    tokens = TokenFolder(tmp_path / "tokens")
    text, token = tokens.create("nightly", ["upload", "audit"], NOW, 3600)
    forever, other = tokens.create("for good", ["read"], NOW + 1, None)
    assert tokens.find(text, NOW + 3599) == token
    assert tokens.find(text, NOW + 3600) is None
    assert tokens.find(forever, NOW + 1e9) == other
    assert [each.id for each in tokens.tokens()] == [token.id, other.id]
    assert token.scopes == ("upload", "audit")
    tokens.revoke(token.id)
    assert tokens.find(text, NOW) is None
    with pytest.raises(Failed, match="no token has the id"):
        tokens.revoke(token.id)


def test_the_file_has_neither_the_token_nor_readers(tmp_path: Path) -> None:
    text, token = TokenFolder(tmp_path).create("x", ["convert"], NOW, None)
    path = tmp_path / f"{token.id}.json"
    assert text.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "sha256" not in json.dumps(token.json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2w_",
        "../../etc/passwd",
        "c2w_0123456789ab_" + "A" * 43,
        "c2w_../x_" + "A" * 43,
        "c2w_\udcff",
        "c2w_" + "0" * 10_000_000,
    ],
)
def test_what_is_no_token_is_none(tmp_path: Path, text: str) -> None:
    TokenFolder(tmp_path).create("x", ["read"], NOW, None)
    assert TokenFolder(tmp_path).find(text, NOW) is None


def test_another_secret_with_a_known_id_is_none(tmp_path: Path) -> None:
    text, _ = TokenFolder(tmp_path).create("x", ["read"], NOW, None)
    assert TokenFolder(tmp_path).find(text[:-1] + ("A" if text[-1] != "A" else "B"), NOW) is None
    assert TokenFolder(tmp_path / "nothing here").find(text, NOW) is None


@pytest.mark.parametrize("number", ["", "../x", "0123456789ab", "0" * 12 + "\n"])
def test_an_id_that_is_not_there_is_not_found(tmp_path: Path, number: str) -> None:
    with pytest.raises(Failed) as caught:
        TokenFolder(tmp_path).revoke(number)
    assert caught.value.code == "not-found"


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ["read"]), ("a\nb", ["read"]), ("x" * 101, ["read"]), ("x", []), ("x", ["root"])]
)
def test_wrong_wishes_are_usage_errors(tmp_path: Path, name: str, scopes: list[str]) -> None:
    with pytest.raises(Failed) as caught:
        TokenFolder(tmp_path).create(name, scopes, NOW, None)
    assert caught.value.code == "usage"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{}", b'{"name": 1, "scopes": 3, "created": 0, "expires": null, "sha256": 0}', b"[" * 100_000]
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    text, token = TokenFolder(tmp_path).create("x", ["read"], NOW, None)
    (tmp_path / f"{token.id}.json").write_bytes(damage)
    with pytest.raises(Failed, match=token.id) as caught:
        TokenFolder(tmp_path).find(text, NOW)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": "upload"},  # of which "upload" is a part, but no element
        {"scopes": {"upload": 1}},
        {"sha256": "\xe9" * 64},
        {"sha256": 1},
        {"expires": float("nan")},  # which no moment comes after
        {"expires": 1e300},
        {"expires": "2030-01-01"},
        {"created": 10**400},
        {"name": "a\x1b[31m"},
        {"name": None},
    ],
)
def test_a_file_of_another_form_is_no_token(tmp_path: Path, change: dict[str, object]) -> None:
    folder = TokenFolder(tmp_path)
    text, token = folder.create("nightly", ["read"], 1.8e9, None)
    path = tmp_path / f"{token.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    for read in (lambda: folder.find(text, 1.9e9), lambda: list(folder.tokens())):
        with pytest.raises(Failed) as caught:
            read()
        assert caught.value.code == "unreadable"
