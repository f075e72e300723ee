"""Read a wheel, with the same limits as any untrusted archive.

Wheels have no symbolic links (PyPA binary distribution format), and installers write a link as a small text file; but some zip
tools store links. A link is read as one more name of its target.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from conda2wheel.errors import Refused
from conda2wheel.files.links import LostLink, resolve_links
from conda2wheel.files.packagefile import ArchiveMember, BytesBlob, Limits, PackageFile, is_executable
from conda2wheel.files.pypa import parse_pep440
from conda2wheel.files.reading import corrupt, not_found, reading_archive
from conda2wheel.files.zips import BUILD_AGAIN, WheelArchive
from conda2wheel.wheel.metadata import Document, read_metadata

NO_WHEEL = "give a wheel; conda2wheel convert makes one of a package"
_SITE_SCHEMES = re.compile(r"[^/]+\.data/(?:platlib|purelib)/")
DIST_INFO = ".dist-info"
_UNIX = 3  # APPNOTE 4.4.2.2: the system whose external attributes have a mode in their upper 16 bits


@dataclass(frozen=True)
class Wheel:
    """A wheel: the parts of its file name, and every member but folders.

    Attributes:
        dist_info: the name of the dist-info folder.
        timestamp: the time of the newest member, read as UTC (zip has no time zones); 0 if no member has one.
        order: the names of the members in the archive's order, in which loaders read them.
        lost: links that lead to nothing in it.
        moved: the names that files had in the archive, if they are other ones here, by path.
    """

    path: Path
    name: str
    version: str
    tags: frozenset[Tag]
    files: tuple[PackageFile, ...]
    metadata: Document
    dist_info: str
    timestamp: float
    order: tuple[str, ...] = ()
    lost: tuple[LostLink, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Its path, for messages."""
        return str(self.path)

    @property
    def stem(self) -> str:
        """NAME-VERSION."""
        return f"{self.name}-{self.version}"

    @property
    def depends(self) -> tuple[str, ...]:
        """Always empty: a wheel has no match specs."""
        return ()

    @property
    def distribution(self) -> str:
        """The first part of its file name, as in `<distribution>.libs`."""
        return self.path.name.partition("-")[0]

    @property
    def other_infos(self) -> tuple[str, ...]:
        """The folders of other distributions, of which installers accept none."""
        tops = {path.partition("/")[0] for path in self.order if path.count("/") == 1 and path.endswith(DIST_INFO + "/METADATA")}
        return tuple(sorted(tops - {self.dist_info}))

    def info(self, name: str) -> PackageFile | None:
        """A file of its dist-info folder."""
        path = f"{self.dist_info}/{name}"
        return next((file for file in self.files if file.path == path), None)


def not_installed(names: Iterable[str]) -> dict[str, str]:
    """The names in `.data/platlib` and `.data/purelib`, each with the place in site-packages that it is meant for.

    Installers move these files there, and Pyodide does not (measured from 0.24.1 to 314.0.7, with loadPackage and micropip).
    """
    return {name: name[match.end() :] for name in names if (match := _SITE_SCHEMES.match(name))}


def with_moved(wheel: Wheel) -> Wheel:
    """The wheel with the files of `.data/platlib` and `.data/purelib` where installers put them; itself without such files.

    Raises:
        Refused: corrupt-archive, if two different files would have one path.
    """
    places = not_installed(name for file in wheel.files for name in (file.path, *file.aliases))
    if not places:
        return wheel
    found: dict[str, PackageFile] = {}
    for file in wheel.files:
        path, *aliases = (places.get(name, name) for name in (file.path, *file.aliases))
        before = found.setdefault(path, replace(file, path=path, aliases=tuple(aliases)))
        if before.blob.sha256 != file.blob.sha256:
            why = f"{next(old for old, new in places.items() if new == path)} would be {path}, which is another file"
            raise Refused("corrupt-archive", f"{wheel.source}: {why}", "build it again with one of them")
    aliased = {name for file in found.values() for name in file.aliases}
    if clashes := sorted(aliased & found.keys()):
        raise Refused("corrupt-archive", f"{wheel.source}: two files would be {clashes[0]}", "build it again with one of them")
    return replace(
        wheel,
        files=tuple(found[path] for path in sorted(found)),
        order=tuple(dict.fromkeys(places.get(name, name) for name in wheel.order)),
        moved={new: old for old, new in places.items()},
    )


