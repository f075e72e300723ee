"""Wheels for a mirror to publish, a reader that checks that an index is complete, and publishers that can be killed."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.publisher import PublishResult, publish
from conda2wheel.mirror.state.model import ChannelPackage, MirrorWheel
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.mirror.work.worker import put_wheel

PATIENCE = 600.0  # seconds, after which a test fails and does not hang
PAUSE = 0.1  # seconds between two rounds of a reader, which would keep a processor busy
CHANNEL = "https://channel.invalid/forge"


def entry(project: str, version: str = "1.0", build: int = 0, timestamp: float | None = 1e9, text: str = "") -> IndexEntry:
    """An entry of the index, for a wheel that `put` writes."""
    package_hash = sha(f"{project} {version} {build} {text}".encode())
    data = _bytes(package_hash)
    name = f"{project}-{version}-py3-none-any.whl"
    wheel = MirrorWheel(project, version, name, sha(data), len(data), sha(_metadata(project, version)), "any", ">=3.11")
    package = ChannelPackage(
        package_hash, f"{CHANNEL}/noarch/{name}", CHANNEL, "noarch", project, version, f"h_{build}", build, True, (), "r"
    )
    return IndexEntry(wheel, ChannelPackage(**{**vars(package), "timestamp": timestamp}))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(package_hash: str) -> bytes:
    return package_hash.encode() * 100


def _metadata(project: str, version: str) -> bytes:
    return f"Metadata-Version: 2.4\nName: {project}\nVersion: {version}\n".encode()


def put(store: Store, *entries: IndexEntry) -> tuple[IndexEntry, ...]:
    """Write the wheels of entries to the store."""
    for each in entries:
        put_wheel(store, each.wheel, _bytes(each.package.sha256), _metadata(each.wheel.project, each.wheel.version))
    return entries


def release(number: int) -> tuple[IndexEntry, ...]:
    """The Nth state of a channel: some projects stay, one gets a version, one appears, one vanishes, one is rebuilt."""
    stay = [entry(f"stay-{each}", "1.0") for each in range(4)]
    grows = [entry("grows", f"1.{minor}") for minor in range(max(0, number - 3), number + 1)]
    return (*stay, *grows, entry(f"some-{number % 3}", f"{number}.0"), entry("rebuilt", "2.0", build=number))


def publish_release(store: Store, number: int) -> PublishResult:
    """Publish the Nth state of the channel."""
    entries = put(store, *release(number))
    return publish(store, entries, {"release": number}, now=1.8e9 + number * 86400, grace=2.5 * 86400)


def served(store: Store) -> dict[str, bytes]:
    """The index pages at the store's top, by path."""
    top = store.links()
    if "simple" in top:
        return {
            meta.path.split("/", 2)[2]: store.get(meta.path) or b"" for meta in store.list(f"generations/{_live(store)}/simple")
        }
    return {meta.path: store.get(meta.path) or b"" for meta in store.list("simple")}


def _live(store: Store) -> str:
    return os.path.basename(store.links()["current"])


