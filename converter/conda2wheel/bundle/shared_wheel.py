"""`--share-libs NAME`: a common wheel for the libraries that several wheels of a bundle need.

    add      plan and link every package of the bundle, as `convert` does
    share    link.linker: select the libraries that two of them have in common, and isolate their symbols once
    version  derive the version from the content, since the users require exactly that one
    write    write the common wheel; the users are then converted with it

The users contain the version, so every package is linked twice. The wheels load one instance of each library; the price is that
they do not work without the common wheel, and that another package in the bundle or a newer library changes its version.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

from packaging.tags import Tag

from conda2wheel.abi.platforms import Platform
from conda2wheel.commands.pipeline import Opened, prepare_package, size_warnings
from conda2wheel.commands.verdict import Verdict, judge
from conda2wheel.conda.names import is_valid_name
from conda2wheel.errors import Failed
from conda2wheel.files.packagefile import BytesBlob
from conda2wheel.files.writing import write_file
from conda2wheel.link.common_wheel import CommonWheel, SetMember, file_part
from conda2wheel.link.linker import Linked, LinkOptions, link_common
from conda2wheel.link.resolution import WheelModules, resolve
from conda2wheel.link.rewrite import libraries_used_by_name
from conda2wheel.options import Options
from conda2wheel.results import ConversionWarning, Converted, Planned
from conda2wheel.wheel import writer as archive
from conda2wheel.wheel.members import consulted_sources, vendored_licenses, vendored_members, wheel_file, with_provenance
from conda2wheel.wheel.metadata import METADATA_VERSION, Document, spdx_expression
from conda2wheel.wheel.plan import wheel_filename
from conda2wheel.wheel.provenance import SHARE, Provenance, allowed_warnings
from conda2wheel.wheel.tags import PURE, Interpreter, wheel_tags

PROVISIONAL = "0"  # the version while the content is hashed
VERSION_DIGITS = 12  # hexadecimal digits of the hash of the content


class SharedLibraries:
    """Builds the common wheel of one bundle for one platform.

    `add` every package, `finish`, then convert the packages with the result. Not safe for several threads.
    """

    def __init__(self, name: str, platform: Platform, options: Options) -> None:
        """Prepare a common wheel.

        Args:
            name: its distribution name.
            platform: the platform of the bundle.
            options: the options that its users are converted with.

        Raises:
            Failed: usage, for an invalid name, and for a platform whose loader finds no libraries in other wheels.
        """
        if not is_valid_name(name):
            raise Failed("usage", f"--share-libs {name}: not a distribution name", "letters, digits, - and _, such as geo-libs")
        if not platform.runtime_path:
            why = f"the loader of {platform.tag} does not look into other wheels, so each must contain its libraries"
            raise Failed("usage", f"--share-libs: {why}", "leave it out, or build for Pyodide 0.28 or later")
        self.name = name
        self.platform = platform
        self.options = options
        self._members: list[SetMember] = []

    def add(self, opened: Opened) -> None:
        """Link one package of the bundle. A package for another platform or without side modules is skipped.

        Raises:
            Refused: as `prepare_package`.
            Failed: usage, for a package with the name of the common wheel.
        """
        plan = prepare_package(opened).plan
        if plan.file_part == file_part(self.name):
            raise Failed("usage", f"--share-libs {self.name}: the bundle has a package of that name", "give another name")
        if plan.decision is None or plan.decision.platforms != (self.platform,):
            return
        modules = WheelModules(opened.package, plan.decision.platforms, plan.native, plan.libraries, plan.file_part, plan.texts())
        resolution = resolve(modules, opened.libraries)
        if resolution.vendored:
            self._members.append(SetMember(resolution, libraries_used_by_name(resolution)))

    def finish(self, out: Path | None) -> tuple[CommonWheel, Planned] | None:
        """Build the common wheel.

        Args:
            out: the folder where it is written; None to write nothing.

        Returns:
            What its users are linked with, and the wheel; None if no library is shared.

        Raises:
            Refused: one of its libraries would not load, or uses a symbol that only some of its users define.
        """
        started = time.monotonic()
        link_options = LinkOptions(self.options.isolate, self.options.provided)
        common, linked = link_common(self.name, self.platform, self._members, link_options)
        if not common.files:
            return None
        verdict = judge(f"--share-libs {self.name}", common.unit, [self.platform], self.options)
        digest = hashlib.sha256()
        for member in self._contents(replace(common, version=PROVISIONAL), linked, verdict)[1]:
            digest.update(f"{member.path}\n{member.blob.sha256}\n".encode())
        common = replace(common, version=f"0.{int(digest.hexdigest()[:VERSION_DIGITS], 16)}")
        provenance, contents, warnings = self._contents(common, linked, verdict)
        planned = Planned(
            source=f"--share-libs {self.name}",
            wheel=None,
            filename=provenance.filename,
            sha256=None,
            platform=self.platform.tag,
            name=self.name,
            version=common.version,
            tags=frozenset(map(str, self._tags())),
            vendored=linked.vendored,
            unusable=verdict.unusable,
        )
        if out is not None:
            target = out / provenance.filename
            level, info = self.options.level, f"{common.file_part}-{common.version}.dist-info"
            sha256 = write_file(target, lambda: archive.build_wheel(contents, info, provenance.moment, level))
            planned = Converted(**{**vars(planned), "wheel": target, "sha256": sha256})
            warnings += size_warnings(target)
        return common, replace(planned, warnings=tuple(dict.fromkeys(warnings)), seconds=time.monotonic() - started)

    def _tags(self) -> frozenset[Tag]:
        return wheel_tags(Interpreter(*PURE, None, None), [self.platform], self.options.compat_tags)

    def _contents(
        self, common: CommonWheel, linked: Linked, verdict: Verdict
    ) -> tuple[Provenance, list[archive.Member], list[ConversionWarning]]:
        """Return the provenance, every member but RECORD, and warnings."""
        info = f"{common.file_part}-{common.version}.dist-info"
        contents, prefix_notes = vendored_members(linked, linked.packages)
        texts, license_notes = vendored_licenses(linked)
        warnings = [*linked.warnings, *verdict.warnings, *prefix_notes, *license_notes]
        contents += [archive.Member(f"{info}/licenses/{name}", blob, origin=origin) for name, (blob, origin) in texts.items()]
        document = _metadata(common, linked, sorted(texts))
        contents.append(archive.Member(f"{info}/METADATA", BytesBlob(document.encode())))
        contents.append(archive.Member(f"{info}/WHEEL", BytesBlob(wheel_file(self._tags(), pure=False))))
        provenance = Provenance(
            command=SHARE,
            filename=wheel_filename(f"{common.file_part}-{common.version}", self._tags()),
            name=self.name,
            version=common.version,
            license=document.get("License-Expression") or document.get("License"),
            platform=self.platform.tag,
            judged_by=verdict.pyodides,
            evidence=(),
            options=replace(self.options, recipe=None),
            input=None,
            moment=self.options.moment(max((package.timestamp or 0.0 for package in linked.packages), default=None)),
            consulted=consulted_sources(linked),
            overrides=allowed_warnings(warnings),
            unusable=verdict.unusable,
            vendored=linked.vendored,
        )
        return provenance, with_provenance(provenance, info, contents, None, linked), warnings


def _metadata(common: CommonWheel, linked: Linked, licenses: list[str]) -> Document:
    """Return the METADATA. The wheel has no import packages, so it names no projects and has no requirements."""
    packages = [f"{package.name} {package.version}" for package in linked.packages]
    fields = [
        ("Metadata-Version", METADATA_VERSION),
        ("Name", common.name),
        ("Version", common.version),
        ("Summary", "Libraries that other wheels share"),
        *(("License-File", name) for name in licenses),
    ]
    words = dict.fromkeys(str(package.index.get("license") or package.about.get("license") or "") for package in linked.packages)
    expressions = [spdx_expression(each) for each in words]
    if None not in expressions and expressions:
        joined = " AND ".join(f"({each})" if " OR " in str(each) else str(each) for each in expressions)
        fields.append(("License-Expression", spdx_expression(joined) or joined))
    elif known := [each for each in words if each]:
        fields.append(("License", "; ".join(known)))
    if common.platform.python:
        fields.append(("Requires-Python", f"=={common.platform.python}.*"))
    fields.append(("Description-Content-Type", "text/markdown"))
    lines = [f"Made for the wheels that require this very version of it, from {', '.join(packages) or 'folders'}:", ""]
    lines += [f"* `{library.name}` from `{library.source}`" for library in linked.vendored]
    return Document(tuple(fields), "\n".join(lines) + "\n")
