"""Wheels of PyPI for requirements that no channel satisfies. pip downloads them; the cache and `bundle.lock` name them by sha256.

The index, proxies and credentials are those of pip's configuration.
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
from conda2wheel.pyodide.wheelfile import open_wheel, requirements_of

TIMEOUT = 600.0  # seconds for one wheel


@dataclass(frozen=True)
class PyPIWheel:
    """A wheel of PyPI, as a lock names it."""

    name: str
    version: str
    filename: str
    sha256: str

    def json(self) -> dict[str, Any]:
        """Return `{"name", "version", "filename", "sha256"}`."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PyPIWheel:
        """Read what `json` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(**{key: str(value) for key, value in document.items()})
        except TypeError as error:
            raise ValueError(f"not a wheel: {error}") from error


@dataclass(frozen=True)
class PyPIDownloader:
    """Downloads wheels of PyPI for one platform.

    Attributes:
        tags: the platform tags that wheels may have.
        python: the version of Python, as "3.13".
        downloads: the cache.
    """

    tags: tuple[str, ...]
    python: str
    downloads: Downloads

    def newest(self, requirement: str, folder: Path) -> tuple[PyPIWheel, Path, tuple[str, ...]]:
        """Download the newest wheel that satisfies a requirement.

        Returns:
            The wheel, its path in `folder`, and its Requires-Dist lines.

        Raises:
            Failed: not-found (PyPI has no such wheel), network, dependency (pip is missing).
        """
        return self._identified(self._download([requirement], requirement, folder))

    def exact(self, wheel: PyPIWheel, folder: Path) -> Path:
        """Download the wheel that a lock names, or copy it from the cache, to `folder`. Raises as `newest`."""
        if (cached := self.downloads.cached(wheel.sha256)) is not None:
            path = folder / wheel.filename
            path.write_bytes(cached.read_bytes())
            return path
        pin = f"{wheel.name}=={wheel.version}"
        with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="conda2wheel-") as requirements:
            requirements.write(f"{pin} --hash=sha256:{wheel.sha256}\n")
            requirements.flush()
            path = self._download(["--require-hashes", "-r", requirements.name], pin, folder)
        self._identified(path)
        return path

    def _identified(self, path: Path) -> tuple[PyPIWheel, Path, tuple[str, ...]]:
        """Read a downloaded wheel, and add it to the cache."""
        wheel = open_wheel(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.downloads.add(path, digest)
        return PyPIWheel(str(wheel.name), str(wheel.version), path.name, digest), path, requirements_of(wheel).requires

    def _download(self, arguments: Sequence[str], requirement: str, folder: Path) -> Path:
        """Run `pip download` for one wheel; messages name it by `requirement`."""
        if self.downloads.offline:
            raise Failed(
                "network", f"{requirement}: not in the cache, and --offline allows no download", "run it once without --offline"
            )
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", self.python, "--implementation", "cp"]
        command += ["--abi", f"cp{self.python.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
        command += [part for tag in (*self.tags, "any") for part in ("--platform", tag)]
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
            try:
                done = subprocess.run(
                    [*command, "--dest", temporary, *arguments],
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    timeout=TIMEOUT,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Failed("network", f"{requirement}: pip download: {error}", "try again later") from None
            wheels = sorted(Path(temporary).glob("*.whl"))
            if done.returncode == 0 and len(wheels) == 1:
                return wheels[0].replace(folder / wheels[0].name)
        raise _pip_failure(requirement, done.stderr)


def _pip_failure(requirement: str, stderr: str) -> Failed:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    why = next((line.removeprefix("ERROR: ") for line in reversed(lines)), "it downloaded no wheel")
    if "No module named pip" in stderr:
        return Failed("dependency", f"{requirement}: pip is needed to download it", "install pip beside conda2wheel")
    if "No matching distribution" in stderr:
        return Failed(
            "not-found",
            f"{requirement}: PyPI has no wheel that fits",
            "add a --channel that has it, --with-pyodide if Pyodide ships it, or a recipe that drops it",
        )
    return Failed("network", f"{requirement}: pip download: {why}", "check pip's configuration and the network")
