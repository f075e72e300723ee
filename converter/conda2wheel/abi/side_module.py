"""Side modules: what each file named like a shared object really is, and what its sections say.

Every part is read when it is first used, and once: the section headers, imports and exports first; the types of imports and
exports, and the features that the instructions use, only where a rule needs them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from conda2wheel.abi.signals import Signals, read_signals
from conda2wheel.files.packagefile import EntryCount, PackageFile
from conda2wheel.wasm import code
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wasm.binary import FileKind, Import, ImportTable, Kind, Module, WasmError, file_kind
from conda2wheel.wasm.bridge import is_bridge
from conda2wheel.wasm.features import Feature, declared

SHARED_OBJECT = re.compile(r"\.so(\.\d+)*$")  # what Pyodide's _package_loader.py takes for a library
OPENED = 3000  # the weight of a module, beside that of a number in it
EM_JS = "__em_js__"  # a module that exports __em_js__x defines x itself, as JavaScript
PYTHON = re.compile(r"_?Py[A-Z_]\w*")  # names of CPython
GOT = ("GOT.func", "GOT.mem")  # import modules that stand for the global offset table: function pointers, addresses of data


class TypedImport(NamedTuple):
    """An import with its type (see `wasm.signature`); `weak`: it may stay undefined."""

    module: str
    name: str
    kind: Kind
    signature: str
    weak: bool


class TypedExport(NamedTuple):
    """An export with its type."""

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
    """A file named like a shared object. Damage raises nothing: `kind` and `problem` say what it is and why it cannot be read.

    What is too large raises `Refused` (too-large) where it is read: see `EntryCount`.

    A file that is no side module, or a damaged one, has no imports, exports or NEEDED entries.
    """

    file: PackageFile

    @cached_property
    def _sections(self) -> _Sections:
        data = self.file.blob.read()
        spend = (self.file.entries or EntryCount(self.file.path)).reading(self.file.path)
        spend(OPENED)
        kind = file_kind(data, spend)
        if not kind.is_loadable and kind is not FileKind.BROKEN_WASM:
            return _Sections(kind)
        try:
            module = Module.parse(data, spend)
            _ = (module.import_table, module.export_table)
            return _Sections(kind, module, dylink_section.read(module))
        except WasmError as error:
            return _Sections(FileKind.BROKEN_WASM, problem=str(error))

    @cached_property
    def _symbols(self) -> _Symbols:
        module, dylink = self.module, self.dylink
        if module is None:
            return _Symbols()
        flags = dylink.imports if isinstance(dylink, dylink_section.Dylink) else ()
        weak = {
            entry.field for entry in flags if entry.weak
        }  # the loader looks at the name alone; wasm-ld writes env for the GOT
        try:
            exports = dict(zip(module.export_names, _typed_exports(module), strict=True))
            signatures = module.import_signatures()
        except WasmError as error:
            return _Symbols(problem=str(error))
        exports |= {name[len(EM_JS) :]: TypedExport(Kind.FUNC, "") for name in exports if name.startswith(EM_JS)}
        return _Symbols(module.import_table, signatures, frozenset(weak.intersection(module.import_names)), exports)

    @property
    def kind(self) -> FileKind:
        """What the file is."""
        return self._sections.kind

    @property
    def module(self) -> Module | None:
        """Its sections; None unless it has a dylink section and its imports and exports can be read."""
        return self._sections.module

    @property
    def dylink(self) -> dylink_section.Dylink | dylink_section.LegacyDylink | None:
        """Its dylink section; None where `module` is."""
        return self._sections.dylink

    @property
    def problem(self) -> str:
        """Why it cannot be read, the types of its imports and exports included; "" if it can."""
        return self._sections.problem or self._symbols.problem

    @cached_property
    def is_intact(self) -> bool:
        """Whether it is a side module of which everything can be read that a loader reads."""
        return self.kind.is_loadable and not self.problem

    @cached_property
    def signals(self) -> Signals:
        """What its imports and exports say of how it was compiled."""
        return read_signals(self.module) if self.module else Signals()

    @property
    def needed(self) -> tuple[str, ...]:
        """Its NEEDED entries."""
        return self.dylink.needed if self.dylink else ()

    @property
    def runtime_path(self) -> tuple[str, ...]:
        """Its RUNTIME_PATH entries."""
        return self.dylink.runtime_path if self.dylink else ()

    @cached_property
    def init_functions(self) -> tuple[str, ...]:
        """Its PyInit_* exports."""
        return self.module.exports_named("PyInit_") if self.module else ()

    @cached_property
    def is_extension(self) -> bool:
        """Whether Python can import it."""
        return self.is_intact and bool(self.init_functions)

    @cached_property
    def is_bridge(self) -> bool:
        """Whether it is an unwinding bridge."""
        return self.is_intact and self.module is not None and is_bridge(self.module)

    @cached_property
    def imports(self) -> tuple[TypedImport, ...]:
        """Its imports with their types, in order. What asks for a few of them, or for names alone, need not make all."""
        return tuple(map(self._import, range(len(self._symbols.signatures))))

    def _import(self, position: int) -> TypedImport:
        table, signatures, weak, _, _ = self._symbols
        kind, name = table.kinds[position], table.fields[position]
        of_kind = Kind.FUNC if isinstance(kind, int) else Kind.GLOBAL if isinstance(kind, str) else kind.kind
        return TypedImport(table.modules[position], name, of_kind, signatures[position], name in weak)

    def imports_of(self, names: Collection[str]) -> list[TypedImport]:
        """Its imports of these names, and those that are neither functions nor in the global offset table, in order."""
        last, earlier = self._positions
        found = {last[name] for name in names if name in last}
        found.update(position for name in names if name in earlier for position in earlier[name])
        return list(map(self._import, sorted(found.union(self._others))))

    @cached_property
    def _positions(self) -> tuple[Mapping[str, int], Mapping[str, list[int]]]:
        """Where the last import of a name is, and where others of that name are."""
        last = dict(zip(self.import_names, range(len(self.import_names)), strict=True))
        earlier: dict[str, list[int]] = {}
        if len(last) < len(self.import_names):
            for position, name in enumerate(self.import_names):
                if last[name] != position:
                    earlier.setdefault(name, []).append(position)
        return last, earlier

    @cached_property
    def _others(self) -> list[int]:
        """Where the imports are that are neither functions nor in the global offset table."""
        table = self._symbols.table
        columns = enumerate(zip(table.modules, table.kinds, strict=True))
        return [position for position, (module, kind) in columns if not isinstance(kind, int) and module not in GOT]

    @property
    def import_names(self) -> Sequence[str]:
        """The name of each import."""
        return self._symbols.table.fields

    @cached_property
    def import_modules(self) -> frozenset[str]:
        """The modules that its imports name."""
        return frozenset(self._symbols.table.modules)

    @cached_property
    def python_imports(self) -> tuple[str, ...]:
        """The names of CPython that it imports, each once."""
        names = (name for name in self.import_names if name.startswith(("Py", "_Py")) and PYTHON.fullmatch(name))
        return tuple(dict.fromkeys(names))

    @cached_property
    def imports_tags(self) -> bool:
        """Whether it imports an exception tag."""
        return any(isinstance(kind, Import) and kind.kind is Kind.TAG for kind in self._symbols.table.kinds)

    @cached_property
    def _calls(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of the functions that it imports, in order, and their types."""
        symbols = self._symbols
        columns = zip(symbols.table.fields, symbols.table.kinds, symbols.signatures, strict=True)
        found = [(name, signature) for name, kind, signature in columns if isinstance(kind, int)]
        names, signatures = zip(*found, strict=True) if found else ((), ())
        return names, signatures

    @cached_property
    def called(self) -> frozenset[str]:
        """The names of the functions that it imports, those that it only points to aside."""
        return frozenset(self._calls[0])

    @cached_property
    def called_types(self) -> Mapping[str, str]:
        """The type of each function that it imports, by name; of a name with several the last one's: see `called_apart`."""
        return dict(zip(*self._calls, strict=True))

    @cached_property
    def called_apart(self) -> frozenset[str]:
        """The names of functions that it imports more than once."""
        names, _ = self._calls
        if len(names) == len(self.called):
            return frozenset()
        return frozenset(name for name, count in Counter(names).items() if count > 1)

    @cached_property
    def exports(self) -> Mapping[str, TypedExport]:
        """Its exports with their types, by name; what it defines in JavaScript (EM_JS) has none."""
        return self._symbols.exports

    @cached_property
    def export_names(self) -> frozenset[str]:
        """The names of `exports`."""
        return frozenset(self.exports)

    @cached_property
    def is_legalised(self) -> bool:
        """Whether it exports functions whose i64 are in two halves, for a JavaScript without BigInt."""
        return any(name.startswith("orig$") for name in self.exports)

    @cached_property
    def weak(self) -> frozenset[str]:
        """The names of imports that may stay undefined; the loader does not distinguish functions from data here."""
        return self._symbols.weak

    @cached_property
    def got_imports(self) -> frozenset[str]:
        """The names that it imports through the global offset table, function pointers and addresses of data."""
        table = self._symbols.table
        return frozenset(name for name, module in zip(table.fields, table.modules, strict=True) if module in GOT)

    @cached_property
    def loaded_dylink(self) -> dylink_section.Dylink | dylink_section.LegacyDylink | None:
        """What Emscripten's loader reads of its dylink section; None unless the module is intact."""
        if not self.is_intact:
            return None
        return self.dylink.as_loaded if isinstance(self.dylink, dylink_section.Dylink) else self.dylink

    @property
    def loaded_needed(self) -> tuple[str, ...]:
        """The NEEDED entries that the loader reads."""
        return self.loaded_dylink.needed if self.loaded_dylink else ()

    @property
    def loaded_runtime_path(self) -> tuple[str, ...]:
        """The RUNTIME_PATH entries that the loader reads."""
        return self.loaded_dylink.runtime_path if self.loaded_dylink else ()

    @property
    def is_miscounted(self) -> bool:
        """Whether a wrong count in its dylink.0 section keeps the loader from the rest of it."""
        return self.is_intact and self.loaded_dylink is not self.dylink

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """The memories that it imports."""
        entries = self.module.other_imports if self.module and self.is_intact else ()
        return tuple(
            Memory(entry.shared, entry.is64, entry.minimum, entry.maximum) for entry in entries if entry.kind == Kind.MEMORY
        )

    @property
    def data_size(self) -> int:
        """Bytes of data that the loader allocates for it."""
        info = self.dylink.mem_info if self.dylink and self.is_intact else None
        return info.memory_size if info else 0

    @cached_property
    def features(self) -> frozenset[Feature]:
        """The WebAssembly features that its instructions use; none where its code cannot be read."""
        return self._scan(frozenset(Feature))

    @cached_property
    def engine_features(self) -> frozenset[Feature]:
        """The WebAssembly features that an engine must have to load it.

        Of its instructions they are those that not every engine has, which is faster; none of a part that cannot be read.
        """
        return self._scan(code.NEWER) | self._declared()

    def _scan(self, wanted: frozenset[Feature]) -> frozenset[Feature]:
        if self.module is None or not self.is_intact:
            return frozenset()
        try:
            return code.scan(self.module, wanted).features
        except WasmError:
            return frozenset()

    def _declared(self) -> frozenset[Feature]:
        if self.module is None or not self.is_intact:
            return frozenset()
        try:
            return declared(self.module)
        except WasmError:
            return frozenset()


