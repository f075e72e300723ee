"""Private channels: what rattler sends to read a channel is what is sent for its packages, to nobody else, and never shown."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import pytest
from rattler.index import index_fs

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.search import find
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Failed
from conda2wheel.net.credentials import Credentials, credentials
from tests.helpers import conda
from tests.helpers.served import Served, serve

SECRET = "hunter2"  # noqa: S105 - opens nothing
BASIC = {"BasicHTTP": {"username": "me", "password": SECRET}}
BASIC_SENT = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
BEARER = {"BearerToken": SECRET}
OAUTH = {
    "OAuth": {
        "access_token": SECRET,
        "refresh_token": None,
        "expires_at": None,
        "token_endpoint": "https://example.org/token",
        "revocation_endpoint": None,
        "client_id": "c",
    }
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RATTLER_AUTH_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    (folder / ".rattler").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "channel"
    for subdir in ("noarch", "emscripten-wasm32"):
        (root / subdir).mkdir(parents=True)
    files = {"site-packages/demo.py": "x = 1\n"}
    made = conda.assemble("demo", "1.0", files, noarch="python", string="pyh1_0", about={"license": "MIT", "summary": "x"})
    shutil.copy(made, root / "noarch" / made.name)
    shutil.copytree(root, root / "t" / SECRET)
    asyncio.run(index_fs(root))
    asyncio.run(index_fs(root / "t" / SECRET))
    with serve(root) as running:
        yield running


def save(home: Path, where: str, stored: Any) -> dict[str, str]:
    """Save credentials for a host; what has to be in the environment for them."""
    path = {"file": home / "auth.json", "home": home / ".rattler/credentials.json", "netrc": home / ".netrc"}.get(where)
    path = path or home / "elsewhere"
    path.write_text(stored if isinstance(stored, str) else json.dumps(stored))
    path.chmod(0o600)
    return {"file": {"RATTLER_AUTH_FILE": str(path)}, "NETRC": {"NETRC": str(path)}}.get(where, {})


def sent(served: Served, out: Path, address: str | None = None) -> tuple[set[str | None], set[str | None]]:
    """What came with the requests for what the channel lists, and with that for the package."""
    result = convert("demo", channels=[address or served.url], out=out, downloads=Downloads())
    assert SECRET not in repr(result)
    told: tuple[set[str | None], set[str | None]] = (set(), set())
    for path, headers in served.headers:
        lower = {name.lower(): value for name, value in headers.items()}
        told[path.endswith(".tar.bz2")].add(lower.get("authorization"))
    assert told[1]
    return told


@pytest.mark.parametrize(
    ("where", "stored", "header"),
    [
        ("file", {"127.0.0.1": BASIC}, BASIC_SENT),
        ("file", {"127.0.0.1": BEARER}, f"Bearer {SECRET}"),
        ("file", {"127.0.0.1": OAUTH}, f"Bearer {SECRET}"),
        ("file", {"127.0.0.2": BASIC}, None),
        ("file", {"*.0.0.1": BASIC}, None),
        ("file", {"*": BASIC}, None),
        ("file", {}, None),
        ("home", {"127.0.0.1": BEARER}, f"Bearer {SECRET}"),
        ("netrc", f"machine 127.0.0.1 login me password {SECRET}\n", BASIC_SENT),
        ("NETRC", f"machine 127.0.0.1 login me password {SECRET}\n", BASIC_SENT),
        ("NETRC", f"default login me password {SECRET}\n", None),
        ("NETRC", "machine without sense\n", None),
    ],
)
def test_the_channel_and_its_packages_are_asked_with_the_same(
    where: str, stored: Any, header: str | None, served: Served, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in save(home, where, stored).items():
        monkeypatch.setenv(name, value)
    assert sent(served, tmp_path / "dist") == ({header}, {header})


def test_a_star_stands_for_the_name_and_what_is_below(home: Path, served: Served, tmp_path: Path) -> None:
    save(home, "home", {"*.localhost": BASIC})
    lists, packages = sent(served, tmp_path / "dist", served.url.replace("127.0.0.1", "localhost"))
    assert (BASIC_SENT in lists, packages) == (True, {BASIC_SENT})
    save(home, "home", {"*.example.org": BASIC})
    for host, known in (("example.org", True), ("a.b.example.org", True), ("notexample.org", False), ("org", False)):
        assert (credentials(f"https://{host}/x.conda") != Credentials()) is known


def test_the_places_are_asked_in_rattlers_order(
    home: Path, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(home, "netrc", "machine 127.0.0.1 login netrc password x\n")
    save(home, "home", {"127.0.0.1": {"BearerToken": "of-home"}})
    assert sent(served, tmp_path / "dist") == ({"Bearer of-home"}, {"Bearer of-home"})
    served.forget()
    monkeypatch.setenv("RATTLER_AUTH_FILE", save(home, "file", {"127.0.0.1": {"BearerToken": "of-file"}})["RATTLER_AUTH_FILE"])
    monkeypatch.setenv("CONDA2WHEEL_CACHE", str(tmp_path / "other"))
    assert sent(served, tmp_path / "dist") == ({"Bearer of-file"}, {"Bearer of-file"})


def test_what_the_url_brings_along_comes_first(home: Path, served: Served, tmp_path: Path) -> None:
    save(home, "home", {"127.0.0.1": {"BearerToken": "other"}})
    assert sent(served, tmp_path / "dist", served.url.replace("//", f"//me:{SECRET}@")) == ({BASIC_SENT}, {BASIC_SENT})


@pytest.mark.parametrize("stored", [True, False])
def test_a_channels_token_is_part_of_the_address(stored: bool, home: Path, served: Served, tmp_path: Path) -> None:
    if stored:
        save(home, "home", {"127.0.0.1": {"CondaToken": SECRET}})
    sent(served, tmp_path / "dist", None if stored else f"{served.url}/t/{SECRET}")
    assert served.requests
    assert all(path.startswith(f"/t/{SECRET}/") for path in served.requests)


def test_the_systems_keyring_is_asked(home: Path, served: Served, tmp_path: Path) -> None:
    class Ring(keyring.backend.KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return json.dumps(BASIC) if (service, username) == ("rattler", "127.0.0.1") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())  # type: ignore[no-untyped-call]
    try:
        assert sent(served, tmp_path / "dist")[1] == {BASIC_SENT}
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize("stored", ["garbage", {"127.0.0.1": {"Unknown": SECRET}}])
@pytest.mark.parametrize("where", ["file", "home"])
def test_a_file_that_nobody_can_read_is_one_clear_line(
    where: str, stored: Any, home: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in save(home, where, stored).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Failed, match=r"failed to parse .*\.json") as caught:
        find("demo", [served.url])
    assert (caught.value.code, SECRET in str(caught.value), "\n" in str(caught.value)) == ("unreadable", False, False)
    assert not served.requests


def test_credentials_stay_with_their_host(home: Path, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port is another host; and what netrc knows of the other is nothing that the first may ask for."""
    save(home, "netrc", f"machine 127.0.0.1 login me password {SECRET}\nmachine localhost login me password {SECRET}\n")
    (found,) = served.root.glob("noarch/*.tar.bz2")
    with serve(served.root) as other:
        for there in (other.url, other.url.replace("127.0.0.1", "localhost")):
            served.fault("*.tar.bz2", status=302, location=f"{there}/noarch/{found.name}", times=1)
            convert(f"{served.url}/noarch/{found.name}", out=tmp_path / "dist")
            assert served.headers[-1][1]["Authorization"] == BASIC_SENT
            assert "Authorization" not in other.headers[-1][1]


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_no_message_shows_what_opens_a_channel(status: int, served: Served, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conda2wheel.net.download.BACKOFF", 0.0)
    save(home, "home", {"127.0.0.1": {"CondaToken": f"{SECRET}-token"}})
    served.fault(status=status)
    for address in (served.url.replace("//", f"//me:{SECRET}@"), f"{served.url}/t/{SECRET}", served.url):
        if status != 500:  # for which py-rattler waits some seconds
            told(partial(find, "demo", [address]))
        told(partial(convert, f"{address}/noarch/x-1-0.conda"))


def told(ask: Callable[[], object]) -> None:
    with pytest.raises(Failed) as caught:
        ask()
    assert SECRET not in repr(caught.value)
    assert SECRET not in str(caught.value)
