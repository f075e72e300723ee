"""What channels list, as py-rattler's records: plain, zst and sharded repodata, through its Gateway and its cache.

Proxies, retries and credentials are py-rattler's own (`conda.auth` looks in the same places). Each channel, and each group of
channels that are read together, has a cache of its own, so that a spoiled one can be given up without the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from conda2wheel.channels.downloads import CachedGateway, Downloads
from conda2wheel.errors import Failed
from conda2wheel.net.download import redact_text, redacted, require_secure

if TYPE_CHECKING:
    from rattler import Channel, Gateway, MatchSpec, RepoDataRecord

CHANNEL_ALIAS = "https://prefix.dev/"
SUBDIRS: tuple[Literal["emscripten-wasm32"], Literal["noarch"]] = ("emscripten-wasm32", "noarch")
TIMEOUT = 120  # seconds for one answer, its body included; py-rattler has no bound of its own
_INDEX = "*.shards-cache-v1"  # py-rattler's copies of the lists of shards
T = TypeVar("T")
_Ask = Callable[["Gateway", "list[Channel]"], Coroutine[Any, Any, T]]


def channel_url(channel: str) -> str:
    """A channel's URL: its own, that of a local folder, or the one that its name has on prefix.dev."""
    if "://" in channel or channel.startswith("file:"):
        return channel
    if os.path.isdir(channel) or channel.startswith((".", "/", "~")):
        return Path(channel).expanduser().absolute().as_uri()
    return CHANNEL_ALIAS + channel


