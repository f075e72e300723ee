"""`verify`: convert the source packages of a wheel again, and compare the bytes.

    read      wheel.provenance   command, options and packages with their hashes, from the wheel's conda2wheel.json
    find      here               these packages among those that the caller gives
    replay    pipeline, repair   the same conversion or repair, into a temporary folder
    compare   here               the whole file; if it differs, member by member

Packages are identified by their hashes. From the provenance come only facts that a package cannot contain: the name of its
archive, its channel, the environment that listed it. A member that does not follow from the packages, or that another version
wrote, is a difference.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda2wheel._version import __version__
from conda2wheel.channels.open import open_package
from conda2wheel.commands.pipeline import Opened, build, prepare_package
from conda2wheel.commands.repair import repair_wheel
from conda2wheel.commands.wheels_beside import WheelsBeside
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.open import expand
from conda2wheel.conda.origin import MemberSource
from conda2wheel.errors import Conda2WheelError, Failed, Refused, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.reading import corrupt, unreadable
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.options import Options
from conda2wheel.results import Planned
from conda2wheel.wheel.provenance import NAME, SCHEMA, SHARE, TOOL, read_provenance
from conda2wheel.wheel.reader import Wheel, read_wheel

INPUTS = {"convert": "package", "repair": "wheel"}


@dataclass(frozen=True)
class Difference:
    """A difference between a wheel and its replay; `what` is missing, added, bytes, mode, name or framing."""

    member: str
    what: str
    message: str

    def json(self) -> dict[str, Any]:
        """Return `{"member", "what", "message"}`."""
        return {"member": self.member, "what": self.what, "message": self.message}


@dataclass(frozen=True)
class Verified:
    """The comparison of a wheel with its replay.

    Attributes:
        source: the wheel.
        identical: whether the bytes are the same.
        sha256: the hash of the wheel.
        replayed: the hash of the replay; empty if the replay is refused.
        made_by: the version of conda2wheel that wrote the wheel.
        packages: the source packages.
        differences: where the bytes differ.
        seconds: how long it took.
    """

    source: str
    identical: bool
    sha256: str
    replayed: str
    made_by: str
    packages: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def other_version(self) -> bool:
        """Whether another version of conda2wheel wrote the wheel, which may write different bytes."""
        return self.made_by != __version__

    def json(self) -> dict[str, Any]:
        """Return one entry of `results`."""
        return {
            "source": self.source,
            "status": "verified" if self.identical else "different",
            "identical": self.identical,
            "sha256": self.sha256,
            "replayed": self.replayed,
            "made_by": self.made_by,
            "packages": list(self.packages),
            "differences": [each.json() for each in self.differences],
            "seconds": round(self.seconds, 3),
        }


def verify(wheel: str | Path, packages: Iterable[str | Path], *, limits: Limits | None = None) -> Verified:
    """Convert or repair the sources of a wheel again, and compare the bytes. A replay that is refused is a difference.

    Args:
        wheel: a wheel that conda2wheel wrote.
        packages: its source packages: files, folders of packages, unpacked packages, prefixes; for a repaired wheel also the
            original wheel; for libraries that came from a folder, that folder; the wheels that it
            takes libraries from. Archives and wheels are identified by their
            sha256, so their names do not matter.
        limits: bounds on members, sizes and ratios of archives.

    Raises:
        Failed: not-found (the wheel has no provenance, or a package is missing, with its name).
        Refused: corrupt-archive (the provenance cannot be replayed).
    """
    require_several("packages", packages)
    with unexpected_as_failed(str(wheel)):
        return _verify(Path(wheel), [str(path) for path in packages], limits or Limits())


def _verify(path: Path, paths: list[str], limits: Limits) -> Verified:
    started = time.monotonic()
    opened = read_wheel(path, limits)
    account = read_provenance(opened)
    if account is None:
        raise Failed("not-found", f"{path}: it has no {NAME}, which names its sources", "give a wheel that conda2wheel wrote")
    if account.get("command") == SHARE or ("shared" in account and account.get("command") != "repair"):
        why = "its libraries are shared by a set of wheels, whose packages it does not name"
        hint = "conda2wheel bundle --locked makes a set again, a run of its mirror a mirror's wheel"
        raise Failed("not-found", f"{path}: {why}", hint)
    try:
        replay_plan = _ReplayPlan.read(account)
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(str(path), f"{NAME} cannot be replayed: {error}", "another version may have written it") from None
    found = _find(str(path), replay_plan, paths, limits)
    with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
        try:
            made = _replay(replay_plan, found, paths, Path(folder), limits)
        except Refused as refusal:
            differences: tuple[Difference, ...] = (Difference(path.name, "bytes", f"the replay is refused: {refusal}"),)
            replayed = ""
        else:
            differences = tuple(_differences(opened, made, limits))
            replayed = made.sha256 or ""
    return Verified(
        source=str(path),
        identical=not differences,
        sha256=_sha256(path),
        replayed=replayed,
        made_by=replay_plan.version,
        packages=tuple(map(_source_name, replay_plan.sources)),
        differences=differences,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _ReplayPlan:
    """What a replay needs from the provenance; the first of `sources` is the input."""

    command: str
    version: str
    options: Options
    sources: tuple[MemberSource, ...]

    @classmethod
    def read(cls, account: Mapping[str, Any]) -> _ReplayPlan:
        """Read the provenance. Raises `ValueError`, `KeyError` or `TypeError` if this version cannot replay it."""
        if account["schema"] != SCHEMA:
            raise ValueError(f"its schema is {account['schema']!r}, and this version knows {SCHEMA}")
        command, tool = account["command"], account["tool"]
        sources = tuple(MemberSource.from_json(dict(source)) for source in account["sources"])
        if command not in INPUTS or tool["name"] != TOOL or [each.kind for each in sources[:1]] != [INPUTS[command]]:
            raise ValueError("this tool does not write its command, tool or input")
        try:
            options = Options.from_json(account["options"])
        except Failed as error:
            raise ValueError(error.message) from None
        return cls(command, str(tool["version"]), options, sources)


def _source_name(source: MemberSource) -> str:
    return f"{source}{f' (sha256 {source.sha256})' if source.sha256 else ''}"


def _find(wheel: str, replay_plan: _ReplayPlan, paths: list[str], limits: Limits) -> dict[MemberSource, str]:
    """Return the path of each source that is no folder. Raises `Failed` (not-found), with the names of all missing ones."""
    for path in paths:
        if not os.path.lexists(path):
            raise Failed("not-found", f"--from {path}: no such file or folder", "check the path")
    by_hash = {_sha256(Path(file)): file for file in _files(paths)}
    unpacked = dict(_unpacked(paths, limits)) if any(source.opened == "folder" for source in replay_plan.sources) else {}
    found: dict[MemberSource, str] = {}
    missing: list[str] = []
    for source in replay_plan.sources:
        if source.kind == "folder":
            continue
        identity = (source.name, source.version, source.build)
        at = unpacked.get(identity) if source.opened == "folder" else by_hash.get(source.sha256 or "")
        if at is None:
            missing.append(_source_name(source))
        else:
            found[source] = at
    if missing:
        raise Failed("not-found", f"{wheel}: its sources {', '.join(missing)} are not in --from", "give it with --from")
    return found


def _files(paths: Iterable[str]) -> Iterator[str]:
    """Yield archives and wheels, and those in folders."""
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            yield from (os.path.join(path, name) for name in names if name.endswith((*PACKAGE_SUFFIXES, ".whl")))
        else:
            yield path


def _unpacked(paths: Iterable[str], limits: Limits) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Yield unpacked packages, with name, version and build."""
    for path in paths:
        for one in expand(path) if os.path.isdir(path) else [path] if path.endswith(".json") else ():
            try:
                package = open_package(one, limits)
            except Conda2WheelError:
                continue  # a folder of archives, or of libraries
            yield (package.name, package.version, package.build), one


