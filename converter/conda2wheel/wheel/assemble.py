"""From a plan and its linked modules to the members of the wheel: relocated, licensed, described."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from conda2wheel._version import __version__
from conda2wheel.conda.files import Blob, BytesBlob, PackageFile
from conda2wheel.conda.info import CondaPackage
from conda2wheel.outcome import Refused, Warned

from .archive import Member
from .entry_points import entry_points_text
from .layout import Placed
from .metadata import Document
from .plan import Plan
from .relocate import is_python_script, relocate, with_python_shebang

# Written by installers for one installation, or made new here.
NOT_CARRIED = (
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
EGG_CARRIED = ("top_level.txt", "namespace_packages.txt")


def members(
    plan: Plan, linked: Mapping[str, PackageFile], libraries: Mapping[str, PackageFile], bundled: Iterable[CondaPackage]
) -> tuple[list[Member], list[Warned]]:
    """Every member but RECORD. `linked` replaces side modules by path, `libraries` joins them, `bundled` are the packages
    that those came from, whose licenses travel with them."""
    warnings: list[Warned] = []
    bundled = tuple(bundled)
    stem = f"{plan.file_part}-{plan.version}"
    out: dict[str, Member] = {}
    for item in plan.placed:
        path = item.path if item.scheme == "site" else f"{stem}.data/{item.scheme}/{item.path}"
        _add(plan, out, _member(plan, item, path, linked, warnings))
    for path, file in libraries.items():
        # Whichever package it came from: a prefix that is not in the bytes changes nothing.
        _add(plan, out, Member(path, without_prefix(file.blob, (plan.package, *bundled), (file.path,), warnings)))
    info = f"{stem}.dist-info"
    licenses, document = _licenses(plan, bundled, warnings)
    for name, blob in {**_carried(plan, warnings), **licenses}.items():
        _add(plan, out, Member(f"{info}/{name}", blob))
    if plan.entry_points:
        _add(plan, out, Member(f"{info}/entry_points.txt", BytesBlob(entry_points_text(plan.entry_points))))
    core = tuple(file.path for file in plan.distribution.files.values()) if plan.distribution else ()
    metadata = without_prefix(BytesBlob(document.encode()), (plan.package,), core, warnings)
    _add(plan, out, Member(f"{info}/METADATA", metadata))
    _add(plan, out, Member(f"{info}/WHEEL", BytesBlob(_wheel_file(plan))))
    return list(out.values()), warnings


def _add(plan: Plan, out: dict[str, Member], member: Member) -> None:
    before = out.get(member.path)
    if before is not None and before.blob.sha256 != member.blob.sha256:
        raise Refused(
            "corrupt-archive", f"{plan.package.source}: two different files would be {member.path}", "split the package"
        )
    out[member.path] = member


def _member(plan: Plan, item: Placed, path: str, linked: Mapping[str, PackageFile], warnings: list[Warned]) -> Member:
    file = linked.get(item.path, item.file) if item.scheme == "site" else item.file
    blob = without_prefix(file.blob, (plan.package,), (item.origin, item.file.path), warnings)
    if item.scheme == "scripts" and is_python_script(blob.read()):
        blob = BytesBlob(with_python_shebang(blob.read()))
    # Python files and data need no executable bit, whatever the build machine's umask made of them.
    executable = item.scheme == "scripts" or item.path in plan.native or (item.file.executable and path.endswith(".sh"))
    return Member(path, blob, executable)


def without_prefix(blob: Blob, packages: Iterable[CondaPackage], names: tuple[str, ...], warnings: list[Warned]) -> Blob:
    """A file without the build prefix, if one of `packages` lists a placeholder for one of its `names`."""
    found = {package.placeholders[name] for package in packages for name in names if name in package.placeholders}
    for placeholder in sorted(found, key=lambda p: (p.prefix, p.mode)):
        data, done, left = relocate(blob.read(), placeholder)
        if done:
            blob = BytesBlob(data)
        if left:
            why = f"{left} times the build prefix, in strings that cannot be shortened"
            warnings.append(Warned("prefix-left", why, names[0]))
        elif done and placeholder.mode == "binary":
            why = "the build prefix in it became /; code that stored its length may still fail"
            warnings.append(Warned("prefix-in-binary", why, names[0]))
    return blob


def _carried(plan: Plan, warnings: list[Warned]) -> dict[str, Blob]:
    """Files of the metadata folder that stay: top_level.txt, sboms/, and what else upstream's backend wrote."""
    distribution = plan.distribution
    if distribution is None:
        return {}
    egg = distribution.kind != "dist-info"
    return {
        name: without_prefix(file.blob, (plan.package,), (file.path,), warnings)
        for name, file in distribution.files.items()
        if (name in EGG_CARRIED if egg else not any(fnmatchcase(name, pattern) for pattern in NOT_CARRIED))
        and not _is_license(plan.metadata, name)
    }


def _is_license(document: Document, name: str) -> bool:
    """A license file in dist-info: in licenses/ (PEP 639), or where older backends put it, at the top."""
    if name.startswith(("licenses/", "license_files/")) or name in document.all("License-File"):
        return True
    return "/" not in name and any(fnmatchcase(name.lower(), pattern) for pattern in LICENSE_NAMES)


def _licenses(plan: Plan, bundled: Iterable[CondaPackage], warnings: list[Warned]) -> tuple[dict[str, Blob], Document]:
    """License files as `licenses/...`, and the metadata whose License-File fields name them all (PEP 639).

    The package's own come first; conda's copies join where no file has the same text; each package whose library travels
    has a folder.
    """
    found: dict[str, Blob] = {}
    if plan.distribution is not None:
        for name, file in sorted(plan.distribution.files.items()):
            if _is_license(plan.metadata, name):
                found[re.sub(r"^(licenses|license_files)/", "", name)] = file.blob
    have = {blob.sha256 for blob in found.values()}
    for name, blob in plan.package.licenses:
        if blob.sha256 not in have:
            found[name if name not in found else f"conda/{name}"] = blob
    missing = [name for name in plan.metadata.all("License-File") if name not in found]
    if missing:
        warnings.append(Warned("missing-license", f"License-File {', '.join(missing)}: not in the package", "METADATA"))
    for package in bundled:
        for name, blob in package.licenses:
            found[f"{package.name}-{package.version}/{name}"] = blob
        if not package.licenses:
            warnings.append(Warned("missing-license", f"{package.stem}, whose library travels, brings no license text"))
    document = plan.metadata.replaced("License-File", sorted(found))
    return {f"licenses/{name}": blob for name, blob in found.items()}, document


def _wheel_file(plan: Plan) -> bytes:
    pure = "true" if plan.decision is None else "false"
    tags = sorted(str(tag) for tag in plan.tags)
    lines = [
        "Wheel-Version: 1.0",
        f"Generator: conda2wheel {__version__}",
        f"Root-Is-Purelib: {pure}",
        *(f"Tag: {tag}" for tag in tags),
    ]
    return ("\n".join(lines) + "\n").encode()