class _Sections(NamedTuple):
    kind: FileKind
    module: Module | None = None
    dylink: dylink_section.Dylink | dylink_section.LegacyDylink | None = None
    problem: str = ""


class _Symbols(NamedTuple):
    table: ImportTable = ImportTable([], [], [], frozenset())
    signatures: Sequence[str] = ()
    weak: frozenset[str] = frozenset()
    exports: Mapping[str, TypedExport] = {}
    problem: str = ""


def _typed_exports(module: Module) -> list[TypedExport]:
    """Each export with its type; those of one type are one object. Raises `WasmError`."""
    made: dict[tuple[int, str], TypedExport] = {}
    found = []
    for key, signature in zip(module.export_table.keys, module.export_signatures(), strict=True):
        alike = made.get((key & 7, signature))
        if alike is None:
            alike = made[key & 7, signature] = TypedExport(Kind(key & 7), signature)
        found.append(alike)
    return found


def side_modules(files: Iterable[PackageFile]) -> dict[str, SideModule]:
    """Every file named `*.so` or `*.so.N`, by its own path."""
    return {file.path: SideModule(file) for file in files if SHARED_OBJECT.search(file.name)}


def same_library(one: str, other: str) -> bool:
    """Whether two file names differ only in how many parts of one version they have, as symlinks of one library do.

    >>> same_library("libz.so.1.3.2", "libz.so"), same_library("libz.so.1", "libz.so.1.3"), same_library("libz.so.1", "libz.so.2")
    (True, True, False)
    """
    stem, _, version = one.partition(".so")
    other_stem, _, other_version = other.partition(".so")
    parts, other_parts = version.split("."), other_version.split(".")
    shared = min(len(parts), len(other_parts))
    return stem == other_stem and parts[:shared] == other_parts[:shared]
