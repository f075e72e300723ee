"""What channels list, as py-rattler's records: plain, zst and sharded repodata, through its Gateway and its cache.

Authentication, proxies and retries are py-rattler's own (the same places as `conda.auth`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .downloads import Downloads

if TYPE_CHECKING:
    from rattler import Gateway, MatchSpec, RepoDataRecord

CHANNEL_ALIAS = "https://prefix.dev/"
SUBDIRS: tuple[Literal["emscripten-wasm32"], Literal["noarch"]] = ("emscripten-wasm32", "noarch")
T = TypeVar("T")


def channel_url(channel: str) -> str:
    """A channel's URL: its own, that of a local folder, or the one that its name has on prefix.dev."""
    if "://" in channel or channel.startswith("file:"):
        return channel
    if os.path.isdir(channel) or channel.startswith((".", "/", "~")):
        return Path(channel).expanduser().absolute().as_uri()
    return CHANNEL_ALIAS + channel


def query(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[list[RepoDataRecord]]:
    """The records that fit the specs, for emscripten-wasm32 and noarch, of each channel. Raises `GatewayError` and `OSError`."""

    async def ask() -> list[list[RepoDataRecord]]:
        from rattler import Channel
        from rattler.exceptions import GatewayError

        found = []
        for address in addresses:
            sources = [Channel(address)]
            try:
                answer = await _gateway(downloads, sharded=True).query(sources, SUBDIRS, specs, recursive=False)
            except GatewayError:
                # py-rattler 0.28 takes the "304 Not Modified" of plain servers for an error when it revalidates shards.
                answer = await _gateway(downloads, sharded=False).query(sources, SUBDIRS, specs, recursive=False)
            found.append([record for records in answer for record in records])
        return found

    return run(ask())


def closure(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[RepoDataRecord]:
    """The records of all channels, for emscripten-wasm32 and noarch, that fit the specs, with every record of every name that
    these depend on, and so on. Raises `GatewayError` and `OSError`."""

    async def ask() -> list[RepoDataRecord]:
        from rattler import Channel
        from rattler.exceptions import GatewayError

        sources = [Channel(address) for address in addresses]
        try:
            answer = await _gateway(downloads, sharded=True).query(sources, SUBDIRS, specs, recursive=True)
        except GatewayError:
            answer = await _gateway(downloads, sharded=False).query(sources, SUBDIRS, specs, recursive=True)
        return [record for records in answer for record in records]

    return run(ask())


def _gateway(downloads: Downloads, sharded: bool) -> Gateway:
    from rattler import Client, Gateway, SourceConfig

    action: Any = "force-cache-only" if downloads.offline else "cache-or-fetch"
    config = SourceConfig(sharded_enabled=sharded, cache_action=action)
    return Gateway(cache_dir=downloads.repodata, default_config=config, client=Client.default_client())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: the caller may have an event loop, in which asyncio.run is not allowed."""
    box: dict[str, Any] = {}

    def target() -> None:
        try:
            box["result"] = asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            box["error"] = error

    thread = threading.Thread(target=target, name="conda2wheel-channel")
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    result: T = box["result"]
    return result
