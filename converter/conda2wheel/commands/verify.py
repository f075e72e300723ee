"""Was it made so? A wheel's account is played again with the packages that it names, and the bytes are compared.

    read      wheel.account   what the wheel says of itself: command, options, packages with their hashes
    find      here            these packages among those that somebody gives
    replay    convert, repair the same road, into a temporary folder
    compare   here            the whole file; where that differs, member by member

A package is known by its hash. Of what the wheel says only what cannot be in a package is taken as told: its archive's name, its
channel, the environment that listed it. What is not in the packages, or was not made of them by this version, is a difference.
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
from conda2wheel.conda.formats import PACKAGE_SUFFIXES
from conda2wheel.conda.open import expand
from conda2wheel.conda.origin import MemberSource
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.files.reading import corrupt, unreadable
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.options import Options
from conda2wheel.results import Planned
from conda2wheel.wheel.provenance import NAME, SCHEMA, SHARE, TOOL, own_account
from conda2wheel.wheel.reader import Wheel, read_wheel

INPUTS = {"convert": "package", "repair": "wheel"}


@dataclass(frozen=True)
class Difference:
    """One member in which a wheel and its replay differ; `what` is missing, added, bytes, mode or framing."""

    member: str
    what: str
    message: str

    def json(self) -> dict[str, Any]:
        """`{"member", "what", "message"}`."""
        return {"member": self.member, "what": self.what, "message": self.message}


@dataclass(frozen=True)
class Verified:
    """Whether a wheel is what its account says. `identical`: byte for byte. `sha256` is the wheel's own, `replayed` that of the
    one that was made now; `made_by` the version that the account names, which may be another than this one."""

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
        """Whether another version made it, which need not give the same bytes."""
        return self.made_by != __version__

    def json(self) -> dict[str, Any]:
        """One entry of `results`."""
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
    """Replay the conversion (or the repair) that a wheel's account tells of, and compare the bytes.

    packages: where its packages are: package files, folders of them, unpacked packages, prefixes; for a repaired wheel also the
        wheel that it was made of; for libraries of folders that are no package, these folders. Archives and wheels are known by
        their sha256, whatever they are called.

    Raises `Failed`: not-found where the wheel has no account or a package is missing, with its name; `Refused`
    (corrupt-archive) for an account that nobody can replay. A replay that ends in a refusal is a difference.
    """
    started = time.monotonic()
    limits = limits or Limits()
    path = Path(wheel)
    opened = read_wheel(path, limits)
    account = own_account(opened)
    if account is None:
        raise Failed(
            "not-found", f"{path}: it has no {NAME}, so nothing says how it was made", "only conda2wheel's wheels have one"
        )
    if account.get("command") == SHARE or "shared" in account:
        why = "its libraries are shared by a set of wheels, of which its own packages do not tell"
        raise Failed("not-found", f"{path}: {why}", "conda2wheel bundle --locked makes the set again")
    try:
        recipe = _Recipe.read(account)
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(str(path), f"{NAME} cannot be replayed: {error}", "another version may have written it") from None
    places = [str(place) for place in packages]
    found = _find(str(path), recipe, places, limits)
    with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
        try:
            made = _replay(recipe, found, places, Path(folder), limits)
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
        made_by=recipe.version,
        packages=tuple(map(_shown, recipe.sources)),
        differences=differences,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Recipe:
    """What an account says that a replay needs. `sources` has the input first."""

    command: str
    version: str
    options: Options
    sources: tuple[MemberSource, ...]

    @classmethod
    def read(cls, account: Mapping[str, Any]) -> _Recipe:
        """Raises `ValueError`, `KeyError` or `TypeError` where an account is not as this version writes them."""
        if account["schema"] != SCHEMA:
            raise ValueError(f"its schema is {account['schema']!r}, and this version knows {SCHEMA}")
        command, tool = account["command"], account["tool"]
        sources = tuple(MemberSource.from_json(dict(source)) for source in account["sources"])
        if command not in INPUTS or tool["name"] != TOOL or [each.kind for each in sources[:1]] != [INPUTS[command]]:
            raise ValueError("its command, tool or input are none of this tool's")
        try:
            options = Options.from_json(account["options"])
        except Failed as error:
            raise ValueError(error.message) from None
        return cls(command, str(tool["version"]), options, sources)


def _shown(source: MemberSource) -> str:
    return f"{source}{f' (sha256 {source.sha256})' if source.sha256 else ''}"


def _find(wheel: str, recipe: _Recipe, places: list[str], limits: Limits) -> dict[MemberSource, str]:
    """The place of each source but folders among what was given. Raises `Failed` (not-found) with all that are missing."""
    for place in places:
        if not os.path.lexists(place):
            raise Failed("not-found", f"--from {place}: no such file or folder", "check the path")
    by_hash = {_sha256(Path(file)): file for file in _files(places)}
    unpacked = dict(_unpacked(places, limits)) if any(source.opened == "folder" for source in recipe.sources) else {}
    found: dict[MemberSource, str] = {}
    missing: list[str] = []
    for source in recipe.sources:
        if source.kind == "folder":
            continue
        identity = (source.name, source.version, source.build)
        at = unpacked.get(identity) if source.opened == "folder" else by_hash.get(source.sha256 or "")
        if at is None:
            missing.append(_shown(source))
        else:
            found[source] = at
    if missing:
        raise Failed(
            "not-found", f"{wheel}: it was made of {', '.join(missing)}, which --from does not have", "give it with --from"
        )
    return found


def _files(places: Iterable[str]) -> Iterator[str]:
    """Archives and wheels, also those that lie in a folder."""
    for place in places:
        if os.path.isdir(place):
            names = sorted(os.listdir(place))
            yield from (os.path.join(place, name) for name in names if name.endswith((*PACKAGE_SUFFIXES, ".whl")))
        else:
            yield place


def _unpacked(places: Iterable[str], limits: Limits) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Packages that lie unpacked, by name, version and build."""
    for place in places:
        for one in expand(place) if os.path.isdir(place) else [place] if place.endswith(".json") else ():
            try:
                package = open_package(one, limits)
            except Conda2WheelError:
                continue  # a folder of archives, or of libraries
            yield (package.name, package.version, package.build), one


