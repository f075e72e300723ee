"""Where the loader looks for a NEEDED library, and by which path it finds it.

Measured, and read in emscripten's libdylink.js and dynlink.c: since Pyodide 0.28 it looks in LD_LIBRARY_PATH (/usr/lib and
site-packages) and then in RUNTIME_PATH, in order. Of an entry it replaces `$ORIGIN` at its very beginning, and nothing else:
`${ORIGIN}/lib` and `$ORIGIN/a:$ORIGIN/b` name folders that are not there. It knows a library by the path that it was found
under; where the loader does not normalise paths (2025_0), `pkg/lib/libx.so` and `pkg/sub/../lib/libx.so` are two instances.
Before 0.28 it looks in `<distribution>.libs`, /usr/lib, site-packages and beside the user.

All folders are relative to site-packages, which itself is the empty string.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence

from conda2wheel.abi.platforms import Platform

ORIGIN = "$ORIGIN"  # one entry a path: other forms are not read
_OTHER_ORIGIN = "${ORIGIN}"


def folder_of(entry: str, folder: str, platform: Platform | None = None) -> str | None:
    """The folder that a RUNTIME_PATH entry of a module in `folder` leads to, None if it leads out of site-packages or nowhere.

    >>> folder_of("$ORIGIN/../pkg.libs", "pkg"), folder_of("${ORIGIN}", "pkg"), folder_of("$ORIGIN/a:$ORIGIN/b", "pkg")
    ('pkg.libs', None, None)
    """
    raw = _raw(entry, folder, platform)
    if raw is None:
        return None
    path = posixpath.normpath(raw or ".")
    return None if path == ".." or path.startswith("../") else "" if path == "." else path


def search_order(entries: Sequence[str], folder: str, libs: str, platform: Platform) -> list[str]:
    """The folders in which the loader looks for what a module in `folder` NEEDs; then those that a builder meant and that it
    does not read so."""
    if not platform.runtime_path:
        return [libs, "", folder]
    read = [folder_of(entry, folder, platform) for entry in entries]
    parts = [part.replace(_OTHER_ORIGIN, ORIGIN) for entry in entries for part in entry.split(":")]
    meant = [folder_of(part, folder, platform) for part in parts]
    return ["", *(place for place in (*read, *meant) if place is not None), folder]


def finds(entries: Sequence[str], folder: str, wanted: str, files: Collection[str], platform: Platform) -> bool:
    """Whether the loader, asked for the file name of `wanted` by a module in `folder` with these RUNTIME_PATH entries, finds
    `wanted` and no other of `files`, under the one path that every other way leads to as well."""
    name = posixpath.basename(wanted)
    if name in files:  # in site-packages itself, which comes first
        return wanted == name
    for entry in entries:
        place = folder_of(entry, folder, platform)
        if place is not None and posixpath.join(place, name) in files:
            straight = platform.normalises_paths or _raw(entry, folder, platform) == place
            return posixpath.join(place, name) == wanted and straight
    return False


def _raw(entry: str, folder: str, platform: Platform | None) -> str | None:
    """An entry as the loader spells it, without site-packages in front."""
    if ":" in entry:
        return None
    if entry == ORIGIN:
        return folder
    if entry.startswith(ORIGIN + "/"):
        return posixpath.join(folder, entry[len(ORIGIN) + 1 :])
    site = platform.site_packages if platform else ""
    if site and (entry == site or entry.startswith(site + "/")):
        return entry[len(site) + 1 :]
    return None
