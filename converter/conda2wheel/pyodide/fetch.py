"""Fetch Pyodide from npm and micropip from PyPI once into a cache folder; every file is verified.

    CACHE/pyodide/VERSION/    the unpacked npm package `pyodide@VERSION`
    CACHE/packages/VERSION/   the packageCacheDir of that Pyodide: wheels that its lock file names

Files are written to a temporary folder and renamed, so that processes may run at once and an incomplete file is never used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

from conda2wheel.abi import platforms
from conda2wheel.errors import Failed
from conda2wheel.pyodide.lock import LockedPackage, Runtime, read_runtime
from conda2wheel.pyodide.node import HINT, Node

PACK_TIMEOUT = 600
# Errors, so that there is a reason to give; and not npm's own minutes of retries where there is no network.
NPM_OPTIONS = ("--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
MEMBERS = 1000  # the npm package has some 20 files
SIZES = ".sizes.json"  # the sizes of all files of the package
UNPACKED = 256 << 20  # and 30 MB


def pyodide(version: str, node: Node, cache: Path) -> Runtime:
    """That Pyodide, from the cache or from npm.

    Raises `Failed`: "not-found" (npm has no such version), "network" (npm failed, or the bytes are not those that the
    table, or npm itself, promises), "dependency" (no npm), "disk".
    """
    target = cache / "pyodide" / version
    if not is_complete(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # an incomplete folder is moved away in one step
                with tempfile.TemporaryDirectory(prefix=f".{version}-broken-", dir=target.parent) as broken:
                    target.rename(Path(broken) / "package")
            with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=target.parent) as temporary:
                archive = download(version, node, Path(temporary))
                verify(archive, platforms.integrity(version) or promised(version, node), f"pyodide@{version}")
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


def npm(node: Node, *arguments: str, folder: Path | None = None) -> str:
    """Run npm and return its stdout. The registry is whichever npm is configured for."""
    if node.npm is None:
        raise Failed("dependency", "there is no npm to fetch Pyodide with", HINT)
    try:
        answer = subprocess.run(
            [*node.npm, *NPM_OPTIONS, *arguments],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PACK_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed("network", f"npm {arguments[0]} {arguments[1]}: {error}") from error
    if answer.returncode == 0:
        return answer.stdout
    said = [line.split(maxsplit=2)[-1] for line in answer.stderr.splitlines() if line.startswith(("npm error", "npm ERR!"))]
    missing = any(code in answer.stderr for code in ("E404", "ETARGET"))
    reason = next((line for line in said if not line.startswith("code ")), answer.stderr.strip()[-300:])
    raise Failed("not-found" if missing else "network", f"npm {arguments[0]} {arguments[1]}: {reason}")


def download(version: str, node: Node, folder: Path) -> Path:
    """`npm pack pyodide@VERSION` into a folder; the archive's path. It is not verified yet."""
    npm(node, "pack", f"pyodide@{version}", "--ignore-scripts", "--pack-destination", str(folder), folder=folder)
    archives = sorted(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise Failed("network", f"npm pack pyodide@{version} brought {len(archives)} archives instead of one")
    return archives[0]


def promised(version: str, node: Node) -> str:
    """What npm's metadata says of a version that the table does not have: `sha512-...`."""
    integrity = npm(node, "view", f"pyodide@{version}", "dist.integrity").strip()
    if not integrity:
        raise Failed("not-found", f"npm knows no integrity for pyodide@{version}")
    return integrity


def verify(archive: Path, integrity: str, what: str) -> None:
    """Compare a file with npm's integrity (W3C Subresource Integrity, sha512 only). Raises `Failed("network")`."""
    with archive.open("rb") as file:
        found = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found not in integrity.split():
        raise Failed("network", f"the download of {what} is damaged: {found} instead of {integrity}", "try again")


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
                if not member.isfile() or len(parts) < 2 or parts[0] != "package" or ".." in parts:
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
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", runtime.python_version, "--dest", temporary, what]
        try:
            answer = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=PACK_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{what}: {error}"
        if answer.returncode:
            return f"{what}: pip download: {(answer.stderr.strip().splitlines() or ['failed'])[-1]}"
        for file in Path(temporary).iterdir():
            if _sha256(file) in _trusted(locked):
                file.replace(folder / locked.file_name)
                return None
    return f"{what}: PyPI's file is not the one of Pyodide {runtime.version}'s lock file (sha256 differs)"


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
