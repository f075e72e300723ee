"""Find the newest build in a channel for a SOURCE that is a match spec.

Match specs: CEP 29, `CHANNEL::NAME VERSION BUILD`. py-rattler's Gateway reads and caches repodata (plain, zst and
sharded).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.records import NAMED
from conda2wheel.channels.repodata import channel_url, query
from conda2wheel.conda.parsing import InvalidSpecError, parse_match_spec
from conda2wheel.errors import Failed
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.net.urls import Address, fragment_sha256, is_url, redacted, source_of

if TYPE_CHECKING:
    from rattler import MatchSpec, RepoDataRecord

DEFAULT_CHANNELS = ("emscripten-forge-4x",)
_SPEC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*+(\[[^\]]*\]|\s*+[=<>!~].*|\s.*)?")
_FILE = re.compile(r"\.(conda|bz2|gz|whl|zip|tar|json|so)$")


@dataclass(frozen=True)
class ChannelBuild:
    """A build in a channel.

    Attributes:
        url: The package's address.
        sha256: Its hash in hexadecimal, if the repodata has one.
        channel: The channel's address.
        size: Its size in bytes, if the repodata has one.
        record: Its repodata record.
    """

    url: Address
    sha256: str | None
    channel: Address
    name: str = ""
    version: str = ""
    depends: tuple[str, ...] = ()
    size: int | None = None
    build: str = ""
    record: RepoDataRecord | None = field(default=None, compare=False, repr=False)

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD."""
        return f"{self.name}-{self.version}-{self.build}"

    def admitted_by(self, spec: str) -> bool:
        """Whether a match spec of this name admits this build. True for a spec that rattler cannot parse."""
        try:
            return self.record is None or parse_match_spec(spec).matches(self.record)
        except InvalidSpecError:
            return True


def is_spec(text: str) -> bool:
    """Whether a SOURCE that is no existing path reads as a match spec rather than as a path or URL.

    >>> [is_spec(t) for t in ("numpy", "emscripten-forge-4x::numpy=2.4", "numpy >=2", "./numpy", "numpy-2.4.tar.bz2")]
    [True, True, True, False, False]
    >>> [is_spec(f"https://host/{t}") for t in ("channel::numpy", "ch/noarch::numpy >=2", "numpy-2.4-0.conda", "a::b-1.conda")]
    [True, True, False, False]
    """
    channel, mark, rest = text.rpartition("::")  # the channel is a name, an address or a path
    named = not mark or (bool(channel) and not re.search(r"\s", channel))
    return named and bool(_SPEC.fullmatch(rest.strip() if mark else rest)) and not _FILE.search(rest)


def resolve_source(source: str, channels: Iterable[str] = (), downloads: Downloads = DOWNLOADS) -> RemoteFile:
    """Resolve a SOURCE: a match spec to its newest build; a path or URL to itself, with the sha256 of the URL's fragment.

    An existing path is never read as a match spec. Raises `Failed` as `find` does.
    """
    if os.path.lexists(source) or not is_spec(source):
        return RemoteFile(source_of(source), fragment_sha256(source) if is_url(source) else None)
    try:
        found = find(source, channels, downloads)
    except Failed as error:
        raise Failed(error.code, f"{source}: no such file here; as a match spec: {error.message}", error.hint) from None
    return RemoteFile(found.url.with_sha256(found.sha256), found.sha256, found.size)


def locate(source: str, channels: Iterable[str] = (), downloads: Downloads = DOWNLOADS) -> str:
    """Return the path or URL of `resolve_source`, with the sha256 as a fragment. Raises `Failed` as it does."""
    return resolve_source(source, channels, downloads).url


def find(spec_text: str, channels: Iterable[str] = (), downloads: Downloads = DOWNLOADS) -> ChannelBuild:
    """Return the newest build (version, then build number, then time) that matches. Raises `Failed` as `builds` does."""
    return builds(spec_text, channels, downloads)[0]


def builds(spec_text: str, channels: Iterable[str] = (), downloads: Downloads = DOWNLOADS) -> list[ChannelBuild]:
    """Return the matching builds of the first channel that has any, newest first.

    That is the spec's own channel, else `channels` in order, else emscripten-forge-4x. A channel is a name or a URL.

    Raises:
        Failed: usage (no match spec), not-found, network.
    """
    own, _, rest = spec_text.rpartition("::")
    try:
        spec = parse_match_spec(rest.strip())
    except InvalidSpecError as error:
        why = f"{spec_text[:200]!r} is neither a file nor a match spec: {error}"
        raise Failed("usage", why, "quote it: 'numpy >=2'") from None
    names = [own] if own else [*channels] or [*DEFAULT_CHANNELS]
    searched = []
    for name in names:
        address = channel_url(name)
        searched.append(redacted(address))
        if found := records(address, [spec], downloads, spec_text):
            return found
    unusable = unusable_of([getattr(spec.name, "normalized", "")], map(channel_url, names), downloads)
    raise Failed(
        "not-found",
        f"{spec_text}: no such package in {', '.join(searched)}{unusable}",
        "check the spec, or name another --channel",
    )


def unusable_of(names: Iterable[str], channels: Iterable[str], downloads: Downloads) -> str:
    """Return for a message which records of these package names cannot be used; empty if there are none."""
    wanted = tuple(f"{name}-" for name in names)
    found = [record for record in downloads.left_out(channels) if record.filename.lower().startswith(wanted)]
    return f"; {'; '.join(map(str, found[:NAMED]))}" if found else ""


def records(address: str, specs: Sequence[MatchSpec | str], downloads: Downloads, what_for: str) -> list[ChannelBuild]:
    """Return all builds of one channel that match any of the specs, newest first.

    Errors begin with `what_for`.

    Raises:
        Failed: network, unreadable.
    """
    try:
        [found] = query([address], specs, downloads)
    except Failed as error:
        raise Failed(error.code, f"{what_for}: {error.message}", error.hint) from None
    newest = sorted(
        found,
        key=lambda record: (record.version, record.build_number, record.timestamp.timestamp() if record.timestamp else 0),
        reverse=True,
    )
    return [_found(record, address) for record in newest]


def _found(record: RepoDataRecord, address: str) -> ChannelBuild:
    return ChannelBuild(
        url=Address(record.url),
        sha256=record.sha256.hex() if record.sha256 else None,
        channel=Address(address),
        name=record.name.normalized,
        version=str(record.version),
        depends=tuple(map(str, record.depends)),
        size=record.size,
        build=str(record.build),
        record=record,
    )
