"""Open the conda package at a path: an archive, an unpacked package, or a prefix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conda2wheel.conda.archive import NO_PACKAGE, open_archive
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.package import CondaPackage, from_record, read_info, several_packages
from conda2wheel.conda.paths_json import Placeholder
from conda2wheel.conda.prefix import open_folder, open_listed
from conda2wheel.errors import Failed, Refused
from conda2wheel.files.documents import json_object
from conda2wheel.files.packagefile import FileBlob, Limits, OnFile
from conda2wheel.files.reading import corrupt, not_found, unreadable
from conda2wheel.net.urls import is_url
from conda2wheel.results import ConversionWarning

ENV_META = "empack_env_meta.json"
DEFAULT_LIMITS = Limits()


def expand(source: str) -> list[str]:
    """Return the conda-meta records of a prefix with several packages, or `source` alone for anything else. Never raises."""
    if is_url(source) or not os.path.isdir(source):
        return [source]
    try:
        found = _records(Path(source))
    except Failed:  # `open_local` raises it
        return [source]
    return [str(record) for record in found] if len(found) > 1 else [source]


def open_local(path: str, limits: Limits = DEFAULT_LIMITS, on_file: OnFile | None = None) -> CondaPackage:
    """Open and read the package at a path.

    Args:
        path: A package file, the folder of an unpacked package, a prefix with one package, or a record
            `PREFIX/conda-meta/NAME.json` of a prefix.
        limits: Bounds on what the package may unpack to.
        on_file: Called with each regular file of an archive while the next ones are read.

    Raises:
        Refused: The package is damaged, unsafe, too large or no conda package.
        Failed: The file is missing or unreadable.
    """
    if not path:  # an unset variable of the shell; Path("") would be the working folder
        raise not_found("''")
    location = Path(path)
    if location.parent.name == "conda-meta" and location.suffix == ".json":
        return _open_record(location, path, limits)
    if os.path.isdir(location):  # Path.is_dir raises if a parent folder is not accessible
        return _open_folder(location, path, limits)
    return _in_environment(location, read_archive(location, location.name, path, limits, on_file))


def read_archive(path: Path, filename: str, source: str, limits: Limits, on_file: OnFile | None = None) -> CondaPackage:
    """Read a package archive.

    Args:
        path: The archive.
        filename: The file name that it has in its channel.
        source: What messages call it.
        limits: Bounds on what it may unpack to.
        on_file: Called with each regular file while the next ones are read.

    Raises:
        Refused: The archive is damaged, unsafe, too large or no conda package.
        Failed: The file is missing or unreadable.
    """
    package = read_info(source, open_archive(path, source, limits, on_file))
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return replace(package, filename=filename, sha256=sha256, opened="archive")


def _open_folder(path: Path, text: str, limits: Limits) -> CondaPackage:
    """Open an unpacked package, or a prefix with one package; the kind is found out before all files are listed."""
    if not _is_there(path / "info" / "index.json"):
        records = _records(path)
        if len(records) > 1:
            raise several_packages(text, [str(record.relative_to(path)) for record in records])
        if len(records) == 1 and isinstance(_load(records[0], text).get("files"), list):
            return _open_record(records[0], text, limits)
        if not records:
            inside = any(name.endswith(PACKAGE_SUFFIXES) for name in os.listdir(path))
            hint = "give the packages in it one by one, or as a pattern of the shell" if inside else NO_PACKAGE
            raise corrupt(text, "not a conda package: neither info/index.json nor conda-meta/*.json", hint)
    return _in_environment(path, read_info(text, open_folder(path, text, limits)))


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from None
    return True


def _records(prefix: Path) -> list[Path]:
    folder = prefix / "conda-meta"
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".json")) if _is_there(folder) else []
    except OSError as error:
        raise unreadable(folder, error) from None


def _open_record(path: Path, text: str, limits: Limits) -> CondaPackage:
    """Open one package of an installed prefix by its record."""
    record = _load(path, text)
    files = record.get("files")
    root = path.absolute().parent.parent
    if not isinstance(files, list):
        why = "its record does not list its files (empack's do not), so they cannot be separated from other packages' files"
        raise corrupt(text, why, "convert the archives, or unpack each package into its own folder")
    package = from_record(text, record, open_listed(root, [str(name) for name in files], text, limits))
    versions: dict[str, list[str]] = {}
    for other in _records(root):
        entry = record if other.name == path.name else _neighbour(other)
        versions.setdefault(str(entry.get("name")), []).append(str(entry.get("version")))
    return replace(
        package,
        environment={name: tuple(found) for name, found in versions.items()},
        placeholders=_installed(package, root),
    )


def _neighbour(path: Path) -> dict[str, Any]:
    """Read the record of another package in the prefix; an unreadable one is skipped."""
    try:
        return _load(path, str(path))
    except (Failed, Refused):
        return {}


def _installed(package: CondaPackage, root: Path) -> dict[str, Placeholder]:
    """Return the placeholders of an installed package.

    Its prefix is the one written at installation, or that with its links resolved.
    """
    contents = {file.path: file for file in package.files}
    found = {}
    for name, value in package.placeholders.items():
        prefix = str(root.resolve())
        if name in contents and str(root) != prefix and str(root).encode() in contents[name].blob.read():
            prefix = str(root)
        found[name] = value._replace(prefix=prefix)
    return found


def _in_environment(path: Path, package: CondaPackage) -> CondaPackage:
    """Return the package with the versions of its environment from `empack_env_meta.json`.

    empack writes this file into the folder with the archives of one environment. The file counts only if it lists this package.
    If it cannot be read, the package gets a warning.
    """
    meta = path.absolute().parent / ENV_META
    if not os.path.isfile(meta):
        return package
    try:
        rows = _load(meta, str(meta)).get("packages")
    except (Failed, Refused) as error:
        warning = ConversionWarning("unreadable-environment", f"{error.message}; it was not used", ENV_META)
        return replace(package, warnings=(*package.warnings, warning))
    packages = [entry for entry in rows if isinstance(entry, dict)] if isinstance(rows, list) else []
    return replace(package, environment=_environment(path.absolute(), package, packages))


def _environment(path: Path, package: CondaPackage, packages: list[dict[str, Any]]) -> Mapping[str, tuple[str, ...]]:
    identity = (package.name, package.version, package.build)
    listed = any(
        (e.get("name"), e.get("version"), e.get("build")) == identity
        and path.name in (e.get("filename", path.name), e.get("filename_stem", path.name))
        for e in packages
    )
    if not listed:
        return {}
    versions: dict[str, list[str]] = {}
    for entry in packages:
        versions.setdefault(str(entry.get("name")), []).append(str(entry.get("version")))
    return {name: tuple(found) for name, found in versions.items()}


def _load(path: Path, source: str) -> dict[str, Any]:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise not_found(source) from None
    except OSError as error:
        raise unreadable(source, error) from None
    return json_object(source, path.name, FileBlob(path, size))
