"""Bundles: specs become a folder that micropip, pip, uv and Pyodide's loadPackage install from.

    choose    bundle.solver    packages of the channels that work together on one platform, by conda's depends
    convert   bundle.convert   each through the pipeline, with the libraries of the bundle as libdirs
    compare   bundle.needs     what METADATA requires against what was chosen; then choose again with its limits
    fill      bundle.fill      what the bundle lacks: from Pyodide itself, from PyPI, or left to the installer
    write     bundle.output    wheels, index, lock files, report: whole or not at all

With a lock nothing is chosen: the same inputs give the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from conda2wheel._version import __version__
from conda2wheel.bundle import lockfile as lock_file
from conda2wheel.bundle.chosen import Chosen, Left, Solved
from conda2wheel.bundle.convert import BundledWheel, Converter, may_have_wheel, require_one_each
from conda2wheel.bundle.fill import Rest, bounds, conflict, settle
from conda2wheel.bundle.lockfile import Lock
from conda2wheel.bundle.needs import Member, Needs, needs
from conda2wheel.bundle.output import Bundle, clear, require_place, staged, write
from conda2wheel.bundle.pypi import PyPI
from conda2wheel.bundle.solver import solve
from conda2wheel.bundle.target import Target, target
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.search import DEFAULT_CHANNELS
from conda2wheel.commands.pipeline import Context, Progress
from conda2wheel.conda.names import answer
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.net.download import redacted
from conda2wheel.options import DEFAULT_LEVEL, Options, Pins
from conda2wheel.results import ConversionWarning, Converted

ROUNDS = 10  # of choosing again: each adds bounds, and a set that needs more than a few has none


def bundle_specs(
    specs: Sequence[str],
    *,
    out: str | Path = "bundle",
    channels: Iterable[str] = (),
    libdirs: Iterable[str | Path] = (),
    platform: str = "auto",
    complete: bool = False,
    with_pyodide: bool = False,
    share_libs: str | None = None,
    url: str | None = None,
    pyodide_url: str | None = None,
    compat_tags: bool = True,
    level: int = DEFAULT_LEVEL,
    isolate: bool = True,
    provided: bool = True,
    allow: Iterable[str] = (),
    pins: Pins = "metadata",
    recipes: Iterable[str | Path] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
    progress: Progress | None = None,
) -> Bundle:
    """Choose, convert and lay out a set of packages that works together in one Pyodide.

    specs: match specs, such as "numpy=2.4" or "emscripten-forge-4x::scipy".
    out: the folder of the set. It is replaced whole; one that is neither empty nor a set is refused.
    channels: where packages are looked up, names, URLs or folders, the preferred one first; emscripten-forge-4x if there are
        none.
    platform: a platform tag, a Pyodide version, or "auto": what the channels are built for.
    complete: take along pure Python packages, too: the channels' noarch ones, and PyPI's wheels for what no channel has. Else
        they are left to the index that an installer asks for them.
    with_pyodide: what the Pyodide distribution ships is taken from it and holds for the whole set.
    share_libs: the name of a wheel of the set, made for it, that has what several others would carry: one instance for all of
        them, and none works without it. None: each carries its own.
    url: where the folder will be served; then the index names files by whole addresses, which micropip wants in JSON pages.
    pyodide_url: where a browser finds Pyodide's own packages, for pyodide-lock.json; without it they are looked for beside ours,
        or, under node, in the folder of the npm package.
    progress: called with one short line before each step.

    The other arguments are those of `convert`; `compat_tags` is on, since a set has an index of its own.

    Raises `Refused` for a package of the set that cannot become a wheel, `Failed` (conflict) where nothing works together, with
    the reason, and `Failed` as `convert` does. Nothing half-written stays behind.

    >>> bundle_specs(["scipy", "shapely"], complete=True).folder  # doctest: +SKIP
    PosixPath('bundle')
    """
    started = time.monotonic()
    folder = Path(out)
    require_place(folder)
    preferred = tuple(channels) or DEFAULT_CHANNELS
    own = [spec.rpartition("::")[0] for spec in specs if "::" in spec]
    goal = target(platform, [*own, *preferred], with_pyodide)
    options = Options.of("auto" if platform == "auto" else goal.platform, compat_tags, level, isolate, provided, allow, pins)
    context = Context.of(libdirs, dict.fromkeys([*own, *preferred]), recipes, limits, downloads, progress)
    with staged(folder) as staging:
        converter = Converter(staging, options, context)
        solved, wheels = _choose(specs, preferred, goal, converter, complete)
        wheels, common = _shared(share_libs, goal, converter, wheels, [each for each in solved.chosen if each.is_library])
        context.progress("looking for what else is required")
        index = PyPI(_tags(goal), str(goal.platform.python), downloads) if complete else None
        rest = settle([*_members(wheels, common), *_shipped(solved)], goal.environment, goal.ships, index, staging)
        lock = replace(
            _lock(solved, wheels, rest),
            requested=tuple(specs),
            channels=tuple(map(redacted, context.channels)),
            options=options,
            complete=complete,
            target=goal.platform.tag,
            pyodide=goal.pyodide,
            share=share_libs,
            url=url,
            pyodide_url=pyodide_url,
            wheels=_hashes(wheels, common),
        )
        bundle = _bundle(staging, wheels, common, lock, rest.members)
        clear(staging, {*lock.wheels, *(each.filename for each in lock.pypi)})
        context.progress("writing the index")
        bundle = write(staging, bundle, goal)
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
    """Make the set of a `bundle.lock` again: the same bytes, if the same version of conda2wheel does it (else a warning,
    `other-version`, where bytes differ). No channel is asked which builds there are.

    Raises `Failed` and `Refused` as `bundle_specs` does, and `Failed` (internal) where this version made it and bytes differ.
    """
    started = time.monotonic()
    folder = Path(out)
    require_place(folder)
    old = lock_file.read_lock(Path(lock))
    context = Context.of(libdirs, (), (), limits, downloads, progress)
    with staged(folder) as staging:
        converter = Converter(staging, old.options, context)
        context.progress(f"downloading {len(old.steps) + len(old.libraries)} packages")
        converter.fetch([*(step.package for step in old.steps), *(lib for step in old.steps for lib in step.libraries)])
        wheels = []
        for each in converter.replay(old.steps, old.libraries):
            context.progress(f"converted {each.wheel.filename}")
            wheels.append(each)
        goal = target(old.pyodide or old.target, old.channels, old.pyodide is not None)
        index = PyPI(_tags(goal), str(goal.platform.python), downloads)
        brought = [index.exactly(each, staging) for each in old.pypi]
        wheels, common = _shared(old.share, goal, converter, wheels, old.libraries)
        now = replace(old, wheels=_hashes(wheels, common), made_by=__version__)
        bundle = _bundle(staging, wheels, common, now, ())
        bundle = replace(bundle, warnings=(*bundle.warnings, *_differences(old, now)))
        clear(staging, {*now.wheels, *(path.name for path in brought)})
        bundle = write(staging, bundle, goal)
    return replace(bundle, folder=folder, wheels=_moved(bundle.wheels, folder), seconds=time.monotonic() - started)


def _choose(
    specs: Sequence[str], channels: Sequence[str], goal: Target, converter: Converter, complete: bool
) -> tuple[Solved, list[BundledWheel]]:
    """Choose and convert until METADATA admits what conda's depends chose."""
    progress, downloads = converter.context.progress, converter.context.downloads
    constraints: dict[str, str] = {}
    for _ in range(ROUNDS):
        progress("choosing packages that work together")
        solved = solve(specs, channels, goal.platform, downloads, ships=goal.ships, constraints=constraints)
        tried, libraries = _parted(solved, complete)
        progress(f"downloading {len(tried)} packages")
        converter.fetch(tried)
        wheels = []
        for each in converter.convert(tried, libraries):
            _require_platform(each, goal)
            progress(f"converted {each.wheel.filename}")
            wheels.append(each)
        require_one_each(wheels)
        found = needs([*_members(wheels), *_shipped(solved)], goal.environment)
        if not found.broken:
            return solved, wheels
        constraints |= _tightened(found, wheels, constraints)
    raise conflict(found)


