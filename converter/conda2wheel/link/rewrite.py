"""Where each vendored library of a wheel lies, which symbols get new names, and the rewritten modules."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

from conda2wheel.abi.loader_search import ORIGIN, finds
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.symbols import main_names
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.link.isolation import HASH_LENGTH, IsolatedModule, defined, new_names, used_by_name
from conda2wheel.link.resolution import Resolution
from conda2wheel.results import ConversionWarning
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.rename import rename

Paths = Mapping[str, str]  # content of a library -> path below site-packages
Renamed = dict[str, dict[str, str]]  # key of a module -> new names by symbol


def library_paths(resolution: Resolution, shared: Paths) -> dict[str, str]:
    """The path of each library: that in the common wheel, or `<stem>-<hash8>.so` in the wheel's own folder.

    The hash covers a library's bytes and those of all that it NEEDs, so that two equal libraries with different needs are two
    files, and a cycle has a name as well; and the distribution's name, since the hash is also in the symbols: one library in two
    wheels is two instances, whose pointers must not be mixed.
    """
    result = {}
    for content, library in resolution.vendored.items():
        if content in shared:
            result[content] = shared[content]
            continue
        closure = resolution.closure(content) & resolution.vendored.keys()
        parts = [resolution.wheel.distribution, content, *sorted(closure)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        result[content] = f"{resolution.libs}/{library.stem}-{digest[:HASH_LENGTH]}.so"
    return result


def libraries_used_by_name(resolution: Resolution) -> dict[str, str]:
    """Why libraries (by content) must keep the names of their symbols: a Python file or a module looks them up by name."""
    libraries = {
        content: (library.side, library.stem) for content, library in resolution.vendored.items() if not library.generated
    }
    return {**used_by_name(libraries, map(resolution.side, resolution.keys), resolution.wheel.texts), **resolution.wheel.kept}


def isolate(
    resolution: Resolution,
    paths: Paths,
    shared: Collection[str],
    given: Mapping[str, str],
    by_name: Mapping[str, str],
    owned: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[Renamed, list[ConversionWarning]]:
    """The new names of symbols by module, and a warning for each library whose symbols keep theirs.

    Args:
        resolution: the modules and libraries.
        paths: where the libraries lie.
        shared: the contents that are in other wheels.
        given: the names that symbols have there.
        by_name: why libraries (by content) must keep the names of their symbols.
        owned: by content of libraries of library wheels, the names of the symbols that each defines.
    """
    bridges = {content for content, library in resolution.vendored.items() if library.generated}  # own, and of library wheels
    # For an entry that was added, what the main module has stays the main module's, as it was without the entry.
    modules = {
        key: IsolatedModule(
            resolution.side(key), resolution.needs(key, added=False), hash_in(paths[key]) if key in paths else None
        )
        for key in resolution.keys
        if key not in bridges
    }
    owned = {content: names for content, names in (owned or {}).items() if content not in bridges}
    unchanged = {content: why for content, why in by_name.items() if content not in shared}
    warnings = not_isolated((paths[content], why) for content, why in sorted(unchanged.items()))
    names = new_names(modules, unchanged, main_names(*resolution.wheel.platforms), given, owned)
    bridged = bridge_names(resolution, paths)
    return {key: names.get(key, {}) | bridged.get(key, {}) for key in sorted({*names, *bridged})}, warnings


def bridge_names(resolution: Resolution, paths: Paths) -> Renamed:
    """The new names of the bridge's symbols, in it and in the modules that NEED it. Others that import them are not bridged."""
    bridge = resolution.bridge
    if bridge is None:
        return {}
    offered = defined(resolution.side(bridge))
    found: Renamed = {bridge: {name: f"{name}.{hash_in(paths[bridge])}" for name in sorted(offered)}}
    for key in resolution.keys:
        if bridge in resolution.needs(key):
            imported = set(module.import_names) if (module := resolution.side(key).module) else set()
            found[key] = {name: new for name, new in found[bridge].items() if name in imported}
    return found


