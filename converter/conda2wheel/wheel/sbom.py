"""Write `dist-info/sboms/conda2wheel.cdx.json`: the packages of vendored and static libraries, which metadata does not list.

Specifications: PEP 770 (SBOMs in wheels), CycloneDX 1.6, package URLs of the types `pypi` and `conda`. The ancestor of the
wheel is the conda package (or the wheel) that it is made from. Each package of a vendored library is a component with its
files; each library that these packages and the wheel were compiled against is a static component. The unwinding bridge, which
conda2wheel makes, is a component as well.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from conda2wheel._version import __version__
from conda2wheel.conda.abi_evidence import channel_name
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.origin import MemberSource
from conda2wheel.files.packagefile import Blob, BytesBlob
from conda2wheel.files.pypa import spdx_expression
from conda2wheel.wheel.provenance import TOOL, Provenance
from conda2wheel.wheel.writer import Member

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from packageurl import PackageURL

FOLDER = "sboms"
NAME = "conda2wheel.cdx.json"
LICENSE = "BSD-3-Clause"  # of what conda2wheel makes itself
_NAMESPACE = uuid.UUID("6f0e1ca6-6d3a-5a0e-9df2-2f5a3b4b6a51")  # the namespace of the serial numbers


@dataclass(frozen=True)
class Compiled:
    """The static libraries of the wheel itself (`own`), and of each package of a vendored library (`others`).

    Libraries that are NEEDED as shared libraries are not among them.
    """

    own: tuple[MemberSource, ...] = ()
    others: Mapping[MemberSource, tuple[MemberSource, ...]] = field(default_factory=dict)


def sbom(provenance: Provenance, members: Iterable[Member], compiled: Compiled, data: Collection[str] = ()) -> Blob:
    """The SBOM of a wheel with these members; the same wheel gives the same bytes.

    Args:
        provenance: how the wheel is made.
        members: its members.
        compiled: the static libraries.
        data: the paths of the files that a recipe adds from other packages.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    foreign = {library.name for library in provenance.vendored} | set(data)
    foreign_members = [member for member in members if member.path in foreign]
    purl = PackageURL("pypi", None, provenance.name.lower(), provenance.version, {"file_name": provenance.filename})
    wheel = Component(
        type=ComponentType.LIBRARY,
        name=provenance.name,
        version=provenance.version,
        purl=purl,
        bom_ref="wheel",
        licenses=_licenses(provenance.license),
        pedigree=Pedigree(ancestors=[_component(provenance.input, "ancestor")]) if provenance.input else None,
    )
    packages = _by_source(foreign_members)
    shared = {source: _component(source, _ref("shared", source), "shared", files) for source, files in packages.items()}
    generated = {member.path: _generated(member) for member in foreign_members if member.origin.source is None}
    hosts = {source: each for source, each in compiled.others.items() if source in shared}
    static = {
        source: _component(source, _ref("static", source), "static")
        for source in dict.fromkeys([*compiled.own, *(each for found in hosts.values() for each in found)])
    }
    tool = Component(type=ComponentType.APPLICATION, name=TOOL, version=__version__, bom_ref="tool")
    bom = Bom(
        serial_number=_serial(provenance, foreign_members),
        metadata=BomMetaData(
            component=wheel, tools=ToolRepository(components=[tool]), timestamp=datetime.fromtimestamp(provenance.moment, UTC)
        ),
        components=[*shared.values(), *static.values(), *generated.values()],
    )
    with_data = [source for source, files in packages.items() if any(member.path in data for member in files)]
    by_path = {member.path: shared[source] for source, files in packages.items() for member in files}
    by_path |= generated
    needs: dict[Component, list[Component]] = {
        wheel: [*(static[source] for source in compiled.own), *(shared[source] for source in with_data)]
    }
    for source, found in hosts.items():
        needs[shared[source]] = [static[each] for each in found]
    for library in provenance.vendored:
        for user in library.needed_by or ("",):  # no module of this wheel NEEDs it: it is vendored for other wheels
            needs.setdefault(by_path.get(user, wheel), []).append(by_path[library.name])
    for user_component, needed in needs.items():
        bom.register_dependency(user_component, [each for each in needed if each is not user_component])
    return BytesBlob((JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode())


def _by_source(foreign_members: Iterable[Member]) -> dict[MemberSource, list[Member]]:
    found: dict[MemberSource, list[Member]] = {}
    for member in foreign_members:
        if member.origin.source is not None:
            found.setdefault(member.origin.source, []).append(member)
    return found


def _component(source: MemberSource, ref: str, linkage: str | None = None, files: Sequence[Member] = ()) -> Component:
    """The component of a conda package, a wheel, or a folder of libraries, with the files of it that the wheel has."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    values = {"linkage": linkage, "build": source.build, "subdir": source.subdir, "channel": source.channel}
    return Component(
        type=ComponentType.LIBRARY,
        name=source.name or "libraries of no package",
        version=source.version or None,
        purl=purl_of(source),
        bom_ref=ref,
        hashes=_sha256(source.sha256),
        licenses=_licenses(source.license),
        properties=[Property(name=f"{TOOL}:{key}", value=value) for key, value in values.items() if value],
        components=[_file(member) for member in files],
    )


def _generated(member: Member) -> Component:
    """The component of a library that conda2wheel makes: the unwinding bridge."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.LIBRARY,
        name="unwinding bridge",
        version=__version__,
        bom_ref=f"generated:{member.path}",
        licenses=_licenses(LICENSE),
        properties=[Property(name=f"{TOOL}:linkage", value="generated")],
        components=[_file(member)],
    )


