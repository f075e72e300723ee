"""Select which of the packages that the channels list are converted, with the reason for every one that is not.

Repodata do not say what is in a package. `python` is often missing from depends (emscripten-forge's python-xxhash has the build
string `h..._0` and does not mention Python), so a package that may be Python is opened; only a name can refuse it unopened
(`refused`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.records import LeftOutRecord
from conda2wheel.channels.repodata import all_records, channel_url
from conda2wheel.conda.classify import refused_by_name
from conda2wheel.conda.formats import FORMATS, format_named
from conda2wheel.conda.match_spec import spec_name
from conda2wheel.conda.names import foreign_pattern
from conda2wheel.conda.parsing import InvalidSpecError, parse_version
from conda2wheel.errors import Refused
from conda2wheel.mirror.config import PackageClass, SelectConfig
from conda2wheel.mirror.state.match_specs import MatchSpecs
from conda2wheel.mirror.state.model import ChannelPackage
from conda2wheel.net.urls import redacted

if TYPE_CHECKING:
    from rattler import RepoDataRecord

SkippedPackage = tuple[ChannelPackage, str]  # a package that is not selected, and the reason
Selection = tuple[list[ChannelPackage], list[SkippedPackage]]
_LOCATION_FIELDS = ("url", "channel", "fn", "indexed_timestamp")  # where and when a record was found: nothing about the package
_PYTHON_BUILD = re.compile(r"(?:^|_|\d)py(\d+|h)")


@dataclass(frozen=True)
class ListedPackages:
    """What channels list: their packages, and the records that cannot be used."""

    packages: list[ChannelPackage]
    left_out: tuple[LeftOutRecord, ...] = ()


def list_packages(channels: Iterable[str], downloads: Downloads) -> ListedPackages:
    """List all packages of the channels for emscripten-wasm32 and noarch, by channel, subdir and file name.

    A record without a sha256 cannot be identified and is left out, too.

    Raises:
        Failed: "network" or "unreadable" where any channel cannot be read.
    """
    found: dict[tuple[str, str, str], ChannelPackage] = {}
    left_out: dict[LeftOutRecord, None] = {}
    for channel in channels:
        address = channel_url(channel)
        shown = redacted(address)
        listed = all_records(address, downloads)
        left_out |= dict.fromkeys(listed.left_out)
        for record in sorted(listed.records, key=lambda record: (record.subdir, record.file_name)):
            if record.sha256:
                found.setdefault((shown, record.subdir, record.file_name), package_of(record, shown))
            else:
                left_out[LeftOutRecord(shown, record.subdir, record.file_name, "it has no sha256")] = None
    return ListedPackages(list(found.values()), tuple(left_out))


def package_of(record: RepoDataRecord, channel: str) -> ChannelPackage:
    """Convert a record of a channel's repodata."""
    document: dict[str, Any] = json.loads(record.to_json())
    content = {key: value for key, value in document.items() if key not in _LOCATION_FIELDS}
    return ChannelPackage(
        sha256=record.sha256.hex() if record.sha256 else "",
        url=redacted(str(record.url)),
        channel=channel,
        subdir=record.subdir,
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        build_number=record.build_number,
        noarch=bool(document.get("noarch")),
        depends=tuple(map(str, record.depends)),
        record=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16],
        size=record.size,
        timestamp=record.timestamp.timestamp() if record.timestamp else None,
    )


def class_of(package: ChannelPackage) -> PackageClass:
    """The class that repodata show: "python", or "maybe" where they do not say."""
    names = {spec_name(spec) for spec in package.depends}
    return "python" if names & {"python", "python_abi"} or _PYTHON_BUILD.search(package.build) else "maybe"


def refused(package: ChannelPackage) -> Refused | None:
    """The refusal by name alone, from kinds.toml and the patterns of names.toml; None where the contents decide."""
    where = f"{package.subdir}/{package.stem}"
    if (pattern := foreign_pattern(package.name)) is not None:
        return Refused("not-python", f"{where}: {pattern} are packages of another language", "leave it out")
    return refused_by_name(package.name, where)


