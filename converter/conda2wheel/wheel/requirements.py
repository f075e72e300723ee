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
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conda2wheel.conda.names import NO_NAMES, Names, is_marker, pypi_name
from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec
from conda2wheel.options import Pins
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.versions import specifiers_of


@dataclass(frozen=True)
class CondaRequirements:
    """The `depends` of a package as Requires-Dist lines and Requires-Python (None: no limit), and what could not be expressed."""

    requires: tuple[str, ...]
    requires_python: str | None
    warnings: tuple[ConversionWarning, ...]


@dataclass(frozen=True)
class ReconciledRequirements:
    """The Requires-Dist lines to write, and a warning for each difference between METADATA and `depends`."""

    requires: tuple[str, ...]
    warnings: tuple[ConversionWarning, ...]


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
    lines = tuple(f"{name}{_text(specifiers)}" for name, specifiers in sorted(found.items()))
    return CondaRequirements(lines, _text(python) or None, tuple(warnings))


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

    A limit differs if conda's excludes a version that METADATA's admits; a wider limit of conda's is no difference.

    Args:
        requires: upstream's Requires-Dist lines; a line that is no valid requirement is kept unchanged.
        depends: conda's match specs.
        environment: the values of PEP 508's marker variables.
        pins: "metadata" keeps `requires`; "conda" adds conda's version limits and conda-only dependencies.
        names: as in `from_depends`.
    """
    parsed = [(line, _parsed(line)) for line in requires]
    active = {line for line, each in parsed if each is not None and _applies(each, environment)}
    conda: dict[str, Requirement] = {
        canonicalize_name(each.name): each for each in map(Requirement, from_depends(depends, names).requires)
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
    warnings = tuple(_differences(upstream, conda, tighter, inactive))
    if pins == "metadata":
        return ReconciledRequirements(tuple(requires), warnings)
    lines = [
        _with_limits(each, conda[canonicalize_name(each.name)].specifier)
        if each is not None and line in active and canonicalize_name(each.name) in tighter
        else line
        for line, each in parsed
    ]
    added = (str(conda[name]) for name in sorted(conda.keys() - upstream.keys()))
    return ReconciledRequirements((*lines, *added), warnings)


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


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    """Whether its marker holds in an environment without any extra."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})


def _excludes(conda: SpecifierSet, upstream: Iterable[SpecifierSet]) -> bool:
    """Whether conda's limits exclude a version that METADATA's limits admit."""
    admitted = SpecifierSet()
    for each in upstream:
        admitted &= each
    return not admitted.to_range().is_subset(conda.to_range())


def _with_limits(requirement: Requirement, conda: SpecifierSet) -> str:
    limited = Requirement(str(requirement))
    limited.specifier &= conda
    return str(limited)
