"""What a Pyodide says of itself: `pyodide-lock.json` (`repodata.json` before 0.24) of its npm package.

Python version, platform and with them the markers and tags that hold there; and the packages that Pyodide has, with
the digests that it expects of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name

from conda2wheel.abi import platforms
from conda2wheel.errors import Failed

LOCK_NAMES = ("pyodide-lock.json", "repodata.json")
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})+([a-z]+[0-9]{0,4})?(\.dev[0-9]{0,4})?")


@dataclass(frozen=True)
class LockedPackage:
    """A package of the lock file, under its canonical name."""

    name: str
    version: str
    file_name: str
    sha256: str
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """A Pyodide on disk. `python` is as `3.13.2`, `emscripten` as `4.0.9`, `abi` as `2025_0` (None before 0.26)."""

    version: str
    folder: Path
    python: str
    emscripten: str
    abi: str | None
    packages: Mapping[str, LockedPackage]

    @property
    def python_version(self) -> str:
        """`3.13`."""
        return ".".join(self.python.split(".")[:2])

    @property
    def platform(self) -> str:
        """The name of its row in the table, or what its lock file says: `pyemscripten_2025_0`, `emscripten_3_1_45`."""
        row = platforms.for_pyodide(self.version)
        return row.name if row else self._platform_tags[0].removesuffix(f"_{platforms.ARCH}")

    @property
    def _platform_tags(self) -> tuple[str, ...]:
        names = [f"pyemscripten_{self.abi}", f"pyodide_{self.abi}"] if self.abi else []
        names.append("emscripten_" + self.emscripten.replace(".", "_"))
        return tuple(f"{name}_{platforms.ARCH}" for name in names)

    @cached_property
    def tags(self) -> Mapping[Tag, int]:
        """The tags that fit, with their rank: 0 is best. Equal ABIs only: 2025_0 does not run on 2026_0 (PEP 783)."""
        python = tuple(int(part) for part in self.python_version.split("."))
        interpreter = "cp" + "".join(str(part) for part in python)
        native = cpython_tags(python, abis=[interpreter], platforms=self._platform_tags)
        pure = compatible_tags(python, interpreter=interpreter, platforms=self._platform_tags)
        return {tag: rank for rank, tag in enumerate([*native, *pure])}

    @cached_property
    def markers(self) -> Mapping[str, str]:
        """The environment that PEP 508 markers see in this Pyodide; every key, so that none of the running Python is used."""
        return platforms.marker_environment(self.python, self.emscripten)

    def closure(self, names: Sequence[str]) -> tuple[LockedPackage, ...]:
        """These packages and what they depend on, in the lock file's own terms."""
        found: dict[str, LockedPackage] = {}
        queue = [canonicalize_name(name) for name in names]
        while queue:
            name = queue.pop(0)
            if name in self.packages and name not in found:
                found[name] = self.packages[name]
                queue += [canonicalize_name(other) for other in found[name].depends]
        return tuple(found.values())


def runtime_of_platform(row: platforms.Platform, version: str | None = None) -> Runtime:
    """A Pyodide of a platform, the newest by default, as the table knows it without its npm package: markers, tags, no packages.

    Raises ValueError for a platform that no Pyodide has.
    """
    if not row.pyodide or row.cpython is None:
        raise ValueError(f"no Pyodide has the platform {row.name}")
    abi = row.name.removeprefix("pyemscripten_") if row.on_pypi else None
    return Runtime(version or row.pyodide[-1][0], Path(os.devnull), row.cpython, row.emscripten, abi, {})


def read_lock(folder: Path) -> dict[str, Any]:
    """Read the lock file of an unpacked npm package: its `info`, and the row of each package under `packages`.

    Raises:
        Failed: unreadable.
    """
    file = lock_path(folder)
    try:
        lock = json.loads(file.read_text(encoding="utf-8"))
        lock["info"] = dict(lock["info"])
        for row in lock["packages"].values():
            for key in ("version", "file_name", "sha256"):
                _text(row[key])
            for name in row["depends"]:
                _text(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Failed("unreadable", f"{file} is not what Pyodide's lock files are: {error!r}", f"remove {folder}") from error
    found: dict[str, Any] = lock
    return found


def lock_path(folder: Path) -> Path:
    """The lock file of an unpacked npm package, by the name that it has in this Pyodide."""
    return next((folder / name for name in LOCK_NAMES if (folder / name).is_file()), folder / LOCK_NAMES[0])


def read_runtime(version: str, folder: Path) -> Runtime:
    """Read what the lock file of an unpacked npm package says of a Pyodide. Raises `Failed("unreadable")`."""
    lock = read_lock(folder)
    try:
        info = lock["info"]
        packages: dict[str, LockedPackage] = {
            canonicalize_name(row.get("name", key)): LockedPackage(
                name=canonicalize_name(row.get("name", key)),
                version=row["version"],
                file_name=row["file_name"],
                sha256=row["sha256"],
                depends=tuple(row["depends"]),
            )
            for key, row in lock["packages"].items()
        }
        return Runtime(
            version=version,
            folder=folder,
            python=_version(info["python"]),
            emscripten=_version(info["platform"].removeprefix("emscripten_").replace("_", ".")),
            abi=None if info.get("abi_version") is None else _text(info["abi_version"]),
            packages=packages,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{lock_path(folder)} is not what Pyodide's lock files are: {error!r}"
        raise Failed("unreadable", why, f"remove {folder}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError(f"{value!r} is no version")
    return value
