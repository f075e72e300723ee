"""/simple/: the pages of the index by PEP 503 (HTML) and PEP 691 (JSON), with the fields of PEP 592, 658, 700, 714 and 792.

A page is made once for each form and kept as bytes until its project changes. What an address and headers led to is kept, too,
until any page changes, so that a request costs a look into a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote

from packaging.utils import canonicalize_name

from conda2wheel.files.escape import printable
from conda2wheel.index.simple import API_VERSION, BASE_VERSION, IndexFile, html_page
from conda2wheel.mirror.publish.generation import IndexEntry, project_of
from conda2wheel.serve.http import Answer, Body, Receive, Scope, Send, header, negotiate, problem, respond
from conda2wheel.serve.published import PublishedIndex

PREFIX = "/simple/"
JSON_V1 = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"
HTML = "text/html"
OFFERS = (JSON_V1, "application/vnd.pypi.simple.latest+json", HTML_V1, "application/vnd.pypi.simple.latest+html", HTML)
_LATEST = {"application/vnd.pypi.simple.latest+json": JSON_V1, "application/vnd.pypi.simple.latest+html": HTML_V1}
_FORMATS = {"json": JSON_V1, "html": HTML}
# micropip 0.11.1 (micropip/package_index.py) sends this Accept and warns of API versions above 1.1
# (micropip/externals/mousebender/simple.py); PEP 700 is version 1.1.
MICROPIP = "application/vnd.pypi.simple.v1+json, */*;q=0.01"
MICROPIP_VERSION = "1.1"
_LATER_FIELDS = ("project-status", "provenance")  # PEP 792 is version 1.4, PEP 740 version 1.3
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,212}[A-Za-z0-9])?")
HOST = re.compile(r"[A-Za-z0-9.-]{1,255}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
SETTLED = b"public, max-age=60"
UNSETTLED = b"no-cache"
_MOST_FORMS = 64  # of one page: each Host that a client makes up is another one
_MOST_HOT, _HOT_BYTES, _LONGEST_KEY = 4096, 32 << 20, 1024  # requests that are answered from a table, their bytes, a key's length


@dataclass(frozen=True)
class PageNote:
    """What a page says beside its files: one entry a package, under `_conda2wheel` in JSON and as comments in HTML."""

    package: str
    state: str
    code: str | None = None
    message: str | None = None
    hint: str | None = None

    def json(self) -> dict[str, Any]:
        """The values that there are."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def comment(self) -> str:
        """An HTML comment."""
        text = f"conda2wheel: {self.package}: {self.state}"
        if self.code or self.message:
            text += f": {self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")
        return f"<!-- {escape(printable(text)).replace('--', '- -')} -->"


@dataclass
class ProjectPage:
    """A project's page in all forms.

    `settled`: nothing of it is still being converted. `lasting`: it may be kept until its project changes.
    """

    name: str
    entries: tuple[IndexEntry, ...]
    notes: tuple[PageNote, ...] = ()
    settled: bool = True
    lasting: bool = True
    forms: dict[tuple[str, str, str], Answer] = field(default_factory=dict, repr=False)

    def form(self, base: str, media: str, version: str) -> Answer:
        """The page as a media type, with addresses below `base`, as a version of the API."""
        key = base if media == JSON_V1 else "", media, version
        found = self.forms.get(key)
        if found is None:
            if len(self.forms) >= _MOST_FORMS:
                self.forms.clear()
            answer = _answer(self._text(*key), media, self.settled)
            found = self.forms[key] = replace(answer, lasting=self.lasting and bool(self.entries))
        return found

    def _text(self, base: str, media: str, version: str) -> str:
        above = f"{base}/files" if media == JSON_V1 else "../../files"

        def file(entry: IndexEntry) -> IndexFile:
            return replace(entry.file, url=f"{above}/{quote(entry.wheel.blob.removeprefix('blobs/'))}")

        project = project_of(self.name, self.entries, file)
        if media != JSON_V1:
            return project.html([note.comment() for note in self.notes])
        document = project.json()
        if version == MICROPIP_VERSION:
            document = {key: value for key, value in document.items() if key not in _LATER_FIELDS}
            document["meta"] = {"api-version": version}
            document["files"] = [{key: each[key] for key in each if key not in _LATER_FIELDS} for each in document["files"]]
        if self.notes:
            document["_conda2wheel"] = {"packages": [note.json() for note in self.notes]}
        return json.dumps(document)


@dataclass
class _RootPage:
    """The list of all projects in all forms."""

    names: list[str]
    forms: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def form(self, media: str, version: str) -> Answer:
        found = self.forms.get((media, version))
        if found is None:
            if media == JSON_V1:
                names = [{"name": name} for name in self.names]
                text = json.dumps({"meta": {"api-version": BASE_VERSION}, "projects": names})
            else:
                text = html_page("Simple index", (f'<a href="{name}/">{name}</a><br>' for name in self.names))
            found = self.forms[media, version] = replace(_answer(text, media, settled=True), lasting=True)
        return found


Demand = Callable[[str, Scope], Awaitable[ProjectPage | Answer]]


