"""Lock files for wheels: those at hand, wherever they come from, or those of a bundle that is made for it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from packaging.version import Version

from conda2wheel.abi.platforms import Platform, for_pyodide, parse, platforms, unknown_pyodide, whole_version
from conda2wheel.bundle.build import bundle_specs
from conda2wheel.bundle.sources import has_files, is_path
from conda2wheel.bundle.unsatisfied import UnsatisfiedRequest
from conda2wheel.commands.pipeline import PipelineKeywords
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.errors import Failed, Refused, require_several
from conda2wheel.files.packagefile import FileBlob
from conda2wheel.files.writing import write_file
from conda2wheel.index.locks import PYODIDE_LOCK, LockFiles, lock_files, require_addresses
from conda2wheel.index.pylock import NAME as PYLOCK
from conda2wheel.index.pyodide_lock import LockEntry
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.fetch import pyodide as fetch_pyodide
from conda2wheel.pyodide.lock import Runtime, runtime_of_platform
from conda2wheel.pyodide.wheelfile import WheelFile, open_wheel
from conda2wheel.results import ConversionWarning


@dataclass(frozen=True)
class Locked:
    """Lock files that were written.

    Attributes:
        source: what was given.
        folder: where they are.
        pyodide: the version of Pyodide that they are for.
        platform: its platform tag.
        entries: the wheels in them.
        left_out: why the other wheels are not in them, by file name.
        missing: requirements that nothing in `pyodide-lock.json` satisfies.
        warnings: what concerns the lock files.
        unsatisfied: requested packages that have no wheel; wheels that were named and are left out.
        seconds: how long it took.
    """

    source: str
    folder: Path
    pyodide: str
    platform: str
    entries: tuple[LockEntry, ...]
    left_out: dict[str, str]
    missing: tuple[str, ...] = ()
    warnings: tuple[ConversionWarning, ...] = ()
    unsatisfied: tuple[UnsatisfiedRequest, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The lock files."""
        return (self.folder / PYODIDE_LOCK, self.folder / PYLOCK)

    def json(self) -> dict[str, Any]:
        """Return the one entry of `results`."""
        return {
            "source": self.source,
            "status": "locked",
            "code": None,
            "message": None,
            "hint": None,
            "files": list(map(str, self.files)),
            "pyodide": self.pyodide,
            "platform": self.platform,
            "wheels": [
                {"name": each.name, "version": each.version, "filename": each.filename, "sha256": each.sha256, "size": each.size}
                for each in self.entries
            ],
            "left_out": [{"filename": name, "message": why} for name, why in sorted(self.left_out.items())],
            "missing": list(self.missing),
            "unsatisfied": [each.json() for each in self.unsatisfied],
            "warnings": [each.json() for each in self.warnings],
            "seconds": round(self.seconds, 3),
        }


def lock(
    sources: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    pyodide: str | None = None,
    with_pyodide: bool = False,
    url: str | None = None,
    pyodide_url: str | None = None,
    complete: bool = False,
    **keywords: Unpack[PipelineKeywords],
) -> Locked:
    """Write `pyodide-lock.json` and `pylock.toml` for wheels.

    Args:
        sources: wheels and folders of wheels, of any build tool; or what `bundle_specs` takes: then a bundle is made first.
        out: the folder for the lock files. By default that of the wheels if one folder is given, else the working folder; for a
            bundle "bundle".
        pyodide: a version of Pyodide, or a series for its newest known version. By default the newest one of the
            wheels' platform.
        with_pyodide: merge `pyodide-lock.json` with that of Pyodide.
        url: the URL at which the wheels will be served, all in one folder. Without it, the lock files name them relative to
            themselves.
        pyodide_url: the URL of the folder that has Pyodide's own packages.
        complete: as for `bundle_specs`.
        keywords: those of `bundle_specs`, for a bundle.

    Raises:
        Refused: unknown-abi, if no wheel fits the Pyodide; as `bundle_specs`, and corrupt-archive.
        Failed: usage (no such Pyodide, wheels for several platforms, wheels beside other sources), not-found, disk; and as
            `bundle_specs`.

    >>> lock(["dist"], pyodide="0.29").files  # doctest: +SKIP
    (PosixPath('dist/pyodide-lock.json'), PosixPath('dist/pylock.toml'))
    """
    require_several("sources", sources)
    require_addresses(url, pyodide_url, with_pyodide)
    started = time.monotonic()
    texts = list(map(str, sources))
    version = None if pyodide is None else whole_version(pyodide)
    if pyodide is not None and (version is None or for_pyodide(version) is None):
        raise Failed("usage", *unknown_pyodide(pyodide))
    for each in texts:
        if is_path(each) and _is_folder_of_nothing(each):
            raise Failed("not-found", *_no_wheels(each))
    wheels = [each for each in texts if _has_wheels(each)]
    if not wheels:
        folder = Path("bundle" if out is None else out)
        given: Any = {**keywords, "platform": version or keywords.get("platform", "auto")}
        try:
            bundle = bundle_specs(
                texts,
                out=folder,
                with_pyodide=with_pyodide,
                url=url,
                pyodide_url=pyodide_url,
                complete=complete,
                **given,
            )
        except Failed as error:
            raise _or_a_path(error, texts) from error
        target = parse(bundle.lock.target)
        runtime = _runtime(version or bundle.lock.pyodide, [], target, with_pyodide)
        files = _locked(sorted(folder.glob("*.whl")), folder, runtime, with_pyodide, None, pyodide_url)
        # A bundle is for a platform, and its lock file for the newest Pyodide of it; some compare their version with the file's.
        write_file(folder / PYODIDE_LOCK, lambda: iter([files.pyodide.data]))
        return _result(texts, folder, runtime, files, bundle.warnings, bundle.unsatisfied, started)
    if len(wheels) < len(texts):
        other = next(each for each in texts if each not in wheels)
        raise Failed("usage", f"{other}: no wheel, beside wheels", "lock wheels, or packages of which a bundle is made")
    folder = Path(out) if out is not None else Path(texts[0]) if len(texts) == 1 and os.path.isdir(texts[0]) else Path()
    paths = [path for each in texts for path in _wheels_of(Path(each))]
    opened = [open_wheel(path) for path in paths]
    runtime = _runtime(version, opened, None, with_pyodide)
    files = _locked(paths, folder, runtime, with_pyodide, url, pyodide_url)
    if not files.pyodide.entries:
        first = f"{paths[0].name}: {files.pyodide.left_out[paths[0].name]}"
        raise Refused("unknown-abi", f"no wheel can be locked: {first}", "give --pyodide with the version that they are for")
    _make(folder)
    files.write(folder)
    named = {Path(each).name for each in texts if each.endswith(".whl")}
    refused = tuple(
        UnsatisfiedRequest(name, "unknown-abi", why) for name, why in sorted(files.pyodide.left_out.items()) if name in named
    )
    return _result(texts, folder, runtime, files, files.warnings, refused, started)


