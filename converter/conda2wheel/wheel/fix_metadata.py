"""Core metadata that PyPI and every installer take: upstream's, mended field by field, or made from what conda knows.

Checked against what PyPI checks (warehouse, forklift/metadata.py): known classifiers, one of License and
License-Expression, summaries of one line up to 512 characters, labels up to 32, http addresses, valid specifiers.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Iterable
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.conda.package import CondaPackage
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.metadata import FIELDS, METADATA_VERSION, Document

MAX_SUMMARY = 512
MAX_LABEL = 32
CONTENT_TYPES = ("text/plain", "text/x-rst", "text/markdown")
DYNAMIC_FORBIDDEN = ("name", "version", "metadata-version")
OBSOLETE = ("Requires", "Provides", "Obsoletes")  # deprecated since PEP 314; PyPI refuses them beside newer fields
TOO_NEW = ("Import-Name", "Import-Namespace")  # of metadata 2.5; what is written is 2.4


def mend(
    document: Document,
    package: CondaPackage,
    name: str,
    version: str,
    requires: Iterable[str] | None,
    warnings: list[ConversionWarning],
) -> Document:
    """Upstream's fields, with the conda index's version, and gaps (summary, license) filled from conda's own words.

    `requires` replaces Requires-Dist where given; upstream's stand otherwise. `warnings` gets one line for each field
    that was changed for being invalid.
    """
    fields = Document(
        tuple(pair for pair in document.fields if pair[0] not in ("Metadata-Version", "Name", "Version", *OBSOLETE, *TOO_NEW)),
        document.body,
    )
    if requires is not None:
        fields = fields.replaced("Requires-Dist", requires)
    for field, (check, repair) in _CHECKS.items():
        fields = _kept(fields, field, check, repair, warnings)
    fields = _summary(fields, package)
    fields = _license(fields, package, warnings)
    fields = _project_urls(fields, warnings)
    fields = _description(fields)
    head = (("Metadata-Version", METADATA_VERSION), ("Name", name), ("Version", version))
    return Document(head + fields.fields, fields.body)


def generate(package: CondaPackage, requires_python: str | None) -> Document:
    """Fields from index.json, about.json and the recipe, for a package without any metadata.

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
    """about.json's URLs are strings, or lists of them."""
    return [str(v).strip() for v in (value if isinstance(value, list) else [value]) if v and str(v).strip()]


def _is_url(text: str) -> bool:
    return bool(re.fullmatch(r"https?://[^\s/]+\S*", text))


Check = Callable[[str], str | None]


def _kept(document: Document, field: str, check: Check, repair: Check, warnings: list[ConversionWarning]) -> Document:
    """A field's valid values, the others repaired or left out, and told; none twice."""
    values = document.all(field)
    if not values:
        return document
    kept: list[str] = []
    for value in values:
        fine = check(value)
        if fine is None:
            fine = repair(value)
            done = f"written as {fine!r}" if fine else "left out"
            warnings.append(
                ConversionWarning("metadata-field", f"{field} {value[:80]!r} is not valid and was {done}", "METADATA")
            )
        if fine and fine not in kept:
            kept.append(fine)
    return document.replaced(field, kept)


def _nothing(_: str) -> None:
    """No repair is known."""


def _requirement(value: str) -> str | None:
    try:
        parsed = Requirement(value)
    except InvalidRequirement:
        return None
    if parsed.url:
        return None  # PyPI refuses `name @ url`, and the url is often a folder of the build machine
    return value if "(" not in value.partition(";")[0] else str(parsed)  # the old form `name (>=1)` reads the same


def _repaired_requirement(value: str) -> str | None:
    """Without the URL; with `>=1.7.*` as `>=1.7`; else without its version: too much is better than nothing."""
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?)\s*(?=[(<>=!~@])", value)
    marker = value.partition(" ;" if "@" in value else ";")[2].strip()
    bare = f"{match[1].strip()} ; {marker}".removesuffix(" ; ") if match else ""
    for text in (_unglobbed(value), bare):
        if text and (fine := _requirement(text)):
            return fine
    return None


def _unglobbed(specifiers: str) -> str:
    """`>=3.6.*` was common and never valid."""
    return re.sub(r"([<>]=?\s*[\d.]+?)\.\*", r"\1", specifiers)


def _requires_python(value: str) -> str | None:
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        return None
    return value


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
    return value if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value) else None


def _dynamic(value: str) -> str | None:
    known = value.lower() in (field.lower() for field in FIELDS)
    return value if known and value.lower() not in DYNAMIC_FORBIDDEN else None


def _url(value: str) -> str | None:
    return value if _is_url(value) else None


def _email(value: str) -> str | None:
    """As PyPI looks at it: the first address, if the parser finds any."""
    address = email.utils.parseaddr(value)[1]
    return value if not address or re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", address) else None


