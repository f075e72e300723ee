"""Which packages of the channels become work, of all that their repodata list, and why the others do not.

Repodata never say what is in a package. `python` is often missing from depends (emscripten-forge's python-xxhash has the build
`h..._0` and no word of Python), so what might be Python is looked into: only a name decides without (`refused`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import all_records, channel_url
from conda2wheel.conda.classify import refused_by_name
from conda2wheel.conda.names import foreign_pattern
from conda2wheel.errors import Refused
from conda2wheel.mirror.config import PackageClass, SelectConfig
from conda2wheel.mirror.state.match_specs import MatchSpecs, depends_name
from conda2wheel.mirror.state.model import ChannelPackage
from conda2wheel.net.download import redacted

if TYPE_CHECKING:
    from rattler import RepoDataRecord

SkippedPackage = tuple[ChannelPackage, str]  # a package that is not selected, and why
# What says where a record was found or when it was listed, and nothing of the package.
_ELSEWHERE = ("url", "channel", "fn", "indexed_timestamp")
_PYTHON_BUILD = re.compile(r"(?:^|_|\d)py(\d+|h)")


def packages(channels: Iterable[str], downloads: Downloads) -> list[ChannelPackage]:
    """All that the channels list for emscripten-wasm32 and noarch, in the order of the channels, then by place. What a channel
    lists without a sha256 is nothing that can be kept apart, and is left out. Raises `Failed` (network, unreadable): then
    nothing is known of what is there."""
    found: dict[tuple[str, str, str], ChannelPackage] = {}
    for channel in channels:
        address = channel_url(channel)
        for record in sorted(all_records(address, downloads), key=lambda record: (record.subdir, record.file_name)):
            if record.sha256:
                found.setdefault((redacted(address), record.subdir, record.file_name), package_of(record, redacted(address)))
    return list(found.values())


def package_of(record: RepoDataRecord, channel: str) -> ChannelPackage:
    """A record of a channel's repodata."""
    told: dict[str, Any] = json.loads(record.to_json())
    kept = {key: value for key, value in told.items() if key not in _ELSEWHERE}
    return ChannelPackage(
        sha256=record.sha256.hex() if record.sha256 else "",
        url=redacted(str(record.url)),
        channel=channel,
        subdir=record.subdir,
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        build_number=record.build_number,
        noarch=bool(told.get("noarch")),
        depends=tuple(map(str, record.depends)),
        record=hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16],
        size=record.size,
        timestamp=record.timestamp.timestamp() if record.timestamp else None,
    )


def class_of(package: ChannelPackage) -> PackageClass:
    """What the repodata say of it: "python", or nothing for sure."""
    named = {depends_name(spec) for spec in package.depends}
    return "python" if named & {"python", "python_abi"} or _PYTHON_BUILD.search(package.build) else "maybe"


def refused(package: ChannelPackage) -> Refused | None:
    """The verdict that the name alone allows: kinds.toml and the patterns of names.toml; None where its contents decide."""
    where = f"{package.subdir}/{package.stem}"
    if (pattern := foreign_pattern(package.name)) is not None:
        return Refused("not-python", f"{where}: {pattern} are packages of another language", "leave it out")
    return refused_by_name(package.name, where)


def select(packages: Sequence[ChannelPackage], asked: SelectConfig) -> tuple[list[ChannelPackage], list[SkippedPackage]]:
    """The packages that are asked for, and each other with the reason."""
    left: list[SkippedPackage] = []
    one_each = _one_format(packages, left)
    if asked.include:
        one_each = _by_specs(one_each, asked.include, True, "not among [select] include", left)
    if asked.exclude:
        one_each = _by_specs(one_each, asked.exclude, False, "excluded", left)
    kept = []
    for package in one_each:
        if class_of(package) in asked.classes:
            kept.append(package)
        else:
            left.append((package, f"its class is {class_of(package)}"))
    return list(_newest(kept, asked, left)), left


def _one_format(packages: Sequence[ChannelPackage], left: list[SkippedPackage]) -> list[ChannelPackage]:
    """Of a build that is there in several formats or channels, one: the first channel's, .conda before .tar.bz2."""
    chosen: dict[tuple[str, ...], ChannelPackage] = {}
    channels = {channel: number for number, channel in enumerate(dict.fromkeys(package.channel for package in packages))}

    def better(package: ChannelPackage) -> tuple[int, bool, str]:
        return channels[package.channel], not package.url.endswith(".conda"), package.url

    for package in sorted(packages, key=better):
        same = chosen.setdefault((package.subdir, package.name, package.version, package.build), package)
        if same is not package:
            left.append((package, f"the same build as {same.url.rpartition('/')[2]} of {same.channel}"))
    taken = set(map(id, chosen.values()))
    return [package for package in packages if id(package) in taken]


def _by_specs(
    packages: list[ChannelPackage], texts: Sequence[str], wanted: bool, why: str, left: list[SkippedPackage]
) -> list[ChannelPackage]:
    kept = []
    for package, fits in zip(packages, MatchSpecs(texts).fit(packages), strict=True):
        if fits is wanted:
            kept.append(package)
        else:
            left.append((package, why))
    return kept


def _newest(packages: list[ChannelPackage], asked: SelectConfig, left: list[SkippedPackage]) -> Iterator[ChannelPackage]:
    """The newest versions of each name, and of each the newest builds for each Python and Emscripten."""
    by_name: dict[str, list[ChannelPackage]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append(package)
    for name in sorted(by_name):
        order = ranks(by_name[name])
        newest = max(order.values())
        builds: dict[tuple[str, ...], int] = {}
        for package in sorted(by_name[name], key=lambda each: (order[each.version], *_build(each)), reverse=True):
            variant = (package.version, package.subdir, *_variant(package))
            builds[variant] = builds.get(variant, 0) + 1
            if asked.versions and newest - order[package.version] >= asked.versions:
                left.append((package, f"not among the {asked.versions} newest versions"))
            elif asked.builds and builds[variant] > asked.builds:
                left.append((package, f"not among the {asked.builds} newest builds of its version"))
            else:
                yield package


def ranks(packages: Iterable[ChannelPackage]) -> dict[str, int]:
    """The place of each version of one name in conda's order, 0 for the oldest; versions that conda takes for the same (1.0 and
    1.00) share one. What conda cannot read is older than all that it can."""
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    read: dict[str, Any] = {}
    for text in {package.version for package in packages}:
        try:
            read[text] = Version(text)
        except InvalidVersionError:
            read[text] = None
    known = sorted(version for version in read.values() if version is not None)
    distinct = [version for number, version in enumerate(known) if not number or version != known[number - 1]]
    return {text: 0 if version is None else distinct.index(version) + 1 for text, version in read.items()}


def _build(package: ChannelPackage) -> tuple[int, float, str, str]:
    return package.build_number, package.timestamp or 0.0, package.build, package.version


def _variant(package: ChannelPackage) -> tuple[str, ...]:
    """What makes builds of one version stand side by side: the Python and the Emscripten that they are for."""
    match = _PYTHON_BUILD.search(package.build)
    bound = sorted(" ".join(spec.split()) for spec in package.depends if depends_name(spec) in ("python_abi", "emscripten-abi"))
    return (match[1] if match else "", *bound)
