"""Symbols and libraries that are defined more than once, and whose definition is used.

Functions that a module calls come from the main module or from its own scope; function pointers and addresses of data come from
one table for the whole interpreter (the GOT), by name: the first definition that was loaded. So a library whose symbols another
module defines, too, is that other one in part (measured: tests/runtime/test_signals.py). Symbols that C++ headers define in every
module do not count (`is_vague`), nor do those that no module imports through the GOT.

Vague linkage (Itanium C++ ABI 5.2): what a header defines (templates, inline functions, their local statics, typeinfo) is in
every module that uses it, and all copies are equivalent. After linking nothing marks such a definition, but its mangled name does
in most cases.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

from conda2wheel.abi.audit.findings import Finding, Severity, listed
from conda2wheel.abi.audit.shared_names import INTERNAL
from conda2wheel.abi.audit.simulation import Instance, Simulation
from conda2wheel.abi.audit.unit import InstalledModule

# After _Z: the special names of a type (vtable, VTT, typeinfo, its name, construction vtable, guard, reference temporary).
_SPECIAL = re.compile(r"_Z(?:T[VTISC]|GV|GR|Th|Tv|Tc)")
_STANDARD = re.compile(r"(?:N[KVrRO]*)?(?:St|S[absiod])|N[KVrRO]*(?:9__gnu_cxx|10__cxxabiv1)")
_ALLOCATION = re.compile(r"_Z(?:n[wa]|d[la])")
_GENERATED = ("__pyx_", "__Pyx_")  # Cython writes them into each of its modules
_LENGTH = re.compile(r"\d{1,9}")


def main_wins(simulation: Simulation, judged: frozenset[str]) -> Iterator[tuple[str, Finding]]:
    """(unit, finding) for the libraries of which a user takes a name that the main module has too."""
    taken: dict[InstalledModule, set[str]] = defaultdict(set)
    in_main: dict[InstalledModule, frozenset[str]] = {}
    for instance in simulation.loaded:
        side = instance.module.side
        sources = {found for found in instance.needed.values() if found is not None}
        for source in sources:
            there = _in_main(source.module, simulation, in_main)
            taken[source.module] |= (side.called & there) | (side.got_imports & there)
        taken[instance.module] |= side.got_imports & _in_main(instance.module, simulation, in_main)
    for module, names in taken.items():
        if names and module.unit in judged:
            symbols = tuple(sorted(names))
            why = f"has {_counted(symbols)}, and so has Pyodide's main module: its users, and function pointers, get that one's"
            hint = "rename its symbols (conda2wheel repair does), or leave the library out"
            yield module.unit, _finding("main-wins", Severity.SUSPICIOUS, module, why, symbols, hint)


def _in_main(module: InstalledModule, simulation: Simulation, found: dict[InstalledModule, frozenset[str]]) -> frozenset[str]:
    """What of a module's exports the main module has, too, and may be another thing there."""
    if module not in found:
        names = (module.side.export_names & simulation.exported_in_main) - INTERNAL
        found[module] = frozenset(name for name in names if not is_vague(name))
    return found[module]


