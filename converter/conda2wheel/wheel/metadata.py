"""Core metadata: parse METADATA leniently, write it strictly, correct invalid fields, and generate what is missing.

Specification: PyPA core metadata 2.4. Field names are written Title-Case and unfolded, because micropip reads METADATA line by
line and finds `Requires-Dist:` only in that form (`packaging`'s own writer loses every requirement there: measured). No line of
the body can be taken for a field.

Values are checked against the rules of PyPI (warehouse, forklift/metadata.py): known classifiers, one of License and
License-Expression, summaries of one line up to 512 characters, labels up to 32, http addresses, valid specifiers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.documents import DocumentError
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.files.pypa import parse_requirement, parse_specifiers, spdx_expression
from conda2wheel.files.reading import corrupt
from conda2wheel.results import ConversionWarning

METADATA_VERSION = "2.4"
MAX_METADATA = 16 << 20  # bytes; PyPI takes less
MAX_HEADER = 50_000  # lines of the fields; a description may be one of them, with a line for each of its own
MAX_FIELDS = 10_000
MAX_ADDRESSES = 16_384  # characters of Author-email; the parser of addresses recurses into parentheses
MAX_SUMMARY = 512
MAX_LABEL = 32
CONTENT_TYPES = ("text/plain", "text/x-rst", "text/markdown")
DYNAMIC_FORBIDDEN = ("name", "version", "metadata-version")
OBSOLETE = ("Requires", "Provides", "Obsoletes")  # deprecated by PEP 314; PyPI refuses them together with newer fields
TOO_NEW = ("Import-Name", "Import-Namespace")  # fields of metadata 2.5

FIELDS = (
    "Metadata-Version", "Name", "Version", "Dynamic", "Platform", "Supported-Platform", "Summary", "Description",
    "Description-Content-Type", "Keywords", "Home-page", "Download-URL", "Author", "Author-email", "Maintainer",
    "Maintainer-email", "License", "License-Expression", "License-File", "Classifier", "Requires-Dist", "Requires-Python",
    "Requires-External", "Project-URL", "Provides-Extra", "Provides-Dist", "Obsoletes-Dist", "Requires", "Provides",
    "Obsoletes", "Import-Name", "Import-Namespace",
)  # fmt: skip
_SPELLING = {name.lower(): name for name in FIELDS}
SINGLE = frozenset(FIELDS) - {
    "Dynamic", "Platform", "Supported-Platform", "License-File", "Classifier", "Requires-Dist", "Requires-External",
    "Project-URL", "Provides-Extra", "Provides-Dist", "Obsoletes-Dist", "Requires", "Provides", "Obsoletes", "Import-Name",
    "Import-Namespace",
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # all line breaks of str.splitlines(), and other control characters
# The start of a line, for all line breaks of str.splitlines(), that looks like a field; white space without those line breaks.
_BREAKS = "\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_LOOKS_LIKE_FIELD = re.compile(
    rf"(?i)(?:(?<=[{_BREAKS}])|\A)(?=(?:{'|'.join(map(re.escape, FIELDS))})[ \t\x1f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]*+:)"
)
_LINE = re.compile(r"([^\r\n]*+)(\r\n|\r|\n|\Z)")
_FIELD = re.compile(r"([\x21-\x39\x3b-\x7e]*+):")  # RFC 5322; what email.feedparser takes for a field
_URL = re.compile(r"https?://[^\s/]\S*")
_REQUIREMENT = re.compile(r"\s*+([A-Za-z0-9][\w.-]*+(?:\s*+\[[^\]]*+\])?)\s*+(?=[(<>=!~@])")
_UNGLOBBED = re.compile(r"([<>]=?\s*+[\d.]+?)\.\*")
_EXTRA = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRA_OF_MARKER = re.compile(r"extra\s*+==\s*+['\"]([^'\"]++)")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_VARIANT = re.compile(r"variant\s*+=\s*+\"?(GFM|CommonMark)\b")
_INDENT = re.compile(r"^(?: {7}\|| {8}|\t)")
# Words of license texts and notices, which no name of a license has.
_LICENSE_TEXT = re.compile(r"(?i)copyright|permission is|redistribution and use|warranty|rights reserved|terms and conditions")
MAX_LICENSE = 100  # characters of a License that names one rather than being its text
WORD_JOINER = "\u2060"  # invisible, without width, and not white space


class Document(NamedTuple):
    """A METADATA file: its fields in order, spelled as in the specification, and `body`, the description."""

    fields: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def get(self, name: str) -> str | None:
        """The first value of a field, None if it is absent."""
        return next((value for key, value in self.fields if key == name), None)

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key == name]

    def without(self, *names: str) -> Document:
        """The document without some fields."""
        return Document(tuple(pair for pair in self.fields if pair[0] not in names), self.body)

    def replaced(self, name: str, values: Iterable[str]) -> Document:
        """The document with other values of a field, at the position of its first value, else at the end."""
        new = [(name, value) for value in values]
        out: list[tuple[str, str]] = []
        for pair in self.fields:
            if pair[0] == name:
                out += new
                new = []
            else:
                out.append(pair)
        return Document(tuple(out + new), self.body)

    def encode(self) -> bytes:
        """The bytes of the file: one line per field, a blank line, the description."""
        lines = [f"{name}: {one_line(value)}" for name, value in self.fields]
        text = "\n".join(lines) + "\n"
        if self.body.strip():
            text += "\n" + guard(self.body)
            if not text.endswith("\n"):
                text += "\n"
        return text.encode("utf-8", "replace")  # a description from JSON may hold a lone surrogate


def parse(data: bytes) -> Document:
    """Parse METADATA or PKG-INFO of any metadata version.

    Folded fields are unfolded, `UNKNOWN` values and unknown fields are dropped, a Description field becomes the body, and bytes
    that are not UTF-8 are decoded as Latin-1.

    Raises:
        DocumentError: it has more fields than any project.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    pairs, description = _header(text.lstrip("\r\n"))
    fields: list[tuple[str, str]] = []
    seen: set[str] = set()
    for key, raw in pairs:
        name = _SPELLING.get(key.lower())
        if name == "Description":
            description = description if description.strip() else _undent(raw)
            continue
        value = one_line(raw)
        if name is None or not value or (value.upper() == "UNKNOWN" and name != "Name"):
            continue
        if name in SINGLE and name in seen:
            continue
        seen.add(name)
        fields.append((name, value))
    return Document(tuple(fields), "" if description.strip() == "UNKNOWN" else description)


