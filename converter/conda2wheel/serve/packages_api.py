"""/api/v1/packages: search the packages of the channels, and read one of them: what the pages show, as JSON.

The documents are those of `conda2wheel search --json` and of the pages' `index.json` (docs/reference/schemas/search.json and
catalogue-package.json), and have keys besides: addresses, and what is known about the newest wheel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from conda2wheel.files.json_text import json_text
from conda2wheel.index.pages.catalogue import (
    NAME,
    CataloguePackage,
    CatalogueWheel,
    PackageCatalogue,
    State,
    WheelComponent,
    WheelFinding,
    WheelLibrary,
)
from conda2wheel.index.pages.ranking import SearchQuery, Sort, search_json
from conda2wheel.serve.api import PREFIX, ApiProblem
from conda2wheel.serve.files import PREFIX as FILES
from conda2wheel.serve.http import JSON, Answer
from conda2wheel.serve.service import Service
from conda2wheel.serve.simple import request_base

PAGE = 50  # packages of an answer, where the client does not say
LONGEST = 200
FURTHEST = 1_000_000  # of an offset
Lacks = Literal["", "pyodide", "pypi", "pyodide,pypi", "pypi,pyodide"]
PackageName = Annotated[str, Path(max_length=200, description="The conda name, or the PyPI name in any spelling.")]
_HEADERS = {
    "ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."},
    "Cache-Control": {"schema": {"type": "string"}, "description": "`no-cache`: ask whether it is still so."},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"headers": _HEADERS},
    304: {"description": "The client has it: If-None-Match names its ETag."},
    401: {"model": ApiProblem, "description": "A token is needed, or the one that was sent is not known."},
    403: {"model": ApiProblem, "description": "The token lacks the scope."},
    422: {"model": ApiProblem, "description": "A parameter is not as described."},
    503: {"model": ApiProblem, "description": "The service cannot do it now."},
}


class PackageView(BaseModel):
    """The parameters of a list: those of the search page, and which part of it."""

    q: str = Field("", max_length=500, description="Words, all of which match.")
    state: State | Literal[""] = Field("", description="What became of the package.")
    pyodide: str = Field("", max_length=50, description="A version in which it runs, at least in part.")
    platform: str = Field("", max_length=100, description="A platform tag of one of its wheels, or any.")
    lacks: Lacks = Field("", description="What neither Pyodide itself, nor PyPI for Pyodide, has.")
    sort: Sort = Field("", description="A column; without one the best match is the first.")
    limit: int = Field(PAGE, ge=1, le=LONGEST)
    offset: int = Field(0, ge=0, le=FURTHEST)


class _Document(BaseModel):
    schema_: Literal[1] = Field(alias="schema")


class ListedWheel(BaseModel):
    """The newest wheel of a package in a list."""

    filename: str
    sha256: str
    size: int


class ListedPackage(BaseModel):
    """A package in a list. Times are in seconds since 1970."""

    name: str = Field(description="The conda name.")
    project: str | None = Field(description="The normalised name on PyPI; null where it has none or it is not known.")
    version: str = Field(description="The version that `state` is about.")
    newest: str = Field(description="The newest version in the channel.")
    versions: list[str] = Field(description="Its versions in the channel, the newest first.")
    summary: str | None
    state: State
    code: str | None = Field(description="Of `reason`.")
    reason: str | None = Field(description="Why it does not run, or not everywhere, in one sentence.")
    runs: list[str] = Field(description="The Pyodides in which it runs.")
    partly: list[str] = Field(description="The Pyodides in which a part of it does not run.")
    platforms: list[str] = Field(description="The platform tags of its wheels, or any.")
    imports: list[str]
    in_pyodide: dict[str, str] | None = Field(description="The versions that Pyodides have of it themselves.")
    on_pypi: list[str] | None = Field(description="The platform tags, or any, of its wheels on PyPI; null where not known.")
    wheel: ListedWheel | None
    updated: float | None
    links: dict[str, str] = Field(
        description="`self`, and `html`, `feed`, `badge`, `index`, `wheel`, `sbom`, `provenance` if any."
    )


class PackageListing(_Document):
    """Packages that fit, in the order of the search page."""

    kind: Literal["search"]
    query: dict[str, str]
    found: int = Field(description="How many packages fit; the same as `total`.")
    total: int
    limit: int
    offset: int
    packages: list[ListedPackage]
    links: dict[str, str] = Field(description="`self`, `html`, `catalogue`, and `next` and `previous` where there are such.")


class IndexedWheel(BaseModel):
    """A wheel of the index."""

    filename: str
    url: str
    hashes: dict[str, str]
    size: int
    version: str
    platform: str
    requires_python: str | None
    yanked: str | None
    links: dict[str, str] = Field(description="`metadata`, and `sbom` and `provenance` if any.")


class MatrixVerdict(BaseModel):
    """Whether the newest wheel runs in a Pyodide; `tagged` is whether installers in that Pyodide accept it."""

    pyodide: str
    platform: str
    python: str
    tagged: bool
    verdict: str
    code: str | None
    module: str | None
    reason: str | None


class PackageLicense(BaseModel):
    """An SPDX expression or the text of License, and the paths of the license files in the wheel's dist-info."""

    expression: str | None
    files: list[str]


