"""Which libraries the wheels of a set share, and how they are made: once, and so that all can take them.

A library is shared if two wheels would carry it with the same bytes and the same libraries below it. What it NEEDs is then
shared, too, since it travels with it. Left to the main module is only what every wheel of the set can leave to it: where one
takes more of a library, all take it from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.common import Common, file_part
from conda2wheel.link.isolation import HASH_LENGTH, Node, defined, plan
from conda2wheel.link.link import Linked, change, packages_of
from conda2wheel.link.provided import main_names
from conda2wheel.link.rewrite import Linker, stem, tag_of
from conda2wheel.results import ConversionWarning, Vendored


@dataclass(frozen=True)
class Member:
    """One wheel of a set: who NEEDs whom in it, before any library was left out, and which libraries somebody in it asks for
    names at run time (by content, with the reason)."""

    linker: Linker
    reached: Mapping[str, str]


def share(common: Common, members: Sequence[Member], *, isolate: bool = True, provided: bool = True) -> tuple[Common, Linked]:
    """The common wheel of a set, `common` so far being its name and platform; and its libraries as those of any wheel are linked.
    Nothing is in it where no two wheels have a library in common."""
    linkers, wanted = _left([member.linker for member in members], provided)
    homes: dict[str, list[tuple[Linker, str]]] = {}
    for linker in linkers:
        for content in linker.vendored:
            if identity := linker.identity(content, common.name):
                homes.setdefault(identity, []).append((linker, content))
    shared = {identity: home[0] for identity, home in homes.items() if len(home) > 1}
    folder = f"{file_part(common.name)}.libs"
    paths = {
        identity: f"{folder}/{stem(linker.vendored[content])}-{identity[:HASH_LENGTH]}.so"
        for identity, (linker, content) in sorted(shared.items())
    }
    common = replace(common, paths=paths, wanted=wanted)
    origins, needs = {}, {}
    for identity, (linker, content) in shared.items():
        direct = {target for (user, _), target in linker.targets.items() if user == content}
        origins[paths[identity]] = linker.vendored[content]
        needs[paths[identity]] = tuple(sorted(_places(linker, direct, common).values()))
    common = replace(common, origins=origins, needs=needs)
    symbols, names, warnings = _isolation(common, members) if isolate else ({}, {}, [])
    files = {}
    for identity, (linker, content) in shared.items():
        places = _places(linker, linker.closure(content), common)
        binary, path = linker.vendored[content].binary, paths[identity]
        new = linker.rewrite(content, path, binary, places, symbols.get(path, {}))
        files[path] = new or PackageFile(binary.file.path, binary.file.blob)
    common = replace(common, files=files, symbols=names)
    return common, _linked(common, symbols, warnings)


def _left(linkers: Iterable[Linker], provided: bool) -> tuple[list[Linker], frozenset[str]]:
    """The wheels without the libraries that the main module has for all of them, and the contents of those that it has not."""
    wanted: frozenset[str] = frozenset()
    while True:
        left = [linker.copy() for linker in linkers]
        for linker in left if provided else ():
            linker.drop_provided(wanted)
        staying = wanted.union(*(linker.vendored for linker in left))
        if staying == wanted:
            return left, wanted
        wanted = staying


def _places(linker: Linker, contents: Iterable[str], common: Common) -> dict[str, str]:
    """Where libraries of one wheel (by content) lie in the common one."""
    identities = {content: linker.identity(content, common.name) or "" for content in contents}
    return {content: common.paths[identity] for content, identity in identities.items() if identity in common.paths}


def _isolation(
    common: Common, members: Iterable[Member]
) -> tuple[dict[str, dict[str, str]], dict[str, str], list[ConversionWarning]]:
    """New names by library, the name of each symbol that one defines, and what is told of libraries that keep theirs."""
    nodes = {path: Node(library.binary, common.needs[path], tag_of(path)) for path, library in sorted(common.origins.items())}
    reasons = {content: why for member in reversed([*members]) for content, why in member.reached.items()}
    keep = {path: reasons[library.content] for path, library in common.origins.items() if library.content in reasons}
    symbols = plan(nodes, keep, main_names(common.platform))
    given = {symbol for node in nodes.values() for symbol in defined(node.binary)}
    names = {symbol: name for renamed in symbols.values() for symbol, name in renamed.items() if symbol in given}
    told = [ConversionWarning("not-isolated", f"its symbols keep their names: {why}", path) for path, why in sorted(keep.items())]
    return symbols, {symbol: names.get(symbol, symbol) for symbol in sorted(given)}, told


def _linked(common: Common, symbols: Mapping[str, Mapping[str, str]], warnings: Sequence[ConversionWarning]) -> Linked:
    users: dict[str, list[str]] = {path: [] for path in sorted(common.files)}
    for user, needs in sorted(common.needs.items()):
        for path in needs:
            users[path].append(user)
    libraries = {path: common.files[path] for path in users}
    return Linked(
        libraries=libraries,
        origins=common.origins,
        changes={path: change(common.origins[path].binary, file, len(symbols.get(path, ()))) for path, file in libraries.items()},
        vendored=tuple(Vendored(path, _source(common, path), tuple(by)) for path, by in users.items()),
        packages=packages_of(common.origins.values()),
        consulted=tuple(common.origins[path] for path in users),
        warnings=tuple(warnings),
    )


def _source(common: Common, path: str) -> str:
    library = common.origins[path]
    return f"{library.origin}:{library.binary.file.path}"
