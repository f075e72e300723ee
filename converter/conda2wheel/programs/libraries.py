"""Find the side modules that a program NEEDs: in its own package, then in the libdirs and channels, and what those NEED in turn.

They travel below the prefix of the wheel, in lib/, where the launcher has Emscripten look. Nothing is renamed: a program and
its side modules are one process, which no other module enters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from conda2wheel.abi.platforms import platforms
from conda2wheel.abi.side_module import SideModule
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.link.library import Library
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.link.linked import Linked
from conda2wheel.results import ConversionWarning, Vendored


def link_programs(
    package: CondaPackage, mains: Mapping[str, SideModule], index: LibraryIndex, folder: str, allow: Collection[str]
) -> Linked:
    """Find the libraries of programs.

    Args:
        package: the package of the programs; its own libraries are among the files that travel anyway.
        mains: the programs' modules that are linked dynamically, by member path.
        index: where other libraries are looked up.
        folder: the folder of the wheel for the libraries of other packages.
        allow: refusal codes that become warnings.

    Raises:
        Refused: missing-library.
    """
    own = {name: file for file in package.files for name in sorted(file.names)}
    users: dict[str, list[str]] = {}
    found: dict[str, Library] = {}
    missing: list[ConversionWarning] = []
    todo = [(user, name) for user, side in mains.items() for name in side.needed]
    seen: set[str] = set()
    while todo:
        user, needed = todo.pop(0)
        name = needed.rpartition("/")[2]
        if name in own:
            if name not in seen:
                seen.add(name)
                todo += [(own[name].path, each) for each in SideModule(own[name]).needed]
            continue
        users.setdefault(name, []).append(user)
        if name in seen:
            continue
        seen.add(name)
        library, rejected = _find(index, name, package)
        if library is None:
            why = f"{user} NEEDs {name}, which is not in the package, nor in {', '.join(index.searched) or 'any --libdir'}"
            why += f" ({'; '.join(rejected)})" if rejected else ""
            if "missing-library" not in allow:
                raise Refused("missing-library", f"{package.source}: {why}", "give its package with --libdir")
            missing.append(ConversionWarning("missing-library", why, user))
            continue
        found[name] = library
        todo += [(f"{folder}/{name}", each) for each in library.side.needed]
    packages = {each.package.stem: each.package for each in found.values() if each.package is not None}
    return Linked(
        libraries={f"{folder}/{name}": library.side.file for name, library in found.items()},
        origins={f"{folder}/{name}": library for name, library in found.items()},
        vendored=tuple(
            Vendored(f"{folder}/{name}", library.origin, tuple(users[name])) for name, library in sorted(found.items())
        ),
        packages=tuple(packages.values()),
        consulted=tuple(found.values()),
        warnings=tuple(missing),
    )


def _find(index: LibraryIndex, name: str, package: CondaPackage) -> tuple[Library | None, list[str]]:
    """The library of a name for a program, which no Pyodide loads: one of whatever toolchain, the newest first."""
    rejected: list[str] = []
    for platform in reversed(platforms()):
        library, why = index.find(name, package, (platform,))
        if library is not None:
            return library, []
        rejected = list(dict.fromkeys((*rejected, *why)))
    return None, rejected


def merged(first: Linked, second: Linked) -> Linked:
    """The libraries of a wheel's side modules and those of its programs, as one result."""
    if not second.libraries and not second.warnings:
        return first
    return Linked(
        rewritten=first.rewritten,
        libraries={**first.libraries, **second.libraries},
        origins={**first.origins, **second.origins},
        changes=first.changes,
        vendored=(*first.vendored, *second.vendored),
        provided=first.provided,
        packages=tuple({each.stem: each for each in (*first.packages, *second.packages)}.values()),
        consulted=tuple(_unique((*first.consulted, *second.consulted))),
        shared=first.shared,
        common=first.common,
        library_wheels=first.library_wheels,
        taken=first.taken,
        undecided=first.undecided,
        warnings=(*first.warnings, *second.warnings),
    )


def _unique(libraries: Iterable[Library]) -> Iterable[Library]:
    return {(each.content, each.origin): each for each in libraries}.values()
