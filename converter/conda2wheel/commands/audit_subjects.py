"""The inputs of an audit: wheels, folders of wheels, conda packages and side modules become units with modules and platforms.

A package is audited as the wheel that `convert` would write. What contradicts its platform is allowed, since the audit reports
it. A package that `convert` refuses is audited with its files as they are.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.abi.audit.findings import Finding, Severity
from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform, parse, platforms, release
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, side_modules
from conda2wheel.conda.import_roots import import_paths
from conda2wheel.errors import Conda2WheelError, Failed, Refused, unexpected_as_failed
from conda2wheel.files.packagefile import BytesBlob, EntryCount, Limits, PackageFile
from conda2wheel.files.reading import read_file, unreadable
from conda2wheel.net.urls import is_url, redacted
from conda2wheel.results import ALLOWED, ConversionWarning
from conda2wheel.wasm.binary import MAGIC
from conda2wheel.wheel.programs import has_only_programs, programs_folder, programs_of
from conda2wheel.wheel.reader import Wheel, not_installed, read_wheel

if TYPE_CHECKING:
    from conda2wheel.commands.pipeline import Context, Prepared
    from conda2wheel.conda.package import CondaPackage
    from conda2wheel.link.library_index import LibraryIndex

Kind = Literal["wheel", "package", "module"]
# Warnings of `convert` that the audit reports as findings or by itself.
_REPORTED_BY_AUDIT = (ALLOWED, "cannot-catch", "unwinding", "no-bigint", "no-pyodide")
_NOT_INSTALLABLE = ("requires-python", "requirement-conflict")  # warnings of the plan that the audit repeats
_SITE = re.compile(r"^(?:.*/)?site-packages/")
_MODULE = re.compile(r"\.py$|\.pyc$|\.so(\.\d+)*$")
_OTHER_SYSTEM = re.compile(r"\.(dll|dylib|pyd)$", re.IGNORECASE)


@dataclass(frozen=True)
class AnyTag:
    """The side modules of a wheel that is tagged any, and the platforms of which the CPython takes the wheel.

    `exact` is whether it has extension modules for one CPython, which nothing names.
    """

    modules: tuple[str, ...]
    platforms: tuple[Platform, ...]
    exact: bool


@dataclass(frozen=True, eq=False)
class Subject:
    """One input of an audit.

    Attributes:
        source: its path or URL.
        kind: what it is.
        platforms: the platforms that it is built for, oldest first; empty if it does not determine any.
        unit: returns its modules as they would be installed on a platform.
        project: the normalised name; "" for a single module.
        version: the version.
        warnings: what limits the result.
        any_tag: the side modules of a wheel that is tagged any.
        findings: what is so in every Pyodide, and not about one side module.
        programs: the number of its programs, which Pyodide does not start.
        only_programs: whether it has nothing else.
    """

    source: str
    kind: Kind
    platforms: tuple[Platform, ...]
    unit: Callable[[Platform], AuditUnit]
    project: str = ""
    version: str = "0"
    warnings: tuple[ConversionWarning, ...] = ()
    any_tag: AnyTag | None = None
    findings: tuple[Finding, ...] = ()
    programs: int = 0
    only_programs: bool = False


def newest(subjects: Iterable[Subject]) -> list[Subject]:
    """Return the newest version of each project, since one site-packages contains one version."""
    found: dict[str, Subject] = {}
    for subject in subjects:
        if subject.project not in found or Version(found[subject.project].version) < Version(subject.version):
            found[subject.project] = subject
    return list(found.values())


def open_subjects(
    sources: Iterable[str], forced: Platform | None, limits: Limits, context: Callable[[], Context]
) -> dict[str, Subject | Conda2WheelError]:
    """Open inputs: a folder of wheels stands for its wheels, a prefix for its packages.

    Args:
        sources: paths and URLs.
        forced: the platform that the caller names; packages are planned for it.
        limits: bounds on members, sizes and ratios of archives.
        context: returns the context in which packages are converted. Its modules are slow to import and wheels do not need them.

    Returns:
        Each input by its source, in order, or the error for one that cannot be opened.
    """
    found: dict[str, Subject | Conda2WheelError] = {}
    for source in dict.fromkeys(each for given in sources for each in _expand(given)):
        shown = redacted(source) if is_url(source) else source
        try:
            with unexpected_as_failed(shown):
                subject = _open(source, forced, limits, context)
        except Conda2WheelError as error:
            found[shown] = error
        else:
            found[subject.source] = subject
    return found


def wheels_in(places: Iterable[str | Path], limits: Limits) -> tuple[list[Subject], list[ConversionWarning]]:
    """Open wheels, and those of folders.

    Returns:
        The wheels, and a warning for each that cannot be read.

    Raises:
        Failed: not-found, unreadable (a folder).
        Refused: a wheel that was named itself cannot be read.
    """
    subjects: list[Subject] = []
    notes: list[ConversionWarning] = []
    for place in map(str, places):
        if not os.path.exists(place):
            raise Failed("not-found", f"--find-links {place}: no such file or folder", "check the path")
        if not os.path.isdir(place):
            with unexpected_as_failed(place):
                subjects.append(_wheel(Path(place), limits))
            continue
        for path in _wheels(place):
            try:
                with unexpected_as_failed(path):
                    subjects.append(_wheel(Path(path), limits))
            except Conda2WheelError as error:
                notes.append(ConversionWarning("find-links-skipped", str(error), path))
    return subjects, notes


def _expand(source: str) -> list[str]:
    if is_url(source) or not os.path.isdir(source):
        return [source]
    from conda2wheel.conda.open import expand

    try:
        return _wheels(source) or expand(source)
    except Failed:  # opening the folder raises the same error
        return [source]


def _wheels(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".whl")]
    except OSError as error:
        raise unreadable(folder, error) from None


def _open(source: str, forced: Platform | None, limits: Limits, context: Callable[[], Context]) -> Subject:
    if not is_url(source) and os.path.isfile(source):
        if source.endswith(".whl"):
            return _wheel(Path(source), limits)
        if SHARED_OBJECT.search(source) or _read(Path(source), limits, len(MAGIC)) == MAGIC:
            return _module(Path(source), limits)
    try:
        return _package(source, forced, context())
    except Refused as refusal:
        if is_url(source) or not os.path.isdir(source) or refusal.code != "corrupt-archive":
            raise
        raise Refused(refusal.code, f"{refusal.message}; no wheels in it, either", refusal.hint) from None


def _read(path: Path, limits: Limits, size: int | None = None) -> bytes:
    try:
        if size is None and (whole := path.stat().st_size) > limits.member_size:
            raise Refused("too-large", f"{path}: {whole} bytes", "raise --max-member-size if you trust it")
        return read_file(path, size)
    except OSError as error:
        raise unreadable(path, error) from None


def _module(path: Path, limits: Limits) -> Subject:
    """Open a single side module, with the NEEDED libraries in its folder."""
    modules: dict[str, SideModule] = {}
    wanted = [path]
    entries = EntryCount(str(path), limits.entries)
    while wanted:
        file = wanted.pop()
        name = file.name if SHARED_OBJECT.search(file.name) else f"{file.name}.so"
        if name not in modules:
            modules[name] = SideModule(PackageFile(name, BytesBlob(_read(file, limits)), entries=entries))
            needed = modules[name].needed
            wanted += [path.with_name(each) for each in needed if _is_file_name(each) and os.path.isfile(path.with_name(each))]
    unit = AuditUnit(str(path), modules)
    return Subject(str(path), "module", (), lambda platform: unit)


def _is_file_name(name: str) -> bool:
    return "/" not in name and "\0" not in name and name not in ("", ".", "..")


def _wheel(path: Path, limits: Limits) -> Subject:
    wheel = read_wheel(path, limits, SHARED_OBJECT)
    # The side modules of programs are not for Pyodide, which does not start these.
    programs = programs_of(wheel)
    own = f"{programs_folder(wheel)}/prefix/" if programs else None
    found = side_modules(file for file in wheel.files if own is None or not file.path.startswith(own))
    places = not_installed(wheel.order)
    modules = {places.get(name, name): found[name] for name in wheel.order if name in found}
    floors = [tag.interpreter for tag in wheel.tags if tag.abi == "abi3" and re.fullmatch(r"cp3\d+", tag.interpreter)]
    unit = AuditUnit(wheel.path.name, modules, wheel.distribution, min(floors, key=lambda tag: int(tag[3:]), default=None))
    rows, warnings = _platforms_of(wheel, found) if modules else ((), ())
    lost = (ConversionWarning("link-left-out", str(link), link.path) for link in wheel.lost)
    warnings = (*warnings, *_excluded_python(wheel, rows), *lost)
    name = canonicalize_name(wheel.name)
    any_tag, findings = _any_tag(wheel, modules), tuple(_not_installed(places))
    subject = Subject(wheel.source, "wheel", rows, lambda platform: unit, name, wheel.version, warnings, any_tag, findings)
    return replace(subject, programs=len(programs), only_programs=has_only_programs(wheel)) if programs else subject


def _not_installed(places: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the finding about files that installers move to site-packages and that Pyodide does not install.

    Where there are modules, nothing can import them. What else is missing is missed when code reads it.
    """
    modules = sorted(name for name in places if _MODULE.search(name))
    files = modules or sorted(places)
    if files:
        folder = files[0].removesuffix(f"/{places[files[0]]}")
        what = (
            f"one of {len(files)} {'modules' if modules else 'files'}" if len(files) > 1 else "a module" if modules else "a file"
        )
        then = "cannot be imported" if modules else "what reads it fails"
        why = f"is {what} in {folder}, which Pyodide does not install: {then}"
        severity = Severity.LOAD if modules else Severity.SUSPICIOUS
        yield Finding("not-installed", severity, files[0], why, hint="conda2wheel repair moves them to the root of the wheel")


