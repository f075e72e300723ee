"""Where the members of a wheel came from, and what was changed in them on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from conda2wheel.conda.abi_evidence import ABI_PACKAGE, channel_address, channel_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import Blob
from conda2wheel.net.download import redacted


@dataclass(frozen=True)
class MemberSource:
    """What members came from. `kind` is package (conda's), wheel (somebody else's), or folder (of libraries, and no package).

    `filename` and `sha256` are those of the archive or wheel; `opened` says of a package whether it was an archive or a folder:
    then they are what a record says, or None. `environment_abi` are the versions of emscripten-abi that an environment has which
    lists the package: evidence for its platform that is not in it.
    """

    kind: Literal["package", "wheel", "folder"]
    name: str = ""
    version: str = ""
    build: str = ""
    subdir: str | None = None
    channel: str | None = None
    filename: str | None = None
    sha256: str | None = None
    license: str | None = None
    opened: str | None = None
    environment_abi: tuple[str, ...] = ()

    @classmethod
    def of(cls, package: CondaPackage) -> MemberSource:
        """A conda package as a source."""
        record = {**package.about, **package.index, "fn": package.filename, "sha256": package.sha256, "channel": package.channel}
        return cls.from_record(record, package.opened, package.environment.get(ABI_PACKAGE, ()))

    @classmethod
    def from_record(cls, record: Mapping[str, Any], opened: str | None = None, abi: Iterable[str] = ()) -> MemberSource:
        """A conda package by its repodata record, of which a stranger may have written any part."""

        def text(key: str) -> str | None:
            value = record.get(key)
            return value if isinstance(value, str) and value else None

        return cls(
            kind="package",
            name=text("name") or "",
            version=text("version") or "",
            build=text("build") or "",
            subdir=text("subdir"),
            channel=public_channel(text("channel") or text("url")),
            filename=text("fn"),
            sha256=text("sha256"),
            license=text("license"),
            opened=opened,
            environment_abi=tuple(abi),
        )

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> MemberSource:
        """What an account says. Raises `ValueError` where it is not as `json` writes it."""
        names = {each.name for each in fields(cls)}
        texts = {key: value for key, value in told.items() if key in names and isinstance(value, str)}
        abi = told.get("environment_abi", [])
        if (
            texts.get("kind") not in ("package", "wheel", "folder")
            or not isinstance(abi, list)
            or not all(isinstance(v, str) for v in abi)
        ):
            raise ValueError("one of its sources is neither package, nor wheel, nor folder")
        return cls(**{**texts, "environment_abi": tuple(abi)})  # type: ignore[arg-type]

    def with_record(self, package: CondaPackage) -> CondaPackage:
        """The package with what is told of it and not in it: the name of its archive, its channel, its environment."""
        environment = {**package.environment, ABI_PACKAGE: self.environment_abi} if self.environment_abi else package.environment
        return replace(package, filename=self.filename, channel=self.channel or package.channel, environment=environment)

    def __str__(self) -> str:
        """How a person would name it."""
        parts = [self.name, self.version, self.build]
        return self.filename or "-".join(filter(None, parts)) or f"a {self.kind}"

    def json(self) -> dict[str, Any]:
        """What is known of it."""
        told = {**vars(self), "environment_abi": list(self.environment_abi)}
        return {key: value for key, value in told.items() if value}


@dataclass(frozen=True)
class MemberOrigin:
    """Where one member came from: `file` of `source`, or (None) made by conda2wheel. `before` is the sha256 that the file had
    there, if its bytes are others now, and `changes` says in what."""

    source: MemberSource | None = None
    file: str | None = None
    before: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def copied(
        cls, source: MemberSource, file: str, was: Blob, now: Blob, changes: Mapping[str, Any] | None = None
    ) -> MemberOrigin:
        """A file that was taken over, changed or not."""
        same = was is now or was.sha256 == now.sha256
        return cls(source, file, None if same else was.sha256, {} if same else changes or {})


GENERATED = MemberOrigin()


def public_channel(channel: str | None) -> str | None:
    """A channel's name or address as others may see it: without credentials, and of a place on one machine its last part."""
    if channel is None:
        return None
    private = channel.startswith(("file:", "/", ".", "~")) or "\\" in channel
    return (channel_name(channel) if private else channel_address(redacted(channel))) or None
