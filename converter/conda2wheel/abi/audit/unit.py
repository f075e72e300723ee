"""What an audit judges: the side modules of one wheel, package or lone file, each where an installation puts it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.wasm.signature import Feature

UNWINDING = ("_Z", "__cxa_", "_Unwind_")  # a module that imports none of these is neither C++ nor Rust that unwinds


@dataclass(frozen=True, eq=False)
class InstalledModule:
    """A side module below site-packages: `unit` is the name of its unit. Two objects are two files, even of the same bytes."""

    unit: str
    path: str
    side: SideModule

    @property
    def folder(self) -> str:
        """Its folder, "" for site-packages."""
        return posixpath.dirname(self.path)

    @property
    def name(self) -> str:
        """Its file name."""
        return posixpath.basename(self.path)

    @property
    def digest(self) -> str:
        """The sha256 of its bytes: one library under several names has one."""
        return self.side.file.blob.sha256


@dataclass(frozen=True, eq=False)
class AuditUnit:
    """One wheel, package or lone module to be judged.

    `name` is what messages call it, such as a wheel's file name; no two units of one audit have the same. `modules` are all
    files named like a shared object (`*.so`, `*.so.N`), by path below site-packages, in the order of the wheel's members, in
    which Pyodide loads them. `distribution` is a wheel file name's part before the first `-`: loaders before Pyodide 0.28 look
    for libraries in `<distribution>.libs`. `abi3` is the version that a wheel's abi3 tag claims, such as `cp312`. `undecided` are
    libraries that are not in the unit and of which each could define a symbol that a module imports.
    """

    name: str
    modules: Mapping[str, SideModule]
    distribution: str = ""
    abi3: str | None = None
    undecided: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_bytes(cls, name: str, files: Mapping[str, bytes], distribution: str = "", abi3: str | None = None) -> AuditUnit:
        """A unit of modules in memory, by path below site-packages."""
        modules = {path: SideModule(PackageFile(path, BytesBlob(data))) for path, data in files.items()}
        return cls(name, modules, distribution, abi3)

    @cached_property
    def installed(self) -> tuple[InstalledModule, ...]:
        """The modules, in order."""
        return tuple(InstalledModule(self.name, path, side) for path, side in self.modules.items())

    @cached_property
    def imported(self) -> frozenset[InstalledModule]:
        """The modules that Python imports, and all that these NEED, directly or not; other libraries are for other wheels."""
        by_file = {each.name: each for each in self.installed}
        todo = [each for each in self.installed if each.side.is_extension]
        seen: set[InstalledModule] = set()
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += [by_file[file] for name in here.side.loaded_needed if (file := name.rpartition("/")[2]) in by_file]
        return frozenset(seen)

    @cached_property
    def has_catching_imports(self) -> bool:
        """Whether a module has imports that only code that catches has."""
        return any(
            module.side.imports_tags or any(name.startswith("invoke_") for name in module.side.import_names)
            for module in self.installed
        )

    @cached_property
    def has_catching_code(self) -> bool:
        """Whether a module has instructions that catch. Plain C has no try, and reading its code takes long."""
        return any(
            not {Feature.LEGACY_EXCEPTIONS, Feature.EXNREF}.isdisjoint(module.side.features)
            for module in self.installed
            if any(name.startswith(UNWINDING) for name in module.side.import_names)
        )
