"""The choice of a bundle's packages: py-rattler's solver over the records of the channels, for one platform.

The solver does not see the records as they are. This module selects and changes them, so that an answer never depends on
unrelated packages of a channel:

- of each name, the builds of the first channel that has any (conda's strict channel priority);
- `python`, `python_abi` and `emscripten-abi` are the platform's own: no such package of a channel is chosen;
- dependencies that are no distributions (`__unix`, `nlohmann_json-abi`) are removed;
- a dependency that no channel has is removed and recorded: most pure Python packages are only on PyPI;
- with a Pyodide distribution, its packages are candidates beside those of the channels, and constraints select them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from packaging.utils import canonicalize_name

from conda2wheel.abi.platforms import Platform
from conda2wheel.bundle.event_loop import run_async
from conda2wheel.bundle.packages import INTERPRETER, AbsentDependency, ChosenPackage, ShippedPackage, SolvedBundle
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url, query_recursive
from conda2wheel.channels.search import unusable_of
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import is_marker, map_name
from conda2wheel.conda.parsing import (
    InvalidSpecError,
    channel_record,
    package_record,
    parse_match_spec,
    virtual_packages,
)
from conda2wheel.errors import Failed
from conda2wheel.net.urls import redacted

if TYPE_CHECKING:
    from rattler import MatchSpec, RepoDataRecord

SUBDIR: Literal["emscripten-wasm32"] = "emscripten-wasm32"
VIRTUAL = ("__unix", "__emscripten")  # the virtual packages of this platform in conda's clients
NO_CHANNEL = "https://pyodide.invalid/"  # the URL of candidates that are in no channel; nothing is downloaded from it


def solve(
    specs: Sequence[str],
    channels: Sequence[str],
    platform: Platform,
    downloads: Downloads,
    *,
    shipped_versions: Mapping[str, str] | None = None,
    constraints: Mapping[str, str] | None = None,
    local: Sequence[RepoDataRecord] = (),
) -> SolvedBundle:
    """Return the newest packages that satisfy all specs and work together.

    Args:
        specs: match specs. A spec may name its channel: `CHANNEL::NAME`.
        channels: names, URLs or folders; earlier ones take precedence.
        platform: a platform with a CPython.
        downloads: how the indexes of the channels are read.
        shipped_versions: the packages of the Pyodide distribution, version by normalised PyPI name. They are chosen instead of
            those of the channels.
        constraints: match specs that the chosen packages must satisfy, each with the reason to show where they cannot.
        local: records of packages on disk. Their names are taken from them alone.

    Raises:
        Failed: usage (a spec is not valid), not-found (no channel has a package), conflict (with the solver's reason), network.
    """
    parsed, own_channels = _parse_specs(specs)
    urls = list(dict.fromkeys(channel_url(name) for name in (*own_channels, *channels)))
    at_hand = {record.name.normalized for record in local}
    needed = [spec_name(str(spec)) for record in local for spec in record.depends]
    wanted = [str(spec) for spec in parsed if spec_name(str(spec)) not in at_hand]
    wanted += [name for name in dict.fromkeys(needed) if name and name not in at_hand and not name.startswith("__")]
    records = query_recursive(urls, wanted, downloads)
    candidates = _Candidates(platform, dict(shipped_versions or {}))
    candidates.add(
        [*(each for each in records if each.name.normalized not in at_hand), *local],
        urls,
        {spec_name(spec): channel_url(channel) for spec, channel in _spec_channels(specs).items()},
    )
    for spec in parsed:
        name = spec.name.normalized if spec.name is not None and hasattr(spec.name, "normalized") else str(spec.name)
        if name not in candidates.known:
            where = ", ".join(map(redacted, urls))
            where += unusable_of([name], urls, downloads)
            raise Failed("not-found", f"{spec}: no such package in {where}", "check its name, and --channel")
    if not parsed:
        return candidates.solved([], frozenset())
    solution = _run(candidates, [str(spec) for spec in parsed], {**(constraints or {}), **candidates.constraints})
    return candidates.solved(solution, frozenset(spec_name(str(spec)) for spec in parsed))


def _parse_specs(specs: Sequence[str]) -> tuple[list[MatchSpec], list[str]]:
    """Return the specs without their channels, and the channels that they name."""
    parsed: list[MatchSpec] = []
    for text in specs:
        try:
            spec = parse_match_spec(text.rpartition("::")[2])
        except InvalidSpecError as error:
            shown = text if len(text) <= 100 else f"{text[:100]}..."
            raise Failed(
                "usage", f"{shown!r} is no match spec: {error}", "write it like numpy, 'numpy=2.4' or 'numpy >=2,<3'"
            ) from None
        if spec.name is None:
            raise Failed("usage", f"{text!r} names no package", "write it like numpy or 'numpy=2.4'")
        parsed.append(spec)
    return parsed, [*_spec_channels(specs).values()]


def _spec_channels(specs: Iterable[str]) -> dict[str, str]:
    """Return the channel of each spec that names one."""
    return {spec: spec.rpartition("::")[0] for spec in specs if "::" in spec}


@dataclass
class _Candidates:
    """The records that the solver sees.

    Attributes:
        platform: the target platform.
        shipped_versions: the packages of the Pyodide distribution, version by normalised PyPI name.
        known: every name with a candidate, and the interpreter's packages.
        records: the candidates, by name.
        originals: the channel's record of each candidate, by URL.
        missing: for dependencies that no channel has: name, spec, and the URLs of the packages that depend on it.
        shipped: candidates of the Pyodide distribution, by conda name.
        constraints: match specs that select those, each with its reason.
    """

    platform: Platform
    shipped_versions: Mapping[str, str]
    known: set[str] = field(default_factory=set)
    records: dict[str, list[RepoDataRecord]] = field(default_factory=dict)
    originals: dict[str, RepoDataRecord] = field(default_factory=dict)
    missing: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    shipped: dict[str, ShippedPackage] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)

    def add(self, records: Iterable[RepoDataRecord], channels: Sequence[str], spec_channels: Mapping[str, str]) -> None:
        """Add the records of the channels: of each name those of the first channel that has it, or of the one in its spec.

        Args:
            records: records of all channels.
            channels: the URLs of the channels.
            spec_channels: the channels that specs name, by package name.
        """
        by_name: dict[str, dict[int, list[RepoDataRecord]]] = {}
        for record in records:
            rank = _rank(str(record.channel), channels)
            by_name.setdefault(record.name.normalized, {}).setdefault(rank, []).append(record)
        self.known = {*by_name, *INTERPRETER}
        for name, ranked in by_name.items():
            if name in INTERPRETER:
                continue
            rank = channels.index(spec_channels[name]) if name in spec_channels else min(ranked)
            if rank not in ranked:
                raise Failed("not-found", f"no {name} in {redacted(channels[rank])}", "check its name and channel")
            self.records[name] = [self._candidate(record) for record in ranked[rank]]
            self._add_shipped(name)
        for name, version, build in self._interpreter():
            self.records[name] = [_channelless(name, version, build)]

    def _interpreter(self) -> list[tuple[str, str, str]]:
        python = str(self.platform.python)
        build = f"0_cp{python.replace('.', '')}"
        return [
            ("python", self.platform.cpython or python, build),
            ("python_abi", python, build),
            ("emscripten-abi", self.platform.emscripten, "0"),
        ]

    def _add_shipped(self, name: str) -> None:
        """Add the package of that name in the Pyodide distribution, if there is one, and a constraint that selects it."""
        project = map_name(name).pypi
        pypi = None if project is None else str(canonicalize_name(project))
        if pypi is None or pypi not in self.shipped_versions:
            return
        shipped = ShippedPackage(name, pypi, self.shipped_versions[pypi])
        self.shipped[name] = shipped
        version = _conda_version(shipped.version)
        self.records[name].append(_channelless(name, version, "pyodide_0"))
        self.constraints[f"{name} =={version} pyodide_0"] = f"Pyodide ships {pypi} {shipped.version}"

    def _candidate(self, record: RepoDataRecord) -> RepoDataRecord:
        """Return a record with only those dependencies that have candidates; record the missing ones."""
        depends = []
        for spec in map(str, record.depends):
            name = spec_name(spec)
            if name in INTERPRETER or (name in self.known and not name.startswith("__")):
                depends.append(spec)
            elif name and not is_marker(name):
                self.missing.setdefault(name, {}).setdefault(spec, []).append(str(record.url))
        self.originals[str(record.url)] = record
        return _with_depends(record, depends)

    def solved(self, solution: Iterable[RepoDataRecord], requested: frozenset[str]) -> SolvedBundle:
        """Translate the solver's answer back into packages of the channels and of the Pyodide distribution."""
        chosen: list[ChosenPackage] = []
        shipped: list[ShippedPackage] = []
        for record in solution:
            url = str(record.url)
            if url in self.originals:
                chosen.append(ChosenPackage.from_record(self.originals[url]))
            elif (package := self.shipped.get(record.name.normalized)) is not None:
                shipped.append(package)
        stems = {each.url: each.stem for each in chosen}
        return SolvedBundle(
            tuple(sorted(chosen, key=lambda each: each.name)),
            tuple(sorted(shipped, key=lambda each: each.conda)),
            tuple(self._absent(stems)),
            requested,
        )

    def _absent(self, stems: Mapping[str, str]) -> Iterable[AbsentDependency]:
        """Return the missing dependencies of the chosen packages; `stems` are their NAME-VERSION-BUILD, by URL."""
        for name, specs in sorted(self.missing.items()):
            used = {spec: [stems[url] for url in urls if url in stems] for spec, urls in specs.items()}
            users = sorted({stem for found in used.values() for stem in found})
            if users:
                needed = tuple(sorted(spec for spec, found in used.items() if found))
                yield AbsentDependency(name, map_name(name).pypi, needed, tuple(users))


def _rank(channel: str, channels: Sequence[str]) -> int:
    """Return the position of a record's channel among `channels`; their number if it is none of them."""
    own = redacted(channel).rstrip("/")
    return next((rank for rank, url in enumerate(channels) if redacted(url).rstrip("/") == own), len(channels))


def _with_depends(record: RepoDataRecord, depends: list[str]) -> RepoDataRecord:
    """Return the fields of a record that the solver reads, with other dependencies."""
    package = package_record(
        record.name.normalized,
        str(record.version),
        str(record.build),
        record.build_number,
        str(record.subdir),
        noarch=record.noarch,
        depends=depends,
        constrains=list(map(str, record.constrains)),
    )
    return channel_record(package, record.file_name, str(record.url), str(record.channel or NO_CHANNEL))


def _channelless(name: str, version: str, build: str) -> RepoDataRecord:
    """Return a record of a package that is in no channel."""
    filename = f"{name}-{version}-{build}.conda"
    package = package_record(name, version, build, 0, SUBDIR)
    return channel_record(package, filename, f"{NO_CHANNEL}{SUBDIR}/{filename}", NO_CHANNEL)


def _conda_version(pep440: str) -> str:
    """Return a PEP 440 version as conda writes it: conda has no `-`; `+` begins a local version in both."""
    return pep440.replace("-", "_")


class _CandidateSource:
    """The candidates as py-rattler's `RepoDataSource`."""

    def __init__(self, candidates: Mapping[str, Sequence[RepoDataRecord]]) -> None:
        self._candidates = candidates

    async def fetch_package_records(self, platform: Any, name: Any) -> list[RepoDataRecord]:
        """Return the candidates of a name in a subdir."""
        return [record for record in self._candidates.get(name.normalized, ()) if str(record.subdir) == str(platform)]

    def package_names(self, platform: Any) -> list[str]:
        """Return the names that have candidates in a subdir."""
        return sorted(
            name for name, records in self._candidates.items() if any(str(each.subdir) == str(platform) for each in records)
        )


def _run(candidates: _Candidates, specs: Sequence[str], constraints: Mapping[str, str]) -> list[RepoDataRecord]:
    from rattler import ChannelPriority, Gateway
    from rattler import solve as rattler_solve
    from rattler.exceptions import SolverError

    limits = {spec: parse_match_spec(spec) for spec in constraints}

    async def solve_async() -> list[RepoDataRecord]:
        return await rattler_solve(
            [_CandidateSource(candidates.records)],
            [parse_match_spec(spec) for spec in specs],
            gateway=Gateway(),
            platforms=[SUBDIR, "noarch"],
            virtual_packages=virtual_packages(VIRTUAL),
            constraints=list(limits.values()),
            channel_priority=ChannelPriority.Disabled,  # all candidates of one name are of one channel already
        )

    try:
        return run_async(solve_async())
    except SolverError as error:
        hint = "loosen a spec, or add a --channel that has what fits"
        if candidates.shipped:
            hint = "loosen a spec, or leave out --with-pyodide to use packages of the channels instead of Pyodide's"
        why = explain_conflict(str(error), {str(limits[spec]): reason for spec, reason in constraints.items()})
        raise Failed("conflict", f"{', '.join(specs)} cannot be installed together: {why}", hint) from None


def explain_conflict(tree: str, constraints: Mapping[str, str] | None = None) -> str:
    """Return the solver's tree of reasons as one line.

    Args:
        tree: the message of the solver.
        constraints: the reasons of constraints, by match spec.

    >>> explain_conflict('''Cannot solve the request because of: The following packages are incompatible
    ... └─ numba ==0.67 can be installed with any of the following options:
    ...    └─ numba 0.67 would require
    ...       └─ numpy 2.4.*, for which no candidates were found.
    ... ''')
    'numba ==0.67 needs numba 0.67, which needs numpy 2.4.*, for which no candidates were found'
    """
    lines = [line.strip(" │├└─") for line in tree.partition(": ")[2].splitlines()]
    text = ""
    for line in lines:
        if not line or line == "The following packages are incompatible":
            continue
        clause = line.removesuffix(".")
        if found := re.fullmatch(r"the constraint (.+) cannot be fulfilled", clause):
            clause = f"but {(constraints or {}).get(found[1], clause)}"
        clause = clause.replace(" can be installed with any of the following options:", " needs")
        clause = clause.replace(" which can be installed with any of the following options:", " which is")
        clause = clause.replace(" would require", ", which needs")
        clause = clause.replace("cannot be installed because there are no viable options:", "cannot be installed:")
        separator = " " if text.endswith((" needs", ":", " is", ",")) or not text else "; "
        text += separator + clause
    return text.strip()
