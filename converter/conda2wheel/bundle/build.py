"""Bundles: match specs become a folder of wheels that micropip, pip, uv and Pyodide's loadPackage install from.

    read      bundle.sources        match specs, package files, requirements.txt and environment.yml
    choose    bundle.solver         packages of the channels that work together on one platform, by conda's depends
    convert   bundle.convert        each through the pipeline, with the libraries of the bundle as libdirs
    compare   bundle.requirements   METADATA's requirements with what was chosen; on a conflict, choose again with its limits
    complete  bundle.requirements   what is missing: from Pyodide, from PyPI, or left to the installer
    write     bundle.output         wheels, index, lock files, report: as a whole or not at all

A locked build chooses nothing: the same inputs give the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from packaging.utils import canonicalize_name

from conda2wheel._version import __version__
from conda2wheel.abi.choice import PlatformChoice
from conda2wheel.abi.micropip import untaken
from conda2wheel.abi.platforms import Platform
from conda2wheel.bundle.convert import BundleConverter, BundledWheel, may_have_wheel, require_one_each
from conda2wheel.bundle.lockfile import BundleLock, read_bundle_lock
from conda2wheel.bundle.output import Bundle, remove_other_wheels, require_replaceable, staging_folder, write_bundle
from conda2wheel.bundle.packages import ChosenPackage, ExternalRequirement, SolvedBundle
from conda2wheel.bundle.pypi import PyPIDownloader
from conda2wheel.bundle.requirements import (
    BundleMember,
    CompletedRequirements,
    RequirementCheck,
    check_requirements,
    complete_requirements,
    conflict,
    solver_constraints,
)
from conda2wheel.bundle.solver import solve
from conda2wheel.bundle.sources import BundleSources, conda_specs, read_sources, solver_limits
from conda2wheel.bundle.target import BundleTarget, choose_target
from conda2wheel.bundle.unsatisfied import RequestCheck, UnsatisfiedRequest, nothing_to_write
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.records import left_out_warnings
from conda2wheel.channels.repodata import channel_url
from conda2wheel.channels.search import DEFAULT_CHANNELS
from conda2wheel.commands.pipeline import Context, PipelineKeywords, Progress
from conda2wheel.conda.names import map_name
from conda2wheel.errors import Failed, Refused, require_several
from conda2wheel.files.packagefile import Limits
from conda2wheel.index.locks import require_addresses
from conda2wheel.net.urls import redacted, source_of
from conda2wheel.options import Options, tag_form
from conda2wheel.results import ConversionWarning, Converted

ROUNDS = 10  # of solving; each adds version limits, and a bundle that needs more than a few rounds has no solution


def bundle_specs(
    specs: Sequence[str],
    *,
    out: str | Path = "bundle",
    complete: bool = False,
    with_pyodide: bool = False,
    share_libs: str | None = None,
    url: str | None = None,
    pyodide_url: str | None = None,
    **keywords: Unpack[PipelineKeywords],
) -> Bundle:
    """Build a folder of wheels that work together in one Pyodide.

    What was requested and has no wheel is in `unsatisfied` of the result.

    `tags` is "both" by default, since a bundle has an index of its own.

    Args:
        specs: match specs, such as "numpy=2.4" or "emscripten-forge-4x::scipy"; package files, folders of them, requirements
            files (.txt) and environment files of conda's (.yml), whose channels count if `channels` has none.
        out: the folder of the bundle. An older bundle is replaced; a folder that is neither empty nor a bundle is refused.
        complete: include pure Python dependencies: noarch packages of the channels, and wheels of PyPI for what no channel has.
            Without it, installers get them from another index.
        with_pyodide: use the packages of the Pyodide distribution, in its versions, where it has them.
        share_libs: the name of a common wheel for the libraries that several wheels need. The wheels load one instance of them,
            and do not work without the common wheel. None: each wheel vendors its own.
        url: where the folder will be served. The index then has absolute URLs, which micropip needs in JSON pages.
        pyodide_url: where a browser finds Pyodide's own packages, for `pyodide-lock.json`. Without it they are expected beside
            the wheels of the bundle or, under node, in the folder of the npm package.
        keywords: those of `convert`. `channels`: names, URLs or folders; earlier ones take precedence. `platform`: "auto" is the
            platform that the channels are built for.

    Raises:
        Refused: a package of the bundle cannot become a wheel, or none has a wheel.
        Failed: conflict (no packages work together), and as `convert`. Nothing is written in either case.

    >>> bundle_specs(["scipy", "shapely"], complete=True).folder  # doctest: +SKIP
    PosixPath('bundle')
    """
    require_several("specs", specs)
    require_several("channels", keywords.get("channels", ()))
    require_addresses(url, pyodide_url, with_pyodide)
    started = time.monotonic()
    folder = Path(out)
    require_replaceable(folder)
    given: dict[str, Any] = dict(keywords)
    form, compat = given.get("tags"), given.pop("compat_tags", None)
    given["tags"] = "both" if form is compat is None else tag_form(form, compat)
    platform = _one_platform(given.pop("platform", "auto"))
    sources = read_sources(specs, given.get("limits") or Limits())
    if not sources.specs and not sources.requirements:
        raise Failed("usage", f"{', '.join(map(_shown, specs))} names no package", "write one on each line, or give a match spec")
    preferred = tuple(map(source_of, given.pop("channels", ()))) or tuple(map(source_of, sources.channels)) or DEFAULT_CHANNELS
    names = ("tags", "level", "isolate", "provided", "bridge", "allow", "pins", "strict")
    flags = {name: given.pop(name) for name in names if name in given}
    own_channels = [source_of(spec.rpartition("::")[0]) for spec in sources.specs if "::" in spec]
    named = platform.tag if isinstance(platform, Platform) else platform
    target = choose_target(named, [*own_channels, *preferred], with_pyodide)
    options = Options.of("auto" if platform == "auto" else target.platform, **flags, programs=False)
    context = Context.of(channels=dict.fromkeys([*own_channels, *preferred]), **given)
    with staging_folder(folder) as staging:
        converter = BundleConverter(staging, options, context)
        sources = _with_projects(sources.on(target.environment), (*own_channels, *preferred), target, context.downloads)
        solved, wheels = _choose(sources, preferred, target, converter, complete)
        wheels, common = _shared(share_libs, target, converter, wheels, _libraries(solved))
        context.progress("completing the requirements")
        pypi = PyPIDownloader(target.tags, str(target.platform.python), context.downloads)
        members = [*_members(wheels, common), *_shipped(solved), *sources.roots]
        completed = complete_requirements(
            members,
            target.environment,
            target.shipped_versions,
            pypi,
            staging,
            lambda project: complete or project in sources.projects,
        )
        unsatisfied = _unsatisfied(solved, wheels, common, completed, converter)
        if not (wheels or completed.pypi or completed.shipped or solved.shipped):
            raise nothing_to_write(unsatisfied, solved.requested)
        lock = replace(
            _lock(solved, wheels, completed),
            requested=tuple(map(_shown, specs)),
            channels=tuple(map(redacted, context.channels)),
            options=options,
            complete=complete,
            target=target.platform.tag,
            pyodide=target.pyodide,
            share=share_libs,
            url=url,
            pyodide_url=pyodide_url,
            wheels=_hashes(wheels, common),
            notes=(
                *left_out_warnings(context.downloads.left_out(map(channel_url, context.channels))),
                *(warning for each in wheels for warning in untaken(platform, each.wheel.filename)),
                *sources.warnings,
            ),
            unsatisfied=unsatisfied,
        )
        roots = {each.name for each in sources.roots}
        bundle = _bundle(staging, wheels, common, lock, tuple(each for each in completed.members if each.name not in roots))
        remove_other_wheels(staging, {*lock.wheels, *(each.filename for each in lock.pypi)})
        context.progress("writing the index")
        bundle = write_bundle(staging, bundle, target)
    return replace(bundle, folder=folder, wheels=_moved(bundle.wheels, folder), seconds=time.monotonic() - started)


def bundle_locked(
    lock: str | Path,
    *,
    out: str | Path = "bundle",
    libdirs: Iterable[str | Path] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
    progress: Progress | None = None,
) -> Bundle:
    """Build the bundle of a `bundle.lock` again, without asking a channel for its packages.

    The version of conda2wheel that wrote the lock writes the same bytes. Another version adds the warning `other-version` for
    each wheel that differs.

    Raises:
        Refused: as `bundle_specs`.
        Failed: internal (this version wrote the lock, and a wheel differs), and as `bundle_specs`.
    """
    started = time.monotonic()
    folder = Path(out)
    require_replaceable(folder)
    old = read_bundle_lock(Path(lock))
    context = Context.of(libdirs, (), (), limits, downloads, progress)
    with staging_folder(folder) as staging:
        converter = BundleConverter(staging, old.options, context)
        context.progress(f"downloading {len(old.steps) + len(old.libraries)} packages")
        converter.fetch([*(step.package for step in old.steps), *(lib for step in old.steps for lib in step.libraries)])
        wheels = []
        for each in converter.replay(old.steps, old.libraries):
            context.progress(f"converted {each.wheel.filename}")
            wheels.append(each)
        target = choose_target(old.pyodide or old.target, old.channels, old.pyodide is not None)
        pypi = PyPIDownloader(target.tags, str(target.platform.python), downloads)
        downloaded = [pypi.exact(each, staging) for each in old.pypi]
        wheels, common = _shared(old.share, target, converter, wheels, old.libraries)
        now = replace(old, wheels=_hashes(wheels, common), made_by=__version__)
        bundle = _bundle(staging, wheels, common, now, ())
        bundle = replace(bundle, warnings=(*bundle.warnings, *_differences(old, now)))
        remove_other_wheels(staging, {*now.wheels, *(path.name for path in downloaded)})
        bundle = write_bundle(staging, bundle, target)
    return replace(bundle, folder=folder, wheels=_moved(bundle.wheels, folder), seconds=time.monotonic() - started)


def _with_projects(sources: BundleSources, channels: Sequence[str], target: BundleTarget, downloads: Downloads) -> BundleSources:
    """Return the sources with a match spec for each project of PyPI that a channel has.

    Raises:
        Failed: usage, if nothing is left whose marker holds.
    """
    found, _ = conda_specs(sources, channels, downloads, target.shipped_versions)
    if not sources.specs and not sources.requirements:
        raise Failed("usage", f"nothing that was given is for {target.platform.tag}", "give a package, or look at the markers")
    return replace(sources, specs=(*sources.specs, *found.values()))


def _unsatisfied(
    solved: SolvedBundle,
    wheels: Sequence[BundledWheel],
    common: Converted | None,
    completed: CompletedRequirements,
    converter: BundleConverter,
) -> tuple[UnsatisfiedRequest, ...]:
    """Return what was requested and is not in the bundle."""
    pairs = [(each.step.package.url, each.wheel) for each in wheels] + ([] if common is None else [("", common)])
    projects = {each.project for each in wheels} | {str(canonicalize_name(each.name)) for each in completed.pypi}
    projects |= {each.pypi for each in (*completed.shipped, *solved.shipped)}
    return RequestCheck(solved, pairs, frozenset(projects), converter.without_wheel).unsatisfied()


def _choose(
    sources: BundleSources, channels: Sequence[str], target: BundleTarget, converter: BundleConverter, complete: bool
) -> tuple[SolvedBundle, list[BundledWheel]]:
    """Choose and convert packages until the METADATA of all wheels admits what conda's depends chose."""
    progress, downloads = converter.context.progress, converter.context.downloads
    constraints = solver_limits(sources)
    for _ in range(ROUNDS):
        progress("choosing packages that work together")
        solved = solve(
            sources.specs,
            channels,
            target.platform,
            downloads,
            shipped_versions=target.shipped_versions,
            constraints=constraints,
            local=sources.packages,
        )
        packages = _with_wheels(solved, complete)
        progress(f"downloading {len(packages)} packages")
        converter.fetch(packages)
        wheels = []
        for each in converter.convert(packages, _libraries(solved)):
            _require_platform(each, target)
            progress(f"converted {each.wheel.filename}")
            wheels.append(each)
        require_one_each(wheels)
        found = check_requirements([*_members(wheels), *_shipped(solved), *sources.roots], target.environment)
        if not found.conflicts:
            return solved, wheels
        constraints |= _new_constraints(found, wheels, constraints)
    raise conflict(found)


