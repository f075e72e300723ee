"""Libraries that a wheel need not bring, because Pyodide's main module has every symbol that is taken from them.

The main module wins over every library anyway: what it exports is bound to its definition, whichever library defines it too. So a
library of which it has every symbol that is imported, with the same types, would be loaded for nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping

from conda2wheel.abi.audit.findings import listed
from conda2wheel.abi.side_module import GOT, SideModule
from conda2wheel.abi.symbols import Symbol, main_symbols
from conda2wheel.link.resolution import Resolution
from conda2wheel.results import ConversionWarning, Provided
from conda2wheel.wasm.binary import Import, Kind
from conda2wheel.wasm.dylink import Dylink

BY_THE_LOADER = frozenset({"memory", "__indirect_function_table", "__memory_base", "__table_base", "__stack_pointer"})


def without_provided(resolution: Resolution, keep: Collection[str] = ()) -> Resolution:
    """A resolution without the libraries of which the main module has every symbol that is taken, and what only they NEED.

    `keep` are the contents of libraries that stay in any case. Those of library wheels stay, too, what one is made for, and what
    the caller asks for (`--add-needed`).
    """
    result = resolution.copy()
    asked = (result.targets[entry] for entry, symbols in result.added.items() if not symbols and entry in result.targets)
    keep = {*keep, *result.shared, *(library.content for library in result.wheel.roots), *asked}
    main = main_symbols(*resolution.wheel.platforms)
    if not main or not (result.vendored or result.missing):
        return result
    _drop_missing(result, main)
    while found := next((each for each in result.vendored if each not in keep and _is_provided(result, each, main)), None):
        _drop(result, found)
    return result


def _drop_missing(resolution: Resolution, main: Mapping[str, Symbol]) -> None:
    """Leave out entries whose library is missing and not used: everything that the user imports is defined elsewhere."""
    by_user: dict[str, list[str]] = {}
    for user, needed in resolution.missing:
        if (user, needed) not in resolution.added:  # whoever asks for an entry wants it
            by_user.setdefault(user, []).append(needed)
    for user, libraries in by_user.items():
        others = [resolution.side(key) for key in resolution.closure(user) if key != user]
        if _is_complete(main, resolution.side(user), others, all(row.unwinding == "js" for row in resolution.wheel.platforms)):
            for needed in libraries:
                del resolution.missing[user, needed]
                resolution.dropped[user, needed] = ""
                _note_provided(resolution, posixpath.basename(needed), 0, [user])
            which = f"{listed(libraries)} {'was' if len(libraries) == 1 else 'were'} found nowhere"
            why = f"{which}; all that is imported is in Pyodide's main module or in the other libraries"
            resolution.warnings.append(ConversionWarning("provided-unseen", why, resolution.label(user)))


def _drop(resolution: Resolution, content: str) -> None:
    """Leave out one library, and the libraries that no module NEEDs without it."""
    entries = [entry for entry, target in resolution.targets.items() if target == content]
    leaving = _leaving(resolution, content)
    users = sorted({user for user, _ in entries} - leaving)
    symbols = taken(map(resolution.side, users), _exports(resolution, leaving, content))
    for entry in entries:
        del resolution.targets[entry]
        resolution.dropped[entry] = content
    named = sorted({needed for user, needed in entries if user in users})[0]
    _note_provided(resolution, named, len(symbols), users)
    _forget(resolution, content)
    live = set().union(*(resolution.closure(root) for root in resolution.roots))
    for unused in [each for each in resolution.vendored if each not in live]:
        _forget(resolution, unused)


def _forget(resolution: Resolution, content: str) -> None:
    del resolution.vendored[content]
    resolution.shared.pop(content, None)
    for entry in [entry for entry in resolution.targets if entry[0] == content]:
        del resolution.targets[entry]


def _note_provided(resolution: Resolution, name: str, symbols: int, users: list[str]) -> None:
    by = f"the main module of {' and '.join(row.tag for row in resolution.wheel.platforms)}"
    resolution.provided.append(Provided(name, by, symbols, tuple(sorted(map(resolution.label, users)))))


def _is_provided(resolution: Resolution, content: str, main: Mapping[str, Symbol]) -> bool:
    """Tell whether the main module provides a library of this content.

    One of its users has to take a symbol from it, and the main module must have every symbol that any module of the wheel could
    take from what would be left out with it: the loader finds symbols through NEEDED entries of others, too.
    """
    leaving = _leaving(resolution, content)
    exports = _exports(resolution, leaving, content)
    users = {user for (user, _), target in resolution.targets.items() if target == content} - leaving
    staying = [resolution.side(key) for key in resolution.keys if key not in leaving]
    return bool(taken(map(resolution.side, users), exports)) and covers(main, taken(staying, exports), exports)


def _leaving(resolution: Resolution, content: str) -> set[str]:
    """A library and the others that no module would NEED without it."""
    staying = set().union(*(resolution.closure(root, without=content) for root in resolution.roots))
    return set(resolution.vendored) - staying


def _exports(resolution: Resolution, leaving: Collection[str], content: str) -> dict[str, str]:
    """The exports of these libraries with their types; those of the library that NEEDs the others win."""
    exports: dict[str, str] = {}
    for key in sorted(set(leaving) - {content}):
        exports.update(typed_exports(resolution.side(key)))
    return {**exports, **typed_exports(resolution.side(content))}


def required_imports(side: SideModule, *, weak: bool = False) -> tuple[tuple[Import, str], ...]:
    """Return the imports that another module has to define, with their types.

    None of the loader's own is among them, and those that may stay undefined only with `weak`.
    """
    if side.module is None or not side.is_intact:  # the audit says what is wrong with its types
        return ()
    optional = set()
    if isinstance(side.dylink, Dylink) and not weak:
        optional = {(info.module, info.field) for info in side.dylink.imports if info.weak}
    return tuple(
        (entry, side.module.signature(entry))
        for entry in side.module.imports
        if (entry.module, entry.field) not in optional and not (entry.module == "env" and entry.field in BY_THE_LOADER)
    )


def typed_exports(side: SideModule) -> dict[str, str]:
    """A module's exports with their types; none of a damaged one."""
    module = side.module
    return {} if module is None or not side.is_intact else {export.name: module.signature(export) for export in module.exports}


