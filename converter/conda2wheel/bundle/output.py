"""The folder of a set: wheels, an index, lock files, requirements, a report; it takes its place whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conda2wheel.bundle import lockfile as lock_file
from conda2wheel.bundle.lockfile import Lock
from conda2wheel.bundle.needs import Member
from conda2wheel.bundle.pypi import FromPyPI
from conda2wheel.bundle.target import Target
from conda2wheel.errors import Failed
from conda2wheel.files.writing import write_file
from conda2wheel.index.pyodide_lock import Entry, beside, merged
from conda2wheel.index.simple import write_index
from conda2wheel.results import ConversionWarning, Converted

REPORT = "report.json"
REQUIREMENTS = "requirements.txt"
PYODIDE_LOCK = "pyodide-lock.json"


@dataclass(frozen=True)
class Bundle:
    """A set that was made: where it lies, its wheels, and what it has not. `lock` tells everything else."""

    folder: Path
    wheels: tuple[Converted, ...]
    lock: Lock
    members: tuple[Member, ...]
    warnings: tuple[ConversionWarning, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def pypi(self) -> tuple[FromPyPI, ...]:
        """Wheels of PyPI that came along."""
        return self.lock.pypi

    def json(self) -> dict[str, Any]:
        """The one entry of `results`, and with `converted` the report of the folder."""
        return {
            "source": " ".join(self.lock.requested),
            "status": "bundled",
            "code": None,
            "message": None,
            "hint": None,
            "folder": str(self.folder),
            **self.report(),
            "seconds": round(self.seconds, 3),
        }

    def report(self) -> dict[str, Any]:
        """What the set is made of, without places and times of this machine."""
        lock = self.lock
        wheels = [_told(each) for each in self.wheels]
        return {
            "requested": list(lock.requested),
            "platform": lock.target,
            "pyodide": lock.pyodide,
            "wheels": wheels,
            "pypi": [each.json() for each in lock.pypi],
            "shipped": [each.json() for each in lock.shipped],
            "left": [each.json() for each in lock.left],
            "absent": [each.json() for each in lock.absent],
            "folded": [{"conda": conda, "project": project} for conda, project in lock.folded],
            "warnings": [each.json() for each in self.warnings],
        }


def _told(wheel: Converted) -> dict[str, Any]:
    """A wheel as the report has it: the same whenever and wherever it was made."""
    notes = sorted(wheel.warnings, key=lambda each: (each.code, each.file or "", each.message))
    return {**wheel.json(), "wheel": wheel.filename, "warnings": [each.json() for each in notes], "seconds": None}


def require_place(out: Path) -> None:
    """Raises `Failed` (usage) for a folder that is somebody else's: not empty, and no set that this made."""
    if not os.path.lexists(out):
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / lock_file.NAME).is_file()):
        raise Failed("usage", f"{out}: is there already, and is no bundle", "give -o another folder")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to fill; when the block ends well it takes the place of `out`, else it is gone. Raises `Failed` (disk)."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as beside:
            new = Path(beside) / "new"
            new.mkdir()
            yield new
            require_place(out)
            if out.exists():
                out.rename(Path(beside) / "old")
            new.rename(out)
    except OSError as error:
        why = error.strerror or error
        raise Failed("disk", f"cannot write {out}: {why}", "check its folder, its rights and its room") from error


def write(folder: Path, made: Bundle, goal: Target) -> Bundle:
    """Write everything but the wheels, which lie there; and what is to be said of it. Raises `Failed` (disk)."""
    wheels = sorted(folder.glob("*.whl"))
    write_index(folder, wheels, made.lock.url)
    digests = {**made.lock.wheels, **{each.filename: each.sha256 for each in made.lock.pypi}}
    entries = [Entry.of_file(wheel, wheel.name, digests[wheel.name], goal.runtime.python_version) for wheel in wheels]
    own = made.lock.pyodide_url
    pyodides = merged(entries, goal.runtime, own) if goal.pyodide else beside(entries, goal.runtime)
    write_file(folder / PYODIDE_LOCK, lambda: iter([pyodides.data]))
    notes = [
        ConversionWarning("not-locked", f"is not in {PYODIDE_LOCK}: {why}", name)
        for name, why in sorted(pyodides.left_out.items())
    ]
    notes += [ConversionWarning("replaces-pyodide", str(each)) for each in pyodides.replaced]
    notes += [
        ConversionWarning("not-locked", f"{who} does not depend on {what} in {PYODIDE_LOCK}: a circle")
        for who, what in pyodides.cut
    ]
    known = {each.requirement for each in made.lock.left}
    notes += [
        ConversionWarning("not-locked", f"{PYODIDE_LOCK} has nothing for this: {each}")
        for each in pyodides.missing
        if not any(_project(each.requirement) == _project(left) for left in known)
    ]
    made = replace(made, warnings=(*made.warnings, *notes))
    _write(folder / lock_file.NAME, made.lock.text())
    _write(folder / REQUIREMENTS, requirements(made))
    report = {"schema": 1, **made.report()}
    _write(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return made


def requirements(made: Bundle) -> str:
    """requirements.txt: what somebody installs to have the whole set. With hashes where nothing is left to other indexes, since
    pip wants them for all or for none."""
    hashes = {each.name: each.sha256 or "" for each in made.wheels} | {each.name: each.sha256 for each in made.pypi}
    versions = {each.name: each.version for each in made.wheels} | {each.name: each.version for each in made.pypi}
    lines = [f"# made by conda2wheel {made.lock.made_by} from: {' '.join(made.lock.requested)}"]
    if made.lock.shipped:
        lines.append("# from Pyodide itself: " + ", ".join(f"{each.pypi} {each.version}" for each in made.lock.shipped))
    for name in sorted(versions, key=str.lower):
        pin = f"{name}=={versions[name]}"
        lines.append(pin if made.lock.left else f"{pin} --hash=sha256:{hashes[name]}")
    if made.lock.left:
        lines += ["# not in this folder:", *(each.requirement for each in made.lock.left)]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    write_file(path, lambda: iter([text.encode()]))


def _project(requirement: str) -> str:
    try:
        return str(canonicalize_name(Requirement(requirement).name))
    except InvalidRequirement:
        return requirement


def clear(folder: Path, keep: set[str]) -> None:
    """Take away wheels that a choice before the last one had."""
    for path in folder.glob("*.whl"):
        if path.name not in keep:
            path.unlink()
