"""The road: a conda package becomes a wheel. Every station takes a value and gives a value; read it from top to bottom.

    open, read  conda.source     a package file, folder, prefix or URL as files and what it says of itself
    plan        wheel.plan       layout, names, requirements, tags: all decisions
    link        link             NEEDED libraries found, named, rewritten
    audit       gate             every symbol against the platform's newest Pyodide
    assemble    wheel.assemble   the members of the wheel
    account     wheel.tell       where each came from, and what is in them: conda2wheel.json, an SBOM
    write       wheel.archive    the same bytes anywhere, whole or not at all

Only the first and the last touch a disk or the network.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from packaging.tags import Tag

from conda2wheel.abi.audit.engine import Unit
from conda2wheel.abi.binaries import SHARED_OBJECT
from conda2wheel.abi.platforms import Platform
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.search import DEFAULT_CHANNELS, locate
from conda2wheel.commands.gate import Gated, gate
from conda2wheel.conda.open import open_package
from conda2wheel.conda.origin import Source
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.writing import write_file
from conda2wheel.link.channel_lookup import ChannelLibraries
from conda2wheel.link.common import Common
from conda2wheel.link.libraries import LibraryIndex
from conda2wheel.link.link import Linked, link
from conda2wheel.options import Options
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import Converted, Warned
from conda2wheel.wheel.apply_recipe import Carried, carried
from conda2wheel.wheel.members import members
from conda2wheel.wheel.name_sources import Surroundings
from conda2wheel.wheel.pins import Pins
from conda2wheel.wheel.plan import Plan, plan_wheel
from conda2wheel.wheel.provenance import Made, overridden
from conda2wheel.wheel.provenance_files import consulted, told
from conda2wheel.wheel.writer import DEFAULT_LEVEL, build_wheel

PYPI_FILE_LIMIT = 100 << 20  # warehouse: MAX_FILESIZE


def convert(
    source: str | Path,
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    channels: Iterable[str] = (),
    platform: str | Platform = "auto",
    compat_tags: bool = False,
    level: int = DEFAULT_LEVEL,
    dry_run: bool = False,
    isolate: bool = True,
    provided: bool = True,
    allow: Iterable[str] = (),
    pins: Pins = "metadata",
    recipes: Iterable[str | Path] | RecipeBook = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
    around: Surroundings | None = None,
) -> Converted:
    """Convert one conda package into one wheel.

    source: a package file (.tar.bz2, .conda, empack's .tar.gz), an unpacked package, a prefix with one package, a record
        PREFIX/conda-meta/NAME.json, an https or file URL, or a match spec such as "emscripten-forge-4x::numpy=2.4".
    out: the folder for the wheel; made if it is not there.
    libdirs: where NEEDED libraries may be found, as for `LibraryIndex`; or an index to share between calls of one thread.
    channels: where match specs are looked up, names or URLs; emscripten-forge-4x if there are none. Where they are given, or
        `source` is a match spec, NEEDED libraries that no libdir has are looked up there, too, and what dependencies are called.
    platform: "auto" (by evidence), a platform tag, a Pyodide version, or a `Platform`.
    compat_tags: add the platform's older aliases to the tag, for micropip before 0.11.1 on an index of your own.
    level: of compression, 1 to 12 (libdeflate).
    dry_run: plan, link and audit, write nothing; the result's `wheel` and `sha256` are None.
    isolate: give the symbols that vendored libraries define names of their own, so that other wheels' copies of the same
        library, and namesakes in the main module, cannot take their places.
    provided: leave out libraries of which Pyodide's main module has all that is taken.
    allow: refusal codes (one of `gate.ALLOWABLE`) that shall be warnings instead; the wheel records what was let pass.
    recipes: folders of conversion recipes that come before ours (docs/recipes.md), or a book of them to share between calls.
    pins: whose bounds on requirements hold where METADATA and conda's depends differ: "metadata", or "conda" too.
    downloads: the cache for what comes from channels, and whether anything may be asked of the network.
    around: where else packages are that say what they are called, to share between calls of one thread; made of the libdirs if
        None.

    Raises `Refused` (a verdict, with one of `errors.REFUSAL_CODES`) or `Failed` (an accident). Nothing half-written
    stays behind. The same input and version of this library give the same bytes; SOURCE_DATE_EPOCH, where set, is the
    time of the members instead of the package's own timestamp.

    >>> convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", libdirs=["pkgs"]).filename  # doctest: +SKIP
    'numpy-2.4.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl'
    """
    started = time.monotonic()
    limits = limits or Limits()
    options = Options.of(platform, compat_tags, level, isolate, provided, allow, pins)
    index = libdirs if isinstance(libdirs, LibraryIndex) else LibraryIndex(libdirs, limits, downloads=downloads)
    book = recipes if isinstance(recipes, RecipeBook) else RecipeBook(recipes)
    around = around or Surroundings(index.places, limits, downloads)
    channels = tuple(channels)
    place = locate(str(source), channels, downloads)
    looked = _looked_at(str(source), place, channels)
    if looked:
        index = index.with_channel(ChannelLibraries(around.listing(looked)))
    package = open_package(place, limits, downloads)
    named = around.names(package.depends, looked)
    package = replace(package, warnings=(*package.warnings, *named.warnings))
    options = replace(options, recipe=book.find(package), names=named.names)
    return convert_package(package, index, options, None if dry_run else Path(out), started)


def _looked_at(source: str, place: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    """The channels that are asked about libraries and names: those of a match spec, or those that were given; a file alone never
    makes anything ask a network."""
    own, _, _ = source.rpartition("::")
    if place == source:
        return channels
    return (own,) if own else channels or DEFAULT_CHANNELS


def convert_package(
    package: CondaPackage,
    index: LibraryIndex,
    options: Options,
    out: Path | None,
    started: float | None = None,
    common: Common | None = None,
) -> Converted:
    """The road after the package was opened; with `out` None nothing is written. `started` is by the monotonic clock. Libraries
    that are in `common` are taken from there, which the wheel then requires (`shared` makes it)."""
    started = time.monotonic() if started is None else started
    others = carried(package, options.recipe, index)
    plan = plan_wheel(
        package, options.platform, options.compat_tags, options.allow, options.pins, options.recipe, others, options.names
    )
    linked = link_plan(plan, index, isolate=options.isolate, provided=options.provided, allow=options.allow, common=common)
    if linked.common is not None:
        plan = plan.requiring(linked.common.requirement)
    gated = _audit(plan, linked, others, options.allow)
    contents, notes = members(plan, linked, others)
    warnings = [*plan.warnings, *linked.warnings, *gated.warnings, *notes, *index.notes]  # the last also where nothing was linked
    made = _made(plan, linked, others, options, gated, overridden(warnings))
    dist_info = f"{plan.stem}.dist-info"
    contents = told(made, dist_info, contents, package, linked, others)
    if out is None:
        return _result(plan, linked, None, None, warnings, time.monotonic() - started)
    target = out / plan.filename
    sha256 = write_file(target, lambda: build_wheel(contents, dist_info, made.moment, options.level))
    warnings += size_warning(target)
    return _result(plan, linked, target, sha256, warnings, time.monotonic() - started)


def link_plan(
    plan: Plan,
    index: LibraryIndex,
    *,
    isolate: bool = True,
    provided: bool = True,
    allow: Collection[str] = (),
    common: Common | None = None,
) -> Linked:
    """Link what was planned; nothing for a pure wheel. Raises `Refused` (missing-library), unless `allow` has that code."""
    if plan.decision is None:
        return Linked()
    return link(
        plan.package,
        plan.decision.platform,
        plan.native,
        plan.libraries,
        index,
        plan.file_part,
        isolate=isolate,
        provided=provided,
        texts=plan.texts(),
        allow=allow,
        common=common,
    )


def unit_of(plan: Plan, linked: Linked, others: Iterable[Carried] = ()) -> Unit:
    """The side modules of the wheel to come, as they will be in it."""
    modules = {item.path: item.file for item in plan.placed if SHARED_OBJECT.search(item.path) and item.scheme != "scripts"}
    modules |= {**linked.rewritten, **linked.libraries}
    modules |= {each.place(plan.stem): each.file for each in others if each.is_module}
    return Unit(
        name=plan.filename,
        modules={path: file.blob.read() for path, file in modules.items()},
        distribution=plan.file_part,
        abi3=plan.interpreter.python_tag if plan.interpreter.abi_tag == "abi3" else None,
    )


def _audit(plan: Plan, linked: Linked, others: Iterable[Carried], allow: frozenset[str]) -> Gated:
    if plan.decision is None:
        return Gated()
    return gate(
        plan.package.source,
        unit_of(plan, linked, others),
        plan.decision.platform,
        allow,
        [linked.common.unit] if linked.common else [],
    )


def _made(
    plan: Plan, linked: Linked, others: Iterable[Carried], options: Options, gated: Gated, overrides: tuple[Warned, ...]
) -> Made:
    return Made(
        command="convert",
        filename=plan.filename,
        name=plan.name,
        version=plan.version,
        license=plan.metadata.get("License-Expression") or plan.metadata.get("License"),
        platform=plan.decision.platform.tag if plan.decision else "any",
        judged_by=(gated.pyodide,) if gated.pyodide else (),
        evidence=plan.decision.evidence if plan.decision else (),
        options=options,
        input=Source.of(plan.package),
        moment=options.moment(plan.package.timestamp),
        consulted=consulted(linked, others),
        overrides=overrides,
        vendored=linked.vendored,
        provided=linked.provided,
        shared=linked.shared,
        requires=linked.common.requirement if linked.common else None,
    )


def size_warning(wheel: Path) -> list[Warned]:
    """What PyPI will say of a large wheel."""
    size = wheel.stat().st_size
    if size <= PYPI_FILE_LIMIT:
        return []
    return [Warned("pypi-size", f"{size >> 20} MiB; PyPI takes 100 MiB unless it was asked for more", wheel.name)]


def _tag_strings(tags: Iterable[Tag]) -> frozenset[str]:
    return frozenset(str(tag) for tag in tags)


def _result(
    plan: Plan, linked: Linked, wheel: Path | None, sha256: str | None, warnings: list[Warned], seconds: float
) -> Converted:
    return Converted(
        source=plan.package.source,
        wheel=wheel,
        filename=plan.filename,
        sha256=sha256,
        platform=plan.decision.platform.tag if plan.decision else "any",
        name=plan.name,
        version=plan.version,
        tags=_tag_strings(plan.tags),
        requires=tuple(plan.metadata.all("Requires-Dist")),
        vendored=linked.vendored,
        provided=linked.provided,
        shared=linked.shared,
        warnings=tuple(dict.fromkeys(warnings)),
        evidence=plan.decision.evidence if plan.decision else (),
        seconds=seconds,
    )
