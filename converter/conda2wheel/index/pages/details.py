"""Read from a wheel what its page shows: metadata, the audit's verdicts, libraries, bill of materials, smoke test.

The wheel is untrusted, as everything that comes out of a package: texts are taken as texts, addresses only if they are http or
https, and all of it is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

from conda2wheel.abi import symbols
from conda2wheel.abi.platforms import platforms
from conda2wheel.commands.audit import audit
from conda2wheel.errors import Conda2WheelError
from conda2wheel.files.documents import DocumentError, parse_json
from conda2wheel.files.json_text import json_text
from conda2wheel.index.pages.catalogue import (
    PyodideVerdict,
    WheelCommand,
    WheelComponent,
    WheelDetails,
    WheelFinding,
    WheelLibrary,
)
from conda2wheel.pyodide.lock import Runtime, runtime_of_platform
from conda2wheel.pyodide.wheelfile import open_wheel, recipe_test
from conda2wheel.wheel import sbom
from conda2wheel.wheel.programs import has_only_programs, programs_of
from conda2wheel.wheel.provenance import NAME as PROVENANCE
from conda2wheel.wheel.provenance import read_provenance
from conda2wheel.wheel.reader import Wheel, read_wheel

SUFFIX = ".details.json"  # of the file beside a wheel in a store
SBOM_SUFFIX = ".cdx.json"
PROVENANCE_SUFFIX = ".provenance.json"
LONGEST = 200_000  # characters of a description
LISTED = 2000  # findings, libraries and components
_ONLY = re.compile(r"\.dist-info/")


@dataclass(frozen=True)
class WheelFiles:
    """What lies beside a wheel in a store: its details, and the raw bill of materials and provenance if it has them."""

    details: WheelDetails
    sbom: bytes | None
    provenance: bytes | None

    def by_suffix(self) -> Mapping[str, bytes]:
        """The files' bytes by what their names have after the wheel's."""
        found = {SUFFIX: (json_text(self.details.json()) + "\n").encode()}
        if self.sbom is not None:
            found[SBOM_SUFFIX] = self.sbom
        if self.provenance is not None:
            found[PROVENANCE_SUFFIX] = self.provenance
        return found


def read_details(path: Path) -> WheelFiles:
    """Read a wheel, and audit it for every known Pyodide.

    Raises:
        Refused: corrupt-archive, unsafe-archive, too-large.
        Failed: not-found, unreadable.
    """
    wheel = read_wheel(path, only=_ONLY)
    metadata = wheel.metadata
    found = audit(path)
    document = read_provenance(wheel) or {}
    bill = wheel.info(f"{sbom.FOLDER}/{sbom.NAME}")
    account = wheel.info(PROVENANCE)
    raw = None if bill is None else bill.blob.read()
    programs = programs_of(wheel)[:LISTED]
    return WheelFiles(
        WheelDetails(
            summary=metadata.get("Summary") or None,
            description=(metadata.body or metadata.get("Description") or "").strip()[:LONGEST] or None,
            content_type=metadata.get("Description-Content-Type"),
            license=metadata.get("License-Expression") or metadata.get("License") or None,
            license_files=tuple(metadata.all("License-File")),
            urls=tuple(_urls(wheel)),
            keywords=tuple(word.strip() for word in (metadata.get("Keywords") or "").split(",") if word.strip()),
            modules=found.modules,
            verdicts=tuple(
                PyodideVerdict(
                    row.pyodide, row.tagged, str(row.verdict), row.code or None, row.module or None, row.reason or None
                )
                for row in found.matrix
            ),
            judged_by=tuple(symbols.known()),
            findings=tuple(
                WheelFinding(each.code, str(each.severity), each.module or None, each.message, each.hint or None)
                for each in found.findings[:LISTED]
            ),
            libraries=tuple(_libraries(document))[:LISTED],
            components=tuple(_components(raw))[:LISTED],
            smoke_test=recipe_test(open_wheel(path)),
            programs=tuple(WheelCommand(each.name, each.kind, each.files) for each in programs),
            only_programs=bool(programs) and has_only_programs(wheel),
        ),
        raw,
        None if account is None else account.blob.read(),
    )


def try_details(path: Path) -> WheelFiles | None:
    """Read a wheel as `read_details` does; None where it cannot be read, so that its page shows less."""
    try:
        return read_details(path)
    except Conda2WheelError:
        return None


def web_address(text: str | None) -> str | None:
    """An address that a page may link to: http or https, with a host and without credentials; None for any other.

    >>> web_address("https://numpy.org"), web_address("javascript:alert(1)"), web_address("https://me:secret@host/")
    ('https://numpy.org', None, None)
    """
    if not text or not text.isprintable() or any(each.isspace() for each in text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc else None


def wheel_verdicts(filename: str, requires_python: str | None, details: WheelDetails | None) -> tuple[PyodideVerdict, ...]:
    """The verdicts about a wheel for every known Pyodide: the audit's, else those of its tags.

    A wheel without side modules runs where its tags and Requires-Python fit. There are none about a wheel of programs alone: any
    Pyodide installs it, and none starts a program.
    """
    if details is not None and details.only_programs:
        return ()
    audited = {row.pyodide: row for row in details.verdicts} if details is not None else {}
    found = []
    for runtime in runtimes():
        fits, why = fitting(filename, requires_python, runtime)
        row = audited.get(runtime.version)
        if row is not None and row.verdict != "does-not-load":
            found.append(PyodideVerdict(row.pyodide, fits, row.verdict, row.code, row.module, row.reason or why))
        elif row is not None:
            found.append(PyodideVerdict(row.pyodide, fits, row.verdict, row.code, row.module, row.reason))
        else:
            found.append(PyodideVerdict(runtime.version, fits, "runs" if fits else "does-not-load", None, None, why))
    return tuple(found)


@cache
def runtimes() -> tuple[Runtime, ...]:
    """Every known Pyodide, oldest first, with markers and tags, and without its packages."""
    found = []
    for row in platforms():
        if row.pyodide and row.cpython is not None:
            newest = runtime_of_platform(row)
            versions = [version for version, _ in row.pyodide if version in symbols.known()]
            found += [Runtime(each, newest.folder, newest.python, newest.emscripten, newest.abi, {}) for each in versions]
    return tuple(found)


def fitting(filename: str, requires_python: str | None, runtime: Runtime) -> tuple[bool, str | None]:
    """Whether installers in a Pyodide accept a wheel; if not, why, in one sentence."""
    try:
        tags = parse_wheel_filename(filename)[3]
    except (InvalidWheelFilename, InvalidVersion):
        return False, "its file name is not that of a wheel"
    if not tags & runtime.tags.keys():
        return False, f"it is not for CPython {runtime.python_version} and {runtime.platform}"
    try:
        if not SpecifierSet(requires_python or "").contains(runtime.python, prereleases=True):
            return False, f"it requires Python {requires_python}, and this Pyodide has {runtime.python}"
    except InvalidSpecifier:
        return True, None  # pip ignores an invalid Requires-Python, too
    return True, None


def _urls(wheel: Wheel) -> Iterable[tuple[str, str]]:
    """The addresses of Project-URL and Home-page, each once."""
    pairs = [each.partition(",") for each in wheel.metadata.all("Project-URL")]
    found = [(label.strip(), url.strip()) for label, _, url in pairs]
    home = wheel.metadata.get("Home-page")
    known: set[str] = set()
    for label, url in [*found, *([("Homepage", home)] if home else [])]:
        if label and url not in known and web_address(url) is not None:
            known.add(url)
            yield label, url


def _libraries(document: Mapping[str, Any]) -> Iterable[WheelLibrary]:
    sources = _rows(document, "sources")
    members = document.get("members")

    def source(path: str) -> str | None:
        entry = members.get(path) if isinstance(members, dict) else None
        number = entry.get("source") if isinstance(entry, dict) else None
        if type(number) is not int or not 0 <= number < len(sources):
            return None
        names = [sources[number].get(key) for key in ("name", "version")]
        return " ".join(each for each in names if isinstance(each, str)) or None

    for row in _rows(document, "vendored"):
        yield WheelLibrary(str(row.get("name")), "vendored", source(str(row.get("name"))), _texts(row.get("needed_by")))
    shared = document.get("shared")
    if isinstance(shared, dict):
        for row in _rows(shared, "libraries"):
            yield WheelLibrary(str(row.get("name")), "shared", str(shared.get("requires")), _texts(row.get("needed_by")))
    kind: Literal["provided"] = "provided"
    for row in _rows(document, "provided"):
        yield WheelLibrary(str(row.get("name")), kind, str(row.get("by")), _texts(row.get("needed_by")))


def _components(bill: bytes | None) -> Iterable[WheelComponent]:
    """The components of a CycloneDX document; none of one that is damaged."""
    try:
        document = parse_json(bill or b"{}")
    except DocumentError:
        return
    for row in _rows(document if isinstance(document, dict) else {}, "components"):
        values = {each.get("name"): each.get("value") for each in _rows(row, "properties")}
        linkage = next((str(value) for name, value in values.items() if str(name).rpartition(":")[2] == "linkage"), None)
        licenses = [_license(each) for each in _rows(row, "licenses")]
        yield WheelComponent(
            name=str(row.get("name")),
            version=_text(row.get("version")),
            linkage=linkage,
            license=" AND ".join(each for each in licenses if each) or None,
            purl=_text(row.get("purl")),
        )


def _license(row: Mapping[str, Any]) -> str | None:
    inner = row.get("license")
    named = inner if isinstance(inner, dict) else {}
    return _text(row.get("expression")) or _text(named.get("id")) or _text(named.get("name"))


def _rows(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
