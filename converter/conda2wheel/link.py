"""Who NEEDs whom, where it is found, and under what name it travels.

A NEEDED entry is the file name that a library had when its user was linked; there is no SONAME. The loader looks for
that name in fixed folders and then in RUNTIME_PATH, and knows a library by the path that it was found under, so one
library under two names, or found by two spellings of one path, is two instances with two states. Hence: one file per
content, under one name that no other library has, found by one path.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conda2wheel.abi.platforms import Platform
from conda2wheel.conda.binaries import Binary, read_binary
from conda2wheel.conda.files import BytesBlob, PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.isolate import HASH_LENGTH, Node, plan, reached_by_name
from conda2wheel.libdirs import Library, LibraryIndex, Subject, names_of
from conda2wheel.outcome import Provided, Vendored, Warned
from conda2wheel.provided import main_names
from conda2wheel.reach import ORIGIN, finds, search_order
from conda2wheel.resolution import Resolution
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.rename import rename


@dataclass(frozen=True)
class Change:
    """What linking changed in one module: its new NEEDED and RUNTIME_PATH entries where they are others than they were
    (else None), and how many names of symbols."""

    needed: tuple[str, ...] | None = None
    runtime_path: tuple[str, ...] | None = None
    renamed: int = 0

    def json(self) -> dict[str, Any]:
        """`{"needed", "runtime_path", "renamed"}`, those that say something."""
        told = {"needed": self.needed, "runtime_path": self.runtime_path}
        found: dict[str, Any] = {key: list(value) for key, value in told.items() if value is not None}
        return found | ({"renamed": self.renamed} if self.renamed else {})


@dataclass(frozen=True)
class Linked:
    """The result: what changes among the wheel's own side modules, what joins them, and what a person should know.

    `rewritten`, `libraries` and `changes` are keyed by path below site-packages; `origins` says of each of `libraries`
    which one it is, and `packages` are those that they came from, without the package that was linked. `consulted` are the
    libraries that were found, whether they travel or not: the result depends on each.
    """

    rewritten: Mapping[str, PackageFile] = field(default_factory=dict)
    libraries: Mapping[str, PackageFile] = field(default_factory=dict)
    origins: Mapping[str, Library] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    packages: tuple[CondaPackage, ...] = ()
    consulted: tuple[Library, ...] = ()
    warnings: tuple[Warned, ...] = ()


class _Linker(Resolution):
    """What becomes of the modules of one wheel; lives for one call of `link`."""

    def isolation(self, names: Mapping[str, str], texts: Iterable[tuple[str, bytes]]) -> dict[str, dict[str, str]]:
        """New names of symbols by module; libraries that are reached by name at run time keep theirs, and it is told."""
        nodes = {
            key: Node(
                self.binary(key),
                tuple(target for (user, _), target in self.targets.items() if user == key),
                posixpath.splitext(names[key])[0].rpartition("-")[2] if key in names else None,
            )
            for key in (*self.native, *self.vendored)
        }
        libraries = {key: (library.binary, _stem(library)) for key, library in self.vendored.items()}
        keep = reached_by_name(libraries, [node.binary for node in nodes.values()], texts)
        self.warnings += [
            Warned("not-isolated", f"its symbols keep their names: {why}", f"{self.libs}/{names[key]}")
            for key, why in sorted(keep.items())
        ]
        return plan(nodes, keep, main_names(self.platform))

    def names(self) -> dict[str, str]:
        """Content -> `<stem>-<hash8>.so`. The hash covers a library's bytes and those of all that it NEEDs, so that two
        equal libraries with different needs are two files, and a cycle has a name as well; and the distribution's name, since
        the hash is in the symbols, too: one library in two wheels is two instances, whose pointers must not meet."""
        result = {}
        for content, library in self.vendored.items():
            closure = self.closure(content) & self.vendored.keys()
            parts = [self.distribution, content, *sorted(closure)]
            digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
            result[content] = f"{_stem(library)}-{digest[:HASH_LENGTH]}.so"
        return result

    def rewrite(
        self, user: str, path: str, binary: Binary, names: Mapping[str, str], symbols: Mapping[str, str]
    ) -> PackageFile | None:
        """The module at `path` with its NEEDED, RUNTIME_PATH and new names of `symbols`; None if it may stay as it is."""
        if binary.module is None or binary.dylink is None or not (binary.needed or symbols):
            return None
        wanted: list[str] = []
        entries: list[str] = []
        for entry in binary.needed:
            if (user, entry) in self.dropped:
                continue
            target = self.targets.get((user, entry))
            if target is None:  # nowhere, and allowed to be
                entries.append(entry)
                continue
            place = f"{self.libs}/{names[target]}" if target in names else target
            if place not in wanted:
                wanted.append(place)
                entries.append(posixpath.basename(place))
        files = {*self.native, *(f"{self.libs}/{name}" for name in names.values())}
        module = Module.parse(rename(binary.module, symbols)) if symbols else binary.module
        before = dylink_section.read(module)
        dylink = before.with_needed(entries)
        # Emscripten before 4.0.5 does not read RUNTIME_PATH, and Pyodide says such modules must not have one; but a
        # module that needs no other change is left alone.
        if self.platform.runtime_path or dylink is not before:
            dylink = dylink.with_runtime_path(self._runtime_path(path, binary, wanted, files))
        data = dylink_section.write(module, dylink)
        if data == binary.module.data:
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
    *,
    isolate: bool = True,
    provided: bool = True,
    texts: Iterable[tuple[str, bytes]] = (),
    allow: Collection[str] = (),
) -> Linked:
    """Link the side modules `native` (by path below site-packages) of a wheel for `platform`.

    `own` are the package's shared libraries outside of site-packages, `distribution` the wheel's name as in its file
    name. `isolate`: give the symbols of vendored libraries names of their own. `provided`: leave out libraries of which
    the main module has all that is taken. `texts` are the wheel's Python files by path, which may open libraries by name.

    Raises `Refused` (missing-library, unless `allow` has it) naming everyone who NEEDs something that is nowhere.
    """
    own_by_name = {
        name: Library(binary, package.stem, package if isinstance(package, CondaPackage) else None)
        for binary in own.values()
        if binary.kind.is_loadable
        for name in names_of(binary.file)
    }
    linker = _Linker(package, platform, native, own_by_name, index, distribution)
    linker.resolve()
    if provided:
        linker.drop_provided()
    linker.refuse_missing(allow)
    names = linker.names()
    symbols = linker.isolation(names, texts) if isolate and names else {}
    rewritten = {
        path: new for path, binary in native.items() if (new := linker.rewrite(path, path, binary, names, symbols.get(path, {})))
    }
    libraries: dict[str, PackageFile] = {}
    origins: dict[str, Library] = {}
    vendored: list[Vendored] = []
    for content, library in sorted(linker.vendored.items(), key=lambda item: names[item[0]]):
        path = f"{linker.libs}/{names[content]}"
        new = linker.rewrite(content, path, library.binary, names, symbols.get(content, {}))
        libraries[path] = new or PackageFile(library.binary.file.path, library.binary.file.blob)
        origins[path] = library
        users = sorted({f"{linker.libs}/{names[u]}" if u in names else u for (u, _), t in linker.targets.items() if t == content})
        vendored.append(Vendored(path, f"{library.origin}:{library.binary.file.path}", tuple(users)))
    packages = {lib.package.stem: lib.package for lib in linker.vendored.values() if lib.package and lib.package is not package}
    warnings = [*index.notes, *linker.warnings, *_unused(own, linker), *_unreachable(linker), *_cycles(linker, names)]
    renamed = {**symbols, **{f"{linker.libs}/{name}": symbols.get(content, {}) for content, name in names.items()}}
    befores = {**native, **{path: library.binary for path, library in origins.items()}}
    return Linked(
        rewritten=rewritten,
        libraries=libraries,
        origins=origins,
        changes={
            path: _change(befores[path], new, len(renamed.get(path, ()))) for path, new in {**rewritten, **libraries}.items()
        },
        vendored=tuple(vendored),
        provided=tuple(linker.provided),
        packages=tuple(packages[stem] for stem in sorted(packages)),
        consulted=tuple(library for _, library in sorted(linker.found.items())),
        warnings=tuple(warnings),
    )


def _change(before: Binary, new: PackageFile, renamed: int) -> Change:
    after = read_binary(new)
    return Change(
        needed=after.needed if after.needed != before.needed else None,
        runtime_path=after.runtime_path if after.runtime_path != before.runtime_path else None,
        renamed=renamed,
    )


def _unused(own: Mapping[str, Binary], linker: _Linker) -> list[Warned]:
    used = {*linker.vendored, *linker.dropped.values()}
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
        if linker.in_cycle(content)
    ]


def _stem(library: Library) -> str:
    """`libz` for libz.so.1.3.2. Archives that hold copies instead of links give one file several names: the shortest."""
    name = min(names_of(library.binary.file), key=lambda n: (len(n), n))
    return name.partition(".so")[0]
