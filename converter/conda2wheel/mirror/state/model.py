"""The values that the mirror's modules exchange: a package of a channel, its work item's key, and the item's result.

They are pickled between processes, and stored as JSON in the state and in every published generation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from conda2wheel.results import TakenLibrary, UnusablePart

ResultStatus = Literal["done", "refused", "failed"]
RESULT_STATUSES: tuple[ResultStatus, ...] = get_args(ResultStatus)


@dataclass(frozen=True)
class ChannelPackage:
    """A repodata record.

    It has the sha256 of the archive, its size in bytes and its build time in seconds since 1970, where they are known. `record`
    is a digest of the whole record, so that a repodata patch is noticed.
    """

    sha256: str
    url: str
    channel: str
    subdir: str
    name: str
    version: str
    build: str
    build_number: int
    noarch: bool
    depends: tuple[str, ...]
    record: str
    size: int | None = None
    timestamp: float | None = None

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"


@dataclass(frozen=True, order=True)
class ItemKey:
    """A work item's key, all that the conversion depends on.

    It is the package's sha256, this converter's version, the digest of the options, and the platform ("auto": by evidence).
    """

    package: str
    converter: str
    options: str
    platform: str

    def __str__(self) -> str:
        return f"{self.package}:{self.converter}:{self.options}:{self.platform}"


@dataclass(frozen=True)
class MirrorWheel:
    """A converted wheel, as the index, lock files and reports describe it.

    Attributes:
        project: the normalised name.
        platform: a platform tag or "any".
        size: in bytes.
        imports: its top-level modules.
        requires: its Requires-Dist lines.
        unusable: the parts that end the interpreter when they are reached.
        is_library: whether it is a library wheel, which is there for other wheels that require it.
        only_programs: whether it has programs alone, which run outside of Pyodide.
    """

    project: str
    version: str
    filename: str
    sha256: str
    size: int
    metadata_sha256: str
    platform: str
    requires_python: str | None = None
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    vendored: tuple[str, ...] = ()
    unusable: tuple[UnusablePart, ...] = ()
    is_library: bool = False
    only_programs: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MirrorWheel:
        """Read the JSON form, also that of an earlier version. Raises `KeyError` or `TypeError` for anything else."""
        parts = tuple(UnusablePart(**with_tuples(each)) for each in document.get("unusable", ()))
        return cls(**{**with_tuples(document), "unusable": parts})

    @property
    def requirement(self) -> str:
        """The requirement by which the users of a library wheel name it."""
        return f"{self.project}=={self.version}"

    @property
    def blob(self) -> str:
        """Its path in a store. The file name comes last, since installers read tags from it."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}/{self.filename}"


@dataclass(frozen=True)
class MirrorLibrary:
    """A library wheel, and the conda package that it was made of."""

    wheel: MirrorWheel
    package: ChannelPackage

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MirrorLibrary:
        """Read the JSON form. Raises `KeyError` or `TypeError` for anything else."""
        return cls(MirrorWheel.from_json(document["wheel"]), ChannelPackage(**with_tuples(document["package"])))


@dataclass(frozen=True)
class ItemResult:
    """The result of a work item.

    Attributes:
        code: the code of a refusal, or the class of a failure (network, disk, memory, timeout, crash, internal ...); None for a
            wheel.
        seconds: the time of each stage (download, convert, check, store).
        downloaded: in bytes.
        taken: the libraries of other packages that the wheel needs, in it or in library wheels.
        libraries: the library wheels that it requires, directly or not.
    """

    key: ItemKey
    status: ResultStatus
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    wheel: MirrorWheel | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    downloaded: int = 0
    taken: tuple[TakenLibrary, ...] = ()
    libraries: tuple[MirrorLibrary, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self) | {"seconds": dict(self.seconds)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ItemResult:
        """Read the JSON form. Raises `ValueError` for anything else."""
        try:
            wheel = document["wheel"]
            wheel = None if wheel is None else MirrorWheel.from_json(wheel)
            if document["status"] not in RESULT_STATUSES:
                raise ValueError(f"unknown status {document['status']!r}")
            return cls(
                key=ItemKey(**document["key"]),
                status=document["status"],
                code=document["code"],
                message=document["message"],
                hint=document["hint"],
                wheel=wheel,
                warnings=tuple((str(code), str(message)) for code, message in document["warnings"]),
                seconds=dict(document["seconds"]),
                downloaded=int(document["downloaded"]),
                taken=tuple(TakenLibrary(**with_tuples(each)) for each in document.get("taken", ())),
                libraries=tuple(map(MirrorLibrary.from_json, document.get("libraries", ()))),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the result of a work item: {error}") from error


def with_tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON or TOML document with tuples for lists, as the fields of frozen dataclasses have them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
