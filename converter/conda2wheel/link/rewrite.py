"""The modules of one wheel between resolution and result: where each library lies, and what is rewritten in whom."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conda2wheel.abi.loader_search import ORIGIN, finds
from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import BytesBlob, PackageFile
from conda2wheel.link.common import Common
from conda2wheel.link.isolation import HASH_LENGTH, Node, defined, plan, reached_by_name
from conda2wheel.link.libraries import Library
from conda2wheel.link.provided import main_names
from conda2wheel.link.resolution import Resolution
from conda2wheel.results import ConversionWarning
from conda2wheel.wasm import dylink as dylink_section
from conda2wheel.wasm.binary import Module
from conda2wheel.wasm.rename import rename


@dataclass
class Linker(Resolution):
    """What becomes of the modules of one wheel. `common` has the libraries that it may take from another one."""

    common: Common | None = None

    def places(self) -> dict[str, str]:
        """Content -> place below site-packages: in the common wheel, or `<stem>-<hash8>.so` among the wheel's own.

        The hash covers a library's bytes and those of all that it NEEDs, so that two equal libraries with different needs are two
        files, and a cycle has a name as well; and the distribution's name, since the hash is in the symbols, too: one library
        in two wheels is two instances, whose pointers must not meet.
        """
        result = {}
        for content, library in self.vendored.items():
            shared = self._shared(content)
            if shared is not None:
                result[content] = shared
                continue
            closure = self.closure(content) & self.vendored.keys()
            parts = [self.distribution, content, *sorted(closure)]
            digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
            result[content] = f"{self.libs}/{stem(library)}-{digest[:HASH_LENGTH]}.so"
        return result

    def _shared(self, content: str) -> str | None:
        identity = self.identity(content, self.common.name) if self.common else None
        return self.common.paths.get(identity) if self.common and identity else None

    def identity(self, content: str, distribution: str) -> str | None:
        """A hash of what a library would be in another distribution: its bytes, and everyone below it with what each NEEDs. None
        where one of them is in this wheel alone, or nowhere."""
        below = self.closure(content)
        if not below <= self.vendored.keys() or any(user in below for user, _ in self.missing):
            return None
        edges = [f"{user} {needed} {target}" for (user, needed), target in self.targets.items() if user in below]
        edges += [f"{user} {needed}" for user, needed in self.dropped if user in below]
        return hashlib.sha256("\n".join([distribution, content, *sorted(edges)]).encode()).hexdigest()

    def reached(self, texts: Iterable[tuple[str, bytes]]) -> dict[str, str]:
        """Why libraries (by content) must keep their symbols' names: these texts, or a module, ask for them by name."""
        libraries = {content: (library.binary, stem(library)) for content, library in self.vendored.items()}
        return reached_by_name(libraries, map(self.binary, (*self.native, *self.vendored)), texts)

    def isolation(self, places: Mapping[str, str], texts: Iterable[tuple[str, bytes]]) -> dict[str, dict[str, str]]:
        """New names of symbols by module; libraries that are reached by name at run time keep theirs, and it is told. Those of
        the common wheel have the names that they have there."""
        private = {content for content, place in places.items() if not (self.common and place in self.common.files)}
        nodes = {
            key: Node(
                self.binary(key),
                tuple(target for (user, _), target in self.targets.items() if user == key),
                tag_of(places[key]) if key in places else None,
            )
            for key in (*self.native, *self.vendored)
        }
        keep = {content: why for content, why in self.reached(texts).items() if content in private}
        self.warnings += [
            ConversionWarning("not-isolated", f"its symbols keep their names: {why}", places[key])
            for key, why in sorted(keep.items())
        ]
        return plan(nodes, keep, main_names(self.platform), self._fixed(places.keys() - private))

    def _fixed(self, shared: Iterable[str]) -> dict[str, str]:
        """The names that symbols have in libraries of the common wheel: of what these define, and of what they take from neither
        each other nor the main module, so from their users' own libraries."""
        if self.common is None:
            return {}
        main = main_names(self.platform) or frozenset()
        binaries = [self.binary(content) for content in shared]
        taken = {e.field for binary in binaries if binary.module for e in binary.module.imports if e.field not in main}
        given = {symbol for binary in binaries for symbol in defined(binary)}
        return {symbol: symbol for symbol in taken} | {symbol: self.common.symbols.get(symbol, symbol) for symbol in given}

    def rewrite(
        self, user: str, path: str, binary: SideModule, places: Mapping[str, str], symbols: Mapping[str, str]
    ) -> PackageFile | None:
        """The module at `path` with its NEEDED, RUNTIME_PATH and new names of `symbols`; None if it may stay as it is."""
        if binary.module is None or binary.dylink is None or not (binary.needed or symbols):
            return None
        wanted: list[str] = []
        entries: list[str] = []
        for entry in binary.needed:
            if (user, entry) in self.dropped:
                continue
            target = self.targets.get((user, entry))
            if target is None:  # nowhere, and allowed to be
                entries.append(entry)
                continue
            place = places.get(target, target)
            if place not in wanted:
                wanted.append(place)
                entries.append(posixpath.basename(place))
        files = {*self.native, *places.values()}
        module = Module.parse(rename(binary.module, symbols)) if symbols else binary.module
        before = dylink_section.read(module)
        dylink = before.with_needed(entries)
        # Emscripten before 4.0.5 does not read RUNTIME_PATH, and Pyodide says such modules must not have one; but a
        # module that needs no other change is left alone.
        if self.platform.runtime_path or dylink is not before:
            dylink = dylink.with_runtime_path(self._runtime_path(path, binary, wanted, files))
        data = dylink_section.write(module, dylink)
        if data == binary.module.data:
            return None
        return PackageFile(binary.file.path, BytesBlob(data), binary.file.executable)

    def _runtime_path(self, path: str, binary: SideModule, wanted: list[str], files: set[str]) -> list[str]:
        if not self.platform.runtime_path:
            return []
        here = posixpath.dirname(path)
        if all(finds(binary.runtime_path, here, place, files, self.platform) for place in wanted):
            return list(binary.runtime_path)
        entries: list[str] = []
        for folder in dict.fromkeys(posixpath.dirname(place) for place in wanted):
            if not folder:
                continue  # site-packages itself is on LD_LIBRARY_PATH
            relative = posixpath.relpath(folder, here or ".")
            if not self.platform.normalises_paths and self.platform.site_packages and relative != ".":
                entries.append(posixpath.join(self.platform.site_packages, folder))
            entries.append(ORIGIN if relative == "." else f"{ORIGIN}/{relative}")
        return entries


def tag_of(place: str) -> str:
    """The hash in the file name of a library that has one."""
    return posixpath.splitext(place)[0].rpartition("-")[2]


def stem(library: Library) -> str:
    """`libz` for libz.so.1.3.2. Archives that hold copies instead of links give one file several names: the shortest."""
    name = min(library.binary.file.names, key=lambda n: (len(n), n))
    return name.partition(".so")[0]