def _excluded_python(wheel: Wheel, rows: Sequence[Platform]) -> tuple[ConversionWarning, ...]:
    from conda2wheel.wheel.tags import excluded_python

    return excluded_python(wheel.metadata.get("Requires-Python"), None, rows)


def _any_tag(wheel: Wheel, modules: Mapping[str, SideModule]) -> AnyTag | None:
    """The side modules of a wheel that is tagged any; None without one, and if it has libraries for other systems, too."""
    elsewhere = any(side.kind.is_foreign for side in modules.values()) or any(map(_OTHER_SYSTEM.search, wheel.order))
    found = tuple(path for path, side in modules.items() if side.kind.is_loadable)
    if not found or elsewhere or all(tag.platform != "any" for tag in wheel.tags):
        return None
    from conda2wheel.wheel.tags import admits

    requires = wheel.metadata.get("Requires-Python")
    stable = any(tag.abi == "abi3" for tag in wheel.tags)
    exact = not stable and any(side.init_functions and ".abi3" not in path for path, side in modules.items())
    return AnyTag(found, tuple(row for row in platforms() if row.on_pypi and _fits(wheel, row) and admits(requires, row)), exact)


def _fits(wheel: Wheel, platform: Platform) -> bool:
    """Whether the CPython of a platform takes the Python and ABI tags of a wheel."""
    if platform.python is None or platform.python_tag is None:
        return False
    version = tuple(map(int, platform.python.split(".")))
    taken = {*cpython_tags(version, abis=[platform.python_tag], platforms=["any"]), *compatible_tags(version, platforms=["any"])}
    return any(Tag(tag.interpreter, tag.abi, "any") in taken for tag in wheel.tags)


