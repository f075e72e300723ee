"""The pages of the service: those of `index.pages`, made of the state and the index as they are now.

They are made when one is asked for, in a thread, while the ones before are served: at most every `FRESH` seconds, and in a
`PAUSE`th of the time, so that a large channel does not keep a processor busy. What a page shows of a wheel is read once.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from conda2wheel.index.pages.catalogue import NAME, CataloguePackage, PackageCatalogue
from conda2wheel.index.pages.feeds import channel_feed
from conda2wheel.index.pages.ranking import SearchQuery
from conda2wheel.index.pages.site import POLICIES, STATIC, PageKind, Pages, Site, assets, pyodide_files
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.plan.tasks import make_plan
from conda2wheel.mirror.publish.catalogue import MirrorRecord, StoredDetails, details_in, make_catalogue
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.pages import LOADED, PYODIDE, REPORT, fetched_pyodides, site_title
from conda2wheel.mirror.state.mirror_state import ChannelChanges, KnownPackage, MirrorItem, MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, MirrorWheel
from conda2wheel.mirror.store.base import Store, content_type
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.lock import Runtime
from conda2wheel.serve.http import Answer, Receive, Scope, Send

FRESH = 10.0  # seconds for which pages are not made again
PAUSE = 20.0  # times the seconds that they took to make
KEPT = 64 << 20  # bytes of answers in memory: any words are a search, and a search of a large channel has some MB
HTML = b"text/html; charset=utf-8"
IMMUTABLE = "public, max-age=31536000, immutable"
_REPORT_NAME = re.compile(r"report\.[a-z]{1,10}(?:\.[a-z]{1,10})?|[a-z-]{1,30}\.(?:html|js|css|json|md|csv|txt|xml)")
ReadRecord = Callable[[], Awaitable[MirrorRecord]]


class AnswerResponse(Response):
    """An answer as a response of FastAPI: compressed, and 304 where the client has it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status_code=answer.status)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self._answer.send(scope, send)


@dataclass(frozen=True)
class _Made:
    """Pages, until when they are fresh (monotonic clock), and their answers so far, which one thread makes."""

    pages: Pages
    until: float
    answers: OrderedDict[tuple[str, ...], Answer] = field(default_factory=OrderedDict)
    sizes: list[int] = field(default_factory=list)

    def answer(self, key: tuple[str, ...], make: Callable[[Pages], Answer]) -> Answer:
        """The answer of a key, made once; the oldest ones are forgotten."""
        if key in self.answers:
            return self.answers[key]
        answer = make(self.pages)
        self.answers[key] = answer
        self.sizes.append(answer.size)
        while sum(self.sizes) > KEPT:
            self.answers.popitem(last=False)
            self.sizes.pop(0)
        return answer


