"""Write `dist-info/sboms/conda2wheel.cdx.json`: the packages of vendored and static libraries, which metadata does not list.

Specifications: PEP 770 (SBOMs in wheels), CycloneDX 1.6, package URLs of the types `pypi` and `conda`. The ancestor of the
wheel is the conda package (or the wheel) that it is made from. Each package of a vendored library is a component with its
files; each library that these packages and the wheel were compiled against is a static component. The unwinding bridge, which
conda2wheel makes, is a component as well.

The document is written as data: to import cyclonedx-python-lib costs more time than to convert a small package. The tests judge
it with that library; keys and lists are in the library's order.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from conda2wheel._version import __version__
from conda2wheel.conda.abi_evidence import channel_name
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.origin import MemberSource
from conda2wheel.files.packagefile import Blob, BytesBlob
from conda2wheel.files.pypa import spdx_expression
from conda2wheel.wheel.provenance import TOOL, Provenance
from conda2wheel.wheel.writer import Member

FOLDER = "sboms"
NAME = "conda2wheel.cdx.json"
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"  # its `$id`
LICENSE = "BSD-3-Clause"  # of what conda2wheel makes itself
_NONE: Mapping[MemberSource, tuple[MemberSource, ...]] = {}
_NAMESPACE = uuid.UUID("6f0e1ca6-6d3a-5a0e-9df2-2f5a3b4b6a51")  # the namespace of the serial numbers


class Compiled(NamedTuple):
    """The static libraries of the wheel itself (`own`), and of each package of a vendored library (`others`).

    Libraries that are NEEDED as shared libraries are not among them.
    """

    own: tuple[MemberSource, ...] = ()
    others: Mapping[MemberSource, tuple[MemberSource, ...]] = _NONE


def sbom(provenance: Provenance, members: Iterable[Member], compiled: Compiled, data: Collection[str] = ()) -> Blob:
    """The SBOM of a wheel with these members; the same wheel gives the same bytes.

    Args:
        provenance: how the wheel is made.
        members: its members.
        compiled: the static libraries.
        data: the paths of the files that a recipe adds from other packages.
    """
    foreign = {library.name for library in provenance.vendored} | set(data)
    foreign_members = [member for member in members if member.path in foreign]
    wheel: dict[str, Any] = {
        "bom-ref": "wheel",
        "licenses": _licenses(provenance.license),
        "name": provenance.name,
        "pedigree": {"ancestors": [_component(provenance.input, "ancestor")]} if provenance.input else None,
        "purl": _pypi_purl(provenance.name, provenance.version, provenance.filename),
        "type": "library",
        "version": provenance.version,
    }
    packages = _by_source(foreign_members)
    refs = _refs("shared", packages)
    shared = [_component(source, refs[source], "shared", files) for source, files in packages.items()]
    hosts = {source: each for source, each in compiled.others.items() if source in refs}
    static_refs = _refs("static", [*compiled.own, *(each for found in hosts.values() for each in found)])
    static = [_component(source, ref, "static") for source, ref in static_refs.items()]
    generated = [_generated(member) for member in foreign_members if member.origin.source is None]
    by_path = {member.path: refs[source] for source, files in packages.items() for member in files}
    by_path |= {member.path: _generated_ref(member) for member in foreign_members if member.origin.source is None}
    needs: dict[str, set[str]] = {"wheel": {static_refs[source] for source in compiled.own}}
    needs["wheel"] |= {refs[source] for source, files in packages.items() if any(member.path in data for member in files)}
    for source, found in hosts.items():
        needs[refs[source]] = {static_refs[each] for each in found}
    for library in provenance.vendored:
        for user in library.needed_by or ("",):  # no module of this wheel NEEDs it: it is vendored for other wheels
            needs.setdefault(by_path.get(user, "wheel"), set()).add(by_path[library.name])
    components = [*shared, *static, *generated]
    document = {
        "components": sorted(components, key=_place),
        "dependencies": [
            {"dependsOn": sorted(needs.get(ref, set()) - {ref}), "ref": ref}
            for ref in sorted(["wheel", *(each["bom-ref"] for each in components)])
        ],
        "metadata": {
            "component": wheel,
            "timestamp": datetime.fromtimestamp(provenance.moment, UTC).isoformat(),
            "tools": {"components": [{"bom-ref": "tool", "name": TOOL, "type": "application", "version": __version__}]},
        },
        "serialNumber": _serial(provenance, foreign_members).urn,
        "version": 1,
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
    }
    return BytesBlob((json.dumps(_without_empty(document), indent=1) + "\n").encode())


def _by_source(foreign_members: Iterable[Member]) -> dict[MemberSource, list[Member]]:
    found: dict[MemberSource, list[Member]] = {}
    for member in foreign_members:
        if member.origin.source is not None:
            found.setdefault(member.origin.source, []).append(member)
    return found


def _component(source: MemberSource, ref: str, linkage: str | None = None, files: Sequence[Member] = ()) -> dict[str, Any]:
    """The component of a conda package, a wheel, or a folder of libraries, with the files of it that the wheel has."""
    values = {"linkage": linkage, "build": source.build, "subdir": source.subdir, "channel": source.channel}
    return {
        "bom-ref": ref,
        "components": sorted(map(_file, files), key=_place),
        "hashes": _sha256(source.sha256),
        "licenses": _licenses(source.license),
        "name": source.name or "libraries of no package",
        "properties": _properties(values),
        "purl": purl_of(source),
        "type": "library",
        "version": source.version,
    }


def _generated(member: Member) -> dict[str, Any]:
    """The component of a library that conda2wheel makes: the unwinding bridge."""
    return {
        "bom-ref": _generated_ref(member),
        "components": [_file(member)],
        "licenses": _licenses(LICENSE),
        "name": "unwinding bridge",
        "properties": _properties({"linkage": "generated"}),
        "type": "library",
        "version": __version__,
    }


def _generated_ref(member: Member) -> str:
    return f"generated:{member.path}"


def _file(member: Member) -> dict[str, Any]:
    """The component of a file: its path and hash in the wheel, and those in its source."""
    return {
        "bom-ref": f"file:{member.path}",
        "hashes": _sha256(member.blob.sha256),
        "name": member.path,
        "properties": _properties({"from": member.origin.file, "from:sha256": member.origin.before or member.blob.sha256}),
        "type": "file",
    }


def _place(component: Mapping[str, Any]) -> tuple[str, str, bool, str, str]:
    """Where a component is among others: by type, name, version (none comes last) and bom-ref."""
    version = component.get("version") or ""
    return component["type"], component["name"], not version, version, component["bom-ref"]


def _properties(values: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [{"name": f"{TOOL}:{key}", "value": value} for key, value in sorted(values.items()) if value]


def _without_empty(value: Any) -> Any:
    """The document without keys that have no value: the schema allows none to be null, and a list says nothing if it is empty."""
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items() if each not in (None, "", [])}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def purl_of(source: MemberSource) -> str | None:
    """The package URL; None for a folder.

    >>> zlib = MemberSource("package", "zlib", "1.3.1", "h0_1", "emscripten-wasm32", "https://x/emscripten-forge-4x", "z.conda")
    >>> purl_of(zlib)
    'pkg:conda/zlib@1.3.1?build=h0_1&channel=emscripten-forge-4x&subdir=emscripten-wasm32&type=conda'
    """
    from packageurl import PackageURL

    if source.kind == "folder" or not source.name:
        return None
    if source.kind == "wheel":
        return _pypi_purl(source.name, source.version, source.filename or "")
    qualifiers = {
        "build": source.build,
        "channel": channel_name(source.channel) if source.channel else "",
        "subdir": source.subdir or "",
        "type": next((end[1:] for end in PACKAGE_SUFFIXES if (source.filename or "").endswith(end)), ""),
    }
    named = {key: value for key, value in qualifiers.items() if value}
    return str(PackageURL("conda", None, source.name, source.version or None, named))


def _pypi_purl(name: str, version: str, filename: str) -> str:
    from packageurl import PackageURL

    return str(PackageURL("pypi", None, name.lower(), version, {"file_name": filename}))


def _refs(linkage: str, sources: Iterable[MemberSource]) -> dict[MemberSource, str]:
    """The bom-refs of the sources' components: each is one component's alone, also if two sources have the same name."""
    found: dict[MemberSource, str] = {}
    for source in sources:
        if source not in found:
            ref = f"{linkage}:{purl_of(source) or source}{f'#{source.sha256}' if source.sha256 else ''}"
            same = sum(each == ref or each.startswith(f"{ref}@") for each in found.values())
            found[source] = f"{ref}@{same + 1}" if same else ref
    return found


def _sha256(digest: str | None) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}] if digest else []


def _licenses(text: str | None) -> list[dict[str, Any]]:
    if not text:
        return []
    spdx = spdx_expression(text)
    return [{"expression": spdx} if spdx else {"license": {"name": text}}]


def _serial(provenance: Provenance, foreign_members: Iterable[Member]) -> uuid.UUID:
    """A serial number that is the same for the same wheel (RFC 9562, version 5)."""
    parts: list[Any] = [
        provenance.filename,
        provenance.input.json() if provenance.input else None,
        provenance.options.json(),
        provenance.moment,
    ]
    return uuid.uuid5(_NAMESPACE, json.dumps([*parts, [(member.path, member.blob.sha256) for member in foreign_members]]))
