"""What an audit is given, opened: wheels, folders of wheels, conda packages and side modules, as units to be judged.

Opening decides nothing about whether anything runs: it gathers the modules, and says for which platforms they were made. A
package is judged as `convert` would write it, with what contradicts the platform let pass, since the audit is there to say
it; one that `convert` refuses is judged as its files are.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform, parse, release
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, side_modules
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import BytesBlob, Limits, PackageFile
from conda2wheel.files.reading import read_file, unreadable
from conda2wheel.net.download import is_url, redacted
from conda2wheel.results import ALLOWED, ConversionWarning
from conda2wheel.wasm.binary import MAGIC
from conda2wheel.wheel.reader import Wheel, read_wheel

if TYPE_CHECKING:
    from conda2wheel.commands.pipeline import Context, Prepared
    from conda2wheel.conda.package import CondaPackage
    from conda2wheel.link.library_index import LibraryIndex

Kind = Literal["wheel", "package", "module"]
_SAID_BY_AUDIT = (ALLOWED, "cannot-catch", "no-pyodide")
_SITE = re.compile(r"^(?:.*/)?site-packages/")
_DATA = re.compile(r"^[^/]+\.data/(?:platlib|purelib)/")  # what installers move to site-packages


@dataclass(frozen=True, eq=False)
class Subject:
    """One input. `unit` gives its modules as they would be installed on a platform. `platforms` are those that it was made
    for, oldest first; none where nothing says so. `project` is its normalised name, "" for a lone module: one site-packages
    holds one version of a project."""

    source: str
    kind: Kind
    platforms: tuple[Platform, ...]
    unit: Callable[[Platform], AuditUnit]
    project: str = ""
    version: str = "0"
    warnings: tuple[ConversionWarning, ...] = ()


def newest(subjects: Iterable[Subject]) -> list[Subject]:
    """Of each project the newest version: what one site-packages can hold."""
    found: dict[str, Subject] = {}
    for subject in subjects:
        if subject.project not in found or Version(found[subject.project].version) < Version(subject.version):
            found[subject.project] = subject
    return list(found.values())


def open_subjects(
    sources: Iterable[str], forced: Platform | None, limits: Limits, context: Callable[[], Context]
) -> dict[str, Subject | Conda2WheelError]:
    """What paths and URLs name, by its own name, in order: each wheel of a folder of wheels, each package of a prefix; what
    cannot be opened as its error. `forced` is the platform that the caller names: a package is planned for it. `context` gives
    what packages are converted with; wheels need none, and it takes a while to import."""
    found: dict[str, Subject | Conda2WheelError] = {}
    for source in dict.fromkeys(each for given in sources for each in _expand(given)):
        try:
            subject = _open(source, forced, limits, context)
        except Conda2WheelError as error:
            found[redacted(source) if is_url(source) else source] = error
        else:
            found[subject.source] = subject
    return found


def wheels_in(folders: Iterable[str | Path], limits: Limits) -> tuple[list[Subject], list[ConversionWarning]]:
    """The wheels of these folders; one that cannot be read is a warning.

    Raises `Failed` (not-found, unreadable) for a folder that is not there or closed.
    """
    subjects: list[Subject] = []
    notes: list[ConversionWarning] = []
    for folder in map(str, folders):
        if not os.path.isdir(folder):
            raise Failed("not-found", f"--find-links {folder}: no such folder", "check the path")
        for path in _wheels(folder):
            try:
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
    except Failed:  # opening it will say so
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
    """A file by itself, with the libraries beside it that it NEEDs."""
    modules: dict[str, SideModule] = {}
    wanted = [path]
    while wanted:
        file = wanted.pop()
        name = file.name if SHARED_OBJECT.search(file.name) else f"{file.name}.so"
        if name not in modules:
            modules[name] = SideModule(PackageFile(name, BytesBlob(_read(file, limits))))
            needed = modules[name].needed
            wanted += [path.with_name(each) for each in needed if "/" not in each and os.path.isfile(path.with_name(each))]
    unit = AuditUnit(str(path), modules)
    return Subject(str(path), "module", (), lambda platform: unit)


def _wheel(path: Path, limits: Limits) -> Subject:
    wheel = read_wheel(path, limits, SHARED_OBJECT)
    found = side_modules(wheel.files)
    modules = {_DATA.sub("", name): found[name] for name in wheel.order if name in found}
    floors = [tag.interpreter for tag in wheel.tags if tag.abi == "abi3" and re.fullmatch(r"cp3\d+", tag.interpreter)]
    unit = AuditUnit(wheel.path.name, modules, wheel.distribution, min(floors, key=lambda tag: int(tag[3:]), default=None))
    platforms, warnings = _made_for(wheel, found) if modules else ((), ())
    return Subject(
        wheel.source, "wheel", platforms, lambda platform: unit, canonicalize_name(wheel.name), wheel.version, warnings
    )


def _made_for(wheel: Wheel, modules: Mapping[str, SideModule]) -> tuple[tuple[Platform, ...], tuple[ConversionWarning, ...]]:
    """The platforms that its tag names; where it names none, what its suffixes and binaries say, with a warning."""
    rows = {row.name: row for tag in wheel.tags if (row := parse(tag.platform)) is not None}
    if rows:
        return tuple(sorted(rows.values(), key=lambda row: release(row.emscripten))), ()
    from conda2wheel.wheel.retag import retag

    try:
        tagged = retag(wheel, {path: binary for path, binary in modules.items() if binary.kind.is_loadable}, {}, tolerant=True)
    except Refused:
        return (), ()
    notes = tuple(warning for warning in tagged.warnings if warning.code == "platform-from-interpreter")
    return tuple(decision.platform for decision in tagged.decisions), notes


def _package(source: str, forced: Platform | None, context: Context) -> Subject:
    """The package that a path or URL names, planned as `convert` plans it; `forced` is the platform that the caller names.

    Raises:
        Refused: the package is damaged, hostile or too large.
        Failed: not-found, network, unreadable, disk.
    """
    # Wheels need nothing of this, and it takes a while to import.
    from conda2wheel.channels.open import open_package
    from conda2wheel.commands.pipeline import prepare_package, read_package
    from conda2wheel.options import ALLOWABLE, Options

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
        found = [file for file in self.package.files if any(SHARED_OBJECT.search(name) for name in file.names)]
        files = {_SITE.sub("", file.path): file for file in found if _SITE.match(file.path)}
        outside = {name: file for file in found if not _SITE.match(file.path) for name in sorted(file.names)}
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
        return None if library is None else library.side.file
