"""Write wheels that have nothing but libraries: the common wheel of a set, and the library wheels of a mirror.

A library wheel is made of one conda package: of those of its libraries that several projects need (`SharedPackages`). The same
package, files and options give the same wheel, whoever needs it, so it is made wherever a user is converted. What its libraries
NEED is in other library wheels, which it requires, or in itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import canonicalize_name
from packaging.version import Version

from conda2wheel.abi.platforms import Platform
from conda2wheel.abi.side_module import SHARED_OBJECT, SideModule
from conda2wheel.commands.pipeline import Context, size_warnings
from conda2wheel.commands.shared_packages import SharedFiles, SharedPackages
from conda2wheel.commands.verdict import Verdict, judge
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BytesBlob
from conda2wheel.files.pypa import spdx_expression
from conda2wheel.files.writing import write_file
from conda2wheel.link.channel_lookup import ChannelLibraries
from conda2wheel.link.common_wheel import CommonWheel
from conda2wheel.link.library import Library
from conda2wheel.link.library_wheel import LibraryWheel
from conda2wheel.link.linked import Linked
from conda2wheel.link.linker import LinkOptions, link_library_wheel
from conda2wheel.link.resolution import WheelModules
from conda2wheel.options import Options
from conda2wheel.results import ConversionWarning, Converted, Planned
from conda2wheel.wheel import writer as archive
from conda2wheel.wheel.members import consulted_sources, vendored_licenses, vendored_members, wheel_file, with_provenance
from conda2wheel.wheel.metadata import METADATA_VERSION, Document
from conda2wheel.wheel.plan import wheel_filename
from conda2wheel.wheel.provenance import SHARE, Provenance, allowed_warnings
from conda2wheel.wheel.tags import PURE, Interpreter, wheel_tags
from conda2wheel.wheel.versions import pep440

PROVISIONAL = "0"  # the version while the content is hashed
VERSION_DIGITS = 12  # hexadecimal digits of the hash of the content
POST_DIGITS = 10  # decimal digits of the hash in a library wheel's version; the build number comes before them


@dataclass(frozen=True)
class WheelOfLibraries:
    """A wheel of libraries before it has a version.

    Attributes:
        source: what it is made of, for messages and results.
        wheel: its libraries as their users take them.
        linked: the same, as they were linked.
        options: the options that it is made with.
        summary: its core metadata field of that name.
        verdict: the audit's.
    """

    source: str
    wheel: CommonWheel | LibraryWheel
    linked: Linked
    options: Options
    summary: str
    verdict: Verdict = field(default_factory=Verdict)

    def judged(self) -> WheelOfLibraries:
        """Audit it by itself: an installation opens it before its users. Raises `Refused` if a library would not load."""
        found = judge(self.source, self.wheel.unit, [self.wheel.platform], self.options, self.linked.installed)
        return replace(self, verdict=found)

    @property
    def requires(self) -> tuple[str, ...]:
        """Its Requires-Dist lines."""
        return self.linked.requirements

    def digest(self) -> int:
        """A number of 48 bits that follows from everything in it but its version."""
        digest = hashlib.sha256()
        for member in self.contents(PROVISIONAL)[1]:
            digest.update(f"{member.path}\n{member.blob.sha256}\n".encode())
        return int(digest.hexdigest()[:VERSION_DIGITS], 16)

    def write(self, version: str, out: Path | None) -> Planned:
        """Write it in a version into a folder; None: write nothing."""
        provenance, contents, warnings = self.contents(version)
        planned = Planned(
            source=self.source,
            wheel=None,
            filename=provenance.filename,
            sha256=None,
            platform=self.wheel.platform.tag,
            name=self.wheel.name,
            version=version,
            tags=frozenset(map(str, self._tags())),
            requires=self.requires,
            vendored=self.linked.vendored,
            shared=self.linked.shared,
            unusable=self.verdict.unusable,
        )
        if out is not None:
            target = out / provenance.filename
            level, info = self.options.level, f"{self.wheel.file_part}-{version}.dist-info"
            sha256 = write_file(target, lambda: archive.build_wheel(contents, info, provenance.moment, level))
            planned = Converted(**{**vars(planned), "wheel": target, "sha256": sha256})
            warnings += size_warnings(target)
        return replace(planned, warnings=tuple(dict.fromkeys(warnings)))

    def _tags(self) -> frozenset[Tag]:
        return wheel_tags(Interpreter(*PURE, None, None), [self.wheel.platform], self.options.tags)

    def contents(self, version: str) -> tuple[Provenance, list[archive.Member], list[ConversionWarning]]:
        """Return the provenance, every member but RECORD, and warnings."""
        linked, wheel, verdict = self.linked, self.wheel, self.verdict
        info = f"{wheel.file_part}-{version}.dist-info"
        contents, prefix_notes = vendored_members(linked, linked.packages)
        texts, license_notes = vendored_licenses(linked)
        warnings = [*linked.warnings, *verdict.warnings, *prefix_notes, *license_notes]
        contents += [archive.Member(f"{info}/licenses/{name}", blob, origin=origin) for name, (blob, origin) in texts.items()]
        document = self._metadata(version, sorted(texts))
        contents.append(archive.Member(f"{info}/METADATA", BytesBlob(document.encode())))
        contents.append(archive.Member(f"{info}/WHEEL", BytesBlob(wheel_file(self._tags(), pure=False))))
        provenance = Provenance(
            command=SHARE,
            filename=wheel_filename(f"{wheel.file_part}-{version}", self._tags()),
            name=wheel.name,
            version=version,
            license=document.get("License-Expression") or document.get("License"),
            platform=wheel.platform.tag,
            judged_by=verdict.pyodides,
            evidence=(),
            options=replace(self.options, recipe=None),
            input=None,
            moment=self.options.moment(max((package.timestamp or 0.0 for package in linked.packages), default=None)),
            consulted=consulted_sources(linked),
            overrides=allowed_warnings(warnings),
            unusable=verdict.unusable,
            vendored=linked.vendored,
            provided=linked.provided,
            shared=linked.shared,
            requires=", ".join(self.requires) or None,
        )
        return provenance, with_provenance(provenance, info, contents, None, linked), warnings

    def _metadata(self, version: str, licenses: list[str]) -> Document:
        """Return the METADATA. The wheel has no import packages, so it names no projects."""
        linked = self.linked
        packages = [f"{package.name} {package.version}" for package in linked.packages]
        fields = [
            ("Metadata-Version", METADATA_VERSION),
            ("Name", self.wheel.name),
            ("Version", version),
            ("Summary", self.summary),
            *(("License-File", name) for name in licenses),
        ]
        words = dict.fromkeys(
            str(package.index.get("license") or package.about.get("license") or "") for package in linked.packages
        )
        expressions = [spdx_expression(each) for each in words]
        if None not in expressions and expressions:
            joined = " AND ".join(f"({each})" if " OR " in str(each) else str(each) for each in expressions)
            fields.append(("License-Expression", spdx_expression(joined) or joined))
        elif known := [each for each in words if each]:
            fields.append(("License", "; ".join(known)))
        if self.wheel.platform.python:
            fields.append(("Requires-Python", f"=={self.wheel.platform.python}.*"))
        fields += [("Requires-Dist", line) for line in self.requires]
        fields.append(("Description-Content-Type", "text/markdown"))
        lines = [f"Made for the wheels that require this very version of it, from {', '.join(packages) or 'folders'}:", ""]
        lines += [f"* `{library.name}` from `{library.source}`" for library in linked.vendored]
        return Document(tuple(fields), "\n".join(lines) + "\n")


@dataclass
class LibraryWheelMaker:
    """Makes library wheels for one package that is converted, each once: the `LibraryWheels` of the linker.

    Attributes:
        sharing: which libraries are shared.
        options: how users and library wheels are converted.
        context: its channels are where the libraries of libraries are looked up.
        made: the wheels, by requirement.
        refused: why a package has no library wheel, by its file name without suffix; its users bring its libraries themselves.
    """

    sharing: SharedPackages
    options: Options
    context: Context
    made: dict[str, WheelOfLibraries] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    _wheels: dict[tuple[str, str], LibraryWheel | None] = field(default_factory=dict)
    _packages: dict[str, CondaPackage] = field(default_factory=dict)

    def of(self, library: Library, platform: Platform) -> LibraryWheel | None:
        """The library wheel that has a library; None if it is not shared."""
        package = library.package
        shared = self.sharing.libraries.get(package.name) if package is not None else None
        if package is None or shared is None or library.stem not in shared.files or not platform.runtime_path:
            return None
        key = package.sha256 or package.source, platform.tag
        if key not in self._wheels:
            self._wheels[key] = None  # a package that NEEDs itself through others brings its own copy
            try:
                self._wheels[key] = self._make(package, shared, platform)
            except Refused as error:
                self.refused[package.stem] = error
        return self._wheels[key]

    def write(self, requirement: str, out: Path) -> Planned:
        """Write a wheel that was made into a folder, by requirement."""
        draft = self.made[requirement]
        return draft.write(draft.wheel.version, out)

    def package(self, requirement: str) -> CondaPackage:
        """The conda package of a wheel that was made, by requirement."""
        return self._packages[requirement]

    def _make(self, package: CondaPackage, shared: SharedFiles, platform: Platform) -> LibraryWheel:
        name = library_project(self.sharing.prefix, package.name)
        options = replace(self.options, platforms=(platform,), recipe=None, names={})
        libraries = ChannelLibraries(self.context.names.listing(self.context.channels)) if self.context.channels else None
        index = self.context.libraries.with_channel(libraries) if libraries else self.context.libraries
        roots = tuple(_roots(package, shared.files))
        kept = {each.content: f"a user of {name} has names of its symbols" for each in roots if each.stem in shared.by_name}
        modules = WheelModules(package, (platform,), {}, {}, canonicalize_name(name).replace("-", "_"), roots=roots, kept=kept)
        link_options = LinkOptions(options.isolate, options.provided, options.allow, options.bridge)
        wheel, linked = link_library_wheel(name, modules, index, link_options, self)
        summary = f"Libraries of conda's {package.name}"
        draft = WheelOfLibraries(f"{name}: {package.stem}", wheel, linked, options, summary).judged()
        wheel = replace(wheel, version=library_version(package, draft.digest()))
        self.made[wheel.requirement], self._packages[wheel.requirement] = replace(draft, wheel=wheel), package
        return wheel


def library_project(prefix: str, package: str) -> str:
    """The project of a conda package's library wheels, normalised."""
    return canonicalize_name(f"{prefix}{package}")