class ServicePages:
    """Makes the pages and answers requests for them.

    Args:
        store: has the wheels.
        entries: reads the index.
        read_record: reads what the state and the channels have.
        base: the address of the service with a slash at the end; None for that of each request.
        log: called with lines for people.
    """

    def __init__(
        self,
        store: Store,
        entries: Callable[[], Sequence[IndexEntry]],
        read_record: ReadRecord,
        base: str | None,
        log: Callable[[str], None],
    ) -> None:
        self._store, self._entries, self._read_record, self._base, self._log = store, entries, read_record, base, log
        self._made: _Made | None = None
        self._update: asyncio.Task[_Made] | None = None
        self._details: dict[str, StoredDetails] = {}
        self._runtimes: tuple[frozenset[str], tuple[Runtime, ...]] | None = None
        self._own: Mapping[str, Path] = {}  # of the files below pyodide/
        # Of its own, so that searches of a large channel, which take a while each, keep no thread from the files.
        self._renderer = ThreadPoolExecutor(1, "pages")

    def reload(self, base: str | None) -> None:
        """Make the pages anew, with another address."""
        self._base = base
        if self._made is not None:
            self._made = replace(self._made, until=0.0)

    async def current(self) -> _Made:
        """The pages as they are, which are made again meanwhile if they are old. Raises `Failed`."""
        made = self._made
        if self._update is None and (made is None or time.monotonic() > made.until):
            self._update = asyncio.create_task(self._make())
            self._update.add_done_callback(self._end)
        if made is None and self._update is not None:
            return await asyncio.shield(self._update)
        if made is None:
            raise RuntimeError("no pages, and none under way")
        return made

    async def answer(self, key: tuple[str, ...], make: Callable[[Pages], Answer]) -> Response:
        """The answer of a key for the pages as they are."""
        current = await self.current()
        found = current.answers.get(key)
        if found is None:
            found = await asyncio.get_running_loop().run_in_executor(self._renderer, current.answer, key, make)
        return AnswerResponse(found)

    async def missing(self, root: str, message: str = "There is no such page.") -> Response:
        """The page of what is not there, with the relative path to the top."""
        return AnswerResponse(_html((await self.current()).pages.error(404, message, root), 404))

    def _end(self, update: asyncio.Task[_Made]) -> None:
        self._update = None
        if not update.cancelled() and (error := update.exception()) is not None:
            self._log(f"the pages were not made again: {error}")

    async def _make(self) -> _Made:
        began = time.monotonic()
        record = await self._read_record()
        catalogue, site = await asyncio.to_thread(self._catalogue, record)
        before, now = self._made, time.monotonic()
        until = now + max(FRESH, PAUSE * (now - began))
        if before is not None and before.pages.catalogue == catalogue and before.pages.site == site:
            self._made = replace(before, until=until)
        else:
            self._made = _Made(Pages(catalogue, site), until)
        return self._made

    def _catalogue(self, record: MirrorRecord) -> tuple[PackageCatalogue, Site]:
        entries = self._entries()
        own = self._pyodides(entries)
        catalogue = make_catalogue(record, entries, self._reader(entries), own)
        tryable = tuple(runtime.version for runtime in own if f"{runtime.version}/pyodide.mjs" in self._own)
        report = REPORT if self._store.head(REPORT) is not None else None
        return catalogue, Site(site_title(catalogue), base=self._base, api=True, blobs="files/", report=report, tryable=tryable)

    def _reader(self, entries: Sequence[IndexEntry]) -> Callable[[MirrorWheel], StoredDetails]:
        new = [entry for entry in entries if entry.wheel.blob not in self._details]
        if new:
            read = details_in(self._store)
            self._details |= {entry.wheel.blob: read(entry.wheel) for entry in new}
        return lambda wheel: self._details.get(wheel.blob, StoredDetails())

    def _pyodides(self, entries: Sequence[IndexEntry]) -> tuple[Runtime, ...]:
        """The Pyodides of the wheels' platforms, fetched when a platform is new."""
        tags = frozenset(tag for entry in entries for tag in entry.wheel.platform.split("."))
        if self._runtimes is None or self._runtimes[0] != tags:
            found = fetched_pyodides(entries, self._log)
            self._own = {name: path for runtime in found for name, path in runtime_files(runtime, self._log).items()}
            self._runtimes = tags, found
        return self._runtimes[1]

    def report_file(self, name: str) -> bytes | None:
        """A file of the mirror's last report, which is in the store; None for one that is not there. Raises `Failed`."""
        return self._store.get(f"report/{name}") if _REPORT_NAME.fullmatch(name) else None

    def pyodide_file(self, version: str, name: str) -> Path | None:
        """A file of a Pyodide; None for one that is not among those that the pages run."""
        return self._own.get(f"{version}/{name}")


def service_record(config: MirrorConfig, state: MirrorState, listed: Sequence[ChannelPackage], now: float) -> MirrorRecord:
    """What the state has, and what the channels list besides. [select] include does not count, as for requests."""
    config = replace(config, select=replace(config.select, include=()))
    known = state.packages()
    there = {each.package.sha256 for each in known}
    first = min((each.seen for each in known), default=0.0)
    packages = [*known, *(KnownPackage(each, first, None) for each in listed if each.sha256 not in there)]
    plan = make_plan([each.package for each in packages if each.gone is None], config, state, now, ChannelChanges())
    record = MirrorRecord.of(config.channels, state, plan)
    refused = {verdict.key: verdict for verdict in plan.verdicts}
    items = {key: MirrorItem(key, "refused", verdict.code, 0, 0, None) for key, verdict in refused.items()}
    return replace(record, packages=packages, items={**record.items, **items}, results={**record.results, **refused})


