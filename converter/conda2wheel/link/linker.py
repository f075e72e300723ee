"""Links the side modules of a wheel: finds the libraries that they NEED, and makes the loader find each by one path.

The loader looks for a NEEDED name in fixed folders and then in RUNTIME_PATH, and knows a library by the path that it was found
under, so one library under two names, or found by two spellings of one path, is two instances with two states. Hence: one file a
content, under one name that no other library has, found by one path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from conda2wheel.abi.loader_search import search_order
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.symbols import main_names
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.bridging import with_bridge
from conda2wheel.link.isolation import defined
from conda2wheel.link.library import Library, LibraryUser
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.library_wheel import LibraryWheel, LibraryWheels, direct
from conda2wheel.link.linked import Change, Linked
from conda2wheel.link.provided import required_imports, without_provided
from conda2wheel.link.resolution import Resolution, WheelModules, resolve
from conda2wheel.link.rewrite import Renamed, added_entries, isolate, libraries_used_by_name, library_paths, rewrite
from conda2wheel.results import ConversionWarning, TakenLibrary, Vendored

if TYPE_CHECKING:
    from conda2wheel.link.common_wheel import CommonWheel, SetMember


class LinkOptions(NamedTuple):
    """How a wheel is linked.

    Attributes:
        isolate: give the symbols that vendored libraries define unique names.
        provided: leave out libraries of which the main module has all that is taken.
        allow: refusal codes that are warnings instead; missing-library is the one that counts here.
        bridge: make an unwinding bridge for modules with longjmp of the JavaScript kind, where the platform can have one.
    """

    isolate: bool = True
    provided: bool = True
    allow: frozenset[str] = frozenset()
    bridge: bool = True


def link(
    wheel: WheelModules,
    index: LibraryIndex,
    options: LinkOptions | None = None,
    common: CommonWheel | None = None,
    library_wheels: LibraryWheels | None = None,
) -> Linked:
    """Link the side modules of a wheel.

    Args:
        wheel: the modules and their platforms.
        index: where NEEDED libraries are looked up that the package does not have.
        options: how they are linked.
        common: a wheel whose libraries are taken from it, if it is for the same platform.
        library_wheels: other wheels whose libraries are taken from them; with a common wheel there are none.

    Raises:
        Refused: missing-library, unless the options allow it, naming every module that NEEDs one.
    """
    return _link(wheel, index, options, common, library_wheels)[0]


def link_library_wheel(
    name: str,
    wheel: WheelModules,
    index: LibraryIndex,
    options: LinkOptions | None = None,
    library_wheels: LibraryWheels | None = None,
) -> tuple[LibraryWheel, Linked]:
    """A library wheel, without a version, and its libraries, linked as those of any wheel.

    Args:
        name: its distribution name.
        wheel: the libraries that it is made for, as `roots`; it has no modules.
        index: where NEEDED libraries are looked up that their package does not have.
        options: how they are linked.
        library_wheels: the library wheels that it may take libraries from.

    Raises:
        Refused: missing-library.
    """
    linked, resolution, symbols = _link(wheel, index, options, None, library_wheels)
    own = {library.content: path for path, library in linked.origins.items()}
    made = LibraryWheel(
        name,
        wheel.platforms[0],
        libraries={content: resolution.vendored[content] for content in own},
        paths=own,
        files=linked.libraries,
        targets={entry: target for entry, target in resolution.targets.items() if entry[0] in own},
        dropped={entry: target for entry, target in resolution.dropped.items() if entry[0] in own},
        symbols={content: symbols.get(content, {}) for content in own},
        requires=linked.library_wheels,
    )
    return made, linked


def _link(
    wheel: WheelModules,
    index: LibraryIndex,
    options: LinkOptions | None,
    common: CommonWheel | None,
    library_wheels: LibraryWheels | None,
) -> tuple[Linked, Resolution, Renamed]:
    """Link, and return also what each NEEDED entry means and the new names of symbols by module or library."""
    options = options or LinkOptions()
    common = common if common and wheel.platforms == (common.platform,) else None
    resolution = resolve(wheel, index, common.origins.values() if common else (), library_wheels)
    if options.provided:
        resolution = without_provided(resolution, common.required if common else ())
    if options.bridge:
        resolution = with_bridge(resolution)
    missing = resolution.allowed_missing(options.allow, index.notes)
    _refuse_libraries_of_users(resolution)
    shared = {content: owner.paths[content] for content, owner in resolution.shared.items()}
    shared |= common.paths_for(resolution, resolution.vendored) if common else {}
    paths = library_paths(resolution, shared)
    symbols: dict[str, dict[str, str]] = {}
    by_name: dict[str, str] = {}
    kept_names: list[ConversionWarning] = []
    if options.isolate and paths:
        owned, given = _names_in(resolution.shared)
        given |= common.names_for([resolution.side(content) for content in shared]) if common else {}
        by_name = libraries_used_by_name(resolution)
        symbols, kept_names = isolate(resolution, paths, shared.keys(), given, by_name, owned)
    elif resolution.shared:  # other wheels have new names all the same
        owned, given = _names_in(resolution.shared)
        kept = dict.fromkeys(resolution.vendored.keys() - shared.keys(), "")
        symbols, _ = isolate(resolution, paths, shared.keys(), given, kept, owned)
    rewritten = {path: new for path in wheel.native if (new := rewrite(resolution, path, path, paths, symbols.get(path, {})))}
    libraries: dict[str, PackageFile] = {}
    origins: dict[str, Library] = {}
    for content, path in sorted(paths.items(), key=lambda item: item[1]):
        if content not in shared:
            library = resolution.vendored[content]
            new = rewrite(resolution, content, path, paths, symbols.get(content, {}))
            libraries[path] = new or PackageFile(library.side.file.path, library.side.file.blob)
            origins[path] = library
    renamed = {**symbols, **{path: symbols.get(content, {}) for content, path in paths.items()}}
    added = added_entries(resolution, paths)
    befores = {**wheel.native, **{path: library.side for path, library in origins.items()}}
    linked = Linked(
        rewritten=rewritten,
        libraries=libraries,
        origins=origins,
        changes={
            path: _change(befores[path], new, len(renamed.get(path, ())), added.get(path))
            for path, new in {**rewritten, **libraries}.items()
        },
        vendored=_users(resolution, {content: path for content, path in paths.items() if content not in shared}, paths),
        provided=tuple(resolution.provided),
        packages=_packages(origins.values(), wheel.package),
        consulted=tuple(found for content, found in sorted(resolution.found.items()) if _is_source(resolution, content)),
        shared=_users(resolution, shared, paths),
        common=common if shared else None,
        library_wheels=direct(resolution.shared, _taken_directly(resolution)),
        taken=_taken(resolution, by_name),
        undecided={symbol: names for (_, symbol), names in resolution.undecided.items()},
        outside={name: library.side for name, library in sorted(resolution.outside.items())},
        unseen=_unseen(resolution, paths),
        warnings=(
            *index.notes,
            *resolution.warnings,
            *missing,
            *kept_names,
            *_excluded(resolution),
            *_unused(resolution),
            *_unreachable(resolution),
            *_cycles(resolution, paths),
        ),
    )
    return linked, resolution, symbols


def link_common(name: str, platform: Platform, members: Sequence[SetMember], options: LinkOptions) -> tuple[CommonWheel, Linked]:
    """The common wheel of a set, without a version, and its libraries, linked as those of any wheel.

    Args:
        name: the common wheel's distribution name.
        platform: its platform, and that of all members.
        members: the wheels of the set.
        options: how the libraries are linked.
    """
    from conda2wheel.link.common_wheel import CommonWheel, share

    sharing = share(CommonWheel(name, platform), members, options.isolate, options.provided, options.bridge)
    common = sharing.common
    users: dict[str, list[str]] = {path: [] for path in sorted(common.files)}
    for user, needs in sorted(common.needs.items()):
        for path in needs:
            users[path].append(user)
    libraries = {path: common.files[path] for path in users}
    linked = Linked(
        libraries=libraries,
        origins=common.origins,
        changes={
            path: _change(common.origins[path].side, file, len(sharing.symbols.get(path, ())), sharing.added.get(path))
            for path, file in libraries.items()
        },
        vendored=tuple(Vendored(path, _source(common.origins[path]), tuple(by)) for path, by in users.items()),
        packages=_packages(common.origins.values()),
        consulted=tuple(common.origins[path] for path in users),
        warnings=sharing.warnings,
    )
    return common, linked


def _names_in(owners: Mapping[str, LibraryWheel]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The names of symbols in libraries of library wheels (content -> the wheel that has it).

    Returns:
        By content, the name of each symbol that it defines; and, unchanged, the symbols that these libraries import from neither
        each other nor the main module, and so from their users.
    """
    given = {}
    imported: set[str] = set()
    for content, owner in owners.items():
        side = owner.libraries[content].side
        renamed = owner.symbols.get(content, {})
        given[content] = {symbol: renamed.get(symbol, symbol) for symbol in sorted(defined(side))}
        main = main_names(owner.platform) or frozenset()
        imported |= set(side.module.import_names).difference(main) if side.module else set()
    exported = {symbol for names in given.values() for symbol in names}
    return given, {symbol: symbol for symbol in imported - exported}