class SimplePages:
    """The application below /simple/.

    Args:
        index: the index.
        url: the address of the service, "" for that of each request.
        demand: makes the page of a project, or says why there is none.
    """

    def __init__(self, index: PublishedIndex, url: str, demand: Demand) -> None:
        self._index, self.url, self._demand = index, url, demand
        self._pages: dict[str, ProjectPage] = {}
        self._root: _RootPage | None = None
        self._changes = 0
        self._hot: dict[tuple[Any, ...], Body] = {}
        self._hot_bytes = 0

    def forget(self, projects: frozenset[str] | None) -> None:
        """Make pages anew: of these projects, or all."""
        self._root = None
        self._changes += 1
        self._cool()
        if projects is None:
            self._pages = {}
        else:
            for name in projects:
                self._pages.pop(name, None)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer a request."""
        accept = encoding = host = None
        usual = scope["method"] == "GET"
        for name, value in scope["headers"]:
            if name == b"accept":
                usual, accept = usual and accept is None, value
            elif name == b"accept-encoding":
                usual, encoding = usual and encoding is None, value
            elif name == b"host":
                usual, host = usual and host is None, value
            elif name == b"if-none-match":
                usual = False
        key = (scope["path"], scope["query_string"], accept, encoding, host, scope["scheme"]) if usual else None
        if key is not None and (body := self._hot.get(key)) is not None:
            await respond(send, 200, body.headers, body.data)
            return
        before = self._changes
        answer = await self._answer(scope)
        if key is not None and answer.lasting and self._changes == before:
            self._heat(key, answer.body(encoding))
        await answer.send(scope, send)

    def _heat(self, key: tuple[Any, ...], body: Body) -> None:
        """Keep what a request led to, within bounds: clients make up paths and headers."""
        if sum(len(part) for part in key if part is not None) > _LONGEST_KEY:
            return
        if len(self._hot) >= _MOST_HOT or self._hot_bytes > _HOT_BYTES:
            self._cool()
        self._hot[key] = body
        self._hot_bytes += len(body.data)

    def _cool(self) -> None:
        self._hot.clear()
        self._hot_bytes = 0

    async def _answer(self, scope: Scope) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return problem(405, "Method Not Allowed", (b"allow", b"GET, HEAD, OPTIONS"))
        words = [word for word in scope["path"].removeprefix(PREFIX).split("/") if word]
        asked = None
        if words and words[-1] in ("index.html", "index.json"):
            asked = _FORMATS[words.pop().partition(".")[2]]
        elif not scope["path"].endswith("/"):
            return _redirect(f"{canonicalize_name(words[-1])}/" if words and NAME.fullmatch(words[-1]) else "./", scope)
        media, version = _form(scope, asked)
        if media is None:
            return _not_acceptable()
        if not words:
            if self._root is None:
                self._root = _RootPage(self._index.names())
            return self._root.form(media, version)
        if len(words) > 1 or not NAME.fullmatch(words[0]):
            return problem(404, "a project's name has letters, digits, dots, hyphens and underscores")
        name = canonicalize_name(words[0])
        if name != words[0] and asked is None:
            return _redirect(f"../{name}/", scope)
        page = self._pages.get(name)
        if page is None:
            made = await self._page(name, scope)
            if isinstance(made, Answer):
                return made
            page = made
        base = self.url or request_base(scope)
        return problem(400, "the request has no valid Host") if base is None else page.form(base, media, version)

    async def _page(self, name: str, scope: Scope) -> ProjectPage | Answer:
        """The page of a project. It is kept if it has files, is lasting, and nothing changed while it was made."""
        before = self._changes
        page = await self._demand(name, scope)
        if isinstance(page, ProjectPage) and page.entries and page.lasting and self._changes == before:
            self._pages[name] = page
        return page


def _form(scope: Scope, asked: str | None) -> tuple[str | None, str]:
    """The media type (None: none fits) and the version of the API for a request."""
    accepted = header(scope, b"accept")
    text = None if accepted is None else accepted.decode("latin-1")
    version = MICROPIP_VERSION if text == MICROPIP else API_VERSION
    if asked is None and scope["query_string"]:
        wanted = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=20).get(
            "format", [None]
        )[0]
        if wanted is not None:
            asked = _FORMATS.get(wanted, wanted)
            return (_LATEST.get(asked, asked) if asked in OFFERS else None), version
    if asked is not None:
        return asked, version
    media = negotiate(text, OFFERS, HTML)
    return (None if media is None else _LATEST.get(media, media)), version


def request_base(scope: Scope) -> str | None:
    """The address under which a request reached the service, or None where it does not say so properly."""
    return _checked_base(scope["scheme"], header(scope, b"host"), scope.get("root_path", ""))


@lru_cache(1024)
def _checked_base(scheme: str, host: bytes | None, root: str) -> str | None:
    text = (host or b"").decode("latin-1")
    return f"{scheme}://{text}{quote(root)}" if HOST.fullmatch(text) else None


def _answer(text: str, media: str, settled: bool) -> Answer:
    content_type = f"{HTML}; charset=utf-8" if media == HTML else media
    cache = (b"cache-control", SETTLED if settled else UNSETTLED)
    return Answer.of(200, text.encode(), content_type.encode(), cache, (b"vary", b"Accept, Accept-Encoding"))


@lru_cache(1)
def _not_acceptable() -> Answer:
    return problem(406, f"this index has {', '.join((JSON_V1, HTML_V1, HTML))}", (b"vary", b"Accept"), types=list(OFFERS))


def _redirect(location: str, scope: Scope) -> Answer:
    query = scope["query_string"].decode("latin-1")
    target = f"{location}?{quote(query, safe='=&+%/;,.-_~:')}" if query else location
    return Answer.of(301, b"", b"text/plain; charset=utf-8", (b"location", target.encode()), (b"cache-control", SETTLED))
