"""py-rattler's parsers, with bounds: the one module that gives them text of packages, channels and users.

They recurse: 20,000 nested parentheses in a match spec overflow the stack and end the process. A text that is longer or deeper
than any real one is therefore no match spec and no version here, before they see it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rattler import GenericVirtualPackage, MatchSpec, PackageRecord, RepoDataRecord, Version, VersionSpec

MAX_LENGTH = 2000  # characters of a match spec or version; the longest of emscripten-forge's has 63
MAX_NESTING = 32  # of its brackets
MAX_ODD = 500  # records of a list that are looked for among the others
_AT_ONCE = 2000  # records
_CHANNEL = "https://channel.invalid/"  # of records until they get their own address
_OPEN, _CLOSE = re.compile(r"[(\[{]"), re.compile(r"[)\]}]")
T = TypeVar("T")


class InvalidSpecError(ValueError):
    """A text that is no match spec, version or record."""


def parse_match_spec(text: str, *, strict: bool = False, exact_names_only: bool = True) -> MatchSpec:
    """Parse a match spec. Raises `InvalidSpecError`.

    Args:
        text: the match spec, as CEP 29 has it.
        strict: refuse what conda only tolerates.
        exact_names_only: refuse a pattern as its name.
    """
    from rattler import MatchSpec

    return _parsed(lambda: MatchSpec(bounded(text), strict=strict, exact_names_only=exact_names_only))


def parse_version(text: str) -> Version:
    """Parse a conda version. Raises `InvalidSpecError`."""
    from rattler import Version

    return _parsed(lambda: Version(bounded(text)))


def parse_version_spec(text: str) -> VersionSpec:
    """Parse the version part of a match spec. Raises `InvalidSpecError`."""
    from rattler import VersionSpec

    return _parsed(lambda: VersionSpec(bounded(text)))


def package_record(name: str, version: str, build: str, number: int, subdir: str, **more: Any) -> PackageRecord:
    """Make a record of a package. Raises `InvalidSpecError`."""
    from rattler import BuildString, PackageRecord

    for text in (name, version, build, subdir, *(more.get("depends") or ()), *(more.get("constrains") or ())):
        bounded(text)
    return _parsed(lambda: PackageRecord(name, version, BuildString(build), number, subdir, **more))


def channel_record(package: PackageRecord, filename: str, url: str, channel: str) -> RepoDataRecord:
    """Make a record of a package in a channel. Raises `InvalidSpecError`."""
    from rattler import RepoDataRecord

    return _parsed(lambda: RepoDataRecord(package, bounded(filename), url, channel))


def virtual_packages(names: Iterable[str]) -> list[GenericVirtualPackage]:
    """Make virtual packages of version 0."""
    from rattler import BuildString, GenericVirtualPackage, PackageName, Version

    return [GenericVirtualPackage(PackageName(name), Version("0"), BuildString("0")) for name in names]


def bounded(text: str) -> str:
    """Return a text that is short and flat enough for py-rattler's parsers. Raises `InvalidSpecError`."""
    if len(text) > MAX_LENGTH:
        raise InvalidSpecError(f"it has {len(text)} characters, more than {MAX_LENGTH}")
    depth = deepest = 0
    for character in text if _OPEN.search(text) else "":
        depth += 1 if _OPEN.match(character) else -1 if _CLOSE.match(character) else 0
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise InvalidSpecError(f"its brackets are nested {deepest} deep, more than {MAX_NESTING}")
    return text


def read_records(subdir: str, listed: Mapping[str, Mapping[str, Any]]) -> tuple[list[RepoDataRecord], dict[str, str]]:
    """Make records of what a channel's repodata list.

    py-rattler reads a list as a whole or not at all, so a list with a record that it cannot parse is read in halves.

    Args:
        subdir: the subdir of the list.
        listed: repodata's document of each package, by file name.

    Returns:
        The records, in order, with an address that says nothing; and why records could not be parsed, by file name.
    """
    with tempfile.TemporaryDirectory(prefix="conda2wheel-") as folder:
        return _read_records(Path(folder) / "repodata.json", subdir, listed)


def _read_records(
    path: Path, subdir: str, listed: Mapping[str, Mapping[str, Any]]
) -> tuple[list[RepoDataRecord], dict[str, str]]:
    names = list(listed)
    found: list[RepoDataRecord] = []
    odd: dict[str, str] = {}
    parts = [names[start : start + _AT_ONCE] for start in reversed(range(0, len(names), _AT_ONCE))]
    while parts:
        part = parts.pop()
        if len(odd) >= MAX_ODD:
            odd |= dict.fromkeys(part, f"it was not read: more than {MAX_ODD} records of its list cannot be parsed")
            continue
        try:
            found += _read_list(path, subdir, {name: listed[name] for name in part})
        except InvalidSpecError as error:
            if len(part) == 1:
                odd[part[0]] = _reason(str(error))
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
    return found, odd


def _read_list(path: Path, subdir: str, listed: Mapping[str, Mapping[str, Any]]) -> list[RepoDataRecord]:
    from rattler import Channel, RepoData

    conda = {name: record for name, record in listed.items() if name.endswith(".conda")}
    others = {name: record for name, record in listed.items() if name not in conda}
    try:
        text = json.dumps({"info": {"subdir": subdir}, "packages": others, "packages.conda": conda})
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidSpecError(f"it is no JSON: {error}") from None
    path.write_text(text, encoding="utf-8")
    return _parsed(lambda: RepoData.from_path(path).into_repo_data(Channel(_CHANNEL)))


def _parsed(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except InvalidSpecError:
        raise
    except Exception as error:  # noqa: BLE001 - py-rattler has an exception for each kind, and no common one
        raise InvalidSpecError(_line(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3's, for a panic in Rust
            raise
        raise InvalidSpecError(_line(error)) from None


def _line(error: BaseException) -> str:
    lines: Sequence[str] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _reason(text: str) -> str:
    """Return an error of py-rattler without the position in a file that has only this record."""
    return re.sub(r" at line \d+ column \d+$", "", text)
