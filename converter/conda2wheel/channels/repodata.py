"""Read the repodata of channels (plain, zst and sharded) as py-rattler's records, through its Gateway and its cache.

Proxies, retries and credentials are py-rattler's own (`net.credentials` reads the same stores). Each channel, and each group of
channels that are read together, has its own cache folder, so that a damaged one is dropped without the others.
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
TIMEOUT = 120  # seconds for one answer with its body; py-rattler sets no timeout
_INDEX = "*.shards-cache-v1"  # py-rattler's copies of the lists of shards
T = TypeVar("T")
_Ask = Callable[["Gateway", "list[Channel]"], Coroutine[Any, Any, T]]


def channel_url(channel: str) -> str:
    """Return a channel's URL: the URL itself, that of a local folder, or that of the name on prefix.dev."""
    if "://" in channel or channel.startswith("file:"):
        return channel
    if os.path.isdir(channel) or channel.startswith((".", "/", "~")):
        return Path(channel).expanduser().absolute().as_uri()
    return CHANNEL_ALIAS + channel


def query(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[list[RepoDataRecord]]:
    """Return the records that match the specs, for emscripten-wasm32 and noarch, of each channel.

    Raises:
        Failed: network, unreadable; the message is one line.
    """
    return [_records((address,), specs, downloads, recursive=False) for address in addresses]


def query_recursive(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[RepoDataRecord]:
    """Return the records that match the specs, with all records of their dependencies, recursively.

    They are those of all channels for emscripten-wasm32 and noarch.

    Raises:
        Failed: network, unreadable; the message is one line.
    """
    return _records(tuple(addresses), specs, downloads, recursive=True)


def all_records(address: str, downloads: Downloads) -> list[RepoDataRecord]:
    """Return every record that a channel has for emscripten-wasm32 and noarch.

    Raises:
        Failed: network, unreadable; the message is one line.
    """
    from rattler import MatchSpec

    return _records((address,), [MatchSpec("*", exact_names_only=False)], downloads, recursive=False)


def package_names(address: str, downloads: Downloads) -> list[str]:
    """Return the names of all packages that a channel has for emscripten-wasm32, sorted.

    Raises:
        Failed: network, unreadable; the message is one line.
    """

    async def ask(gateway: Gateway, sources: list[Channel]) -> list[str]:
        return sorted(name.normalized for name in await gateway.names(sources, SUBDIRS[:1]))

    return _Channels((address,), downloads).request(ask)


def _records(
    addresses: tuple[str, ...], specs: Sequence[MatchSpec | str], downloads: Downloads, recursive: bool
) -> list[RepoDataRecord]:
    async def ask(gateway: Gateway, sources: list[Channel]) -> list[RepoDataRecord]:
        return [record for records in await gateway.query(sources, SUBDIRS, specs, recursive) for record in records]

    return _Channels(addresses, downloads).request(ask)


@dataclass(frozen=True)
class _Channels:
    """Channels that are read together."""

    addresses: tuple[str, ...]
    downloads: Downloads

    def request(self, ask: _Ask[T]) -> T:
        """Return what a Gateway answers. Raises `Failed`."""
        from rattler.exceptions import AuthenticationStorageError, GatewayError

        for address in self.addresses:
            if not address.startswith("file:"):
                require_secure(address)
        try:
            with self._folder() as folder:
                return self._request(folder, ask)
        except AuthenticationStorageError as error:
            raise Failed("unreadable", _line(error), "it has the channels' credentials: see RATTLER_AUTH_FILE") from None
        except (GatewayError, OSError) as error:
            hint = "check the channel and the network, and whether it wants a password"
            hint = "run it once without --offline" if self.downloads.offline else hint
            raise Failed("network", f"cannot read {', '.join(map(redacted, self.addresses))}: {_line(error)}", hint) from None

    def _request(self, folder: Path, ask: _Ask[T]) -> T:
        """Read sharded repodata if the channel has it, else plain repodata, which py-rattler retries more often."""
        from rattler.exceptions import GatewayError

        try:
            return self._answer(folder, True, ask)
        except GatewayError as error:
            if "error sending request" in str(error):  # no server answers, so plain repodata cannot be read, either
                raise
            first = error
        if "304 Not Modified" in str(first) and not self.downloads.offline:
            # py-rattler 0.28 takes a 304 without ETag and Last-Modified for an error: drop its copy, so that it asks again.
            _remove(folder, _INDEX)
            with suppress(GatewayError):
                return self._answer(folder, True, ask)
        try:
            found = self._answer(folder, False, ask)
        except GatewayError as error:
            if "could not find subdir" in str(error):  # no plain repodata: the error is in the shards
                raise first from None
            if self.downloads.offline or not _remove_damaged(folder):
                raise
            found = self._answer(folder, False, ask)
        if not self.downloads.offline:
            _remove(folder, _INDEX, "shards-v1")  # older than the plain repodata, or damaged
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
            lists.pop(key, None)  # its cached answers are not reused after an error
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
        """Provide the channels' cache folder, a temporary one if the cache is not writable."""
        folder = self.downloads.repodata / hashlib.sha256("\n".join(self.addresses).encode()).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            usable = self.downloads.offline or os.access(folder, os.W_OK | os.X_OK)
        except OSError:
            usable = False
        if usable:
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="conda2wheel-") as temporary:
            yield Path(temporary)


def _remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _remove_damaged(folder: Path) -> bool:
    """Remove plain repodata that is not a JSON object, which py-rattler keeps while its server answers 304; whether any was."""
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
    """Return an error and its cause in one line, without credentials."""
    lines = [line.strip().removeprefix("Caused by: ") for line in str(error).splitlines()]
    lines = [line for line in lines if line and line != "Body:"] or [type(error).__name__]
    text = lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"
    return redact_text(text)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in its own thread, since asyncio.run is not allowed in a caller with an event loop.

    An interrupt (Ctrl-C) does not wait for the answer.
    """
    box: dict[str, Any] = {}
    loop = asyncio.new_event_loop()

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                box["result"] = runner.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            box["error"] = error
        while _is_in_callback(loop):
            time.sleep(0.001)

    thread = threading.Thread(target=target, name="conda2wheel-channel")
    thread.start()
    try:
        thread.join()
    except BaseException:
        with suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        raise
    if "error" in box:
        raise box["error"]
    result: T = box["result"]
    return result


def _is_in_callback(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a thread of py-rattler is still in the call that hands its answer to a loop.

    The loop continues as soon as that call wakes it, and the process may end. The thread needs the interpreter's lock once more
    and aborts if the interpreter is gone (Python before 3.14: `Fatal Python error: PyGILState_Release`). After that call it
    holds the lock until it has left Python.
    """
    code = asyncio.BaseEventLoop.call_soon_threadsafe.__code__
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code is code and frame.f_locals.get("self") is loop:
                return True
            frame = frame.f_back
    return False
