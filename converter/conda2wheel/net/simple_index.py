"""Read projects of simple indexes of Python packages (PEP 503 and 691) and of `find-links`, and download their files.

Indexes are requested under the rules of `download`: https alone, bounded, with the credentials of addresses or stores.
A file is compared with the sha256 that its index promises.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from conda2wheel.errors import Failed
from conda2wheel.files.file_names import is_portable
from conda2wheel.net.download import FileRequests
from conda2wheel.net.registry_settings import PackageIndexes
from conda2wheel.net.remote_file import require_sha256
from conda2wheel.net.urls import Address, file_path, fragment_sha256, is_url, secret_url, steered

ACCEPT = {"Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"}
MAX_PAGE = 128 << 20  # bytes; the largest projects of PyPI have some 20 MB
_HINT = "check the network, and the index in the settings of pip or uv"


@dataclass(frozen=True)
class ProjectFile:
    """A file of a project.

    Attributes:
        filename: its name, without a folder.
        url: where it is.
        sha256: in hexadecimal, if the index says it.
        requires_python: the Pythons that it is for, if the index says it.
        yanked: whether it is only for who asks for exactly this version.
    """

    filename: str
    url: Address
    sha256: str | None = None
    requires_python: str | None = None
    yanked: bool = False


class PackageIndexClient:
    """Requests to indexes on connections that stay open; a context manager."""

    def __init__(self, indexes: PackageIndexes) -> None:
        self.indexes = indexes
        self._requests = FileRequests(ACCEPT, indexes.certificates)

    def __enter__(self) -> PackageIndexClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()

    def files(self, project: str) -> tuple[ProjectFile, ...]:
        """Return the files of a project in all indexes, those of the first index first.

        Args:
            project: the normalised name.

        Raises:
            Failed: network; an index that does not have the project is none.
            Refused: too-large.
        """
        found: dict[str, ProjectFile] = {}
        for index in self.indexes.urls:
            page = Address(secret_url(index).rstrip("/") + f"/{project}/")
            for each in self._page(page):
                found.setdefault(each.filename, each)
        for place in self.indexes.find_links:
            for each in self._links(place):
                found.setdefault(each.filename, each)
        return tuple(found.values())

    def download(self, file: ProjectFile, folder: Path, max_bytes: int) -> Path:
        """Download a file into a folder.

        Raises:
            Failed: network, not-found, disk.
            Refused: too-large, corrupt-archive (its sha256 is another one).
        """
        target = folder / file.filename
        try:
            with target.open("w+b") as out:
                self._get(file.url, out, max_bytes)
                out.seek(0)
                digest = hashlib.file_digest(out, "sha256").hexdigest()
        except OSError as error:
            raise Failed("disk", f"cannot save {file.url}: {error.strerror}", "free some space") from None
        if file.sha256 is not None:
            require_sha256(file.url, digest, file.sha256)
        return target

    def _get(self, url: Address, out: IO[bytes], max_bytes: int) -> None:
        if secret_url(url).startswith("file:"):
            path = file_path(url)
            try:
                out.write(path.read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                raise Failed("not-found", f"{path} does not exist") from None
            return
        self._requests.get(url, out, max_bytes)

    def _page(self, page: Address) -> Iterator[ProjectFile]:
        url = page
        if secret_url(page).startswith("file:"):
            folder = file_path(page)
            name = next((each for each in ("index.json", "index.html") if (folder / each).is_file()), None)
            if name is None:
                return
            url = page.child(name)
        with closing(io.BytesIO()) as out:
            try:
                self._get(url, out, MAX_PAGE)
            except Failed as error:
                if error.code == "not-found":
                    return
                raise Failed(error.code, error.message, _HINT) from None
            yield from _parsed(page, out.getvalue())

    def _links(self, place: str) -> Iterator[ProjectFile]:
        """Yield the files of a folder or a page of links."""
        folder = file_path(place) if place.startswith("file:") else Path(place).expanduser()
        if is_url(place) and not place.startswith("file:"):
            yield from self._page(Address(place))
        elif folder.is_dir():
            for each in sorted(folder.iterdir()):
                yield ProjectFile(each.name, Address(each.absolute().as_uri()))


def _parsed(page: Address, data: bytes) -> Iterator[ProjectFile]:
    try:
        if data.lstrip()[:1] == b"{":
            entries = [_of_json(each) for each in json.loads(data)["files"]]
        else:
            parser = _IndexLinks()
            parser.feed(data.decode("utf-8", "replace"))
            entries = parser.found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Failed("network", f"{page}: it is no page of a package index: {error}", _HINT) from None
    for name, href, sha256, python, yanked in entries:
        try:
            url = _with_login(steered(page, href), page)
        except Failed:  # an address that is not opened, for which pip leaves a file out, too
            continue
        named = name or unquote(urlsplit(secret_url(url)).path.rpartition("/")[2])
        if is_portable(named):
            yield ProjectFile(named, url.without_fragment(), sha256 or fragment_sha256(href), python, yanked)


_Entry = tuple[str, str, str | None, str | None, bool]  # name, href, sha256, Requires-Python, yanked


def _of_json(file: dict[str, Any]) -> _Entry:
    sha256, python = file.get("hashes", {}).get("sha256"), file.get("requires-python")
    yanked = file.get("yanked", False)
    return str(file["filename"]), str(file["url"]), sha256 and str(sha256), python and str(python), yanked is not False


class _IndexLinks(HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[_Entry] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        given = dict(attrs)
        href = given.get("href") or ""
        if tag == "base" and not self.base:
            self.base = href
        elif tag == "a" and href:
            self.found.append(("", urljoin(self.base, href), None, given.get("data-requires-python"), "data-yanked" in given))


def _with_login(url: Address, page: Address) -> Address:
    """Return the address of a file with the login of its index, if it is on the same host and has none."""
    ours, theirs = urlsplit(secret_url(page)), urlsplit(secret_url(url))
    login, mark, host = ours.netloc.rpartition("@")
    if not mark or theirs.netloc != host or theirs.scheme != ours.scheme:
        return url
    return Address(urlunsplit(theirs._replace(netloc=f"{login}@{host}")))