def _result(
    texts: Sequence[str],
    folder: Path,
    runtime: Runtime,
    files: LockFiles,
    warnings: tuple[ConversionWarning, ...],
    unsatisfied: tuple[UnsatisfiedRequest, ...],
    started: float,
) -> Locked:
    return Locked(
        source=" ".join(texts),
        folder=folder,
        pyodide=runtime.version,
        platform=f"{runtime.platform}_wasm32",
        entries=files.pyodide.entries,
        left_out=dict(files.pyodide.left_out),
        missing=tuple(map(str, files.pyodide.missing)),
        warnings=warnings,
        unsatisfied=unsatisfied,
        seconds=time.monotonic() - started,
    )


def _or_a_path(error: Failed, texts: Sequence[str]) -> Failed:
    """The error of a bundle; where no channel has or answers for a name, it says which names could have been meant as folders."""
    folders = [each for each in texts if _is_folder_of_nothing(each)]
    if error.code in ("network", "not-found") and folders:
        message, hint = _no_wheels(folders[0])
        return Failed("not-found", f"{message}, and as a match spec: {error.message}", hint)
    names = [each for each in texts if not os.path.lexists(each) and re.fullmatch(r"[\w.-]+", each)]
    if error.code != "network" or not names:
        return error
    which = ", ".join(names)
    return Failed(error.code, f"{error.message} ({which}: no such file or folder, so taken as a match spec)", error.hint)


def _is_folder_of_nothing(source: str) -> bool:
    return os.path.isdir(source) and not has_files(source, (".whl", *PACKAGE_SUFFIXES))


def _no_wheels(folder: str) -> tuple[str, str]:
    """The message and the hint about a folder without wheels."""
    return f"{folder}: has no wheels or packages", "give a folder that has some, or the wheels"


def _has_wheels(source: str) -> bool:
    """Whether a source is a wheel, or a folder with wheels."""
    if os.path.isdir(source):
        return has_files(source, (".whl",))
    return source.endswith(".whl")


def _wheels_of(path: Path) -> list[Path]:
    return sorted(path.glob("*.whl")) if path.is_dir() else [path]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(
            "disk", f"cannot write {folder}: {error.strerror or error}", "check the folder and its permissions"
        ) from error


def _locked(
    wheels: Iterable[Path], folder: Path, runtime: Runtime, merge: bool, url: str | None, pyodide_url: str | None
) -> LockFiles:
    """Make the lock files of wheels on disk, for a folder."""
    entries = []
    for wheel in wheels:
        place = f"{url.rstrip('/')}/{wheel.name}" if url is not None else _relative(wheel, folder)
        digest = FileBlob(wheel, wheel.stat().st_size).sha256
        entries.append(LockEntry.of_file(wheel, place, digest, runtime.python_version))
    return lock_files(entries, runtime, merge=merge, own=pyodide_url)


def _relative(wheel: Path, folder: Path) -> str:
    """The path of a wheel relative to a folder, as in a URL."""
    try:
        return Path(os.path.relpath(wheel.absolute(), folder.absolute())).as_posix()
    except ValueError:  # Windows: on another drive
        raise Failed("usage", f"{wheel}: is on another drive than {folder}", "give -o a folder on that drive, or --url") from None


def _runtime(version: str | None, wheels: Sequence[WheelFile], target: Platform | None, merge: bool) -> Runtime:
    """The Pyodide to lock for: that of a version, else the newest one of the wheels' platform.

    Raises:
        Failed: usage, if the wheels are for several platforms or for none that a Pyodide has.
    """
    row = target if version is None else for_pyodide(version)
    if row is None:
        row = _platform(wheels)
    newest = version or max((known for known, _ in row.pyodide), key=Version)
    if merge:
        return fetch_pyodide(newest, cache_folder())
    return runtime_of_platform(row, newest)


def _platform(wheels: Sequence[WheelFile]) -> Platform:
    """The platform of wheels; the newest one that is released for wheels of pure Python."""
    named = [{row.name for tag in wheel.tags if (row := parse(tag.platform)) is not None} for wheel in wheels]
    candidates = [row for row in platforms() if row.pyodide and all(row.name in names for names in named if names)]
    if not candidates:
        tags = ", ".join(sorted({tag.platform for wheel in wheels for tag in wheel.tags} - {"any"}))
        raise Failed("usage", f"the wheels are for {tags}, and no Pyodide takes all of them", "give --pyodide")
    return ([row for row in candidates if not row.prerelease] or candidates)[-1]
