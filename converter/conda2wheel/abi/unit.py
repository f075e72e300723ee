"""What is judged: the side modules of one wheel or package, each read once, however many Pyodides are asked about."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from conda2wheel.wasm import code
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wasm.binary import FileKind, Kind, Module, WasmError, file_kind
from conda2wheel.wasm.code import Feature

EM_JS = "__em_js__"  # a module that exports __em_js__x brings x itself, as JavaScript


class Wanted(NamedTuple):
    """An import: where from, its name, kind, type (see `wasm.signature`), and whether it may stay undefined."""

    module: str
    name: str
    kind: Kind
    signature: str
    weak: bool


class Offered(NamedTuple):
    """An export."""

    kind: Kind
    signature: str


class Memory(NamedTuple):
    """The memory that a module imports; limits in pages of 64 KiB."""

    shared: bool
    is64: bool
    minimum: int
    maximum: int | None


@dataclass(frozen=True, eq=False)
class SideModule:
    """One file named like a shared object: what it is, wants and offers. Two objects are two files.

    `unit` is the name of the unit that it is in, `path` where it lies below site-packages. `problem` says why it cannot be
    read; it then wants and offers nothing.
    """

    unit: str
    path: str
    data: bytes

    @cached_property
    def folder(self) -> str:
        """The folder that it lies in, "" for site-packages."""
        return posixpath.dirname(self.path)

    @cached_property
    def digest(self) -> str:
        """sha256: one library under several names has one."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def _parts(self) -> _Parts:
        kind = file_kind(self.data)
        if not kind.is_loadable and kind is not FileKind.BROKEN_WASM:
            return _Parts(kind)
        try:
            return _read(kind, Module.parse(self.data))
        except WasmError as error:
            return _Parts(FileKind.BROKEN_WASM, problem=str(error))

    @property
    def kind(self) -> FileKind:
        """What the file is."""
        return self._parts.kind

    @property
    def problem(self) -> str:
        """Why it cannot be read, "" if it can."""
        return self._parts.problem

    @property
    def wants(self) -> tuple[Wanted, ...]:
        """Its imports, in order."""
        return self._parts.wants

    @property
    def offers(self) -> Mapping[str, Offered]:
        """Its exports by name."""
        return self._parts.offers

    @property
    def needed(self) -> tuple[str, ...]:
        """Its NEEDED entries."""
        return self._parts.needed

    @property
    def runtime_path(self) -> tuple[str, ...]:
        """Its RUNTIME_PATH entries."""
        return self._parts.runtime_path

    @property
    def miscounted(self) -> bool:
        """Whether a wrong count in its dylink.0 section keeps the loader from the rest of it."""
        return self._parts.miscounted

    @property
    def memories(self) -> tuple[Memory, ...]:
        """The memories that it imports."""
        return self._parts.memories

    @property
    def data_size(self) -> int:
        """Bytes of data that the loader allocates for it."""
        return self._parts.data_size

    @cached_property
    def weak(self) -> frozenset[str]:
        """The names that may stay undefined; the loader does not tell functions from data here."""
        return frozenset(wanted.name for wanted in self.wants if wanted.weak)

    @cached_property
    def table_entries(self) -> frozenset[str]:
        """The names that it imports through the global offset table, function pointers and data alike."""
        return frozenset(wanted.name for wanted in self.wants if wanted.module in ("GOT.func", "GOT.mem"))

    @cached_property
    def is_extension(self) -> bool:
        """Whether Python can import it."""
        return any(name.startswith("PyInit_") for name in self.offers)

    @cached_property
    def features(self) -> frozenset[Feature]:
        """What its instructions are of; nothing where its code cannot be read."""
        return self._scan(frozenset(Feature))

    @cached_property
    def newer_features(self) -> frozenset[Feature]:
        """Those of its features that not every engine has, which is quicker to say."""
        return self._scan(frozenset({Feature.SIMD, Feature.EXNREF}))

    def _scan(self, wanted: frozenset[Feature]) -> frozenset[Feature]:
        if not self.kind.is_loadable:
            return frozenset()
        try:
            return code.scan(Module.parse(self.data), wanted).features
        except WasmError:
            return frozenset()


@dataclass(frozen=True)
class _Parts:
    kind: FileKind
    wants: tuple[Wanted, ...] = ()
    offers: Mapping[str, Offered] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    runtime_path: tuple[str, ...] = ()
    memories: tuple[Memory, ...] = ()
    data_size: int = 0
    miscounted: bool = False
    problem: str = ""


def _read(kind: FileKind, module: Module) -> _Parts:
    section = dylink_section.read(module)
    flags = section.imports if isinstance(section, dylink_section.Dylink) else ()
    weak = {entry.field for entry in flags if entry.weak}  # the loader looks at the name alone; wasm-ld writes env for the table
    info = section.mem_info
    loaded = section.as_loaded if isinstance(section, dylink_section.Dylink) else section
    offers = {entry.name: Offered(entry.kind, module.signature(entry)) for entry in module.exports}
    offers.update({name[len(EM_JS) :]: Offered(Kind.FUNC, "") for name in offers if name.startswith(EM_JS)})
    return _Parts(
        kind=kind,
        wants=tuple(
            Wanted(entry.module, entry.field, entry.kind, module.signature(entry), entry.field in weak)
            for entry in module.imports
        ),
        offers=offers,
        needed=loaded.needed,
        runtime_path=loaded.runtime_path,
        memories=tuple(
            Memory(entry.shared, entry.is64, entry.minimum, entry.maximum)
            for entry in module.imports
            if entry.kind == Kind.MEMORY
        ),
        data_size=info.memory_size if info else 0,
        miscounted=loaded is not section,
    )


@dataclass(frozen=True, eq=False)
class Unit:
    """One wheel, package or loose module to be judged.

    `name` is what a person recognises it by, such as a wheel's file name; no two of one audit have the same. `modules` are
    the bytes of every file named like a shared object (`*.so`, `*.so.N`), by path below site-packages, in the order of the
    wheel's members, in which Pyodide loads them. `distribution` is a wheel file name's part before the first `-`: loaders
    before Pyodide 0.28 look for libraries in `<distribution>.libs`. `abi3` is the version that a wheel's abi3 tag claims,
    such as `cp312`.
    """

    name: str
    modules: Mapping[str, bytes]
    distribution: str = ""
    abi3: str | None = None

    @cached_property
    def sides(self) -> tuple[SideModule, ...]:
        """The modules, to be read when they are first asked for."""
        return tuple(SideModule(self.name, path, data) for path, data in self.modules.items())
