"""Where the loader looks for a NEEDED library, and by which path it finds it.

Measured, and read in emscripten's libdylink.js and dynlink.c: since Pyodide 0.28 it looks in LD_LIBRARY_PATH (/usr/lib and
site-packages) and then in RUNTIME_PATH, in order. Of an entry it replaces `$ORIGIN` at its very beginning, once, and nothing
else; then it splits it at colons: so `${ORIGIN}/lib` and the second half of `$ORIGIN/a:$ORIGIN/b` are folders that are not
there. It knows a library by the path that it was found under; where it does not normalise paths (2025_0), `pkg/lib/libx.so`
and `pkg/sub/../lib/libx.so` are two instances. Before 0.28 it looks in `<distribution>.libs`, /usr/lib, site-packages and
beside the user. (`abi.search` asks the same of a finished wheel; here nothing is written yet.)

All folders are relative to site-packages, which itself is the empty string.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence

from conda2wheel.abi.platforms import Platform

ORIGIN = "$ORIGIN"  # one entry a path: other forms are not read
_OTHER_ORIGIN = "${ORIGIN}"


def search_order(entries: Sequence[str], folder: str, libs: str, platform: Platform) -> list[str]:
    """The folders in which the loader looks for what a module in `folder` NEEDs; then those that a builder meant and that it
    does not read so."""
    if not platform.runtime_path:
        return [libs, "", folder]
    meant = [part.replace(_OTHER_ORIGIN, ORIGIN) for entry in entries for part in entry.split(":")]
    raw = [*_read(entries, folder, platform), *_read(meant, folder, platform)]
    return ["", *(place for path in raw if (place := _normal(path)) is not None), folder]


def finds(entries: Sequence[str], folder: str, wanted: str, files: Collection[str], platform: Platform) -> bool:
    """Whether the loader, asked for the file name of `wanted` by a module in `folder` with these RUNTIME_PATH entries, finds
    `wanted` and no other of `files`, under the one path that every other way leads to as well."""
    name = posixpath.basename(wanted)
    if name in files:  # in site-packages itself, which comes first
        return wanted == name
    for raw in _read(entries, folder, platform):
        place = _normal(raw)
        if place is not None and posixpath.join(place, name) in files:
            return posixpath.join(place, name) == wanted and (platform.normalises_paths or raw == place)
    return False


def _read(entries: Sequence[str], folder: str, platform: Platform) -> Iterator[str]:
    """The folders that the loader reads in RUNTIME_PATH, as it spells them but without site-packages in front; those outside of
    site-packages are left out.

    >>> from conda2wheel.abi.platforms import for_pyodide
    >>> list(_read(["$ORIGIN/../pkg.libs", "${ORIGIN}", "$ORIGIN/a:$ORIGIN/b", "/usr/local/lib"], "pkg", for_pyodide("314.0.7")))
    ['pkg/../pkg.libs', 'pkg/a']
    """
    site = platform.site_packages
    for entry in entries:
        first, *others = entry.split(":")
        if first == ORIGIN:
            yield folder
        elif first.startswith(ORIGIN + "/"):
            yield posixpath.join(folder, first[len(ORIGIN) + 1 :])
        else:
            others = [first, *others]
        yield from (part[len(site) + 1 :] for part in others if site and (part + "/").startswith(site + "/"))


def _normal(raw: str) -> str | None:
    """The folder itself; None outside of site-packages."""
    path = posixpath.normpath(raw or ".")
    return None if path == ".." or path.startswith("../") else "" if path == "." else path
