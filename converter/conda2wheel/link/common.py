"""The libraries that several wheels share, as those wheels see them: where each lies, and what its symbols are called there.

They are in one wheel of their own, the common wheel, instead of in each: `sharing` says which they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from conda2wheel.abi.audit.unit import AuditUnit
from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SideModule
from conda2wheel.files.packagefile import PackageFile
from conda2wheel.link.libraries import Library


@dataclass(frozen=True)
class Common:
    """What a common wheel has. `name` is its distribution's, `version` "" until its content is known.

    `paths` are places below site-packages by what a library is with all that it NEEDs (`Linker.identity`); `files`, `origins`
    and `needs` (on others of them) are by that place. `symbols` are the names in it of every symbol that one of its libraries
    defines, by the name that it had. `wanted` are the contents that no wheel of the set may leave to the main module, since
    another one cannot.
    """

    name: str
    platform: Platform
    version: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, PackageFile] = field(default_factory=dict)
    origins: Mapping[str, Library] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()

    @property
    def file_part(self) -> str:
        """The name as in file names."""
        return file_part(self.name)

    @property
    def requirement(self) -> str:
        """What its users require: the very libraries that they were linked to."""
        return f"{self.name}=={self.version}"

    @property
    def unit(self) -> AuditUnit:
        """Its side modules, to be judged, or to lie beside others that are."""
        modules = {path: SideModule(self.files[path]) for path in sorted(self.files)}
        return AuditUnit(f"{self.file_part}-{self.version}", modules, self.file_part)


def file_part(name: str) -> str:
    """A distribution's name as in file names: PEP 503, with underscores."""
    return canonicalize_name(name).replace("-", "_")
