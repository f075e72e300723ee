"""Make the catalogue of a mirror: its state and index, with what the wheels in the store say about themselves."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from conda2wheel._version import __version__
from conda2wheel.abi import platforms, symbols
from conda2wheel.conda.names import is_valid_name, pypi_name
from conda2wheel.files.documents import parse_json
from conda2wheel.index.pages.catalogue import (
    CatalogueBuild,
    CatalogueChange,
    CataloguePackage,
    CatalogueWheel,
    PackageCatalogue,
    PyodideVersion,
    SatisfiedRequirement,
    State,
    WheelDetails,
)
from conda2wheel.index.pages.details import (
    PROVENANCE_SUFFIX,
    SBOM_SUFFIX,
    SUFFIX,
    runtimes,
    try_details,
    wheel_verdicts,
)
from conda2wheel.mirror.plan.select import ranks
from conda2wheel.mirror.plan.tasks import MirrorPlan
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.state.mirror_state import KnownPackage, MirrorItem, MirrorState
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel
from conda2wheel.mirror.store.base import THREADS, Store
from conda2wheel.net.urls import redacted
from conda2wheel.pyodide.lock import Runtime

WEEK = 7 * 86400.0
MOST_CHANGES = 500
SAME_BUILD = "the same build as"  # the reason for which a second archive of a build is skipped
ReadDetails = Callable[[MirrorWheel], "StoredDetails"]


@dataclass(frozen=True)
class StoredDetails:
    """What lies beside a wheel in the store: its details, and whether there are a bill of materials and a provenance."""

    details: WheelDetails | None = None
    sbom: bool = False
    provenance: bool = False


@dataclass(frozen=True)
class MirrorRecord:
    """What a mirror knows of its channels' packages.

    Attributes:
        channels: the channels' URLs.
        packages: `MirrorState.packages()`.
        wanted: `MirrorPlan.wanted`.
        skipped: why other packages are not selected, by sha256.
        items: `MirrorState.items()`.
        results: `MirrorState.results()`.
    """

    channels: tuple[str, ...]
    packages: Sequence[KnownPackage]
    wanted: Mapping[ItemKey, ChannelPackage]
    skipped: Mapping[str, str] = field(default_factory=dict)
    items: Mapping[ItemKey, MirrorItem] = field(default_factory=dict)
    results: Mapping[ItemKey, ItemResult] = field(default_factory=dict)

    @classmethod
    def of(cls, channels: Iterable[str], state: MirrorState, plan: MirrorPlan) -> MirrorRecord:
        """Read the record from the state. Raises `Failed` (state, disk)."""
        return cls(
            channels=tuple(map(redacted, channels)),
            packages=state.packages(),
            wanted=plan.wanted,
            skipped={package.sha256: reason for package, reason in plan.skipped},
            items=state.items(),
            results=state.results(),
        )


def make_catalogue(
    record: MirrorRecord,
    entries: Iterable[IndexEntry],
    read_details: ReadDetails,
    own: Sequence[Runtime] = (),
    on_pypi: Mapping[str, tuple[str, ...]] | None = None,
) -> PackageCatalogue:
    """Make the catalogue.

    Args:
        record: what the mirror knows.
        entries: the index.
        read_details: reads the details of a wheel, such as `details_in`.
        own: Pyodides with the packages of their own distributions.
        on_pypi: the platform tags, or any, of the wheels that PyPI has for Pyodide, by normalised name, where that is known.
    """
    builds = _builds(record, tuple(entries), read_details)
    pyodides = tuple(_pyodides(builds, own))
    packages = [_package(name, found, pyodides, on_pypi) for name, found in sorted(builds.items())]
    return PackageCatalogue(
        channels=record.channels,
        converter=__version__,
        pyodides=pyodides,
        packages=tuple(_with_requirements(packages, pyodides)),
        changes=tuple(_changes(record.packages)),
    )


def details_in(store: Store) -> ReadDetails:
    """Read the details beside wheels in a store; a wheel without them, or with those of other Pyodides, is read and audited."""
    listed = {info.path for info in store.list("blobs")}

    def read(wheel: MirrorWheel) -> StoredDetails:
        data = store.get(f"{wheel.blob}{SUFFIX}") if f"{wheel.blob}{SUFFIX}" in listed else None
        details = _parsed(data)
        if details is None:
            return put_details(store, wheel)
        there = {suffix: f"{wheel.blob}{suffix}" in listed for suffix in (SBOM_SUFFIX, PROVENANCE_SUFFIX)}
        return StoredDetails(details, there[SBOM_SUFFIX], there[PROVENANCE_SUFFIX])

    return read


def put_details(store: Store, wheel: MirrorWheel, path: Path | None = None) -> StoredDetails:
    """Read a wheel (None: that of the store) and write its details beside it. Raises `Failed` (store)."""
    if path is None:
        data = store.get(wheel.blob)
        if data is None:
            return StoredDetails()
        with tempfile.TemporaryDirectory(prefix="conda2wheel-pages-") as folder:
            copy = Path(folder) / wheel.filename
            copy.write_bytes(data)
            found = try_details(copy)
    else:
        found = try_details(path)
    if found is None:
        return StoredDetails()
    for suffix, data in found.by_suffix().items():
        store.put(f"{wheel.blob}{suffix}", data)
    return StoredDetails(found.details, found.sbom is not None, found.provenance is not None)


def _parsed(data: bytes | None) -> WheelDetails | None:
    """Details out of a store; None for those of another version that judged by other Pyodides, or that are damaged."""
    if data is None:
        return None
    try:
        details = WheelDetails.from_json(parse_json(data))
    except ValueError:
        return None
    return details if details.judged_by == tuple(symbols.known()) else None


def _builds(
    record: MirrorRecord, entries: Sequence[IndexEntry], read_details: ReadDetails
) -> dict[str, list[tuple[ChannelPackage, CatalogueBuild]]]:
    """The builds of each conda name: those that the channels have, and those that are gone and have a wheel in the index yet."""
    with ThreadPoolExecutor(THREADS) as pool:
        wheels = list(pool.map(lambda entry: _wheel(entry, read_details(entry.wheel)), entries))
    by_package: dict[str, list[CatalogueWheel]] = defaultdict(list)
    for entry, wheel in zip(entries, wheels, strict=True):
        by_package[entry.package.sha256].append(wheel)
    keys: dict[str, list[ItemKey]] = defaultdict(list)
    for each in record.wanted:
        keys[each.package].append(each)
    known = {each.package.sha256: each.package for each in record.packages if each.gone is None}
    known |= {entry.package.sha256: entry.package for entry in entries if entry.package.sha256 not in known}
    found: dict[str, list[tuple[ChannelPackage, CatalogueBuild]]] = defaultdict(list)
    for sha256, package in known.items():
        skipped = record.skipped.get(sha256)
        if skipped is not None and skipped.startswith(SAME_BUILD):
            continue
        made = by_package.get(sha256, [])
        wanted: Sequence[ItemKey | None] = keys.get(sha256) or (None,)
        for key in wanted:
            build = _build(package, key, record, skipped)
            fitting = [wheel for wheel in made if key is None or _made_for(wheel, key, record)]
            found[package.name] += [(package, replace(build, wheel=wheel)) for wheel in fitting] or [(package, build)]
    order = {name: ranks([package for package, _ in rows]) for name, rows in found.items()}
    for name, rows in found.items():
        rows.sort(
            key=lambda row: (order[name][row[0].version], row[0].build_number, row[0].timestamp or 0.0, row[0].build),
            reverse=True,
        )
    return found


def _made_for(wheel: CatalogueWheel, key: ItemKey, record: MirrorRecord) -> bool:
    """Whether a wheel is of an item; that of an earlier conversion is of each."""
    result = record.results.get(key)
    return result is None or result.wheel is None or result.wheel.filename == wheel.filename


def _build(package: ChannelPackage, key: ItemKey | None, record: MirrorRecord, skipped: str | None) -> CatalogueBuild:
    build = CatalogueBuild(
        version=package.version,
        build=package.build,
        subdir=package.subdir,
        url=redacted(package.url),
        sha256=package.sha256,
        size=package.size,
        built=package.timestamp,
        status="pending" if key is not None or skipped is None else "left-out",
        message=skipped,
    )
    item = None if key is None else record.items.get(key)
    result = None if key is None else record.results.get(key)
    if item is None or result is None or item.status == "pending":
        return build
    label = f"{package.subdir}/{package.stem}: "
    return replace(
        build,
        status="failed" if item.status == "quarantined" else item.status,
        code=result.code,
        message=None if result.message is None else result.message.removeprefix(label),
        hint=result.hint,
        warnings=result.warnings,
    )


def _wheel(entry: IndexEntry, stored: StoredDetails) -> CatalogueWheel:
    wheel, details = entry.wheel, stored.details
    return CatalogueWheel(
        project=wheel.project,
        version=wheel.version,
        filename=wheel.filename,
        path=wheel.blob,
        sha256=wheel.sha256,
        size=wheel.size,
        platform=wheel.platform,
        requires_python=wheel.requires_python,
        requires=wheel.requires,
        imports=wheel.imports,
        yanked=entry.yanked,
        sbom=f"{wheel.blob}{SBOM_SUFFIX}" if stored.sbom else None,
        provenance=f"{wheel.blob}{PROVENANCE_SUFFIX}" if stored.provenance else None,
        verdicts=wheel_verdicts(wheel.filename, wheel.requires_python, details),
        # The verdicts are those of the wheel, with the tags; they are not there twice.
        details=None if details is None else replace(details, verdicts=(), judged_by=()),
    )


def _pyodides(
    builds: Mapping[str, list[tuple[ChannelPackage, CatalogueBuild]]], own: Sequence[Runtime]
) -> Iterator[PyodideVersion]:
    """Every known Pyodide, newest first. A column have those of the wheels' platforms, and the newest that is no prerelease."""
    tags = {tag for rows in builds.values() for _, build in rows if build.wheel for tag in build.wheel.platform.split(".")}
    held = {runtime.version: {name: each.version for name, each in runtime.packages.items()} for runtime in own}
    found = runtimes()
    released = [runtime.version for runtime in found if "-" not in runtime.version]
    for runtime in reversed(found):
        row = platforms.for_pyodide(runtime.version)
        native = row is not None and bool({row.tag, *row.all_tags} & tags)
        yield PyodideVersion(
            version=runtime.version,
            platform=runtime.platform,
            python=runtime.python,
            column=native or runtime.version == released[-1],
            packages=held.get(runtime.version),
        )


