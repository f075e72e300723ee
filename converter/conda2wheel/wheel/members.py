"""Build the members of a wheel from its plan and its linked side modules: files, licenses, metadata, SBOM and provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from packaging.tags import Tag

from conda2wheel._version import __version__
from conda2wheel.conda.host_environment import host_libraries
from conda2wheel.conda.names import fits
from conda2wheel.conda.origin import GENERATED, MemberOrigin, MemberSource
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import Blob, BytesBlob
from conda2wheel.link.library import Library
from conda2wheel.link.linked import Linked
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel import sbom
from conda2wheel.wheel.apply_recipe import AddedFile, license_texts, with_environment
from conda2wheel.wheel.entry_points import entry_points_text
from conda2wheel.wheel.layout import Placed
from conda2wheel.wheel.metadata import Document
from conda2wheel.wheel.plan import Plan
from conda2wheel.wheel.prefix import is_python_script, relocate, with_python_shebang
from conda2wheel.wheel.provenance import NAME as PROVENANCE_NAME
from conda2wheel.wheel.provenance import Provenance, provenance_file
from conda2wheel.wheel.writer import Member

# Files of a dist-info that installers write for one installation, or that are written anew.
NOT_COPIED = (
    "METADATA",
    "PKG-INFO",
    "RECORD*",
    "WHEEL",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
    "entry_points.txt",
    "uv_*.json",
    "*.pyc",
)
LICENSE_NAMES = ("licen[cs]e*", "copying*", "notice*", "authors*", "copyright*")
COPIED_FROM_EGG = ("top_level.txt", "namespace_packages.txt")


def wheel_members(plan: Plan, linked: Linked, others: Iterable[AddedFile] = ()) -> tuple[list[Member], list[ConversionWarning]]:
    """Every member but RECORD, the SBOM and the provenance, each with its origin.

    Args:
        plan: the plan of the wheel.
        linked: its rewritten side modules and vendored libraries; the license texts of their packages are added.
        others: the files that a recipe adds from other packages; the license texts of these packages are added, too.

    Raises:
        Refused: corrupt-archive, if two different files would have one path.
    """
    others = tuple(others)
    warnings: list[ConversionWarning] = []
    source = MemberSource.of(plan.package)
    out: dict[str, Member] = {}
    for item in plan.placed:
        member, notes = _member(plan, item, source, linked)
        warnings += notes
        _add(plan, out, member)
    program_members, notes = _programs(plan, source)
    warnings += notes
    for member in program_members:
        _add(plan, out, member)
    libraries, notes = vendored_members(linked, (plan.package, *linked.packages))
    warnings += notes
    for member in libraries:
        _add(plan, out, member)
    for each in others:
        blob, notes = _without_prefix(each.file.blob, (each.package,), (each.origin, each.file.path))
        warnings += notes
        origin = MemberOrigin.copied(MemberSource.of(each.package), each.origin, each.file.blob, blob, {"prefix": "/"})
        _add(plan, out, Member(each.member_path(plan.stem), blob, origin=origin))
    info = f"{plan.stem}.dist-info"
    licenses, document, license_notes = _licenses(plan, linked, others)
    copied, notes = _copied_metadata(plan, source)
    warnings += [*license_notes, *notes]
    for name, (blob, origin) in {**copied, **licenses}.items():
        _add(plan, out, Member(f"{info}/{name}", blob, origin=origin))
    if plan.entry_points:
        blob = BytesBlob(entry_points_text(plan.entry_points))
        _add(plan, out, Member(f"{info}/entry_points.txt", blob, origin=_written(plan, source, "entry_points.txt", blob)))
    core = tuple(file.path for file in plan.distribution.files.values()) if plan.distribution else ()
    metadata, notes = _without_prefix(BytesBlob(document.encode()), (plan.package,), core)
    warnings += notes
    origin = _written(plan, source, "METADATA", metadata)
    if origin.source is None:
        origin = _written(plan, source, "PKG-INFO", metadata)
    _add(plan, out, Member(f"{info}/METADATA", metadata, origin=origin))
    wheel = BytesBlob(wheel_file(plan.tags, pure=plan.decision is None))
    _add(plan, out, Member(f"{info}/WHEEL", wheel, origin=_written(plan, source, "WHEEL", wheel)))
    return list(out.values()), warnings


def vendored_members(linked: Linked, packages: Iterable[CondaPackage]) -> tuple[list[Member], list[ConversionWarning]]:
    """The vendored libraries, without the build prefix of whichever of `packages` they come from, and warnings."""
    packages = tuple(packages)
    members: list[Member] = []
    warnings: list[ConversionWarning] = []
    for path, file in linked.libraries.items():
        library = linked.origins[path]
        blob, notes = _without_prefix(file.blob, packages, (file.path,))
        warnings += notes
        changes = link_changes(linked, path) | ({} if blob is file.blob else {"prefix": "/"})
        was = library.side.file
        origin = MemberOrigin.copied(library_source(library), was.path, was.blob, blob, changes)
        members.append(Member(path, blob, origin=GENERATED if library.generated else origin))
    return members, warnings


def library_source(library: Library) -> MemberSource:
    """The package that a library comes from. Of a plain folder only the kind is recorded, not its path."""
    return MemberSource(kind="folder") if library.package is None else MemberSource.of(library.package)


def link_changes(linked: Linked, path: str) -> dict[str, Any]:
    """What linking changed in a side module, as JSON for the provenance."""
    change = linked.changes.get(path)
    return change.json() if change else {}


def _add(plan: Plan, out: dict[str, Member], member: Member) -> None:
    before = out.get(member.path)
    if before is not None and before.blob.sha256 != member.blob.sha256:
        raise Refused(
            "corrupt-archive", f"{plan.package.source}: two different files would be {member.path}", "split the package"
        )
    out[member.path] = member


def _member(plan: Plan, item: Placed, source: MemberSource, linked: Linked) -> tuple[Member, list[ConversionWarning]]:
    path = item.path if item.scheme == "site" else f"{plan.stem}.data/{item.scheme}/{item.path}"
    file = linked.rewritten.get(item.path, item.file) if item.scheme == "site" else item.file
    changes = link_changes(linked, item.path) if item.scheme == "site" else {}
    blob, warnings = _without_prefix(file.blob, (plan.package,), (item.origin, item.file.path))
    if blob is not file.blob:
        changes["prefix"] = "/"
    if item.scheme == "scripts" and is_python_script(blob.read()):
        blob = BytesBlob(with_python_shebang(blob.read()))
        changes["shebang"] = "#!python"
    if plan.recipe is not None and plan.recipe.environment is not None and item.scheme == "site":
        was = blob.read()
        if (now := with_environment(path, was, plan.recipe)) != was:
            blob = BytesBlob(now)
            changes["environment"] = True
    # Python files and data need no executable bit, whatever the build machine's umask made of them.
    executable = item.scheme == "scripts" or item.path in plan.native or (item.file.executable and path.endswith(".sh"))
    origin = MemberOrigin.copied(source, item.origin, item.file.blob, blob, changes)
    return Member(path, blob, executable, origin), warnings


def _written(plan: Plan, source: MemberSource, name: str, blob: Blob) -> MemberOrigin:
    """The origin of a file of dist-info that is written anew: the package's file of that name, if it has one."""
    file = plan.distribution.files.get(name) if plan.distribution else None
    return MemberOrigin.copied(source, file.path, file.blob, blob, {"mended": True}) if file else GENERATED


