"""Where Pyodide's loaders look for a NEEDED library, and by which path they find it.

Since Pyodide 0.28 (Emscripten's `_emscripten_find_dylib`, dynlink.c, and libdylink.js): a name with a slash is not searched for,
an absolute one is taken as it is. Other names are looked for in LD_LIBRARY_PATH, which is `/usr/lib` and site-packages, then in
RUNTIME_PATH, in order. Of a RUNTIME_PATH entry the loader replaces a `$ORIGIN` at the very beginning by the user's folder, and
nothing else; then it splits all entries at colons. So `${ORIGIN}/lib` and the second half of `$ORIGIN/a:$ORIGIN/b` are folders
that do not exist. It knows a library by the path that it was found under: where it does not normalise paths (2025_0),
`pkg/lib/libx.so` and `pkg/sub/../lib/libx.so` are two instances.

Before 0.28 (Pyodide's own dynload.ts): `<distribution>.libs`, `/usr/lib`, site-packages and the folder of the module that was
opened, on 0.27 also every folder below that one.

Files are named by their paths below site-packages, which itself is the empty string.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence

from conda2wheel.abi.platforms import Platform

USR_LIB = "/usr/lib"
ORIGIN = "$ORIGIN"  # the only form that the loader reads
OTHER_ORIGIN = "${ORIGIN}"
LONGEST = 511  # bytes of a path; the loader ignores longer ones
NO_PYODIDE = "/site-packages"  # stands for site-packages on platforms that no Pyodide has
_SEPARATOR = re.compile("[:\n]")


class SitePackages:
    """The paths of the files in one site-packages folder, and how the loader of a platform finds libraries among them."""

    def __init__(self, platform: Platform, files: Collection[str]) -> None:
        self.root = platform.site_packages or NO_PYODIDE
        self.files = files

    def absolute(self, file: str) -> str:
        """The absolute path of a file or folder."""
        return posixpath.join(self.root, file).rstrip("/")

    def relative(self, path: str) -> str | None:
        """An absolute path as one below site-packages, normalised; None outside of it."""
        plain = posixpath.normpath(path)
        return "" if plain == self.root else plain[len(self.root) + 1 :] if plain.startswith(f"{self.root}/") else None

    def has(self, path: str) -> bool:
        """Whether an absolute path, normalised or not, leads to one of the files."""
        return self.relative(path) in self.files

    def find(self, name: str, folder: str, runtime_path: Sequence[str]) -> str | None:
        """Return the absolute path, as spelled, by which a loader since 0.28 finds `name`.

        It searches for a module in the absolute `folder`. The result is None where it finds nothing.
        """
        if name.startswith("/"):
            return name if self.has(name) else None
        if "/" in name:
            return None
        for directory in (USR_LIB, self.root, *read_runtime_path(runtime_path, folder)):
            path = f"{directory}/{name}"
            if len(path.encode()) <= LONGEST and self.has(path):
                return path
        return None

    def find_from(self, name: str, folder: str, distribution: str | None, subfolders: bool) -> str | None:
        """Return the absolute path by which a loader before 0.28 finds `name`, whichever module NEEDs it.

        It searches while a module in `folder` (below site-packages) is opened. The result is None where it finds nothing. With
        `subfolders`, every folder below `folder` is searched as well; without a `distribution`, no `<distribution>.libs` is.
        """
        if name.startswith("/") and subfolders:
            return name if self.has(name) else None
        libs = [] if distribution is None else [f"{self.root}/{distribution}.libs"]
        directories = [*libs, USR_LIB, self.root, self.absolute(folder)]
        if subfolders:
            directories += self._below(folder)
        return next((path for each in directories if self.has(path := f"{each}/{name}")), None)

    def _below(self, folder: str) -> Iterator[str]:
        """Every folder below one that has a file, as absolute paths."""
        seen: dict[str, None] = {}
        for path in self.files:
            parent = posixpath.dirname(path)
            while parent != folder and (not folder or parent.startswith(f"{folder}/")) and parent:
                seen.setdefault(parent)
                parent = posixpath.dirname(parent)
        return map(self.absolute, seen)


def read_runtime_path(entries: Sequence[str], folder: str) -> list[str]:
    """The absolute folders that the loader reads in the RUNTIME_PATH of a module in `folder`, as it spells them.

    >>> read_runtime_path(["$ORIGIN/../pkg.libs", "${ORIGIN}", "$ORIGIN/a:$ORIGIN/b", "/usr/local/lib"], "/site/pkg")
    ['/site/pkg/../pkg.libs', '/site/pkg/a', '/usr/local/lib']
    """
    replaced = (entry.replace(ORIGIN, folder, 1) if entry.startswith(ORIGIN) else entry for entry in entries)
    return [part for entry in replaced for part in _SEPARATOR.split(entry) if part.startswith("/")]


def finds(entries: Sequence[str], folder: str, wanted: str, files: Collection[str], platform: Platform) -> bool:
    """Tell whether the loader finds `wanted` by its file name, for a module in `folder` with these RUNTIME_PATH entries.

    It has to find `wanted` and no other of `files`, under the one path that every other way leads to as well.
    """
    site = SitePackages(platform, files)
    path = site.find(posixpath.basename(wanted), site.absolute(folder), entries)
    if path is None or site.relative(path) != wanted:
        return False
    return platform.normalises_paths or path == site.absolute(wanted)


def search_order(entries: Sequence[str], folder: str, libs: str, platform: Platform) -> list[str]:
    """Return the folders below site-packages in which the loader looks for what a module in `folder` NEEDs.

    After them come those that the entries mean and that the loader does not read; then `folder`. `libs` is the wheel's
    `<distribution>.libs`.
    """
    if not platform.runtime_path:
        return [libs, "", folder]
    site = SitePackages(platform, ())
    here = site.absolute(folder)
    meant = [part.replace(OTHER_ORIGIN, ORIGIN) for entry in entries for part in _SEPARATOR.split(entry)]
    paths = [*read_runtime_path(entries, here), *read_runtime_path(meant, here)]
    return ["", *(place for path in paths if (place := site.relative(path)) is not None), folder]


def misread(entry: str) -> str | None:
    """What is wrong with a RUNTIME_PATH entry for the loaders that read it; None for one that they read as it is meant.

    >>> misread("$ORIGIN/../demo.libs"), misread("/lib/python3.13/site-packages/demo.libs")
    (None, None)
    >>> misread("${ORIGIN}/lib")
    '${ORIGIN} is not replaced, only $ORIGIN is'
    """
    if OTHER_ORIGIN in entry:
        return "${ORIGIN} is not replaced, only $ORIGIN is"
    if entry.count(ORIGIN) > 1:
        return "only the first $ORIGIN of an entry is replaced; one entry a folder"
    if ORIGIN in entry and not entry.startswith(ORIGIN):
        return "$ORIGIN is replaced at the beginning of an entry only"
    if any(part and not part.startswith(("/", ORIGIN)) for part in _SEPARATOR.split(entry)):
        return "a relative path is looked up in the current folder, not in the folder of the module"
    return None
