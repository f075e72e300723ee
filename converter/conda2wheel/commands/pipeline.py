"""The pipeline: a conda package becomes a wheel. `convert`, `audit`, `inspect`, `verify`, bundles and the mirror call it.

    open      open_source       the package that a path, URL or match spec names
    read      read_package      its conversion recipe, and the PyPI names of its dependencies
    plan      prepare_package   layout, name, version, requirements, tags, platform
    link      Prepared.link     NEEDED libraries: found, vendored, isolated, reached by one path
    audit     build             every import against the symbols of the platform's newest Pyodide
    members   build             the members of the wheel, its provenance and its SBOM
    write     Built.write       the same bytes on any machine, whole or not at all

Every stage takes a value and returns a value. Only the first and the last touch a disk or the network.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from conda2wheel.abi.choice import PlatformChoice
from conda2wheel.abi.platforms import Platform, TagForm
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.open import open_package
from conda2wheel.commands.verdict import Verdict, judge
from conda2wheel.conda.origin import MemberSource
from conda2wheel.conda.package import CondaPackage
from conda2wheel.conda.paths_json import SITE
from conda2wheel.errors import require_several
from conda2wheel.files.packagefile import Blob, Limits, OnFile
from conda2wheel.files.writing import write_file
from conda2wheel.link.library import otherwise_named
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.linked import Linked
from conda2wheel.net.urls import source_of
from conda2wheel.options import Options, Pins
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import ConversionWarning, Converted, Planned, explained
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wheel.apply_recipe import AddedFile, added_files
from conda2wheel.wheel.members import consulted_sources, wheel_members, with_provenance
from conda2wheel.wheel.name_sources import NameSources
from conda2wheel.wheel.packing import Packing
from conda2wheel.wheel.plan import Plan, plan_wheel
from conda2wheel.wheel.provenance import Provenance, allowed_warnings
from conda2wheel.wheel.writer import Member, build_wheel, order

if TYPE_CHECKING:
    from conda2wheel.abi.audit.unit import AuditUnit
    from conda2wheel.link.common_wheel import CommonWheel
    from conda2wheel.link.library_wheel import LibraryWheels

PYPI_FILE_LIMIT = 100 << 20  # bytes; warehouse: MAX_FILESIZE
Progress = Callable[[str], None]  # called with one short line before each step
logger = logging.getLogger(__name__)


class PipelineKeywords(TypedDict, total=False):
    """The keyword arguments of `convert` that bundles have, too."""

    libdirs: Iterable[str | Path] | LibraryIndex
    channels: Iterable[str]
    platform: PlatformChoice
    tags: TagForm | None
    compat_tags: bool | None
    level: int
    isolate: bool
    provided: bool
    bridge: bool
    allow: Iterable[str]
    pins: Pins
    strict: bool
    recipes: Iterable[str | Path] | RecipeBook
    limits: Limits | None
    downloads: Downloads
    progress: Progress | None


def silent(_: str) -> None:
    """The `progress` callback that shows nothing."""


@dataclass(frozen=True)
class Context:
    """What conversions share beside their options. For one thread.

    Attributes:
        libraries: where NEEDED libraries are looked up first.
        recipes: the conversion recipes.
        names: where the PyPI names of dependencies are looked up.
        channels: where match specs, NEEDED libraries and names are looked up; none: emscripten-forge-4x for match specs alone.
        limits: the bounds on what is opened.
        downloads: the download cache, and whether the network may be used.
        clock: a monotonic clock, in seconds.
        progress: called with one short line before each step.
    """

    libraries: LibraryIndex
    recipes: RecipeBook
    names: NameSources
    channels: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    downloads: Downloads = DOWNLOADS
    clock: Callable[[], float] = time.monotonic
    progress: Progress = silent

    @classmethod
    def of(
        cls,
        libdirs: Iterable[str | Path] | LibraryIndex = (),
        channels: Iterable[str] = (),
        recipes: Iterable[str | Path] | RecipeBook = (),
        limits: Limits | None = None,
        downloads: Downloads = DOWNLOADS,
        progress: Progress | None = None,
    ) -> Context:
        """The context of the keyword arguments of `convert`.

        Raises:
            Failed: not-found for a libdir or a recipe folder that does not exist, usage for a wrong recipe.
        """
        require_several("channels", channels)
        bounds = limits or Limits()
        libraries = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, bounds, downloads=downloads)
        return cls(
            libraries=libraries,
            recipes=recipes if isinstance(recipes, RecipeBook) else RecipeBook(recipes),
            names=NameSources(libraries.libdirs, bounds, downloads),
            channels=tuple(map(source_of, channels)),
            limits=bounds,
            downloads=downloads,
            progress=progress or silent,
        )

    def channels_for(self, source: str, location: str) -> tuple[str, ...]:
        """The channels in which libraries and names are looked up for a source: those of its match spec, or those of the context.

        A source that is a file or a URL causes no request to a channel that the caller did not name.
        """
        if location == source:
            return self.channels
        from conda2wheel.channels.search import DEFAULT_CHANNELS

        own, _, _ = source.rpartition("::")
        return (own,) if own else self.channels or DEFAULT_CHANNELS


class Opened(NamedTuple):
    """A package that was opened and read. `options` have its recipe and names; `libraries` include those of its channels."""

    package: CondaPackage
    options: Options
    libraries: LibraryIndex


class Prepared(NamedTuple):
    """A planned conversion. `added` are the files that the recipe takes from other packages."""

    package: CondaPackage
    options: Options
    libraries: LibraryIndex
    plan: Plan
    added: tuple[AddedFile, ...] = ()

    def link(self, common: CommonWheel | None = None, library_wheels: LibraryWheels | None = None) -> Linked:
        """Link the side modules for the plan's platforms; a pure wheel has none. Libraries of other wheels are taken from them.

        Raises:
            Refused: missing-library, unless the options allow it.
        """
        plan = self.plan
        linked = self._link_modules(common, library_wheels)
        if plan.programs is None or not plan.programs.mains:
            return linked
        from conda2wheel.programs.libraries import link_programs, merged

        folder = plan.programs.member_path("lib")
        return merged(linked, link_programs(plan.package, plan.programs.mains, self.libraries, folder, self.options.allow))

    def _link_modules(self, common: CommonWheel | None, library_wheels: LibraryWheels | None) -> Linked:
        plan = self.plan
        if plan.decision is None:
            return Linked()
        # Imported for wheels with side modules alone, as is the audit: that is a fifth of the time of a small one without.
        from conda2wheel.link.linker import LinkOptions, link
        from conda2wheel.link.resolution import WheelModules

        others = otherwise_named(plan.package.files)
        modules = WheelModules(
            plan.package, plan.decision.platforms, plan.native, plan.libraries, plan.file_part, plan.texts(), others=others
        )
        options = LinkOptions(self.options.isolate, self.options.provided, self.options.allow, self.options.bridge)
        return link(modules, self.libraries, options, common, library_wheels)

    def for_platform(self, platform: Platform) -> Prepared:
        """The same plan for another platform; unchanged for a pure wheel."""
        if self.plan.decision is None:
            return self
        return self._replace(plan=self.plan._replace(decision=self.plan.decision._replace(platforms=(platform,))))

    def unit(self, linked: Linked) -> AuditUnit:
        """The side modules of the wheel as they will be installed, for the audit."""
        from conda2wheel.abi.audit.unit import AuditUnit

        plan = self.plan
        placed = (item for item in plan.placed if SHARED_OBJECT.search(item.path) and item.scheme != "scripts")
        modules = {item.path: plan.native.get(item.path) or SideModule(item.file) for item in placed}
        modules |= {path: SideModule(file) for path, file in {**linked.rewritten, **linked.libraries}.items()}
        modules |= {each.member_path(plan.stem): SideModule(each.file) for each in self.added if each.is_module}
        return AuditUnit(
            name=plan.filename,
            modules={path: modules[path] for path in sorted(modules, key=order)},
            distribution=plan.file_part,
            abi3=plan.interpreter.python_tag if plan.interpreter.abi_tag == "abi3" else None,
            undecided=linked.undecided,
        )


class Built(NamedTuple):
    """A wheel in memory: every member but RECORD, how it was made, and the warnings about it."""

    plan: Plan
    linked: Linked
    contents: Sequence[Member]
    provenance: Provenance
    warnings: tuple[ConversionWarning, ...]

    def write(self, folder: Path | None, packing: Packing | None = None) -> Planned:
        """Write the wheel into a folder, which is made if it does not exist; None: write nothing.

        `packing` may have begun to compress members.

        Returns:
            `Converted`; with `folder` None the `Planned` result, without path and hash.

        Raises:
            Failed: disk.
        """
        planned = self._planned()
        if folder is None:
            return planned
        path = folder / self.plan.filename
        moment, level = self.provenance.moment, self.provenance.options.level
        sha256 = write_file(path, lambda: build_wheel(self.contents, f"{self.plan.stem}.dist-info", moment, level, packing))
        warnings = tuple(dict.fromkeys((*planned.warnings, *size_warnings(path))))
        return Converted(**{**vars(planned), "wheel": path, "sha256": sha256, "warnings": warnings})

    def _planned(self) -> Planned:
        plan, linked = self.plan, self.linked
        return Planned(
            source=plan.package.source,
            wheel=None,
            filename=plan.filename,
            sha256=None,
            platform=plan.decision.tag if plan.decision else "any",
            name=plan.name,
            version=plan.version,
            tags=frozenset(map(str, plan.tags)),
            requires=tuple(plan.metadata.all("Requires-Dist")),
            vendored=linked.vendored,
            provided=linked.provided,
            shared=linked.shared,
            unusable=self.provenance.unusable,
            warnings=tuple(dict.fromkeys(self.warnings)),
            evidence=plan.decision.evidence if plan.decision else (),
            taken=linked.taken,
            programs=plan.programs.results() if plan.programs is not None else (),
        )


def open_source(source: str, options: Options, context: Context, on_file: OnFile | None = None) -> Opened:
    """Open the package that a source names, and read it as `read_package` does.

    Args:
        source: a path, a URL or a match spec.
        options: how it is converted; recipe and names are filled in.
        context: where packages, libraries, recipes and names come from.
        on_file: called with each regular file of an archive while the next ones are read.

    Raises:
        Refused: the package is damaged, hostile or too large.
        Failed: not-found, network, unreadable, disk, usage.
    """
    context.progress(f"opening {source_of(source)}")
    location = _located(source, context)
    package = open_package(location, context.limits, context.downloads, on_file)
    channels = context.channels_for(source, location)
    opened = read_package(package, options, context, channels)
    if not channels:
        return opened
    from conda2wheel.channels.records import left_out_warnings
    from conda2wheel.channels.repodata import channel_url

    left_out = left_out_warnings(context.downloads.left_out(map(channel_url, channels)))
    return opened._replace(package=replace(opened.package, warnings=(*opened.package.warnings, *left_out)))


def _located(source: str, context: Context) -> str:
    """The path or URL of a source; what reads channels is imported for a match spec alone."""
    if os.path.lexists(source):
        return source_of(source)
    from conda2wheel.channels.search import locate

    return locate(source, context.channels, context.downloads)


def read_package(package: CondaPackage, options: Options, context: Context, channels: Sequence[str] = ()) -> Opened:
    """Find the conversion recipe of a package and the PyPI names of its dependencies, also in `channels`.

    Raises:
        Failed: network, disk.
    """
    libraries = context.libraries
    if channels:
        from conda2wheel.link.channel_lookup import ChannelLibraries

        libraries = libraries.with_channel(ChannelLibraries(context.names.listing(channels)))
    named = context.names.names(package.depends, channels)
    package = replace(package, warnings=(*package.warnings, *named.warnings))
    return Opened(package, replace(options, recipe=context.recipes.find(package), names=named.names), libraries)


def prepare(source: str, options: Options, context: Context, packing: Packing | None = None) -> Prepared:
    """Open, read and plan: everything up to the first change of a file.

    `packing` compresses what will probably be a member as it is, while the next files of the archive are read and planned.

    Raises:
        Refused: the package cannot become a wheel, with the code that says why.
        Failed: as `open_source`.
    """

    def begin(path: str, blob: Blob) -> None:
        if packing is not None and packing.is_worthwhile(blob) and stays(path, blob):
            packing.begin((blob,))

    return prepare_package(open_source(source, options, context, begin))


def stays(path: str, blob: Blob) -> bool:
    """Whether a package's file will probably be a member as it is: it is of site-packages, and linking need not change it.

    A guess, which is cheap: wrong ones cost time and nothing else.
    """
    return bool(SITE.match(path)) and not (SHARED_OBJECT.search(path) and dylink_section.has_needed(blob.read()))


def prepare_package(opened: Opened) -> Prepared:
    """Plan the wheel of an opened package, with the recipe and the names in its options.

    Raises:
        Refused: the package cannot become a wheel, with the code that says why.
    """
    options = opened.options
    with explained(lambda: (*opened.package.warnings, *opened.libraries.notes)):
        added = added_files(opened.package, options.recipe, opened.libraries)
        plan = plan_wheel(opened.package, options, added)
    options = replace(options, programs=plan.programs is not None)
    return Prepared(opened.package, options, opened.libraries, plan, added)


def build(
    prepared: Prepared,
    common: CommonWheel | None = None,
    progress: Progress = silent,
    library_wheels: LibraryWheels | None = None,
    packing: Packing | None = None,
) -> Built:
    """Link, audit, and make the members of the wheel, its provenance and its SBOM.

    Args:
        prepared: the planned conversion.
        common: a wheel whose libraries are taken from it, if it is for the same platform; the new wheel then requires it.
        progress: called with one short line before each step.
        library_wheels: library wheels from which libraries are taken; the new wheel then requires these.
        packing: compresses rewritten side modules and libraries while the audit goes on.

    Raises:
        Refused: missing-library, or the audit finds that the wheel does not load, or with `strict` that a part does not run.
    """
    with explained(lambda: (*prepared.plan.warnings, *prepared.libraries.notes)):
        return _build(prepared, common, progress, library_wheels, packing)


def _build(
    prepared: Prepared,
    common: CommonWheel | None,
    progress: Progress,
    library_wheels: LibraryWheels | None,
    packing: Packing | None,
) -> Built:
    plan = prepared.plan
    progress(f"linking {plan.filename}")
    linked = prepared.link(common, library_wheels)
    if linked.requirements:
        plan = plan.requiring(linked.requirements)
    if packing is not None:
        packing.begin(file.blob for file in (*linked.rewritten.values(), *linked.libraries.values()))
        packing.begin(side.file.blob for path, side in plan.native.items() if path not in linked.rewritten)
    progress(f"auditing {plan.filename}")
    with explained(lambda: linked.warnings):
        verdict = _judge(prepared, linked)
        contents, notes = wheel_members(plan, linked, prepared.added)
    # The notes of the library index come last, even if nothing was linked.
    warnings = (*plan.warnings, *linked.warnings, *verdict.warnings, *notes, *prepared.libraries.notes)
    provenance = _provenance(prepared._replace(plan=plan), linked, verdict, allowed_warnings(warnings))
    contents = with_provenance(provenance, f"{plan.stem}.dist-info", contents, prepared.package, linked, prepared.added)
    logger.info("%s: built %s", prepared.package.source, plan.filename)
    return Built(plan, linked, contents, provenance, warnings)


def _judge(prepared: Prepared, linked: Linked) -> Verdict:
    decision = prepared.plan.decision
    if decision is None:
        return Verdict()
    return judge(prepared.package.source, prepared.unit(linked), decision.platforms, prepared.options, linked.installed)


def _provenance(prepared: Prepared, linked: Linked, verdict: Verdict, overrides: tuple[ConversionWarning, ...]) -> Provenance:
    plan, options = prepared.plan, prepared.options
    return Provenance(
        command="convert",
        filename=plan.filename,
        name=plan.name,
        version=plan.version,
        license=plan.metadata.get("License-Expression") or plan.metadata.get("License"),
        platform=plan.decision.tag if plan.decision else "any",
        judged_by=verdict.pyodides,
        evidence=plan.decision.evidence if plan.decision else (),
        options=options,
        input=MemberSource.of(plan.package),
        moment=options.moment(plan.package.timestamp),
        consulted=consulted_sources(linked, prepared.added),
        overrides=overrides,
        unusable=verdict.unusable,
        vendored=linked.vendored,
        provided=linked.provided,
        shared=linked.shared,
        requires=", ".join(linked.requirements) or None,
    )


def size_warnings(wheel: Path) -> tuple[ConversionWarning, ...]:
    """A warning for a wheel that is larger than PyPI takes without a request."""
    size = wheel.stat().st_size
    if size <= PYPI_FILE_LIMIT:
        return ()
    return (ConversionWarning("pypi-size", f"{size >> 20} MiB; PyPI takes 100 MiB unless it was asked for more", wheel.name),)