def _tightened(found: Needs, wheels: Sequence[BundledWheel], constraints: Mapping[str, str]) -> dict[str, str]:
    """METADATA's bounds for the next choice. Raises `Failed` (conflict) where they are known already, or help nobody."""
    names: dict[str, list[str]] = {}
    for each in wheels:
        names.setdefault(each.project, []).append(each.step.package.name)
    more = {bound: why for bound, why in bounds(found, names).items() if bound not in constraints}
    if not more:
        raise conflict(found)
    return more


def _parted(solved: Solved, complete: bool) -> tuple[list[Chosen], list[Chosen]]:
    """What is converted, and where its NEEDED libraries may be. A pure package is converted if it is asked for, if the set shall
    be complete, or if PyPI has nothing of its name."""
    wanted = [
        each
        for each in solved.chosen
        if (
            may_have_wheel(each)
            if not each.is_noarch
            else complete or each.name in solved.asked or answer(each.name).pypi is None
        )
    ]
    return wanted, [each for each in solved.chosen if each.is_library]


def _require_platform(bundled: BundledWheel, goal: Target) -> None:
    if bundled.wheel.platform not in ("any", goal.platform.tag):
        raise Refused(
            "abi-conflict",
            f"{bundled.step.package.stem}: was built for {bundled.wheel.platform}, the set is for {goal.platform.tag}",
            "give --platform, or a --channel that was built for it",
        )