def _package(
    name: str,
    rows: Sequence[tuple[ChannelPackage, CatalogueBuild]],
    pyodides: Sequence[PyodideVersion],
    on_pypi: Mapping[str, tuple[str, ...]] | None,
) -> CataloguePackage:
    builds = tuple(build for _, build in rows)
    package = CataloguePackage(name, None, "pending", builds[0].version, builds[0].version, builds=builds)
    wheel = package.wheel
    current = [each for each in package.wheels if wheel is not None and each.version == wheel.version]
    project = wheel.project if wheel is not None else pypi_name(name)
    if project is not None and not is_valid_name(project):
        project = None
    runs = tuple(each.version for each in pyodides if any(each.version in found.runs_on() for found in current))
    partly = tuple(
        each.version
        for each in pyodides
        if each.version not in runs and any(each.version in found.runs_on("runs-except") for found in current)
    )
    state, reason = _state(builds, current, runs, partly)
    known = [each for each in pyodides if each.packages is not None]
    identity = canonicalize_name(project or name)
    return replace(
        package,
        project=None if project is None or (state == "refused" and reason and reason[0] == "not-python") else identity,
        state=state,
        reason=reason,
        version=next((each.version for each in builds if each.wheel is wheel), builds[0].version),
        summary=wheel.details.summary if wheel is not None and wheel.details is not None else None,
        runs=runs,
        partly=partly,
        in_pyodide={each.version: each.packages[identity] for each in known if each.packages and identity in each.packages}
        if known
        else None,
        on_pypi=None if on_pypi is None else on_pypi.get(identity),
    )