def _platforms_of(wheel: Wheel, modules: Mapping[str, SideModule]) -> tuple[tuple[Platform, ...], tuple[ConversionWarning, ...]]:
    """Return the platforms in the tags of a wheel. If there is none, they follow from suffixes and binaries, with a warning."""
    rows = {row.name: row for tag in wheel.tags if (row := parse(tag.platform)) is not None}
    if rows:
        return tuple(sorted(rows.values(), key=lambda row: release(row.emscripten))), ()
    from conda2wheel.wheel.tags import retag

    try:
        tagged = retag(wheel, {path: binary for path, binary in modules.items() if binary.kind.is_loadable}, {}, tolerant=True)
    except Refused:
        return (), ()
    notes = tuple(warning for warning in tagged.warnings if warning.code == "platform-from-interpreter")
    return tagged.decision.platforms, notes


def _package(source: str, forced: Platform | None, context: Context) -> Subject:
    """Open a package and plan it as `convert` does; `forced` is the platform that the caller names.

    Raises:
        Refused: the package is damaged, hostile or too large.
        Failed: not-found, network, unreadable, disk.
    """
    # These modules are slow to import, and wheels do not need them.
    from conda2wheel.channels.open import open_package
    from conda2wheel.commands.pipeline import prepare_package, read_package
    from conda2wheel.options import ALLOWABLE, Options

    package = open_package(source, context.limits, context.downloads)
    opened = read_package(package, Options(() if forced is None else (forced,), allow=ALLOWABLE), context)
    try:
        prepared = prepare_package(opened)
    except Refused as refusal:
        note = ConversionWarning("not-converted", f"convert refuses it, so its files are audited as they are: {refusal}")
        rows = () if forced is None else (forced,)
        unit = _PackageFiles(package, opened.libraries).unit
        return Subject(package.source, "package", rows, unit, canonicalize_name(package.name), warnings=(note, *refusal.warnings))
    plan = prepared.plan
    metadata = tuple(warning for warning in plan.warnings if warning.code in _NOT_INSTALLABLE)
    if plan.decision is None:
        pure = AuditUnit(plan.filename, {})
        name, brought = canonicalize_name(plan.name), plan.programs
        subject = Subject(package.source, "package", (), lambda platform: pure, name, plan.version, metadata)
        return replace(subject, programs=len(brought.programs), only_programs=not plan.placed) if brought else subject
    notes = tuple(warning for warning in plan.decision.warnings if warning.code not in _REPORTED_BY_AUDIT) + metadata
    unit = _PackageWheel(prepared).unit
    name = canonicalize_name(plan.name)
    return Subject(package.source, "package", plan.decision.platforms, unit, name, plan.version, notes)


