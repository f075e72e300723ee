"""Resolve the links of a package within it, and count its names against the bounds.

A link to a file becomes another name of that file; a link to a folder gives another name to every file below that folder, through
links there as well. Nothing is ever extracted, so a symbolic link that leads nowhere, out of the package or in a circle can do no
harm, and conda's tools write such links (to a license text, a library of another package). They are left out and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from conda2wheel.errors import Refused
from conda2wheel.files.packagefile import BLOCK, MAX_PATH, ArchiveMember, EntryCount, Limits, PackageFile, too_large, unsafe

MAX_LINK_HOPS = 40  # as Linux's ELOOP
OUT = "out of the package"
ABSENT = "which is not in the package"
CIRCLE = "which leads back to it"
AROUND = "a folder that it lies in"
EMPTY = "a folder without files"


class LostLink(NamedTuple):
    """A symbolic link that is left out: its path, its target as it is written, and where that leads."""

    path: str
    target: str
    why: str

    def __str__(self) -> str:
        """What is wrong with it, after its path."""
        target = repr(self.target[:200])
        if self.why == OUT:
            return f"links out of the package, to {target}"
        return f"links in a circle, to {target}" if self.why == CIRCLE else f"links to {target}, {self.why}"


class PackageFiles(NamedTuple):
    """The files of a package sorted by path, each with its other names, and the links that are left out.

    Attributes:
        files: The files.
        lost: The links that are left out, sorted by path.
        unterminated: Whether a tar of it has no end: it may be cut, unless it has everything that its own list names.
    """

    files: tuple[PackageFile, ...]
    lost: tuple[LostLink, ...] = ()
    unterminated: bool = False


class NameBounds:
    """The names of a package as they are counted against its limits.

    On a disk each name and each folder takes a block at least, so a small archive may not have more of them than blocks.

    Args:
        source: What messages call the package.
        limits: The bounds.
        packed: The size of its archive; None for a folder.
    """

    def __init__(self, source: str, limits: Limits, packed: int | None = None) -> None:
        self._source = source
        self._limits = limits
        self._most = (
            limits.members if packed is None else min(limits.members, max(limits.ratio_from, packed * limits.ratio) // BLOCK)
        )
        self._names = 0
        self._folders = 0
        self._length = 0

    def add(self, path: str, target: str = "") -> None:
        """Count a path, and the target if it is a link. Raises `Refused` (too-large)."""
        limits = self._limits
        self._names += 1
        self._length += len(path.encode("utf-8", "replace")) + len(target)
        if self._names > self._most:
            raise self._too_many("names")
        if self._length > limits.path_bytes:
            raise too_large(self._source, f"its paths have more than {limits.path_bytes} bytes together", "path_bytes")
        if path.count("/") > limits.depth:
            raise too_large(self._source, f"{path[:80]!r} ... lies in more than {limits.depth} folders", "depth")

    def add_folder(self) -> None:
        """Count a folder that a path lies in. Raises `Refused` (too-large)."""
        self._folders += 1
        if self._folders > self._most:
            raise self._too_many("folders")

    def _too_many(self, what: str) -> Refused:
        if self._most == self._limits.members:
            return too_large(self._source, f"more than {self._most} {what}", "members")
        why = f"more than {self._most} {what}, which take {self._limits.ratio} times its size on a disk"
        return too_large(self._source, why, "ratio")


def resolve_links(source: str, entries: Mapping[str, ArchiveMember], limits: Limits, packed: int | None = None) -> PackageFiles:
    """Resolve the links of a package.

    Args:
        source: What messages call the package.
        entries: Its members by path.
        limits: Bounds on the names that links give, and on what the files have under all their names.
        packed: The size of its archive; None for a folder.

    Raises:
        Refused: unsafe-archive if a member lies below a link or a file, or a hard link does not lead to a file or folder of the
            package; too-large.
    """
    names = NameBounds(source, limits, packed)
    tree = _Tree(source, entries, limits, names)
    files = {path: entry for path, entry in entries.items() if entry.blob is not None}
    for path in files:
        names.add(path)
    total = sum(entry.blob.size for entry in files.values() if entry.blob is not None)
    most = limits.size if packed is None else min(limits.size, max(limits.ratio_from, packed * limits.ratio))
    aliases: dict[str, list[str]] = {path: [] for path in files}
    lost = []
    for path, link in sorted((path, entry) for path, entry in entries.items() if entry.blob is None):
        why = ""
        for alias, member in tree.names(path):
            if len(alias) > MAX_PATH:
                raise unsafe(source, alias, f"has a name of more than {MAX_PATH} characters")
            if isinstance(member, str):
                why = member
                break
            names.add(alias)
            aliases[member.path].append(alias)
            total += member.blob.size if member.blob is not None else 0
            if total > most:
                bound = "size" if most == limits.size else "ratio"
                raise too_large(source, f"its files have more than {most} bytes under all their names", bound)
        else:
            continue
        lost.append(LostLink(path, link.target or "", why))
        if link.hard:  # a tar program cannot make it, either
            raise unsafe(source, path, str(lost[-1]))
    entries_read = EntryCount(source, limits.entries)
    return PackageFiles(
        tuple(
            PackageFile(path, blob, entry.executable, tuple(aliases[path]), entries_read)
            for path, entry in sorted(files.items())
            if (blob := entry.blob) is not None
        ),
        tuple(lost),
    )


_Node = dict[str, Any] | ArchiveMember | None  # a folder by names, a file or a link, nothing


@dataclass
class _FollowedLink:
    """A link that is followed: what is left of its target, and the folders from the root to where it is.

    Attributes:
        names: The names of these folders below the root.
        nodes: The root and these folders.
        hops: How many links were followed.
        why: Why it is lost.
    """

    path: str
    todo: list[str]  # reversed
    names: list[str]
    nodes: list[_Node]
    hops: int = 1
    why: str = ""


class _Tree:
    """The folders and members of a package, in which links are followed. Each link is followed once."""

    def __init__(self, source: str, entries: Mapping[str, ArchiveMember], limits: Limits, bounds: NameBounds) -> None:
        self._source = source
        self._limits = limits
        self._entries = entries
        self._root: dict[str, Any] = {}
        self._ends: dict[str, _FollowedLink] = {}
        self._steps = 0
        for path in sorted(entries):  # so that a file comes before what lies below it
            *parents, name = path.split("/")
            here = self._root
            for number, parent in enumerate(parents):
                child = here.get(parent)
                if child is None:
                    bounds.add_folder()
                    child = here[parent] = {}
                if not isinstance(child, dict):
                    raise unsafe(source, path, f"lies below {'/'.join(parents[: number + 1])!r}, which is not a folder")
                here = child
            here[name] = entries[path]

    def names(self, path: str) -> Iterator[tuple[str, ArchiveMember | str]]:
        """Yield each name that a link gives, with its file; for a link that leads to none its path, with the reason."""
        end = self._follow(path)
        node = end.nodes[-1]
        if end.why:
            yield path, end.why
        elif isinstance(node, ArchiveMember):
            self._step()
            yield path, node
        elif not isinstance(node, dict):
            yield path, ABSENT
        elif path.startswith("/".join([*end.names, ""])):
            yield path, AROUND
        else:
            found = False
            for name, member in self._below(node, (id(node),)):
                found = True
                yield f"{path}/{name}", member
            if not found:
                yield path, EMPTY

    def _below(self, folder: dict[str, Any], inside: tuple[int, ...]) -> Iterator[tuple[str, ArchiveMember]]:
        """Yield the files below a folder, by their names there; `inside` are the folders that links led to on the way."""
        for name, child in sorted(folder.items()):
            if isinstance(child, ArchiveMember):
                self._step()
                end = self._follow(child.path) if child.blob is None else None
                node = child if end is None else end.nodes[-1]
                if end is not None and (end.why or node is None or id(node) in inside or len(inside) > MAX_LINK_HOPS):
                    continue
                if isinstance(node, ArchiveMember):
                    yield name, node
                    continue
                if isinstance(node, dict):
                    yield from ((f"{name}/{below}", member) for below, member in self._below(node, (*inside, id(node))))
            else:
                yield from ((f"{name}/{below}", member) for below, member in self._below(child, inside))

    def _step(self) -> None:
        """Count a name that a link gives, or a link that was looked at on the way."""
        self._steps += 1
        if self._steps > self._limits.aliases:
            raise too_large(self._source, f"its links give its files more than {self._limits.aliases} other names", "aliases")

    def _follow(self, path: str) -> _FollowedLink:
        """Return where a link ends. Without recursion, since a link may lead to a link ten thousand times."""
        if path in self._ends:
            return self._ends[path]
        walks = [self._start(path)]
        active = {path}
        while walks:
            walk = walks[-1]
            if walk.why or not walk.todo:
                if walk.nodes[-1] is None:
                    walk.why = walk.why or ABSENT
                self._ends[walk.path] = walks.pop()
                active.remove(walk.path)
                continue
            part, here = walk.todo[-1], walk.nodes[-1]
            child = here.get(part) if isinstance(here, dict) else None
            if part == "..":
                if not walk.names:
                    walk.why = OUT
                else:
                    walk.names.pop()
                    walk.nodes.pop()
            elif not isinstance(child, ArchiveMember) or child.blob is not None:
                walk.names.append(part)
                walk.nodes.append(child)
            elif (end := self._ends.get(child.path)) is None:
                if child.path not in active:
                    active.add(child.path)
                    walks.append(self._start(child.path))
                    continue  # this part again, when that link's end is known
                walk.why = CIRCLE
            else:
                walk.hops += end.hops
                walk.why = end.why or (CIRCLE if walk.hops > MAX_LINK_HOPS + 1 else "")
                walk.names, walk.nodes = list(end.names), list(end.nodes)
            walk.todo.pop()
        return self._ends[path]

    def _start(self, path: str) -> _FollowedLink:
        link = self._entries[path]
        target = link.target or ""
        if target.startswith("/"):
            return _FollowedLink(path, [], [], [None], why=OUT)
        if not target or len(target) > MAX_PATH:
            return _FollowedLink(path, [], [], [None], why=ABSENT)
        names = [] if link.hard else path.split("/")[:-1]
        here = self._root
        nodes: list[_Node] = [here]
        for name in names:
            here = here[name]
            nodes.append(here)
        todo = [part for part in target.split("/") if part not in ("", ".")]
        return _FollowedLink(path, todo[::-1], names, nodes)
