"""`pyodide-lock.json` for wheels: what `loadPackage` reads, alone or merged with what a Pyodide has itself.

Measured in the npm packages of 0.26.4, 0.27.7, 0.28.3, 0.29.5 and 314.0.7, and by running them (table: docs/how-to/serve.md):
the version (before 0.28) or the ABI (since) must be the runtime's own; `depends` alone decides what is loaded and what waits
for what, without any version, extra or marker, and a circle in it never ends; nothing looks at tags. All of that is decided here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from conda2wheel.abi import platforms
from conda2wheel.files.pypa import parse_requirement
from conda2wheel.index.requirements import acyclic
from conda2wheel.pyodide.lock import Runtime, read_lock
from conda2wheel.pyodide.programs import is_of_programs
from conda2wheel.pyodide.requirements import fits_python, holds
from conda2wheel.pyodide.wheelfile import modules, open_wheel, requirements_of

TESTS = "-tests"  # what Pyodide calls the tests that it took out of a package of its own


@dataclass(frozen=True)
class LockEntry:
    """A wheel to lock.

    Attributes:
        url: absolute, or relative to the lock file.
        requires: its Requires-Dist lines.
        imports: the modules for which `loadPackagesFromImports` loads it.
        is_library: whether it is a library wheel, which other wheels require in exactly one version.
        only_programs: whether it has programs alone, which run outside of Pyodide.
    """

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    requires_python: str | None = None
    is_library: bool = False
    size: int | None = None
    only_programs: bool = False

    @classmethod
    def of_file(cls, wheel: Path, url: str, sha256: str, python: str) -> LockEntry:
        """A wheel on disk, for a Python (`3.13`). Raises `Failed` and `Refused` as `open_wheel` does."""
        opened = open_wheel(wheel)
        wanted = requirements_of(opened)
        return cls(
            opened.name,
            str(opened.version),
            wheel.name,
            url,
            sha256,
            wanted.requires,
            modules(opened, python),
            wanted.python,
            size=wheel.stat().st_size,
            only_programs=is_of_programs(wheel),
        )

    @property
    def project(self) -> str:
        """The normalised name, which is the key in a lock file."""
        return canonicalize_name(self.name)


@dataclass(frozen=True)
class MissingRequirement:
    """A requirement that nothing in the lock file satisfies, and the project that has it.

    `there` is the version of the required project that the lock file has; None if it has none.
    """

    project: str
    requirement: str
    there: str | None = None

    def __str__(self) -> str:
        return f"{self.project} requires {self.requirement}" + (f", {self.there} is there" if self.there else "")


@dataclass(frozen=True)
class ReplacedPackage:
    """A package of Pyodide that a converted wheel replaces, and Pyodide's packages that depend on it.

    Pyodide does not compare versions when it loads packages: only a test shows whether `dependents` work with the new version.
    """

    project: str
    ours: str
    pyodides: str
    dependents: tuple[str, ...]

    def __str__(self) -> str:
        because = f"; {', '.join(self.dependents)} of Pyodide's own were built with the latter" if self.dependents else ""
        return f"{self.project} {self.ours} replaces Pyodide's {self.pyodides}{because}"


@dataclass(frozen=True)
class PyodideLock:
    """A lock file, and what a report says about it.

    `left_out` has, by file name, why a wheel is not in it. `cut` has the pairs (who, what) that are not in `depends`, since they
    closed a circle. `shipped` are Pyodide's own packages that the wheels require.
    """

    data: bytes
    entries: tuple[LockEntry, ...]
    left_out: Mapping[str, str]
    missing: tuple[MissingRequirement, ...]
    replaced: tuple[ReplacedPackage, ...] = ()
    cut: tuple[tuple[str, str], ...] = ()
    shipped: frozenset[str] = frozenset()


def standalone_lock(entries: Iterable[LockEntry], runtime: Runtime) -> PyodideLock:
    """A lock file with only these wheels, for `lockFileURL`; requirements that Pyodide's packages satisfy are missing.

    Of several wheels of a project the newest that fits is taken; of equal versions the one with the better tag.
    """
    chosen, left_out = choose_wheels(entries, runtime)
    depends, missing = _Needs(chosen, {}, runtime).all()
    opened, cut = acyclic(depends)
    return PyodideLock(_json(_info(runtime), _rows(chosen, opened, runtime)), tuple(chosen.values()), left_out, missing, (), cut)


def merged_lock(entries: Iterable[LockEntry], runtime: Runtime, own: str | None = None) -> PyodideLock:
    """The lock file of a Pyodide with these wheels in it, which come before Pyodide's own of the same name.

    `own` is the URL of the folder that has Pyodide's own packages; None leaves their file names as they are, relative to where
    wheels are looked for. Raises `Failed("unreadable")` where the runtime's lock file cannot be read.
    """
    lock = read_lock(runtime.folder)
    chosen, left_out = choose_wheels(entries, runtime)
    pyodide_packages = {
        key: row
        for key, row in lock["packages"].items()
        if key not in chosen and not (key.endswith(TESTS) and key.removesuffix(TESTS) in chosen)
    }
    if own is not None:
        base = own.rstrip("/")
        pyodide_packages = {key: {**row, "file_name": f"{base}/{row['file_name']}"} for key, row in pyodide_packages.items()}
    depends, missing = _Needs(chosen, {key: str(row["version"]) for key, row in pyodide_packages.items()}, runtime).all()
    graph = {key: {canonicalize_name(name) for name in row["depends"]} for key, row in pyodide_packages.items()} | depends
    opened, cut = acyclic(graph)
    pyodide_packages = {
        key: row if opened[key] == graph[key] else {**row, "depends": sorted(opened[key])}
        for key, row in pyodide_packages.items()
    }
    rows = {
        **pyodide_packages,
        **_rows(chosen, opened, runtime),
    }  # of packages with the same module Pyodide loads the last: the new one
    data = _json(lock["info"], rows, {key: lock[key] for key in lock if key not in ("info", "packages")})
    used = frozenset(name for project in chosen for name in depends[project] if name not in chosen)
    return PyodideLock(data, tuple(chosen.values()), left_out, missing, _replaced(chosen, lock["packages"]), cut, used)


def choose_wheels(entries: Iterable[LockEntry], runtime: Runtime) -> tuple[dict[str, LockEntry], dict[str, str]]:
    """The newest wheel of each project that this Pyodide takes, by project, sorted; and why not, by file name, for all others.

    Final releases come before others, as PEP 440 has it. Of a library wheel the version is taken that most of the chosen wheels
    require. Wheels that require another are left out, or an older one is in their place that agrees.

    Raises ValueError for a file name that is no wheel's.
    """
    ranked: dict[str, list[tuple[Any, ...]]] = {}
    left_out: dict[str, str] = {}
    for entry in entries:
        tags = parse_wheel_filename(entry.filename)[3]
        rank = min((runtime.tags[tag] for tag in tags if tag in runtime.tags), default=None)
        if rank is None:
            left_out[entry.filename] = f"its tags do not fit Pyodide {runtime.version}"
        elif entry.only_programs:
            left_out[entry.filename] = "it has programs alone, which run outside of Pyodide"
        elif not fits_python(entry.requires_python, runtime.python):
            left_out[entry.filename] = f"Requires-Python {entry.requires_python} does not admit {runtime.python}"
        else:
            version = Version(entry.version)
            ranked.setdefault(entry.project, []).append((not version.is_prerelease, version, -rank, entry.filename, entry))
    in_order = {
        project: [each[-1] for each in sorted(found, key=lambda each: each[:4], reverse=True)]
        for project, found in sorted(ranked.items())
    }
    chosen = _with_their_libraries(in_order)
    for project, candidates in in_order.items():
        best = chosen.get(project)
        why = "no library wheel here is the one that it requires" if best is None else f"{best.filename} is in its place"
        left_out |= {each.filename: why for each in candidates if each is not best}
    return chosen, left_out


def _with_their_libraries(candidates: Mapping[str, list[LockEntry]]) -> dict[str, LockEntry]:
    """The first candidate of each project; of library wheels the version that most of them require, and what agrees with it."""
    libraries = [project for project, found in candidates.items() if found[0].is_library]
    votes: Counter[tuple[str, str]] = Counter()  # the number of wheels that require a version, directly or not

    def vote(entry: LockEntry, weight: int = 1) -> None:
        for name in libraries:
            if (version := _exact(entry, name)) is not None:
                votes[name, version] += weight

    for project, found in candidates.items():
        if project not in libraries:
            vote(found[0])
    chosen: dict[str, LockEntry] = {}
    while left := [project for project in libraries if project not in chosen]:
        required = {name for name in left for project in left if any(_exact(each, name) for each in candidates[project])}
        # A library wheel that no other undecided one requires is decided first: it says which of the others it requires.
        for project in [each for each in left if each not in required] or left:
            most = max(votes[project, each.version] for each in candidates[project])
            chosen[project] = next(each for each in candidates[project] if votes[project, each.version] == most)
            vote(chosen[project], most)

    def agrees(entry: LockEntry) -> bool:
        return all(_exact(entry, name) in (None, chosen[name].version if name in chosen else "") for name in libraries)

    while broken := [project for project, entry in chosen.items() if not agrees(entry)]:
        for project in broken:
            del chosen[project]
    for project, found in candidates.items():
        best = next(filter(agrees, found), None) if project not in libraries else None
        if best is not None:
            chosen[project] = best
    return {project: chosen[project] for project in candidates if project in chosen}


def _exact(entry: LockEntry, library: str) -> str | None:
    """The version of a library wheel that a wheel requires; None if it requires none."""
    found = (line.partition("==")[2] for line in entry.requires if line.partition("==")[0] == library)
    return next(found, None)


@dataclass
class _Needs:
    """What the chosen wheels require, found among themselves and among Pyodide's own packages (by key: the version)."""

    chosen: Mapping[str, LockEntry]
    pyodide_packages: Mapping[str, str]
    runtime: Runtime

    def all(self) -> tuple[dict[str, set[str]], tuple[MissingRequirement, ...]]:
        """What each depends on, by project, and what nothing satisfies, sorted by who requires it."""
        depends: dict[str, set[str]] = {}
        missing: dict[MissingRequirement, None] = {}
        for project in self.chosen:
            depends[project] = set()
            self._gather(project, frozenset(), depends[project], missing, set())
            depends[project].discard(project)
        return depends, tuple(missing)

    def _gather(
        self,
        project: str,
        extras: frozenset[str],
        found: set[str],
        missing: dict[MissingRequirement, None],
        seen: set[tuple[str, frozenset[str]]],
    ) -> None:
        """Collect the requirements of a project under these extras.

        What an extra of another project requires is a dependency of this one: no lock file knows extras.
        """
        if (project, extras) in seen:
            return
        seen.add((project, extras))
        for line in self.chosen[project].requires:
            requirement = parse_requirement(line)
            if requirement is None:
                missing[MissingRequirement(project, line)] = None
                continue
            if not holds(requirement, extras, self.runtime):
                continue
            name = canonicalize_name(requirement.name)
            there = self.chosen[name].version if name in self.chosen else self.pyodide_packages.get(name)
            if there is None or not _contains(requirement.specifier, there):
                missing[MissingRequirement(project, str(requirement), there)] = None
                continue
            found.add(name)
            if requirement.extras and name in self.chosen:
                self._gather(name, frozenset(canonicalize_name(extra) for extra in requirement.extras), found, missing, seen)