def _programs(plan: Plan, source: MemberSource) -> tuple[list[Member], list[ConversionWarning]]:
    """The members of the programs of a wheel, with the prefix that the launcher gives them."""
    if plan.programs is None:
        return [], []
    from conda2wheel.wheel.programs import PREFIX

    members = list(plan.programs.generated())
    warnings: list[ConversionWarning] = []
    for path, file in plan.programs.files.items():
        blob, notes = _without_prefix(file.blob, (plan.package,), (path, file.path), PREFIX)
        warnings += [note for note in notes if note.code != "prefix-in-binary"]  # the programs have that prefix
        origin = MemberOrigin.copied(source, path, file.blob, blob, {"prefix": PREFIX})
        members.append(Member(plan.programs.member_path(path), blob, origin=origin))
    return members, warnings


def _without_prefix(
    blob: Blob, packages: Iterable[CondaPackage], names: tuple[str, ...], to: str = ""
) -> tuple[Blob, list[ConversionWarning]]:
    """Replace the build prefix by `to`, or by the root, if one of `packages` lists a placeholder for one of a file's `names`."""
    warnings: list[ConversionWarning] = []
    found = {package.placeholders[name] for package in packages for name in names if name in package.placeholders}
    for placeholder in sorted(found, key=lambda p: (p.prefix, p.mode)):
        data, done, left = relocate(blob.read(), placeholder, to)
        if done:
            blob = BytesBlob(data)
        if left:
            why = f"{left} times the build prefix, in strings that cannot be shortened"
            warnings.append(ConversionWarning("prefix-left", why, names[0]))
        elif done and placeholder.mode == "binary":
            why = "the build prefix in it became /; code that stored its length may still fail"
            warnings.append(ConversionWarning("prefix-in-binary", why, names[0]))
    return blob, warnings


