"""Proxies of the environment variables: all requests use them, or none does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import command, sets
from tests.helpers.proxy import Proxy, proxy
from tests.helpers.served import Served, serve

HTTPS = "https://channel.invalid/x"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    sets.indexed(tmp_path / "channel", [sets.native("numeric", depends=["pure-one"]), sets.pure("pure-one")])
    with serve(tmp_path / "channel") as running:
        yield running


@pytest.fixture
def between() -> Iterator[Proxy]:
    with proxy() as running:
        yield running


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command with no other proxy than these."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return command.run(*arguments, env={**environ, **environment})


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_repodata_parts_and_packages_are_requested_through_the_proxy(
    variable: str, served: Served, between: Proxy, tmp_path: Path
) -> None:
    command = ["convert", "numeric", "--channel", served.url, "-o", str(tmp_path)]
    done = call(*command, **{variable: between.url})
    assert done.returncode == 0, done.stderr
    through = [address.removeprefix(served.url) for address in between.forwarded]
    assert sorted(through) == sorted(served.requests.elements())
    assert any("repodata" in path for path in through)
    kinds = {name: {part is not None for part in asked} for name, asked in served.parts().items()}
    assert kinds == {"numeric-1.0-py313h1234567_0.tar.bz2": {False}, "pure-one-1.0-pyh1234567_0.tar.bz2": {True}}


@pytest.mark.parametrize("variables", [("HTTP_PROXY",), ("ALL_PROXY",), ("HTTPS_PROXY",)])
def test_no_proxy_goes_straight_to_a_channel_on_this_machine(
    variables: tuple[str, ...], served: Served, between: Proxy, tmp_path: Path
) -> None:
    environment = dict.fromkeys(variables, between.url)
    if variables != ("HTTPS_PROXY",):  # which is for https alone
        environment["NO_PROXY"] = "localhost,127.0.0.1"
    done = call("convert", "numeric", "--channel", served.url, "-o", str(tmp_path), **environment)
    assert done.returncode == 0, done.stderr
    assert (between.forwarded, between.tunnels) == ([], [])


@pytest.mark.parametrize("source", [["numeric", "--channel", HTTPS], [f"{HTTPS}/noarch/x-1-0.tar.bz2"]], ids=["list", "file"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", pytest.param("ALL_PROXY", marks=pytest.mark.long)])
def test_https_goes_through_a_tunnel(variable: str, source: list[str], between: Proxy, tmp_path: Path) -> None:
    done = call("inspect" if len(source) == 1 else "convert", *source, **{variable: between.url})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("conda2wheel: error: network: ")
    assert done.stderr.count("\n") == 1
    assert set(between.tunnels) == {"channel.invalid:443"}
