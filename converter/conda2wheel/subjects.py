"""What `audit` is asked about, opened: a wheel, a conda package as `convert` would link it, or a loose side module.

Opening decides nothing about whether anything runs: it gathers the modules as units of the audit, and says for which
platforms they were made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.abi.audit import Unit
from conda2wheel.abi.platforms import Platform, parse, release
from conda2wheel.conda.binaries import SHARED_OBJECT, read_binary
from conda2wheel.conda.files import Limits, PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.conda.source import expand, is_url, open_package
from conda2wheel.libdirs import LibraryIndex, names_of
from conda2wheel.link import link
from conda2wheel.outcome import Failed, Refused
from conda2wheel.wasm.binary import MAGIC
from conda2wheel.wheel.plan import Plan, plan_wheel
from conda2wheel.wheel.reader import Wheel, read_wheel
from conda2wheel.wheel.retag import retag

Kind = Literal["wheel", "package", "module"]
_IN_DATA = re.compile(r"^[^/]+\.data/(?:platlib|purelib)/")  # what installers move to site-packages
_IN_SITE = re.compile(r"^(?:.*/)?site-packages/")


@dataclass(frozen=True, eq=False)
class Subject:
    """One input. `platforms` are those that it was made for, oldest first; none where nothing says so, and where it has no
    modules. `unit` gives its modules as they would be installed on a platform. `project` is its normalised name, "" for a
    loose module: one site-packages holds one version of a project."""

    source: str
    kind: Kind
    platforms: tuple[Platform, ...]
    unit: Callable[[Platform], Unit]
    project: str = ""
    version: str = "0"
    notes: tuple[str, ...] = ()


def newest(subjects: Iterable[Subject]) -> dict[str, Subject]:
    """Of each project the newest version: what one site-packages can hold."""
    found: dict[str, Subject] = {}
    for subject in subjects:
        if subject.project not in found or Version(found[subject.project].version) < Version(subject.version):
            found[subject.project] = subject
    return found


def open_subjects(source: str, forced: Platform | None, libraries: LibraryIndex, limits: Limits) -> list[Subject]:
    """The subjects that a path or URL names: one, or each wheel of a folder of wheels, or each package of a prefix.

    `forced` is the platform that a person named: a package is planned for it. Raises `Refused` for damaged and hostile
    input, `Failed` for what cannot be read.
    """
    path = Path(source)
    if is_url(source):
        return [_package(source, forced, libraries, limits)]
    if os.path.isdir(path):
        return open_wheels(path, limits) or [_package(each, forced, libraries, limits) for each in expand(source)]
    if source.endswith(".whl"):
        return [_wheel(path, limits)]
    if os.path.isfile(path) and (SHARED_OBJECT.search(source) or _read(path, len(MAGIC)) == MAGIC):
        return [_module(path)]
    return [_package(source, forced, libraries, limits)]


def open_wheels(folder: Path, limits: Limits) -> list[Subject]:
    """Every wheel in a folder. Raises as `open_subjects`."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        raise Failed("not-found", f"{folder}: no such folder", "check the path") from None
    except OSError as error:
        raise Failed("unreadable", f"{folder}: {error.strerror or error}", "make it readable for this user") from None
    return [_wheel(folder / name, limits) for name in names if name.endswith(".whl")]


def _read(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error.strerror or error}", "make it readable for this user") from None


def _module(path: Path) -> Subject:
    name = path.name if SHARED_OBJECT.search(path.name) else f"{path.name}.so"
    unit = Unit(str(path), {name: _read(path)})
    return Subject(str(path), "module", (), lambda platform: unit)


def _wheel(path: Path, limits: Limits) -> Subject:
    wheel = read_wheel(path, limits)
    modules = {_IN_DATA.sub("", file.path): file.blob.read() for file in wheel.files if SHARED_OBJECT.search(file.name)}
    floors = [tag.interpreter for tag in wheel.tags if tag.abi == "abi3" and re.fullmatch(r"cp3\d+", tag.interpreter)]
    abi3 = min(floors, key=lambda tag: int(tag[3:]), default=None)
    platforms, notes = _made_for(wheel) if modules else ((), ())
    unit = Unit(wheel.source, modules, wheel.distribution, abi3)
    project = canonicalize_name(wheel.name)
    return Subject(wheel.source, "wheel", platforms, lambda platform: unit, project, wheel.version, notes)


