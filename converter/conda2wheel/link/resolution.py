"""Which library each NEEDED entry of a wheel's side modules means.

A NEEDED entry is the file name that a library had when its user was linked; there is no SONAME. A name is looked up where the
loader would look, in the package, in the package that brought its user, then in the library index.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice

from conda2wheel.abi.audit.findings import listed
from conda2wheel.abi.loader_search import search_order
from conda2wheel.abi.loaders import loader
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, same_library, side_modules
from conda2wheel.abi.symbols import main_names
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.library import Library, LibraryUser, libraries_by_name, otherwise_named
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.library_wheel import LibrariesBeside, LibraryWheel, LibraryWheels
from conda2wheel.link.missing_needed import Definer, Unmet, definers_of, defines, unmet_imports
from conda2wheel.results import ALLOWED, ConversionWarning, Provided

SHOWN = 20  # libraries that a refusal names
NAMED = 4  # libraries that a finding names
SKIPPED = ("libdir-skipped", "channel-skipped")  # the warnings about packages that may have had a library


@dataclass(frozen=True)
class WheelModules:
    """The side modules of one wheel before they are linked.

    Attributes:
        package: the package or wheel that they are from.
        platforms: the platforms that they are linked for, oldest first: the same files must be right for each.
        native: those that the wheel installs, by path below site-packages.
        own: the package's shared libraries outside of site-packages, by path in the package.
        distribution: the wheel's name as in its file name.
        texts: its Python files (path, bytes), which may open libraries by name; read once, and only if symbols are renamed.
        roots: the libraries that a library wheel is made for; what they NEED is found for them as for any module.
        others: the files of the package whose names no loader takes for a library, by name: a NEEDED entry may mean one.
        kept: why roots (by content) must keep the names of their symbols: users look them up by name.
        excluded: patterns (fnmatch) of the NEEDED libraries that stay out of the wheel, wherever they are.
        asked: further NEEDED entries of `native`, by path, that the caller asks for.
        beside: the wheels that are installed beside it, and whose libraries are taken from them.
    """

    package: LibraryUser
    platforms: Sequence[Platform]
    native: Mapping[str, SideModule]
    own: Mapping[str, SideModule]
    distribution: str
    texts: Iterable[tuple[str, bytes]] = ()
    roots: tuple[Library, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, PackageFile] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: LibrariesBeside | None = None

    def is_excluded(self, needed: str) -> bool:
        """Whether a NEEDED library stays out of the wheel."""
        return any(fnmatchcase(posixpath.basename(needed), pattern) for pattern in self.excluded)


@dataclass
class Resolution:
    """The graph of one wheel's side modules and the libraries that they NEED.

    A module of the wheel is named by its path below site-packages, a library by its content (sha256).

    Attributes:
        wheel: the modules that were resolved.
        vendored: the libraries that the wheel must bring, by content.
        targets: the library or module of the wheel that an entry (user, NEEDED) means.
        missing: entries for which there is no library, with who NEEDs what, and where it was looked up.
        dropped: entries that are left out, with the content of the library that the main module provides, or "".
        found: every library that was considered, vendored or not, by content.
        shared: the library wheel that has a library, by content; what such a library NEEDs is as that wheel says.
        provided: the libraries that the main module provides.
        added: the symbols for which an entry of `targets` was added that the module itself does not have; none where the caller
            asks for the entry.
        excluded: entries whose library stays out of the wheel, with that library; None where it was found nowhere.
        outside: those libraries that were found, and what they NEED, by file name.
        bridge: the unwinding bridge among `vendored`; None without one.
        undecided: the libraries outside of the wheel that define a symbol (user, symbol), of which none was chosen.
        warnings: what to tell the user, in order.
    """

    wheel: WheelModules
    vendored: dict[str, Library] = field(default_factory=dict)
    targets: dict[tuple[str, str], str] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    dropped: dict[tuple[str, str], str] = field(default_factory=dict)
    found: dict[str, Library] = field(default_factory=dict)
    shared: dict[str, LibraryWheel] = field(default_factory=dict)
    provided: list[Provided] = field(default_factory=list)
    added: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    excluded: dict[tuple[str, str], Library | None] = field(default_factory=dict)
    outside: dict[str, Library] = field(default_factory=dict)
    bridge: str | None = None
    undecided: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    warnings: list[ConversionWarning] = field(default_factory=list)

    @property
    def libs(self) -> str:
        """The folder of the vendored libraries, below site-packages."""
        return f"{self.wheel.distribution}.libs"

    @property
    def keys(self) -> tuple[str, ...]:
        """All modules and vendored libraries."""
        return (*self.wheel.native, *self.vendored)

    @property
    def roots(self) -> tuple[str, ...]:
        """What the libraries are there for: the wheel's modules, or the libraries that a library wheel is made for."""
        return (*self.wheel.native, *(library.content for library in self.wheel.roots))

    def copy(self) -> Resolution:
        """A copy that can be changed without changing this one."""
        other = copy(self)
        other.vendored, other.targets, other.missing = dict(self.vendored), dict(self.targets), dict(self.missing)
        other.dropped, other.found, other.shared = dict(self.dropped), dict(self.found), dict(self.shared)
        other.provided, other.warnings = list(self.provided), list(self.warnings)
        other.added, other.undecided, other.excluded = dict(self.added), dict(self.undecided), dict(self.excluded)
        other.outside = dict(self.outside)
        return other

    def side(self, key: str) -> SideModule:
        """The side module of a key."""
        return self.vendored[key].side if key in self.vendored else self.wheel.native[key]

    def label(self, key: str) -> str:
        """The path by which messages name a module: that in the wheel, or that of a library in its package."""
        return self.vendored[key].side.file.path if key in self.vendored else key

    def entries(self, key: str) -> tuple[str, ...]:
        """The NEEDED entries of a module, the added ones first.

        The loader takes a function from the last library that has it, so those that the module names itself stay preferred.
        """
        return (*(needed for user, needed in self.added if user == key), *self.side(key).needed)

    def needs(self, key: str, *, added: bool = True) -> tuple[str, ...]:
        """The keys that a module's NEEDED entries mean; without those that were added if `added` is False."""
        return tuple(target for entry, target in self.targets.items() if entry[0] == key and (added or entry not in self.added))

    def closure(self, key: str, without: str | None = None) -> set[str]:
        """A module and all that it NEEDs, directly or not; `without` one, and what only that one NEEDs."""
        targets: dict[str, list[str]] = {}
        for (user, _), target in self.targets.items():
            targets.setdefault(user, []).append(target)
        seen = {key}
        todo = [key]
        while todo:
            for target in targets.get(todo.pop(), ()):
                if target not in seen and target != without:
                    seen.add(target)
                    todo.append(target)
        return seen

    def in_cycle(self, content: str) -> bool:
        """Whether a library NEEDs itself through others."""
        return any(content in self.closure(target) for target in self.needs(content))

    def identity(self, content: str, distribution: str) -> str | None:
        """A hash of a library as part of a distribution: its bytes, and every library below it with what each NEEDs.

        None where one of them is in this wheel alone, or missing.
        """
        below = self.closure(content)
        if not below <= self.vendored.keys() or any(user in below for user, _ in self.missing):
            return None
        edges = [f"{user} {needed} {target}" for (user, needed), target in self.targets.items() if user in below]
        edges += [f"{user} {needed}" for user, needed in self.dropped if user in below]
        return hashlib.sha256("\n".join([distribution, content, *sorted(edges)]).encode()).hexdigest()

    def allowed_missing(self, allow: Collection[str], notes: Iterable[ConversionWarning] = ()) -> list[ConversionWarning]:
        """A warning for each missing library, whose entry then stays as it is.

        Args:
            allow: the refusal codes that are warnings instead.
            notes: the warnings of the library index: packages that it could not read may have had the library.

        Raises:
            Refused: missing-library, naming the modules that NEED one, unless `allow` has that code.
        """
        if self.missing and "missing-library" not in allow:
            raise Refused(
                "missing-library",
                f"{self.wheel.package.source}: {_few(self.missing.values())}{_skipped(notes)}",
                "give the package that brings it with --libdir",
            )
        return [
            ConversionWarning(ALLOWED, f"missing-library: NEEDs {needed}, which was found nowhere", self.label(user))
            for user, needed in self.missing
        ]


