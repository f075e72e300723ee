"""The folder of a bundle: wheels, an index, lock files, requirements and a report. It is replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conda2wheel.bundle.lockfile import LOCK_NAME, BundleLock
from conda2wheel.bundle.pypi import PyPIWheel
from conda2wheel.bundle.requirements import BundleMember
from conda2wheel.bundle.target import BundleTarget
from conda2wheel.bundle.unsatisfied import UnsatisfiedRequest
from conda2wheel.errors import Failed
from conda2wheel.files.escape import printable
from conda2wheel.files.writing import write_file
from conda2wheel.index.locks import lock_files, project_of
from conda2wheel.index.pyodide_lock import LockEntry
from conda2wheel.index.simple import write_index
from conda2wheel.results import ConversionWarning, Converted

REPORT = "report.json"
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        folder: where it is.
        wheels: the converted wheels, and the common wheel of `share_libs` as the last one.
        lock: the content of its `bundle.lock`.
        members: every distribution that its wheels require, transitively; empty for a locked build.
        warnings: what concerns the bundle and no single wheel.
        seconds: how long it took.
    """

    folder: Path
    wheels: tuple[Converted, ...]
    lock: BundleLock
    members: tuple[BundleMember, ...]
    warnings: tuple[ConversionWarning, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def unsatisfied(self) -> tuple[UnsatisfiedRequest, ...]:
        """The requested packages that have no wheel in the folder."""
        return self.lock.unsatisfied

    @property
    def pypi(self) -> tuple[PyPIWheel, ...]:
        """The wheels of PyPI in the folder."""
        return self.lock.pypi

    def json(self) -> dict[str, Any]:
        """Return the one entry of `results`: the report, with status, folder and time."""
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
        """Return the content of `report.json`, which has no paths and times of this machine."""
        lock = self.lock
        return {
            "requested": list(lock.requested),
            "platform": lock.target,
            "pyodide": lock.pyodide,
            "wheels": [_wheel_report(each) for each in self.wheels],
            "pypi": [each.json() for each in lock.pypi],
            "shipped": [each.json() for each in lock.shipped],
            "left": [each.json() for each in lock.external],
            "absent": [each.json() for each in lock.absent],
            "folded": [{"conda": conda, "project": project} for conda, project in lock.folded],
            "unsatisfied": [each.json() for each in self.unsatisfied],
            "warnings": [each.json() for each in self.warnings],
        }


def _wheel_report(wheel: Converted) -> dict[str, Any]:
    """The entry of a wheel, the same on every machine and in every run."""
    warnings = sorted(wheel.warnings, key=lambda each: (each.code, each.file or "", each.message))
    return {**wheel.json(), "wheel": wheel.filename, "warnings": [each.json() for each in warnings], "seconds": None}


def require_replaceable(out: Path) -> None:
    """Check that a folder may be replaced by a bundle.

    Raises:
        Failed: usage, for a file, and for a folder that is neither empty nor a bundle.
    """
    if not os.path.lexists(out):
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / LOCK_NAME).is_file()):
        raise Failed("usage", f"{out}: is there already, and is no bundle", "give -o another folder")


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`. It replaces `out` when the block ends, and is removed if the block raises.

    Raises:
        Failed: disk.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            yield new
            require_replaceable(out)
            if out.exists():
                out.rename(Path(temporary) / "old")
            new.rename(out)
    except OSError as error:
        why = error.strerror or error
        raise Failed("disk", f"cannot write {out}: {why}", "check the folder, its permissions and the free space") from error


def write_bundle(folder: Path, bundle: Bundle, target: BundleTarget) -> Bundle:
    """Write index, lock files, requirements and report beside the wheels in `folder`.

    Returns:
        The bundle, with warnings about its lock files.

    Raises:
        Failed: disk.
    """
    wheels = sorted(folder.glob("*.whl"))
    lock = bundle.lock
    write_index(folder, wheels, lock.url)
    digests = {**lock.wheels, **{each.filename: each.sha256 for each in lock.pypi}}
    entries = [LockEntry.of_file(wheel, wheel.name, digests[wheel.name], target.runtime.python_version) for wheel in wheels]
    files = lock_files(
        entries,
        target.runtime,
        merge=target.pyodide is not None,
        base=lock.url,
        own=lock.pyodide_url,
        known={project_of(each.requirement) for each in lock.external},
    )
    files.write(folder)
    bundle = replace(bundle, warnings=(*bundle.warnings, *files.warnings))
    _write(folder / LOCK_NAME, lock.text())
    _write(folder / REQUIREMENTS, requirements_text(bundle))
    report = {"schema": 1, **bundle.report()}
    _write(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return bundle


def requirements_text(bundle: Bundle) -> str:
    """Return the content of `requirements.txt`, which installs the whole bundle.

    Requirements have hashes only if all of them are in the bundle: pip wants hashes for all requirements or for none.
    """
    lock = bundle.lock
    wheels: list[Converted | PyPIWheel] = [*bundle.wheels, *lock.pypi]
    hashes = {each.name: each.sha256 for each in wheels}
    versions = {each.name: each.version for each in wheels}
    lines = [f"# made by conda2wheel {lock.made_by} from: {printable(' '.join(lock.requested))}"]
    if lock.shipped:
        lines.append("# from Pyodide itself: " + printable(", ".join(f"{each.pypi} {each.version}" for each in lock.shipped)))
    for name in sorted(versions, key=str.lower):
        pin = f"{name}=={versions[name]}"
        lines.append(pin if lock.external else f"{pin} --hash=sha256:{hashes[name]}")
    if lock.external:
        lines += ["# not in this folder:", *(printable(each.requirement) for each in lock.external)]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    write_file(path, lambda: iter([text.encode()]))


def remove_other_wheels(folder: Path, filenames: set[str]) -> None:
    """Remove the wheels of earlier rounds of solving: those that are not among `filenames`."""
    for path in folder.glob("*.whl"):
        if path.name not in filenames:
            path.unlink()
