"""Tokens of the service: who may do what costs or writes.

A token is `c2w_ID_SECRET`. The folder of tokens has a file `ID.json` for each, with mode 0600: the sha256 of the whole token, its
scopes and when it expires. The secret is 256 random bits, so that its plain sha256 cannot be guessed, and the token itself is
shown once, when it is made. One file a token needs no lock: making one creates a file, revoking one removes it, and every server
that reads the folder knows it at the next request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from conda2wheel.errors import Failed
from conda2wheel.files.reading import unreadable
from conda2wheel.files.typed_json import read_document
from conda2wheel.files.writing import write_file

Scope = Literal["read", "convert", "upload", "audit"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
MAX_NAME = 100
_TOKEN = re.compile(r"c2w_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID = re.compile(r"[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_END = 253402300800.0  # the year 10000
_HINT = "see `conda2wheel serve token list`"


@dataclass(frozen=True)
class Token:
    """What is known of a token.

    Attributes:
        id: the part of it that is no secret.
        name: what it is for, in its maker's words.
        scopes: what it permits: `read` the pages of a service that asks for tokens there, `convert` packages of the channels,
            `upload` packages to convert, `audit` uploads.
        created: in seconds since 1970.
        expires: in seconds since 1970; None: never.
        sha256: of the whole token, in hexadecimal.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created: float
    expires: float | None
    sha256: str

    def expired(self, now: float) -> bool:
        """Whether it has expired."""
        return self.expires is not None and now >= self.expires

    def json(self) -> dict[str, Any]:
        """For `token list --json`: everything but the digest; times in ISO 8601."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "created": _moment(self.created),
            "expires": None if self.expires is None else _moment(self.expires),
        }


class TokenFolder:
    """The tokens of a service, a file for each in a folder.

    Args:
        folder: is made with the first token.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, scopes: Collection[str], now: float, lifetime: float | None) -> tuple[str, Token]:
        """Make a token.

        Args:
            name: what it is for: one line of at most 100 printable characters.
            scopes: some of `SCOPES`.
            now: seconds since 1970.
            lifetime: seconds until it expires; None: never.

        Returns:
            The token, which is stored nowhere, and what is known of it.

        Raises:
            Failed: usage, disk.
        """
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise Failed("usage", "a token's name is one line of at most 100 printable characters", "say what it is for")
        if unknown := [scope for scope in scopes if scope not in SCOPES]:
            raise Failed("usage", f"no scope is named {unknown[0]!r}", f"it is one of {', '.join(SCOPES)}")
        if not scopes:
            raise Failed("usage", "a token without a scope permits nothing", f"give it some of {', '.join(SCOPES)}")
        number = secrets.token_hex(6)
        text = f"c2w_{number}_{secrets.token_urlsafe(32)}"
        expires = None if lifetime is None else now + lifetime
        token = Token(number, name, tuple(each for each in SCOPES if each in scopes), now, expires, _digest(text))
        document = {
            "name": token.name,
            "scopes": list(token.scopes),
            "created": token.created,
            "expires": token.expires,
            "sha256": token.sha256,
        }
        write_file(self._path(number), lambda: iter([json.dumps(document).encode()]), mode=0o600)
        return text, token

    def tokens(self) -> Iterator[Token]:
        """Yield all tokens, the oldest first. Raises `Failed` (unreadable)."""
        try:
            found = [path.stem for path in self.folder.iterdir() if path.suffix == ".json" and _ID.fullmatch(path.stem)]
        except FileNotFoundError:
            return
        except OSError as error:
            raise unreadable(self.folder, error) from None
        yield from sorted(filter(None, map(self._read, found)), key=lambda token: (token.created, token.id))

    def revoke(self, number: str) -> None:
        """Remove a token by its id. Raises `Failed` (not-found, disk)."""
        if not _ID.fullmatch(number):
            raise Failed("not-found", f"no token has the id {number!r}", _HINT)
        try:
            self._path(number).unlink()
        except FileNotFoundError:
            raise Failed("not-found", f"no token has the id {number!r}", _HINT) from None
        except OSError as error:
            raise Failed("disk", f"{self._path(number)}: {error.strerror}", "check the permissions of the folder") from None

    def find(self, text: str, now: float) -> Token | None:
        """The token that a client sent, if it is known and has not expired. Raises `Failed` (unreadable)."""
        match = _TOKEN.fullmatch(text)
        token = self._read(match[1]) if match else None
        if token is None or not hmac.compare_digest(token.sha256, _digest(text)) or token.expired(now):
            return None
        return token

    def _path(self, number: str) -> Path:
        return self.folder / f"{number}.json"

    def _read(self, number: str) -> Token | None:
        path = self._path(number)
        try:
            found = read_document(_TokenFile, json.loads(path.read_bytes()))
            found.check()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from None
        except (ValueError, RecursionError) as error:
            raise Failed("unreadable", f"{path}: no file of a token: {error}", "revoke it and make another") from None
        scopes = tuple(each for each in SCOPES if each in found.scopes)
        return Token(number, found.name, scopes, found.created, found.expires, found.sha256)


@dataclass(frozen=True)
class _TokenFile:
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    sha256: str

    def check(self) -> None:
        """Raise `ValueError` for what no token has; a time that is none would never come."""
        times = [self.created, *([] if self.expires is None else [self.expires])]
        if not all(0 <= each < _END for each in times) or not _SHA256.fullmatch(self.sha256) or not self.name.isprintable():
            raise ValueError("no time, no sha256 or no name")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
