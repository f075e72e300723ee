"""Simulates the loader: which modules are loaded in which order, under which names, and which symbols each finds.

Simulated is what Pyodide does with wheels that it installs: it opens every shared object of each (dlopen, RTLD_LOCAL), in the
order of the wheel's members, and loads what those NEED first. The rules are those of libdylink.js:

- A library is known by the path that it was found by; what is known is not loaded again.
- One opening has one scope: the module and all that was loaded for it, or was known already. A library that was known
  brings its own exports into the scope, but not those of what it NEEDs itself.
- A function import that the main module has is bound to that. Any other becomes a JavaScript function that, when it is first
  called, looks into the main module, the scope (the last module that has the name), and the module's own exports.
- Function pointers and addresses of data go through one global offset table (GOT), by name alone: the main module's names are in
  it, then the first module that is loaded with an export of that name, whichever module imports it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from conda2wheel.abi.audit.shared_names import NamesInCommon, SharedNames
from conda2wheel.abi.audit.unit import AuditUnit, InstalledModule
from conda2wheel.abi.loader_search import SitePackages
from conda2wheel.abi.loaders import PyodideLoader, loader
from conda2wheel.abi.side_module import SideModule
from conda2wheel.abi.symbols import MainNames, Symbol, main_names_of, symbols


@dataclass(eq=False)
class Instance:
    """One loaded copy of a module.

    Attributes:
        module: the file.
        key: the name or path that the loader knows it by.
        scope: the instances that it was loaded with.
        needed: the instance for each NEEDED entry; None: no library was found.
        users: the instances that NEED it.
        undefined: the names that it imports through the GOT and that no module had defined when it was loaded.
        forgotten: the weak imports that the loader took for strong ones.
        bound: how many modules were loaded globally before it: its imports were bound to their functions directly.
    """

    module: InstalledModule
    key: str
    scope: list[Instance]
    needed: dict[str, Instance | None] = field(default_factory=dict)
    users: list[Instance] = field(default_factory=list)
    undefined: set[str] = field(default_factory=set)
    forgotten: frozenset[str] = frozenset()
    bound: int = 0

    def lookup(self, name: str) -> Instance | None:
        """The instance whose function a call of `name` reaches, if the main module does not have it; None if there is none."""
        for instance in reversed(self.scope):
            if name in instance.module.side.exports:
                return instance
        return self if name in self.module.side.exports else None


_Loading = Generator["_Loading", Instance, Instance]  # the loading of a module; yields that of each library that it NEEDs


@dataclass(eq=False)
class Simulation:
    """The interpreter's state while units are installed.

    Attributes:
        loader: the rules.
        main: the main module's symbols.
        main_names: their names.
        site: where libraries are looked up.
        names: what the modules have in common.
        distributions: the distribution of each unit, if the loader looks into its `<distribution>.libs`.
        undecided: the `undecided` of each unit.
        loaded: the instances, in the order in which they were loaded.
        instances: the same, by file.
        known: the instances by the names that the loader knows them by.
        offered: the instance that defines an entry of the GOT, of those that a module imports and does not define itself.
        shared: the instances of globally loaded libraries, each with its place among them.
        global_functions: the first of these that defines each name that a module calls.
        weak: the weak imports of the module that the loader read last.
        unchecked: the instances whose GOT entries the loader checks at the end of an installation only, with their weak imports.
    """

    loader: PyodideLoader
    main: Mapping[str, Symbol]
    main_names: MainNames
    site: SitePackages
    names: SharedNames
    distributions: Mapping[str, str | None]
    undecided: Mapping[str, Mapping[str, tuple[str, ...]]]
    loaded: list[Instance] = field(default_factory=list)
    instances: dict[InstalledModule, list[Instance]] = field(default_factory=dict)
    known: dict[str, Instance] = field(default_factory=dict)
    offered: dict[str, Instance] = field(default_factory=dict)
    shared: dict[Instance, int] = field(default_factory=dict)
    global_functions: dict[str, Instance] = field(default_factory=dict)
    weak: frozenset[str] = frozenset()
    unchecked: list[tuple[Instance, frozenset[str]]] = field(default_factory=list)

    @property
    def files(self) -> Mapping[str, InstalledModule]:
        """Every module below site-packages, by path; of two units with one path, the last one's, as after two installations."""
        return self.names.files

    @cached_property
    def called_in_main(self) -> frozenset[str]:
        """What of the functions that modules import the main module has."""
        return self.main_names.every & self.names.called

    @cached_property
    def exported_in_main(self) -> frozenset[str]:
        """What modules export and the main module has, too."""
        return self.main_names.every & self.names.exported

    @cached_property
    def owners(self) -> Mapping[str, Instance]:
        """After everything is installed: the instance that defines an entry of the GOT, of those that a module imports."""
        found: dict[str, Instance] = {}
        for instance in self.loaded:
            new = self.names.entered(instance.module.side).difference(self.main_names.defined).difference(found)
            found.update(dict.fromkeys(new, instance))
        return found

    def defined(self, name: str) -> bool:
        """After everything is installed: whether the main module or a loaded one defines an entry of the GOT."""
        return name in self.main or name in self.offered or name in self.owners

    def open_entries(self, side: SideModule) -> frozenset[str]:
        """What a loaded module imports through the GOT and neither itself nor another one has defined; main may have it."""
        return self.names.foreign(side).difference(self.offered)

    def _undefined(self, side: SideModule, weak: frozenset[str]) -> frozenset[str]:
        """The strong entries of the GOT that a loaded module imports and that neither main nor a loaded one defines."""
        return self.open_entries(side).difference(self.main_names.every).difference(weak)

    def of(self, module: InstalledModule) -> list[Instance]:
        """The instances of a file."""
        return self.instances.get(module, [])

    def bound_to(self, name: str, user: Instance) -> Instance | None:
        """The instance to whose function an import was bound when its module was loaded, if the main module does not have it."""
        found = self.global_functions.get(name)
        return found if found is not None and self.shared[found] < user.bound else None

    def open(self, module: InstalledModule, everywhere: bool) -> None:
        """Open a file by its path, as dlopen does; `everywhere`: globally."""
        key = self.site.absolute(module.path)
        if key not in self.known:
            _finish(self._load(key, module, [], everywhere, module))
        name = key.rpartition("/")[2]
        if self.loader.basenames == "all" or (self.loader.basenames == "global" and everywhere):
            self.known.setdefault(name, self.known[key])

    def finish(self) -> None:
        """End an installation: check the GOT entries that were not checked yet."""
        for instance, weak in self.unchecked:
            instance.undefined |= self._undefined(instance.module.side, weak)
        self.unchecked.clear()

    def _load(
        self, key: str, module: InstalledModule, scope: list[Instance], everywhere: bool, opened: InstalledModule
    ) -> _Loading:
        instance = Instance(module, key, scope)
        self.known[key] = instance
        self.weak = module.side.weak
        for name in module.side.loaded_needed:
            instance.needed[name] = yield from self._need(name, instance, opened)
        self.loaded.append(instance)
        self.instances.setdefault(module, []).append(instance)
        weak = module.side.weak if self.loader.own_weak else self.weak
        self._define(instance, everywhere)
        if self.loader.late_check:
            self.unchecked.append((instance, weak))
        else:
            instance.undefined |= self._undefined(module.side, weak)
        instance.forgotten = module.side.weak - weak
        scope.append(instance)
        return instance

    def _need(self, name: str, user: Instance, opened: InstalledModule) -> Generator[_Loading, Instance, Instance | None]:
        path = self._search(name, user, opened)
        key = path if path is not None and self.loader.searches_by_path else name
        found = self.known.get(key)
        if found is None and path is not None:
            module = self.files[self.site.relative(path) or ""]
            found = yield self._load(
                key, module, user.scope if self.loader.nested == "local" else [], self.loader.nested == "global", opened
            )
        elif found is not None and self.loader.nested == "local":
            user.scope.append(found)
        elif found is not None and self.loader.nested == "global":
            self._share(found)
        if found is not None:
            found.users.append(user)
        return found

    def _search(self, name: str, user: Instance, opened: InstalledModule) -> str | None:
        if not self.loader.searches_by_path:
            return (
                None
                if name in self.known
                else self.site.find_from(name, opened.folder, self.distributions[opened.unit], self.loader.subfolders)
            )
        path = self.site.find(name, posixpath.dirname(user.key), user.module.side.loaded_runtime_path)
        if path is None or not self.loader.platform.normalises_paths:
            return path
        return self.site.absolute(self.site.relative(path) or "")

    def _define(self, instance: Instance, everywhere: bool) -> None:
        """Bind its imports, and enter its exports where other modules find them."""
        instance.bound = len(self.shared)
        new = self.names.offered(instance.module.side).difference(self.main_names.defined).difference(self.offered)
        self.offered.update(dict.fromkeys(new, instance))
        if everywhere:
            self._share(instance)

    def _share(self, instance: Instance) -> None:
        if instance not in self.shared:
            self.shared[instance] = len(self.shared)
            new = self.names.callable_in(instance.module.side).difference(self.global_functions)
            self.global_functions.update(dict.fromkeys(new, instance))