class _Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.feed(text)
        self.ended = text.endswith("</html>\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append({key: value or "" for key, value in attrs})


class Reader:
    """Reads an index over HTTP as installers do, and follows every link. `requests` is their number, `errors` what was wrong."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/") + "/"
        self.requests = 0
        self.begun = self.rounds = 0
        self.errors: list[str] = []
        self.crashes: list[BaseException] = []
        self._news = threading.Condition()

    def read(self) -> None:
        """Read the whole index once: at the store's top, and in the current generation."""
        with self._news:
            self.begun += 1
        root = self._get("simple/index.html")
        if root is not None:
            self._read_projects("simple/", root)
        self._read_generation()
        with self._news:
            self.rounds += 1
            self._news.notify_all()

    def read_on(self, ended: threading.Event) -> None:
        """Read again and again, until the end."""
        try:
            while not ended.wait(PAUSE):
                self.read()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            with self._news:
                self.crashes.append(error)
                self._news.notify_all()

    def whole_round(self) -> None:
        """Wait until all was read that is there now."""
        with self._news:
            wanted = self.begun + 1
            assert self._news.wait_for(lambda: self.rounds >= wanted or self.crashes, PATIENCE)
        assert self.crashes == []

    def _read_projects(self, folder: str, root: bytes) -> None:
        page = _Links(root.decode())
        self._check(page.ended, f"a partial page: {folder}")
        for link in page.found:
            path = f"{folder}{link['href']}index.html"
            text = self._get(path)
            if text is None:  # removed with the project meanwhile
                root_now = self._get(f"{folder}index.html") or b""
                self._check(f'href="{link["href"]}"'.encode() not in root_now, f"a dangling link to {path}")
                continue
            self._read_files(path, text.decode())

    def _read_files(self, path: str, text: str) -> None:
        page = _Links(text)
        self._check(page.ended and bool(page.found), f"a partial page: {path}")
        for link in page.found:
            target, _, wanted = link["href"].partition("#sha256=")
            wheel = urljoin(self.base + path, target).removeprefix(self.base)
            self._check(sha(self._get(wheel) or b"") == wanted, f"{path} links {wheel}, whose hash differs")
            metadata = sha(self._get(f"{wheel}.metadata") or b"")
            self._check(
                f"sha256={metadata}" == link["data-core-metadata"], f"{path} links metadata of {wheel}, whose hash differs"
            )

    def _read_generation(self) -> None:
        pointer = self._get("current.json")
        if pointer is None:
            return
        document = json.loads(pointer)
        manifest = self._get(f"generations/{document['generation']}/generation.json") or b""
        self._check(sha(manifest) == document["sha256"], f"the pointer's {document['generation']} has another hash")
        for path, wanted in json.loads(manifest)["files"].items():
            page = self._get(f"generations/{document['generation']}/{path}") or b""
            self._check(sha(page) == wanted, f"{path} of {document['generation']} has another hash")
            if path.endswith("index.html") and path != "simple/index.html":
                self._read_files(path, page.decode())

    def _check(self, holds: bool, wrong: str) -> None:
        if not holds:
            self.errors.append(wrong)

    def _get(self, path: str) -> bytes | None:
        self.requests += 1
        for last in (False, True):
            try:
                with urllib.request.urlopen(self.base + path, timeout=PATIENCE) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return None
                if last:
                    raise
        return None


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP, following links; yields the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def continuous_reader(base: str) -> Iterator[Reader]:
    """A reader that reads the index repeatedly during the block, and has found no errors at its end."""
    reader = Reader(base)
    ended = threading.Event()
    thread = threading.Thread(target=reader.read_on, args=(ended,))
    thread.start()
    try:
        yield reader
    finally:
        ended.set()
        thread.join()
    assert reader.crashes == []
    assert reader.errors == []


class Publishers:
    """Forks publishers from a process that has imported everything. See `publishers`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def publish(self, number: int, killed_at: int = 0) -> tuple[str, int]:
        """Publish a release, with SIGKILL before one of its steps (see `tests.helpers.killed`).

        Returns:
            The generation or error, "" after SIGKILL, and the number of steps.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([number, killed_at]) + "\n")
        self._process.stdin.flush()
        what, steps = json.loads(self._process.stdout.readline())
        return str(what), int(steps)


@contextmanager
def publishers(url: str) -> Iterator[Publishers]:
    """A process that forks publishers of a store."""
    command = [sys.executable, "-m", "tests.helpers.mirror_index", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Publishers(process)
        assert process.stdin is not None
        process.stdin.close()


def _work(url: str, number: int) -> str:
    from conda2wheel.errors import Failed

    try:
        return publish_release(open_store(url), number).generation
    except Failed as error:
        return str(error)


def _publish_in_a_child(url: str, number: int, killed_at: int) -> tuple[str, int]:
    from tests.helpers import killed

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            steps = killed.killed_at(killed_at)
            os.write(writing, json.dumps([_work(url, number), steps()]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    what, steps_taken = json.loads(told) if told else ("", killed_at)
    return str(what), int(steps_taken)


def _serve(url: str, lines: Iterable[str], write: Callable[[str], object]) -> None:
    import conda2wheel.mirror.store.bucket
    import conda2wheel.mirror.store.folder  # noqa: F401

    for line in lines:
        write(json.dumps(_publish_in_a_child(url, *json.loads(line))))


if __name__ == "__main__":
    _serve(sys.argv[1], sys.stdin, lambda text: print(text, flush=True))
