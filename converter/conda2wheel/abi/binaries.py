"""The shared objects of a package: what each file named `.so` really is, and what its sections say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from conda2wheel.abi.signals import Signals, read_signals
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.wasm import dylink as dylink_module
from conda2wheel.wasm.binary import FileKind, Module, WasmError, file_kind

SHARED_OBJECT = re.compile(r"\.so(\.\d+)*$")  # what Pyodide's _package_loader.py takes for a library


@dataclass(frozen=True)
class Binary:
    """A file named like a shared object. `module` and `dylink` are None unless it can be loaded as a side module."""

    file: PackageFile
    kind: FileKind
    module: Module | None = None
    dylink: dylink_module.Dylink | dylink_module.LegacyDylink | None = None
    signals: Signals = field(default_factory=Signals)
    problem: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """The NEEDED entries; none where it is no side module."""
        return self.dylink.needed if self.dylink else ()

    @property
    def runtime_path(self) -> tuple[str, ...]:
        """The RUNTIME_PATH entries."""
        return self.dylink.runtime_path if self.dylink else ()

    @property
    def init_functions(self) -> tuple[str, ...]:
        """The PyInit_* exports: it is an extension module if there are any."""
        return self.module.exports_named("PyInit_") if self.module else ()


def read_binary(file: PackageFile) -> Binary:
    """Parse one file. Damage is not raised but told in `problem`: whether it matters depends on who needs the file."""
    data = file.blob.read()
    kind = file_kind(data)
    if not kind.is_loadable:
        return Binary(file, kind)
    try:
        module = Module.parse(data)
        return Binary(file, kind, module, dylink_module.read(module), read_signals(module))
    except WasmError as error:
        return Binary(file, FileKind.BROKEN_WASM, problem=str(error))


def read_binaries(files: Iterable[PackageFile]) -> dict[str, Binary]:
    """Every file named `*.so` or `*.so.N`, by its own path."""
    return {file.path: read_binary(file) for file in files if SHARED_OBJECT.search(file.name)}


def same_library(one: str, other: str) -> bool:
    """Whether two file names differ only in how much of one version they spell: the names that symlinks of one library have.

    >>> same_library("libz.so.1.3.2", "libz.so"), same_library("libz.so.1", "libz.so.1.3"), same_library("libz.so.1", "libz.so.2")
    (True, True, False)
    """
    stem, _, version = one.partition(".so")
    other_stem, _, other_version = other.partition(".so")
    parts, other_parts = version.split("."), other_version.split(".")
    shared = min(len(parts), len(other_parts))
    return stem == other_stem and parts[:shared] == other_parts[:shared]
