"""Find the installed distributions in a package: `*.dist-info`, `*.egg-info` and `*.egg` directly in site-packages.

Specifications: PyPA's recording-installed-projects (dist-info) and setuptools' egg formats. Metadata folders deeper down, such as
those under `_vendor`, belong to copies of other projects and are ignored.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from packaging.utils import canonicalize_name

from conda2wheel.conda.names import is_valid_name, pypi_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import MAX_PATH, PackageFile
from conda2wheel.files.pypa import parse_pep440
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.metadata import Document, read_metadata

Kind = Literal["dist-info", "egg-info", "egg"]


@dataclass(frozen=True)
class Distribution:
    """One installed distribution.

    Attributes:
        folder: its metadata folder or file, relative to site-packages.
        files: the files of the metadata folder by path in it; an egg-info that is a single file has the one name PKG-INFO.
        document: its core metadata.
    """

    kind: Kind
    folder: str
    files: Mapping[str, PackageFile]
    document: Document

    @property
    def name(self) -> str | None:
        """The valid Name of its metadata, else None (`UNKNOWN`)."""
        name = self.document.get("Name")
        return name if name and is_valid_name(name) else None

    @property
    def project(self) -> str:
        """Its normalized name (PEP 503): the metadata's, else the folder's."""
        return canonicalize_name(self.name or self.folder_name)

    @property
    def folder_name(self) -> str:
        """The name in its folder's name: `foo` of foo-1.0-py3.13.egg-info and of foo.egg-info."""
        return self.folder.removesuffix(f".{self.kind}").partition("-")[0]

    @property
    def root(self) -> str:
        """The prefix of its modules, relative to site-packages: an egg's folder, else empty."""
        return self.folder + "/" if self.kind == "egg" else ""

    def text(self, name: str) -> str | None:
        """A file of the metadata folder as text, None if it is absent."""
        file = self.files.get(name)
        return None if file is None else file.blob.read().decode("utf-8", "replace")

    @cached_property
    def recorded(self) -> set[str]:
        """The paths, relative to site-packages, that its RECORD (or an egg-info's installed-files.txt) lists, existing or not."""
        if self.kind == "egg-info":
            lines = (self.text("installed-files.txt") or "").splitlines()
            paths = (posixpath.join(self.folder, line.strip()) for line in lines if line.strip())
            return {posixpath.normpath(path) for path in paths if len(path) <= MAX_PATH}
        try:
            rows = csv.reader(io.StringIO(self.text("RECORD") or ""))
            return {posixpath.normpath(row[0]) for row in rows if row and len(row[0]) <= MAX_PATH}
        except csv.Error:
            return set()

    @cached_property
    def top_level(self) -> set[str]:
        """The modules and packages that its top_level.txt lists."""
        return set((self.text("top_level.txt") or "").split())


def find_distributions(source: str, files: Mapping[str, PackageFile]) -> list[Distribution]:
    """Every distribution among `files` of a package, which are keyed by path relative to site-packages; sorted by folder."""
    groups: dict[tuple[Kind, str], dict[str, PackageFile]] = {}
    for path, file in files.items():
        top, _, rest = path.partition("/")
        if top.endswith(".dist-info") and rest:
            groups.setdefault(("dist-info", top), {})[rest] = file
        elif top.endswith(".egg-info"):
            groups.setdefault(("egg-info", top), {})[rest or "PKG-INFO"] = file
        elif top.endswith(".egg") and rest.startswith("EGG-INFO/"):
            groups.setdefault(("egg", top), {})[rest.removeprefix("EGG-INFO/")] = file
    found = []
    for (kind, folder), members in sorted(groups.items()):
        core = members.get("METADATA" if kind == "dist-info" else "PKG-INFO")
        found.append(Distribution(kind, folder, members, read_metadata(source, core) if core else Document()))
    return found


def _is_version(claimed: str | None, conda: str) -> bool:
    """Whether metadata has the version of the conda index, perhaps spelled differently (1.0 and 1.0.0)."""
    own = parse_pep440(claimed or "")
    return claimed == conda or (own is not None and own == parse_pep440(conda))


def choose_distribution(
    package: CondaPackage, found: list[Distribution]
) -> tuple[Distribution | None, list[Distribution], list[ConversionWarning]]:
    """Choose the distribution that becomes the wheel.

    A dist-info is preferred to an egg-info of the same project. Of several projects the one with the conda package's name is
    chosen, and the files of the others are left out.

    Returns:
        The chosen distribution, the others, and warnings.

    Raises:
        Refused: several-distributions, if no project has the conda package's name.
    """
    if len(found) <= 1:
        return (found[0] if found else None), [], []
    expected = {canonicalize_name(name) for name in (package.name, pypi_name(package.name)) if name}
    named = [d for d in found if d.project in expected]
    projects = {d.project for d in found}
    if not named and len(projects) > 1:
        names = ", ".join(sorted(projects))
        raise Refused(
            "several-distributions",
            f"{package.source}: holds {names}, none named {package.name}",
            "split it, or rename the package",
        )
    same = named or found
    version = package.version
    ranked = sorted(
        same,
        key=lambda d: (
            d.kind != "dist-info",
            not _is_version(d.document.get("Version"), version),
            not d.document.fields,
            "RECORD" not in d.files,
            d.folder,
        ),
    )
    others = [d for d in found if d is not ranked[0]]
    warnings = [
        ConversionWarning(
            "several-distributions", f"{d.folder} is left out with its files; the wheel is {ranked[0].folder}", d.folder
        )
        for d in others
        if d.project != ranked[0].project
    ]
    return ranked[0], others, warnings