def _finish(loading: _Loading) -> None:
    """Load a module, and first what it yields: a stack of our own, since a chain of NEEDED entries has any length."""
    stack, loaded = [loading], None
    while stack:
        try:
            below = next(stack[-1]) if loaded is None else stack[-1].send(loaded)
        except StopIteration as done:
            stack.pop()
            loaded = done.value
        else:
            stack.append(below)
            loaded = None


def simulate(
    pyodide: str, units: Sequence[AuditUnit], in_common: NamesInCommon | None = None, *, by_path: bool = False
) -> Simulation:
    """Install `units` one after another into one site-packages, in which all their files are already.

    Args:
        pyodide: the Pyodide's version.
        units: what is installed.
        in_common: what is known already of the names of modules.
        by_path: loadPackage gets their paths or URLs; otherwise their names.

    Raises:
        ValueError: the loader of that Pyodide is not known.
        LookupError: its symbols are not known.
    """
    rules = loader(pyodide)
    looks = rules.path_libs or not by_path
    names = (in_common or NamesInCommon()).of(module for unit in units for module in unit.installed)
    site = SitePackages(rules.platform, names.files)
    distributions = {unit.name: unit.distribution if looks else None for unit in units}
    undecided = {unit.name: unit.undecided for unit in units}
    simulation = Simulation(rules, symbols(pyodide), main_names_of(pyodide), site, names, distributions, undecided)
    for unit in units:
        modules = [module for module in unit.installed if module.side.is_intact and is_opened(module, rules)]
        needed = {name for module in modules for name in module.side.loaded_needed} if rules.needed_first else set()
        first = [module for module in modules if module.name in needed]
        for module in first:
            simulation.open(module, everywhere=True)
        for module in modules:
            simulation.open(module, everywhere=module in first)
        simulation.finish()
    return simulation


def is_opened(module: InstalledModule, loader: PyodideLoader) -> bool:
    """Whether an installation opens that file: one with another interpreter's tag is skipped (`_package_loader.py`)."""
    return foreign_tag(module.name, loader) is None


def foreign_tag(file: str, loader: PyodideLoader) -> str | None:
    """The tag in a file name that belongs to another interpreter or platform, such as `.cpython-312-darwin`; else None."""
    stem = re.sub(r"\.so(\.\d+)*$", "", file)
    tag = posixpath.splitext(stem)[1]
    if f"{tag}.so" in loader.suffixes:
        return None
    return tag if re.match(r"\.(cpython|pypy|jython)-[0-9]{2,}[a-z]*(-[a-z0-9_-]*)?", tag) else None
