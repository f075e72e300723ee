"""Addresses: no text of one has what opens it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import asdict, dataclass

import pytest

from conda2wheel.net.urls import Address, is_secure, redact_text, redacted, secret_url

SECRET = "hunter2-0f3a9"  # noqa: S105 - opens nothing
SECRETS = (
    f"https://me:{SECRET}@host/channel/noarch/x-1-0.conda",
    f"https://{SECRET}@host/channel",
    f"https://me:a@{SECRET}@host/channel",
    f"https://me:a/{SECRET}@host/channel",
    f"https://me:a#{SECRET}@host/channel",
    f"https://host/t/{SECRET}/channel/noarch/x-1-0.conda#sha256=00",
    f"https://host/t/{SECRET}",
    f"https://host/proxy/t/{SECRET}/channel",
    f"https://host/a/t/{SECRET}/b/t/{SECRET}/c",
    f"https://host/x.conda?X-Amz-Signature={SECRET}&X-Amz-Date=20260101",
    f"https://host/x.conda?sig={SECRET}",
    f"https://host/x.conda?a=1&token={SECRET}#sha256=00",
    f"https://host/x.conda?{SECRET}",
    f"https://host/x.conda#access_token={SECRET}",
    f"HTTPS://me:{SECRET}@host:8443/t/{SECRET}/channel?key={SECRET}",
    f"https://me:{SECRET}@[::1]:80/channel",
    f"https://me:{SECRET}\n@host/channel",
)


@dataclass(frozen=True)
class Record:
    url: str


@pytest.mark.parametrize("url", SECRETS)
def test_no_text_of_an_address_has_its_secret(url: str, caplog: pytest.LogCaptureFixture) -> None:
    address = Address(url)
    record = Record(address)
    logging.getLogger("test").warning("%s %r", address, record)
    shown = (
        f"{address} {address!r}", "%s" % address, "".join([address]), repr(record), repr([address]), json.dumps([address]),  # noqa: UP031
        json.dumps(asdict(record)), str(Exception(address)), address + "/x", caplog.text, redacted(url),
    )  # fmt: skip
    for text in shown:
        assert SECRET not in text, text
    assert "host" in address or "[::1]" in address
    assert SECRET not in redact_text(f"error: <{url}> and '{url}'")
    kept = (
        address,
        str(address),
        copy.deepcopy(address),
        pickle.loads(pickle.dumps(address)),  # noqa: S301
        asdict(record)["url"],
        Address(address),
    )
    assert all(secret_url(each) == url for each in kept)


def test_what_is_no_secret_stays() -> None:
    for url in (
        "https://host:8443/channel/noarch/x-1-0.conda#sha256=" + "0" * 64,
        "https://host/t/noarch/x-1-0.conda",
        "https://host/@scope/x?download=1&raw=true",
        "file:///home/t/x/y@z#sha256=00",
        "plain text, no URL",
    ):
        assert redacted(url) == Address(url) == url


def test_parts_of_an_address_keep_its_secrets() -> None:
    address = Address(f"https://me:{SECRET}@host/c?sig={SECRET}")
    assert secret_url(address.child("noarch/x.conda")) == f"https://me:{SECRET}@host/c/noarch/x.conda?sig={SECRET}"
    assert secret_url(address.with_sha256("00")) == f"https://me:{SECRET}@host/c?sig={SECRET}#sha256=00"
    assert secret_url(address.with_sha256(None)) == secret_url(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https://host:99999/",
        "https://host:x/",
        "https://[::1",
        "http://host/",
        "https://host/\r\nX: y",
        "https:///x",
        "ftp://host/",
        "https://host:0/",
        "https://host/" + "a" * 9000,
        "http://127.0.0.1.example.org/",
        "http://localhost@host/",
    ],
)
def test_what_is_not_opened(url: str) -> None:
    assert not is_secure(url)
    assert not is_secure(Address(url))