def _state(
    builds: Sequence[CatalogueBuild], current: Sequence[CatalogueWheel], runs: Sequence[str], partly: Sequence[str]
) -> tuple[State, tuple[str | None, str] | None]:
    """What became of a package, and why it is not better."""
    if runs:
        return "runs", None
    verdicts = [each for wheel in current for each in wheel.verdicts]
    if partly:
        found = next(each for each in verdicts if each.pyodide == partly[0] and each.verdict == "runs-except")
        return "partly", (found.code, f"{found.module}: {found.reason}" if found.module else found.reason or "")
    details = current[0].details if current else None
    if details is not None and details.only_programs:
        return "programs", (None, ", ".join(each.name for each in details.programs))
    if current:
        tagged = next((each for each in verdicts if each.tagged), None)
        if tagged is not None:
            return "nowhere", (tagged.code, f"{tagged.module}: {tagged.reason}" if tagged.module else tagged.reason or "")
        return "nowhere", (None, f"its wheels are for {current[0].platform}, which no Pyodide has")
    judged = [build for build in builds if build.status in ("refused", "failed")]
    waiting = [build for build in builds if build.status == "pending"]
    newest = next((build for build in builds if build in judged or build in waiting), builds[0])
    if newest.status == "refused":
        return "refused", (newest.code, newest.message or "")
    if newest.status == "failed":
        return "failed", (newest.code, newest.message or "")
    return "pending", (None, newest.message) if newest.message else None


