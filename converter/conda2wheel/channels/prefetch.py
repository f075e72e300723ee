"""Download remote sources several at a time while the sources before them are converted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from conda2wheel.channels.downloads import AT_ONCE, Downloads
from conda2wheel.errors import Failed
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.net.urls import is_url

MAX_AHEAD = 4 * AT_ONCE  # sources downloaded before their conversion at most, to bound disk space


@dataclass
class Prefetch:
    """Downloads of sources before their conversion; `begun` has those that run or are complete, by position."""

    sources: Sequence[str]
    channels: Sequence[str]
    downloads: Downloads
    max_bytes: int
    pool: ThreadPoolExecutor | None = None
    begun: dict[int, Future[ExitStack]] = field(default_factory=dict)
    _resolving: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at(self, position: int) -> Iterator[Downloads]:
        """Provide the source at this position for the block, and start to download the next ones.

        Raises:
            Failed: its download failed.
            Refused: its download was refused.
        """
        if self.pool is not None:
            for each in range(position, min(position + MAX_AHEAD, len(self.sources))):
                if each not in self.begun and _is_remote(self.sources[each]):
                    self.begun[each] = self.pool.submit(self._download, self.sources[each])
        future = self.begun.get(position)
        if future is None:
            yield self.downloads
            return
        with future.result():
            yield self.downloads

    def _download(self, source: str) -> ExitStack:
        """Download a source; the file exists until the returned stack is closed."""
        from conda2wheel.channels.search import resolve_source

        with self._resolving:  # one thread reads a channel's repodata; the others then find it cached
            found = resolve_source(source, self.channels, self.downloads)
        stack = ExitStack()
        if _is_remote(found.url):
            stack.callback(self.downloads.local.pop, found.url, None)
            self.downloads.local[found.url] = self._file(found, stack)
        return stack

    def _file(self, found: RemoteFile, stack: ExitStack) -> Path:
        return stack.enter_context(self.downloads.package(found.url, found.sha256, self.max_bytes, found.size))


@contextmanager
def prefetch(sources: Sequence[str], channels: Sequence[str], downloads: Downloads, max_bytes: int) -> Iterator[Prefetch]:
    """Download `sources` before their use.

    It has no effect for a single remote source, nor offline. Downloads that run when the block ends are cancelled.
    """
    if downloads.offline or len(sources) < 2 or sum(map(_is_remote, sources)) < 2:
        yield Prefetch(sources, channels, downloads, max_bytes)
        return
    ended = threading.Event()

    def watch(url: str, got: int, total: int | None) -> None:
        if ended.is_set():
            raise Failed("network", f"{url}: cancelled", "the command ended before it was needed")
        if downloads.watch is not None:
            downloads.watch(url, got, total)

    own = replace(downloads, watch=watch, local={})
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-prefetch") as pool:
        running = Prefetch(sources, channels, own, max_bytes, pool)
        try:
            yield running
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)
            for future in running.begun.values():
                if not future.cancelled() and future.exception() is None:
                    future.result().close()


def _is_remote(source: str) -> bool:
    """Whether a source is a remote URL or a match spec. A file with the name of a spec is counted, which only costs a thread."""
    from conda2wheel.channels.search import is_spec

    return is_spec(source) or (is_url(source) and not source.lower().startswith("file:"))
