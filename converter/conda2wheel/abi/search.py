"""Where the loaders look for a NEEDED library, over the files of everything that is installed.

Since Pyodide 0.28 (Emscripten's `_emscripten_find_dylib`, dynlink.c): a name with a slash is not searched for, an absolute
one is taken as it is; else LD_LIBRARY_PATH, which is `/usr/lib` and site-packages, then RUNTIME_PATH, in which `$ORIGIN` at
the beginning of an entry is the folder of the user, once. Before (Pyodide's own dynload.ts): `<distribution>.libs`,
`/usr/lib`, site-packages and the folder of the module that was opened, on 0.27 also every folder below that.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from conda2wheel.abi.loaders import Loader
from conda2wheel.abi.unit import SideModule

USR_LIB = "/usr/lib"
ORIGIN = "$ORIGIN"
LONGEST = 511  # bytes of a path; the loader passes over what is longer


class Site:
    """One site-packages folder with the side modules that lie in it; where two units bring one path, the last one's file is
    there, as after two installations."""

    def __init__(self, loader: Loader, sides: Iterable[SideModule]) -> None:
        self.loader = loader
        self.root = loader.platform.site_packages
        self.files: Mapping[str, SideModule] = {side.path: side for side in sides}

    def place(self, side: SideModule) -> str:
        """The absolute path of a module."""
        return posixpath.join(self.root, side.path)

    def at(self, path: str) -> SideModule | None:
        """The module at an absolute path, normalised or not."""
        plain = posixpath.normpath(path)
        return self.files.get(plain[len(self.root) + 1 :]) if plain.startswith(f"{self.root}/") else None

    def find(self, name: str, parent: str, runtime_path: Sequence[str]) -> str | None:
        """The path by which the loader finds `name` for the module that it knows as `parent` (since 0.28). None: nowhere."""
        if name.startswith("/"):
            return name if self.at(name) else None
        if "/" in name:
            return None
        paths = ":".join(_from_origin(entry, posixpath.dirname(parent)) for entry in runtime_path)
        for folder in (USR_LIB, self.root, *re.split("[:\n]", paths)):
            path = f"{folder}/{name}"
            if folder.startswith("/") and len(path.encode()) <= LONGEST and self.at(path):
                return path
        return None

    def find_from(self, name: str, opened: SideModule, distribution: str) -> str | None:
        """The path by which the loader finds `name` while `opened` is opened, whoever NEEDs it (before 0.28). None: nowhere."""
        if name.startswith("/") and self.loader.subfolders:
            return name if self.at(name) else None
        here = posixpath.join(self.root, opened.folder).rstrip("/")
        folders = [f"{self.root}/{distribution}.libs", USR_LIB, self.root, here]
        if self.loader.subfolders:
            folders += self._below(opened.folder)
        for folder in folders:
            if self.at(f"{folder}/{name}"):
                return f"{folder}/{name}"
        return None

    def _below(self, folder: str) -> Iterator[str]:
        """Every folder below one."""
        seen: dict[str, None] = {}
        for path in self.files:
            parent = posixpath.dirname(path)
            while parent != folder and (not folder or parent.startswith(f"{folder}/")) and parent:
                seen.setdefault(parent)
                parent = posixpath.dirname(parent)
        return (posixpath.join(self.root, parent) for parent in seen)


def _from_origin(entry: str, folder: str) -> str:
    return entry.replace(ORIGIN, folder, 1) if entry.startswith(ORIGIN) else entry


def misread(entry: str) -> str | None:
    """What is wrong with a RUNTIME_PATH entry for the loaders that read it; None for one that they read as it is meant.

    >>> misread("$ORIGIN/../demo.libs"), misread("/lib/python3.13/site-packages/demo.libs")
    (None, None)
    >>> misread("${ORIGIN}/lib")
    '${ORIGIN} is not replaced, only $ORIGIN is'
    """
    if "${ORIGIN}" in entry:
        return "${ORIGIN} is not replaced, only $ORIGIN is"
    if entry.count(ORIGIN) > 1:
        return "only the first $ORIGIN of an entry is replaced; one entry a folder"
    if ORIGIN in entry and not entry.startswith(ORIGIN):
        return "$ORIGIN is replaced at the beginning of an entry only"
    if any(part and not part.startswith(("/", ORIGIN)) for part in re.split("[:\n]", entry)):
        return "a relative path is looked up in the current folder, not beside the module"
    return None
