"""The packages of a bundle: what the solver chose, as values that `bundle.lock` records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from conda2wheel.conda.match_spec import spec_name
from conda2wheel.net.urls import Address, redacted

if TYPE_CHECKING:
    from rattler import RepoDataRecord

# Packages that are never converted: the target platform stands for them when a bundle is solved.
INTERPRETER = ("python", "python_abi", "emscripten-abi")


@dataclass(frozen=True)
class ChosenPackage:
    """One build of a package in a channel.

    Attributes:
        url: its address; the JSON form has no secrets, which a locked build takes from the stores of credentials.
        size: size of the file in bytes, None where the channel does not list it.
        depends: match specs, as the channel lists them.
    """

    name: str
    version: str
    build: str
    subdir: str
    url: str
    sha256: str | None
    size: int | None
    channel: str
    depends: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: RepoDataRecord) -> ChosenPackage:
        """Take the values of a record of repodata."""
        return cls(
            name=record.name.normalized,
            version=str(record.version),
            build=str(record.build),
            subdir=str(record.subdir),
            url=Address(record.url),
            sha256=record.sha256.hex() if record.sha256 else None,
            size=record.size,
            channel=redacted(str(record.channel)),
            depends=tuple(map(str, record.depends)),
        )

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def source(self) -> str:
        """The URL, with the sha256 as its fragment where the channel lists it."""
        return Address(self.url).with_sha256(self.sha256)

    @property
    def is_noarch(self) -> bool:
        """Whether the package is in the subdir `noarch`. A package with a `noarch` field in another subdir is not."""
        return self.subdir == "noarch"

    @property
    def is_library(self) -> bool:
        """Whether the package is built for a platform and does not depend on Python, so that it may contain shared libraries."""
        return not self.is_noarch and not {"python", "python_abi"} & {spec_name(spec) for spec in self.depends}

    def json(self) -> dict[str, Any]:
        """Return all attributes, by name."""
        return {**asdict(self), "depends": list(self.depends)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ChosenPackage:
        """Read what `json` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(**{**document, "depends": tuple(document["depends"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a package: {error}") from error


@dataclass(frozen=True)
class ShippedPackage:
    """A package of the Pyodide distribution: its conda name in the channels, its PyPI name and its version."""

    conda: str
    pypi: str
    version: str

    def json(self) -> dict[str, Any]:
        """Return `{"conda", "pypi", "version"}`."""
        return asdict(self)


@dataclass(frozen=True)
class AbsentDependency:
    """A dependency that no channel has.

    Attributes:
        name: its conda name.
        pypi: its PyPI name; None where PyPI has no such project, as for a library.
        specs: the match specs that name it.
        users: the chosen packages that depend on it, as NAME-VERSION-BUILD.
    """

    name: str
    pypi: str | None
    specs: tuple[str, ...]
    users: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return `{"name", "pypi", "specs", "users"}`."""
        return {**asdict(self), "specs": list(self.specs), "users": list(self.users)}


@dataclass(frozen=True)
class ExternalRequirement:
    """A requirement that the bundle does not satisfy, so that installers need another index for it.

    Attributes:
        requirement: name, extras and version specifiers.
        why: the wheels that require it.
    """

    requirement: str
    why: str

    def json(self) -> dict[str, Any]:
        """Return `{"requirement", "why"}`."""
        return asdict(self)


@dataclass(frozen=True)
class SolvedBundle:
    """The answer of the solver.

    Attributes:
        chosen: packages of the channels, sorted by name.
        shipped: packages of the Pyodide distribution.
        absent: dependencies that no channel has.
        requested: conda names in the caller's specs.
    """

    chosen: tuple[ChosenPackage, ...]
    shipped: tuple[ShippedPackage, ...] = ()
    absent: tuple[AbsentDependency, ...] = ()
    requested: frozenset[str] = field(default_factory=frozenset)