def _has_no_package(place: str) -> bool:
    """Whether it is a folder of files alone, as libraries may come from one."""
    if not os.path.isdir(place) or any(os.path.exists(os.path.join(place, name)) for name in ("info/index.json", "conda-meta")):
        return False
    return not any(name.endswith(PACKAGE_SUFFIXES) for name in os.listdir(place))


def _replay(recipe: _Recipe, found: Mapping[MemberSource, str], places: Iterable[str], out: Path, limits: Limits) -> Planned:
    first, *others = recipe.sources
    opened = [source.with_record(open_package(found[source], limits)) for source in others if source in found]
    folders = [place for place in places if _has_no_package(place)] if any(each.kind == "folder" for each in others) else []
    index = LibraryIndex(folders, limits, opened)
    if recipe.command == "repair":
        return repair_wheel(_named_so(first, found[first], out / "input", limits), index, recipe.options, out)
    package = first.with_record(open_package(found[first], limits))
    return build(prepare_package(Opened(package, recipe.options, index))).write(out)


def _named_so(source: MemberSource, place: str, folder: Path, limits: Limits) -> Wheel:
    """A wheel under the name that it had, which says what it is."""
    if Path(place).name == source.filename or not source.filename:
        return read_wheel(Path(place), limits)
    folder.mkdir()
    copy = folder / Path(source.filename).name
    shutil.copyfile(place, copy)
    return read_wheel(copy, limits)


def _differences(wheel: Wheel, made: Planned, limits: Limits) -> Iterator[Difference]:
    if made.wheel is None:
        raise ValueError("a replay that wrote nothing")
    if _sha256(wheel.path) != made.sha256:
        before, after = ({file.path: file for file in each.files} for each in (wheel, read_wheel(made.wheel, limits)))
        yield from (Difference(path, "added", "the replay has no such member") for path in sorted(before.keys() - after.keys()))
        yield from (Difference(path, "missing", "the replay has it") for path in sorted(after.keys() - before.keys()))
        same = True
        for path in sorted(before.keys() & after.keys()):
            if before[path].blob.sha256 != after[path].blob.sha256:
                same = False
                yield Difference(path, "bytes", _told(wheel, path, before[path].blob.read(), after[path].blob.read()))
            elif before[path].executable != after[path].executable:
                yield Difference(path, "mode", "is executable in one of them only")
        if same and before.keys() == after.keys():
            yield Difference(
                wheel.path.name, "framing", "all members agree; the zip around them does not (order, times, compression)"
            )
    if wheel.path.name != made.filename:
        yield Difference(wheel.path.name, "name", f"the replay is called {made.filename}")


def _told(wheel: Wheel, path: str, before: bytes, after: bytes) -> str:
    """In what two versions of a member differ; of the account, under which keys."""
    if path == f"{wheel.dist_info}/{NAME}":
        one, other = json.loads(before), json.loads(after)
        keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if keys:
            return f"tells otherwise of {', '.join(keys)}"
    return f"has {len(before)} bytes that differ from the replay's {len(after)}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