def not_isolated(reasons: Iterable[tuple[str, str]]) -> list[ConversionWarning]:
    """The warnings about libraries whose symbols keep their names; `reasons` are paths, each with why."""
    return [ConversionWarning("not-isolated", f"its symbols keep their names: {why}", path) for path, why in reasons]


def rewrite(resolution: Resolution, user: str, path: str, paths: Paths, symbols: Mapping[str, str]) -> PackageFile | None:
    """A module with the file names of the vendored libraries in NEEDED, their folders in RUNTIME_PATH, and new names of symbols.

    Args:
        resolution: what its NEEDED entries mean.
        user: the module's key.
        path: where it will lie, below site-packages.
        paths: where the libraries will lie.
        symbols: new names by symbol.

    Returns:
        The changed file; None if it may stay as it is.
    """
    side, platforms = resolution.side(user), resolution.wheel.platforms
    before_linking = resolution.entries(user)
    if side.module is None or side.dylink is None or not (before_linking or symbols):
        return None
    wanted: list[str] = []
    entries: list[str] = []
    for entry in before_linking:
        if (user, entry) in resolution.dropped:
            continue
        target = resolution.targets.get((user, entry))
        if target is None:  # missing, and allowed to be
            entries.append(entry)
            continue
        where = paths.get(target, target)
        if where not in wanted:
            wanted.append(where)
            entries.append(posixpath.basename(where))
    module = Module.parse(rename(side.module, symbols)) if symbols else side.module
    before = dylink_section.read(module)
    dylink = before.with_needed(entries)
    # Emscripten before 4.0.5 does not read RUNTIME_PATH, and Pyodide says such modules must not have one; but a
    # module that needs no other change is left alone.
    if any(row.runtime_path for row in platforms) or dylink is not before:
        files = {*resolution.wheel.native, *paths.values()}
        paths_read = _runtime_path(side.runtime_path, posixpath.dirname(path), wanted, files, platforms)
        if any(key == user for key, _ in resolution.excluded):  # an entry may lead to a library that stays out
            paths_read += [each for each in side.runtime_path if each not in paths_read]
        dylink = dylink.with_runtime_path(paths_read)
    data = dylink_section.write(module, dylink)
    if data == side.module.data:
        return None
    return PackageFile(side.file.path, BytesBlob(data), side.file.executable)


def _runtime_path(
    before: Sequence[str], folder: str, wanted: Iterable[str], files: Collection[str], platforms: Sequence[Platform]
) -> list[str]:
    """RUNTIME_PATH entries with which a module in `folder` finds `wanted` on each platform: those from before if they do.

    An absolute folder is that of one CPython; on a platform with another one it does not exist, and the entry after it counts.
    Loaders that do not read RUNTIME_PATH skip it.
    """
    reading = [row for row in platforms if row.runtime_path]
    if not reading:
        return []
    if all(finds(before, folder, file, files, row) for file in wanted for row in reading):
        return list(before)
    roots = [row.site_packages for row in reading if not row.normalises_paths and row.site_packages]
    entries: list[str] = []
    for target in dict.fromkeys(posixpath.dirname(file) for file in wanted):
        if not target:
            continue  # site-packages itself is on LD_LIBRARY_PATH
        relative = posixpath.relpath(target, folder or ".")
        entries += [posixpath.join(root, target) for root in roots if relative != "."]
        entries.append(ORIGIN if relative == "." else f"{ORIGIN}/{relative}")
    return entries


def added_entries(resolution: Resolution, paths: Paths) -> dict[str, dict[str, tuple[str, ...]]]:
    """The symbols for which NEEDED entries were added, by the path of the module and the new entry."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for (user, needed), symbols in sorted(resolution.added.items()):
        target = resolution.targets[user, needed]
        found.setdefault(paths.get(user, user), {})[posixpath.basename(paths.get(target, target))] = symbols
    return found


def hash_in(path: str) -> str:
    """The hash in the file name of a vendored library."""
    return posixpath.splitext(path)[0].rpartition("-")[2]