def _few(reasons: Collection[str]) -> str:
    more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    return "; ".join(islice(reasons, SHOWN)) + more


def _skipped(notes: Iterable[ConversionWarning]) -> str:
    """What could not be looked into, for a message."""
    found = [note.message.removesuffix("; it was skipped") for note in notes if note.code in SKIPPED]
    return f"; not looked into, because it cannot be read: {_few(found)}" if found else ""


_Todo = list[tuple[str, SideModule, Library | None]]  # modules to be followed: key, side module, library (None: the wheel's own)


def resolve(
    wheel: WheelModules,
    index: LibraryIndex,
    common: Iterable[Library] = (),
    library_wheels: LibraryWheels | None = None,
) -> Resolution:
    """Find every NEEDED library, and what those NEED, until there is no new one. Nothing is left out yet.

    Where a module uses a library without NEEDing it, and it is clear which one, the entry is added.

    Args:
        wheel: the modules.
        index: where libraries are looked up that the package does not have.
        common: the libraries of a common wheel.
        library_wheels: the library wheels from which libraries are taken, with what they NEED there.
    """
    return _Resolver(wheel, index, common, library_wheels).resolve()


def _names_of_all(platforms: Iterable[Platform]) -> frozenset[str] | None:
    """The names that the main module of each platform has; None where those of one are not known."""
    found = [main_names(row) for row in platforms]
    names = [each for each in found if each is not None]
    return frozenset.intersection(*names) if len(names) == len(found) else None