def _made_for(wheel: Wheel) -> tuple[tuple[Platform, ...], tuple[str, ...]]:
    """The platforms that its tag names; where it names none, what its suffixes and binaries say. And a note of that."""
    rows = {row.name: row for tag in wheel.tags if (row := parse(tag.platform)) is not None}
    if rows:
        return tuple(sorted(rows.values(), key=lambda row: release(row.emscripten))), ()
    native = {file.path: read_binary(file) for file in wheel.files if SHARED_OBJECT.search(file.name)}
    try:
        tagged = retag(wheel, {path: binary for path, binary in native.items() if binary.kind.is_loadable}, {}, tolerant=True)
    except Refused as refusal:
        return (), (f"its tag names no platform of Pyodide's: {refusal.message}",)
    return tuple(decision.platform for decision in tagged.decisions), tuple(warning.message for warning in tagged.warnings[:1])


def _package(source: str, forced: Platform | None, libraries: LibraryIndex, limits: Limits) -> Subject:
    package = open_package(source, limits)
    project = canonicalize_name(package.name)
    try:
        plan = plan_wheel(package, forced, allow={"abi-conflict"})
    except Refused as refusal:
        made_for = () if forced is None else (forced,)
        note = f"convert would refuse it ({refusal.code}: {refusal.message}); its modules were taken as they are"
        bare = _Converted(package, None, libraries)
        return Subject(package.source, "package", made_for, bare.unit, project, notes=(note,))
    made_for = () if plan.decision is None else (plan.decision.platform,)
    converted = _Converted(package, plan, libraries)
    return Subject(package.source, "package", made_for, converted.unit, canonicalize_name(plan.name), plan.version)


@dataclass(frozen=True, eq=False)
class _Converted:
    """The wheel that `convert` would make of a package, for any platform.

    Where that would be refused, the modules are taken as they are, with the package's libraries as if they lay in
    site-packages itself, where every loader looks: so the audit has its say about everything else.
    """

    package: CondaPackage
    plan: Plan | None
    libraries: LibraryIndex
    units: dict[str, Unit] = field(default_factory=dict)

    def unit(self, platform: Platform) -> Unit:
        """The unit for a platform; one where nothing is linked, so that each module is read once."""
        if platform.name not in self.units:
            self.units[platform.name] = self._unit(platform)
        return self.units[platform.name]

    def _unit(self, platform: Platform) -> Unit:
        plan, source = self.plan, self.package.source
        if plan is None:
            return Unit(source, self._as_it_is(platform), canonicalize_name(self.package.name).replace("-", "_"))
        abi3 = plan.interpreter.python_tag if plan.interpreter.abi_tag == "abi3" else None
        try:
            linked = link(self.package, platform, plan.native, plan.libraries, self.libraries, plan.file_part)
        except Refused:  # a NEEDED library that is nowhere: the audit says so, and what else it finds
            return Unit(source, self._as_it_is(platform), plan.file_part, abi3)
        if not linked.rewritten and not linked.libraries and self.units:
            return next(iter(self.units.values()))
        files = {item.path: item.file for item in plan.placed if SHARED_OBJECT.search(item.path) and item.scheme != "scripts"}
        files |= {**linked.rewritten, **linked.libraries}
        return Unit(source, {path: file.blob.read() for path, file in files.items()}, plan.file_part, abi3)

    def _as_it_is(self, platform: Platform) -> dict[str, bytes]:
        """Side modules by their place in site-packages, and libraries by each name under which they are NEEDED."""
        found = [file for file in self.package.files if any(SHARED_OBJECT.search(name) for name in names_of(file))]
        modules = {_IN_SITE.sub("", file.path): file for file in found if _IN_SITE.match(file.path)}
        outside = {name: file for file in found if not _IN_SITE.match(file.path) for name in names_of(file)}
        wanted = [name for file in modules.values() for name in read_binary(file).needed]
        if not modules:  # a package of libraries
            wanted = [file.path.rpartition("/")[2] for file in outside.values()]
        while wanted:
            name = wanted.pop()
            if name in modules or name in {path.rpartition("/")[2] for path in modules}:
                continue
            library = outside.get(name) or self._elsewhere(name, platform)
            if library is not None:
                modules[name] = library
                wanted += read_binary(library).needed
        return {path: file.blob.read() for path, file in modules.items()}

    def _elsewhere(self, name: str, platform: Platform) -> PackageFile | None:
        library, _ = self.libraries.find(name, self.package, platform)
        return None if library is None else library.binary.file
