"""What the channels have, by the project that a user asks for.

Which project a package is follows from its contents, which are known after its conversion. Before, its name is mapped as for a
requirement (`conda.names`); what conversions found out is taken into account.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.utils import canonicalize_name

from conda2wheel.channels.downloads import Downloads
from conda2wheel.conda.names import map_name
from conda2wheel.errors import Failed
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.plan.select import list_packages, ranks, select
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey


@dataclass(frozen=True)
class CatalogueItem:
    """A work item of a package; `age` is 0 for the newest version of its name, 1 for the one before, and so on."""

    key: ItemKey
    package: ChannelPackage
    age: int

    @property
    def label(self) -> str:
        """The package for people."""
        return f"{self.package.subdir}/{self.package.stem}"


@dataclass(frozen=True)
class SelectedPackages:
    """What the channels had when they were read: the selected packages by conda name, and the conda names by project."""

    packages: Mapping[str, tuple[ChannelPackage, ...]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Catalogue:
    """The packages that the configuration admits. [select] include does not count: it says what a mirror has at least.

    Readers may be on any thread; `update` is called on one at a time.
    """

    def __init__(self, config: MirrorConfig) -> None:
        self.config = config
        self._listing: SelectedPackages | None = None
        self._learned: dict[str, set[str]] = {}  # conda names by project, from conversions
        self._projects: dict[str, set[str]] = {}  # the reverse
        self._lock = threading.Lock()
        self.problem: str | None = "the channels have not been read yet"

    @property
    def is_read(self) -> bool:
        """Whether the channels have been read."""
        return self._listing is not None

    def update(self, fallback: Callable[[], Iterable[ChannelPackage]] = lambda: ()) -> frozenset[str]:
        """Read the channels.

        If they cannot be read, what was read before stays; at first, `fallback` and the cache are asked.

        Returns:
            The projects of which packages changed.

        Raises:
            Failed: "network" and others where the channels cannot be read.
        """
        try:
            packages = list_packages(self.config.channels, Downloads()).packages
        except Failed as error:
            self.problem = error.message
            if self._listing is not None:
                raise
            packages = list(fallback()) or list_packages(self.config.channels, Downloads(offline=True)).packages
        else:
            self.problem = None
        chosen, _ = select(packages, replace(self.config.select, include=()))
        by_name: dict[str, list[ChannelPackage]] = {}
        for package in chosen:
            by_name.setdefault(package.name, []).append(package)
        names: dict[str, list[str]] = {}
        for name in sorted(by_name):
            names.setdefault(project_of_name(name), []).append(name)
        before = self._listing or SelectedPackages()
        listing = SelectedPackages(
            {name: tuple(each) for name, each in by_name.items()}, {name: tuple(each) for name, each in names.items()}
        )
        self._listing = listing
        changed = {name for name in {*before.packages, *by_name} if before.packages.get(name) != listing.packages.get(name)}
        return frozenset(project for name in changed for project in self.projects(name))

    def learn(self, package: ChannelPackage, project: str) -> None:
        """Remember the project that a package turned out to be."""
        with self._lock:
            self._learned.setdefault(project, set()).add(package.name)
            self._projects.setdefault(package.name, set()).add(project)

    def projects(self, name: str) -> frozenset[str]:
        """The projects under which a conda package may be asked for."""
        with self._lock:
            return frozenset({project_of_name(name), canonicalize_name(name), *self._projects.get(name, ())})

    def names(self) -> list[str]:
        """The projects that the channels may have, sorted."""
        return sorted(self._listing.names) if self._listing is not None else []

    def packages(self) -> list[ChannelPackage]:
        """All selected packages."""
        return [each for packages in self._listing.packages.values() for each in packages] if self._listing is not None else []

    def items(self, project: str) -> tuple[CatalogueItem, ...]:
        """The work items of a project's packages, those of its newest version first."""
        listing = self._listing
        if listing is None:
            return ()
        with self._lock:
            names = {*listing.names.get(project, ()), *self._learned.get(project, ())}
        if not names & listing.packages.keys():
            names = {name for name in (project, project.replace("-", "_"), project.replace("-", ".")) if name in listing.packages}
        found = [item for name in sorted(names) for item in self._items(listing.packages.get(name, ()))]
        return tuple(sorted(found, key=lambda item: item.age))

    def items_of(self, package: ChannelPackage) -> tuple[CatalogueItem, ...]:
        """The work items of one package."""
        return tuple(self._items((package,)))

    def _items(self, packages: Sequence[ChannelPackage]) -> list[CatalogueItem]:
        order = ranks(packages)
        newest = max(order.values(), default=0)
        platforms = self.config.platforms
        return [
            CatalogueItem(self.config.key(each.sha256, each.name, platform), each, newest - order[each.version])
            for each in packages
            for platform in (platforms if each.subdir != "noarch" else platforms[:1])
        ]


def project_of_name(name: str) -> str:
    """The project that a conda package probably is; its own name for one that is no project by the tables."""
    return canonicalize_name(map_name(name).pypi or name)
