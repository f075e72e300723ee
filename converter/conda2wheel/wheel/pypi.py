"""What PyPI would refuse of a wheel, before it is uploaded: the rules of its upload endpoint that depend on the file alone.

It also refuses what no file shows: names of others and prohibited ones, files of a name that there was before, files for a
release that is older than 14 days, and Python files that its scanner knows. The rules are those of `pypi.toml`; the core
metadata's own are `packaging`'s, which PyPI uses, too.
"""

from __future__ import annotations

import configparser
import csv
import lzma
import re
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.abi.platforms import platforms
from conda2wheel.conda.import_roots import standard_library
from conda2wheel.files.pypa import parse_requirement
from conda2wheel.files.zip_framing import framing_problem, open_zip

AGAIN = "build it again, or let conda2wheel repair write it anew"
UNLISTED = ("RECORD.jws", "RECORD.p7s")
MAX_TEXT = 16 << 20  # bytes of a file of dist-info
SHOWN = 3  # names in a message
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError)
_NAME = re.compile(r"[\w.-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_LABEL = re.compile(r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?")
_URL = re.compile(r"(?P<scheme>[^:/?#]+):(?://(?P<authority>[^/?#]*))?(?P<rest>[^#]*)(?:#.*)?", re.DOTALL)  # RFC 3986, appendix B
_BRACKET = re.compile(r"[\[\]]")


@cache
def _facts() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("pypi.toml").read_text(encoding="utf-8"))


def pypi_findings(path: Path) -> list[Finding]:
    """The findings about a wheel, in the order in which PyPI looks.

    Raises:
        OSError: the file cannot be read.
    """
    return list(_Wheel(path).findings())