def _refuse_libraries_of_users(resolution: Resolution) -> None:
    """Refuse a library wheel with a library that takes symbols from this wheel's modules or other libraries without NEEDing them.

    In a wheel of its own it cannot: it is loaded before its users, and symbols have other names in each of them.

    Raises:
        Refused: unresolved-symbol.
    """
    main = main_names(resolution.wheel.platforms[0]) or frozenset()
    exports = {key: set(side.module.export_names) for key in resolution.keys if (side := resolution.side(key)).module}
    for content, owner in resolution.shared.items():
        below = resolution.closure(content)
        imported = {entry.field for entry, _ in required_imports(resolution.side(content))} - main
        imported = imported.difference(*(exports.get(key, ()) for key in below))
        for key in exports.keys() - below if imported else ():
            if found := sorted(imported & exports[key]):
                why = f"{resolution.label(content)} of {owner.requirement} takes {found[0]} from {resolution.label(key)}"
                raise Refused("unresolved-symbol", f"{why}, which it does not NEED", "its users bring it themselves")


def _taken_directly(resolution: Resolution) -> set[str]:
    """The contents in library wheels that modules and libraries of the wheel itself NEED."""
    own = set(resolution.keys) - resolution.shared.keys()
    return {target for (user, _), target in resolution.targets.items() if user in own and target in resolution.shared}


