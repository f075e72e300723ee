"""Wheels of PyPI for requirements that no channel satisfies; the cache and `bundle.lock` name them by sha256.

The indexes, their logins and certificates are those of the settings of pip and uv; neither needs to be installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from conda2wheel.channels.downloads import Downloads
from conda2wheel.errors import Failed
from conda2wheel.files.pypa import parse_specifiers
from conda2wheel.net.registry_settings import package_indexes
from conda2wheel.net.simple_index import PackageIndexClient, ProjectFile
from conda2wheel.pyodide.wheelfile import open_wheel, requirements_of

MAX_BYTES = 1 << 30  # of one wheel


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
            Failed: not-found (no index has such a wheel), network, disk.
        """
        parsed = Requirement(requirement)
        pinned = any(each.operator in ("==", "===") and "*" not in each.version for each in parsed.specifier)
        with self._client(requirement) as client:
            candidates = [
                each for each in self._candidates(client.files(canonicalize_name(parsed.name))) if pinned or not each.file.yanked
            ]
            admitted = set(parsed.specifier.filter({each.version for each in candidates}))
            fitting = [each for each in candidates if each.version in admitted]
            if not fitting:
                raise Failed(
                    "not-found",
                    f"{requirement}: PyPI has no wheel that fits",
                    "add a --channel that has it, --with-pyodide if Pyodide ships it, or a recipe that drops it",
                )
            chosen = min(fitting, key=lambda each: (-sorted(admitted).index(each.version), each.rank))
            return self._identified(client.download(chosen.file, folder, MAX_BYTES))

    def exact(self, wheel: PyPIWheel, folder: Path) -> Path:
        """Download the wheel that a lock names, or copy it from the cache, to `folder`. Raises as `newest`."""
        if (cached := self.downloads.cached(wheel.sha256)) is not None:
            path = folder / wheel.filename
            path.write_bytes(cached.read_bytes())
            return path
        pin = f"{wheel.name}=={wheel.version}"
        with self._client(pin) as client:
            files = [each for each in client.files(canonicalize_name(wheel.name)) if each.filename == wheel.filename]
            file = next((each for each in files if each.sha256 in (None, wheel.sha256)), None)
            if file is None:
                why = "has another sha256 there" if files else "is in no index"
                raise Failed("not-found", f"{pin}: {wheel.filename} {why}", "make the bundle anew, without --locked")
            path = client.download(replace(file, sha256=wheel.sha256), folder, MAX_BYTES)
        self._identified(path)
        return path

    def _client(self, requirement: str) -> PackageIndexClient:
        if self.downloads.offline:
            raise Failed(
                "network", f"{requirement}: not in the cache, and --offline allows no download", "run it once without --offline"
            )
        return PackageIndexClient(package_indexes())

    def _candidates(self, files: Iterable[ProjectFile]) -> Iterator[_FittingWheel]:
        """Yield the wheels that fit this Python and these platforms."""
        ranks = {tag: rank for rank, tag in enumerate(self._tags())}
        for each in files:
            try:
                _, version, _, tags = parse_wheel_filename(each.filename)
            except (InvalidWheelFilename, InvalidVersion):
                continue
            rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
            if rank is not None and _allows(each.requires_python, self.python):
                yield _FittingWheel(version, rank, each)

    def _tags(self) -> Iterator[Tag]:
        """Yield the tags that a wheel may have, the best first."""
        major, minor = map(int, self.python.split("."))
        interpreter, platforms = f"cp{major}{minor}", [*self.tags, "any"]
        yield from cpython_tags((major, minor), [interpreter, "abi3", "none"], platforms)
        yield from compatible_tags((major, minor), interpreter, platforms)

    def _identified(self, path: Path) -> tuple[PyPIWheel, Path, tuple[str, ...]]:
        """Read a downloaded wheel, and add it to the cache."""
        wheel = open_wheel(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.downloads.add(path, digest)
        return PyPIWheel(str(wheel.name), str(wheel.version), path.name, digest), path, requirements_of(wheel).requires


@dataclass(frozen=True)
class _FittingWheel:
    """A wheel that fits, and the place of its best tag."""

    version: Version
    rank: int
    file: ProjectFile


def _allows(requires_python: str | None, python: str) -> bool:
    bounds = parse_specifiers(requires_python) if requires_python else None
    return bounds is None or bounds.contains(python, prereleases=True)  # pip ignores an invalid one, too