def _copied_metadata(plan: Plan, source: MemberSource) -> tuple[dict[str, tuple[Blob, MemberOrigin]], list[ConversionWarning]]:
    """The files of the metadata folder that are copied: top_level.txt, sboms/, and others of upstream's build backend."""
    distribution = plan.distribution
    found: dict[str, tuple[Blob, MemberOrigin]] = {}
    warnings: list[ConversionWarning] = []
    if distribution is None:
        return found, warnings
    egg = distribution.kind != "dist-info"
    for name, file in distribution.files.items():
        kept = name in COPIED_FROM_EGG if egg else not any(fits(name, pattern) for pattern in NOT_COPIED)
        if kept and not _is_license(plan.metadata, name):
            blob, notes = _without_prefix(file.blob, (plan.package,), (file.path,))
            warnings += notes
            found[name] = (blob, MemberOrigin.copied(source, file.path, file.blob, blob, {"prefix": "/"}))
    return found, warnings


def _is_license(document: Document, name: str) -> bool:
    """Whether a file of dist-info is a license: in licenses/ (PEP 639), or at the top, where older build backends put it."""
    if name.startswith(("licenses/", "license_files/")) or name in document.all("License-File"):
        return True
    return "/" not in name and any(fits(name.lower(), pattern) for pattern in LICENSE_NAMES)


def _licenses(
    plan: Plan, linked: Linked, others: Iterable[AddedFile]
) -> tuple[dict[str, tuple[Blob, MemberOrigin]], Document, list[ConversionWarning]]:
    """License files as `licenses/...`, and the metadata whose License-File fields name all of them (PEP 639).

    They are those of the dist-info, those of the recipe and of conda whose text differs, and a folder for each package of a
    vendored library.
    """
    found: dict[str, tuple[Blob, MemberOrigin]] = {}
    source = MemberSource.of(plan.package)
    if plan.distribution is not None:
        for name, file in sorted(plan.distribution.files.items()):
            if _is_license(plan.metadata, name):
                found[re.sub(r"^(licenses|license_files)/", "", name)] = (file.blob, MemberOrigin(source, file.path))
    have = {blob.sha256 for blob, _ in found.values()}
    for name, file in license_texts(plan.package, plan.recipe):
        if file.blob.sha256 not in have:
            found[name if name not in found else f"recipe/{name}"] = (file.blob, MemberOrigin(source, file.path))
    have = {blob.sha256 for blob, _ in found.values()}
    for name, blob in plan.package.licenses:
        if blob.sha256 not in have:
            found[name if name not in found else f"conda/{name}"] = (blob, MemberOrigin(source, f"info/licenses/{name}"))
    warnings: list[ConversionWarning] = []
    missing = [name for name in plan.metadata.all("License-File") if name not in found]
    if missing:
        warnings.append(
            ConversionWarning("missing-license", f"License-File {', '.join(missing)}: not in the package", "METADATA")
        )
    vendored, notes = vendored_licenses(linked, [each.package for each in others])
    found |= vendored
    document = plan.metadata.replaced("License-File", sorted(found))
    return {f"licenses/{name}": each for name, each in found.items()}, document, [*warnings, *notes]


