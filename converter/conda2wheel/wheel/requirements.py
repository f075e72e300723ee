"""Requires-Dist from a conda package's `depends`, where upstream's metadata says nothing.

Match specs: conda's package match specification (CEP 29), read by py-rattler. What only conda has (markers, C
libraries, build strings) is left out; ranges are put into PEP 440's words (`ranges`), and where they are wider, that is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.conda.names import NO_NAMES, Names, is_marker, pypi_name
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.ranges import converted


@dataclass(frozen=True)
class Requirements:
    """Requires-Dist lines, Requires-Python (None: nothing said), and what was lost on the way."""

    requires: tuple[str, ...]
    requires_python: str | None
    warnings: tuple[ConversionWarning, ...]


def from_depends(depends: Iterable[str], names: Names = NO_NAMES) -> Requirements:
    """Convert match specs; `names` are what is known of dependencies beyond the rows. Several specs of one package are merged;
    the result is sorted by name."""
    found: dict[str, SpecifierSet] = {}
    python = SpecifierSet()
    warnings: list[ConversionWarning] = []
    for spec in depends:
        name, version = _split(spec, warnings)
        if name is None:
            continue
        if name in ("python", "python_abi"):
            python &= _specifiers(spec, version, warnings)
            continue
        if is_marker(name):
            continue
        distribution = pypi_name(name, names)
        if distribution is None:
            warnings.append(ConversionWarning("dropped-requirement", f"{spec!r} is no Python distribution; not required"))
            continue
        key = canonicalize_name(distribution)
        found[key] = found.get(key, SpecifierSet()) & _specifiers(spec, version, warnings)
    return Requirements(
        tuple(f"{name}{_text(specifiers)}" for name, specifiers in sorted(found.items())), _text(python) or None, tuple(warnings)
    )


def _split(spec: str, warnings: list[ConversionWarning]) -> tuple[str | None, str]:
    """A match spec's name and version range, without channel, build and brackets."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        parsed = MatchSpec(spec, strict=False)
    except (InvalidMatchSpecError, ValueError, TypeError):
        warnings.append(ConversionWarning("dropped-requirement", f"{spec!r} is no match spec; not required"))
        return None, ""
    name = parsed.name
    if name is None:
        warnings.append(ConversionWarning("dropped-requirement", f"{spec!r} names no package; not required"))
        return None, ""
    return getattr(name, "normalized", str(name)), str(parsed.version or "")


def _specifiers(spec: str, version: str, warnings: list[ConversionWarning]) -> SpecifierSet:
    if version in ("", "*"):
        return SpecifierSet()
    result, exact = converted(version)
    if not exact:
        told = f"{spec!r} has no PEP 440 form; required as {_text(result) or 'any version'}, which admits more"
        warnings.append(ConversionWarning("widened-requirement", told))
    return result


def _text(specifiers: SpecifierSet) -> str:
    return ",".join(sorted(str(specifier) for specifier in specifiers))