def runtime_files(runtime: Runtime, log: Callable[[str], None]) -> Mapping[str, Path]:
    """The files of a Pyodide that a browser needs, as VERSION/NAME; none if micropip cannot be had."""
    from conda2wheel.pyodide.fetch import from_pypi, package_cache

    folder = package_cache(runtime, cache_folder())
    if problems := from_pypi(runtime, LOADED, folder):
        log(f"the pages cannot run Pyodide {runtime.version}: {problems[0]}")
        return {}
    names = pyodide_files(sorted(path.name for path in runtime.folder.iterdir() if path.is_file()))
    found = {f"{runtime.version}/{name}": runtime.folder / name for name in names}
    return found | {f"{runtime.version}/{each.file_name}": folder / each.file_name for each in runtime.closure(LOADED)}


def pages_router(service: ServicePages) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)

    made = service.answer

    @router.get("/")
    async def search(request: Request) -> Response:
        query = SearchQuery.of(request.query_params)
        return await made(("search", query.address()), lambda pages: _html(pages.search(query)))

    @router.get("/coverage/")
    async def coverage() -> Response:
        return await made(("coverage",), lambda pages: _html(pages.coverage()))

    @router.get("/try/")
    async def try_package() -> Response:
        return await made(("try",), lambda pages: _html(pages.try_package(), kind="try"))

    @router.get("/convert")
    async def convert() -> Response:
        return await made(("convert",), lambda pages: _html(pages.convert()))

    @router.get("/feed.xml")
    async def feed() -> Response:
        return await made(("feed",), lambda pages: _file("feed.xml", channel_feed(pages.catalogue, pages.site.base or "")))

    @router.get(f"/{NAME}")
    async def catalogue() -> Response:
        return await made((NAME,), lambda pages: _file(NAME, pages.catalogue_json()))

    @router.get("/packages/{name}/")
    async def package(name: str) -> Response:
        return await packaged(name, "index.html")

    @router.get("/packages/{name}/{file}")
    async def package_file(name: str, file: str) -> Response:
        return await packaged(name, file)

    async def packaged(name: str, file: str) -> Response:
        current = await service.current()
        found = current.pages.catalogue.find(name)
        if found is None or found.page is None:
            return await service.missing("../../", "There is no such package in the channel.")
        if found.page != name:
            return RedirectResponse(f"../{found.page}/{'' if file == 'index.html' else file}", 302)
        return await made(("package", found.name, file), lambda pages: _package_file(pages, found, file))

    @router.get(f"/{STATIC}/{{name}}")
    async def static(name: str) -> Response:
        data = assets().get(name)
        if data is None:
            return await service.missing("../", "There is no such file.")
        return await made((STATIC, name), lambda _: _file(name, data))

    @router.get("/report/{name}")
    async def report(name: str) -> Response:
        data = await asyncio.to_thread(service.report_file, name)
        if data is None:
            return await service.missing("../", "There is no such report.")
        # A page has a policy of its own, for the hashes of its scripts.
        headers = {"Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-cache"}
        return Response(data, media_type=content_type(name), headers=headers)

    @router.get(f"/{PYODIDE}/{{version}}/{{name}}")
    async def pyodide(version: str, name: str) -> Response:
        await service.current()
        path = service.pyodide_file(version, name)
        if path is None:
            return await service.missing("../../", "There is no such file.")
        return FileResponse(path, media_type=content_type(name), headers={"Cache-Control": IMMUTABLE})

    return router


def _package_file(pages: Pages, package: CataloguePackage, name: str) -> Answer:
    data = pages.package_files(package).get(name)
    if data is None:
        return _html(pages.error(404, "There is no such file.", "../../"), 404)
    return _html(data.decode()) if name == "index.html" else _file(name, data)


def _html(page: str, status: int = 200, kind: PageKind = "page") -> Answer:
    policy = f"{POLICIES[kind]}; frame-ancestors 'none'".encode()
    headers = ((b"content-security-policy", policy), (b"referrer-policy", b"same-origin"), (b"cache-control", b"no-cache"))
    return Answer.of(status, page.encode(), HTML, *headers)


def _file(name: str, data: str | bytes) -> Answer:
    """A file beside the pages. The worker of the try page runs under that page's policy, all others under none that is needed."""
    text = data.encode() if isinstance(data, str) else data
    policy = POLICIES["try" if name == "try-worker.js" else "page"].encode()
    headers = ((b"content-security-policy", policy), (b"cache-control", b"no-cache"))
    return Answer.of(200, text, content_type(name).encode(), *headers)