class PackageDocument(_Document):
    """A package: the catalogue's entry, the files of the index, and what is known about the newest wheel."""

    kind: Literal["catalogue-package"]
    package: CataloguePackage
    files: list[IndexedWheel] = Field(description="The wheels of the index, the newest first.")
    matrix: list[MatrixVerdict] = Field(description="Empty for a wheel without side modules, and where there is no wheel.")
    libraries: list[WheelLibrary] = Field(description="What the modules of the newest wheel NEED: vendored, shared or provided.")
    components: list[WheelComponent] = Field(description="Other packages that are in the newest wheel, as its SBOM has them.")
    findings: list[WheelFinding] = Field(description="What the audit of the newest wheel found.")
    license: PackageLicense | None
    links: dict[str, str] = Field(description="As in the list.")


def packages_router(service: Service) -> APIRouter:
    """The routes of the packages for a service."""
    router = APIRouter(prefix=PREFIX, tags=["packages"], responses=_RESPONSES)

    def base_of(request: Request) -> str:
        return (service.config.url or request_base(request.scope) or "").rstrip("/")

    async def answer(key: tuple[str, ...], make: Callable[[PackageCatalogue], Mapping[str, Any]]) -> Response:
        return await service.pages.answer(key, lambda pages: _answer(make(pages.catalogue)))

    @router.get("/packages", operation_id="list_packages", response_model=PackageListing)
    async def list_packages(request: Request, view: Annotated[PackageView, Query()]) -> Response:
        """The packages of the channels, converted or not, that fit: the same as the search page and in its order."""
        query = SearchQuery(view.q, view.state, view.pyodide, view.platform, view.lacks, view.sort)
        base, limit, offset = base_of(request), view.limit, view.offset
        key = ("api-packages", base, query.address(), str(limit), str(offset))
        return await answer(key, lambda catalogue: list_document(catalogue, query, base, limit, offset))

    @router.get(
        "/packages/{name}",
        operation_id="read_package",
        response_model=PackageDocument,
        responses={404: {"model": ApiProblem, "description": "There is no such package."}},
    )
    async def read_package(request: Request, name: PackageName) -> Response:
        """A package of the channels, by its conda or PyPI name: all that its page shows."""
        found = (await service.pages.current()).pages.catalogue.find(name)
        if found is None and service.config.on_demand and not service.catalogue.is_read:
            raise HTTPException(503, "the channels have not been read yet", {"Retry-After": "10"})
        if found is None:
            raise HTTPException(404, f"the channel has no package {name!r}")
        base, package = base_of(request), found
        return await answer(
            ("api-package", base, package.name),
            lambda catalogue: package_document(catalogue, catalogue.by_name.get(package.name, package), base),
        )

    return router


