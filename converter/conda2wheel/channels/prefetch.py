"""Sources that lie elsewhere are brought several at a time, while those before them are converted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from conda2wheel.channels.downloads import AT_ONCE, Downloads
from conda2wheel.channels.search import is_spec, resolve_source
from conda2wheel.errors import Failed
from conda2wheel.net.download import RemoteFile, is_url

AHEAD = 4 * AT_ONCE  # sources at most between the one that is converted and the last that was begun: a disk has an end


@dataclass
class Prefetch:
    """Downloads that know what was brought. `begun` are the sources that are under way or here, by their position."""

    sources: Sequence[str]
    channels: Sequence[str]
    downloads: Downloads
    max_bytes: int
    pool: ThreadPoolExecutor | None = None
    begun: dict[int, Future[ExitStack]] = field(default_factory=dict)
    _resolving: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at(self, position: int) -> Iterator[Downloads]:
        """While the block runs, the source at this position is here, and the next ones come. Raises what its download raised:
        `Failed` and `Refused`."""
        if self.pool is not None:
            for each in range(position, min(position + AHEAD, len(self.sources))):
                if each not in self.begun and _is_elsewhere(self.sources[each]):
                    self.begun[each] = self.pool.submit(self._bring, self.sources[each])
        future = self.begun.get(position)
        if future is None:
            yield self.downloads
            return
        with future.result():
            yield self.downloads

    def _bring(self, source: str) -> ExitStack:
        """What holds the file of a source until it is closed."""
        with self._resolving:  # one reads what a channel lists, the others ask the same reader
            found = resolve_source(source, self.channels, self.downloads)
        stack = ExitStack()
        if _is_elsewhere(found.url):
            stack.callback(self.downloads.local.pop, found.url, None)
            self.downloads.local[found.url] = self._file(found, stack)
        return stack

    def _file(self, found: RemoteFile, stack: ExitStack) -> Path:
        return stack.enter_context(self.downloads.package(found.url, found.sha256, self.max_bytes, found.size))


@contextmanager
def prefetch(sources: Sequence[str], channels: Sequence[str], downloads: Downloads, max_bytes: int) -> Iterator[Prefetch]:
    """What brings `sources` ahead of their use; nothing where there is one, or where nothing may be asked of the network. What
    is under way when the block ends is given up."""
    if downloads.offline or sum(map(_is_elsewhere, sources)) < 2:
        yield Prefetch(sources, channels, downloads, max_bytes)
        return
    over = threading.Event()

    def watch(url: str, got: int, total: int | None) -> None:
        if over.is_set():
            raise Failed("network", f"{url}: given up", "nobody wants it any more")
        if downloads.watch is not None:
            downloads.watch(url, got, total)

    own = replace(downloads, watch=watch, local={})
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="conda2wheel-ahead") as pool:
        coming = Prefetch(sources, channels, own, max_bytes, pool)
        try:
            yield coming
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
            for future in coming.begun.values():
                if not future.cancelled() and future.exception() is None:
                    future.result().close()


def _is_elsewhere(source: str) -> bool:
    """Whether it is a URL of another machine, or a match spec. A spec that a file of that name hides costs a thread a look."""
    return (is_url(source) and not source.lower().startswith("file:")) or (not is_url(source) and is_spec(source))
