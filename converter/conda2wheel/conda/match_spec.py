"""Which versions of a library a package accepts: match specs, and the run_exports of its host environment.

rattler-build writes the records of the host environment to rendered_recipe.yaml (`finalized_dependencies.host.resolved`), each
with its run_exports: the versions that packages built with it need at run time. A recipe can ignore them in `depends`; the
binaries need them all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec, parse_version, parse_version_spec
from conda2wheel.conda.recipe_yaml import resolved_records

KINDS = ("weak", "strong")  # of run_exports: those that apply to packages with this one in their host environment


class BuiltWith(NamedTuple):
    """The host environment of a package.

    Attributes:
        versions: The version of each package in it, by name.
        pins: For a name, the match specs that run_exports give for it, each with the package that exports it.
    """

    versions: Mapping[str, str]
    pins: Mapping[str, tuple[tuple[str, str], ...]]

    def excluding_pin(self, name: str, version: str) -> str:
        """Return the pin that does not admit this version; empty if all admit it."""
        for spec, by in self.pins.get(name, ()):
            if not admits(spec, version):
                return f"{by}, which it was built with, asks for {spec}"
        return ""

    def with_run_exports(self, name: str, specs: Iterable[str]) -> BuiltWith:
        """Return the same with the run_exports that a package has for its own name."""
        found = tuple((spec, f"{name} {self.versions.get(name, '')}".strip()) for spec in specs if spec_name(spec) == name)
        return BuiltWith(self.versions, {**self.pins, name: found}) if found else self

    def reason(self, name: str) -> str:
        """Return what is known of the version in the host environment, for a message; empty if nothing is."""
        if name in self.pins:
            return "; ".join(f"built with {by}, which asks for {spec}" for spec, by in self.pins[name])
        return f"built with {name} {self.versions[name]}, which exports no pin" if name in self.versions else ""


def built_with(rendered_recipe: Mapping[str, Any]) -> BuiltWith:
    """Read the host environment from a rendered_recipe.yaml; without one, the result is empty."""
    versions: dict[str, str] = {}
    pins: dict[str, list[tuple[str, str]]] = {}
    for record in resolved_records(rendered_recipe, "host"):
        name, version = str(record["name"]), str(record.get("version", ""))
        versions[name] = version
        for spec in run_export_specs(record.get("run_exports")):
            pins.setdefault(spec_name(spec), []).append((spec, f"{name} {version}"))
    return BuiltWith(versions, {name: tuple(dict.fromkeys(found)) for name, found in pins.items()})


def run_export_specs(run_exports: Any) -> tuple[str, ...]:
    """Return the match specs of a run_exports document that apply to machine code: weak and strong."""
    if not isinstance(run_exports, dict):
        return ()
    specs = (spec for kind in KINDS for spec in (run_exports.get(kind) or ()))
    return tuple(spec for spec in specs if isinstance(spec, str))


def excluding_spec(name: str, version: str, depends: Iterable[str]) -> str:
    """Return the dependency that does not admit this version of a package; empty if all admit it."""
    return next((spec for spec in depends if spec_name(spec) == name and not admits(spec, version)), "")


def admits(spec: str, version: str) -> bool:
    """Whether a match spec admits a version; True for a spec or a version that rattler cannot parse."""
    try:
        wanted = parse_match_spec(spec).version
        return wanted is None or parse_version_spec(str(wanted)).matches(parse_version(version))
    except InvalidSpecError:
        return True


def spec_name(spec: str) -> str:
    """Return the package name in a match spec.

    >>> [spec_name(spec) for spec in ("numpy >=2", "emscripten-forge-4x::zlib", "foo=1.2", "")]
    ['numpy', 'zlib', 'foo', '']
    """
    words = spec.rpartition("::")[2].split()
    return re.split(r"[<>=!~\[]", words[0])[0].lower() if words else ""
