"""Convert the match specs in a conda package's `depends` to Requires-Dist, and compare them with upstream's Requires-Dist.

Match specs follow conda's package match specification (CEP 29) and are parsed by py-rattler. Markers, C libraries and build
strings have no counterpart in Requires-Dist and are left out. Version ranges become PEP 440 specifiers; a warning names each
range that becomes wider.

Where both exist, upstream's Requires-Dist is used: it has markers and extras, and `depends` name packages of the channel. But
`depends` know what the binaries were built with: numpy's run_exports say which version of its C API a module needs. `--pins
conda` adds conda's version limits and conda-only dependencies to Requires-Dist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.conda.names import NO_NAMES, Names, is_marker, pypi_name
from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec
from conda2wheel.files.pypa import applies, parse_requirement
from conda2wheel.options import Pins
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.versions import specifiers_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

CONFLICT = "requirement-conflict"


class CondaRequirements(NamedTuple):
    """The `depends` of a package as Requires-Dist lines and Requires-Python (None: no limit), and what could not be expressed."""

    requires: tuple[str, ...]
    requires_python: str | None
    warnings: tuple[ConversionWarning, ...]


class ReconciledRequirements(NamedTuple):
    """The Requires-Dist lines to write, a warning for each difference between METADATA and `depends`, and conda's Python."""

    requires: tuple[str, ...]
    warnings: tuple[ConversionWarning, ...]
    requires_python: str | None = None


def from_depends(depends: Iterable[str], names: Names = NO_NAMES) -> CondaRequirements:
    """Convert match specs to requirements; several specs of one package become one requirement.

    Args:
        depends: conda's match specs.
        names: PyPI names of dependencies that take precedence over the name table.

    Returns:
        The requirements, sorted by name.
    """
    found: dict[str, SpecifierSet] = {}
    python = SpecifierSet()
    warnings: list[ConversionWarning] = []
    for spec in depends:
        name, version = _name_and_range(spec)
        if name is None:
            warnings.append(ConversionWarning("dropped-requirement", f"{spec!r} {version}; not required"))
            continue
        is_python = name in ("python", "python_abi")
        if not is_python and is_marker(name):
            continue
        distribution = None if is_python else pypi_name(name, names)
        if not is_python and distribution is None:
            warnings.append(ConversionWarning("dropped-requirement", f"{spec!r} is no Python distribution; not required"))
            continue
        specifiers, exact = (SpecifierSet(), True) if version in ("", "*") else specifiers_of(version)
        if not exact:
            why = f"{spec!r} has no PEP 440 form; required as {_text(specifiers) or 'any version'}, which admits more"
            warnings.append(ConversionWarning("widened-requirement", why))
        if distribution is None:
            python &= specifiers
        else:
            key = canonicalize_name(distribution)
            found[key] = found.get(key, SpecifierSet()) & specifiers
    for name, specifiers in (*sorted(found.items()), ("python", python)):
        if specifiers.is_unsatisfiable():
            why = f"conda requires {name}{_text(specifiers)}, which no version satisfies by PEP 440; written without these limits"
            warnings.append(ConversionWarning(CONFLICT, why, "METADATA"))
    lines = tuple(f"{name}{_satisfiable(specifiers)}" for name, specifiers in sorted(found.items()))
    return CondaRequirements(lines, _satisfiable(python) or None, tuple(warnings))


def _satisfiable(specifiers: SpecifierSet) -> str:
    return "" if specifiers.is_unsatisfiable() else _text(specifiers)


def _name_and_range(spec: str) -> tuple[str | None, str]:
    """The name and version range of a match spec, without channel, build and brackets; or None and why it has no name."""
    try:
        parsed = parse_match_spec(spec)
    except InvalidSpecError:
        return None, "is no match spec"
    name = parsed.name
    if name is None:
        return None, "names no package"
    return getattr(name, "normalized", str(name)), str(parsed.version or "")


def _text(specifiers: SpecifierSet) -> str:
    return ",".join(sorted(str(specifier) for specifier in specifiers))