def library_version(package: CondaPackage, digest: int) -> str:
    """The version of a library wheel: the conda version, and a post-release of the build number and a hash of the content.

    Versions are ordered as those of the conda packages, then by build number; of several with the same both, by the hash. A
    version without a PEP 440 form counts as its leading numbers.

    >>> library_version(CondaPackage("x", (), {"name": "x", "version": "0.3.30", "build_number": 4}), 812345678901)
    '0.3.30.post42345678901'
    """
    version = Version(pep440(package.version) or _leading_numbers(package.version))
    release = ".".join(map(str, version.release))
    pre = "".join(map(str, version.pre)) if version.pre else ""
    number = package.index.get("build_number")
    build = min(number, 9999) if isinstance(number, int) and number >= 0 else 0
    epoch = f"{version.epoch}!" if version.epoch else ""
    return str(Version(f"{epoch}{release}{pre}.post{build * 10**POST_DIGITS + digest % 10**POST_DIGITS}"))


def _leading_numbers(version: str) -> str:
    numbers: list[str] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            numbers.append(digits)
        if digits != part:
            break
    return ".".join(numbers) or "0"


def _roots(package: CondaPackage, stems: Iterable[str]) -> list[Library]:
    """The loadable libraries of a package with these names, each content once."""
    wanted = set(stems)
    found: dict[str, Library] = {}
    for file in package.files:
        if any(SHARED_OBJECT.search(name) for name in file.names):
            library = Library(SideModule(file), package.stem, package)
            if library.stem in wanted and library.side.kind.is_loadable:
                found.setdefault(library.content, library)
    return [found[content] for content in sorted(found)]
