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
from conda2wheel.channels.repodata import channel_url, query
from conda2wheel.errors import Failed
from conda2wheel.net.download import RemoteFile, fragment_sha256, is_url, redacted

if TYPE_CHECKING:
    from rattler import MatchSpec, RepoDataRecord

DEFAULT_CHANNELS = ("emscripten-forge-4x",)
_SPEC = re.compile(r"^([^\s/]+::)?[A-Za-z0-9_][A-Za-z0-9._-]*(\[[^\]]*\]|\s*[=<>!~\s].*)?$")
_FILE = re.compile(r"\.(conda|bz2|gz|whl|zip|tar|json|so)$")


@dataclass(frozen=True)
class ChannelBuild:
    """A build in a channel.

    Attributes:
        url: The package's URL.
        sha256: Its hash in hexadecimal, if the repodata has one.
        channel: The channel's URL.
        size: Its size in bytes, if the repodata has one.
        record: Its repodata record.
    """

    url: str
    sha256: str | None
    channel: str
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
        from rattler import MatchSpec
        from rattler.exceptions import InvalidMatchSpecError

        try:
            return self.record is None or MatchSpec(spec, strict=False).matches(self.record)
        except InvalidMatchSpecError:
            return True


def is_spec(text: str) -> bool:
    """Whether a SOURCE that is no existing path reads as a match spec rather than as a path or URL.

    >>> [is_spec(t) for t in ("numpy", "emscripten-forge-4x::numpy=2.4", "numpy >=2", "./numpy", "numpy-2.4.tar.bz2")]
    [True, True, True, False, False]
    """
    return bool(_SPEC.match(text)) and not _FILE.search(text)


def resolve_source(source: str, channels: Iterable[str] = (), downloads: Downloads = DOWNLOADS) -> RemoteFile:
    """Resolve a SOURCE: a match spec to its newest build; a path or URL to itself, with the sha256 of the URL's fragment.

    An existing path is never read as a match spec. Raises `Failed` as `find` does.
    """
    if os.path.lexists(source) or not is_spec(source):
        return RemoteFile(source, fragment_sha256(source) if is_url(source) else None)
    try:
        found = find(source, channels, downloads)
    except Failed as error:
        raise Failed(error.code, f"{source}: no such file here; as a match spec: {error.message}", error.hint) from None
    fragment = f"#sha256={found.sha256}" if found.sha256 and not found.url.startswith("file:") else ""
    return RemoteFile(f"{found.url}{fragment}", found.sha256, found.size)


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
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    own, _, rest = spec_text.rpartition("::")
    try:
        spec = MatchSpec(rest.strip(), strict=False)
    except InvalidMatchSpecError as error:
        raise Failed("usage", f"{spec_text!r} is neither a file nor a match spec: {error}", "quote it: 'numpy >=2'") from None
    names = [own] if own else [*channels] or [*DEFAULT_CHANNELS]
    searched = []
    for name in names:
        address = channel_url(name)
        searched.append(redacted(address))
        if found := records(address, [spec], downloads, spec_text):
            return found
    raise Failed(
        "not-found", f"{spec_text}: no such package in {', '.join(searched)}", "check the spec, or name another --channel"
    )


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
        url=str(record.url),
        sha256=record.sha256.hex() if record.sha256 else None,
        channel=address,
        name=record.name.normalized,
        version=str(record.version),
        depends=tuple(map(str, record.depends)),
        size=record.size,
        build=str(record.build),
        record=record,
    )