def _new_constraints(found: RequirementCheck, wheels: Sequence[BundledWheel], constraints: Mapping[str, str]) -> dict[str, str]:
    """Return METADATA's limits that the solver does not know yet.

    Raises:
        Failed: conflict, if it knows all of them.
    """
    names: dict[str, list[str]] = {}
    for each in wheels:
        names.setdefault(each.project, []).append(each.step.package.name)
    new = {spec: why for spec, why in solver_constraints(found, names).items() if spec not in constraints}
    if not new:
        raise conflict(found)
    return new


def _with_wheels(solved: SolvedBundle, complete: bool) -> list[ChosenPackage]:
    """Return the packages to convert.

    A pure Python package is converted if it is requested, if the bundle is complete, or if PyPI has no project of its name.
    """
    return [
        each
        for each in solved.chosen
        if (
            may_have_wheel(each)
            if not each.is_noarch
            else complete or each.name in solved.requested or map_name(each.name).pypi is None
        )
    ]


def _libraries(solved: SolvedBundle) -> list[ChosenPackage]:
    """Return the packages that may contain NEEDED libraries."""
    return [each for each in solved.chosen if each.is_library]


def _shown(spec: str) -> str:
    """Return a match spec without the secrets of its channel's address."""
    channel, mark, rest = spec.rpartition("::")
    return f"{redacted(channel)}{mark}{rest}"


