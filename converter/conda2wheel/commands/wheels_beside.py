"""`repair --find-links`: the libraries that other wheels carry, under the names by which a module NEEDs them.

A wheel that conda2wheel or auditwheel-emscripten repaired has its libraries under names with a hash, and the first gives their
symbols new names, too. So a library is found by the name that it had before, and its symbols by the ones before: a module that is
linked to it gets the new names, and a requirement for exactly that version of the wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from conda2wheel.abi.platforms import Platform, parse
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, same_library, side_modules
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.conda.origin import MemberSource
from conda2wheel.errors import Conda2WheelError, Failed, Refused, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import BytesBlob, Limits, PackageFile
from conda2wheel.files.pypa import applies, parse_requirement
from conda2wheel.files.reading import read_file, unreadable
from conda2wheel.link.isolation import mark_of
from conda2wheel.link.library import Library
from conda2wheel.link.library_wheel import Entry, LibraryWheel, with_required
from conda2wheel.net.urls import fragment_sha256, is_url, redacted, source_of
from conda2wheel.results import ConversionWarning
from conda2wheel.wasm.binary import WasmError
from conda2wheel.wasm.rename import rename
from conda2wheel.wheel.provenance import read_provenance
from conda2wheel.wheel.reader import Wheel, read_wheel

MAX_PAGE = 16 << 20  # bytes of a page of links
MAX_WHEELS = 200  # of one page, after those that are for another platform
_HASHED = re.compile(r"^(?P<stem>.+)-(?P<hash>[0-9a-f]{8})(?=\.so)")


class WheelsBeside:
    """The wheels of `--find-links`. They are opened when the first library is looked up."""

    def __init__(self, places: Iterable[str | Path], limits: Limits, downloads: Downloads = DOWNLOADS) -> None:
        """Open nothing yet.

        Args:
            places: folders of wheels, wheels, URLs of wheels, and URLs of pages that link to wheels (HTML, or JSON of PEP 691).
            limits: the bounds on members, sizes and ratios.
            downloads: whether the network may be used.

        Raises:
            Failed: not-found, for a folder or wheel that does not exist.
        """
        require_several("find_links", places)
        self.places = tuple(source_of(str(place)) for place in places)
        self.limits = limits
        self.downloads = downloads
        self.notes: list[ConversionWarning] = []
        for place in self.places:
            if not is_url(place) and not os.path.exists(place):
                raise Failed("not-found", f"--find-links {place}: no such file or folder", "check the path")
        self._opened: dict[tuple[Platform, ...], list[WheelBeside]] = {}

    def __bool__(self) -> bool:
        return bool(self.places)

    def note_written(self, wheel: Path) -> None:
        """Look again at what is there, if a wheel was written to one of the folders."""
        if any(not is_url(place) and os.path.isdir(place) and wheel.parent.samefile(place) for place in self.places):
            self._opened.clear()

    def wheels(self, platforms: Sequence[Platform]) -> list[WheelBeside]:
        """The wheels that are installed on every one of these platforms, opened once."""
        key = tuple(platforms)
        if key not in self._opened:
            self._opened[key] = [each for each in self._open(key) if _is_for(each.wheel.tags, platforms)]
        return self._opened[key]

    def _open(self, platforms: Sequence[Platform]) -> Iterator[WheelBeside]:
        for place in self.places:
            for source in self._expand(place, platforms):
                shown = redacted(source) if is_url(source) else source
                try:
                    with unexpected_as_failed(shown):
                        yield self._read(source)
                except Conda2WheelError as error:
                    if source == place:
                        raise
                    self.notes.append(ConversionWarning("find-links-skipped", str(error), shown))

    def _read(self, source: str) -> WheelBeside:
        if not is_url(source):
            return WheelBeside.read(Path(source), self.limits)
        with (
            self.downloads.package(source, fragment_sha256(source), self.limits.download) as path,
            tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder,
        ):
            named = Path(folder, _file_name(source))
            shutil.copyfile(path, named)
            return WheelBeside.read(named, self.limits)

    def _expand(self, place: str, platforms: Sequence[Platform]) -> list[str]:
        if not is_url(place):
            if os.path.isfile(place):
                return [place]
            try:
                names = sorted(name for name in os.listdir(place) if name.endswith(".whl"))
            except OSError as error:
                raise unreadable(place, error) from None
            return [os.path.join(place, name) for name in names if _may_be_for(name, platforms)]
        if _file_name(place).endswith(".whl"):
            return [place]
        with self.downloads.package(place, None, MAX_PAGE) as path:
            links = wheel_links(read_file(path), place)
        found = [link for link in dict.fromkeys(links) if _may_be_for(_file_name(link), platforms)]
        if len(found) > MAX_WHEELS:
            why = (
                f"--find-links {redacted(place)}: links to {len(found)} wheels for this platform, of which {MAX_WHEELS} are read"
            )
            raise Failed("usage", why, "give the page of one project, or the URLs of the wheels")
        return found


class BesideOne:
    """The wheels beside one wheel that is repaired: the `LibrariesBeside` of the linker."""

    def __init__(self, wheel: Wheel, beside: WheelsBeside) -> None:
        """Look nothing up yet."""
        self.wheel = wheel
        self.beside = beside
        self.warnings: list[ConversionWarning] = []
        self._library_wheels: dict[str, LibraryWheel] = {}
        self._taken: dict[str, WheelBeside] = {}
        self._required = _requirements(wheel)

    @property
    def searched(self) -> tuple[str, ...]:
        """What was searched, for a message."""
        return tuple(f"the wheels of {redacted(place) if is_url(place) else place}" for place in self.beside.places)

    def find(self, needed: str, platforms: Sequence[Platform]) -> tuple[str, LibraryWheel] | None:
        """The content of a library, and the wheel that has it. Of several wheels the first is taken, with a warning.

        Wheels that this one requires come first, then those that have nothing but libraries.
        """
        name = posixpath.basename(needed)
        fitting = [(each, path) for each in self._candidates(platforms) if (path := each.path_of(name)) is not None]
        unable = next((row for row in platforms if not row.runtime_path), None)
        if fitting and unable is not None:
            why = f"{name} is in {fitting[0][0].filename}, and the loader of {unable.tag} does not look into other wheels"
            self._warn(ConversionWarning("beside-unreachable", why))
            return None
        if not fitting:
            return None
        first, path = fitting[0]
        if len(fitting) > 1 and first.project not in self._required:
            others = ", ".join(each.filename for each, _ in fitting[1:4])
            why = f"{name} is taken from {first.filename}; {others} {'have' if len(fitting) > 2 else 'has'} one of that name, too"
            self._warn(ConversionWarning("beside-ambiguous", why))
        return first.content(path), self._library_wheel(first, platforms)

    def requirements(self, wheels: Iterable[LibraryWheel]) -> tuple[str, ...]:
        """The Requires-Dist lines that the wheel needs for these and does not have.

        A library with a hash in its name is in exactly this version. For any other, a requirement of the wheel's own that admits
        the version stays the author's word.
        """
        lines = []
        for each in wheels:
            own = self._required.get(canonicalize_name(each.name), ())
            hashed = any(_HASHED.match(posixpath.basename(path)) for path in each.paths.values())
            if each.requirement not in own and (hashed or not own):
                lines.append(each.requirement)
        return tuple(lines)

    def sources(self, wheels: Sequence[LibraryWheel]) -> tuple[MemberSource, ...]:
        """What these wheels, and those that they require, are, for the provenance."""
        projects = {canonicalize_name(each.name) for each in with_required(wheels)}
        return tuple(each.source for name, each in sorted(self._taken.items()) if name in projects)

    def _warn(self, warning: ConversionWarning) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _candidates(self, platforms: Sequence[Platform]) -> list[WheelBeside]:
        """The newest admitted wheel of each project but this one's, the best first."""
        newest: dict[str, WheelBeside] = {}
        for each in self.beside.wheels(platforms):
            limits = self._required.get(each.project, ())
            admitted = all(_admits(line, each.version) for line in limits)
            if admitted and each.project != canonicalize_name(self.wheel.name):
                before = newest.get(each.project)
                if before is None or Version(before.version) < Version(each.version):
                    newest[each.project] = each
        return sorted(newest.values(), key=lambda each: (each.project not in self._required, not each.is_libraries, each.project))

    def _library_wheel(self, wheel: WheelBeside, platforms: Sequence[Platform], users: tuple[str, ...] = ()) -> LibraryWheel:
        """A wheel as the linker takes libraries from it, with those that it requires; `users` require it themselves."""
        if wheel.project not in self._library_wheels:
            others = {each.project: each for each in self._candidates(platforms)}
            names = [name for name in _requirements(wheel.wheel) if name in others and name not in (*users, wheel.project)]
            requires = tuple(self._library_wheel(others[name], platforms, (*users, wheel.project)) for name in names)
            self._taken[wheel.project] = wheel
            self._library_wheels[wheel.project] = wheel.as_library_wheel(platforms[0], requires)
        return self._library_wheels[wheel.project]


