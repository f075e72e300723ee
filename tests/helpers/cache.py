"""Where test material is kept: one folder a product, named by a hash of all that went into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def root() -> Path:
    """The cache's folder: `$CONDA2WHEEL_TEST_CACHE`, or `.cache/tests` in the repository."""
    given = os.environ.get("CONDA2WHEEL_TEST_CACHE")
    folder = Path(given).resolve() if given else REPOSITORY / ".cache" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*inputs: object) -> str:
    """A name for these inputs; a path stands for its name and its bytes, anything else for its repr."""
    total = hashlib.sha256()
    for item in inputs:
        part = item.name.encode() + b"\0" + item.read_bytes() if isinstance(item, Path) else repr(item).encode()
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:24]


def cached(kind: str, inputs: tuple[object, ...], make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled for these inputs, now or in an earlier run.

    Made beside and renamed, so that several test processes may ask for the same one at once.
    """
    folder = root() / kind / digest(*inputs)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    new.chmod(0o755)
    try:
        make(new)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def pypi(project: str, version: str, sha256: str, *options: str) -> Path:
    """The wheel with this hash, from PyPI by `pip download`, or from the cache."""

    def make(folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]
        found = subprocess.run(
            [*command, *options, "-d", str(folder), f"{project}=={version}"], capture_output=True, text=True, check=False
        )
        if found.returncode:
            raise RuntimeError(f"pip download {project}=={version}: {found.stderr.strip()[-2000:]}")
        wheel = only(folder)
        if (got := hashlib.sha256(wheel.read_bytes()).hexdigest()) != sha256:
            raise RuntimeError(f"{wheel.name} has sha256 {got}, not {sha256}")

    return only(cached("pypi", (project, version, sha256), make))


def unzipped(wheel: Path) -> Path:
    """The folder with this wheel's members."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)

    return cached("unzipped", (wheel,), make)


def only(folder: Path) -> Path:
    """The one file in a folder."""
    (found,) = folder.iterdir()
    return found