@dataclass(frozen=True)
class _Wheel:
    """A wheel that is to be uploaded."""

    path: Path

    @property
    def prefix(self) -> str:
        """NAME-VERSION as in the file name, by which PyPI finds the dist-info."""
        return "-".join(self.path.name.split("-", 2)[:2])

    def findings(self) -> Iterator[Finding]:
        """Yield the findings."""
        yield from self._file_name()
        try:
            archive = open_zip(self.path)
        except zipfile.BadZipFile as error:
            yield self._refused("pypi-zip", f"is no zip: {error}", hint=AGAIN)
            return
        with archive:
            yield from self._archive(archive)
            texts = {name: self._read(archive, name) for name in ("WHEEL", "METADATA", "RECORD", "entry_points.txt")}
            for name in ("WHEEL", "METADATA", "RECORD"):
                if texts[name] is None:
                    why = f"is not there: PyPI looks for it under the name and version of the file name, {self.prefix}"
                    yield self._refused("pypi-dist-info", why, f"{self.prefix}.dist-info/{name}")
            yield from self._record(archive, texts["RECORD"])
            yield from self._entry_points(texts["entry_points.txt"])
            if (metadata := texts["METADATA"]) is not None:
                yield from self._metadata(metadata, set(archive.namelist()))

    def _refused(self, code: str, why: str, place: str = "", hint: str = "") -> Finding:
        return Finding(code, Severity.UPLOAD, place or self.path.name, why, hint=hint)

    def _file_name(self) -> Iterator[Finding]:
        if _CONTROL.search(self.path.name):
            yield self._refused("pypi-filename", "has a control character in its name")
        try:
            name, _, _, tags = parse_wheel_filename(self.path.name)
        except InvalidWheelFilename as error:
            yield self._refused("pypi-filename", f"is no name of a wheel: {error}")
            return
        wanted = name.replace("-", "_")
        if (said := self.path.name.partition("-")[0]) != wanted:
            yield self._refused("pypi-filename", f"begins with {said}, and has to begin with the normalised name, {wanted}")
        patterns = re.compile("|".join(f"(?:{each})" for each in _facts()["tags"]["patterns"]))
        for platform in sorted({tag.platform for tag in tags if not patterns.match(tag.platform)}):
            why = (
                f"has the platform tag {platform}, which PyPI does not take; for Pyodide it takes pyemscripten_*_wasm32 (PEP 783)"
            )
            yield self._refused("pypi-tag", why, hint="conda2wheel repair --tags pep783 writes that tag")

    def _archive(self, archive: zipfile.ZipFile) -> Iterator[Finding]:
        limits = _facts()["file"]
        packed = self.path.stat().st_size
        if packed > limits["size"]:
            why = f"has {packed} bytes, more than the {limits['size'] >> 20} MiB that a project has without asking for more"
            yield self._refused("pypi-size", why, hint="ask PyPI for a higher limit, or leave files out")
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limits["ratio_from"] and unpacked > packed * limits["ratio"]:
            yield self._refused("pypi-ratio", f"unpacks to {unpacked} bytes, more than {limits['ratio']} times its size")
        methods = {entry.filename for entry in archive.infolist() if entry.compress_type not in (0, zipfile.ZIP_DEFLATED)}
        if methods:
            why = f"is compressed in another way than deflate{_more(methods)}"
            yield self._refused("pypi-compression", why, min(methods), hint=AGAIN)
        if _is_tar(self.path):
            yield self._refused("pypi-zip", "is a tar file, too", hint=AGAIN)
        try:
            problem = framing_problem(self.path)
        except zipfile.BadZipFile as error:
            problem = f"it is no zip: {error}"
        if problem:
            yield self._refused("pypi-zip", f"is a zip that readers see differently: {problem}", hint=AGAIN)

    def _read(self, archive: zipfile.ZipFile, name: str) -> bytes | None:
        """A file of dist-info; None where it is missing, damaged or larger than any."""
        try:
            entry = archive.getinfo(f"{self.prefix}.dist-info/{name}")
            return archive.read(entry) if entry.file_size <= MAX_TEXT else None
        except (KeyError, RuntimeError, ValueError, *DAMAGE):  # not there; encrypted
            return None

    def _record(self, archive: zipfile.ZipFile, record: bytes | None) -> Iterator[Finding]:
        place = f"{self.prefix}.dist-info/RECORD"
        if record is None:
            return
        try:
            listed = {row[0].replace("\\", "/") for row in csv.reader(record.decode().splitlines()) if row}
        except (UnicodeDecodeError, csv.Error) as error:
            yield self._refused("pypi-dist-info", f"cannot be read: {error}", place)
            return
        unlisted = {f"{self.prefix}.dist-info/{name}" for name in UNLISTED}
        there = {name for name in archive.namelist() if not name.endswith(("/", "\\"))} - unlisted
        if wrong := listed ^ there:
            why = f"does not list what is in the wheel{_more(wrong)}: PyPI takes it, and writes to the project's owners"
            yield Finding("pypi-record", Severity.SUSPICIOUS, place, why, hint="conda2wheel repair writes it anew")

    def _entry_points(self, content: bytes | None) -> Iterator[Finding]:
        place = f"{self.prefix}.dist-info/entry_points.txt"
        if content is None:
            return
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(content.decode())
            names = [name for group in ("console_scripts", "gui_scripts") if group in parser for name in parser[group]]
        except (UnicodeDecodeError, configparser.Error) as error:
            yield self._refused("pypi-entry-points", f"cannot be read: {' '.join(str(error).split())}", place)
            return
        for name in names:
            if not _NAME.fullmatch(name):
                yield self._refused("pypi-entry-points", f"has the script {name!r}, which is no name of a script", place)

    def _metadata(self, content: bytes, members: set[str]) -> Iterator[Finding]:
        place = f"{self.prefix}.dist-info/METADATA"
        try:
            metadata = Metadata.from_email(content)
        except ExceptionGroup as group:
            for error in group.exceptions:
                field = error.field if isinstance(error, InvalidMetadata) else "METADATA"
                yield self._refused("pypi-metadata", f"{field}: {' '.join(str(error).split())}", place)
            return
        except (ValueError, RecursionError) as error:
            yield self._refused("pypi-metadata", f"cannot be read: {error}", place)
            return
        for code, why in _metadata_problems(metadata):
            yield self._refused(code, why, place)
        yield from self._names(metadata)
        for name in metadata.license_files or []:
            if f"{self.prefix}.dist-info/licenses/{name}" not in members:
                why = f"names the License-File {name}, which is not in {self.prefix}.dist-info/licenses"
                yield self._refused("pypi-license-file", why, place, hint="add the file, or leave the field out")
        yield from self._description(metadata, place)

    def _names(self, metadata: Metadata) -> Iterator[Finding]:
        """Compare METADATA with the file name."""
        try:
            name, version, _, _ = parse_wheel_filename(self.path.name)
        except InvalidWheelFilename:
            return
        if canonicalize_name(metadata.name) != name:
            yield self._refused("pypi-filename", f"is of {name}, and its METADATA of {metadata.name}")
        if metadata.version != version:
            yield self._refused("pypi-filename", f"has the version {version}, and its METADATA {metadata.version}")
        if canonicalize_name(metadata.name) in standard_library_names():
            why = f"is called {metadata.name}, as a module of the standard library: PyPI makes no new project of that name"
            yield Finding("pypi-name", Severity.SUSPICIOUS, self.path.name, why)

    def _description(self, metadata: Metadata, place: str) -> Iterator[Finding]:
        """PyPI renders the description, and refuses what cannot be rendered: only reStructuredText can be."""
        text = metadata.description
        message = EmailMessage()
        if metadata.description_content_type:
            message["content-type"] = metadata.description_content_type
        if not text or (metadata.description_content_type and message.get_content_type() != "text/x-rst"):
            return
        render = _renderer()
        said = "" if metadata.description_content_type else ", which a description without Description-Content-Type is taken for"
        if render is None:
            why = (
                f"has a description in reStructuredText{said}; whether PyPI can render it was not tried, without readme_renderer"
            )
            yield Finding("pypi-description", Severity.NOTE, place, why, hint="pip install readme_renderer")
        elif render(text) is None:
            yield self._refused(
                "pypi-description",
                f"has a description that cannot be rendered as reStructuredText{said}",
                place,
                hint="correct it (twine check shows the line), or name its Description-Content-Type, such as text/markdown",
            )


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except DAMAGE:  # it begins as a compressed file, and is none
        return False


