"""The records of channels: which of repodata's are sound, and those that are left out, with the reason.

A channel may have records that conda never sees, and one that py-rattler cannot parse fails its whole list. Each is judged alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from conda2wheel.channels.lists import PackageList
from conda2wheel.conda.parsing import InvalidSpecError, bounded, parse_version, read_records
from conda2wheel.files.escape import printable
from conda2wheel.net.urls import Address, secret_url
from conda2wheel.results import ConversionWarning

if TYPE_CHECKING:
    from rattler import RepoDataRecord

NAMED = 3  # records that a warning names
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!=~-]{0,250}\.(?:conda|tar\.bz2)")
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,200}")
_BUILD = re.compile(r"[!-.0-~]{0,200}")  # printable ASCII without a space or slash
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_LATEST = 253_402_300_799_000  # the last millisecond of the year 9999
_NOARCH = ("python", "generic")
_DEPENDS = 2000  # match specs of a record


@dataclass(frozen=True, order=True)
class LeftOutRecord:
    """A record of a channel that cannot be used: its channel, subdir and file name, and why."""

    channel: str
    subdir: str
    filename: str
    why: str

    def __str__(self) -> str:
        """`SUBDIR/FILE: WHY`, in one line."""
        return printable(f"{self.subdir}/{self.filename}: {self.why}")

    def json(self) -> dict[str, str]:
        """Return all attributes, by name."""
        return asdict(self)


@dataclass(frozen=True)
class RecordsRead:
    """Records of a list, and those that were left out."""

    records: tuple[RepoDataRecord, ...] = ()
    left_out: tuple[LeftOutRecord, ...] = ()


def read(channel: Address, listed: PackageList, names: Iterable[str] | None = None) -> RecordsRead:
    """Return the records of these package names, or of all.

    Their `url` has the channel's secrets, their `channel` has none. Those of names are made once for a list: a worker of a mirror
    asks for the same names again and again.
    """
    if names is None:
        return _read(channel, listed, listed.records)
    wanted = {name: listed.records.get(name, {}) for name in names}
    if new := {name: documents for name, documents in wanted.items() if listed.made.get(name, (0,))[0] != len(documents)}:
        part = _read(channel, listed, new)
        made: dict[str, list[RepoDataRecord]] = {name: [] for name in new}
        for record in part.records:
            made[record.name.normalized].append(record)
        odd = {each.filename: each for each in part.left_out}
        for name, documents in new.items():
            left = tuple(odd[short] for filename in documents if (short := _short(filename)) in odd)
            listed.made[name] = len(documents), RecordsRead(tuple(made[name]), left)
    found: list[RecordsRead] = [listed.made[name][1] for name, documents in wanted.items() if documents]
    return RecordsRead(
        tuple(record for each in found for record in each.records), tuple(odd for each in found for odd in each.left_out)
    )


def _read(channel: Address, listed: PackageList, wanted: Mapping[str, Mapping[str, Any]]) -> RecordsRead:
    odd: dict[str, str] = {}
    sound: dict[str, Mapping[str, Any]] = {}
    for documents in wanted.values():
        for filename, document in documents.items():
            if why := problem(listed.subdir, filename, document):
                odd[filename] = why
            else:
                sound[filename] = document if "subdir" in document else {**document, "subdir": listed.subdir}
    records, unparsed = read_records(listed.subdir, sound)
    for record in records:
        record.url = secret_url(listed.base.child(record.file_name))
        record.channel = str(channel)
    return RecordsRead(tuple(records), left_out(channel, listed, {**odd, **unparsed}))


def left_out(channel: Address, listed: PackageList, odd: Mapping[str, str]) -> tuple[LeftOutRecord, ...]:
    """Return the records that are left out, from the reasons by file name."""
    return tuple(LeftOutRecord(str(channel), listed.subdir, _short(filename), why) for filename, why in odd.items())


def problems(listed: PackageList) -> dict[str, str]:
    """Return why records of a list cannot be used, by file name, as far as it can be told without py-rattler.

    A list is judged once, and again when it got records: it takes a second for 20,000.
    """
    count = sum(map(len, listed.records.values()))
    if listed.judged is not None and listed.judged[0] == count:
        return listed.judged[1]
    found = {}
    for documents in listed.records.values():
        for filename, document in documents.items():
            if why := problem(listed.subdir, filename, document):
                found[filename] = why
    listed.judged = (count, found)
    return found


def problem(subdir: str, filename: str, document: Any) -> str:
    """Return why a record cannot be used; empty for a sound one."""
    if not isinstance(filename, str) or not _FILENAME.fullmatch(filename) or filename.count("-") < 2:
        return "its file name is not NAME-VERSION-BUILD.conda or .tar.bz2"
    if not isinstance(document, dict):
        return "it is no object"
    name, version, build = (document.get(key) for key in ("name", "version", "build"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        if isinstance(name, str) and _NAME.fullmatch(name.lower()):
            return f"its name {name} has capitals, and conda's names have none"
        return f"its name is not valid: {_short(name)!r}"
    if not isinstance(version, str):
        return "it has no version"
    try:
        parse_version(version)
        for key in ("depends", "constrains"):
            _require_specs(key, document.get(key))
    except InvalidSpecError as error:
        return _short(str(error))
    if not isinstance(build, str) or not _BUILD.fullmatch(build):
        return f"its build string is not valid: {_short(build)!r}"
    return _other_problem(subdir, document)


def _other_problem(subdir: str, document: Mapping[str, Any]) -> str:
    if not _is_count(document.get("build_number"), 1 << 63):
        return "its build number is no number"
    sha256 = document.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        return "its sha256 is not 64 hexadecimal digits"
    if document.get("subdir", subdir) != subdir:
        return f"its subdir is {_short(document['subdir'])!r}"
    for key, limit in (("size", 1 << 63), ("timestamp", _LATEST)):
        if document.get(key) is not None and not _is_count(document[key], limit):
            return f"its {key} is no number, or out of range"
    return _text_problem(document)


def _text_problem(document: Mapping[str, Any]) -> str:
    if not isinstance(document.get("noarch"), bool | None) and document["noarch"] not in _NOARCH:
        return f"its noarch is {_short(document['noarch'])!r}"
    if not isinstance(document.get("license"), str | None):
        return "its license is no text"
    for key, value in document.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return f"its {_short(key)} has half a surrogate pair"
    return ""


def _require_specs(key: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(spec, str) for spec in value):
        raise InvalidSpecError(f"its {key} are no list of match specs")
    if len(value) > _DEPENDS:
        raise InvalidSpecError(f"it has {len(value)} {key}, more than {_DEPENDS}")
    for spec in value:
        try:
            bounded(spec)
        except InvalidSpecError as error:
            raise InvalidSpecError(f"one of its {key} is no match spec: {error}") from None


def _is_count(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def left_out_warnings(records: Iterable[LeftOutRecord]) -> tuple[ConversionWarning, ...]:
    """Return one warning for each channel with records that were left out: how many, and the first of them."""
    by_channel: dict[str, list[LeftOutRecord]] = {}
    for record in records:
        by_channel.setdefault(record.channel, []).append(record)
    found = []
    for channel, each in by_channel.items():
        shown = "; ".join(map(str, sorted(each)[:NAMED])) + ("; ..." if len(each) > NAMED else "")
        count = f"{len(each)} record{'s' if len(each) > 1 else ''}"
        found.append(ConversionWarning("channel-record", f"{count} of {channel} cannot be used: {shown}"))
    return tuple(found)
