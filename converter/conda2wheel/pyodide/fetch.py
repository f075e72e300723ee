"""Fetch Pyodide from npm's registry and micropip from PyPI once into a cache folder; every file is verified.

    CACHE/pyodide/VERSION/    the unpacked npm package `pyodide@VERSION`
    CACHE/packages/VERSION/   the packageCacheDir of that Pyodide: wheels that its lock file names

Files are written to a temporary folder and renamed, so that processes may run at once and an incomplete file is never used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from conda2wheel.abi import platforms
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.file_names import is_portable
from conda2wheel.files.writing import replace_file
from conda2wheel.net.cache import mark_in_use
from conda2wheel.net.npm import download_package, npm_package
from conda2wheel.net.registry_settings import package_indexes
from conda2wheel.net.simple_index import PackageIndexClient
from conda2wheel.pyodide.lock import LockedPackage, Runtime, read_runtime

PACKED = 128 << 20  # bytes of an archive or wheel at most; Pyodide has 6 MB
MEMBERS = 1000  # the npm package has some 20 files
SIZES = ".sizes.json"  # the sizes of all files of the package
UNPACKED = 256 << 20  # and 30 MB


def pyodide(version: str, cache: Path) -> Runtime:
    """That Pyodide, from the cache or from npm's registry.

    Raises `Failed`: "not-found" (npm has no such version), "network" (also where the bytes are not those that the
    table, or the registry itself, promises), "disk".
    """
    target = cache / "pyodide" / version
    mark_in_use(target)
    if not is_complete(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # an incomplete folder is moved away in one step
                with tempfile.TemporaryDirectory(prefix=f".{version}-broken-", dir=target.parent) as broken:
                    target.rename(Path(broken) / "package")
            with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=target.parent) as temporary:
                archive = download(version, Path(temporary))
                unpacked = Path(temporary) / "package"
                unpacked.mkdir()
                unpack(archive, unpacked)
                sizes = {str(file.relative_to(unpacked)): file.stat().st_size for file in unpacked.rglob("*") if file.is_file()}
                (unpacked / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
                _rename(unpacked, target)
        except OSError as error:
            raise Failed("disk", f"cannot store Pyodide {version} in {target.parent}: {error}") from error
    return read_runtime(version, target)


def is_complete(target: Path) -> bool:
    """Whether an unpacked Pyodide has every file that it came with, in its size. Hashes were compared when it came."""
    try:
        sizes = json.loads((target / SIZES).read_text(encoding="utf-8"))
        return bool(sizes) and all((target / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _rename(unpacked: Path, target: Path) -> None:
    try:
        unpacked.rename(target)
    except OSError:
        if not is_complete(target):  # else another process was faster, and its folder is complete
            raise


def download(version: str, folder: Path) -> Path:
    """Download `pyodide@VERSION` from npm's registry into a folder, with the integrity of the table, else of the registry."""
    package = npm_package("pyodide", version)
    try:
        return download_package(package, folder, PACKED, platforms.integrity(version) or "")
    except Refused as error:
        raise Failed("network", error.message, error.hint) from None


def unpack(archive: Path, folder: Path) -> None:
    """The regular files under `package/` of an npm archive, within bounds. Raises `Failed("network")` for anything else."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for count, member in enumerate(tar):
                parts = PurePosixPath(member.name).parts
                total += member.size
                if count >= MEMBERS or total > UNPACKED:
                    raise Failed("network", f"{archive.name} is larger than any Pyodide is")
                if member.isdir():
                    continue
                if not member.isfile() or len(parts) < 2 or parts[0] != "package" or not all(map(is_portable, parts)):
                    raise Failed("network", f"{archive.name} has a member that does not belong there: {member.name!r}")
                target = folder.joinpath(*parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is not None:
                    with source, target.open("wb") as file:
                        shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Failed("network", f"{archive.name} cannot be unpacked: {error}") from error


def package_cache(runtime: Runtime, cache: Path) -> Path:
    """The packageCacheDir of a Pyodide, cleared of what neither its lock file nor `pypi.toml` vouches for.

    Pyodide under node takes a file from there without looking at its digest, so that is looked at here.
    """
    folder = cache / "packages" / runtime.version
    try:
        folder.mkdir(parents=True, exist_ok=True)
        named = {locked.file_name: _trusted(locked) for locked in runtime.packages.values()}
        for file in folder.iterdir():
            if not file.name.startswith(".") and _sha256(file) not in named.get(file.name, ()):
                file.unlink(missing_ok=True)
    except OSError as error:
        raise Failed("disk", f"cannot store packages of Pyodide {runtime.version} in {folder}: {error}") from error
    return folder


def from_pypi(runtime: Runtime, names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Bring packages of the lock file, with what they depend on, from PyPI into the packageCacheDir.

    Only bytes that the lock file or `pypi.toml` vouches for are kept. Returns why for each package that PyPI did not give
    so; Pyodide then asks its own CDN.
    """
    reasons = []
    for locked in runtime.closure(names):
        if not (folder / locked.file_name).is_file() and (reason := _one_from_pypi(runtime, locked, folder)):
            reasons.append(reason)
    return tuple(reasons)


def _one_from_pypi(runtime: Runtime, locked: LockedPackage, folder: Path) -> str | None:
    what = f"{locked.name}=={locked.version}"
    trusted = _trusted(locked)
    try:
        with (
            PackageIndexClient(package_indexes()) as client,
            tempfile.TemporaryDirectory(prefix=".pypi-", dir=folder) as temporary,
        ):
            for file in client.files(str(canonicalize_name(locked.name))):
                if file.sha256 in trusted or (file.sha256 is None and file.filename == locked.file_name):
                    path = client.download(file, Path(temporary), PACKED)
                    if _sha256(path) in trusted:
                        replace_file(path, folder / locked.file_name)
                        return None
    except Conda2WheelError as error:
        return f"{what}: {error.message}"
    except OSError as error:
        return f"{what}: {error}"
    return f"{what}: PyPI has no file that Pyodide {runtime.version}'s lock file names (sha256 differs)"


@cache
def _pinned() -> Mapping[str, str]:
    table = tomllib.loads(files(__package__).joinpath("pypi.toml").read_text(encoding="utf-8"))
    return {str(name): str(digest) for name, digest in table["files"].items()}


def _trusted(locked: LockedPackage) -> tuple[str, ...]:
    """The digests that a package may have: Pyodide's own build, or PyPI's file that does the same."""
    return tuple(digest for digest in (locked.sha256, _pinned().get(locked.file_name)) if digest)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:  # another process removed it
        return ""