def _with_requirements(packages: Sequence[CataloguePackage], pyodides: Sequence[PyodideVersion]) -> Iterator[CataloguePackage]:
    """Add what the packages' wheels require, and what satisfies it in the newest Pyodide in which they run."""
    by_project = PackageCatalogue((), "", packages=tuple(packages)).by_project
    found = {package.name: tuple(_requirements(package, by_project, pyodides)) for package in packages}
    users: dict[str, set[str]] = defaultdict(set)
    for name, requirements in found.items():
        for each in requirements:
            if each.package is not None and not each.optional:
                users[each.package].add(name)
    for package in packages:
        yield replace(package, requirements=found[package.name], required_by=tuple(sorted(users[package.name])))


def _requirements(
    package: CataloguePackage, by_project: Mapping[str, CataloguePackage], pyodides: Sequence[PyodideVersion]
) -> Iterator[SatisfiedRequirement]:
    if package.wheel is None:
        return
    versions = [each for each in pyodides if each.version in (*package.runs, *package.partly)] or list(pyodides)
    pyodide = next((each for each in versions if each.column), versions[0])
    runtime = next(each for each in runtimes() if each.version == pyodide.version)
    for line in package.wheel.requires:
        try:
            requirement = Requirement(line)
            optional = requirement.marker is not None and not requirement.marker.evaluate({**runtime.markers, "extra": ""})
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, InvalidVersion):
            yield SatisfiedRequirement(line, None, False, "elsewhere")
            continue
        name = canonicalize_name(requirement.name)
        other = by_project.get(name)
        here = (
            [wheel for wheel in other.wheels if pyodide.version in (*wheel.runs_on(), *wheel.runs_on("runs-except"))]
            if other
            else []
        )
        fitting = next((wheel.version for wheel in here if _contains(requirement, wheel.version)), None)
        own = (pyodide.packages or {}).get(name)
        if other is not None and fitting is not None:
            yield SatisfiedRequirement(line, name, optional, "index", other.name, fitting)
        elif own is not None and _contains(requirement, own):
            yield SatisfiedRequirement(line, name, optional, "pyodide", other.name if other else None, own)
        else:
            yield SatisfiedRequirement(line, name, optional, "elsewhere", other.name if other else None)


def _contains(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _changes(packages: Sequence[KnownPackage]) -> list[CatalogueChange]:
    """What the channels got and lost in the week before the last change, newest first; not what the first listing had."""
    first = min((each.seen for each in packages), default=0.0)
    events = [("new", each.seen, each.package) for each in packages if each.seen > first and each.gone is None]
    events += [("gone", each.gone, each.package) for each in packages if each.gone is not None]
    last = max((when for _, when, _ in events), default=0.0)
    found = [
        CatalogueChange("new" if kind == "new" else "gone", package.name, package.version, package.build, when)
        for kind, when, package in events
        if when > last - WEEK
    ]
    return sorted(found, key=lambda each: (-each.when, each.name, each.version, each.build))[:MOST_CHANGES]