def _one_platform(choice: PlatformChoice) -> str | Platform:
    """The platform of a bundle. Raises `Failed` (usage) for several: the packages of a set are chosen for one CPython."""
    given = [choice] if isinstance(choice, str | Platform) else list(choice)
    if len(given) != 1:
        raise Failed("usage", "platform: a bundle is for one platform", "make a bundle for each")
    return given[0]


def _require_platform(bundled: BundledWheel, target: BundleTarget) -> None:
    if bundled.wheel.platform not in ("any", target.platform.tag):
        raise Refused(
            "abi-conflict",
            f"{bundled.step.package.stem}: was built for {bundled.wheel.platform}, the bundle is for {target.platform.tag}",
            f"give --platform {bundled.wheel.platform}, or a --channel that is built for {target.platform.tag}",
        )


def _shared(
    name: str | None,
    target: BundleTarget,
    converter: BundleConverter,
    wheels: list[BundledWheel],
    libraries: Sequence[ChosenPackage],
) -> tuple[list[BundledWheel], Converted | None]:
    """Return the wheels, and the common wheel of their libraries if it has a name and several wheels need one library."""
    if name is None:
        return wheels, None
    converter.context.progress("building the wheel of shared libraries")
    return converter.share(name, target.platform, wheels, libraries)