def _contains(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(version, prereleases=True)
    except InvalidVersion:  # Pyodide's shared libraries have versions such as 1.1.1w
        return not str(specifier)


def _rows(chosen: Mapping[str, LockEntry], depends: Mapping[str, Collection[str]], runtime: Runtime) -> dict[str, dict[str, Any]]:
    row = platforms.for_pyodide(runtime.version)
    # That loader looks for libraries in `file_name` up to the first "-", with ".libs": a path before it would be in the way.
    bare = row is not None and row.libs_folder
    return {
        key: {
            "name": entry.name,
            "version": entry.version,
            "file_name": entry.filename if bare else entry.url,
            "install_dir": "site",
            "sha256": entry.sha256,
            "package_type": "package",
            "imports": sorted(entry.imports),
            "depends": sorted(depends[key]),
            "unvendored_tests": False,
        }
        for key, entry in chosen.items()
    }


def _replaced(chosen: Mapping[str, LockEntry], packages: Mapping[str, Any]) -> tuple[ReplacedPackage, ...]:
    users: dict[str, list[str]] = {}
    for key, row in packages.items():
        if key not in chosen and not key.endswith(TESTS):
            for name in row["depends"]:
                users.setdefault(canonicalize_name(name), []).append(key)
    return tuple(
        ReplacedPackage(name, entry.version, str(packages[name]["version"]), tuple(sorted(users.get(name, ()))))
        for name, entry in chosen.items()
        if name in packages and packages[name]["sha256"] != entry.sha256
    )


def _info(runtime: Runtime) -> dict[str, Any]:
    """Pyodide before 0.28 compares `version`, later ones `abi_version`."""
    info: dict[str, Any] = {
        "arch": platforms.ARCH,
        "platform": "emscripten_" + runtime.emscripten.replace(".", "_"),
        "python": runtime.python,
        "version": runtime.version,
    }
    return info if runtime.abi is None else {"abi_version": runtime.abi, **info}


def _json(info: Mapping[str, Any], rows: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
    return (json.dumps({"info": info, "packages": rows, **(more or {})}, indent=1) + "\n").encode()