def read_metadata(source: str, file: PackageFile) -> Document:
    """Read a METADATA or PKG-INFO file of a package or wheel.

    Raises:
        Refused: too-large, corrupt-archive.
    """
    if file.blob.size > MAX_METADATA:
        raise Refused(
            "too-large", f"{source}: {file.path} has {file.blob.size} bytes", "a real project has no metadata of that size"
        )
    try:
        return parse(file.blob.read())
    except DocumentError as error:
        raise corrupt(source, f"{file.path} {error}") from None


def _header(text: str) -> tuple[list[tuple[str, str]], str]:
    """The fields of a message, each with its continuation lines, and its body, as `email.parser` separates them.

    The body begins after an empty line, or with the first line that is neither a field nor a continuation.
    """
    found: list[tuple[str, list[str]]] = []
    value: list[str] = []  # of the last field; continuation lines of anything else are lost
    at = number = 0
    while at < len(text) and (line := _LINE.match(text, at)) is not None:
        if line[1][:1] in (" ", "\t"):
            value.append(line[0])
        elif (field := _FIELD.match(line[1])) is not None:
            value = [line[0][field.end() :].lstrip(" \t")]
            found += [(field[1], value)] if field[1] else []
        elif line[1].startswith("From "):
            value = []
        else:
            at = at if line[1] else line.end()
            break
        number += 1
        if number > MAX_HEADER or len(found) > MAX_FIELDS:
            raise DocumentError(f"has more than {MAX_FIELDS} fields, or more than {MAX_HEADER} lines before its description")
        at = line.end()
    return [(name, "".join(parts).rstrip("\r\n")) for name, parts in found], text[at:]


def one_line(value: str) -> str:
    """The value without line breaks and control characters, which become spaces."""
    return " ".join(part.strip() for part in _CONTROL.split(value) if part.strip())


