"""Query the repodata of channels: the records of packages, as py-rattler's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from conda2wheel.channels import records
from conda2wheel.channels.downloads import FRESH, Downloads, KnownList, KnownLists
from conda2wheel.channels.lists import ChannelLists, PackageList, Subdir, usable_cache
from conda2wheel.channels.records import LeftOutRecord, RecordsRead
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.parsing import parse_match_spec
from conda2wheel.errors import Failed
from conda2wheel.net.urls import Address, is_path, require_secure, secret_url

if TYPE_CHECKING:
    from rattler import MatchSpec, RepoDataRecord

CHANNEL_ALIAS = "https://prefix.dev/"
SUBDIRS: tuple[Subdir, ...] = ("emscripten-wasm32", "noarch")
ALL_JUDGED = 100_000  # records of a list up to which all are judged, though only some are asked for
_Fits = Callable[["RepoDataRecord"], bool]


def channel_url(channel: str) -> Address:
    """Return a channel's address: the URL itself, that of a local folder, or that of the name on prefix.dev."""
    if "://" in channel or channel.startswith("file:"):
        return Address(channel)
    if os.path.isdir(channel) or is_path(channel):
        return Address(Path(channel).expanduser().absolute().as_uri())
    return Address(CHANNEL_ALIAS + channel)


def query(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[list[RepoDataRecord]]:
    """Return the records that match the specs, for emscripten-wasm32 and noarch, of each channel.

    Records that cannot be used are left out; `Downloads.left_out` has them.

    Raises:
        Failed: network, disk, unreadable; the message is one line.
    """
    fits = _by_name(specs)
    return [list(_query(Address(address), fits, downloads)) for address in addresses]


def query_recursive(addresses: Sequence[str], specs: Sequence[MatchSpec | str], downloads: Downloads) -> list[RepoDataRecord]:
    """Return the records that match the specs, with all records of their dependencies, recursively.

    They are those of all channels for emscripten-wasm32 and noarch. Raises as `query`.
    """
    channels = [Address(address) for address in dict.fromkeys(addresses)]
    fits = _by_name(specs)
    downloads = _once(downloads)
    found: list[RepoDataRecord] = [record for channel in channels for record in _query(channel, fits, downloads)]
    lists = {channel: _lists(channel, fits, downloads) for channel in channels}
    seen = set(fits)
    names = _dependencies((spec for record in found for spec in record.depends), seen)
    others: set[str] = set()
    while names:
        others |= names
        seen |= names
        depends: list[str] = []
        for channel in channels:
            if any(listed.shards for listed in lists[channel].values()):
                lists[channel] = _lists(channel, names, downloads)
            for listed in lists[channel].values():
                for name in names:
                    for document in listed.records.get(name, {}).values():
                        specs_listed = document.get("depends") if isinstance(document, dict) else None
                        depends += [spec for spec in specs_listed or () if isinstance(spec, str)]
        names = _dependencies(depends, seen)
    for channel in channels:
        found += _read(channel, lists[channel], others, downloads).records
    return found


def _once(downloads: Downloads) -> Downloads:
    """Return downloads that read each list of a query once, also where none is reused for the next query."""
    if downloads.fresh:
        return downloads
    known = KnownLists()
    known.left_out = downloads.lists.left_out
    return replace(downloads, fresh=FRESH, lists=known)


def all_records(address: str, downloads: Downloads) -> RecordsRead:
    """Return every record that a channel has for emscripten-wasm32 and noarch. Raises as `query`."""
    channel = Address(address)
    return _read(channel, _lists(channel, None, downloads), None, downloads)


def package_names(address: str, downloads: Downloads) -> list[str]:
    """Return the names of all packages that a channel has for emscripten-wasm32, sorted. Raises as `query`."""
    channel = Address(address)
    listed = _lists(channel, (), downloads).get(SUBDIRS[0])
    return [] if listed is None else listed.names


def _by_name(specs: Iterable[MatchSpec | str]) -> dict[str, list[MatchSpec]]:
    found: dict[str, list[MatchSpec]] = {}
    for spec in specs:
        parsed = parse_match_spec(spec) if isinstance(spec, str) else spec
        name = parsed.name
        found.setdefault(getattr(name, "normalized", str(name)), []).append(parsed)
    return found


def _dependencies(specs: Iterable[str], seen: set[str]) -> set[str]:
    """Return the names of packages in match specs that were not seen before; virtual packages are none."""
    return {name for spec in specs if (name := spec_name(spec)) and name not in seen and not name.startswith("__")}


def _query(channel: Address, fits: Mapping[str, Sequence[MatchSpec]], downloads: Downloads) -> Iterable[RepoDataRecord]:
    for record in _read(channel, _lists(channel, fits, downloads), fits, downloads).records:
        if any(spec.matches(record) for spec in fits[record.name.normalized]):
            yield record


def _read(
    channel: Address, lists: Mapping[Subdir, PackageList], names: Iterable[str] | None, downloads: Downloads
) -> RecordsRead:
    """Return the records of names, and remember those that are left out."""
    asked = None if names is None else list(names)
    found: list[RepoDataRecord] = []
    odd: dict[tuple[str, str], LeftOutRecord] = {}
    for listed in lists.values():
        part = records.read(channel, listed, asked)
        found += part.records
        others: Sequence[LeftOutRecord] = ()
        if asked is not None and sum(map(len, listed.records.values())) <= ALL_JUDGED:
            others = records.left_out(channel, listed, records.problems(listed))
        odd |= {(each.subdir, each.filename): each for each in (*others, *part.left_out)}
    downloads.lists.left_out.setdefault(str(channel), {}).update(odd)
    return RecordsRead(tuple(found), tuple(sorted(odd.values())))


def _lists(channel: Address, names: Iterable[str] | None, downloads: Downloads) -> dict[Subdir, PackageList]:
    """Return the lists of the channel's subdirs, with the records of these names, or of all. Raises `Failed`."""
    if not secret_url(channel).startswith("file:"):
        require_secure(channel)
    wanted = None if names is None else list(names)
    lists = ChannelLists(channel, usable_cache(downloads.repodata, downloads.offline), downloads.offline)
    found: dict[Subdir, PackageList] = {}
    with downloads.lists.lock:
        for subdir in SUBDIRS:
            key = (secret_url(channel), subdir)
            known = downloads.lists.known.get(key)
            if known is None or time.monotonic() - known.made >= downloads.fresh:
                downloads.lists.left_out.pop(str(channel), None)
                known = KnownList(None, time.monotonic())
            listed = lists.read(subdir, wanted, known.listed)
            if downloads.fresh:
                downloads.lists.known[key] = KnownList(listed, known.made)
            if listed is not None:
                found[subdir] = listed
    if not found:
        why = f"cannot read {channel}: it has no list of packages for {' or '.join(SUBDIRS)}"
        hint = "check the channel's address"
        if secret_url(channel).startswith("file:"):
            hint = f"a folder is a channel with {' or '.join(f'{each}/repodata.json' for each in SUBDIRS)}"
            hint += ": `conda index FOLDER` or `rattler-index fs FOLDER` writes it"
        raise Failed("network", why, hint)
    return found
