"""Who NEEDs whom, where it is found, and under what name it travels.

A NEEDED entry is the file name that a library had when its user was linked; there is no SONAME. The loader looks for
that name in fixed folders and then in RUNTIME_PATH, and knows a library by the path that it was found under, so one
library under two names, or found by two spellings of one path, is two instances with two states. Hence: one file per
content, under one name that no other library has, found by one path.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from conda2wheel.abi.platforms import Platform
from conda2wheel.conda.binaries import SHARED_OBJECT, Binary, read_binaries, read_binary
from conda2wheel.conda.files import BytesBlob, PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.libdirs import Library, LibraryIndex, Subject, names_of, same_library
from conda2wheel.outcome import Provided, Refused, Vendored, Warned
from conda2wheel.reach import ORIGIN, finds, search_order
from conda2wheel.wasm.dylink import write

HASH_LENGTH = 8


@dataclass(frozen=True)
class Change:
    """What linking changed in one module: its new NEEDED and RUNTIME_PATH entries where they are others than they were
    (else None), and how many names of symbols."""

    needed: tuple[str, ...] | None = None
    runtime_path: tuple[str, ...] | None = None
    renamed: int = 0


@dataclass(frozen=True)
class Linked:
    """The result: what changes among the wheel's own side modules, what joins them, and what a person should know.

    `rewritten`, `libraries` and `changes` are keyed by path below site-packages; `origins` says of each of `libraries`
    which one it is, and `packages` are those that they came from, without the package that was linked.
    """

    rewritten: Mapping[str, PackageFile] = field(default_factory=dict)
    libraries: Mapping[str, PackageFile] = field(default_factory=dict)
    origins: Mapping[str, Library] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    packages: tuple[CondaPackage, ...] = ()
    warnings: tuple[Warned, ...] = ()


@dataclass
class _Linker:
    """One package's linking; lives for one call of `link`."""

    package: Subject
    platform: Platform
    native: Mapping[str, Binary]
    own: Mapping[str, Library]
    index: LibraryIndex
    libs: str
    vendored: dict[str, Library] = field(default_factory=dict)  # content -> library
    targets: dict[tuple[str, str], str] = field(default_factory=dict)  # (user, NEEDED) -> content, or path in the wheel
    missing: list[str] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    def resolve(self) -> None:
        """Find every NEEDED library, and what those NEED, until nothing is new. Cycles end by themselves."""
        todo: list[tuple[str, Binary, Library | None]] = [(path, binary, None) for path, binary in sorted(self.native.items())]
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
                if library.content not in self.vendored:
                    self.vendored[library.content] = library
                    todo.append((library.content, library.binary, library))
        if self.missing:
            raise Refused(
                "missing-library",
                f"{self.package.source}: {'; '.join(self.missing)}",
                "give the package that brings it with --libdir",
            )

    def _in_wheel(self, user: str, needed: str) -> str | None:
        """A side module of the wheel itself by that name: where its user's loader looks, else anywhere.

        Of copies beside each other (links that a zip tool followed) it is the first, for all users: so it is one instance.
        """
        name = posixpath.basename(needed)
        others = {path: binary for path, binary in self.native.items() if path != user}
        places = [p for p, binary in others.items() if name in names_of(binary.file) | {posixpath.basename(p)}]
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
        if found is not None and name not in names_of(found.binary.file):
            why = f"{needed} is taken to be {found.binary.file.name} of {found.origin}, whose link of that name is lost"
            self.warnings.append(Warned("lost-link", why, None if via else self.package.stem))
        return found

    def _miss(self, user: str, needed: str, via: Library | None) -> None:
        who = user if via is None else f"{via.binary.file.path} of {via.origin}"
        searched = ["the package", *self.index.places]
        _, rejected = self.index.find(posixpath.basename(needed), self.package, self.platform)
        passed = f" (passed over: {'; '.join(rejected)})" if rejected else ""
        self.missing.append(f"{who} NEEDs {needed}, which is not in {', '.join(searched)}{passed}")

    def names(self) -> dict[str, str]:
        """Content -> `<stem>-<hash8>.so`. The hash covers a library's bytes and those of all that it NEEDs, so that two
        equal libraries with different needs are two files, and a cycle has a name as well."""
        result = {}
        for content, library in self.vendored.items():
            closure = self.closure(content)
            digest = hashlib.sha256("\n".join([content, *sorted(closure)]).encode()).hexdigest()
            result[content] = f"{_stem(library)}-{digest[:HASH_LENGTH]}.so"
        return result

    def closure(self, content: str) -> set[str]:
        """All that a library NEEDs, itself only if it is in a cycle."""
        seen: set[str] = set()
        todo = [content]
        while todo:
            here = todo.pop()
            for needed in self.vendored[here].binary.needed if here in self.vendored else ():
                target = self.targets[here, needed]
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    def rewrite(self, user: str, path: str, binary: Binary, names: Mapping[str, str]) -> PackageFile | None:
        """The module at `path` with its NEEDED and RUNTIME_PATH; None if it may stay as it is."""
        if binary.module is None or binary.dylink is None or not binary.needed:
            return None
        wanted: list[str] = []
        for entry in binary.needed:
            target = self.targets[user, entry]
            place = f"{self.libs}/{names[target]}" if target in names else target
            if place not in wanted:
                wanted.append(place)
        files = {*self.native, *(f"{self.libs}/{name}" for name in names.values())}
        paths = self._runtime_path(path, binary, wanted, files)
        dylink = binary.dylink.with_needed([posixpath.basename(place) for place in wanted])
        # Emscripten before 4.0.5 does not read RUNTIME_PATH, and Pyodide says such modules must not have one; but a
        # module that needs no other change is left alone.
        if self.platform.runtime_path or dylink is not binary.dylink:
            dylink = dylink.with_runtime_path(paths)
        data = write(binary.module, dylink)
        if data is binary.module.data:
            return None
        return PackageFile(binary.file.path, BytesBlob(data), binary.file.executable)

    def _runtime_path(self, path: str, binary: Binary, wanted: list[str], files: set[str]) -> list[str]:
        if not self.platform.runtime_path:
            return []
        here = posixpath.dirname(path)
        if all(finds(binary.runtime_path, here, place, files, self.platform) for place in wanted):
            return list(binary.runtime_path)
        entries: list[str] = []
        for folder in dict.fromkeys(posixpath.dirname(place) for place in wanted):
            if not folder:
                continue  # site-packages itself is on LD_LIBRARY_PATH
            relative = posixpath.relpath(folder, here or ".")
            if not self.platform.normalises_paths and self.platform.site_packages and relative != ".":
                entries.append(posixpath.join(self.platform.site_packages, folder))
            entries.append(ORIGIN if relative == "." else f"{ORIGIN}/{relative}")
        return entries