def symbol_clashes(simulation: Simulation, judged: frozenset[str]) -> Iterator[tuple[str, Finding]]:
    """Yield (unit, finding) for each pair of modules that define the same names.

    Names count where they go through the table (or, on loaders that load libraries globally, are called).
    """
    modules = tuple(dict.fromkeys(instance.module for instance in simulation.loaded))
    contested = simulation.names.contested(modules)
    names = contested.pointed - simulation.main_names.every
    if simulation.loader.nested == "global":
        others = contested.called - simulation.main_names.every - names
        names |= others.intersection(simulation.global_functions)
    together: dict[tuple[InstalledModule, ...], list[str]] = defaultdict(list)
    for name in names:
        if not is_vague(name):
            together[contested.definers[name]].append(name)
    pairs: dict[tuple[InstalledModule, InstalledModule], list[str]] = defaultdict(list)
    groups: dict[tuple[InstalledModule, ...], list[str]] = defaultdict(list)
    for modules_with, names_with in together.items():
        for position, one in enumerate(modules_with):
            siblings = tuple(other for other in modules_with if _are_siblings(one, other))
            if siblings and siblings[0] is one and len(siblings) > 1:
                groups[siblings] += names_with
            content = simulation.names.content(one)
            for other in modules_with[position + 1 :]:
                if content != simulation.names.content(other) and not _are_siblings(one, other):
                    pairs[one, other] += names_with
    for (one, other), found in pairs.items():
        severity = Severity.NOTE if _are_linked(one, other, simulation) else Severity.SUSPICIOUS
        yield from _clash(one, other, tuple(sorted(found)), judged, severity)
    for siblings, found in groups.items():
        if siblings[0].unit in judged:
            symbols = tuple(sorted(found))
            more = f"{len(siblings) - 1} other modules" if len(siblings) > 2 else siblings[1].path
            why = f"defines {_counted(symbols)}, and {more} of its wheel, too: function pointers and data are the first loaded's"
            yield siblings[0].unit, _finding("symbol-clash", Severity.NOTE, siblings[0], why, symbols, "")


def _are_siblings(one: InstalledModule, other: InstalledModule) -> bool:
    """Extension modules of one wheel are built from one source: what two of them define is the same code, linked into each."""
    return one.unit == other.unit and one.side.is_extension and other.side.is_extension


def _are_linked(one: InstalledModule, other: InstalledModule, simulation: Simulation) -> bool:
    """Whether one of two modules of a wheel NEEDs the other in the end: what both define is inline code of one header."""
    if one.unit != other.unit:
        return False
    needs: dict[InstalledModule, set[InstalledModule]] = defaultdict(set)
    for instance in simulation.loaded:
        needs[instance.module] |= {found.module for found in instance.needed.values() if found is not None}
    for here, there in ((one, other), (other, one)):
        seen: set[InstalledModule] = set()
        todo = [here]
        while todo:
            new = needs[todo.pop()] - seen
            seen |= new
            todo += new
        if there in seen:
            return True
    return False


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} symbols ({listed(names)})" if len(names) > 1 else names[0]


def _clash(
    one: InstalledModule, other: InstalledModule, names: tuple[str, ...], judged: frozenset[str], severity: Severity
) -> Iterator[tuple[str, Finding]]:
    for here, there in ((one, other), (other, one)):
        if here.unit not in judged:
            continue
        whose = there.path if there.unit == here.unit else f"{there.path} of {there.unit}"
        why = f"defines {_counted(names)}, and {whose} does, too: function pointers and data are those of the first loaded"
        hint = "rename the symbols of one (conda2wheel repair does), or link it with hidden visibility"
        yield here.unit, _finding("symbol-clash", severity, here, why, names, hint)


def library_clashes(simulation: Simulation, judged: frozenset[str]) -> Iterator[tuple[str, Finding]]:
    """(unit, finding) for NEEDED libraries that another unit brings, while its own has one of that name."""
    for instance in simulation.loaded:
        module = instance.module
        if module.unit not in judged:
            continue
        for name, found in instance.needed.items():
            if found is None or found.module.unit == module.unit:
                continue
            file = name.rpartition("/")[2]
            own = [s for s in simulation.files.values() if s.unit == module.unit and s.name == file]
            if own and simulation.names.content(own[0]) != simulation.names.content(found.module):
                why = (
                    f"NEEDs {name}, which is {own[0].path} here; but that of {found.module.unit}, loaded before, is taken for it"
                )
                yield (
                    module.unit,
                    Finding("library-clash", Severity.SUSPICIOUS, module.path, why, hint="give it a unique name"),
                )