def vendored_licenses(
    linked: Linked, others: Iterable[CondaPackage] = ()
) -> tuple[dict[str, tuple[Blob, MemberOrigin]], list[ConversionWarning]]:
    """The license texts of the packages of vendored libraries, and of `others`, by path below `licenses/`: one folder each."""
    found: dict[str, tuple[Blob, MemberOrigin]] = {}
    warnings: list[ConversionWarning] = []
    for package in {package.stem: package for package in (*linked.packages, *others)}.values():
        source = MemberSource.of(package)
        for name, blob in package.licenses:
            found[f"{package.name}-{package.version}/{name}"] = (blob, MemberOrigin(source, f"info/licenses/{name}"))
        if not package.licenses:
            warnings.append(
                ConversionWarning("missing-license", f"{package.stem}, of which the wheel has files, has no license text")
            )
    for path, library in linked.origins.items():
        if library.package is None and not library.generated:
            why = f"{library.side.file.name} is from a folder that is no package, so its license is unknown"
            warnings.append(ConversionWarning("missing-license", why, path))
    return found, warnings


def wheel_file(tags: Iterable[Tag], *, pure: bool) -> bytes:
    """The bytes of the file WHEEL."""
    lines = [
        "Wheel-Version: 1.0",
        f"Generator: conda2wheel {__version__}",
        f"Root-Is-Purelib: {str(pure).lower()}",
        *(f"Tag: {tag}" for tag in sorted(map(str, tags))),
    ]
    return ("\n".join(lines) + "\n").encode()


def with_provenance(
    provenance: Provenance,
    dist_info: str,
    members: Sequence[Member],
    package: CondaPackage | None,
    linked: Linked,
    added: Iterable[AddedFile] = (),
) -> list[Member]:
    """The members of a wheel with its SBOM and its provenance (`conda2wheel.json`), which replaces an older one.

    Args:
        provenance: how the wheel is made.
        dist_info: the name of its dist-info folder.
        members: every other member but RECORD.
        package: the conda package that is converted; None for the repair of a wheel.
        linked: the libraries of the wheel.
        added: the files that a recipe takes from other packages.
    """
    taken = {member.path for member in members}
    sbom_path = f"{dist_info}/{sbom.FOLDER}/{_free(sbom.NAME, f'{dist_info}/{sbom.FOLDER}', taken)}"
    sbom_member = Member(
        sbom_path,
        sbom.sbom(
            provenance,
            members,
            _compiled(package, linked),
            {each.member_path(dist_info.removesuffix(".dist-info")) for each in added},
        ),
    )
    kept = [member for member in members if member.path != f"{dist_info}/{PROVENANCE_NAME}"]
    return [*kept, sbom_member, Member(f"{dist_info}/{PROVENANCE_NAME}", provenance_file(provenance, [*kept, sbom_member]))]


def consulted_sources(linked: Linked, added: Iterable[AddedFile] = ()) -> tuple[MemberSource, ...]:
    """The packages of all libraries that linking found, vendored or not, and of the files that a recipe adds."""
    libraries = (library_source(library) for library in linked.consulted)
    return tuple(dict.fromkeys([*libraries, *(MemberSource.of(each.package) for each in added)]))


def _compiled(package: CondaPackage | None, linked: Linked) -> sbom.Compiled:
    """The libraries that each package was compiled against, without those that are NEEDED as shared libraries."""
    needed = {source.name for source in consulted_sources(linked)}

    def static_libraries(one: CondaPackage) -> tuple[MemberSource, ...]:
        return tuple(library for library in host_libraries(one) if library.name not in needed)

    return sbom.Compiled(
        static_libraries(package) if package else (), {MemberSource.of(each): static_libraries(each) for each in linked.packages}
    )


def _free(name: str, folder: str, taken: Iterable[str]) -> str:
    """A file name that is free in `folder`: a repaired wheel keeps the SBOM that it had before."""
    stem, _, rest = name.partition(".")
    number, found = 1, name
    while f"{folder}/{found}" in set(taken):
        number += 1
        found = f"{stem}-{number}.{rest}"
    return found