@dataclass(frozen=True, eq=False)
class WheelBeside:
    """One wheel whose libraries others take."""

    wheel: Wheel
    sha256: str
    provenance: Mapping[str, object] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, path: Path, limits: Limits) -> WheelBeside:
        """Read one, whole, so that its file is not needed later. Raises as `read_wheel`."""
        wheel = read_wheel(path, limits)
        return cls(wheel, hashlib.sha256(read_file(path)).hexdigest(), read_provenance(wheel))

    @property
    def source(self) -> MemberSource:
        """What the provenance says of it."""
        name = self.wheel.metadata.get("Name") or self.wheel.name
        return MemberSource(kind="wheel", name=name, version=self.version, filename=self.filename, sha256=self.sha256)

    @property
    def filename(self) -> str:
        """Its file name."""
        return self.wheel.path.name

    @property
    def project(self) -> str:
        """Its name, normalised."""
        return canonicalize_name(self.wheel.name)

    @property
    def version(self) -> str:
        """Its version."""
        return self.wheel.version

    @property
    def is_libraries(self) -> bool:
        """Whether it has no modules that Python imports."""
        return not any(file.path.endswith(".py") for file in self.wheel.files) and not self._extensions

    @cached_property
    def _modules(self) -> dict[str, SideModule]:
        return {path: side for path, side in side_modules(self.wheel.files).items() if side.kind.is_loadable}

    @property
    def _extensions(self) -> bool:
        return any(side.init_functions for side in self._modules.values())

    @cached_property
    def _names(self) -> dict[str, frozenset[str]]:
        """The names under which a module may NEED each library: its own, without the hash, and that in its package."""
        return {path: self._names_of(path, side) for path, side in self._modules.items() if not side.init_functions}

    def _names_of(self, path: str, side: SideModule) -> frozenset[str]:
        own = posixpath.basename(path)
        names = {own, *side.file.names}
        if match := _HASHED.match(own):
            names.add(match["stem"] + own[match.end() :])
            members = (self.provenance or {}).get("members")
            member = members.get(path) if isinstance(members, dict) else None
            file = member.get("file") if isinstance(member, dict) else None
            if isinstance(file, str) and SHARED_OBJECT.search(file):
                names.add(posixpath.basename(file))
        return frozenset(names)

    def path_of(self, name: str) -> str | None:
        """The path of the library that a NEEDED name means; None without one, or where two could be meant."""
        exact = [path for path, names in self._names.items() if name in names]
        near = [path for path, names in self._names.items() if any(same_library(name, each) for each in names)]
        for found in (exact, near):
            if len({self._modules[path].file.blob.sha256 for path in found}) == 1:
                return min(found)
        return None

    @cached_property
    def _old_names(self) -> dict[str, str]:
        """The symbols that isolation renamed in this wheel, by their new names."""
        if self.provenance is None:
            return {}
        hashes = {path: match["hash"] for path in self._modules if (match := _HASHED.match(posixpath.basename(path)))}
        definers: dict[str, list[str]] = {}
        for path, side in self._modules.items():
            for symbol in side.exports if path in hashes else ():
                definers.setdefault(symbol, []).append(hashes[path])
        needed = {each for side in self._modules.values() for name in side.needed if (each := _HASHED.match(name))}
        known = {*hashes.values(), *(match["hash"] for match in needed)}
        symbols = {*definers, *(entry.name for side in self._modules.values() for entry in side.imports)}
        found = {}
        for symbol in symbols:
            old, dot, mark = symbol.rpartition(".")
            if dot and (mark in known or (symbol in definers and mark == mark_of(definers[symbol]))):
                found[symbol] = old
        return found

    @cached_property
    def _libraries(self) -> dict[str, Library]:
        """The libraries by path, with the names that their symbols had before."""
        return {path: Library(self._before(self._modules[path]), self.filename, None) for path in self._names}

    def _before(self, side: SideModule) -> SideModule:
        module = side.module
        if module is None or not self._old_names:
            return side
        try:
            data = rename(module, self._old_names)
        except (ValueError, WasmError):  # two symbols were one name before
            return side
        return side if data is module.data else SideModule(PackageFile(side.file.path, BytesBlob(data)))

    def content(self, path: str) -> str:
        """What identifies a library."""
        return self._libraries[path].content

    def as_library_wheel(self, platform: Platform, requires: tuple[LibraryWheel, ...]) -> LibraryWheel:
        """Its libraries, as the linker takes them."""
        contents = {path: library.content for path, library in self._libraries.items()}
        by_name = {posixpath.basename(path): content for path, content in contents.items()}
        others = {posixpath.basename(path): content for each in requires for content, path in each.paths.items()}
        targets: dict[Entry, str] = {}
        symbols: dict[str, dict[str, str]] = {}
        for path, library in self._libraries.items():
            for needed in self._modules[path].needed:
                target = by_name.get(posixpath.basename(needed)) or others.get(posixpath.basename(needed))
                if target is not None:
                    targets[library.content, needed] = target
            exported = self._modules[path].exports
            symbols[library.content] = {old: new for new, old in self._old_names.items() if new in exported}
        return LibraryWheel(
            name=self.wheel.name,
            platform=platform,
            version=self.version,
            libraries={library.content: library for library in self._libraries.values()},
            paths={content: path for path, content in contents.items()},
            files={path: side.file for path, side in self._modules.items()},
            targets=targets,
            symbols=symbols,
            requires=requires,
        )


