"""Requires-Dist from a conda package's `depends`, where upstream's metadata says nothing.

Match specs: conda's package match specification (CEP 29), read by py-rattler. What only conda has (markers, C
libraries, build strings, a pre-release bound such as `<5.0a0`) is left out or put into PEP 440's words; a bound that
has no PEP 440 form is widened and told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.outcome import Warned

from .names import is_marker, pypi_name
from .versions import pep440

_FIRST_PRERELEASE = re.compile(r"(?<=\d)\.?(?:a|alpha|dev)0?$")
_CLAUSE = re.compile(r"(==|!=|>=|<=|~=|>|<|=)?\s*((?:\d+!)?[^\s=<>!~]+)")


@dataclass(frozen=True)
class Requirements:
    """Requires-Dist lines, Requires-Python (None: nothing said), and what was lost on the way."""

    requires: tuple[str, ...]
    requires_python: str | None
    warnings: tuple[Warned, ...]


def from_depends(depends: Iterable[str]) -> Requirements:
    """Convert match specs. Several specs of one package are merged; the result is sorted by name."""
    found: dict[str, SpecifierSet] = {}
    python = SpecifierSet()
    warnings: list[Warned] = []
    for spec in depends:
        name, version = _split(spec, warnings)
        if name is None:
            continue
        if name in ("python", "python_abi"):
            python &= _specifiers(spec, version, warnings)
            continue
        if is_marker(name):
            continue
        distribution = pypi_name(name)
        if distribution is None:
            warnings.append(Warned("dropped-requirement", f"{spec!r} is no Python distribution; not required"))
            continue
        key = canonicalize_name(distribution)
        found[key] = found.get(key, SpecifierSet()) & _specifiers(spec, version, warnings)
    return Requirements(
        tuple(f"{name}{_text(specifiers)}" for name, specifiers in sorted(found.items())), _text(python) or None, tuple(warnings)
    )


def _split(spec: str, warnings: list[Warned]) -> tuple[str | None, str]:
    """A match spec's name and version range, without channel, build and brackets."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        parsed = MatchSpec(spec, strict=False)
    except (InvalidMatchSpecError, ValueError, TypeError):
        warnings.append(Warned("dropped-requirement", f"{spec!r} is no match spec; not required"))
        return None, ""
    name = parsed.name
    if name is None:
        warnings.append(Warned("dropped-requirement", f"{spec!r} names no package; not required"))
        return None, ""
    return getattr(name, "normalized", str(name)), str(parsed.version or "")


def _specifiers(spec: str, version: str, warnings: list[Warned]) -> SpecifierSet:
    if version in ("", "*"):
        return SpecifierSet()
    result = _convert(version)
    if result is None:
        warnings.append(Warned("widened-requirement", f"{spec!r} has no PEP 440 form; required without a version"))
        return SpecifierSet()
    return result


def _convert(version: str) -> SpecifierSet | None:
    """A conda version range as a specifier set, None if PEP 440 cannot say it.

    >>> str(_convert(">=2.2,<3")), str(_convert("1.2.*")), str(_convert("<2020.3.0a0")), _convert("1.0|2.0")
    ('<3,>=2.2', '==1.2.*', '<2020.3', None)
    """
    if "|" in version or "(" in version:
        return None
    clauses = []
    for part in version.split(","):
        match = _CLAUSE.fullmatch(part.strip())
        if match is None:
            return None
        operator, value = match[1] or "==", match[2]
        glob = value.endswith("*")
        value = value.rstrip("*").rstrip(".") if glob else value
        if value == "":
            continue
        if operator == "=":
            operator, glob = "==", True
        if operator == "<":
            value = _before_prereleases(value)
        normal = pep440(value)
        if normal is None:
            return None
        if glob and operator in (">=", ">", "<", "<=", "~="):
            glob = False
        if operator == ">":  # PEP 440's leaves out 1.0.post1 for >1.0, conda's does not
            clauses += [f">={normal}", f"!={normal}"]
            continue
        clauses.append(f"{operator}{normal}{'.*' if glob else ''}")
    try:
        return SpecifierSet(",".join(clauses))
    except InvalidSpecifier:
        return None


def _before_prereleases(value: str) -> str:
    """`<5.0a0` is conda's "before any pre-release of 5.0", which `<5.0` already is in PEP 440."""
    plain = _FIRST_PRERELEASE.sub("", value)
    if plain == value:
        return value
    return plain[:-2] if plain.endswith(".0") and plain.count(".") > 1 else plain


def _text(specifiers: SpecifierSet) -> str:
    return ",".join(sorted(str(specifier) for specifier in specifiers))