def list_document(catalogue: PackageCatalogue, query: SearchQuery, base: str, limit: int, offset: int) -> dict[str, Any]:
    """The packages that fit a query, with the addresses of a service at `base`."""
    document = search_json(catalogue, query, limit, offset)
    total = document["found"]
    for row in document["packages"]:
        package = catalogue.by_name[row["name"]]
        row["versions"] = list(dict.fromkeys(build.version for build in package.builds))
        row["links"] = _package_links(package, base)
    address = f"{base}{PREFIX}/packages"
    links = {
        "self": _page_address(address, query, limit, offset),
        "html": f"{base}/{query.address()}",
        "catalogue": f"{base}/{NAME}",
    }
    if offset + limit < total:
        links["next"] = _page_address(address, query, limit, offset + limit)
    if offset:
        links["previous"] = _page_address(address, query, limit, max(0, offset - limit))
    return {**document, "total": total, "limit": limit, "offset": offset, "links": links}


def package_document(catalogue: PackageCatalogue, package: CataloguePackage, base: str) -> dict[str, Any]:
    """A package, with the addresses of a service at `base`."""
    document = package.json()
    newest = package.wheel
    verdicts = {} if newest is None else {row.pyodide: row for row in newest.verdicts}
    details = package.details
    about = {} if details is None else dataclasses.asdict(details)
    return {
        "schema": 1,
        "kind": "catalogue-package",
        "package": document,
        "files": [_file(build.wheel, base) for build in package.builds if build.wheel is not None],
        "matrix": [
            {**dataclasses.asdict(verdicts[each.version]), "platform": each.platform, "python": each.python}
            for each in catalogue.pyodides
            if each.version in verdicts
        ],
        "libraries": about.get("libraries", ()),
        "components": about.get("components", ()),
        "findings": about.get("findings", ()),
        "license": None if details is None else {"expression": details.license, "files": details.license_files},
        "links": _package_links(package, base),
    }


def _answer(document: Mapping[str, Any]) -> Answer:
    return Answer.of(200, json_text(document).encode() + b"\n", JSON, (b"cache-control", b"no-cache"))


def _page_address(address: str, query: SearchQuery, limit: int, offset: int) -> str:
    more = urlencode({"limit": limit, "offset": offset})
    return f"{address}{query.address() or '?'}{'&' if query.address() else ''}{more}"


def _file(wheel: CatalogueWheel, base: str) -> dict[str, Any]:
    url = _blob(base, wheel.path)
    return {
        "filename": wheel.filename,
        "url": url,
        "hashes": {"sha256": wheel.sha256},
        "size": wheel.size,
        "version": wheel.version,
        "platform": wheel.platform,
        "requires_python": wheel.requires_python,
        "yanked": wheel.yanked,
        "links": {"metadata": f"{url}.metadata", **_documents(wheel, base)},
    }


def _documents(wheel: CatalogueWheel, base: str) -> dict[str, str]:
    paths = {"sbom": wheel.sbom, "provenance": wheel.provenance}
    return {name: _blob(base, path) for name, path in paths.items() if path is not None}


def _package_links(package: CataloguePackage, base: str) -> dict[str, str]:
    """The addresses of a package; a name that no address can have has no pages."""
    links = {"self": f"{base}{PREFIX}/packages/{quote(package.name, safe='')}"}
    if package.page is not None:
        html = f"{base}/packages/{package.page}/"
        links |= {"html": html, "feed": f"{html}feed.xml", "badge": f"{html}badge.svg"}
    if package.project is not None:
        links["index"] = f"{base}/simple/{quote(package.project, safe='')}/"
    if package.wheel is not None:
        links |= {"wheel": _blob(base, package.wheel.path), **_documents(package.wheel, base)}
    return links


def _blob(base: str, path: str) -> str:
    """The address of a file of the store."""
    return f"{base}{FILES}{quote(path.removeprefix('blobs/'))}"
