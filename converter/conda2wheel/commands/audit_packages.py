"""Conda packages for the audit: as `convert` would write them, or, where it refuses them, as their files are."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.commands.audit_subjects import Subject
from conda2wheel.commands.pipeline import Context, Prepared, prepare_package, read_package
from conda2wheel.conda.open import open_package
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.libraries import LibraryIndex, names_of
from conda2wheel.options import ALLOWABLE, Options
from conda2wheel.results import ALLOWED, ConversionWarning

_SAID_BY_AUDIT = (ALLOWED, "cannot-catch", "no-pyodide")
_SITE = re.compile(r"^(?:.*/)?site-packages/")


def open_as_package(source: str, forced: Platform | None, context: Context) -> Subject:
    """The package that a path or URL names, planned as `convert` plans it; `forced` is the platform that the caller names.

    Raises:
        Refused: the package is damaged, hostile or too large.
        Failed: not-found, network, unreadable, disk.
    """
    package = open_package(source, context.limits, context.downloads)
    opened = read_package(package, Options(platform=forced, allow=ALLOWABLE), context)
    try:
        prepared = prepare_package(opened)
    except Refused as refusal:
        note = ConversionWarning("not-converted", f"convert refuses it, so its files are judged as they are: {refusal}")
        made_for = () if forced is None else (forced,)
        unit = _AsItIs(package, opened.libraries).unit
        return Subject(package.source, "package", made_for, unit, canonicalize_name(package.name), warnings=(note,))
    plan = prepared.plan
    if plan.decision is None:
        pure = AuditUnit(plan.filename, {})
        return Subject(package.source, "package", (), lambda platform: pure, canonicalize_name(plan.name), plan.version)
    notes = tuple(warning for warning in plan.decision.warnings if warning.code not in _SAID_BY_AUDIT)
    unit = _AsConverted(prepared).unit
    name = canonicalize_name(plan.name)
    return Subject(package.source, "package", (plan.decision.platform,), unit, name, plan.version, notes)


@dataclass(frozen=True, eq=False)
class _AsConverted:
    """The wheel that `convert` would make of a package, for any platform: linked for each by its own rules."""

    prepared: Prepared
    units: dict[str, AuditUnit] = field(default_factory=dict)

    def unit(self, platform: Platform) -> AuditUnit:
        """The unit for a platform; one for all where nothing is linked, so that each module is read once."""
        if platform.name not in self.units:
            linked = self.prepared.for_platform(platform).link()
            same = not linked.rewritten and not linked.libraries and self.units
            self.units[platform.name] = next(iter(self.units.values())) if same else self.prepared.unit(linked)
        return self.units[platform.name]


@dataclass(frozen=True, eq=False)
class _AsItIs:
    """The shared objects of a package: those of site-packages in their place, libraries where every loader looks, by each name
    under which they are NEEDED."""

    package: CondaPackage
    libraries: LibraryIndex
    units: dict[str, AuditUnit] = field(default_factory=dict)

    def unit(self, platform: Platform) -> AuditUnit:
        """The unit for a platform: which library of a --libdir fits depends on it."""
        if platform.name not in self.units:
            modules = {path: SideModule(file) for path, file in self._files(platform).items()}
            distribution = canonicalize_name(self.package.name).replace("-", "_")
            self.units[platform.name] = AuditUnit(self.package.stem, modules, distribution)
        return self.units[platform.name]

    def _files(self, platform: Platform) -> dict[str, PackageFile]:
        found = [file for file in self.package.files if any(SHARED_OBJECT.search(name) for name in names_of(file))]
        files = {_SITE.sub("", file.path): file for file in found if _SITE.match(file.path)}
        outside = {name: file for file in found if not _SITE.match(file.path) for name in sorted(names_of(file))}
        wanted = [name for file in files.values() for name in SideModule(file).needed]
        if not files:  # a package of libraries
            wanted = [posixpath.basename(file.path) for file in found]
        while wanted:
            name = wanted.pop()
            if name not in {posixpath.basename(path) for path in files}:
                library = outside.get(name) or self._elsewhere(name, platform)
                if library is not None:
                    files[name] = library
                    wanted += SideModule(library).needed
        return files

    def _elsewhere(self, name: str, platform: Platform) -> PackageFile | None:
        library, _ = self.libraries.find(posixpath.basename(name), self.package, platform)
        return None if library is None else library.binary.file