_CHECKS: dict[str, tuple[Check, Check]] = {
    "Requires-Dist": (_requirement, _repaired_requirement),
    "Requires-Python": (_requires_python, _repaired_python),
    "Classifier": (_classifier, _newer_classifier),
    "Provides-Extra": (_extra, _nothing),
    "Dynamic": (_dynamic, _nothing),
    "Home-page": (_url, _nothing),
    "Download-URL": (_url, _nothing),
    "Author-email": (_email, _nothing),
    "Maintainer-email": (_email, _nothing),
}


def _summary(document: Document, package: CondaPackage) -> Document:
    summary = document.get("Summary")
    if summary is None:
        words = _texts(package.about.get("summary")) or _texts(_recipe_about(package).get("summary"))
        if not words:
            return document
        summary = " ".join(words[0].split())
        document = Document((("Summary", summary), *document.fields), document.body)
    short = summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1].rstrip() + "…"
    return document.replaced("Summary", [short])


def _license(document: Document, package: CondaPackage, warnings: list[ConversionWarning]) -> Document:
    """License-Expression if it is valid SPDX, else License; never both (PEP 639)."""
    expression = document.get("License-Expression")
    if expression is not None:
        spdx = spdx_expression(expression)
        if spdx:
            without = [c for c in document.all("Classifier") if not c.startswith("License ::")]
            return document.without("License").replaced("License-Expression", [spdx]).replaced("Classifier", without)
        warnings.append(
            ConversionWarning("metadata-field", f"License-Expression {expression!r} is not SPDX; kept as License", "METADATA")
        )
        return document.without("License-Expression", "License").replaced("License", [expression])
    if document.get("License") or any(c.startswith("License ::") for c in document.all("Classifier")):
        return document
    words = (
        _texts(package.index.get("license"))
        or _texts(package.about.get("license"))
        or _texts(_recipe_about(package).get("license"))
    )
    if not words:
        return document
    spdx = spdx_expression(words[0])
    return document.replaced("License-Expression" if spdx else "License", [spdx or words[0]])


def spdx_expression(text: str) -> str | None:
    """The canonical form of an SPDX license expression, None if it is none ("BSD", "MIT/X11", "any-OSI").

    >>> spdx_expression("mit and Apache-2.0"), spdx_expression("BSD-3")
    ('MIT AND Apache-2.0', None)
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None


def _project_urls(document: Document, warnings: list[ConversionWarning]) -> Document:
    kept: dict[str, str] = {}
    for value in document.all("Project-URL"):
        label, comma, url = (part.strip() for part in value.partition(","))
        if not comma or not label or not _is_url(url) or label in kept:
            warnings.append(
                ConversionWarning("metadata-field", f"Project-URL {value[:80]!r} is not valid and was left out", "METADATA")
            )
            continue
        kept.setdefault(label[:MAX_LABEL].strip(), f"{label[:MAX_LABEL].strip()}, {url}")
    return document.replaced("Project-URL", kept.values())


def _description(document: Document) -> Document:
    """A content type that PyPI knows, with parameters that it takes."""
    declared = document.get("Description-Content-Type")
    if not document.body.strip():
        return document.without("Description-Content-Type")
    if declared is None:  # what the specification says it is then; said aloud, since `twine check --strict` asks for it
        return document.replaced("Description-Content-Type", ["text/x-rst"])
    base = declared.partition(";")[0].strip().lower()
    if base not in CONTENT_TYPES:
        return document.replaced("Description-Content-Type", ["text/plain"])
    variant = re.search(r"variant\s*=\s*\"?(GFM|CommonMark)\b", declared)
    text = base + ("; charset=UTF-8" if "charset" in declared.lower() else "")
    if base == "text/markdown" and variant:
        text += f"; variant={variant[1]}"
    return document.replaced("Description-Content-Type", [text])


def with_extras(document: Document) -> Document:
    """Provides-Extra for every extra that a requirement's marker names; setuptools' requires.txt knows them only so."""
    markers = (value.partition(";")[2] for value in document.all("Requires-Dist"))
    named = {m for marker in markers for m in re.findall(r"extra\s*==\s*['\"]([^'\"]+)", marker) if _extra(m)}
    have = {canonicalize_name(extra) for extra in document.all("Provides-Extra")}
    missing = sorted(extra for extra in named if canonicalize_name(extra) not in have)
    return document.replaced("Provides-Extra", [*document.all("Provides-Extra"), *missing]) if missing else document


def egg_requires(text: str) -> list[str]:
    """setuptools' requires.txt as Requires-Dist: sections `[extra]`, `[:marker]` and `[extra:marker]`.

    >>> egg_requires("numpy\\n\\n[test:python_version<'3.12']\\npytest>=7")
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