def _undent(value: str) -> str:
    """Unfold a description that was a field: continuation lines begin with 8 spaces, or 7 and a bar."""
    lines = value.splitlines()
    return "\n".join([*lines[:1], *(_INDENT.sub("", line, count=1) for line in lines[1:])])


def guard(body: str) -> str:
    """Put a word joiner before every line of a description that a line-based parser would take for a field."""
    return _LOOKS_LIKE_FIELD.sub(WORD_JOINER, body.replace("\r\n", "\n").replace("\r", "\n"))


def corrected(
    document: Document, package: CondaPackage, name: str, version: str, requires: Iterable[str] | None
) -> tuple[Document, tuple[ConversionWarning, ...]]:
    """Upstream's fields with Name, Version and Metadata-Version set, invalid values corrected or removed, and gaps filled.

    Args:
        document: upstream's metadata.
        package: the conda package, whose index and about.json supply a missing summary and license.
        name: the distribution's name.
        version: its PEP 440 version.
        requires: the new values of Requires-Dist; None keeps upstream's.

    Returns:
        The metadata, and one warning for each value that was corrected or removed.
    """
    head = (("Metadata-Version", METADATA_VERSION), ("Name", name), ("Version", version))
    replaced = {field for field, _ in head} | {*OBSOLETE, *TOO_NEW}
    fields = document.without(*replaced)
    if requires is not None:
        fields = fields.replaced("Requires-Dist", requires)
    warnings: list[ConversionWarning] = []
    for field, (check, repair) in _CHECKS.items():
        fields, found = _checked(fields, field, check, repair)
        warnings += found
    fields, found = _with_license(_with_summary(fields, package), package)
    warnings += found
    fields, found = _with_valid_urls(fields)
    warnings += found
    fields = _with_content_type(fields)
    return Document(head + fields.fields, fields.body), tuple(warnings)


def generated(package: CondaPackage, requires_python: str | None) -> Document:
    """Metadata from about.json and the conda recipe, for a package that has none.

    The recipe's maintainers are packagers, not authors, and are left out.
    """
    about = {**_recipe_about(package), **{k: v for k, v in package.about.items() if v}}
    fields: list[tuple[str, str]] = []
    if requires_python:
        fields.append(("Requires-Python", requires_python))
    for label, keys in (
        ("Homepage", ("home", "homepage")),
        ("Documentation", ("doc_url", "documentation")),
        ("Repository", ("dev_url", "repository")),
    ):
        url = next((u for key in keys for u in _texts(about.get(key)) if _is_url(u)), None)
        if url:
            fields.append(("Project-URL", f"{label}, {url}"))
    body = next(iter(_texts(about.get("description"))), "")
    if body:
        fields.append(("Description-Content-Type", "text/markdown"))
    return Document(tuple(fields), body)


def _recipe_about(package: CondaPackage) -> dict[str, Any]:
    recipe = package.rendered_recipe.get("recipe")
    for source in (recipe if isinstance(recipe, dict) else {}, package.recipe):
        about = source.get("about")
        if isinstance(about, dict):
            return {str(k): v for k, v in about.items() if v and "${{" not in str(v)}
    return {}


def _texts(value: Any) -> list[str]:
    """The values of an entry of about.json: a string, or a list of them."""
    return [str(v).strip() for v in (value if isinstance(value, list) else [value]) if v and str(v).strip()]


def _is_url(text: str) -> bool:
    return _URL.fullmatch(text) is not None


Check = Callable[[str], str | None]


def _checked(document: Document, field: str, check: Check, repair: Check) -> tuple[Document, list[ConversionWarning]]:
    """Replace a field's invalid values by repaired ones, or remove them; remove duplicates."""
    values = document.all(field)
    if not values:
        return document, []
    valid: dict[str, None] = {}
    warnings = []
    for value in values:
        fine = check(value)
        if fine is None:
            fine = repair(value)
            done = f"written as {fine!r}" if fine else "left out"
            warnings.append(
                ConversionWarning("metadata-field", f"{field} {value[:80]!r} is not valid and was {done}", "METADATA")
            )
        if fine:
            valid[fine] = None
    return document.replaced(field, valid), warnings


def _no_repair(_: str) -> None:
    """For fields whose invalid values are removed."""