def query(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[list[RepoDataRecord]]:
    """The records that fit the specs, for emscripten-wasm32 and noarch, of each channel. Raises `Failed` (network, unreadable)
    with one line."""
    return [_records((address,), specs, downloads, recursive=False) for address in addresses]


def query_recursive(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[RepoDataRecord]:
    """The records of all channels, for emscripten-wasm32 and noarch, that fit the specs, with every record of every name that
    these depend on, and so on. Raises `Failed` (network, unreadable) with one line."""
    return _records(tuple(addresses), specs, downloads, recursive=True)


def all_records(address: str, downloads: Downloads) -> list[RepoDataRecord]:
    """Every record that a channel has for emscripten-wasm32 and noarch. Raises `Failed` (network, unreadable) with one line."""
    from rattler import MatchSpec

    return _records((address,), [MatchSpec("*", exact_names_only=False)], downloads, recursive=False)


def package_names(address: str, downloads: Downloads) -> list[str]:
    """The names of all that a channel has for emscripten-wasm32, sorted. Raises `Failed` (network, unreadable) with one line."""

    async def ask(gateway: Gateway, sources: list[Channel]) -> list[str]:
        return sorted(name.normalized for name in await gateway.names(sources, SUBDIRS[:1]))

    return _Channels((address,), downloads).asked(ask)


def _records(
    addresses: tuple[str, ...], specs: Sequence[MatchSpec | str], downloads: Downloads, recursive: bool
) -> list[RepoDataRecord]:
    async def ask(gateway: Gateway, sources: list[Channel]) -> list[RepoDataRecord]:
        return [record for records in await gateway.query(sources, SUBDIRS, specs, recursive) for record in records]

    return _Channels(addresses, downloads).asked(ask)


@dataclass(frozen=True)
class _Channels:
    """Channels that are read together, and how they are asked."""

    addresses: tuple[str, ...]
    downloads: Downloads

    def asked(self, ask: _Ask[T]) -> T:
        """What a Gateway answers. Raises `Failed`."""
        from rattler.exceptions import AuthenticationStorageError, GatewayError

        for address in self.addresses:
            if not address.startswith("file:"):
                require_secure(address)
        try:
            with self._folder() as folder:
                return self._asked(folder, ask)
        except AuthenticationStorageError as error:
            raise Failed("unreadable", _line(error), "it has the channels' credentials: see RATTLER_AUTH_FILE") from None
        except (GatewayError, OSError) as error:
            hint = "check the channel and the network, and whether it wants a password"
            hint = "run it once without --offline" if self.downloads.offline else hint
            raise Failed("network", f"cannot read {', '.join(map(redacted, self.addresses))}: {_line(error)}", hint) from None

    def _asked(self, folder: Path, ask: _Ask[T]) -> T:
        """By shards where there are, else by the plain list, which py-rattler tries more often."""
        from rattler.exceptions import GatewayError

        try:
            return self._answer(folder, True, ask)
        except GatewayError as error:
            if "error sending request" in str(error):  # nobody is there: the plain list is not there, either
                raise
            first = error
        if "304 Not Modified" in str(first) and not self.downloads.offline:
            # py-rattler 0.28 takes a 304 without ETag and Last-Modified for an error: it shall ask as if for the first time.
            _remove(folder, _INDEX)
            with suppress(GatewayError):
                return self._answer(folder, True, ask)
        try:
            found = self._answer(folder, False, ask)
        except GatewayError as error:
            if "could not find subdir" in str(error):  # no plain list: what is wrong is wrong with the shards
                raise first from None
            if self.downloads.offline or not _spoiled(folder):
                raise
            found = self._answer(folder, False, ask)
        if not self.downloads.offline:
            _remove(folder, _INDEX, "shards-v1")  # older than the plain list, or spoiled
        return found

    def _answer(self, folder: Path, sharded: bool, ask: _Ask[T]) -> T:
        from rattler import Channel

        lists, key = self.downloads.gateways, (folder, sharded)
        known = lists.get(key)
        if known is None or time.monotonic() - known.made >= self.downloads.fresh:
            known = CachedGateway(self._gateway(folder, sharded), time.monotonic())
        try:
            found = run(ask(known.gateway, [Channel(address) for address in self.addresses]))
        except BaseException:
            lists.pop(key, None)  # whatever it remembers, it is not asked again
            raise
        if self.downloads.fresh:
            lists[key] = known
        return found

    def _gateway(self, folder: Path, sharded: bool) -> Gateway:
        from rattler import Client, Gateway, SourceConfig

        action: Any = "force-cache-only" if self.downloads.offline else "cache-or-fetch"
        config = SourceConfig(sharded_enabled=sharded, cache_action=action)
        return Gateway(cache_dir=folder, default_config=config, client=Client.default_client(timeout=TIMEOUT))

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """The channels' cache; one for the moment where none can be kept."""
        folder = self.downloads.repodata / hashlib.sha256("\n".join(self.addresses).encode()).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            usable = self.downloads.offline or os.access(folder, os.W_OK | os.X_OK)
        except OSError:
            usable = False
        if usable:
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="conda2wheel-") as moment:
            yield Path(moment)


def _remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _spoiled(folder: Path) -> bool:
    """Whether a plain list was no JSON object; it is removed, for py-rattler would keep it as long as its server says 304."""
    found = False
    for path in [each for each in folder.glob("*.json") if not each.name.endswith(".info.json")]:
        try:
            whole = isinstance(json.loads(path.read_bytes()), dict)
        except ValueError:
            whole = False
        if not whole:
            _remove(folder, path.name, f"{path.stem}.info.json")
            found = True
    return found


def _line(error: Exception) -> str:
    """What happened and, where another error caused it, that; in one line, without what opens a private channel."""
    lines = [line.strip().removeprefix("Caused by: ") for line in str(error).splitlines()]
    lines = [line for line in lines if line and line != "Body:"] or [type(error).__name__]
    text = lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"
    return redact_text(text)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: the caller may have an event loop, in which asyncio.run is not allowed. Whoever
    is interrupted while it runs (Ctrl-C) does not wait for an answer."""
    box: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                box["result"] = runner.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            box["error"] = error
        while _is_being_told(loop):
            time.sleep(0.001)

    thread = threading.Thread(target=target, name="conda2wheel-channel")
    thread.start()
    try:
        thread.join()
    except BaseException:
        with suppress(RuntimeError):  # it has just ended
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        raise
    if "error" in box:
        raise box["error"]
    result: T = box["result"]
    return result


def _is_being_told(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a thread of py-rattler still is in the call with which it told a loop its answer.

    The loop goes on as soon as that call wakes it, and a process may end then: the thread, which wants the interpreter's lock
    once more, would find the interpreter gone, and abort it (Python before 3.14: `Fatal Python error: PyGILState_Release`).
    When it has left that call it keeps the lock until it has left Python, too.
    """
    code = asyncio.BaseEventLoop.call_soon_threadsafe.__code__
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code is code and frame.f_locals.get("self") is loop:
                return True
            frame = frame.f_back
    return False
