"""A package index as static files: `simple/`, in HTML and JSON, and the metadata file of each wheel.

Specifications: PyPA's simple repository API (PEP 503 HTML, PEP 691 JSON, PEP 592 yanked, PEP 658/714 metadata files, PEP 700
versions and sizes, PEP 740 provenance, PEP 792 project status). pip, uv and micropip take the HTML from any server of files; a
server that can negotiate gives `index.json` as `application/vnd.pypi.simple.v1+json`. docs/how-to/serve.md says how, and why
micropip wants absolute addresses in the JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.pypa import parse_pep440
from conda2wheel.files.reading import corrupt
from conda2wheel.files.writing import write_file
from conda2wheel.files.zips import BUILD_AGAIN
from conda2wheel.wheel.reader import read_wheel

API_VERSION = "1.4"  # the latest that is known here
BASE_VERSION = "1.1"  # the latest that micropip 0.11.1 knows without a warning
_NOTHING = re.compile("(?!)")
Status = Literal["active", "archived", "quarantined", "deprecated"]


@dataclass(frozen=True)
class IndexFile:
    """A wheel in an index.

    Attributes:
        url: absolute, or relative to its project's page.
        uploaded: in seconds since 1970.
        yanked: the reason for which no installer should choose it, "" for none given; None where it is not yanked.
        provenance: the whole address of its attestations (PEP 740), where there are some.
    """

    filename: str
    url: str
    sha256: str
    size: int
    version: str
    metadata_sha256: str
    requires_python: str | None = None
    uploaded: float | None = None
    yanked: str | None = None
    provenance: str | None = None

    def json(self) -> dict[str, Any]:
        """As PEP 691 has it."""
        entry: dict[str, Any] = {
            "filename": self.filename,
            "url": self.url,
            "hashes": {"sha256": self.sha256},
            "size": self.size,
            "core-metadata": {"sha256": self.metadata_sha256},
            "dist-info-metadata": {"sha256": self.metadata_sha256},
            "yanked": (self.yanked or True) if self.yanked is not None else False,
        }
        if self.requires_python:
            entry["requires-python"] = self.requires_python
        if self.provenance is not None:
            entry["provenance"] = self.provenance
        if self.uploaded is not None:
            entry["upload-time"] = datetime.fromtimestamp(self.uploaded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return entry

    def html(self) -> str:
        """One anchor, as PEP 503 has it."""
        attributes = {"data-core-metadata": f"sha256={self.metadata_sha256}"}
        attributes["data-dist-info-metadata"] = attributes["data-core-metadata"]
        if self.requires_python:
            attributes["data-requires-python"] = self.requires_python
        if self.yanked is not None:
            attributes["data-yanked"] = self.yanked
        if self.provenance is not None:
            attributes["data-provenance"] = self.provenance
        words = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
        return f'<a href="{escape(self.url)}#sha256={self.sha256}"{words}>{escape(self.filename)}</a><br>'


@dataclass(frozen=True)
class Project:
    """A project's page: its normalised name, its files, oldest version first, and its state (PEP 792)."""

    name: str
    files: tuple[IndexFile, ...]
    status: Status = "active"
    reason: str | None = None

    @property
    def api_version(self) -> str:
        """The lowest version of the API with its fields: 1.4 for a state (PEP 792), 1.3 for provenance (PEP 740), else 1.1."""
        if self.status != "active":
            return "1.4"
        return "1.3" if any(file.provenance is not None for file in self.files) else BASE_VERSION

    def json(self) -> dict[str, Any]:
        """As PEP 691 has it; a project that is active says nothing of its state."""
        document: dict[str, Any] = {"meta": {"api-version": self.api_version}, "name": self.name}
        if self.status != "active":
            document["project-status"] = {"status": self.status}
            if self.reason:
                document["project-status"]["reason"] = self.reason
        document["versions"] = sorted({file.version for file in self.files}, key=Version)
        return {**document, "files": [file.json() for file in self.files]}

    def html(self, comments: Iterable[str] = ()) -> str:
        """As PEP 503 has it; `comments` are lines of HTML after the files."""
        state = ""
        if self.status != "active":
            state = f'<meta name="pypi:project-status" content="{self.status}">\n'
            if self.reason:
                state += f'<meta name="pypi:project-status-reason" content="{escape(self.reason)}">\n'
        lines = [*(file.html() for file in self.files), *comments]
        return html_page(f"Links for {self.name}", lines, state, self.api_version)


