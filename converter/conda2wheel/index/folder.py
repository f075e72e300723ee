"""A folder of wheels with an index of static files, for any server of files: `conda2wheel index`.

    DIR/WHEEL.whl            the wheels, where they lie or copied; WHEEL.whl.metadata beside each
    DIR/simple/index.html    the index (`index.simple`)
    DIR/all.json             for piplite of JupyterLite (`index.jupyterlite`)

Wheels and their metadata are written before the pages that name them, the page of a project before the root page, and every file
beside its place and renamed. What is as it should be stays untouched.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conda2wheel.errors import Conda2WheelError, Failed, Refused, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import CHUNK, Limits
from conda2wheel.files.reading import corrupt, not_found, read_file, reading_archive, unreadable, wheels_at
from conda2wheel.files.writing import write_file
from conda2wheel.files.zips import BUILD_AGAIN, WheelArchive
from conda2wheel.index.jupyterlite import ALL_JSON, all_json, piplite_name, renamed_wheel
from conda2wheel.index.memo import FileState, WheelMemo, now
from conda2wheel.index.simple import IndexFile, html_page, index_file, pages, projects_of
from conda2wheel.net.urls import require_base
from conda2wheel.pyodide.programs import is_of_programs
from conda2wheel.results import ConversionWarning

SIMPLE = "simple"
PAGES = ("index.html", "index.json")
NO_JEKYLL = ".nojekyll"  # GitHub Pages then publishes the files as they are
METADATA = ".whl.metadata"
COMPLETE = "run it again when the wheel is complete"
_OURS = html_page("", ())[:64].encode()  # how every page of an index of ours begins


@dataclass(frozen=True)
class WheelEntry:
    """A wheel in an index.

    Attributes:
        source: the path that was given.
        path: where it is in the folder of the index.
        project: the normalised name.
        url: as the pages have it: absolute, or relative to the page of its project.
    """

    source: str
    path: Path
    project: str
    version: str
    url: str
    sha256: str
    size: int
    requires_python: str | None = None

    @property
    def filename(self) -> str:
        """Its file name."""
        return self.path.name

    def json(self) -> dict[str, Any]:
        """Return its entry of `results`."""
        return {
            "source": self.source,
            "status": "indexed",
            "code": None,
            "message": None,
            "hint": None,
            "wheel": str(self.path),
            "filename": self.filename,
            "project": self.project,
            "version": self.version,
            "requires_python": self.requires_python,
            "url": self.url,
            "sha256": self.sha256,
            "size": self.size,
        }


def refused_json(source: str | None, error: Conda2WheelError) -> dict[str, Any]:
    """Return the entry of `results` for a wheel that is not in the index."""
    return {
        "source": source,
        "status": "refused" if isinstance(error, Refused) else "failed",
        "code": error.code,
        "message": error.message,
        "hint": error.hint or None,
        **dict.fromkeys(("wheel", "filename", "project", "version", "requires_python", "url", "sha256", "size")),
    }


@dataclass(frozen=True)
class WheelIndex:
    """An index that was written.

    Attributes:
        folder: the folder that has `simple/`.
        wheels: the wheels in it, by file name.
        projects: the normalised names of their projects.
        errors: the wheels that could not be indexed, each with the reason.
        removed: the projects whose pages were removed.
        written: the number of files that were written; the others were as they should be.
        all_json: the file for piplite of JupyterLite, where one was wanted.
        warnings: what concerns no single wheel.
        seconds: how long it took.
    """

    folder: Path
    wheels: tuple[WheelEntry, ...]
    projects: tuple[str, ...]
    errors: tuple[tuple[str, Conda2WheelError], ...] = ()
    removed: tuple[str, ...] = ()
    written: int = 0
    all_json: Path | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def simple(self) -> Path:
        """The folder of the pages."""
        return self.folder / SIMPLE

    def json(self) -> dict[str, Any]:
        """Return the JSON form without `results`."""
        return {
            "folder": str(self.folder),
            "projects": list(self.projects),
            "removed": list(self.removed),
            "written": self.written,
            "all_json": None if self.all_json is None else str(self.all_json),
            "warnings": [warning.json() for warning in self.warnings],
            "seconds": round(self.seconds, 3),
        }


def index_wheels(
    wheels: Iterable[str | Path],
    *,
    out: str | Path | None = None,
    url: str | None = None,
    flat: bool = False,
    jupyterlite: bool = False,
    limits: Limits | None = None,
) -> WheelIndex:
    """Write an index (`simple/`, in HTML and JSON) of wheels, and the metadata file of each.

    A wheel that cannot be read is among the `errors` of the result, and the others are indexed. The index has the wheels that are
    given, and no others: pages of other projects are removed, wheels are not.

    Args:
        wheels: wheels of any build tool, and folders of wheels.
        out: the folder for the index, to which the wheels are copied; the folder of the wheels by default.
        url: the address that the folder will have, for absolute addresses in the pages; relative ones by default.
        flat: real files only: a symbolic link to a wheel is replaced by a copy; and `.nojekyll` for GitHub Pages.
        jupyterlite: also write `all.json`, which piplite of JupyterLite reads; wheels that are copied get names that
            `jupyter lite build` takes, and wheels for other systems are left out.
        limits: bounds on members and sizes of wheels.

    Raises:
        Failed: usage (an address that is none, wheels of several folders without `out`, an index of another tool), not-found (no
            wheels), conflict (two different wheels with one file name), disk.

    >>> index_wheels(["dist"]).simple  # doctest: +SKIP
    PosixPath('dist/simple')
    """
    started = time.monotonic()
    require_several("wheels", wheels)
    found, errors = _find([str(wheel) for wheel in wheels])
    folder = _folder(found, out)
    base = _base(url)
    memo = WheelMemo(folder)
    read, broken = _read_all(found, memo, limits or Limits())
    errors = [*errors, *broken]
    if not read:
        return WheelIndex(folder, (), (), tuple(errors), seconds=time.monotonic() - started)
    _require_ours(folder)
    warnings: list[ConversionWarning] = []
    if jupyterlite:
        read, warnings = _for_piplite(read, folder)
    writer = _Writer()
    placer = _WheelPlacer(folder, flat, memo, writer, limits or Limits())
    files: dict[str, list[IndexFile]] = {}
    indexed = []
    for source in _by_filename(read):
        file = placer.place(source)
        file = replace(file, url=f"{base}/{quote(file.filename)}")
        files.setdefault(source.project, []).append(file)
        indexed.append(_entry(source, folder / file.filename, file))
    projects = projects_of(files)
    if flat:
        writer.write(folder / NO_JEKYLL, b"")
    if jupyterlite:
        warnings += _several_of_a_version(indexed)
        writer.write(folder / ALL_JSON, _all_json(indexed, url).encode())
    for path, text in pages(projects).items():
        writer.write(folder / SIMPLE / path, text.encode())
    removed = _remove_projects(folder / SIMPLE, files.keys())
    memo.save()
    return WheelIndex(
        folder=folder,
        wheels=tuple(indexed),
        projects=tuple(project.name for project in projects),
        errors=tuple(errors),
        removed=removed,
        written=writer.written,
        all_json=folder / ALL_JSON if jupyterlite else None,
        warnings=(
            *warnings,
            *_others(folder, {*(wheel.filename for wheel in indexed), *(Path(source).name for source, _ in errors)}),
        ),
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Source:
    """A wheel that was read: its path as it was given, its project, its entry without an address, and the name that it gets."""

    path: Path
    project: str
    file: IndexFile
    name: str


class _Writer:
    """Writes files whose contents differ, and counts them."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, unless it has these bytes. Raises `Failed` (disk)."""
        with suppress(OSError):
            if not path.is_symlink() and path.stat().st_size == len(data) and path.read_bytes() == data:
                return
        write_file(path, lambda: iter([data]))
        self.written += 1