def wheel_links(page: bytes, base: str) -> list[str]:
    """The URLs of the wheels that a page links to: HTML as `pip --find-links` reads it, or JSON of the simple index (PEP 691).

    >>> wheel_links(b'<a href="a-1-py3-none-any.whl#sha256=0">a</a> <a href="../b/">b</a>', "https://example.org/x/")
    ['https://example.org/x/a-1-py3-none-any.whl#sha256=0']

    Raises:
        Refused: corrupt-archive, for JSON that is none.
    """
    if page.lstrip()[:1] == b"{":
        try:
            files = json.loads(page).get("files")
            rows = [(str(each["url"]), each.get("hashes", {}).get("sha256")) for each in files]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Refused("corrupt-archive", f"{redacted(base)}: no page of a simple index: {error}", "check the URL") from None
        links = [f"{url}#sha256={sha256}" if isinstance(sha256, str) and "#" not in url else url for url, sha256 in rows]
    else:
        parser = _Links()
        parser.feed(page.decode("utf-8", "replace"))
        links = parser.links
    return [link for each in links if _file_name(link := urljoin(base, each)).endswith(".whl") and is_url(link)]


class _Links(HTMLParser):
    """Collects the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _file_name(url: str) -> str:
    return posixpath.basename(unquote(urlsplit(urldefrag(url).url).path))


def _may_be_for(filename: str, platforms: Sequence[Platform]) -> bool:
    """Whether a wheel of this name may have libraries for these platforms; True for a name that opening it complains of."""
    try:
        return _is_for(parse_wheel_filename(filename)[3], platforms)
    except InvalidWheelFilename:
        return True


def _is_for(tags: Iterable[Tag], platforms: Sequence[Platform]) -> bool:
    named = {row.name for tag in tags if (row := parse(tag.platform)) is not None}
    return all(row.name in named for row in platforms)


def _requirements(wheel: Wheel) -> dict[str, tuple[str, ...]]:
    """The requirements of a wheel that hold without extras, by normalised name."""
    found: dict[str, tuple[str, ...]] = {}
    for line in wheel.metadata.all("Requires-Dist"):
        requirement = parse_requirement(line)
        if requirement is not None and applies(requirement, {"sys_platform": "emscripten", "platform_system": "Emscripten"}):
            name = canonicalize_name(requirement.name)
            found[name] = (*found.get(name, ()), line)
    return found


def _admits(line: str, version: str) -> bool:
    requirement = parse_requirement(line)
    return requirement is None or requirement.specifier.contains(version, prereleases=True)
