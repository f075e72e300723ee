"""Wheels of PyPI for what a set requires and no channel has: brought by pip, kept by sha256, named by hash in the lock.

Which index that is, with which proxy and password, is as pip is configured.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed
from conda2wheel.pyodide.wheelfile import open_wheel, wants

TIMEOUT = 600.0  # seconds for one wheel


@dataclass(frozen=True)
class FromPyPI:
    """A wheel of PyPI, as a lock names it."""

    name: str
    version: str
    filename: str
    sha256: str

    def json(self) -> dict[str, Any]:
        """`{"name", "version", "filename", "sha256"}`."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FromPyPI:
        """What `json` wrote. Raises `ValueError` for anything else."""
        try:
            return cls(**{key: str(value) for key, value in told.items()})
        except TypeError as error:
            raise ValueError(f"it names no wheel: {error}") from error


@dataclass(frozen=True)
class PyPI:
    """Where such wheels come from, for one platform: `tags` are platform tags that fit, `python` is as "3.13"."""

    tags: tuple[str, ...]
    python: str
    downloads: Downloads

    def newest(self, requirement: str, folder: Path) -> tuple[FromPyPI, Path, tuple[str, ...]]:
        """The newest wheel that fits a requirement, put into `folder`; and its Requires-Dist lines.

        Raises `Failed`: not-found (nothing fits), network, dependency (no pip).
        """
        return self._named(self._download([requirement], requirement, folder))

    def exactly(self, wanted: FromPyPI, folder: Path) -> Path:
        """The very wheel that a lock names, put into `folder`. Raises `Failed` as `newest` does."""
        if (kept := self.downloads.cached(wanted.sha256)) is not None:
            place = folder / wanted.filename
            place.write_bytes(kept.read_bytes())
            return place
        with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="conda2wheel-") as listed:
            listed.write(f"{wanted.name}=={wanted.version} --hash=sha256:{wanted.sha256}\n")
            listed.flush()
            path = self._download(["--require-hashes", "-r", listed.name], f"{wanted.name}=={wanted.version}", folder)
        self._named(path)
        return path

    def _named(self, path: Path) -> tuple[FromPyPI, Path, tuple[str, ...]]:
        wheel = open_wheel(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.downloads.add(path, digest)
        return FromPyPI(str(wheel.name), str(wheel.version), path.name, digest), path, wants(wheel).requires

    def _download(self, what: Sequence[str], shown: str, folder: Path) -> Path:
        if self.downloads.offline:
            raise Failed(
                "network", f"{shown}: is not in the cache, and --offline allows no download", "run it once without --offline"
            )
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", self.python, "--implementation", "cp"]
        command += ["--abi", f"cp{self.python.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
        command += [part for tag in (*self.tags, "any") for part in ("--platform", tag)]
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as beside:
            try:
                done = subprocess.run(
                    [*command, "--dest", beside, *what], capture_output=True, text=True, timeout=TIMEOUT, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Failed("network", f"{shown}: pip download: {error}", "try again later") from None
            found = sorted(Path(beside).glob("*.whl"))
            if done.returncode == 0 and len(found) == 1:
                return found[0].replace(folder / found[0].name)
        raise _failure(shown, done.stderr)


def _failure(shown: str, said: str) -> Failed:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    why = next((line.removeprefix("ERROR: ") for line in reversed(lines)), "it brought no wheel")
    if "No module named pip" in said:
        return Failed("dependency", f"{shown}: there is no pip in this Python to ask PyPI with", "install pip beside conda2wheel")
    if "No matching distribution" in said:
        return Failed(
            "not-found",
            f"{shown}: PyPI has no wheel that fits",
            "add a --channel that has it, --with-pyodide if Pyodide ships it, or a recipe that drops it",
        )
    return Failed("network", f"{shown}: pip download: {why}", "check pip's configuration and the network")