def select(packages: Sequence[ChannelPackage], config: SelectConfig) -> Selection:
    """Select packages by [select]; returns them, and every other package with the reason."""
    chosen, skipped = _one_format(packages)
    if config.include:
        chosen, rest = _by_specs(chosen, config.include, True, "not among [select] include")
        skipped += rest
    if config.exclude:
        chosen, rest = _by_specs(chosen, config.exclude, False, "excluded")
        skipped += rest
    classes = [(package, class_of(package)) for package in chosen]
    skipped += [(package, f"its class is {name}") for package, name in classes if name not in config.classes]
    chosen, rest = _newest([package for package, name in classes if name in config.classes], config)
    return chosen, [*skipped, *rest]


def _one_format(packages: Sequence[ChannelPackage]) -> Selection:
    """Select one file of each build: that of the first channel, .conda before .tar.bz2."""
    chosen: dict[tuple[str, ...], ChannelPackage] = {}
    skipped: list[SkippedPackage] = []
    channels = {channel: number for number, channel in enumerate(dict.fromkeys(package.channel for package in packages))}

    def preference(package: ChannelPackage) -> tuple[int, int, str]:
        return channels[package.channel], _preference(package.url), package.url

    for package in sorted(packages, key=preference):
        same = chosen.setdefault((package.subdir, package.name, package.version, package.build), package)
        if same is not package:
            skipped.append((package, f"the same build as {same.url.rpartition('/')[2]} of {same.channel}"))
    taken = set(map(id, chosen.values()))
    return [package for package in packages if id(package) in taken], skipped


def _by_specs(packages: list[ChannelPackage], specs: Sequence[str], wanted: bool, reason: str) -> Selection:
    matches = list(zip(packages, MatchSpecs(specs).fit(packages), strict=True))
    chosen = [package for package, fits in matches if fits is wanted]
    return chosen, [(package, reason) for package, fits in matches if fits is not wanted]


def _newest(packages: list[ChannelPackage], config: SelectConfig) -> Selection:
    """Select the newest versions of each name, and of each version the newest builds for each Python and Emscripten."""
    chosen: list[ChannelPackage] = []
    skipped: list[SkippedPackage] = []
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
            if config.versions and newest - order[package.version] >= config.versions:
                skipped.append((package, f"not among the {config.versions} newest versions"))
            elif config.builds and builds[variant] > config.builds:
                skipped.append((package, f"not among the {config.builds} newest builds of its version"))
            else:
                chosen.append(package)
    return chosen, skipped


def ranks(packages: Iterable[ChannelPackage]) -> dict[str, int]:
    """Rank the versions of one name in conda's order, from 1 for the oldest.

    Versions that conda considers equal (1.0 and 1.00) share a rank; versions that conda cannot parse have rank 0.
    """
    parsed: dict[str, Any] = {}
    for text in {package.version for package in packages}:
        try:
            parsed[text] = parse_version(text)
        except InvalidSpecError:
            parsed[text] = None
    versions = sorted(version for version in parsed.values() if version is not None)
    distinct = [version for number, version in enumerate(versions) if not number or version != versions[number - 1]]
    return {text: 0 if version is None else distinct.index(version) + 1 for text, version in parsed.items()}


def _build(package: ChannelPackage) -> tuple[int, float, str, str]:
    return package.build_number, package.timestamp or 0.0, package.build, package.version


def _variant(package: ChannelPackage) -> tuple[str, ...]:
    """The Python and the Emscripten that a build is for; builds of one version with different ones are all selected."""
    match = _PYTHON_BUILD.search(package.build)
    abis = sorted(" ".join(spec.split()) for spec in package.depends if spec_name(spec) in ("python_abi", "emscripten-abi"))
    return (match[1] if match else "", *abis)


def _preference(url: str) -> int:
    """The position of an archive's format in the table of formats, which begins with the preferred one."""
    found = format_named(url)
    return FORMATS.index(found) if found is not None else len(FORMATS)