def duplicates(simulation: Simulation, judged: frozenset[str]) -> Iterator[tuple[str, Finding]]:
    """Yield (unit, finding) for the libraries of which there is more than one instance.

    The instances come from two names, two files, or two spellings of one path. They matter where more than one is used, or where
    pointers lead into another one than calls do.
    """
    instances: dict[Hashable, list[Instance]] = defaultdict(list)
    for instance in simulation.loaded:
        instances[simulation.names.content(instance.module)].append(instance)
    for copies in instances.values():
        units = {copy.module.unit for copy in copies} & judged
        if len(copies) < 2 or not units:
            continue
        users = [copy for copy in copies if copy.users]
        state = any(copy.module.side.data_size for copy in copies)
        matters = state and (len(users) > 1 or any(_is_apart(copy, copies, simulation) for copy in users))
        keys = sorted(copy.key for copy in copies)
        module = (users or copies)[0].module
        if matters:
            how = "calls and pointers lead into different ones" if len(users) < 2 else "its users do not share its state"
            why = f"would be loaded {len(copies)} times, as {listed(keys)}: {how}"
            yield (
                module.unit,
                Finding("duplicate-instance", Severity.SUSPICIOUS, module.path, why, hint="one file, found by one path"),
            )
        elif users:
            why = f"would be loaded {len(copies)} times, as {listed(keys)}; one of them is used"
            yield module.unit, Finding("duplicate-instance", Severity.NOTE, module.path, why)


def _is_apart(copy: Instance, copies: Sequence[Instance], simulation: Simulation) -> bool:
    """Whether pointers to what a library has lead into another copy of it."""
    owners = set(map(simulation.owners.get, _through_table(copy)))  # which are few, and names are many
    return any(owner in copies for owner in owners - {copy, None})


def _through_table(copy: Instance) -> frozenset[str]:
    """What of a library goes through the table, by itself and by its users."""
    exports = copy.module.side.export_names
    return (copy.module.side.got_imports & exports).union(*(user.module.side.got_imports & exports for user in copy.users))


def _finding(code: str, severity: Severity, module: InstalledModule, why: str, symbols: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, severity, module.path, why, symbols[0] if len(symbols) == 1 else None, hint, symbols)


@lru_cache(maxsize=1 << 16)
def is_vague(name: str) -> bool:
    """Tell whether a symbol is one that many modules may well define alike.

    Such symbols are of the standard library, a template's, an inline function's local, typeinfo, or Cython's. Other names of C
    are not, nor is a class's vtable or a plain method.

    >>> [is_vague(name) for name in ("deflate", "_ZTVN3lib5ShapeE", "_ZN3lib5Shape4areaEv")]
    [False, False, False]
    >>> [is_vague(name) for name in ("_ZTIN3lib5ShapeE", "_ZNSt3__26vectorIiE9push_backEi", "_ZN3lib3BoxIiE3getEv", "_Znwm")]
    [True, True, True, True]
    """
    if not name.startswith("_Z"):
        return name.startswith(_GENERATED)
    if name.startswith(("_ZTI", "_ZTS", "_ZZ", "_ZGV", "_ZGR")) or _ALLOCATION.match(name):
        return True
    special = _SPECIAL.match(name)
    rest = name[special.end() :] if special else name[2:]
    return _STANDARD.match(rest) is not None or _is_template(rest)


def _is_template(rest: str) -> bool:
    """Whether the entity's own name, or a class that it is in, has template arguments."""
    nested = rest.startswith("N")
    position = len(rest) - len(rest[1:].lstrip("KVrRO")) if nested else 0
    while number := _LENGTH.match(rest, position):
        position = number.end() + int(number[0])
        if rest[position : position + 1] == "B":  # an ABI tag
            tag = _LENGTH.match(rest, position + 1)
            position = tag.end() + int(tag[0]) if tag else position
        if rest[position : position + 1] == "I":
            return True
        if not nested:
            break
    return False
