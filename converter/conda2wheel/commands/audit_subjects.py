"""What an audit is given, opened: wheels, folders of wheels, conda packages and side modules, as units to be judged.

Opening decides nothing about whether anything runs: it gathers the modules, and says for which platforms they were made. A
package is judged as `convert` would write it, with what contradicts the platform let pass, since the audit is there to say
it; one that `convert` refuses is judged as its files are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from conda2wheel.results import ConversionWarning
from conda2wheel.wasm.binary import MAGIC
from conda2wheel.wheel.reader import Wheel, read_wheel

if TYPE_CHECKING:
    from conda2wheel.commands.pipeline import Context

Kind = Literal["wheel", "package", "module"]
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
    from conda2wheel.commands.audit_packages import open_as_package  # with all of convert, which a wheel does not need

    try:
        return open_as_package(source, forced, context())
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
