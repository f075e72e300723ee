"""The libraries that several wheels of a set share: one common wheel has them instead of each.

A library is shared if two wheels would bring it with the same bytes and the same libraries below it. What it NEEDs is then
shared, too. A library is left to the main module only if every wheel of the set can leave it: where one takes symbols that the
main module does not have, all take the library from the common wheel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.symbols import main_names
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.bridging import needing_bridge
from conda2wheel.link.isolation import HASH_LENGTH, IsolatedModule, defined, new_names
from conda2wheel.link.library import Library, file_part
from conda2wheel.link.provided import without_provided
from conda2wheel.link.resolution import Resolution
from conda2wheel.link.rewrite import Renamed, added_entries, hash_in, not_isolated, rewrite
from conda2wheel.results import ConversionWarning


@dataclass(frozen=True)
class CommonWheel:
    """The contents of a common wheel, as the wheels that require it use them.

    Attributes:
        name: its distribution name.
        platform: the platform of all its libraries.
        version: "" until its contents are known.
        paths: the path of each library below site-packages, by its identity (`Resolution.identity`).
        files: the libraries by path.
        origins: where each is from, by path.
        needs: the paths of those that each NEEDs, by path.
        symbols: the new name of every symbol that one of them defines, by the old name.
        required: the contents that no wheel of the set may leave to the main module, because another wheel cannot.
    """

    name: str
    platform: Platform
    version: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, PackageFile] = field(default_factory=dict)
    origins: Mapping[str, Library] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    @property
    def file_part(self) -> str:
        """Its name as in file names."""
        return file_part(self.name)

    @property
    def requirement(self) -> str:
        """The requirement of its users: exactly the libraries that they were linked to."""
        return f"{self.name}=={self.version}"

    @property
    def unit(self) -> AuditUnit:
        """Its side modules, for the audit."""
        modules = {path: SideModule(self.files[path]) for path in sorted(self.files)}
        return AuditUnit(f"{self.file_part}-{self.version}", modules, self.file_part)

    def paths_for(self, resolution: Resolution, contents: Iterable[str]) -> dict[str, str]:
        """The paths of those libraries of a wheel (by content) that the common wheel has."""
        identities = {content: resolution.identity(content, self.name) or "" for content in contents}
        return {content: self.paths[identity] for content, identity in identities.items() if identity in self.paths}

    def names_for(self, libraries: Sequence[SideModule]) -> dict[str, str]:
        """Return the names of symbols in some of its libraries.

        They are the symbols that the libraries define and, unchanged, those that they import from neither each other nor the main
        module, and so from the libraries of their users.
        """
        main = main_names(self.platform) or frozenset()
        imported = {name for side in libraries if side.module for name in side.module.import_names if name not in main}
        exported = {symbol for side in libraries for symbol in defined(side)}
        return {symbol: symbol for symbol in imported} | {symbol: self.symbols.get(symbol, symbol) for symbol in exported}


class SetMember(NamedTuple):
    """One wheel of a set: its libraries before any was left out.

    It also says why some of them (by content) must keep the names of their symbols.
    """

    resolution: Resolution
    used_by_name: Mapping[str, str]


class Sharing(NamedTuple):
    """A common wheel and, by the path of each library, the new names of its symbols and its added NEEDED entries; warnings."""

    common: CommonWheel
    symbols: Mapping[str, Mapping[str, str]]
    added: Mapping[str, Mapping[str, tuple[str, ...]]]
    warnings: tuple[ConversionWarning, ...]


def share(common: CommonWheel, members: Sequence[SetMember], isolate: bool, provided: bool, bridge: bool = True) -> Sharing:
    """Fill a common wheel, of which name and platform are given, with the libraries that two wheels of a set have in common.

    Args:
        common: the empty common wheel.
        members: the wheels of the set.
        isolate: give the symbols of the libraries unique names.
        provided: leave out libraries of which the main module has all that is taken.
        bridge: leave the libraries that need an unwinding bridge, which each wheel has one of, to the wheels.

    Returns:
        The common wheel without a version; it has no files if nothing is shared.
    """
    resolutions, required = _without_provided([member.resolution for member in members], provided)
    users: dict[str, list[tuple[Resolution, str]]] = {}
    for resolution in resolutions:
        alone = needing_bridge(resolution) if bridge else frozenset()
        for content in resolution.vendored:
            if resolution.closure(content) & alone:
                continue
            if identity := resolution.identity(content, common.name):
                users.setdefault(identity, []).append((resolution, content))
    shared = {identity: found[0] for identity, found in users.items() if len(found) > 1}
    folder = f"{common.file_part}.libs"
    paths = {
        identity: f"{folder}/{resolution.vendored[content].stem}-{identity[:HASH_LENGTH]}.so"
        for identity, (resolution, content) in sorted(shared.items())
    }
    common = replace(common, paths=paths, required=required)
    origins, needs, declared = {}, {}, {}
    for identity, (resolution, content) in shared.items():
        origins[paths[identity]] = resolution.vendored[content]
        needs[paths[identity]] = tuple(sorted(common.paths_for(resolution, set(resolution.needs(content))).values()))
        declared[paths[identity]] = tuple(common.paths_for(resolution, resolution.needs(content, added=False)).values())
    common = replace(common, origins=origins, needs=needs)
    symbols, names, warnings = _isolation(common, members, declared) if isolate else ({}, {}, [])
    files, added = {}, {}
    for identity, (resolution, content) in shared.items():
        below = common.paths_for(resolution, resolution.closure(content))
        file, path = resolution.vendored[content].side.file, paths[identity]
        files[path] = rewrite(resolution, content, path, below, symbols.get(path, {})) or PackageFile(file.path, file.blob)
        added[path] = added_entries(resolution, below).get(path, {})
    return Sharing(replace(common, files=files, symbols=names), symbols, added, tuple(warnings))


def _without_provided(resolutions: Sequence[Resolution], provided: bool) -> tuple[list[Resolution], frozenset[str]]:
    """The wheels without the libraries that the main module has for all of them, and the contents of those that it has not."""
    required: frozenset[str] = frozenset()
    while True:
        left = [without_provided(each, required) if provided else each for each in resolutions]
        staying = required.union(*(each.vendored for each in left))
        if staying == required:
            return left, required
        required = staying


def _isolation(
    common: CommonWheel, members: Sequence[SetMember], declared: Mapping[str, tuple[str, ...]]
) -> tuple[Renamed, dict[str, str], list[ConversionWarning]]:
    """New names by library and symbol, the name of each symbol that a library defines, and warnings about unchanged libraries.

    `declared` are the paths of those that each library NEEDs by itself.
    """
    modules = {
        path: IsolatedModule(library.side, declared[path], hash_in(path)) for path, library in sorted(common.origins.items())
    }
    reasons = {content: why for member in reversed(members) for content, why in member.used_by_name.items()}
    unchanged = {path: reasons[library.content] for path, library in common.origins.items() if library.content in reasons}
    symbols = new_names(modules, unchanged, main_names(common.platform))
    exported = {symbol for module in modules.values() for symbol in defined(module.side)}
    names = {symbol: name for renamed in symbols.values() for symbol, name in renamed.items() if symbol in exported}
    return symbols, {symbol: names.get(symbol, symbol) for symbol in sorted(exported)}, not_isolated(sorted(unchanged.items()))
