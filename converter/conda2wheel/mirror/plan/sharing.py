"""Decide which libraries of a channel are shared, and which wheels are converted with library wheels ([share]).

Which libraries a package needs is known once it was converted: every result names the libraries of other packages that its wheel
needs (`ItemResult.taken`), wherever they are. So a package is first converted by itself. If libraries that it needs are shared,
it is converted again under a key that also names these libraries and the channel's builds of them. The key of a user changes,
and the user is converted again, when

* a second project needs a library ([share] libraries = "auto"), or a user needs a further library of a package,
* the channel has another build of a shared library: all users take the newest that they admit, so that they agree on one,
* its own package, this converter or the options change, as for any package.

What is shared follows from the results and the listing, not from the order of work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from conda2wheel.abi.platforms import parse
from conda2wheel.commands.shared_packages import SharedFiles, SharedPackages
from conda2wheel.mirror.config import AUTO, ShareConfig
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult

USERS = 2  # projects that need a library before "auto" shares it


@dataclass(frozen=True)
class SharedKeys:
    """The keys of the items that are converted with library wheels, by the key without; and what each takes from them."""

    keys: Mapping[ItemKey, ItemKey]
    sharing: Mapping[ItemKey, SharedPackages]


def share(
    config: ShareConfig, wanted: Iterable[ItemKey], results: Mapping[ItemKey, ItemResult], listed: Sequence[ChannelPackage]
) -> SharedKeys:
    """Decide what is shared.

    Args:
        config: [share].
        wanted: the keys of all items that belong in the index, as they are without sharing.
        results: the finished items, the newest last (`MirrorState.results`).
        listed: what the channels list.
    """
    if not config.libraries:
        return SharedKeys({}, {})
    newest = _newest_wheels(results)
    users = {key: newest[base] for key in wanted if (base := _base(key)) in newest}
    shared = {platform: _shared(config, found) for platform, found in _by_platform(users.values()).items()}
    builds = _builds(listed)
    keys, sharing = {}, {}
    for key, result in users.items():
        platform = result.wheel.platform if result.wheel is not None else ""
        names = {each.package for each in result.taken}
        own = SharedPackages(config.prefix, {name: files for name, files in shared.get(platform, {}).items() if name in names})
        if own.libraries:
            state = [own.json(), {name: builds.get(name, ()) for name in sorted(own.libraries)}]
            digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
            keys[key] = replace(key, options=f"{key.options}+{digest}")
            sharing[keys[key]] = own
    return SharedKeys(keys, sharing)


def libraries_in_vain(config: ShareConfig, listed: Iterable[ChannelPackage]) -> Iterator[str]:
    """Yield a line for each library that [share] names and no channel lists."""
    if config.libraries == AUTO:
        return
    names = {package.name for package in listed}
    for name in config.libraries:
        if name not in names:
            yield f"[share] libraries: no channel has a package {name}"


def _base(key: ItemKey) -> ItemKey:
    """The key of an item as it is without sharing."""
    return replace(key, options=key.options.partition("+")[0])


def _newest_wheels(results: Mapping[ItemKey, ItemResult]) -> dict[ItemKey, ItemResult]:
    """The newest result with a wheel of each item, converted with library wheels or without, by the key without."""
    return {_base(key): result for key, result in results.items() if result.wheel is not None}


def _by_platform(results: Iterable[ItemResult]) -> dict[str, list[ItemResult]]:
    """Results by platform, without the platforms whose loader finds no libraries in other wheels."""
    found: dict[str, list[ItemResult]] = {}
    for result in results:
        row = parse(result.wheel.platform) if result.wheel is not None and result.taken else None
        if row is not None and row.runtime_path and result.wheel is not None:
            found.setdefault(result.wheel.platform, []).append(result)
    return found


def _shared(config: ShareConfig, users: Sequence[ItemResult]) -> dict[str, SharedFiles]:
    """The shared libraries of one platform, by conda name: those that are named or needed twice, and what they NEED."""
    taken = [each for result in users for each in result.taken]
    projects: dict[str, set[str]] = {}
    needs: dict[str, set[str]] = {}
    for result in users:
        for each in result.taken:
            projects.setdefault(each.package, set()).add(result.wheel.project if result.wheel else "")
            needs.setdefault(each.package, set()).update(each.needs)
    if config.libraries == AUTO:
        first = {name for name, found in projects.items() if len(found) >= USERS}
    else:
        first = set(config.libraries) & projects.keys()
    below = {name: _closure(name, needs) for name in needs}
    names = first.union(*(below[name] for name in first))
    circles = {name for name in names if name in below.get(name, ())}  # no version can be a hash of a wheel that requires it
    names = {name for name in names if not circles & ({name} | below.get(name, set()))}
    return {
        name: SharedFiles(
            tuple(sorted({each.file for each in taken if each.package == name})),
            tuple(sorted({each.file for each in taken if each.package == name and each.by_name})),
        )
        for name in sorted(names & projects.keys())
    }


def _closure(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """All that a package NEEDs, directly or not; itself where it is in a circle."""
    found: set[str] = set()
    todo = [name]
    while todo:
        for each in needs.get(todo.pop(), ()):
            if each not in found:
                found.add(each)
                todo.append(each)
    return found


def _builds(listed: Iterable[ChannelPackage]) -> dict[str, list[str]]:
    """The hashes of the channels' builds of each package."""
    found: dict[str, list[str]] = {}
    for package in listed:
        found.setdefault(package.name, []).append(package.sha256)
    return {name: sorted(hashes) for name, hashes in found.items()}
