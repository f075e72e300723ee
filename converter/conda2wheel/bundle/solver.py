"""Choose the packages of a set: py-rattler's solver over what the channels have, for one platform.

What the solver sees is made here, so that an answer never depends on what else a channel happens to hold:

- of each name, the builds of the first channel that has any (conda's strict channel priority);
- the interpreter and the ABI are the platform's own (`python`, `python_abi`, `emscripten-abi`): no such package is chosen;
- dependencies that say nothing about distributions (`__unix`, `nlohmann_json-abi`) are left out;
- a dependency that no channel has is left out and told: most pure Python packages are on PyPI alone;
- with a Pyodide, its own packages are candidates beside the channels', and constraints make them the ones that are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from packaging.utils import canonicalize_name

from conda2wheel.abi.platforms import Platform
from conda2wheel.bundle.chosen import INTERPRETER, Absent, Chosen, Shipped, Solved, chosen_of
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url, query_recursive, run
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import answer, is_marker
from conda2wheel.errors import Failed
from conda2wheel.net.download import redacted

if TYPE_CHECKING:
    from rattler import MatchSpec, RepoDataRecord

SUBDIR: Literal["emscripten-wasm32"] = "emscripten-wasm32"
VIRTUAL = ("__unix", "__emscripten")  # what conda's clients say of this system
OWN = "https://pyodide.invalid/"  # the address of candidates that are in no channel; nothing is ever asked of it


def solve(
    specs: Sequence[str],
    channels: Sequence[str],
    platform: Platform,
    downloads: Downloads,
    *,
    ships: Mapping[str, str] | None = None,
    constraints: Mapping[str, str] | None = None,
) -> Solved:
    """The newest set that has all of `specs` and works together on a platform that has a CPython.

    channels: names, URLs or folders, the preferred one first. A spec may name its own (`CHANNEL::NAME`).
    ships: what a Pyodide brings itself, version by normalised PyPI name; these are taken instead of the channels'.
    constraints: match specs that what is chosen must satisfy, without being asked for, each with the reason that a person reads.

    Raises `Failed`: usage (a spec that is none), not-found (no channel has a package),
    conflict (with the solver's reason), network.
    """
    asked, own = _parsed(specs)
    addresses = list(dict.fromkeys(channel_url(name) for name in (*own, *channels)))
    records = query_recursive(addresses, [str(spec) for spec in asked], downloads)
    view = _View(platform, dict(ships or {}))
    view.add(records, addresses, {spec_name(spec): channel_url(channel) for spec, channel in _pinned(specs).items()})
    for spec in asked:
        name = spec.name.normalized if spec.name is not None and hasattr(spec.name, "normalized") else str(spec.name)
        if name not in view.known:
            where = ", ".join(map(redacted, addresses))
            raise Failed("not-found", f"{spec}: no such package in {where}", "check its name, and --channel")
    solution = _run(view, [str(spec) for spec in asked], {**(constraints or {}), **view.constraints})
    return view.read(solution, frozenset(spec_name(str(spec)) for spec in asked))


def _parsed(specs: Sequence[str]) -> tuple[list[MatchSpec], list[str]]:
    """The specs without their channels, and the channels that they name."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    parsed: list[MatchSpec] = []
    for text in specs:
        try:
            spec = MatchSpec(text.rpartition("::")[2], strict=False)
        except (InvalidMatchSpecError, ValueError, TypeError) as error:
            why = str(error).splitlines()[0]
            raise Failed(
                "usage", f"{text!r} is no match spec: {why}", "write it like numpy, 'numpy=2.4' or 'numpy >=2,<3'"
            ) from None
        if spec.name is None:
            raise Failed("usage", f"{text!r} names no package", "write it like numpy or 'numpy=2.4'")
        parsed.append(spec)
    return parsed, [*_pinned(specs).values()]


def _pinned(specs: Iterable[str]) -> dict[str, str]:
    """The channel of each spec that names one."""
    return {spec: spec.rpartition("::")[0] for spec in specs if "::" in spec}


@dataclass
class _View:
    """What the solver sees of the channels. `known` are all names with a candidate; `original` leads from what it sees back to
    the channel's record."""

    platform: Platform
    ships: Mapping[str, str]
    known: set[str] = field(default_factory=set)
    candidates: dict[str, list[RepoDataRecord]] = field(default_factory=dict)
    original: dict[str, RepoDataRecord] = field(default_factory=dict)
    missing: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # name -> spec -> URLs of who has it
    shipped: dict[str, Shipped] = field(default_factory=dict)  # by conda name
    constraints: dict[str, str] = field(default_factory=dict)

    def add(self, records: Iterable[RepoDataRecord], addresses: Sequence[str], pinned: Mapping[str, str]) -> None:
        """Take the channels' records, of each name those of the first channel that has it, or of the one that a spec names."""
        offers: dict[str, dict[int, list[RepoDataRecord]]] = {}
        for record in records:
            rank = _rank(str(record.channel), addresses)
            offers.setdefault(record.name.normalized, {}).setdefault(rank, []).append(record)
        self.known = {*offers, *INTERPRETER}
        for name, ranked in offers.items():
            if name in INTERPRETER:
                continue
            wanted = addresses.index(pinned[name]) if name in pinned else min(ranked)
            if wanted not in ranked:
                raise Failed("not-found", f"no {name} in {redacted(addresses[wanted])}", "check its name and channel")
            self.candidates[name] = [self._seen(record) for record in ranked[wanted]]
            self._offer_shipped(name)
        for name, version, build in self._interpreter():
            self.candidates[name] = [_own(name, version, build)]

    def _interpreter(self) -> list[tuple[str, str, str]]:
        python = str(self.platform.python)
        mark = f"0_cp{python.replace('.', '')}"
        return [
            ("python", self.platform.cpython or python, mark),
            ("python_abi", python, mark),
            ("emscripten-abi", self.platform.emscripten, "0"),
        ]

    def _offer_shipped(self, name: str) -> None:
        """Pyodide's own package of that name beside the channels', and a constraint that takes it."""
        told = answer(name).pypi
        pypi = None if told is None else str(canonicalize_name(told))
        if pypi is None or pypi not in self.ships:
            return
        self.shipped[name] = Shipped(name, pypi, self.ships[pypi])
        version = _conda_version(self.ships[pypi])
        self.candidates[name].append(_own(name, version, "pyodide_0"))
        self.constraints[f"{name} =={version} pyodide_0"] = f"Pyodide ships {pypi} {self.ships[pypi]}"

    def _seen(self, record: RepoDataRecord) -> RepoDataRecord:
        """A record with those dependencies that somebody can satisfy."""
        kept = []
        for spec in map(str, record.depends):
            name = spec_name(spec)
            if name in INTERPRETER or (name in self.known and not name.startswith("__")):
                kept.append(spec)
            elif name and not is_marker(name):
                self.missing.setdefault(name, {}).setdefault(spec, []).append(str(record.url))
        self.original[str(record.url)] = record
        return _bare(record, kept)

    def read(self, solution: Iterable[RepoDataRecord], asked: frozenset[str]) -> Solved:
        """What the solver chose, in the channels' own records."""
        chosen: list[Chosen] = []
        shipped: list[Shipped] = []
        for record in solution:
            url = str(record.url)
            if url in self.original:
                chosen.append(chosen_of(self.original[url]))
            elif (own := self.shipped.get(record.name.normalized)) is not None:
                shipped.append(own)
        stems = {each.url: each.stem for each in chosen}
        return Solved(
            tuple(sorted(chosen, key=lambda each: each.name)),
            tuple(sorted(shipped, key=lambda each: each.conda)),
            tuple(self._absent(stems)),
            asked,
        )

    def _absent(self, stems: Mapping[str, str]) -> Iterable[Absent]:
        for name, specs in sorted(self.missing.items()):
            used = {spec: [stems[url] for url in urls if url in stems] for spec, urls in specs.items()}
            users = sorted({stem for found in used.values() for stem in found})
            if users:
                yield Absent(name, answer(name).pypi, tuple(sorted(spec for spec, found in used.items() if found)), tuple(users))


def _rank(channel: str, addresses: Sequence[str]) -> int:
    """Which of the channels a record is from: the longest address that its own begins with."""
    fitting = [at for at, address in enumerate(addresses) if _same(channel, address)]
    return fitting[0] if fitting else len(addresses)


def _same(channel: str, address: str) -> bool:
    return redacted(channel).rstrip("/") == redacted(address).rstrip("/")


def _bare(record: RepoDataRecord, depends: list[str]) -> RepoDataRecord:
    """What a solver needs of a record, with other dependencies."""
    from rattler import BuildString, PackageRecord, RepoDataRecord

    seen = PackageRecord(
        record.name.normalized,
        str(record.version),
        BuildString(str(record.build)),
        record.build_number,
        str(record.subdir),
        noarch=record.noarch,
        depends=depends,
        constrains=list(map(str, record.constrains)),
    )
    return RepoDataRecord(seen, record.file_name, str(record.url), str(record.channel or OWN))


def _own(name: str, version: str, build: str) -> RepoDataRecord:
    """A candidate that is in no channel."""
    from rattler import BuildString, PackageRecord, RepoDataRecord

    seen = PackageRecord(name, version, BuildString(build), 0, SUBDIR)
    file = f"{name}-{version}-{build}.conda"
    return RepoDataRecord(seen, file, f"{OWN}{SUBDIR}/{file}", OWN)


def _conda_version(pep440: str) -> str:
    """A PEP 440 version as conda writes it: `+` begins a local version in both, `-` is none in conda."""
    return pep440.replace("-", "_")


class _Source:
    """The view, as py-rattler's `RepoDataSource`."""

    def __init__(self, candidates: Mapping[str, Sequence[RepoDataRecord]]) -> None:
        self.candidates = candidates

    async def fetch_package_records(self, platform: Any, name: Any) -> list[RepoDataRecord]:
        """The candidates of a name in a subdir."""
        return [record for record in self.candidates.get(name.normalized, ()) if str(record.subdir) == str(platform)]

    def package_names(self, platform: Any) -> list[str]:
        """Every name with a candidate in a subdir."""
        return sorted(
            name for name, records in self.candidates.items() if any(str(each.subdir) == str(platform) for each in records)
        )


def _run(view: _View, specs: Sequence[str], constraints: Mapping[str, str]) -> list[RepoDataRecord]:
    from rattler import BuildString, ChannelPriority, Gateway, GenericVirtualPackage, MatchSpec, PackageName, Version
    from rattler import solve as rattler_solve
    from rattler.exceptions import SolverError

    bounds = {spec: MatchSpec(spec, strict=False) for spec in constraints}
    virtual = [GenericVirtualPackage(PackageName(name), Version("0"), BuildString("0")) for name in VIRTUAL]

    async def work() -> list[RepoDataRecord]:
        return await rattler_solve(
            [_Source(view.candidates)],
            [MatchSpec(spec, strict=False) for spec in specs],
            gateway=Gateway(),
            platforms=[SUBDIR, "noarch"],
            virtual_packages=virtual,
            constraints=list(bounds.values()),
            channel_priority=ChannelPriority.Disabled,  # the view has it: what it shows of one name is all of one channel
        )

    try:
        return run(work())
    except SolverError as error:
        hint = "loosen a spec, or add a --channel that has what fits"
        if view.shipped:
            hint = "loosen a spec, or leave out --with-pyodide: then nothing of Pyodide's own is taken"
        why = explained(str(error), {str(bounds[spec]): told for spec, told in constraints.items()})
        raise Failed("conflict", f"{', '.join(specs)} cannot be had together: {why}", hint) from None


def explained(reason: str, constraints: Mapping[str, str] | None = None) -> str:
    """The solver's tree of reasons as one line; `constraints` are the reasons of those that are no package's.

    >>> explained('''Cannot solve the request because of: The following packages are incompatible
    ... └─ numba ==0.67 can be installed with any of the following options:
    ...    └─ numba 0.67 would require
    ...       └─ numpy 2.4.*, for which no candidates were found.
    ... ''')
    'numba ==0.67 needs numba 0.67, which needs numpy 2.4.*, for which no candidates were found'
    """
    lines = [line.strip(" │├└─") for line in reason.partition(": ")[2].splitlines()]
    words = [line for line in lines if line and line != "The following packages are incompatible"]
    text = ""
    for line in words:
        joined = line.removesuffix(".")
        if found := re.fullmatch(r"the constraint (.+) cannot be fulfilled", joined):
            joined = f"but {(constraints or {}).get(found[1], joined)}"
        joined = joined.replace(" can be installed with any of the following options:", " needs")
        joined = joined.replace(" which can be installed with any of the following options:", " which is")
        joined = joined.replace(" would require", ", which needs")
        joined = joined.replace("cannot be installed because there are no viable options:", "cannot be installed:")
        glue = " " if text.endswith((" needs", ":", " is", ",")) or not text else "; "
        text += glue + joined
    return text.strip()
