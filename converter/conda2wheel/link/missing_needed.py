"""Imports that a module takes from a library without NEEDing it.

Such a module works where something else loads the library globally (Pyodide before 0.28 does so with its own openblas, from which
scipy's modules take f2c's functions), and not once the library is private.

The loader finds the address of data and of a function by name, in whatever is loaded. The functions that a module calls it finds
in what was loaded for the module, and in what the module itself NEEDs. A library that was loaded before (as those in
`<distribution>.libs` are, which come first in a wheel) brings its own functions alone, not those of the libraries that it NEEDs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from conda2wheel.abi.side_module import GOT, SideModule, TypedImport
from conda2wheel.abi.signals import is_unwinding
from conda2wheel.link.library import Library
from conda2wheel.wasm.binary import Kind

Unmet = Mapping[str, Sequence[TypedImport]]  # imports by symbol


class Definer(NamedTuple):
    """A library that a module may NEED: its key in a resolution, its file name, its side module, and the `Library` to vendor."""

    key: str
    name: str
    side: SideModule
    library: Library | None = None

    @classmethod
    def of(cls, library: Library) -> Definer:
        """A library that is vendored, or would be."""
        return cls(library.content, library.side.file.name, library.side, library)


def unmet_imports(
    side: SideModule, main: Collection[str], direct: Iterable[SideModule], below: Iterable[SideModule]
) -> dict[str, list[TypedImport]]:
    """The strong imports of a module that neither itself, nor the main module, nor what it NEEDs defines, by symbol.

    Weak imports are not among them: without a definition they are null, for which the code is written. The functions of
    exceptions and longjmp are the toolchain's, and no library's.

    Args:
        side: the module.
        main: every name that the main module of any Pyodide of the platform has.
        direct: the libraries whose functions the module can call.
        below: what the module NEEDs, directly or not.
    """
    found: dict[str, list[TypedImport]] = {}
    for entry in side.imports_of(set(side.import_names).difference(side.weak, side.export_names, main)):
        if not entry.weak and (entry.module in GOT or _is_call(entry)):
            found.setdefault(entry.name, []).append(entry)
    for libraries, called in ((direct, True), (below, False)):
        for library in libraries if found else ():
            for name in found.keys() & library.exports.keys():
                found[name] = [entry for entry in found[name] if _is_call(entry) != called]
    return {name: entries for name, entries in found.items() if entries and not is_unwinding(name)}


def _is_call(entry: TypedImport) -> bool:
    return entry.module == "env" and entry.kind == Kind.FUNC


def defines(side: SideModule, entries: Iterable[TypedImport]) -> bool:
    """Whether a module exports what these imports of one symbol ask for: a function of that type, or data.

    A function pointer has no type in its import, so any function does.
    """
    return all(_fits(side, entry) for entry in entries)


def _fits(side: SideModule, entry: TypedImport) -> bool:
    offered = side.exports.get(entry.name)
    if offered is None:
        return False
    if entry.module == "GOT.mem":
        return offered.kind == Kind.GLOBAL
    return offered.kind == Kind.FUNC and (entry.module == "GOT.func" or offered.signature in ("", entry.signature))


def definers_of(unmet: Unmet, tiers: Iterable[Iterable[Definer]]) -> dict[str, list[Definer]]:
    """The libraries that define each symbol: of several groups of libraries, those of the first that has any."""
    found: dict[str, list[Definer]] = {}
    for tier in tiers:
        here: dict[str, list[Definer]] = {}
        for definer in tier:
            for name in unmet.keys() & definer.side.exports.keys():
                if name not in found and defines(definer.side, unmet[name]):
                    here.setdefault(name, []).append(definer)
        found |= here
    return {name: found[name] for name in unmet if name in found}
