"""The catalogue: every package of a channel, what became of it, and what is known about its wheels, as one JSON document.

It is made from a mirror's state and from what `details` reads in the wheels. What is not known is null or left out. It contains
no time of a run, so that the same state gives the same bytes. docs/reference/schemas/catalogue.json describes the JSON form.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from packaging.utils import canonicalize_name

from conda2wheel.errors import Failed
from conda2wheel.files.typed_json import read_document

SCHEMA = 1
NAME = "catalogue.json"
State = Literal["runs", "partly", "programs", "nowhere", "pending", "failed", "refused"]
# What became of a package, the best first. The order is that of the search's results.
STATES: dict[State, str] = {
    "runs": "runs",
    "partly": "runs in part",
    "programs": "command line programs",
    "nowhere": "for no Pyodide",
    "pending": "not converted yet",
    "failed": "not converted yet: it failed",
    "refused": "refused",
}
_PAGE_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,127}")


@dataclass(frozen=True)
class PyodideVersion:
    """A Pyodide that packages are judged for.

    Attributes:
        platform: its platform tag.
        column: whether the search shows it: packages of the channel are built for it, or it is the newest.
        packages: the versions of its own distribution by normalised name; None where they are not known.
    """

    version: str
    platform: str
    python: str
    column: bool = True
    packages: Mapping[str, str] | None = None

    @property
    def short(self) -> str:
        """The version without its last number, as people say it: 0.29."""
        return re.sub(r"^(\d+(?:\.\d+)?)\.\d+.*$", r"\1", self.version) if self.version[0] == "0" else self.version.split(".")[0]


@dataclass(frozen=True)
class PyodideVerdict:
    """Whether a wheel runs in a Pyodide.

    Attributes:
        tagged: whether installers in that Pyodide accept the wheel.
        verdict: runs, runs-except or does-not-load.
        reason: why it does not run, or not all of it, in one sentence.
    """

    pyodide: str
    tagged: bool
    verdict: str
    code: str | None = None
    module: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class WheelLibrary:
    """A shared library that a wheel NEEDs.

    Attributes:
        name: its path in the wheel, or its NEEDED name.
        kind: vendored (in this wheel), shared (in another wheel) or provided (by Pyodide's main module).
        source: what it is from: a package, or what provides it.
        needed_by: the members of the wheel that NEED it.
    """

    name: str
    kind: Literal["vendored", "shared", "provided"]
    source: str | None
    needed_by: tuple[str, ...]


@dataclass(frozen=True)
class WheelFinding:
    """A finding of the audit."""

    code: str
    severity: str
    module: str | None
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class WheelComponent:
    """A component of the bill of materials: another package that is in the wheel."""

    name: str
    version: str | None
    linkage: str | None
    license: str | None
    purl: str | None


@dataclass(frozen=True)
class WheelCommand:
    """A command line program of a wheel: WebAssembly that no Pyodide starts.

    Attributes:
        name: the command.
        kind: wasi or emscripten.
        files: how it sees files, as `results.WheelProgram` has it.
    """

    name: str
    kind: str
    files: str


@dataclass(frozen=True)
class WheelDetails:
    """What a wheel says about itself, and what the audit says about it.

    Attributes:
        urls: labels and http or https addresses, of the project.
        license: an SPDX expression, or the text of License.
        license_files: their paths in the wheel's dist-info.
        verdicts: for each Pyodide; empty for a wheel without side modules.
        judged_by: the versions of Pyodide that the audit knew.
        smoke_test: the test of the conversion recipe.
        programs: its command line programs.
        only_programs: whether it has nothing else, so that it is for other machines and not for Pyodide.
    """

    summary: str | None = None
    description: str | None = None
    content_type: str | None = None
    license: str | None = None
    license_files: tuple[str, ...] = ()
    urls: tuple[tuple[str, str], ...] = ()
    keywords: tuple[str, ...] = ()
    modules: int = 0
    verdicts: tuple[PyodideVerdict, ...] = ()
    judged_by: tuple[str, ...] = ()
    findings: tuple[WheelFinding, ...] = ()
    libraries: tuple[WheelLibrary, ...] = ()
    components: tuple[WheelComponent, ...] = ()
    smoke_test: str | None = None
    programs: tuple[WheelCommand, ...] = ()
    only_programs: bool = False

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> WheelDetails:
        """Read the JSON form. Raises `ValueError` for anything else."""
        return read_document(cls, document)


@dataclass(frozen=True)
class CatalogueWheel:
    """A wheel of the index.

    Attributes:
        path: its path in the store.
        platform: its platform tags, joined by dots, or any.
        imports: its top-level modules.
        requires: its Requires-Dist lines.
        yanked: why no installer should choose it; None where it is not yanked.
        sbom: the path of its bill of materials in the store; None where it has none.
        provenance: the path of its conda2wheel.json in the store; None where it has none.
        details: None where the wheel was not read.
    """

    project: str
    version: str
    filename: str
    path: str
    sha256: str
    size: int
    platform: str
    requires_python: str | None = None
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    yanked: str | None = None
    sbom: str | None = None
    provenance: str | None = None
    verdicts: tuple[PyodideVerdict, ...] = ()
    details: WheelDetails | None = None

    def runs_on(self, verdict: str = "runs") -> tuple[str, ...]:
        """The Pyodides that install the wheel, and where it has this verdict."""
        return tuple(each.pyodide for each in self.verdicts if each.tagged and each.verdict == verdict)


@dataclass(frozen=True)
class CatalogueBuild:
    """A build of a package in the channel, and what became of it.

    Attributes:
        url: where the channel has it.
        built: its build time in seconds since 1970.
        status: done, refused, failed, pending, or left-out (the mirror's configuration does not select it).
        code: of a refusal or failure.
        message: why, in one line.
        warnings: pairs (code, message).
    """

    version: str
    build: str
    subdir: str
    url: str
    sha256: str
    size: int | None
    built: float | None
    status: str
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    wheel: CatalogueWheel | None = None


@dataclass(frozen=True)
class SatisfiedRequirement:
    """A requirement of a package's wheels, and what satisfies it.

    Attributes:
        requirement: the Requires-Dist line.
        name: the normalised name of the required project; None for a line that no installer can read.
        optional: whether it is of an extra, or of a system that Pyodide is not.
        by: what satisfies it: index, pyodide, or elsewhere (neither, so that PyPI has to).
        package: the conda name of the package of this catalogue that has it.
        version: the version that is there.
    """

    requirement: str
    name: str | None
    optional: bool
    by: Literal["index", "pyodide", "elsewhere"]
    package: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class CataloguePackage:
    """A package of the channel: all builds of one conda name.

    Attributes:
        name: the conda name.
        project: the normalised name on PyPI; None where it has none or it is not known.
        state: one of `STATES`, that of the newest version that has a wheel.
        version: the version that `state` is about.
        newest: the newest version in the channel.
        reason: why it is not `runs`: (code, sentence).
        runs: the Pyodides in which it runs; `partly` those in which a part of it does not.
        in_pyodide: the versions that Pyodides have of it themselves, by Pyodide; None where that is not known.
        on_pypi: the platform tags, or any, that its wheels on PyPI have; None where that is not known.
        builds: newest first.
    """

    name: str
    project: str | None
    state: State
    version: str
    newest: str
    summary: str | None = None
    reason: tuple[str | None, str] | None = None
    runs: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    in_pyodide: Mapping[str, str] | None = None
    on_pypi: tuple[str, ...] | None = None
    requirements: tuple[SatisfiedRequirement, ...] = ()
    required_by: tuple[str, ...] = ()
    builds: tuple[CatalogueBuild, ...] = ()

    @property
    def page(self) -> str | None:
        """The name of its folder of pages; None for a name that no address can have."""
        return self.name if _PAGE_NAME.fullmatch(self.name) and ".." not in self.name else None

    @property
    def wheels(self) -> tuple[CatalogueWheel, ...]:
        """The wheels of its builds, newest first, without those that are yanked."""
        return tuple(each.wheel for each in self.builds if each.wheel is not None and each.wheel.yanked is None)

    @property
    def wheel(self) -> CatalogueWheel | None:
        """The newest wheel: the first of its version that runs, else the first."""
        found = [wheel for wheel in self.wheels if wheel.version == self.wheels[0].version]
        return next((wheel for wheel in found if wheel.runs_on()), found[0] if found else None)

    @property
    def details(self) -> WheelDetails | None:
        """The details of the newest wheel."""
        return None if self.wheel is None else self.wheel.details

    @property
    def programs(self) -> tuple[WheelCommand, ...]:
        """The command line programs of the newest wheel."""
        return () if self.details is None else self.details.programs

    @property
    def updated(self) -> float | None:
        """When its newest build was built, in seconds since 1970."""
        return max((each.built for each in self.builds if each.built is not None), default=None)

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of its wheels, or any."""
        return tuple(sorted({tag for wheel in self.wheels for tag in wheel.platform.split(".")}))

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CatalogueChange:
    """A build that the channel got (`new`) or lost (`gone`), and when, in seconds since 1970."""

    kind: Literal["new", "gone"]
    name: str
    version: str
    build: str
    when: float


@dataclass(frozen=True)
class PackageCatalogue:
    """All packages of the channels, by name, and the newest changes first."""

    channels: tuple[str, ...]
    converter: str
    pyodides: tuple[PyodideVersion, ...] = ()
    packages: tuple[CataloguePackage, ...] = ()
    changes: tuple[CatalogueChange, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, CataloguePackage]:
        """Packages by conda name."""
        return {package.name: package for package in self.packages}

    @cached_property
    def by_project(self) -> Mapping[str, CataloguePackage]:
        """Packages by normalised PyPI name; of several the one that has a wheel, or whose conda name is the same."""
        found: dict[str, CataloguePackage] = {}
        for package in sorted(self.packages, key=lambda each: (each.wheel is not None, each.name == each.project)):
            if package.project is not None:
                found[package.project] = package
        return found

    def find(self, name: str) -> CataloguePackage | None:
        """Find a package by its conda name, else by its PyPI name in any spelling."""
        return self.by_name.get(name) or self.by_name.get(name.lower()) or self.by_project.get(canonicalize_name(name))

    @property
    def columns(self) -> tuple[PyodideVersion, ...]:
        """The Pyodides that the search shows."""
        return tuple(each for each in self.pyodides if each.column)

    def json(self, *, long: bool = True) -> dict[str, Any]:
        """Return the JSON form; without `long` without the descriptions of packages."""
        document = {"schema": SCHEMA, "kind": "catalogue", **dataclasses.asdict(self)}
        for package in document["packages"] if not long else ():
            for build in package["builds"]:
                if build["wheel"] and build["wheel"]["details"]:
                    build["wheel"]["details"]["description"] = None
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PackageCatalogue:
        """Read the JSON form, also that of an older version. Raises `Failed` (unreadable) for anything else."""
        try:
            if document["kind"] != "catalogue" or document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r}")  # noqa: TRY301
            return read_document(cls, document)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Failed("unreadable", f"not a catalogue: {error!r}", "a mirror with [output] pages = true writes one") from None

    @classmethod
    def parse(cls, data: bytes | str) -> PackageCatalogue:
        """Parse the JSON text. Raises as `from_json`."""
        try:
            document = json.loads(data)  # longer than any document of a package
        except (ValueError, RecursionError) as error:
            raise Failed("unreadable", f"not a catalogue: {error}", "a mirror with [output] pages = true writes one") from None
        return cls.from_json(document if isinstance(document, dict) else {})