def _members(wheels: Iterable[BundledWheel], common: Converted | None = None) -> list[BundleMember]:
    members = [BundleMember(each.project, each.wheel.version, each.wheel.requires) for each in wheels]
    return members if common is None else [*members, BundleMember(str(canonicalize_name(common.name)), common.version)]


def _shipped(solved: SolvedBundle) -> list[BundleMember]:
    return [BundleMember(each.pypi, each.version) for each in solved.shipped]


def _hashes(wheels: Iterable[BundledWheel], common: Converted | None = None) -> dict[str, str]:
    results = [each.wheel for each in wheels] + ([] if common is None else [common])
    return {each.filename: each.sha256 for each in results}


def _lock(solved: SolvedBundle, wheels: Sequence[BundledWheel], completed: CompletedRequirements) -> BundleLock:
    """Return the part of the lock that follows from what was chosen and converted."""
    shipped = {each.pypi: each for each in (*completed.shipped, *solved.shipped)}
    projects = {each.project for each in wheels}
    converted_urls = {each.step.package.url for each in wheels}
    folded = [
        (each.name, str(canonicalize_name(name)))
        for each in solved.chosen
        if each.url not in converted_urls
        and (name := map_name(each.name).pypi) is not None
        and canonicalize_name(name) in projects
    ]
    return BundleLock(
        steps=tuple(each.step for each in wheels),
        libraries=tuple(_libraries(solved)),
        pypi=completed.pypi,
        shipped=tuple(shipped[name] for name in sorted(shipped)),
        absent=solved.absent,
        folded=tuple(folded),
        external=tuple(ExternalRequirement(str(each), each.why) for each in completed.external),
    )


def _bundle(
    folder: Path, wheels: Sequence[BundledWheel], common: Converted | None, lock: BundleLock, members: tuple[BundleMember, ...]
) -> Bundle:
    warnings = [
        ConversionWarning(
            "absent-dependency", f"no channel has {each.name}, on which {', '.join(each.users)} depends; left out", None
        )
        for each in lock.absent
        if each.pypi is None
    ]
    if lock.share is not None and common is None:
        warnings.append(ConversionWarning("nothing-shared", f"no two wheels need the same library, so there is no {lock.share}"))
    results = [each.wheel for each in wheels] + ([] if common is None else [common])
    return Bundle(folder, tuple(results), lock, members, (*warnings, *lock.notes))


def _moved(wheels: Iterable[Converted], folder: Path) -> tuple[Converted, ...]:
    return tuple(replace(each, wheel=folder / each.filename) for each in wheels)


def _differences(old: BundleLock, new: BundleLock) -> list[ConversionWarning]:
    """Return a warning for each wheel that another version of conda2wheel wrote with other bytes.

    Raises:
        Failed: internal, if this version wrote them.
    """
    differ = sorted(name for name in {*old.wheels, *new.wheels} if old.wheels.get(name) != new.wheels.get(name))
    if not differ:
        return []
    if old.made_by == new.made_by:
        why = f"{', '.join(differ)}: the bytes differ from the lock, with the same inputs and version"
        raise Failed("internal", why, "this is a bug of conda2wheel, or the lock was changed by hand")
    return [
        ConversionWarning("other-version", f"conda2wheel {old.made_by} wrote other bytes than {new.made_by} does", name)
        for name in differ
    ]