def link(
    package: Subject,
    platform: Platform,
    native: Mapping[str, Binary],
    own: Mapping[str, Binary],
    index: LibraryIndex,
    distribution: str,
) -> Linked:
    """Link the side modules `native` (by path below site-packages) of a wheel for `platform`.

    `own` are the package's shared libraries outside of site-packages, `distribution` the wheel's name as in its file
    name. Raises `Refused` (missing-library) naming everyone who NEEDs something that is nowhere.
    """
    own_by_name = {
        name: Library(binary, package.stem, package if isinstance(package, CondaPackage) else None)
        for binary in own.values()
        if binary.kind.is_loadable
        for name in names_of(binary.file)
    }
    linker = _Linker(package, platform, native, own_by_name, index, f"{distribution}.libs")
    linker.resolve()
    names = linker.names()
    rewritten = {path: new for path, binary in native.items() if (new := linker.rewrite(path, path, binary, names))}
    libraries: dict[str, PackageFile] = {}
    origins: dict[str, Library] = {}
    vendored: list[Vendored] = []
    for content, library in sorted(linker.vendored.items(), key=lambda item: names[item[0]]):
        path = f"{linker.libs}/{names[content]}"
        new = linker.rewrite(content, path, library.binary, names)
        libraries[path] = new or PackageFile(library.binary.file.path, library.binary.file.blob)
        origins[path] = library
        users = sorted({f"{linker.libs}/{names[u]}" if u in names else u for (u, _), t in linker.targets.items() if t == content})
        vendored.append(Vendored(path, f"{library.origin}:{library.binary.file.path}", tuple(users)))
    packages = {lib.package.stem: lib.package for lib in linker.vendored.values() if lib.package and lib.package is not package}
    warnings = [*index.warnings, *linker.warnings, *_unused(own, linker), *_unreachable(linker), *_cycles(linker, names)]
    befores = {**native, **{path: library.binary for path, library in origins.items()}}
    return Linked(
        rewritten=rewritten,
        libraries=libraries,
        origins=origins,
        changes={path: _change(befores[path], new) for path, new in {**rewritten, **libraries}.items()},
        vendored=tuple(vendored),
        packages=tuple(packages[stem] for stem in sorted(packages)),
        warnings=tuple(warnings),
    )


def _change(before: Binary, new: PackageFile) -> Change:
    after = read_binary(new)
    return Change(
        needed=after.needed if after.needed != before.needed else None,
        runtime_path=after.runtime_path if after.runtime_path != before.runtime_path else None,
    )


def _libraries(package: CondaPackage, origin: str) -> dict[str, Library]:
    """The loadable libraries of a package, by every file name."""
    found = read_binaries(file for file in package.files if any(SHARED_OBJECT.search(name) for name in names_of(file)))
    return {
        name: Library(binary, origin, package)
        for binary in found.values()
        if binary.kind.is_loadable
        for name in names_of(binary.file)
    }


def _unused(own: Mapping[str, Binary], linker: _Linker) -> list[Warned]:
    used = set(linker.vendored)
    return [
        Warned("unused-library", "nothing NEEDs it, so it stays out; code that opens it by path will not find it", path)
        for path, binary in sorted(own.items())
        if binary.kind.is_loadable and binary.file.blob.sha256 not in used
    ]


def _unreachable(linker: _Linker) -> list[Warned]:
    """Libraries that stay where they are in site-packages, on a loader that knows no RUNTIME_PATH to lead there."""
    if linker.platform.runtime_path:
        return []
    found = []
    for (user, needed), target in sorted(linker.targets.items()):
        looked = search_order((), posixpath.dirname(user), linker.libs, linker.platform)
        if target in linker.native and posixpath.dirname(target) not in looked:
            why = f"NEEDs {needed} at {target}; the loader of {linker.platform.tag} may not look there"
            found.append(Warned("unreachable-library", why, user))
    return found


def _cycles(linker: _Linker, names: Mapping[str, str]) -> list[Warned]:
    """Libraries that NEED each other, on the loaders that may make two instances of one then (measured: Pyodide 0.27.7, by
    the order in which it meets them; 0.26.4, 0.28 and later do not)."""
    if not linker.platform.libs_folder:
        return []
    return [
        Warned(
            "library-cycle",
            f"it NEEDs itself in the end; the loader of {linker.platform.tag} may make two instances of it",
            names[content],
        )
        for content in linker.vendored
        if content in linker.closure(content)
    ]


def _stem(library: Library) -> str:
    """`libz` for libz.so.1.3.2. Archives that hold copies instead of links give one file several names: the shortest."""
    name = min(names_of(library.binary.file), key=lambda n: (len(n), n))
    return name.partition(".so")[0]