@dataclass(frozen=True, eq=False)
class _PackageWheel:
    """The wheel that `convert` would write, linked for each platform that is audited."""

    prepared: Prepared
    units: dict[str, AuditUnit] = field(default_factory=dict)

    def unit(self, platform: Platform) -> AuditUnit:
        """Return the unit for a platform. If linking changes nothing, there is one for all, and each module is read once."""
        if platform.name not in self.units:
            linked = self.prepared.for_platform(platform).link()
            same = not linked.rewritten and not linked.libraries and self.units
            self.units[platform.name] = next(iter(self.units.values())) if same else self.prepared.unit(linked)
        return self.units[platform.name]


@dataclass(frozen=True, eq=False)
class _PackageFiles:
    """The shared objects of a package that has no wheel.

    Those of site-packages are at their paths. Its libraries stand under each name under which a module may NEED them, where every
    loader looks.
    """

    package: CondaPackage
    libraries: LibraryIndex
    units: dict[str, AuditUnit] = field(default_factory=dict)

    def unit(self, platform: Platform) -> AuditUnit:
        """Return the unit for a platform, which determines the libraries that are taken from --libdir."""
        if platform.name not in self.units:
            modules = {path: SideModule(file) for path, file in self._files(platform).items()}
            distribution = canonicalize_name(self.package.name).replace("-", "_")
            self.units[platform.name] = AuditUnit(self.package.stem, modules, distribution)
        return self.units[platform.name]

    def _files(self, platform: Platform) -> dict[str, PackageFile]:
        found = [file for file in self.package.files if any(SHARED_OBJECT.search(name) for name in file.names)]
        paths = {file.path: _SITE.sub("", file.path) for file in found if _SITE.match(file.path)}
        paths |= import_paths(file.path for file in self.package.files)
        files = {paths[file.path]: file for file in found if file.path in paths}
        outside = {name: file for file in found if file.path not in paths for name in sorted(file.names)}
        wanted = [name for file in files.values() for name in SideModule(file).needed]
        if not files:  # a package of libraries
            wanted = [posixpath.basename(file.path) for file in found]
        while wanted:
            name = wanted.pop()
            if name not in {posixpath.basename(path) for path in files}:
                library = outside.get(name) or self._from_libdirs(name, platform)
                if library is not None:
                    files[name] = library
                    wanted += SideModule(library).needed
        return files

    def _from_libdirs(self, name: str, platform: Platform) -> PackageFile | None:
        library, _ = self.libraries.find(posixpath.basename(name), self.package, [platform])
        return None if library is None else library.side.file