def _metadata_problems(metadata: Metadata) -> Iterator[tuple[str, str]]:
    """What PyPI refuses beyond what the core metadata's specification does: a code and the reason."""
    facts = _facts()["metadata"]
    if metadata.metadata_version not in facts["versions"]:
        yield "pypi-metadata", f"Metadata-Version {metadata.metadata_version}: PyPI takes {facts['versions'][-1]} at most"
    if metadata.version.local:
        yield "pypi-local-version", f"Version {metadata.version}: PyPI takes no local versions (+{metadata.version.local})"
    if len(metadata.summary or "") > facts["summary"]:
        yield "pypi-metadata", f"Summary: {len(metadata.summary or '')} characters, more than {facts['summary']}"
    for field, value in (("Author-email", metadata.author_email), ("Maintainer-email", metadata.maintainer_email)):
        address = parseaddr(value or "")[1]
        if address and not is_email(address):
            yield "pypi-metadata", f"{field}: {address} is no address"
    yield from _classifier_problems(metadata)
    urls: dict[str, str | None] = {"Home-page": metadata.home_page, "Download-URL": metadata.download_url}
    for field, url in urls.items():
        if url is not None and not is_web_url(url):
            yield "pypi-metadata", f"{field}: {url} is no URL with http or https"
    for label, url in (metadata.project_urls or {}).items():
        if not label or len(label) > facts["label"]:
            yield "pypi-metadata", f"Project-URL: {label or url!r} has no label, or one of more than {facts['label']} characters"
        elif not url or not is_web_url(url):
            yield "pypi-metadata", f"Project-URL: {label} has {url or 'none'}, which is no URL with http or https"
    yield from _requirement_problems(metadata)
    for field in metadata.dynamic or []:
        if field.lower() not in facts["dynamic"]:
            yield "pypi-metadata", f"Dynamic: {field} cannot be dynamic"
    if metadata.license and metadata.license_expression:
        yield "pypi-metadata", "License: stands beside License-Expression, which replaces it"


