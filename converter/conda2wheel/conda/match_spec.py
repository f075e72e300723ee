"""Which builds of a package another may use: those that its depends admit, and the pins of what it was built with.

rattler-build keeps in rendered_recipe.yaml the records of the host environment (`finalized_dependencies.host.resolved`), each
with the run_exports that it had: what it demands of versions at run time for whoever is built with it. Recipes can ignore these
in `depends`; they hold for the binaries all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from conda2wheel.conda.recipe_yaml import resolved_records

KINDS = ("weak", "strong")  # of run_exports: those that bind what was built with the package in its host environment


@dataclass(frozen=True)
class BuiltWith:
    """What a package was built with. `versions` are those of its host environment by name; `pins` the match specs that these
    export for a name, each with the package that exports it."""

    versions: Mapping[str, str]
    pins: Mapping[str, tuple[tuple[str, str], ...]]

    def excluding_pin(self, name: str, version: str) -> str:
        """The pin that does not admit this version; empty if none speaks against it."""
        for spec, by in self.pins.get(name, ()):
            if not admits(spec, version):
                return f"{by}, which it was built with, asks for {spec}"
        return ""

    def with_run_exports(self, name: str, specs: Iterable[str]) -> BuiltWith:
        """The same with what a package's own run_exports say of a name."""
        found = tuple((spec, f"{name} {self.versions.get(name, '')}".strip()) for spec in specs if spec_name(spec) == name)
        return BuiltWith(self.versions, {**self.pins, name: found}) if found else self

    def reason(self, name: str) -> str:
        """What is known of the version that it was built with, for a message; empty if nothing is."""
        if name in self.pins:
            return "; ".join(f"built with {by}, which asks for {spec}" for spec, by in self.pins[name])
        return f"built with {name} {self.versions[name]}, which exports no pin" if name in self.versions else ""


def built_with(rendered_recipe: Mapping[str, Any]) -> BuiltWith:
    """What the rendered recipe of a package tells of its host environment; nothing where it tells nothing."""
    versions: dict[str, str] = {}
    pins: dict[str, list[tuple[str, str]]] = {}
    for record in resolved_records(rendered_recipe, "host"):
        name, version = str(record["name"]), str(record.get("version", ""))
        versions[name] = version
        for spec in run_export_specs(record.get("run_exports")):
            pins.setdefault(spec_name(spec), []).append((spec, f"{name} {version}"))
    return BuiltWith(versions, {name: tuple(dict.fromkeys(found)) for name, found in pins.items()})


def run_export_specs(run_exports: Any) -> tuple[str, ...]:
    """The match specs of a run_exports document that hold for machine code: weak and strong."""
    if not isinstance(run_exports, dict):
        return ()
    specs = (spec for kind in KINDS for spec in (run_exports.get(kind) or ()))
    return tuple(spec for spec in specs if isinstance(spec, str))


def excluding_spec(name: str, version: str, depends: Iterable[str]) -> str:
    """The dependency that does not admit this version of a package; empty if none speaks against it."""
    return next((spec for spec in depends if spec_name(spec) == name and not admits(spec, version)), "")


def admits(spec: str, version: str) -> bool:
    """Whether a match spec admits a version. A spec or a version that nobody can read forbids nothing."""
    from rattler import MatchSpec, Version, VersionSpec
    from rattler.exceptions import InvalidMatchSpecError, InvalidVersionError, InvalidVersionSpecError

    try:
        wanted = MatchSpec(spec, strict=False).version
        return wanted is None or VersionSpec(str(wanted)).matches(Version(version))
    except (InvalidMatchSpecError, InvalidVersionSpecError, InvalidVersionError):
        return True


def spec_name(spec: str) -> str:
    """The name in a match spec.

    >>> [spec_name(spec) for spec in ("numpy >=2", "emscripten-forge-4x::zlib", "foo=1.2", "")]
    ['numpy', 'zlib', 'foo', '']
    """
    words = spec.rpartition("::")[2].split()
    return re.split(r"[<>=!~\[]", words[0])[0].lower() if words else ""