def _taken(resolution: Resolution, by_name: Mapping[str, str]) -> tuple[TakenLibrary, ...]:
    """The libraries of other packages that a wheel needs, by package and name."""
    package = {content: library.package for content, library in resolution.vendored.items()}
    found = []
    for content, library in resolution.vendored.items():
        own = library.package
        if own is not None and own is not resolution.wheel.package:
            needs = {other.name for target in resolution.needs(content) if (other := package.get(target)) and other is not own}
            found.append(TakenLibrary(own.name, library.stem, tuple(sorted(needs)), content in by_name))
    return tuple(sorted(set(found), key=lambda each: (each.package, each.file, each.needs)))


def _packages(libraries: Iterable[Library], own: LibraryUser | None = None) -> tuple[CondaPackage, ...]:
    """The packages that libraries came from, without `own`."""
    found = {library.package.stem: library.package for library in libraries if library.package and library.package is not own}
    return tuple(found[stem] for stem in sorted(found))


def _is_source(resolution: Resolution, content: str) -> bool:
    """Whether a library that was found came from a package or folder, and not from a wheel that another tool built."""
    return resolution.found[content].package is not None or content not in resolution.shared


def _users(resolution: Resolution, libraries: Mapping[str, str], paths: Mapping[str, str]) -> tuple[Vendored, ...]:
    """Libraries (content -> path) by path, with the members that NEED them."""
    found = []
    for content, path in sorted(libraries.items(), key=lambda item: item[1]):
        users = sorted({paths.get(user, user) for (user, _), target in resolution.targets.items() if target == content})
        found.append(Vendored(path, _source(resolution.vendored[content]), tuple(users)))
    return tuple(found)