def _classifier_problems(metadata: Metadata) -> Iterator[tuple[str, str]]:
    from trove_classifiers import classifiers, deprecated_classifiers

    for each in sorted(set(metadata.classifiers or [])):
        if each in deprecated_classifiers:
            instead = deprecated_classifiers[each]
            then = f"; {' or '.join(instead)} replaces it" if instead else ""
            yield "pypi-classifier", f"Classifier: {each} is deprecated{then}"
        elif each not in classifiers:
            yield "pypi-classifier", f"Classifier: PyPI knows no {each}"


def _requirement_problems(metadata: Metadata) -> Iterator[tuple[str, str]]:
    fields: Mapping[str, list[str]] = {
        "Requires-Dist": [str(each) for each in metadata.requires_dist or []],
        "Provides-Dist": metadata.provides_dist or [],
        "Obsoletes-Dist": metadata.obsoletes_dist or [],
    }
    for field, lines in fields.items():
        for line in lines:
            requirement = parse_requirement(line)
            if requirement is None:
                yield "pypi-metadata", f"{field}: {line} is no requirement"
            elif requirement.url is not None:
                yield "pypi-direct-reference", f"{field}: {line} has a URL, and PyPI takes names alone"


def is_email(address: str) -> bool:
    """Whether PyPI takes an address: its form, not whether mail reaches it.

    >>> is_email("a.b@example.org"), is_email("a@localhost"), is_email("a b@example.org"), is_email("a@example")
    (True, False, False, False)
    """
    local, at, domain = address.rpartition("@")
    labels = domain.split(".")
    return (
        bool(at)
        and len(address) <= 254
        and _LOCAL_PART.fullmatch(local) is not None
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) and len(label) <= 63 for label in labels)
        and labels[-1].lower() not in _facts()["metadata"]["domains"]
        and not labels[-1].isdigit()
    )


def is_web_url(text: str) -> bool:
    """Whether PyPI takes a URL: http or https, and nothing in it that no URL has.

    >>> is_web_url("https://example.org/a?b#c"), is_web_url("example.org"), is_web_url("ftp://example.org"), is_web_url("UNKNOWN")
    (True, False, False, False)
    """
    match = _URL.fullmatch(text)
    if match is None or match["scheme"].lower() not in ("http", "https"):
        return False
    port = (match["authority"] or "").rpartition(":")[2]
    return not _BRACKET.search(match["rest"]) and not (port.isdecimal() and int(port[:9]) > 65535)


def _more(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({', '.join(shown)}{more})"


@cache
def standard_library_names() -> frozenset[str]:
    """The names of modules of the standard library, of which PyPI makes no projects."""
    pythons = {row.python for row in platforms() if row.python is not None}
    known = {canonicalize_name(name.strip("-_.")) for python in pythons for name in standard_library(python)}
    return frozenset({*known, *_facts()["names"]["standard"]})


@cache
def _renderer() -> Callable[[str], str | None] | None:
    """PyPI's own renderer of reStructuredText, if it is there."""
    try:
        from readme_renderer import rst
    except ImportError:
        return None

    def render(text: str) -> str | None:
        from io import StringIO

        result: str | None = rst.render(text, stream=StringIO())
        return result

    return render