def _find(given: Sequence[str]) -> tuple[list[Path], list[tuple[str, Conda2WheelError]]]:
    """The wheels that arguments name, and what is none.

    Raises:
        Failed: not-found, for nothing, and for a folder without wheels.
    """
    found: dict[Path, None] = {}
    errors: list[tuple[str, Conda2WheelError]] = []
    for source in given:
        path = Path(source)
        if path.is_dir():
            found.update(dict.fromkeys(wheels_at(path)))
        elif not path.exists():
            errors.append((source, not_found(source, "file or folder" if path.suffix != ".whl" else "file")))
        elif path.suffix != ".whl":
            errors.append((source, corrupt(source, "not a wheel", "give wheels, or folders of wheels")))
        else:
            found[path] = None
    if not found and not errors:
        raise Failed("not-found", "no wheels were given", "give wheels, or folders of wheels")
    return list(found), errors


def _folder(found: Sequence[Path], out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    folders = {path.parent.resolve(): path.parent for path in found}
    if len(folders) > 1:
        names = ", ".join(sorted(map(str, folders.values())))
        raise Failed("usage", f"the wheels are in several folders: {names}", "give the folder of the index with -o")
    return next(iter(folders.values()), Path())


def _base(url: str | None) -> str:
    """What the addresses of files in the pages begin with. Raises `Failed` (usage)."""
    if url is None:
        return "../.."
    require_base(url, "--url")
    return url.rstrip("/")


def _read_all(found: Iterable[Path], memo: WheelMemo, limits: Limits) -> tuple[list[_Source], list[tuple[str, Conda2WheelError]]]:
    """Read every wheel that the memo does not know, and return those that could not be read apart."""
    read: list[_Source] = []
    errors: list[tuple[str, Conda2WheelError]] = []
    for path in found:
        try:
            with unexpected_as_failed(str(path)):
                read.append(_read(path, memo, limits))
        except Conda2WheelError as error:
            errors.append((str(path), error))
    return read, errors


def _read(path: Path, memo: WheelMemo, limits: Limits) -> _Source:
    facts = memo.get(path)
    if facts is not None:
        with suppress(KeyError, TypeError):
            return _Source(path, facts["project"], IndexFile(**facts["file"]), path.name)
    started, before = now(), FileState.of(path)
    project, file, _ = index_file(path, "", limits=limits)
    with WheelArchive(path, limits) as archive, reading_archive(str(path), BUILD_AGAIN):
        damaged = archive.testzip()
    if damaged is not None:
        raise corrupt(str(path), f"{damaged}: its checksum is wrong", BUILD_AGAIN)
    if FileState.of(path) != before:
        raise Failed("unreadable", f"{path}: it changed while it was read", COMPLETE)
    memo.note(path, before, started, {"project": project, "file": asdict(file)})
    return _Source(path, project, file, path.name)


def _by_filename(read: Iterable[_Source]) -> list[_Source]:
    """The wheels in order of their names, each once.

    Raises:
        Failed: conflict, for two different wheels with one name, also where only the case of letters differs.
    """
    found: dict[str, _Source] = {}
    for source in read:
        first = found.setdefault(source.name.lower(), source)
        if (first.name, first.file.sha256) != (source.name, source.file.sha256):
            named = "" if source.path.name == source.name else f", {source.name}"
            why = f"{first.path} and {source.path} are different wheels with one file name{named}"
            raise Failed("conflict", why, "give one of them, or build one with another version or build tag")
    return [found[name] for name in sorted(found)]


def _require_ours(folder: Path) -> None:
    """Check that `simple/` is one of ours, or is not there. Raises `Failed` (usage)."""
    simple = folder / SIMPLE
    if simple.is_symlink():
        raise Failed("usage", f"{simple}: is a symbolic link, such as a mirror's", "give another folder with -o")
    root = simple / "index.html"
    if root.exists() and read_file(root, len(_OURS)) != _OURS:
        raise Failed("usage", f"{root}: another tool wrote it", "remove that index, or give another folder with -o")


def _entry(source: _Source, path: Path, file: IndexFile) -> WheelEntry:
    return WheelEntry(
        source=str(source.path),
        path=path,
        project=source.project,
        version=file.version,
        url=file.url,
        sha256=file.sha256,
        size=file.size,
        requires_python=file.requires_python,
    )


@dataclass(frozen=True)
class _WheelPlacer:
    """Puts wheels and their metadata into the folder of an index, where they are not there."""

    folder: Path
    flat: bool
    memo: WheelMemo
    writer: _Writer
    limits: Limits

    def place(self, source: _Source) -> IndexFile:
        """Return the entry of the wheel that is then there, without an address. Raises `Failed` (disk, unreadable), `Refused`."""
        target = self.folder / source.name
        if source.name != source.path.name:
            file = self._rename(source, target)
        else:
            file = source.file
            if not self._is_there(source, target):
                if write_file(target, lambda: _chunks(source.path)) != file.sha256:
                    target.unlink(missing_ok=True)
                    raise Failed("unreadable", f"{source.path}: it changed while it was copied", COMPLETE)
                self.writer.written += 1
        metadata = target.with_name(f"{target.name}.metadata")
        if _sha256(metadata) != file.metadata_sha256:
            _, _, data = index_file(target, "", limits=self.limits)
            self.writer.write(metadata, data)
        return file

    def _is_there(self, source: _Source, target: Path) -> bool:
        """Whether the folder has a wheel, as a file of its own if it shall be one."""
        if not target.exists() or (self.flat and target.is_symlink()):
            return False
        if target.samefile(source.path):
            return True
        if target.stat().st_size != source.file.size:
            return False
        known = self.memo.get(target)
        if known is not None and known.get("file", {}).get("sha256") == source.file.sha256:
            return True
        started, state = now(), FileState.of(target)
        if _sha256(target) != source.file.sha256:
            return False
        self.memo.note(target, state, started, {"project": source.project, "file": asdict(source.file)})
        return True

    def _rename(self, source: _Source, target: Path) -> IndexFile:
        """Write a wheel with other tags, or find it as it was written before."""
        known = self.memo.get(target)
        if known is not None and known.get("of") == source.file.sha256:
            with suppress(KeyError, TypeError):
                return IndexFile(**known["file"])
        data = b"".join(renamed_wheel(source.path, target.name, self.limits))
        self.writer.write(target, data)
        started, state = now(), FileState.of(target)
        digest = hashlib.sha256(data).hexdigest()
        file = replace(source.file, filename=target.name, sha256=digest, size=len(data))
        if _sha256(target) == digest:
            self.memo.note(target, state, started, {"project": source.project, "file": asdict(file), "of": source.file.sha256})
        return file


def _for_piplite(read: Iterable[_Source], folder: Path) -> tuple[list[_Source], list[ConversionWarning]]:
    """The wheels that piplite can install, with names that `jupyter lite build` takes where they are copied."""
    found = []
    warnings = []
    for source in read:
        name = piplite_name(source.path.name)
        if name is None:
            warnings.append(ConversionWarning("not-for-pyodide", "is not for Pyodide, and is left out", source.path.name))
            continue
        if name.endswith("-any.whl") and is_of_programs(source.path):
            why = "has programs alone, which run outside of Pyodide; it is left out"
            warnings.append(ConversionWarning("not-for-pyodide", why, source.path.name))
            continue
        place = folder / source.path.name
        if name != source.path.name and place.exists() and place.samefile(source.path):
            why = f"`jupyter lite build` takes no such name; with -o DIR the wheel is copied as {name}"
            warnings.append(ConversionWarning("piplite-name", why, source.path.name))
            found.append(source)
        else:
            found.append(replace(source, name=name))
    return found, warnings


def _several_of_a_version(wheels: Iterable[WheelEntry]) -> Iterator[ConversionWarning]:
    """Yield a warning for each version that has several wheels."""
    counts = Counter((wheel.project, wheel.version) for wheel in wheels)
    for (project, version), count in counts.items():
        if count > 1:
            why = f"{count} wheels of {project} {version}, of which `jupyter lite build` lists one"
            yield ConversionWarning("several-of-a-version", f"{why}; `index OUTPUT/pypi --jupyterlite` after it lists all")


def _all_json(wheels: Iterable[WheelEntry], url: str | None) -> str:
    above = "." if url is None else url.rstrip("/")
    entries = []
    for wheel in wheels:
        file = IndexFile(wheel.filename, f"{above}/{wheel.filename}", wheel.sha256, wheel.size, wheel.version, "")
        entries.append((wheel.project, replace(file, requires_python=wheel.requires_python), piplite_name(wheel.filename) or ""))
    return all_json(entries)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise unreadable(path, error) from error


def _sha256(path: Path) -> str | None:
    """The digest of a file; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _remove_projects(simple: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Remove the pages of other projects, and of these nothing but pages. Raises `Failed` (disk)."""
    keep = set(names)
    removed = []
    try:
        for folder in sorted(path for path in simple.iterdir() if path.is_dir() and path.name not in keep):
            page = folder / PAGES[0]
            if not page.is_file() or read_file(page, len(_OURS)) != _OURS:
                continue
            for name in PAGES:
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # what else is in it is not ours
                folder.rmdir()
            removed.append(folder.name)
    except OSError as error:
        raise Failed("disk", f"cannot remove pages in {simple}: {error.strerror or error}", "check its permissions") from error
    return tuple(removed)


def _others(folder: Path, names: set[str]) -> tuple[ConversionWarning, ...]:
    """Remove metadata files whose wheel is gone; return a warning for wheels in the folder that are not in the index."""
    left = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(METADATA) and not (folder / name.removesuffix(".metadata")).exists():
            with suppress(OSError):
                (folder / name).unlink()
        elif name.endswith(".whl") and name not in names:
            left.append(ConversionWarning("not-indexed", "is in the folder and not in the index", name))
    return tuple(left)