def _shared(
    name: str | None, goal: Target, converter: Converter, wheels: list[BundledWheel], libraries: Sequence[Chosen]
) -> tuple[list[BundledWheel], Converted | None]:
    """The wheels, and the common wheel of their libraries if `name` asks for one."""
    if name is None:
        return wheels, None
    converter.context.progress("putting shared libraries together")
    return converter.share(name, goal.platform, wheels, libraries)


def _members(wheels: Iterable[BundledWheel], common: Converted | None = None) -> list[Member]:
    members = [Member(each.project, each.wheel.version, each.wheel.requires) for each in wheels]
    return members if common is None else [*members, Member(str(canonicalize_name(common.name)), common.version)]


def _shipped(solved: Solved) -> list[Member]:
    return [Member(each.pypi, each.version) for each in solved.shipped]


def _tags(goal: Target) -> tuple[str, ...]:
    return (goal.platform.tag, *goal.platform.alias_tags)


def _hashes(wheels: Iterable[BundledWheel], common: Converted | None = None) -> dict[str, str]:
    results = [each.wheel for each in wheels] + ([] if common is None else [common])
    return {each.filename: each.sha256 for each in results}


def _lock(solved: Solved, wheels: Sequence[BundledWheel], rest: Rest) -> Lock:
    """The part of the lock that follows from what was chosen and converted."""
    shipped = {each.pypi: each for each in (*rest.shipped, *solved.shipped)}
    projects = {each.project for each in wheels}
    converted = {each.step.package.url for each in wheels}
    folded = [
        (each.name, str(canonicalize_name(name)))
        for each in solved.chosen
        if each.url not in converted and (name := answer(each.name).pypi) is not None and canonicalize_name(name) in projects
    ]
    return Lock(
        steps=tuple(each.step for each in wheels),
        libraries=tuple(each for each in solved.chosen if each.is_library),
        pypi=rest.pypi,
        shipped=tuple(shipped[name] for name in sorted(shipped)),
        absent=solved.absent,
        folded=tuple(folded),
        left=tuple(Left(str(need), need.why) for need in rest.left),
    )


def _bundle(
    folder: Path, wheels: Sequence[BundledWheel], common: Converted | None, lock: Lock, members: tuple[Member, ...]
) -> Bundle:
    warnings = [
        ConversionWarning(
            "absent-dependency", f"no channel has {each.name}, on which {', '.join(each.users)} depends; left out", None
        )
        for each in lock.absent
        if each.pypi is None
    ]
    if lock.share is not None and common is None:
        warnings.append(
            ConversionWarning("nothing-shared", f"no two wheels would carry the same library, so there is no {lock.share}")
        )
    results = [each.wheel for each in wheels] + ([] if common is None else [common])
    return Bundle(folder, tuple(results), lock, members, tuple(warnings))


def _moved(wheels: Iterable[Converted], place: Path) -> tuple[Converted, ...]:
    return tuple(replace(each, wheel=place / each.filename) for each in wheels)


def _differences(old: Lock, new: Lock) -> list[ConversionWarning]:
    """Wheels that came out otherwise. Raises `Failed` (internal) where that must not be."""
    differ = sorted(name for name in {*old.wheels, *new.wheels} if old.wheels.get(name) != new.wheels.get(name))
    if not differ:
        return []
    if old.made_by == new.made_by:
        why = f"{', '.join(differ)}: other bytes than the lock has, from the same inputs and version"
        raise Failed("internal", why, "this is a bug of conda2wheel, or the lock was changed by hand")
    return [
        ConversionWarning("other-version", f"conda2wheel {old.made_by} made it otherwise than {new.made_by} does", name)
        for name in differ
    ]