def _file(member: Member) -> Component:
    """The component of a file: its path and hash in the wheel, and those in its source."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    values = {"from": member.origin.file, "from:sha256": member.origin.before or member.blob.sha256}
    return Component(
        type=ComponentType.FILE,
        name=member.path,
        bom_ref=f"file:{member.path}",
        hashes=_sha256(member.blob.sha256),
        properties=[Property(name=f"{TOOL}:{key}", value=value) for key, value in values.items() if value],
    )


def purl_of(source: MemberSource) -> PackageURL | None:
    """The package URL; None for a folder.

    >>> zlib = MemberSource("package", "zlib", "1.3.1", "h0_1", "emscripten-wasm32", "https://x/emscripten-forge-4x", "z.conda")
    >>> str(purl_of(zlib))
    'pkg:conda/zlib@1.3.1?build=h0_1&channel=emscripten-forge-4x&subdir=emscripten-wasm32&type=conda'
    """
    from packageurl import PackageURL

    if source.kind == "folder" or not source.name:
        return None
    if source.kind == "wheel":
        return PackageURL("pypi", None, source.name.lower(), source.version, {"file_name": source.filename or ""})
    qualifiers = {
        "build": source.build,
        "channel": channel_name(source.channel) if source.channel else "",
        "subdir": source.subdir or "",
        "type": next((end[1:] for end in PACKAGE_SUFFIXES if (source.filename or "").endswith(end)), ""),
    }
    return PackageURL("conda", None, source.name, source.version or None, {key: q for key, q in qualifiers.items() if q})


def _ref(linkage: str, source: MemberSource) -> str:
    """The bom-ref of a component."""
    return f"{linkage}:{purl_of(source) or source}{f'#{source.sha256}' if source.sha256 else ''}"


def _sha256(digest: str | None) -> list[HashType]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []


def _licenses(text: str | None) -> list[LicenseExpression | DisjunctiveLicense]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    if not text:
        return []
    spdx = spdx_expression(text)
    return [LicenseExpression(spdx) if spdx else DisjunctiveLicense(name=text)]


def _serial(provenance: Provenance, foreign_members: Iterable[Member]) -> uuid.UUID:
    """A serial number that is the same for the same wheel (RFC 9562, version 5)."""
    parts: list[Any] = [
        provenance.filename,
        provenance.input.json() if provenance.input else None,
        provenance.options.json(),
        provenance.moment,
    ]
    return uuid.uuid5(_NAMESPACE, json.dumps([*parts, [(member.path, member.blob.sha256) for member in foreign_members]]))
