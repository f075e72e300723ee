"""The provenance of a wheel's members: which package each was taken from, and what was changed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from conda2wheel.conda.abi_evidence import ABI_PACKAGE, channel_address, channel_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.files.packagefile import Blob
from conda2wheel.net.urls import redacted

_UNCHANGED: Mapping[str, Any] = {}


class MemberSource(NamedTuple):
    """Where members were taken from.

    Attributes:
        kind: A conda package, a wheel of another builder, or a folder of libraries.
        filename: The file name of the archive or wheel; for an unpacked package that of its record, or None.
        sha256: Its hash in hexadecimal, from the same place.
        opened: For a package, whether an archive or a folder was opened.
        environment_abi: The versions of emscripten-abi in the environment that lists the package: evidence for its platform from
            outside of the package.
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
        """Make it from a conda package."""
        record = {**package.about, **package.index, "fn": package.filename, "sha256": package.sha256, "channel": package.channel}
        return cls.from_record(record, package.opened, package.environment.get(ABI_PACKAGE, ()))

    @classmethod
    def from_record(cls, record: Mapping[str, Any], opened: str | None = None, abi: Iterable[str] = ()) -> MemberSource:
        """Make it from a repodata record, whose values are not trusted."""

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
    def from_json(cls, document: Mapping[str, Any]) -> MemberSource:
        """Read the document that `json` returned. Raises `ValueError` for another form."""
        names = {*cls._fields}
        texts = {key: value for key, value in document.items() if key in names and isinstance(value, str)}
        abi = document.get("environment_abi", [])
        if (
            texts.get("kind") not in ("package", "wheel", "folder")
            or not isinstance(abi, list)
            or not all(isinstance(v, str) for v in abi)
        ):
            raise ValueError("one of its sources is neither package, nor wheel, nor folder")
        return cls(**{**texts, "environment_abi": tuple(abi)})  # type: ignore[arg-type]

    def with_record(self, package: CondaPackage) -> CondaPackage:
        """Return the package with what its files do not contain: its archive's name, its channel, its environment."""
        environment = {**package.environment, ABI_PACKAGE: self.environment_abi} if self.environment_abi else package.environment
        return replace(package, filename=self.filename, channel=self.channel or package.channel, environment=environment)

    def __str__(self) -> str:
        """Its file name, or NAME-VERSION-BUILD."""
        parts = [self.name, self.version, self.build]
        return self.filename or "-".join(filter(None, parts)) or f"a {self.kind}"

    def json(self) -> dict[str, Any]:
        """Return what is known of it."""
        values = {**self._asdict(), "environment_abi": list(self.environment_abi)}
        return {key: value for key, value in values.items() if value}


class MemberOrigin(NamedTuple):
    """The origin of one member: `file` of `source`, or conda2wheel itself (None).

    If the bytes were changed, `before` is the sha256 of the original and `changes` says how.
    """

    source: MemberSource | None = None
    file: str | None = None
    before: str | None = None
    changes: Mapping[str, Any] = _UNCHANGED

    @classmethod
    def copied(
        cls, source: MemberSource, file: str, was: Blob, now: Blob, changes: Mapping[str, Any] | None = None
    ) -> MemberOrigin:
        """Return the origin of a copied file, changed or not."""
        same = was is now or was.sha256 == now.sha256
        return cls(source, file, None if same else was.sha256, {} if same else changes or {})


GENERATED = MemberOrigin()


def public_channel(channel: str | None) -> str | None:
    """Return a channel's name or address for publication: without credentials, and only the last part of a local path."""
    if channel is None:
        return None
    private = channel.startswith(("file:", "/", ".", "~")) or "\\" in channel
    return (channel_name(channel) if private else channel_address(redacted(channel))) or None
