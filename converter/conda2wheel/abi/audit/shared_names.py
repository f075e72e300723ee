"""What the names of modules have in common, whatever the Pyodide: found once, and used for each Pyodide that judges them.

A wheel has up to some 100,000 imports, and nearly all of them are fine in every Pyodide, for the same reasons. So rules judge one
by one only the names that these sets and those of a main module leave open.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from conda2wheel.abi.audit.unit import InstalledModule
from conda2wheel.abi.side_module import EM_JS, SideModule
from conda2wheel.wasm.binary import Kind

# Exports that are meant for the loader; none of them is entered into the GOT (isInternalSym of libdylink.js).
INTERNAL = frozenset(
    (
        *("memory", "__memory_base", "__table_base", "__stack_pointer", "__indirect_function_table"),
        *("__cpp_exception", "__c_longjmp", "__wasm_apply_data_relocs", "__wasm_call_ctors", "__dso_handle"),
        *("__tls_size", "__tls_align", "__wasm_init_tls", "_emscripten_tls_init", "__set_stack_limits"),
        *("__start_em_asm", "__stop_em_asm", "__start_em_js", "__stop_em_js"),
    )
)
NOT_PASSED = "VE"  # letters of v128 and exnref, which cannot pass through JavaScript
MOST_DEFINERS = 100  # modules with one symbol that are compared, each with each


@dataclass(frozen=True, eq=False)
class Contested:
    """The names that more than one module defines, and that one of them uses.

    Attributes:
        definers: the modules that define each, at most `MOST_DEFINERS`.
        pointed: those that go through the global offset table.
        called: those that are called.
    """

    definers: Mapping[str, tuple[InstalledModule, ...]]
    pointed: frozenset[str]
    called: frozenset[str]


@dataclass(eq=False)
class SharedNames:
    """The names of modules in one site-packages.

    Attributes:
        modules: all of them, also those in whose place another unit installs a file.
        files: those that are there in the end, by path.
    """

    modules: tuple[InstalledModule, ...]
    files: Mapping[str, InstalledModule]
    _pairs: dict[tuple[SideModule, SideModule], tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    _open: dict[Hashable, frozenset[str]] = field(default_factory=dict)
    _entered: dict[SideModule, frozenset[str]] = field(default_factory=dict)
    _foreign: dict[SideModule, frozenset[str]] = field(default_factory=dict)
    _offered: dict[SideModule, frozenset[str]] = field(default_factory=dict)
    _callable: dict[SideModule, frozenset[str]] = field(default_factory=dict)
    _contested: dict[tuple[InstalledModule, ...], Contested] = field(default_factory=dict)

    @cached_property
    def called(self) -> frozenset[str]:
        """The functions that modules import."""
        return frozenset().union(*(module.side.called for module in self.modules))

    @cached_property
    def pointed(self) -> frozenset[str]:
        """What modules import through the global offset table."""
        return frozenset().union(*(module.side.got_imports for module in self.modules))

    @cached_property
    def exported(self) -> frozenset[str]:
        """What modules export."""
        return frozenset().union(*(module.side.export_names for module in self.modules))

    @cached_property
    def has_bridge(self) -> bool:
        """Whether one of the modules is an unwinding bridge."""
        return any(module.side.is_bridge for module in self.modules)

    @cached_property
    def _sizes(self) -> Counter[int]:
        return Counter(module.side.file.blob.size for module in self.modules)

    def content(self, module: InstalledModule) -> Hashable:
        """What two of the modules have in common if and only if they have the same bytes. Most need not be hashed for it."""
        size = module.side.file.blob.size
        return (size, module.digest if self._sizes[size] != 1 else "")

    @cached_property
    def _libraries(self) -> Mapping[str, Sequence[tuple[str, InstalledModule]]]:
        """The libraries of each unit, with their paths."""
        found: dict[str, list[tuple[str, InstalledModule]]] = defaultdict(list)
        for path, module in self.files.items():
            if not module.side.is_extension:
                found[module.unit].append((path, module))
        return found

    def definers(self, unit: str, name: str) -> list[str]:
        """The libraries of a unit that define a name that modules import: the first path of each content."""
        found: dict[Hashable, str] = {}
        for path, module in self._libraries.get(unit, ()):
            if name in module.side.export_names:
                found.setdefault(self.content(module), path)
        return sorted(found.values())

    def entered(self, side: SideModule) -> frozenset[str]:
        """The exports of a module that the loader enters into the global offset table, of those that are looked for there."""
        if side not in self._entered:
            apart = {each for each in set(side.exports.values()) if each.kind not in (Kind.FUNC, Kind.GLOBAL)}
            names = (side.export_names & self.pointed) - INTERNAL
            self._entered[side] = frozenset(name for name in names if side.exports[name] not in apart) if apart else names
        return self._entered[side]

    def foreign(self, side: SideModule) -> frozenset[str]:
        """What a module imports through the global offset table and does not enter there itself. Most names are its own."""
        if side not in self._foreign:
            self._foreign[side] = side.got_imports - self.entered(side)
        return self._foreign[side]

    @cached_property
    def _all_foreign(self) -> frozenset[str]:
        return frozenset().union(*(self.foreign(module.side) for module in self.modules))

    def offered(self, side: SideModule) -> frozenset[str]:
        """What of that which a module enters into the global offset table is foreign to some module."""
        if side not in self._offered:
            self._offered[side] = self.entered(side) & self._all_foreign
        return self._offered[side]

    def callable_in(self, side: SideModule) -> frozenset[str]:
        """What a module exports and some module imports as a function."""
        if side not in self._callable:
            self._callable[side] = side.export_names & self.called
        return self._callable[side]

    def open_calls(self, user: SideModule, bound: tuple[SideModule, ...], searched: tuple[SideModule, ...]) -> frozenset[str]:
        """The functions that a module imports and that it does not get with the type that it expects.

        All others are fine in every Pyodide whose main module does not have them.

        Args:
            user: the module.
            bound: the modules to which it is bound directly; the first that has a name counts.
            searched: the modules in which a call looks, likewise.
        """
        key = (user, bound, searched)
        if key not in self._open:
            found: set[str] = set()
            for order in (bound, searched):
                left = user.called
                for offering in order:
                    common, unlike = self._compared(user, offering)
                    here = left & common
                    found |= here & unlike
                    left -= here
            self._open[key] = frozenset(found | left)
        return self._open[key]

    def _compared(self, user: SideModule, offering: SideModule) -> tuple[frozenset[str], frozenset[str]]:
        """What of a module's functions another one exports, and what of it in a way that may not fit."""
        pair = (user, offering)
        if pair not in self._pairs:
            common = user.called & offering.export_names
            wanted, offered = user.called_types, offering.exports
            unlike = {
                name
                for name in common
                if wanted[name] != (there := offered[name]).signature
                or there.kind is not Kind.FUNC
                or not there.signature
                or NOT_PASSED[0] in there.signature
                or NOT_PASSED[1] in there.signature
            }
            self._pairs[pair] = (common, frozenset(unlike))
        return self._pairs[pair]

    def contested(self, modules: Sequence[InstalledModule]) -> Contested:
        """What of the names that modules use more than one of them defines."""
        key = tuple(modules)
        if key not in self._contested:
            seen: set[str] = set()
            twice: set[str] = set()
            for module in modules:
                twice |= module.side.export_names & seen
                seen |= module.side.export_names
            pointed = frozenset().union(*(module.side.got_imports & twice for module in modules))
            called = frozenset().union(*(module.side.called & twice for module in modules))
            names = {name for name in (pointed | called) - INTERNAL if not name.startswith(("PyInit_", EM_JS))}
            definers: dict[str, list[InstalledModule]] = defaultdict(list)
            for module in modules:
                for name in module.side.export_names & names:
                    definers[name].append(module)
            few = {name: tuple(found[:MOST_DEFINERS]) for name, found in definers.items()}
            self._contested[key] = Contested(few, pointed & names, called & names)
        return self._contested[key]


@dataclass(eq=False)
class NamesInCommon:
    """The `SharedNames` of each set of modules that was judged, for those who judge the same ones in several Pyodides."""

    _found: dict[tuple[InstalledModule, ...], SharedNames] = field(default_factory=dict)

    def of(self, modules: Iterable[InstalledModule]) -> SharedNames:
        """Those of modules in the order of their installation."""
        key = tuple(modules)
        if key not in self._found:
            self._found[key] = SharedNames(key, {module.path: module for module in key})
        return self._found[key]