def _source(library: Library) -> str:
    return f"{library.origin}:{library.side.file.path}"


def _change(before: SideModule, new: PackageFile, renamed: int, added: Mapping[str, tuple[str, ...]] | None = None) -> Change:
    """The difference of `new`, in which `renamed` symbols have new names and entries were `added`."""
    after = SideModule(new)
    return Change(
        needed=after.needed if after.needed != before.needed else None,
        runtime_path=after.runtime_path if after.runtime_path != before.runtime_path else None,
        renamed=renamed,
        added=added or {},
    )


def _excluded(resolution: Resolution) -> list[ConversionWarning]:
    """A warning for each library that stays out of the wheel, about the first module that NEEDs it."""
    users: dict[str, list[str]] = {}
    for user, needed in sorted(resolution.excluded):
        users.setdefault(needed, []).append(resolution.label(user))
    return [
        ConversionWarning(
            "excluded-library",
            f"NEEDs {needed}, which stays out of the wheel: it has to be in /usr/lib or site-packages of the Pyodide, or where "
            f"RUNTIME_PATH leads{_others(found)}{_not_seen(resolution, needed)}",
            found[0],
        )
        for needed, found in users.items()
    ] + [
        ConversionWarning("exclude-unused", f"--exclude {pattern}: the wheel NEEDs no such library that is not in it")
        for pattern in resolution.wheel.excluded
        if not any(fnmatchcase(posixpath.basename(needed), pattern) for needed in users)
    ]


def _others(users: Sequence[str]) -> str:
    return f"; so do {len(users) - 1} more" if len(users) > 1 else ""


def _not_seen(resolution: Resolution, needed: str) -> str:
    seen = any(library is not None for (_, entry), library in resolution.excluded.items() if entry == needed)
    return "" if seen else "; what is taken from it was not compared with it, since it was found nowhere"


def _unseen(resolution: Resolution, paths: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The names of excluded libraries that were found nowhere, by the path of each module that reaches one."""
    absent: dict[str, set[str]] = {}
    for (user, needed), library in resolution.excluded.items():
        if library is None:
            absent.setdefault(user, set()).add(needed)
    reached = {key: resolution.closure(key) & absent.keys() for key in resolution.keys} if absent else {}
    return {
        paths.get(key, key): frozenset(name for user in below for name in absent[user]) for key, below in reached.items() if below
    }


def _unused(resolution: Resolution) -> list[ConversionWarning]:
    """The package's own libraries that the wheel leaves out, because no module NEEDs them."""
    used = {*resolution.vendored, *resolution.dropped.values()}
    return [
        ConversionWarning(
            "unused-library", "nothing NEEDs it, so it is left out; code that opens it by path will not find it", path
        )
        for path, side in sorted(resolution.wheel.own.items())
        if side.kind.is_loadable and side.file.blob.sha256 not in used
    ]


def _unreachable(resolution: Resolution) -> list[ConversionWarning]:
    """Libraries that lie in the wheel's own folders, on a loader that reads no RUNTIME_PATH that could lead there."""
    wheel = resolution.wheel
    found = []
    for platform in wheel.platforms:
        for (user, needed), target in sorted(resolution.targets.items()) if not platform.runtime_path else ():
            searched = search_order((), posixpath.dirname(user), resolution.libs, platform)
            if target in wheel.native and posixpath.dirname(target) not in searched:
                why = f"NEEDs {needed} at {target}; the loader of {platform.tag} may not look there"
                found.append(ConversionWarning("unreachable-library", why, user))
    return found


def _cycles(resolution: Resolution, paths: Mapping[str, str]) -> list[ConversionWarning]:
    """Return a warning for libraries that NEED each other, on the loaders that may make two instances of one then.

    Measured: Pyodide 0.27.7 does, by the order in which it meets them; 0.26.4, 0.28 and later do not.
    """
    return [
        ConversionWarning(
            "library-cycle",
            f"it NEEDs itself through others; the loader of {platform.tag} may make two instances of it",
            posixpath.basename(paths[content]),
        )
        for platform in resolution.wheel.platforms
        if platform.libs_folder
        for content in resolution.vendored
        if resolution.in_cycle(content)
    ]