class _Resolver:
    """Looks up the NEEDED libraries of one wheel."""

    def __init__(
        self, wheel: WheelModules, index: LibraryIndex, common: Iterable[Library], library_wheels: LibraryWheels | None
    ) -> None:
        self.wheel = wheel
        self.index = index
        self.common = tuple(common)
        self.library_wheels = library_wheels
        self.package = wheel.package if isinstance(wheel.package, CondaPackage) else None
        self.own = libraries_by_name(wheel.own.values(), wheel.package.stem, self.package)
        self.result = Resolution(wheel)
        loaders = [loader(version) for row in wheel.platforms for version, _ in row.pyodide]
        self.calls_direct = any(each.nested == "local" for each in loaders)
        self._other_siblings: dict[str, dict[str, PackageFile]] = {}
        self._siblings: dict[str, dict[str, Library]] = {}  # libraries by name of each package that brought one, by origin

    def resolve(self) -> Resolution:
        """The whole graph."""
        first: _Todo = [(path, side, None) for path, side in sorted(self.wheel.native.items())]
        for root in self.wheel.roots:
            self.result.vendored[root.content] = self.result.found[root.content] = root
            first.append((root.content, root.side, root))
        self._follow(first)
        while new := self._add_needed():
            self._follow(new)
        return self.result

    def _follow(self, todo: _Todo) -> None:
        """Look up what these modules NEED. A library that was found before is not followed again, so cycles end."""
        result = self.result
        while todo:
            user, side, via = todo.pop(0)
            if user in result.shared:
                continue
            for needed in (*self._asked(user, side), *side.needed):
                todo += self._look_up(user, needed, via)

    def _asked(self, user: str, side: SideModule) -> tuple[str, ...]:
        """The entries that the caller asks for and that the module does not have; they are noted as added."""
        asked = tuple(needed for needed in self.wheel.asked.get(user, ()) if needed not in side.needed)
        self.result.added |= {(user, needed): () for needed in asked}
        return asked

    def _look_up(self, user: str, needed: str, via: Library | None) -> _Todo:
        """Decide what one NEEDED entry means. Returns the library, if it is a new one that has to be followed."""
        result = self.result
        target = self._in_wheel(user, needed) if via is None else None
        if target is not None:
            result.targets[user, needed] = target
            return []
        if self.wheel.is_excluded(needed):
            result.excluded[user, needed] = self._find(needed, via)
            self._note_outside(needed, result.excluded[user, needed])
            return []
        if self.wheel.beside is not None and (there := self.wheel.beside.find(needed, self.wheel.platforms)) is not None:
            content, owner = there
            result.targets[user, needed] = content
            self._take(content, owner)
            return []
        library = self._find(needed, via)
        if library is None:
            fallback = self._in_wheel(user, needed)
            if fallback is None:
                result.missing[user, needed] = self._missing(user, needed, via)
            else:
                result.targets[user, needed] = fallback
            return []
        result.targets[user, needed] = library.content
        if self._take_shared(library):
            return []
        result.found.setdefault(library.content, library)
        if library.content in result.vendored:
            return []
        result.vendored[library.content] = library
        return [(library.content, library.side, library)]

    def _note_outside(self, needed: str, library: Library | None) -> None:
        """Note a library that stays out of the wheel, and all that it NEEDs, under the names by which a loader finds them."""
        todo = [(needed, library)]
        while todo:
            entry, found = todo.pop()
            name = posixpath.basename(entry)
            if found is not None and name not in self.result.outside:
                self.result.outside[name] = found
                todo += [(each, self._find(each, found)) for each in found.side.needed]

    def _add_needed(self) -> _Todo:
        """Add an entry where a module takes symbols from exactly one library that it does not NEED.

        A module of which a NEEDED library is missing is left alone: the symbols may be that one's.

        Returns:
            The libraries that are new.
        """
        result, new = self.result, _Todo()
        main = _names_of_all(self.wheel.platforms)
        incomplete = {user for user, _ in (*result.missing, *result.excluded)}
        result.undecided.clear()
        for user in (*sorted(self.wheel.native), *result.vendored) if main is not None else ():
            while user not in incomplete and user not in result.shared:
                side = result.side(user)
                below = result.closure(user)
                direct = {user, *result.needs(user)} if self.calls_direct else below
                unmet = unmet_imports(side, main or (), map(result.side, direct), map(result.side, below))
                found = self._definers(user, unmet) if unmet else {}
                single = next((definers[0] for definers in found.values() if len(definers) == 1), None)
                if single is None:
                    result.undecided |= {(user, symbol): self._outside(each) for symbol, each in found.items()}
                    result.undecided |= self._passed_over(user, {name: unmet[name] for name in unmet.keys() - found.keys()})
                    break
                new += self._add(user, single, tuple(symbol for symbol in unmet if symbol in single.side.exports))
        return new

    def _add(self, user: str, definer: Definer, symbols: tuple[str, ...]) -> _Todo:
        result = self.result
        needed = definer.name if (user, definer.name) not in result.targets else definer.side.file.path
        result.targets[user, needed] = definer.key
        result.added[user, needed] = symbols
        why = f"takes {listed(symbols)} from {definer.name} and does not NEED it: the entry is added"
        result.warnings.append(ConversionWarning("needed-added", why, result.label(user)))
        library = definer.library
        if library is None or library.content in result.vendored or self._take_shared(library):
            return []
        result.found.setdefault(library.content, library)
        result.vendored[library.content] = library
        return [(library.content, library.side, library)]

    def _definers(self, user: str, unmet: Unmet) -> dict[str, list[Definer]]:
        """The libraries that define each symbol.

        They are those that the module NEEDs through others, else those that travel anyway, else the package's own, else those
        of libdirs.
        """
        vendored, below = self.result.vendored, self.result.closure(user)
        travelling = [*map(Definer.of, vendored.values()), *self._inside(user)]
        near = [each for each in travelling if each.key in below]
        own: list[Library] = [*self.own.values(), *self.common]
        others = {each.content: each for each in own if each.content not in vendored}
        tiers = (near, travelling, map(Definer.of, others.values()))
        found = definers_of(unmet, [self._usable(user, tier) for tier in tiers])
        left = {symbol: entries for symbol, entries in unmet.items() if symbol not in found}
        if left:
            libraries = self.index.exporting(left, self.wheel.package, self.wheel.platforms)
            found |= definers_of(left, [self._usable(user, map(Definer.of, libraries))])
        return found

    def _outside(self, found: Iterable[Definer]) -> tuple[str, ...]:
        """Those libraries that do not travel in the wheel, for a message."""
        libraries = (each.library for each in found if each.library is not None and each.key not in self.result.vendored)
        return tuple(f"{library.side.file.name} of {library.origin}" for library in libraries)

    def _passed_over(self, user: str, unmet: Unmet) -> dict[tuple[str, str], tuple[str, ...]]:
        """The libraries outside of the wheel that export a symbol and that the module cannot NEED, each with the reason."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for symbol, library, unfit in self.index.holding(unmet.keys(), self.wheel.package, self.wheel.platforms) if unmet else ():
            linkable = library.side.kind.is_loadable and not library.side.init_functions
            before = found.get((user, symbol), ())
            if linkable and library.content not in self.result.vendored and len(before) < NAMED:
                why = unfit or ("which NEEDs the module" if defines(library.side, unmet[symbol]) else "with another type")
                found[user, symbol] = (*before, f"{library.side.file.name} of {library.origin} ({why})")
        return found

    def _inside(self, user: str) -> Iterator[Definer]:
        """The wheel's own libraries, one path a content, that the loader would find for this module by their file names."""
        native = self.wheel.native
        folder = self.result.libs if user in self.result.vendored else posixpath.dirname(user)
        # Where RUNTIME_PATH is read, it leads anywhere.
        searched = [search_order((), folder, self.result.libs, row) for row in self.wheel.platforms if not row.runtime_path]
        seen: set[str] = set()
        for path, side in sorted(native.items()):
            digest = side.file.blob.sha256
            found = self._in_wheel(user, path)
            same = found is not None and native[found].file.blob.sha256 == digest
            reached = all(same and found is not None and posixpath.dirname(found) in folders for folders in searched)
            if digest not in seen and reached:
                seen.add(digest)
                yield Definer(found if same and found is not None else path, posixpath.basename(path), side)

    def _usable(self, user: str, found: Iterable[Definer]) -> list[Definer]:
        """Those that a module can NEED: no extension modules, nor, where the loader makes two instances in a cycle, its users."""
        libraries = [each for each in found if each.key != user and each.side.kind.is_loadable and not each.side.init_functions]
        if any(row.libs_folder for row in self.wheel.platforms):
            return [each for each in libraries if user not in self.result.closure(each.key)]
        return libraries

    def _take_shared(self, library: Library) -> bool:
        """Take a library, and all that it NEEDs, from its library wheel; False if it has none."""
        result = self.result
        if library.content in result.shared:
            return True
        platforms = self.wheel.platforms
        wheels = self.library_wheels if len(platforms) == 1 else None
        first = wheels.of(library, platforms[0]) if wheels is not None else None
        if first is None or library.content not in first.libraries:
            return False
        self._take(library.content, first)
        return True

    def _take(self, wanted: str, first: LibraryWheel) -> None:
        """Take a library, and all that it NEEDs, from a library wheel and those that it requires."""
        result = self.result
        todo = [wanted]
        while todo:
            content = todo.pop(0)
            if content in result.shared:
                continue
            owner = first.owner(content)
            result.shared[content] = owner
            result.vendored[content] = result.found[content] = owner.libraries[content]
            for entries, into in ((owner.targets, result.targets), (owner.dropped, result.dropped)):
                into.update({entry: target for entry, target in entries.items() if entry[0] == content})
            todo += result.needs(content)

    def _in_wheel(self, user: str, needed: str) -> str | None:
        """A side module of the wheel itself by that name: the first where its user's loader looks, else any.

        Of copies in one folder (links that a zip tool followed) all users get the first, so that there is one instance.
        """
        name = posixpath.basename(needed)
        others = {path: side for path, side in self.wheel.native.items() if path != user}
        paths = [path for path, side in others.items() if name in side.file.names | {posixpath.basename(path)}]
        if not paths:
            near = [p for p, side in others.items() if not side.init_functions and same_library(name, posixpath.basename(p))]
            paths = near if len({others[path].file.blob.sha256 for path in near}) == 1 else []
        if not paths:
            return None
        folder = posixpath.dirname(user)
        side = self.wheel.native.get(user)
        # RUNTIME_PATH is written so that newer loaders find the same file; where an older one looks cannot be changed.
        order = search_order(side.runtime_path if side else (), folder, self.result.libs, self.wheel.platforms[0])
        rank = {searched: number for number, searched in reversed(list(enumerate(order)))}
        found = min(paths, key=lambda path: (rank.get(posixpath.dirname(path), len(order)), path))
        if others[found].init_functions:
            return found
        sha256, where = others[found].file.blob.sha256, posixpath.dirname(found)
        return min(p for p, side in others.items() if side.file.blob.sha256 == sha256 and posixpath.dirname(p) == where)

    def _find(self, needed: str, via: Library | None) -> Library | None:
        """A library by file name: in the package, in the package that brought its user, then in the library index.

        A name that only a lost symlink had is found by the names that symlinks of that library have, with a warning.
        """
        name = posixpath.basename(needed)
        if name not in self.own and name in self.wheel.others:
            self.own |= libraries_by_name([SideModule(self.wheel.others[name])], self.wheel.package.stem, self.package)
        if name in self.own:
            return self.own[name]
        sibling_package = via.package if via is not None and via.package is not None else None
        siblings = self._siblings_of(sibling_package, via.origin) if sibling_package is not None and via is not None else {}
        if name not in siblings and via is not None and name in (others := self._other_siblings.get(via.origin, {})):
            siblings |= libraries_by_name([SideModule(others[name])], via.origin, sibling_package)
        if name in siblings:
            return siblings[name]
        found = self.index.find(name, sibling_package or self.wheel.package, self.wheel.platforms)[0]
        for without_link in (self.own, siblings):
            near = {library.content: library for other, library in without_link.items() if same_library(name, other)}
            if found is None and len(near) == 1:
                (found,) = near.values()
        if found is not None and name not in found.side.file.names:
            why = f"{needed} is taken to be {found.side.file.name} of {found.origin}, whose link of that name is lost"
            self.result.warnings.append(ConversionWarning("lost-link", why, None if via else self.wheel.package.stem))
        return found

    def _siblings_of(self, package: CondaPackage, origin: str) -> dict[str, Library]:
        """The side modules of a package that brought a library, by every file name."""
        if origin not in self._siblings:
            found = side_modules(file for file in package.files if any(SHARED_OBJECT.search(name) for name in file.names))
            self._siblings[origin] = libraries_by_name(found.values(), origin, package)
            self._other_siblings[origin] = otherwise_named(package.files)
        return self._siblings[origin]

    def _missing(self, user: str, needed: str, via: Library | None) -> str:
        """The message about a library that was found nowhere."""
        who = user if via is None else f"{via.side.file.path} of {via.origin}"
        searched = ["the package", *(self.wheel.beside.searched if self.wheel.beside else ()), *self.index.searched]
        _, rejected = self.index.find(posixpath.basename(needed), self.wheel.package, self.wheel.platforms)
        passed = f" (passed over: {'; '.join(rejected)})" if rejected else ""
        return f"{who} NEEDs {needed}, which is not in {', '.join(searched)}{passed}"