def reconcile(
    requires: Sequence[str],
    depends: Iterable[str],
    environment: Mapping[str, str],
    pins: Pins = "metadata",
    names: Names = NO_NAMES,
) -> ReconciledRequirements:
    """Compare upstream's Requires-Dist with conda's match specs, and add conda's limits with `pins` "conda".

    A limit differs if conda's excludes a version that METADATA's admits; a wider limit of conda's is no difference. Where no
    version is in both, they conflict: then `pins` "conda" replaces METADATA's limit, since the binaries were built with conda's.

    Args:
        requires: upstream's Requires-Dist lines; a line that is no valid requirement is kept unchanged.
        depends: conda's match specs.
        environment: the values of PEP 508's marker variables.
        pins: "metadata" keeps `requires`; "conda" adds conda's version limits and conda-only dependencies.
        names: as in `from_depends`.
    """
    parsed = [(line, parse_requirement(line)) for line in requires]
    active = {line for line, each in parsed if each is not None and applies(each, environment)}
    own = from_depends(depends, names)
    conda: dict[str, Requirement] = {
        canonicalize_name(each.name): each for line in own.requires if (each := parse_requirement(line)) is not None
    }
    upstream: dict[str, list[Requirement]] = {}
    inactive: dict[str, str] = {}
    for line, each in parsed:
        if each is not None and line in active:
            upstream.setdefault(canonicalize_name(each.name), []).append(each)
        elif each is not None:
            inactive[canonicalize_name(each.name)] = line
    tighter = {
        name
        for name in upstream.keys() & conda.keys()
        if _excludes(conda[name].specifier, [each.specifier for each in upstream[name]])
    }
    impossible = {name for name, found in upstream.items() if _common(each.specifier for each in found).is_unsatisfiable()}
    disjoint = {
        name
        for name in tighter - impossible
        if _common([*(each.specifier for each in upstream[name]), conda[name].specifier]).is_unsatisfiable()
    }
    warnings = (
        *(each for each in own.warnings if each.code == CONFLICT),
        *_conflicts(upstream, conda, disjoint | impossible, pins),
        *_differences(upstream, conda, tighter - disjoint, inactive),
    )
    if pins == "metadata":
        return ReconciledRequirements(tuple(requires), warnings, own.requires_python)
    lines = []
    for line, each in parsed:
        name = None if each is None or line not in active else canonicalize_name(each.name)
        if each is not None and name in disjoint | impossible:
            lines.append(_with_limits(each, SpecifierSet(), conda[name].specifier if name in conda else SpecifierSet()))
        elif each is not None and name in tighter:
            lines.append(_with_limits(each, each.specifier, conda[name].specifier))
        else:
            lines.append(line)
    added = (str(conda[name]) for name in sorted(conda.keys() - upstream.keys()))
    return ReconciledRequirements((*dict.fromkeys(lines), *added), warnings, own.requires_python)


def _conflicts(
    upstream: Mapping[str, Sequence[Requirement]], conda: Mapping[str, Requirement], names: Iterable[str], pins: Pins
) -> Iterable[ConversionWarning]:
    for name in sorted(names):
        own = "; ".join(map(str, upstream[name]))
        if name in conda:
            done = "conda's was written" if pins == "conda" else "METADATA's was kept (--pins conda writes conda's)"
            why = f"Requires-Dist: METADATA requires {own}, conda {conda[name]}, and no version satisfies both; {done}"
        else:
            done = "; written without these limits" if pins == "conda" else ""
            why = f"Requires-Dist: METADATA requires {own}, which no version satisfies{done}"
        yield ConversionWarning(CONFLICT, why, "METADATA")


def _differences(
    upstream: Mapping[str, Sequence[Requirement]],
    conda: Mapping[str, Requirement],
    tighter: Iterable[str],
    inactive: Mapping[str, str],
) -> Iterable[ConversionWarning]:
    for name in sorted(tighter):
        why = f"METADATA requires {'; '.join(map(str, upstream[name]))}, conda {conda[name]}, which admits less"
        yield ConversionWarning("requirement-differs", why, "METADATA")
    for name in sorted(conda.keys() - upstream.keys()):
        more = f"; METADATA has it as {inactive[name]}" if name in inactive else ""
        yield ConversionWarning("requirement-differs", f"only conda requires {conda[name]}{more}", "METADATA")
    for name in sorted(upstream.keys() - conda.keys()):
        yield ConversionWarning(
            "requirement-differs", f"only METADATA requires {'; '.join(map(str, upstream[name]))}", "METADATA"
        )


def _excludes(conda: SpecifierSet, upstream: Iterable[SpecifierSet]) -> bool:
    """Whether conda's limits exclude a version that METADATA's limits admit."""
    return not _common(upstream).to_range().is_subset(conda.to_range())


def _common(specifiers: Iterable[SpecifierSet]) -> SpecifierSet:
    """What all of them admit."""
    admitted = SpecifierSet()
    for each in specifiers:
        admitted &= each
    return admitted


def _with_limits(requirement: Requirement, own: SpecifierSet, conda: SpecifierSet) -> str:
    from packaging.requirements import Requirement

    limited = Requirement(str(requirement))
    limited.specifier = own & conda
    return str(limited)
