"""Who NEEDs whom, where it is found, and under what name it travels.

A NEEDED entry is the file name that a library had when its user was linked; there is no SONAME. The loader looks for
that name in fixed folders and then in RUNTIME_PATH, and knows a library by the path that it was found under, so one
library under two names, or found by two spellings of one path, is two instances with two states. Hence: one file per
content, under one name that no other library has, found by one path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conda2wheel.abi.loader_search import search_order
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.common import Common
from conda2wheel.link.libraries import Library, LibraryIndex, Subject
from conda2wheel.link.rewrite import Linker
from conda2wheel.results import ConversionWarning, Provided, Vendored


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
    libraries that were found, whether they travel or not: the result depends on each. `shared` are those of `common` that the
    wheel takes; `common` is None where it takes none.
    """

    rewritten: Mapping[str, PackageFile] = field(default_factory=dict)
    libraries: Mapping[str, PackageFile] = field(default_factory=dict)
    origins: Mapping[str, Library] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    packages: tuple[CondaPackage, ...] = ()
    consulted: tuple[Library, ...] = ()
    shared: tuple[Vendored, ...] = ()
    common: Common | None = None
    warnings: tuple[ConversionWarning, ...] = ()


def link(
    package: Subject,
    platform: Platform,
    native: Mapping[str, SideModule],
    own: Mapping[str, SideModule],
    index: LibraryIndex,
    distribution: str,
    *,
    isolate: bool = True,
    provided: bool = True,
    texts: Iterable[tuple[str, bytes]] = (),
    allow: Collection[str] = (),
    common: Common | None = None,
) -> Linked:
    """Link the side modules `native` (by path below site-packages) of a wheel for `platform`.

    `own` are the package's shared libraries outside of site-packages, `distribution` the wheel's name as in its file
    name. `isolate`: give the symbols of vendored libraries names of their own. `provided`: leave out libraries of which
    the main module has all that is taken. `texts` are the wheel's Python files by path, which may open libraries by name.
    `common` has the libraries that are taken from it instead, if it is for the same platform.

    Raises `Refused` (missing-library, unless `allow` has it) naming everyone who NEEDs something that is nowhere.
    """
    common = common if common and common.platform == platform else None
    linker = resolved(package, platform, native, own, index, distribution, common)
    if provided:
        linker.drop_provided(common.wanted if common else ())
    linker.refuse_missing(allow)
    places = linker.places()
    symbols = linker.isolation(places, texts) if isolate and places else {}
    rewritten = {
        path: new for path, binary in native.items() if (new := linker.rewrite(path, path, binary, places, symbols.get(path, {})))
    }
    taken = {content: places[content] for content in places if common and places[content] in common.files}
    libraries: dict[str, PackageFile] = {}
    origins: dict[str, Library] = {}
    for content, path in sorted(places.items(), key=lambda item: item[1]):
        if content not in taken:
            library = linker.vendored[content]
            new = linker.rewrite(content, path, library.binary, places, symbols.get(content, {}))
            libraries[path] = new or PackageFile(library.binary.file.path, library.binary.file.blob)
            origins[path] = library
    warnings = [*index.notes, *linker.warnings, *_unused(own, linker), *_unreachable(linker), *_cycles(linker, places)]
    renamed = {**symbols, **{place: symbols.get(content, {}) for content, place in places.items()}}
    befores = {**native, **{path: library.binary for path, library in origins.items()}}
    return Linked(
        rewritten=rewritten,
        libraries=libraries,
        origins=origins,
        changes={
            path: change(befores[path], new, len(renamed.get(path, ()))) for path, new in {**rewritten, **libraries}.items()
        },
        vendored=_users(linker, {content: place for content, place in places.items() if content not in taken}, places),
        provided=tuple(linker.provided),
        packages=packages_of(origins.values(), package),
        consulted=tuple(library for _, library in sorted(linker.found.items())),
        shared=_users(linker, taken, places),
        common=common if taken else None,
        warnings=tuple(warnings),
    )


def resolved(
    package: Subject,
    platform: Platform,
    native: Mapping[str, SideModule],
    own: Mapping[str, SideModule],
    index: LibraryIndex,
    distribution: str,
    common: Common | None = None,
) -> Linker:
    """Who NEEDs whom in a wheel, with the arguments of `link`, before any library is left out."""
    own_by_name = {
        name: Library(binary, package.stem, package if isinstance(package, CondaPackage) else None)
        for binary in own.values()
        if binary.kind.is_loadable
        for name in binary.file.names
    }
    linker = Linker(package, platform, native, own_by_name, index, distribution, common=common)
    linker.resolve()
    return linker


def packages_of(libraries: Iterable[Library], own: Subject | None = None) -> tuple[CondaPackage, ...]:
    """The packages that libraries came from, without `own`."""
    found = {library.package.stem: library.package for library in libraries if library.package and library.package is not own}
    return tuple(found[stem] for stem in sorted(found))


def _users(linker: Linker, of: Mapping[str, str], places: Mapping[str, str]) -> tuple[Vendored, ...]:
    """Libraries (content -> place) by place, with the members that NEED them."""
    found = []
    for content, place in sorted(of.items(), key=lambda item: item[1]):
        library = linker.vendored[content]
        users = sorted({places.get(user, user) for (user, _), target in linker.targets.items() if target == content})
        found.append(Vendored(place, f"{library.origin}:{library.binary.file.path}", tuple(users)))
    return tuple(found)


def change(before: SideModule, new: PackageFile, renamed: int) -> Change:
    """What is other in `new`, in which `renamed` symbols have new names."""
    after = SideModule(new)
    return Change(
        needed=after.needed if after.needed != before.needed else None,
        runtime_path=after.runtime_path if after.runtime_path != before.runtime_path else None,
        renamed=renamed,
    )


def _unused(own: Mapping[str, SideModule], linker: Linker) -> list[ConversionWarning]:
    used = {*linker.vendored, *linker.dropped.values()}
    return [
        ConversionWarning(
            "unused-library", "nothing NEEDs it, so it stays out; code that opens it by path will not find it", path
        )
        for path, binary in sorted(own.items())
        if binary.kind.is_loadable and binary.file.blob.sha256 not in used
    ]


def _unreachable(linker: Linker) -> list[ConversionWarning]:
    """Libraries that stay where they are in site-packages, on a loader that knows no RUNTIME_PATH to lead there."""
    if linker.platform.runtime_path:
        return []
    found = []
    for (user, needed), target in sorted(linker.targets.items()):
        looked = search_order((), posixpath.dirname(user), linker.libs, linker.platform)
        if target in linker.native and posixpath.dirname(target) not in looked:
            why = f"NEEDs {needed} at {target}; the loader of {linker.platform.tag} may not look there"
            found.append(ConversionWarning("unreachable-library", why, user))
    return found


def _cycles(linker: Linker, places: Mapping[str, str]) -> list[ConversionWarning]:
    """Libraries that NEED each other, on the loaders that may make two instances of one then (measured: Pyodide 0.27.7, by
    the order in which it meets them; 0.26.4, 0.28 and later do not)."""
    if not linker.platform.libs_folder:
        return []
    return [
        ConversionWarning(
            "library-cycle",
            f"it NEEDs itself in the end; the loader of {linker.platform.tag} may make two instances of it",
            posixpath.basename(places[content]),
        )
        for content in linker.vendored
        if linker.in_cycle(content)
    ]
