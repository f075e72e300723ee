"""Read a package's list of files: `info/paths.json`, or conda-build's older `info/files` and `info/has_prefix`.

Specification: conda's package specification (paths.json; CEP 17). rattler-build writes paths.json only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from conda2wheel.files.links import PackageFiles
from conda2wheel.files.packagefile import PackageFile, parents
from conda2wheel.files.reading import corrupt
from conda2wheel.results import ConversionWarning

SITE = re.compile(r"^(?:lib/python(\d+\.\d+)t?/)?site-packages/")
OLDEST_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"  # conda-build's, where has_prefix names only the path
PathRows = Mapping[str, Mapping[str, Any]]


class Placeholder(NamedTuple):
    """The build prefix in a file, with the file's mode: `text`, or `binary` with NUL-terminated strings."""

    mode: str
    prefix: str


def glob_pattern(globs: Iterable[str]) -> re.Pattern[str]:
    """Compile globs to a pattern for whole paths: `*` matches within a folder, `**` across folders.

    >>> [bool(glob_pattern(["share/**/*.db"]).fullmatch(path)) for path in ("share/x.db", "share/a/b/x.db", "share/x.py")]
    [True, True, False]
    """
    return re.compile("|".join(f"(?:{_expression(glob)})" for glob in globs))


def _expression(glob: str) -> str:
    """A glob as a regular expression that does not try all ways to divide a path among its stars.

    What lies between two `**` is matched where it first fits, and stays there (an atomic group): the second `**` takes the rest.
    """
    head, *rest = re.split(r"(\*\*/|\*\*)", re.sub(r"(?:\*\*/){2,}", "**/", glob))
    gaps, pieces = ["", *rest[::2]], [head, *rest[1::2]]
    found = ""
    for number, (gap, piece) in enumerate(zip(gaps, pieces, strict=True)):
        before = {"": "", "**": ".*?", "**/": "(?:.*?/)??"}[gap]
        part = before + _within_folders(piece)
        following = gaps[number + 1] if number + 1 < len(gaps) else ""
        found += f"(?>{part})" if following and gap else part
    return found


def _within_folders(piece: str) -> str:
    """The part of a glob between two `**`: each `*` but the last takes as little as it can, and stays at that."""
    first, *others = piece.split("*")
    texts = [re.escape(text) for text in others]
    return re.escape(first) + "".join(f"(?>[^/]*?{text})" for text in texts[:-1]) + "".join(f"[^/]*{t}" for t in texts[-1:])


def path_rows(source: str, document: Mapping[str, Any], name: str) -> PathRows:
    """Return the rows of a paths.json (or of a record's `paths_data`) by path. Raises `Refused` (corrupt-archive)."""
    listed = document.get("paths")
    if not isinstance(listed, list) or not all(isinstance(row, dict) and isinstance(row.get("_path"), str) for row in listed):
        raise corrupt(source, f"{name} has no list of paths")
    return {row["_path"]: row for row in listed}


def placeholders(found: PathRows) -> dict[str, Placeholder]:
    """Return the placeholders by path."""
    return {
        path: Placeholder(str(row.get("file_mode") or "text"), str(row["prefix_placeholder"]))
        for path, row in found.items()
        if row.get("prefix_placeholder")
    }


def has_prefix(source: str, text: str) -> dict[str, Placeholder]:
    """Read conda-build's older info/has_prefix: `PLACEHOLDER MODE PATH` a line with shell quoting, or the path alone."""
    found = {}
    for line in text.splitlines():
        try:
            fields = shlex.split(line)
        except ValueError as error:
            raise corrupt(source, f"info/has_prefix: {error}") from None
        if len(fields) == 3:
            found[fields[2]] = Placeholder(fields[1], fields[0])
        elif len(fields) == 1:
            found[fields[0]] = Placeholder("text", OLDEST_PLACEHOLDER)
    return found


def select_listed(
    source: str, contents: PackageFiles, listed: PathRows, name: str
) -> tuple[tuple[PackageFile, ...], tuple[ConversionWarning, ...]]:
    """Select the files that a package lists, and compare each with its hash and size.

    Args:
        source: What messages call the package.
        contents: The files in the archive, and the links in it that are left out, which may be listed.
        listed: The rows of the list by path.
        name: The list's path in the package.

    Returns:
        The listed files, and a warning for each file that is not listed: conda would not install it.

    Raises:
        Refused: corrupt-archive if a listed file is missing or differs.
    """
    names = {known: file for file in contents.files for known in (file.path, *file.aliases)}
    lost = {link.path for link in contents.lost}
    links = {path for path, row in listed.items() if row.get("path_type") == "softlink" and path not in names}
    linked_folders = {parent for known in names for parent in parents(known) if parent in links} if links - lost else set()
    for path, row in listed.items():
        file = names.get(path)
        if file is not None:
            _compare(source, path, row, file, name)
        elif row.get("path_type") != "directory" and not (path in links and (path in lost or path in linked_folders)):
            raise corrupt(source, f"{path} is listed in {name} but not in the package")
    kept = []
    warnings = []
    for file in contents.files:
        aliases = tuple(
            alias
            for alias in file.aliases
            if alias in listed or (linked_folders and any(parent in linked_folders for parent in parents(alias)))
        )
        if file.path in listed or aliases:
            kept.append(replace(file, aliases=aliases))
        else:
            warnings.append(
                ConversionWarning("unlisted-file", f"not in {name}, so conda would not install it; left out", file.path)
            )
    return tuple(kept), tuple(warnings)


def _compare(source: str, path: str, row: Mapping[str, Any], file: PackageFile, name: str) -> None:
    digest = row.get("sha256")
    if digest and file.blob.sha256 != digest:
        raise corrupt(source, f"{path} does not have the sha256 of {name}")
    size = row.get("size_in_bytes")  # of a softlink, the length of its text
    if row.get("path_type") == "hardlink" and isinstance(size, int) and size != file.blob.size:
        raise corrupt(source, f"{path} has {file.blob.size} bytes, {size} by {name}")
