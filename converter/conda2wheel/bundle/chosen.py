"""Which packages of the channels make up a set: what a solver chose, as values that a lock file can carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from conda2wheel.conda.match_spec import spec_name
from conda2wheel.net.download import redacted

if TYPE_CHECKING:
    from rattler import RepoDataRecord

# What nobody has to convert: the platform itself stands for it when a set is solved.
INTERPRETER = ("python", "python_abi", "emscripten-abi")


@dataclass(frozen=True)
class Chosen:
    """One package of a channel. `size` in bytes, where the channel knows it; `depends` as the channel has it."""

    name: str
    version: str
    build: str
    subdir: str
    url: str
    sha256: str | None
    size: int | None
    channel: str
    depends: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def place(self) -> str:
        """Its URL, with its sha256 as a fragment where that is known."""
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url

    @property
    def is_noarch(self) -> bool:
        """Whether it is the same for every system. Not so for one that says noarch and lies in the subdir of one system."""
        return self.subdir == "noarch"

    @property
    def is_library(self) -> bool:
        """Whether nothing in its depends speaks of Python: then it is worth looking into for shared libraries."""
        return not self.is_noarch and not {"python", "python_abi"} & {spec_name(spec) for spec in self.depends}

    def json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {**asdict(self), "depends": list(self.depends)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Chosen:
        """What `json` wrote. Raises `ValueError` for anything else."""
        try:
            return cls(**{**told, "depends": tuple(told["depends"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"it names no package: {error}") from error


@dataclass(frozen=True)
class Shipped:
    """A package that Pyodide brings itself: its conda name in the channels, its PyPI name, its version."""

    conda: str
    pypi: str
    version: str

    def json(self) -> dict[str, Any]:
        """`{"conda", "pypi", "version"}`."""
        return asdict(self)


@dataclass(frozen=True)
class Absent:
    """A dependency that no channel has: its specs, and which chosen packages have them. `pypi` is the distribution that it
    means, None where it is none (a library, which the package may or may not NEED)."""

    name: str
    pypi: str | None
    specs: tuple[str, ...]
    users: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """`{"name", "pypi", "specs", "users"}`."""
        return {**asdict(self), "specs": list(self.specs), "users": list(self.users)}


@dataclass(frozen=True)
class Left:
    """A requirement that installers look for elsewhere, and who requires it."""

    requirement: str
    why: str

    def json(self) -> dict[str, Any]:
        """`{"requirement", "why"}`."""
        return asdict(self)


@dataclass(frozen=True)
class Solved:
    """A set: packages of the channels, by name; packages of Pyodide's own; dependencies that nobody here has."""

    chosen: tuple[Chosen, ...]
    shipped: tuple[Shipped, ...] = ()
    absent: tuple[Absent, ...] = ()
    asked: frozenset[str] = field(default_factory=frozenset)  # names in the specs that somebody gave


def chosen_of(record: RepoDataRecord) -> Chosen:
    """A record of repodata."""
    return Chosen(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        subdir=str(record.subdir),
        url=str(record.url),
        sha256=record.sha256.hex() if record.sha256 else None,
        size=record.size,
        channel=redacted(str(record.channel)),
        depends=tuple(map(str, record.depends)),
    )


def by_name(chosen: Iterable[Chosen]) -> dict[str, Chosen]:
    """A set has one of each name."""
    return {each.name: each for each in chosen}
