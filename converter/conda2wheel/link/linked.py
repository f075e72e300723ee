"""What linking did to a wheel. A wheel without side modules has an empty one of these, and needs nothing else of this room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from conda2wheel.abi.audit.unit import AuditUnit
    from conda2wheel.abi.side_module import SideModule
    from conda2wheel.conda.package import CondaPackage
    from conda2wheel.files.packagefile import PackageFile
    from conda2wheel.link.common_wheel import CommonWheel
    from conda2wheel.link.library import Library
    from conda2wheel.link.library_wheel import LibraryWheel
    from conda2wheel.results import ConversionWarning, Provided, TakenLibrary, Vendored

OUTSIDE = "the libraries that stay out of the wheel"
_NONE: Mapping[str, Any] = {}


class Change(NamedTuple):
    """The difference that linking made to one module.

    It has its NEEDED and RUNTIME_PATH entries where they changed (else None), and the number of symbols with new names. `added`
    are the symbols, as the module named them, for which it got a NEEDED entry that it did not have, by entry.
    """

    needed: tuple[str, ...] | None = None
    runtime_path: tuple[str, ...] | None = None
    renamed: int = 0
    added: Mapping[str, tuple[str, ...]] = _NONE

    def json(self) -> dict[str, Any]:
        """`{"needed", "runtime_path", "renamed", "needed_added"}`, those that changed."""
        entries = {"needed": self.needed, "runtime_path": self.runtime_path}
        found: dict[str, Any] = {key: list(value) for key, value in entries.items() if value is not None}
        found |= {"renamed": self.renamed} if self.renamed else {}
        return found | ({"needed_added": {name: list(each) for name, each in self.added.items()}} if self.added else {})


class Linked(NamedTuple):
    """The result of linking one wheel. Paths are below site-packages.

    Attributes:
        rewritten: the wheel's own side modules that changed, by path.
        libraries: the vendored libraries, by path.
        origins: which library each of `libraries` is.
        changes: the difference in each rewritten module and library, by path.
        vendored: what each of `libraries` is, and the members that NEED it.
        provided: the libraries that the main module provides.
        packages: the packages that the vendored libraries came from, without the one that was linked.
        consulted: the libraries that were found, vendored or not: the result depends on each.
        shared: the libraries that the wheel takes from other wheels.
        common: the common wheel; None where nothing is taken from one.
        library_wheels: the library wheels that it takes libraries from directly.
        taken: the libraries of other packages that it needs, wherever they are.
        undecided: the libraries of which each could define a symbol that a module takes without NEEDing any of them.
        outside: the libraries that stay out of the wheel, and what they NEED, by file name.
        unseen: those that were found nowhere, so that what is taken from them is not known: names, by module that NEEDs one,
            itself or through others.
        warnings: what to tell the user.
    """

    rewritten: Mapping[str, PackageFile] = _NONE
    libraries: Mapping[str, PackageFile] = _NONE
    origins: Mapping[str, Library] = _NONE
    changes: Mapping[str, Change] = _NONE
    vendored: tuple[Vendored, ...] = ()
    provided: tuple[Provided, ...] = ()
    packages: tuple[CondaPackage, ...] = ()
    consulted: tuple[Library, ...] = ()
    shared: tuple[Vendored, ...] = ()
    common: CommonWheel | None = None
    library_wheels: tuple[LibraryWheel, ...] = ()
    taken: tuple[TakenLibrary, ...] = ()
    undecided: Mapping[str, tuple[str, ...]] = _NONE
    outside: Mapping[str, SideModule] = _NONE
    unseen: Mapping[str, frozenset[str]] = _NONE
    warnings: tuple[ConversionWarning, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """The requirements of the wheel: the wheels that it takes libraries from, in exactly these versions."""
        own = [self.common.requirement] if self.common else []
        return (*own, *(each.requirement for each in self.library_wheels))

    @property
    def installed(self) -> tuple[AuditUnit, ...]:
        """The modules of the wheels that it takes libraries from, and of those that these require; libraries that stay out."""
        from conda2wheel.abi.audit.unit import AuditUnit
        from conda2wheel.link.library_wheel import with_required

        own = [self.common.unit] if self.common else []
        own += [AuditUnit(OUTSIDE, self.outside)] if self.outside else []
        return (*own, *(each.unit for each in with_required(self.library_wheels)))