def read_wheel(path: Path, limits: Limits | None = None, only: re.Pattern[str] | None = None) -> Wheel:
    """Read a wheel.

    Args:
        path: the wheel.
        limits: the bounds on members and sizes.
        only: read and check only METADATA and the members whose names it finds now, and the others when they are used.

    Raises:
        Refused: corrupt-archive, unsafe-archive, too-large.
        Failed: not-found, unreadable.
    """
    limits = limits or Limits()
    source = str(path)
    if not path.exists():
        raise not_found(source)
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise corrupt(source, f"not a wheel: {error}", NO_WHEEL) from None
    with WheelArchive(path, limits) as archive:
        entries = _entries(archive, path, only)
        timestamp = _newest(archive.infolist())
    found = resolve_links(source, entries, limits, path.stat().st_size)
    core = choose_core(name, version, [file.path for file in found.files])
    if core is None:
        raise corrupt(source, "not a wheel: it has no .dist-info/METADATA", BUILD_AGAIN)
    return Wheel(
        path=path,
        name=str(name),
        version=str(version),
        tags=tags,
        files=found.files,
        lost=found.lost,
        metadata=read_metadata(source, next(file for file in found.files if file.path == core)),
        dist_info=core.partition("/")[0],
        timestamp=timestamp,
        order=tuple(entries),
    )


def choose_core(name: str, version: Version, paths: Iterable[str]) -> str | None:
    """The path of a wheel's METADATA among its members; None without one.

    Where several folders have one, it is that of the file name: of its project, of its version, and with a RECORD.

    >>> from packaging.version import Version
    >>> choose_core("a", Version("1.0"), ["a-0.9.dist-info/METADATA", "a-1.0.dist-info/METADATA", "b-1.0.dist-info/METADATA"])
    'a-1.0.dist-info/METADATA'
    """
    known = set(paths)
    found = sorted(path for path in known if path.count("/") == 1 and path.endswith(DIST_INFO + "/METADATA"))

    def rank(path: str) -> tuple[bool, bool, bool]:
        folder = path.partition("/")[0]
        project, _, said = folder.removesuffix(DIST_INFO).partition("-")
        return canonicalize_name(project) != name, parse_pep440(said) != version, f"{folder}/RECORD" not in known

    return min(found, key=rank, default=None)


def _newest(entries: Iterable[zipfile.ZipInfo]) -> float:
    times = [0]
    for entry in entries:
        year, month, day, *clock = entry.date_time
        if 1 <= month <= 12 and day >= 1:  # some tools leave the fields 0
            times.append(calendar.timegm((year, month, day, *clock)))
    return float(max(times))


@dataclass(frozen=True)
class _LazyBlob:
    """A member that is read when it is used."""

    wheel: Path
    member: str
    size: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.read()).hexdigest()

    def read(self) -> bytes:
        with reading_archive(str(self.wheel), BUILD_AGAIN), zipfile.ZipFile(self.wheel) as archive:
            return archive.read(self.member)


def _entries(archive: WheelArchive, path: Path, only: re.Pattern[str] | None) -> dict[str, ArchiveMember]:
    found: dict[str, ArchiveMember] = {}
    for name, entry in archive.members().items():
        mode = entry.external_attr >> 16 if entry.create_system == _UNIX else 0
        if not (only is None or only.search(name) or name.endswith(".dist-info/METADATA") or stat.S_ISLNK(mode)):
            blob = _LazyBlob(path, entry.filename, entry.file_size)
            found[name] = ArchiveMember(name, blob, is_executable(mode))
            continue
        data = archive.read(entry)
        if stat.S_ISLNK(mode):
            found[name] = ArchiveMember(name, target=data.decode("utf-8", "replace"))
        else:
            found[name] = ArchiveMember(name, BytesBlob(data), is_executable(mode))
    return found