def _is_plain_folder(path: str) -> bool:
    """Whether a path is a folder of plain files, which libraries may come from."""
    if not os.path.isdir(path) or any(os.path.exists(os.path.join(path, name)) for name in ("info/index.json", "conda-meta")):
        return False
    return not any(name.endswith(PACKAGE_SUFFIXES) for name in os.listdir(path))


def _replay(
    replay_plan: _ReplayPlan, found: Mapping[MemberSource, str], paths: Iterable[str], out: Path, limits: Limits
) -> Planned:
    first, *others = replay_plan.sources
    wheels = [source for source in others if source.kind == "wheel" and source in found]
    packages = [source for source in others if source not in wheels and source in found]
    opened = [source.with_record(open_package(found[source], limits)) for source in packages]
    folders = [path for path in paths if _is_plain_folder(path)] if any(each.kind == "folder" for each in others) else []
    index = LibraryIndex(folders, limits, opened)
    if replay_plan.command == "repair":
        beside = WheelsBeside([_under_name(each, found[each], out / "beside") for each in wheels], limits)
        wheel = read_wheel(_under_name(first, found[first], out / "input"), limits)
        return repair_wheel(wheel, index, replay_plan.options, out, beside)
    package = first.with_record(open_package(found[first], limits))
    return build(prepare_package(Opened(package, replay_plan.options, index))).write(out)


def _under_name(source: MemberSource, path: str, folder: Path) -> Path:
    """The path of a wheel under its original name, which contains version and tags."""
    if Path(path).name == source.filename or not source.filename:
        return Path(path)
    folder.mkdir(exist_ok=True)
    return Path(shutil.copyfile(path, folder / Path(source.filename).name))


def _differences(wheel: Wheel, made: Planned, limits: Limits) -> Iterator[Difference]:
    if made.wheel is None:
        raise ValueError("the replay wrote no wheel")
    if _sha256(wheel.path) != made.sha256:
        before, after = ({file.path: file for file in each.files} for each in (wheel, read_wheel(made.wheel, limits)))
        yield from (Difference(path, "added", "the replay has no such member") for path in sorted(before.keys() - after.keys()))
        yield from (Difference(path, "missing", "the replay has this member") for path in sorted(after.keys() - before.keys()))
        same = True
        for path in sorted(before.keys() & after.keys()):
            if before[path].blob.sha256 != after[path].blob.sha256:
                same = False
                yield Difference(path, "bytes", _byte_difference(wheel, path, before[path].blob.read(), after[path].blob.read()))
            elif before[path].executable != after[path].executable:
                yield Difference(path, "mode", "is executable in one of them only")
        if same and before.keys() == after.keys():
            yield Difference(
                wheel.path.name, "framing", "all members agree; the zip around them does not (order, times, compression)"
            )
    if wheel.path.name != made.filename:
        yield Difference(wheel.path.name, "name", f"the replay is called {made.filename}")


def _byte_difference(wheel: Wheel, path: str, before: bytes, after: bytes) -> str:
    """Describe how a member differs; of the provenance, name the keys."""
    if path == f"{wheel.dist_info}/{NAME}":
        one, other = json.loads(before), json.loads(after)
        keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if keys:
            return f"differs in {', '.join(keys)}"
    return f"has {len(before)} bytes that differ from the replay's {len(after)}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