def has(main: Mapping[str, Symbol], entry: Import, signature: str, export: str | None = None) -> bool:
    """Whether the main module has what an import asks for.

    `export` is the type with which a library exports it, which for a function pointer is the only type that is recorded.
    """
    symbol = main.get(entry.field)
    if symbol is None:
        return False
    if entry.module == "GOT.mem":
        return symbol.kind == "data"
    if entry.module == "GOT.func":
        return bool(symbol.signature) and (export in (None, symbol.signature))
    if entry.kind == Kind.FUNC:
        return symbol.kind == "js" or (symbol.kind == "func" and symbol.signature == signature)
    if entry.kind == Kind.TAG:
        return symbol.kind == "tag" and symbol.signature == signature
    return entry.kind == Kind.GLOBAL and symbol.kind in ("data", "global")


def taken(users: Iterable[SideModule], library: Mapping[str, str]) -> dict[str, list[tuple[Import, str]]]:
    """The imports that `users` bind to a library with these exports, by symbol.

    Weak imports count, too, since the library is there to define them; symbols that a user defines itself do not.
    """
    found: dict[str, list[tuple[Import, str]]] = {}
    for user in users:
        own = typed_exports(user)
        for entry, signature in required_imports(user, weak=True):
            if entry.field in library and entry.field not in own and (entry.module == "env" or entry.module in GOT):
                found.setdefault(entry.field, []).append((entry, signature))
    return found


def covers(main: Mapping[str, Symbol], imports: Mapping[str, list[tuple[Import, str]]], library: Mapping[str, str]) -> bool:
    """Whether the main module has all of the imports that are bound to a library with these exports.

    False for no imports at all: a library that is loaded for its constructors, or looked up by name, has to be there.
    """
    return bool(imports) and all(
        has(main, entry, signature, library[name]) for name, entries in imports.items() for entry, signature in entries
    )


def _is_complete(main: Mapping[str, Symbol], user: SideModule, libraries: Iterable[SideModule], javascript: bool) -> bool:
    """Tell whether the main module, these libraries and `user` itself define all that it imports.

    With `javascript`, the loader makes the functions of JavaScript unwinding on demand.
    """
    synthesised = ("invoke_", "__cxa_find_matching_catch_") if javascript else ()
    exports = typed_exports(user)
    for library in libraries:
        exports = {**typed_exports(library), **exports}
    return all(
        entry.field in exports or has(main, entry, signature) or entry.field.startswith(synthesised)
        for entry, signature in required_imports(user)
    )