def index_file(
    wheel: Path, url: str, uploaded: float | None = None, limits: Limits | None = None
) -> tuple[str, IndexFile, bytes]:
    """A wheel's project, its entry under `url`, and its METADATA. Raises `Refused` and `Failed` as `read_wheel` does."""
    opened = read_wheel(wheel, limits, only=_NOTHING)
    core = opened.info("METADATA")
    if core is None:
        raise Failed("internal", f"{wheel}: a wheel without METADATA was read")
    metadata = core.blob.read()
    said = opened.metadata.get("Name") or "", opened.metadata.get("Version") or ""
    if canonicalize_name(said[0]) != canonicalize_name(opened.name) or parse_pep440(said[1]) != parse_pep440(opened.version):
        why = f"METADATA says {' '.join(said).strip() or 'no name'}, which installers refuse under this file name"
        raise corrupt(str(wheel), why, BUILD_AGAIN)
    with wheel.open("rb") as stream:
        sha256, size = hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
    entry = IndexFile(
        filename=wheel.name,
        url=url,
        sha256=sha256,
        size=size,
        version=opened.version,
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        requires_python=opened.metadata.get("Requires-Python"),
        uploaded=uploaded,
    )
    return canonicalize_name(opened.name), entry, metadata


def write_index(folder: Path, wheels: Iterable[Path], base: str | None = None) -> tuple[Project, ...]:
    """Write `simple/` for wheels that lie in `folder`, and each one's `.metadata`.

    Pages of projects without wheels are not removed. `base` is the address that the folder will have, if
    it is known: files are then named by whole addresses, else relative to their page.

    Raises:
        Failed: disk.
    """
    above = "../.." if base is None else base.rstrip("/")
    found: dict[str, list[IndexFile]] = {}
    for wheel in sorted(wheels):
        path = wheel.relative_to(folder).as_posix()
        name, entry, metadata = index_file(wheel, f"{above}/{quote(path)}")
        write_file(wheel.with_name(f"{wheel.name}.metadata"), lambda data=metadata: iter([data]))  # type: ignore[misc]
        found.setdefault(name, []).append(entry)
    projects = projects_of(found)
    for path, text in pages(projects).items():
        write_file(folder / "simple" / path, lambda text=text: iter([text.encode()]))  # type: ignore[misc]
    return projects


def projects_of(files: Mapping[str, Iterable[IndexFile]]) -> tuple[Project, ...]:
    """The projects of files by normalised name, in order, with the oldest version first."""
    return tuple(
        Project(name, tuple(sorted(each, key=lambda file: (Version(file.version), file.filename))))
        for name, each in sorted(files.items())
    )


def pages(projects: Iterable[Project]) -> Mapping[str, str]:
    """Every page of an index by its path below `simple/`; the root last, so that it never names a project without a page."""
    projects = tuple(projects)
    found: dict[str, str] = {}
    for project in projects:
        found[f"{project.name}/index.html"] = project.html()
        found[f"{project.name}/index.json"] = _json(project.json())
    names = [{"name": project.name} for project in projects]
    found["index.json"] = _json({"meta": {"api-version": BASE_VERSION}, "projects": names})
    found["index.html"] = html_page("Simple index", (f'<a href="{p.name}/">{p.name}</a><br>' for p in projects))
    return found


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def html_page(title: str, lines: Iterable[str], head: str = "", version: str = BASE_VERSION) -> str:
    """A page of an index: its lines, with the version of the API (PEP 629) in its head."""
    meta = f'<meta charset="utf-8">\n<meta name="pypi:repository-version" content="{version}">\n'
    top = f"<!DOCTYPE html>\n<html>\n<head>\n{meta}{head}<title>{escape(title)}</title>\n</head>\n<body>\n"
    return top + "".join(f"{line}\n" for line in lines) + "</body>\n</html>\n"
