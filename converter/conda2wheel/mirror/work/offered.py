"""The wheels that are offered to a wheel when it is checked in Pyodide: those of the packages that its package depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from packaging.version import Version

from conda2wheel.conda.match_spec import spec_name
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel

VERSIONS = 3  # the newest of each project; an older one that a requirement needs is then missing, and the check says so


class OfferedWheels:
    """The wheels of finished items, by the conda names of their packages.

    Args:
        wanted: the packages of all items.
        results: the results that are known; `add` adds later ones.
    """

    def __init__(self, wanted: Mapping[ItemKey, ChannelPackage], results: Mapping[ItemKey, ItemResult]) -> None:
        self._depends: dict[str, set[str]] = {}
        self._wheels: dict[str, set[MirrorWheel]] = {}
        for package in wanted.values():
            self._depends.setdefault(package.name, set()).update(map(spec_name, package.depends))
        for key, result in results.items():
            if key in wanted:
                self.add(wanted[key], result)

    def add(self, package: ChannelPackage, result: ItemResult) -> None:
        """Offer the wheel of a result, and the library wheels that it requires."""
        if result.status == "done" and result.wheel is not None:
            self._wheels.setdefault(package.name, set()).update([result.wheel, *(each.wheel for each in result.libraries)])

    def beside(self, package: ChannelPackage) -> tuple[MirrorWheel, ...]:
        """The wheels of all packages that a package depends on, directly or not."""
        names: set[str] = set()
        todo = [spec_name(spec) for spec in package.depends]
        while todo:
            name = todo.pop()
            if name not in names:
                names.add(name)
                todo += self._depends.get(name, ())
        names.discard(package.name)
        return tuple(sorted(_newest(wheel for name in names for wheel in self._wheels.get(name, ())), key=lambda each: each.blob))


def _newest(wheels: Iterable[MirrorWheel]) -> list[MirrorWheel]:
    by_project: dict[str, list[MirrorWheel]] = {}
    for wheel in wheels:
        by_project.setdefault(wheel.project, []).append(wheel)
    found = []
    for group in by_project.values():
        newest = sorted({Version(wheel.version) for wheel in group}, reverse=True)[:VERSIONS]
        found += [wheel for wheel in group if wheel.is_library or Version(wheel.version) in newest]
    return found
