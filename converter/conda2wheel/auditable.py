"""What an audit is given, opened: wheels, folders of wheels, conda packages and side modules as units to be judged.

A package is judged as `convert` would write it: planned and linked, with what contradicts the platform let pass, since the
audit is there to say it. A package that is no Python package is judged as its files are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conda2wheel.abi.audit import Unit
from conda2wheel.abi.platforms import Platform, parse
from conda2wheel.conda.binaries import SHARED_OBJECT
from conda2wheel.conda.files import Limits, PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.conda.source import is_url, open_package
from conda2wheel.gate import ALLOWABLE
from conda2wheel.libdirs import LibraryIndex
from conda2wheel.outcome import ALLOWED, Conda2WheelError, Failed, Refused, Warned
from conda2wheel.wasm.binary import MAGIC
from conda2wheel.wheel.reader import Wheel, read_wheel

SITE = re.compile(r"^(?:lib/python3\.\d+/site-packages|site-packages)/")


@dataclass(frozen=True)
class Subject:
    """One input: what a person called it, what it is, its unit, and the platform that it is for where it says so."""

    source: str
    kind: str
    unit: Unit
    platform: Platform | None
    warnings: tuple[Warned, ...] = ()


def open_subjects(
    paths: Iterable[str | Path], forced: Platform | None, libdirs: Iterable[str | Path], limits: Limits
) -> Iterator[Subject | Conda2WheelError]:
    """Every input in order, folders of wheels as their wheels; what cannot be opened as its error. Units' names differ."""
    index = LibraryIndex(libdirs, limits)
    taken: set[str] = set()
    for path in paths:
        for source in _expand(str(path)):
            try:
                subject = _open(source, forced, index, limits, taken)
            except Conda2WheelError as error:
                yield error
            else:
                taken.add(subject.unit.name)
                yield subject


def wheels_in(folders: Iterable[str | Path], given: set[str], limits: Limits) -> tuple[list[Unit], list[Warned]]:
    """The wheels of these folders as units, without those that were `given` as inputs; one that cannot be read is a warning.

    Raises `Failed` (not-found) for a folder that is not there.
    """
    seen = {Path(source).resolve() for source in given if not is_url(source)}
    units: list[Unit] = []
    notes: list[Warned] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise Failed("not-found", f"--find-links {folder}: no such folder", "check the path")
        for path in sorted(Path(folder).glob("*.whl")):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                units.append(_wheel_unit(read_wheel(path, limits), str(path)))
            except Conda2WheelError as error:
                notes.append(Warned("find-links-skipped", str(error), str(path)))
    return units, notes


def _expand(source: str) -> list[str]:
    path = Path(source)
    if is_url(source) or not path.is_dir():
        return [source]
    return [str(wheel) for wheel in sorted(path.glob("*.whl"))] or [source]


def _open(source: str, forced: Platform | None, index: LibraryIndex, limits: Limits, taken: set[str]) -> Subject:
    if not is_url(source) and Path(source).is_file():
        if source.endswith(".whl"):
            wheel = read_wheel(Path(source), limits)
            name = wheel.path.name if wheel.path.name not in taken else source
            return Subject(source, "wheel", _wheel_unit(wheel, name), _platform(wheel))
        if _is_module(Path(source)):
            return _module(Path(source), limits)
    return _package(open_package(source, limits), source, forced, index)


def _is_module(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC or bool(SHARED_OBJECT.search(path.name))
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error.strerror}", "make it readable for this user") from None


def _module(path: Path, limits: Limits) -> Subject:
    """A file by itself, with the libraries beside it, which its NEEDED may name."""
    try:
        if path.stat().st_size > limits.member_size:
            raise Refused("too-large", f"{path}: {path.stat().st_size} bytes", "raise --max-member-size if you trust it")
        data = path.read_bytes()
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error.strerror}", "make it readable for this user") from None
    return Subject(str(path), "module", Unit(str(path), {path.name: data}), None)


def _wheel_unit(wheel: Wheel, name: str) -> Unit:
    """Its modules by the place where they are installed, relative to site-packages."""
    schemes = re.compile(rf"^{re.escape(wheel.path.name.split('-')[0])}-[^/]*\.data/(?:purelib|platlib)/")
    native = {schemes.sub("", file.path): file for file in wheel.files if SHARED_OBJECT.search(file.path)}
    abi3 = next((tag.interpreter for tag in wheel.tags if tag.abi == "abi3"), None)
    return Unit(name, _bytes(native), wheel.path.name.split("-")[0], abi3)


def _platform(wheel: Wheel) -> Platform | None:
    rows = [row for tag in wheel.tags if (row := parse(tag.platform)) is not None]
    return next((row for row in rows if row.pyodide), rows[0] if rows else None)


def _package(package: CondaPackage, source: str, forced: Platform | None, index: LibraryIndex) -> Subject:
    from conda2wheel.convert import link_plan, unit_of
    from conda2wheel.wheel.plan import plan_wheel

    try:
        plan = plan_wheel(package, forced, allow=ALLOWABLE)
        linked = link_plan(plan, index, allow=ALLOWABLE)
    except Refused as refusal:
        note = Warned("not-converted", f"convert refuses it, so its files are judged as they are: {refusal}")
        return Subject(source, "package", _as_it_is(package), forced, (note,))
    notes = [warning for warning in (*plan.warnings, *linked.warnings) if warning.code not in (ALLOWED, "cannot-catch")]
    return Subject(source, "package", unit_of(plan, linked), plan.decision.platform if plan.decision else None, tuple(notes))


def _as_it_is(package: CondaPackage) -> Unit:
    """Its shared objects: those of site-packages in their place, others where a loader finds libraries by name."""
    native = {
        SITE.sub("", file.path) if SITE.match(file.path) else posixpath.basename(file.path): file
        for file in package.files
        if SHARED_OBJECT.search(file.name)
    }
    return Unit(package.stem, _bytes(native))


def _bytes(files: Mapping[str, PackageFile]) -> dict[str, bytes]:
    return {path: file.blob.read() for path, file in files.items()}
