"""Find credentials for channels in rattler's stores, which `pixi auth login` and `rattler-build auth` write.

In this order: the file that `$RATTLER_AUTH_FILE` names; the system's keyring, where the package `keyring` is installed;
`~/.rattler/credentials.json`; a netrc file (`$NETRC`, `~/.netrc`; its `default` entry is ignored). A file maps hosts, without
port, `*.` matching any subdomain, to one of `{"BearerToken": T}`, `{"CondaToken": T}`, `{"OAuth": {"access_token": T, ...}}`,
`{"BasicHTTP": {"username": U, "password": P}}` (rattler_networking's storage). Credentials in the URL itself come first.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from conda2wheel.errors import Failed
from conda2wheel.net.folders import home_folder

KEYRING_SERVICE = "rattler"
_KINDS = {"BearerToken", "CondaToken", "OAuth", "BasicHTTP"}
_STORE_HINT = "it stores the channels' credentials; see RATTLER_AUTH_FILE"
_TOKEN = re.compile(r"[\x21-\x7e]{1,8000}")  # what a header and an address can have


@dataclass(frozen=True)
class Credentials:
    """How a host wants to be asked: `token` goes into the address as `/t/TOKEN/`, `bearer` and `basic` into a header."""

    bearer: str | None = None
    token: str | None = None
    basic: tuple[str, str] | None = None

    def address(self, url: str) -> str:
        """Return the URL to request, with conda's token if there is one.

        >>> Credentials(token="tk-1").address("https://host/channel/noarch/x-1-0.conda")
        'https://host/t/tk-1/channel/noarch/x-1-0.conda'
        """
        parts = urlsplit(url)
        if self.token is None or parts.path.startswith("/t/"):
            return url
        return urlunsplit(parts._replace(path=f"/t/{self.token}{parts.path}"))


NO_CREDENTIALS = Credentials()
_CredentialStore = Callable[[str], Credentials | None]


def credentials(url: str, environ: Mapping[str, str] | None = None) -> Credentials:
    """Return the credentials in a URL, else those stored for its host.

    Raises `Failed` (unreadable) for a store that cannot be read: without it, a private channel would only answer "not found".
    """
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    if parts.username is not None:
        return Credentials(basic=(unquote(parts.username), unquote(parts.password or "")))
    if parts.hostname is None:
        return NO_CREDENTIALS
    for stored in _stores(environ):
        for host in _names(parts.hostname):
            if (found := stored(host)) is not None:
                return found
    return _netrc(parts.hostname, environ)


def _names(host: str) -> Iterator[str]:
    """Yield the names under which a host may be stored: itself, then its parent domains with `*.`; an IP address only itself."""
    yield host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        for count in range(len(labels)):
            yield ".".join(["*", *labels[count:]])


def _stores(environ: Mapping[str, str]) -> Iterator[_CredentialStore]:
    if named := environ.get("RATTLER_AUTH_FILE"):
        yield _file(Path(named))
    yield _keyring
    if (home := home_folder(environ)) is not None:
        yield _file(home / ".rattler" / "credentials.json")


def _file(path: Path) -> _CredentialStore:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        stored = {}
    except (OSError, ValueError, RecursionError) as error:
        why = f"{path}: {error.strerror}" if isinstance(error, OSError) else f"failed to parse {path}: no JSON"
        raise Failed("unreadable", why, _STORE_HINT) from None

    if not isinstance(stored, dict):
        raise Failed("unreadable", f"failed to parse {path}: no JSON object", _STORE_HINT)

    def look(host: str) -> Credentials | None:
        if (value := stored.get(host)) is None:
            return None
        if (found := _parsed(value)) is None:
            why = "is of no known kind" if not isinstance(value, dict) or not set(value) & _KINDS else "is damaged"
            raise Failed("unreadable", f"failed to parse {path}: the entry for {host} {why}", _STORE_HINT)
        return found

    return look


def _keyring(host: str) -> Credentials | None:
    try:
        import keyring
    except ImportError:
        return None
    try:
        text = keyring.get_password(KEYRING_SERVICE, host)
        return _parsed(json.loads(text)) if text else None
    except (keyring.errors.KeyringError, ValueError):
        return None  # no keyring service, or another program's entry: the next store is tried


def _parsed(value: Any) -> Credentials | None:
    """Read an entry of a store; None for one that is none. A token's newline at its end, which editors add, is dropped."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    kind, secret = next(iter(value.items()))
    if kind == "BearerToken" and (token := _token(secret)):
        return Credentials(bearer=token)
    if kind == "CondaToken" and (token := _token(secret)) and not set(token) & set("/?#"):
        return Credentials(token=token)
    if kind == "OAuth" and isinstance(secret, dict) and (token := _token(secret.get("access_token"))):
        return Credentials(bearer=token)
    if kind == "BasicHTTP" and isinstance(secret, dict):
        return Credentials(basic=(str(secret.get("username", "")), str(secret.get("password", ""))))
    return None


def _token(value: Any) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if _TOKEN.fullmatch(text) else None


def _netrc(host: str, environ: Mapping[str, str]) -> Credentials:
    import netrc

    home = home_folder(environ)
    path = Path(environ["NETRC"]) if environ.get("NETRC") else home / ".netrc" if home else None
    if path is None:
        return NO_CREDENTIALS
    try:
        found = netrc.netrc(path).hosts.get(host)
    except (OSError, netrc.NetrcParseError, UnicodeError):
        return NO_CREDENTIALS  # rattler, curl and pip ignore such a file, too
    return Credentials(basic=(found[0], found[2])) if found else NO_CREDENTIALS
