"""What the rooms of the mirror hand to each other: a package of the channel, the work item made of it, and what became of it.

All are plain values: they cross process borders by pickle, and lie as JSON in the state and in each published generation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ResultStatus = Literal["done", "refused", "failed"]
RESULT_STATUSES: tuple[ResultStatus, ...] = get_args(ResultStatus)


@dataclass(frozen=True)
class ChannelPackage:
    """A record of repodata. `sha256` of the archive; `size` in bytes and `timestamp` in seconds since 1970, where it is known;
    `record` is a digest of the whole record, so that a patch of repodata shows."""

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
    """What a conversion depends on, and so what makes two work items one: the package's sha256, this converter's version, the
    digest of the options, and the platform ("auto": by evidence)."""

    package: str
    converter: str
    options: str
    platform: str

    def __str__(self) -> str:
        return f"{self.package}:{self.converter}:{self.options}:{self.platform}"


@dataclass(frozen=True)
class MirrorWheel:
    """A wheel that was made: what an index, a lock file and a report say of it. `project` is normalised; `imports` are its
    top-level modules; `requires` its Requires-Dist lines; `platform` a platform tag or "any"; `size` in bytes."""

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

    @property
    def blob(self) -> str:
        """Where it lies in a store. Its own name comes last, since installers read tags there."""
        return f"blobs/{self.sha256[:2]}/{self.sha256}/{self.filename}"


@dataclass(frozen=True)
class ItemResult:
    """What became of a work item. `code` is a refusal's code, or the class of a failure (network, disk, memory, timeout, crash,
    internal ...); None when done. `seconds` by stage (download, convert, check, store); `downloaded` in bytes."""

    key: ItemKey
    status: ResultStatus
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    wheel: MirrorWheel | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    downloaded: int = 0

    def json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return dataclasses.asdict(self) | {"seconds": dict(self.seconds)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ItemResult:
        """What `json` wrote. Raises `ValueError` for anything else."""
        try:
            wheel = told["wheel"]
            made = None if wheel is None else MirrorWheel(**{key: _frozen(value) for key, value in wheel.items()})
            if told["status"] not in RESULT_STATUSES:
                raise ValueError(f"{told['status']!r} is no status")
            return cls(
                key=ItemKey(**told["key"]),
                status=told["status"],
                code=told["code"],
                message=told["message"],
                hint=told["hint"],
                wheel=made,
                warnings=tuple((str(code), str(message)) for code, message in told["warnings"]),
                seconds=dict(told["seconds"]),
                downloaded=int(told["downloaded"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is not what became of a work item: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
