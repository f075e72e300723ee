"""Download a package of npm's registry, compared with the integrity that is expected."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from packageurl.validate import DEFINITIONS_BY_TYPE

from conda2wheel.errors import Failed
from conda2wheel.net.download import FileRequests
from conda2wheel.net.registry_settings import NpmRegistry, npm_registry
from conda2wheel.net.urls import Address, secret_url

MAX_DOCUMENT = 64 << 20  # bytes
_HINT = "check the network, and the registry in npm's settings (npm_config_registry, .npmrc)"


@dataclass(frozen=True)
class NpmPackage:
    """A version of a package: the archive's address, and its integrity (`sha512-...`; W3C Subresource Integrity)."""

    name: str
    version: str
    tarball: Address
    integrity: str


def npm_package(name: str, version: str, registry: NpmRegistry | None = None) -> NpmPackage:
    """Ask the registry for a version of a package.

    Raises:
        Failed: not-found, network.
    """
    registry = registry or npm_registry()
    label = f"{name}@{version}"
    try:
        document = _document(registry, f"{name}/{version}")
    except Failed as error:
        if error.code != "not-found":
            raise Failed(error.code, f"{label}: {error.message}", _HINT) from None
        try:  # some registries answer for a package alone, not for a version
            document = _document(registry, name)["versions"][version]
        except (Failed, KeyError, TypeError):
            raise Failed("not-found", f"npm's registry {registry.url} has no {label}", "check the version") from None
    try:
        dist = document["dist"]
        tarball, integrity = str(dist["tarball"]), str(dist["integrity"])
    except (KeyError, TypeError):
        raise Failed("network", f"{label}: the registry {registry.url} says no integrity for it", _HINT) from None
    return NpmPackage(name, version, _tarball(registry, tarball), integrity)


def download_package(package: NpmPackage, folder: Path, max_bytes: int, integrity: str = "") -> Path:
    """Download a package's archive.

    Args:
        package: the package.
        folder: where it is saved, as `NAME-VERSION.tgz`.
        max_bytes: the largest size.
        integrity: what it must have; what the registry says if empty.

    Raises:
        Failed: network (also where the bytes are others), disk.
        Refused: too-large.
    """
    target = folder / f"{package.name.rpartition('/')[2]}-{package.version}.tgz"
    try:
        with target.open("wb") as out:
            _get(npm_registry(), package.tarball, out, max_bytes)
    except OSError as error:
        raise Failed("disk", f"cannot save {package.tarball}: {error.strerror}", "free some space") from None
    require_integrity(target, integrity or package.integrity, f"{package.name}@{package.version}")
    return target


def require_integrity(archive: Path, integrity: str, what: str) -> None:
    """Compare a file with npm's integrity, sha512 only. Raises `Failed` (network)."""
    with archive.open("rb") as file:
        found = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found not in integrity.split():
        raise Failed("network", f"the download of {what} is damaged: {found} instead of {integrity}", "try again")


def _document(registry: NpmRegistry, path: str) -> Any:
    with tempfile.TemporaryFile() as out:
        _get(registry, Address(secret_url(registry.url) + path), out, MAX_DOCUMENT)
        out.seek(0)
        try:
            return json.loads(out.read())
        except (ValueError, RecursionError):
            raise Failed("network", f"{registry.url}{path}: the registry's answer is no JSON", _HINT) from None


def _get(registry: NpmRegistry, url: Address, out: IO[bytes], max_bytes: int) -> None:
    with closing(FileRequests(registry.headers(secret_url(url)), registry.certificates)) as requests:
        requests.get(url, out, max_bytes)


def _tarball(registry: NpmRegistry, tarball: str) -> Address:
    """Return an archive's address at the registry that is asked: a mirror may name the one that it mirrors, as npm knows."""
    parts = urlsplit(urljoin(secret_url(registry.url), tarball))
    default = urlsplit(str(DEFINITIONS_BY_TYPE["npm"].default_repository_url))
    if parts.hostname == default.hostname and not registry.default:
        return Address(secret_url(registry.url) + parts.path.lstrip("/"))
    return Address(parts.geturl())
