"""Which library each NEEDED entry means, and which of them need not travel.

A name is looked for where the loader would look, in the package, in the package that brought its user, then in the libdirs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Self

from conda2wheel.abi.loader_search import search_order
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule, same_library, side_modules
from conda2wheel.abi.symbols import Symbol
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.link.libraries import Library, LibraryIndex, Subject
from conda2wheel.link.provided import complete, covers, main_symbols, offered, taken
from conda2wheel.results import ALLOWED, ConversionWarning, Provided


@dataclass
class Resolution:
    """Who NEEDs whom in one wheel; filled by `resolve` and `drop_provided`."""

    package: Subject
    platform: Platform
    native: Mapping[str, SideModule]
    own: Mapping[str, Library]
    index: LibraryIndex
    distribution: str
    vendored: dict[str, Library] = field(default_factory=dict)  # content -> library
    targets: dict[tuple[str, str], str] = field(default_factory=dict)  # (user, NEEDED) -> content, or path in the wheel
    missing: dict[tuple[str, str], str] = field(default_factory=dict)  # (user, NEEDED) -> who, what, and where it was looked for
    dropped: dict[tuple[str, str], str] = field(default_factory=dict)  # (user, NEEDED) -> content of a provided one, or ""
    found: dict[str, Library] = field(default_factory=dict)  # content -> every library that was looked at, travelling or not
    provided: list[Provided] = field(default_factory=list)
    warnings: list[ConversionWarning] = field(default_factory=list)

    @property
    def libs(self) -> str:
        """The folder of the libraries that travel."""
        return f"{self.distribution}.libs"

    def resolve(self) -> None:
        """Find every NEEDED library, and what those NEED, until nothing is new. Cycles end by themselves."""
        todo: list[tuple[str, SideModule, Library | None]] = [
            (path, binary, None) for path, binary in sorted(self.native.items())
        ]
        while todo:
            user, binary, via = todo.pop(0)
            for needed in binary.needed:
                target = self._in_wheel(user, needed) if via is None else None
                if target is not None:
                    self.targets[user, needed] = target
                    continue
                library = self._find(needed, via)
                if library is None:
                    fallback = self._in_wheel(user, needed)
                    if fallback is None:
                        self._miss(user, needed, via)
                    else:
                        self.targets[user, needed] = fallback
                    continue
                self.targets[user, needed] = library.content
                self.found.setdefault(library.content, library)
                if library.content not in self.vendored:
                    self.vendored[library.content] = library
                    todo.append((library.content, library.binary, library))

    def copy(self) -> Self:
        """Another one that starts where this one is."""
        other = copy(self)
        other.vendored, other.targets, other.missing = dict(self.vendored), dict(self.targets), dict(self.missing)
        other.dropped, other.found = dict(self.dropped), dict(self.found)
        other.provided, other.warnings = list(self.provided), list(self.warnings)
        return other

    def drop_provided(self, wanted: Collection[str] = ()) -> None:
        """Leave out libraries of which the main module has all that is taken from them, and what only they NEED; none whose
        content is in `wanted`."""
        if not self.vendored and not self.missing:
            return
        main = main_symbols(self.platform)
        if not main:
            return
        self._drop_unseen(main)
        while found := next((each for each in self.vendored if each not in wanted and self._is_provided(each, main)), None):
            entries = [pair for pair, target in self.targets.items() if target == found]
            library = self.vendored[found]
            leaving = self._leaving(found)
            users = sorted({user for user, _ in entries} - leaving)
            symbols = taken(map(self.binary, users), self._exports(leaving, found))
            for pair in entries:
                del self.targets[pair]
                self.dropped[pair] = found
            named = sorted({needed for user, needed in entries if user in users})[0]
            self._provide(named, len(symbols), users)
            del self.vendored[found]
            for user, needed in [pair for pair in self.targets if pair[0] == library.content]:
                del self.targets[user, needed]
            self._prune()

    def _drop_unseen(self, main: Mapping[str, Symbol]) -> None:
        """Libraries that are nowhere, and that nobody would miss: everything that their users import is somewhere else."""
        for user, needed in list(self.missing):
            around = [self.binary(key) for key in self.closure(user) if key != user]
            if complete(main, self.binary(user), around, self.platform.unwinding == "js"):
                del self.missing[user, needed]
                self.dropped[user, needed] = ""
                why = f"{needed} was found nowhere; all that is imported is in Pyodide's main module or in the other libraries"
                self.warnings.append(ConversionWarning("provided-unseen", why, self.shown(user)))
                self._provide(posixpath.basename(needed), 0, [user])

    def _provide(self, name: str, symbols: int, users: list[str]) -> None:
        by = f"the main module of {self.platform.tag}"
        self.provided.append(Provided(name, by, symbols, tuple(sorted(self.shown(user) for user in users))))

    def _is_provided(self, content: str, main: Mapping[str, Symbol]) -> bool:
        """Whether one of its users takes something from it, and main has all that anybody in the wheel could take from what
        would leave with it: the loader finds symbols through NEEDED entries of others, too."""
        leaving = self._leaving(content)
        exports = self._exports(leaving, content)
        users = {user for (user, _), target in self.targets.items() if target == content} - leaving
        staying = [self.binary(key) for key in (*self.native, *self.vendored) if key not in leaving]
        return bool(taken(map(self.binary, users), exports)) and covers(main, taken(staying, exports), exports)

    def _leaving(self, content: str) -> set[str]:
        """A library and the others that nobody would NEED without it."""
        staying = set().union(*(self.closure(path, without=content) for path in self.native))
        return set(self.vendored) - staying

    def _exports(self, leaving: Collection[str], content: str) -> dict[str, str]:
        """What can be taken from these libraries, first of all from the one that brings the others."""
        exports: dict[str, str] = {}
        for key in sorted(set(leaving) - {content}):
            exports.update(offered(self.binary(key)))
        return {**exports, **offered(self.binary(content))}

    def _prune(self) -> None:
        """Forget libraries that nobody NEEDs any more."""
        live: set[str] = set()
        for path in self.native:
            live |= self.closure(path)
        for content in [content for content in self.vendored if content not in live]:
            del self.vendored[content]
            for pair in [pair for pair in self.targets if pair[0] == content]:
                del self.targets[pair]

    def binary(self, key: str) -> SideModule:
        """A module of the wheel by its path, or a library by its content."""
        return self.vendored[key].binary if key in self.vendored else self.native[key]

    def shown(self, key: str) -> str:
        """A module as a person knows it."""
        return self.vendored[key].binary.file.path if key in self.vendored else key

    def refuse_missing(self, allow: Collection[str]) -> None:
        """Libraries that are nowhere. Their entries stay as they are where that was allowed."""
        if self.missing and "missing-library" not in allow:
            raise Refused(
                "missing-library",
                f"{self.package.source}: {'; '.join(self.missing.values())}",
                "give the package that brings it with --libdir",
            )
        self.warnings += [
            ConversionWarning(ALLOWED, f"missing-library: NEEDs {needed}, which was found nowhere", self.shown(user))
            for user, needed in self.missing
        ]

    def _in_wheel(self, user: str, needed: str) -> str | None:
        """A side module of the wheel itself by that name: where its user's loader looks, else anywhere.

        Of copies beside each other (links that a zip tool followed) it is the first, for all users: so it is one instance.
        """
        name = posixpath.basename(needed)
        others = {path: binary for path, binary in self.native.items() if path != user}
        places = [p for p, binary in others.items() if name in binary.file.names | {posixpath.basename(p)}]
        if not places:
            near = [p for p, b in others.items() if not b.init_functions and same_library(name, posixpath.basename(p))]
            places = near if len({others[p].file.blob.sha256 for p in near}) == 1 else []
        if not places:
            return None
        folder = posixpath.dirname(user)
        binary = self.native.get(user)
        order = search_order(binary.runtime_path if binary else (), folder, self.libs, self.platform)
        rank = {place: n for n, place in reversed(list(enumerate(order)))}
        found = min(places, key=lambda p: (rank.get(posixpath.dirname(p), len(order)), p))
        if others[found].init_functions:
            return found
        sha256, place = others[found].file.blob.sha256, posixpath.dirname(found)
        return min(p for p, b in others.items() if b.file.blob.sha256 == sha256 and posixpath.dirname(p) == place)

    def _find(self, needed: str, via: Library | None) -> Library | None:
        """A library by file name: in the package, in the package that brought its user, then in the libdirs.

        A name that only a lost symlink had is found by the names that symlinks of that library have, and told.
        """
        name = posixpath.basename(needed)
        if name in self.own:
            return self.own[name]
        brought = via.package if via is not None and via.package is not None else None
        siblings = _libraries(brought, via.origin) if brought is not None and via is not None else {}
        if name in siblings:
            return siblings[name]
        found = self.index.find(name, brought or self.package, self.platform)[0]
        for lost in (self.own, siblings):
            near = {library.content: library for other, library in lost.items() if same_library(name, other)}
            if found is None and len(near) == 1:
                (found,) = near.values()
        if found is not None and name not in found.binary.file.names:
            why = f"{needed} is taken to be {found.binary.file.name} of {found.origin}, whose link of that name is lost"
            self.warnings.append(ConversionWarning("lost-link", why, None if via else self.package.stem))
        return found

    def _miss(self, user: str, needed: str, via: Library | None) -> None:
        who = user if via is None else f"{via.binary.file.path} of {via.origin}"
        searched = ["the package", *self.index.searched]
        _, rejected = self.index.find(posixpath.basename(needed), self.package, self.platform)
        passed = f" (passed over: {'; '.join(rejected)})" if rejected else ""
        self.missing[user, needed] = f"{who} NEEDs {needed}, which is not in {', '.join(searched)}{passed}"

    def closure(self, key: str, without: str | None = None) -> set[str]:
        """A module and all that it NEEDs in the end; `without` one, and what only that one NEEDs."""
        seen = {key}
        todo = [key]
        while todo:
            here = todo.pop()
            for (user, _), target in self.targets.items():
                if user == here and target not in seen and target != without:
                    seen.add(target)
                    todo.append(target)
        return seen

    def in_cycle(self, content: str) -> bool:
        """Whether a library NEEDs itself in the end."""
        direct = [target for (user, _), target in self.targets.items() if user == content]
        return any(content in self.closure(target) for target in direct)


def _libraries(package: CondaPackage, origin: str) -> dict[str, Library]:
    """The loadable libraries of a package, by every file name."""
    found = side_modules(file for file in package.files if any(SHARED_OBJECT.search(name) for name in file.names))
    return {
        name: Library(binary, origin, package)
        for binary in found.values()
        if binary.kind.is_loadable
        for name in binary.file.names
    }