def _requirement(value: str) -> str | None:
    parsed = parse_requirement(value)
    if parsed is None or parsed.url:
        return None  # PyPI refuses `name @ url`; the URL is often a folder of the build machine
    return value if "(" not in value.partition(";")[0] else str(parsed)  # the old form `name (>=1)`


def _repaired_requirement(value: str) -> str | None:
    """The requirement without its URL, with `>=1.7.*` as `>=1.7`, or without its version."""
    match = _REQUIREMENT.match(value)
    marker = value.partition(" ;" if "@" in value else ";")[2].strip()
    bare = f"{match[1]} ; {marker}".removesuffix(" ; ") if match else ""
    for text in (_unglobbed(value), bare):
        if text and (fine := _requirement(text)):
            return fine
    return None


def _unglobbed(specifiers: str) -> str:
    """Specifiers with `>=3.6.*`, which is common but invalid, as `>=3.6`."""
    return _UNGLOBBED.sub(r"\1", specifiers)


def _requires_python(value: str) -> str | None:
    return None if parse_specifiers(value) is None else value


def _repaired_python(value: str) -> str | None:
    return _requires_python(_unglobbed(value.strip("'\" ")))


def _classifier(value: str) -> str | None:
    from trove_classifiers import classifiers

    return value if value in classifiers or value.startswith("Private :: ") else None


def _newer_classifier(value: str) -> str | None:
    from trove_classifiers import deprecated_classifiers

    replacements = deprecated_classifiers.get(value, [])
    return replacements[0] if len(replacements) == 1 else None


def _extra(value: str) -> str | None:
    return value if _EXTRA.fullmatch(value) else None


def _dynamic(value: str) -> str | None:
    known = value.lower() in (field.lower() for field in FIELDS)
    return value if known and value.lower() not in DYNAMIC_FORBIDDEN else None


def _url(value: str) -> str | None:
    return value if _is_url(value) else None


def _email(value: str) -> str | None:
    """Return the field's value if PyPI accepts it: its first address is valid, or it has no address. Else None."""
    if len(value) > MAX_ADDRESSES:
        return None
    from email.utils import parseaddr  # it imports as much as all that reads metadata

    try:
        address = parseaddr(value)[1]
    except RecursionError:  # nested comments or groups
        return None
    return value if not address or _ADDRESS.fullmatch(address) else None


_CHECKS: dict[str, tuple[Check, Check]] = {
    "Requires-Dist": (_requirement, _repaired_requirement),
    "Requires-Python": (_requires_python, _repaired_python),
    "Classifier": (_classifier, _newer_classifier),
    "Provides-Extra": (_extra, _no_repair),
    "Dynamic": (_dynamic, _no_repair),
    "Home-page": (_url, _no_repair),
    "Download-URL": (_url, _no_repair),
    "Author-email": (_email, _no_repair),
    "Maintainer-email": (_email, _no_repair),
}


def _with_summary(document: Document, package: CondaPackage) -> Document:
    """A summary of one line of at most `MAX_SUMMARY` characters; the conda package's where upstream has none."""
    summary = document.get("Summary")
    if summary is None:
        texts = _texts(package.about.get("summary")) or _texts(_recipe_about(package).get("summary"))
        if not texts:
            return document
        summary = " ".join(texts[0].split())
        document = Document((("Summary", summary), *document.fields), document.body)
    short = summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1].rstrip() + "…"
    return document.replaced("Summary", [short])


def _with_license(document: Document, package: CondaPackage) -> tuple[Document, list[ConversionWarning]]:
    """License-Expression if it is valid SPDX, else License; never both (PEP 639)."""
    expression = document.get("License-Expression")
    if expression is not None:
        spdx = spdx_expression(expression)
        if spdx:
            return _with_expression(document, spdx), []
        warning = ConversionWarning(
            "metadata-field", f"License-Expression {expression!r} is not SPDX; kept as License", "METADATA"
        )
        return document.without("License-Expression", "License").replaced("License", [expression]), [warning]
    texts = (
        _texts(package.index.get("license"))
        or _texts(package.about.get("license"))
        or _texts(_recipe_about(package).get("license"))
    )
    spdx = spdx_expression(texts[0]) if texts else None
    own = document.get("License")
    if own and spdx and _is_license_text(own):
        why = f"License is the text of a license; conda's {spdx} was written as License-Expression"
        return _with_expression(document, spdx), [ConversionWarning("metadata-field", why, "METADATA")]
    if own or not texts or any(c.startswith("License ::") for c in document.all("Classifier")):
        return document, []
    return document.replaced("License-Expression" if spdx else "License", [spdx or texts[0]]), []


