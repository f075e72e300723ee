"""Parse requirements, specifiers, versions and license expressions of untrusted texts, bounded; None for what is none.

`packaging` follows the parentheses of markers and licenses by recursion, and Python converts no integer of more than 4,300
digits: both raise what is not documented for texts that are longer and deeper than any real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MAX_TEXT = 4096  # characters; fewer than the 4,300 digits that Python converts
MAX_NESTING = 50  # parentheses


def is_bounded(text: str) -> bool:
    """Whether a text is short enough, and has few enough parentheses, for a parser of requirements."""
    return len(text) <= MAX_TEXT and text.count("(") <= MAX_NESTING


def parse_requirement(text: str) -> Requirement | None:
    """Parse a PEP 508 requirement.

    >>> str(parse_requirement("numpy >=2")), parse_requirement("_x86_64-microarch-level"), parse_requirement("a; " + "(" * 99)
    ('numpy>=2', None, None)
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text) if is_bounded(text) else None
    except InvalidRequirement:
        return None


def applies(requirement: Requirement, environment: Mapping[str, str], extra: str = "") -> bool:
    """Whether the marker of a requirement holds with an extra; False for one that compares what cannot be compared."""
    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate({**environment, "extra": extra})
    except (ValueError, LookupError):  # UndefinedComparison, UndefinedEnvironmentName
        return False


def parse_specifiers(text: str) -> SpecifierSet | None:
    """Parse version specifiers.

    >>> str(parse_specifiers(">=3.9")), parse_specifiers("3.9")
    ('>=3.9', None)
    """
    try:
        return SpecifierSet(text) if is_bounded(text) else None
    except InvalidSpecifier:
        return None


def parse_pep440(text: str) -> Version | None:
    """Parse a PEP 440 version."""
    try:
        return Version(text) if is_bounded(text) else None
    except InvalidVersion:
        return None


def spdx_expression(text: str) -> str | None:
    """The canonical form of an SPDX license expression, None for any other text ("BSD", "MIT/X11", "any-OSI").

    >>> spdx_expression("mit and Apache-2.0"), spdx_expression("BSD-3")
    ('MIT AND Apache-2.0', None)
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text)) if is_bounded(text) else None
    except InvalidLicenseExpression:
        return None