def _with_expression(document: Document, spdx: str) -> Document:
    """The document with a License-Expression, which excludes License and the license classifiers (PEP 639)."""
    classifiers = [c for c in document.all("Classifier") if not c.startswith("License ::")]
    document = document.without("License").replaced("License-Expression", [spdx])
    return document.replaced("Classifier", classifiers)


def _is_license_text(value: str) -> bool:
    """Whether a License field has the text of a license, or a notice, rather than a name.

    >>> _is_license_text("BSD 3-Clause"), _is_license_text("MIT License Copyright (c) 2024 ...")
    (False, True)
    """
    return spdx_expression(value) is None and (len(value) > MAX_LICENSE or _LICENSE_TEXT.search(value) is not None)


def _with_valid_urls(document: Document) -> tuple[Document, list[ConversionWarning]]:
    """Remove Project-URL values without a label or a URL, and those whose label is already used."""
    valid: dict[str, str] = {}
    warnings = []
    for value in document.all("Project-URL"):
        label, comma, url = (part.strip() for part in value.partition(","))
        if not comma or not label or not _is_url(url) or label in valid:
            warnings.append(
                ConversionWarning("metadata-field", f"Project-URL {value[:80]!r} is not valid and was left out", "METADATA")
            )
            continue
        valid.setdefault(label[:MAX_LABEL].strip(), f"{label[:MAX_LABEL].strip()}, {url}")
    return document.replaced("Project-URL", valid.values()), warnings


def _with_content_type(document: Document) -> Document:
    """Set a Description-Content-Type that PyPI accepts, with the parameters that it accepts."""
    declared = document.get("Description-Content-Type")
    if not document.body.strip():
        return document.without("Description-Content-Type")
    if declared is None:  # the specification's default, written because `twine check --strict` requires the field
        return document.replaced("Description-Content-Type", ["text/x-rst"])
    base = declared.partition(";")[0].strip().lower()
    if base not in CONTENT_TYPES:
        return document.replaced("Description-Content-Type", ["text/plain"])
    variant = _VARIANT.search(declared)
    text = base + ("; charset=UTF-8" if "charset" in declared.lower() else "")
    if base == "text/markdown" and variant:
        text += f"; variant={variant[1]}"
    return document.replaced("Description-Content-Type", [text])


def with_provides_extra(document: Document) -> Document:
    """Add Provides-Extra for every extra that a requirement's marker names, as those of setuptools' requires.txt do."""
    markers = (value.partition(";")[2] for value in document.all("Requires-Dist"))
    named = {m for marker in markers for m in _EXTRA_OF_MARKER.findall(marker) if _extra(m)}
    have = {canonicalize_name(extra) for extra in document.all("Provides-Extra")}
    missing = sorted(extra for extra in named if canonicalize_name(extra) not in have)
    return document.replaced("Provides-Extra", [*document.all("Provides-Extra"), *missing]) if missing else document


def egg_requirements(text: str) -> list[str]:
    r"""Return the lines of setuptools' requires.txt as Requires-Dist: sections `[extra]`, `[:marker]` and `[extra:marker]`.

    >>> egg_requirements("numpy\n\n[test:python_version<'3.12']\npytest>=7")
    ['numpy', "pytest>=7 ; (python_version<'3.12') and extra == 'test'"]
    """
    marker = ""
    found = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            extra, _, condition = line[1:-1].partition(":")
            parts = [f"({condition})"] if condition else []
            if extra:
                parts.append(f"extra == '{extra}'")
            marker = " and ".join(parts)
            continue
        requirement, _, own = (part.strip() for part in line.partition(";"))
        markers = " and ".join(part for part in (f"({own})" if own else "", marker) if part)
        found.append(f"{requirement} ; {markers}" if markers else requirement)
    return found
