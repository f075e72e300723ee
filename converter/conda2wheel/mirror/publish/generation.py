"""A generation: a whole index that never changes, and the one pointer that says which of them counts.

    generations/NNNNNN-DIGEST8/simple/...       pages; NNNNNN counts, DIGEST8 is of all pages' bytes
    generations/NNNNNN-DIGEST8/generation.json  what is in it and whence, written last: one without it is unfinished
    current.json                                the pointer: {"schema", "generation", "sha256" of its generation.json, ...}

Links in pages are relative to the store's top, as if pages lay there: `../../blobs/...` from `simple/NAME/`. That is where
readers find them (`serve`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from conda2wheel.errors import Failed
from conda2wheel.index.simple import IndexFile, Project, pages
from conda2wheel.mirror.state.model import ChannelPackage, MirrorWheel
from conda2wheel.mirror.store.base import Store

GENERATIONS = "generations"
MANIFEST = "generation.json"
POINTER = "current.json"
SCHEMA = 1


@dataclass(frozen=True)
class IndexEntry:
    """A wheel in the index, and the package that it was made of. `yanked`: why no installer should choose it any more (PEP 592),
    `since` when, in seconds since 1970."""

    wheel: MirrorWheel
    package: ChannelPackage
    yanked: str | None = None
    since: float | None = None

    @property
    def file(self) -> IndexFile:
        """Its line in the index. It was uploaded, as far as readers are concerned, when its package was built."""
        wheel, built = self.wheel, self.package.timestamp
        return IndexFile(
            filename=wheel.filename,
            url=f"../../{quote(wheel.blob)}",
            sha256=wheel.sha256,
            size=wheel.size,
            version=wheel.version,
            metadata_sha256=wheel.metadata_sha256,
            requires_python=wheel.requires_python,
            uploaded=None if built is None else float(int(built)),
            yanked=self.yanked,
        )

    def json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> IndexEntry:
        """What `json` wrote. Raises `KeyError` or `TypeError` for anything else."""
        return cls(
            MirrorWheel(**_frozen(told["wheel"])), ChannelPackage(**_frozen(told["package"])), told["yanked"], told["since"]
        )


def _frozen(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}


@dataclass(frozen=True)
class Pointer:
    """`current.json`. `since`: when it was set; `previous`: what it said before; `withdrawn`: the digests of indexes that a
    rollback took away; `version`: the store's own, for the next conditional write."""

    generation: str
    sha256: str
    since: float
    previous: str | None = None
    withdrawn: tuple[str, ...] = ()
    version: str | None = None

    @property
    def number(self) -> int:
        """The generation's."""
        return number_of(self.generation)


@dataclass(frozen=True)
class Generation:
    """A generation as its manifest tells it: `sha256` is the manifest's own; `files` are its files' by path; `state` is what the
    mirror knew then, for `MirrorState.rebuild`."""

    name: str
    sha256: str
    digest: str
    created: float
    parent: str | None
    entries: tuple[IndexEntry, ...]
    files: Mapping[str, str]
    state: Mapping[str, Any] = field(repr=False, default_factory=dict)


def current(store: Store) -> Pointer | None:
    """The pointer; None where nothing was published. Raises `Failed` (store) if it cannot be read or is damaged."""
    found = store.fetch(POINTER)
    if found is None:
        return None
    try:
        told = json.loads(found.data)
        withdrawn = tuple(map(str, told["withdrawn"]))
        number_of(told["generation"])
        return Pointer(told["generation"], told["sha256"], told["since"], told["previous"], withdrawn, found.version)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(store, POINTER, error) from None


def set_pointer(store: Store, new: Pointer, before: Pointer | None) -> bool:
    """Move the pointer, if it is still what it was before."""
    told = {key: value for key, value in dataclasses.asdict(new).items() if key != "version"}
    data = json.dumps({"schema": SCHEMA, **told}, indent=1).encode() + b"\n"
    if before is None:
        return store.put_new(POINTER, data)
    if before.version is None:
        raise ValueError("a pointer that was not read from a store")
    return store.put_if(POINTER, data, before.version)


def read_generation(store: Store, name: str, sha256: str | None = None) -> Generation | None:
    """A generation's manifest, and that it is the one of that hash; None if it is not there, or unfinished."""
    path = f"{GENERATIONS}/{name}/{MANIFEST}"
    data = store.get(path)
    if data is None:
        return None
    if sha256 is not None and sha(data) != sha256:
        raise _damaged(store, path, "its hash is another than the pointer's")
    try:
        told = json.loads(data)
        entries = tuple(map(IndexEntry.from_json, told["entries"]))
        since, parent, files = told["created"], told["parent"], dict(told["files"])
        return Generation(name, sha(data), told["digest"], since, parent, entries, files, dict(told["state"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(store, path, error) from None


def current_generation(store: Store) -> tuple[Pointer | None, Generation | None]:
    """The pointer and what it points to. Raises `Failed` (store) where that is not there, or is damaged."""
    pointer = current(store)
    if pointer is None:
        return None, None
    generation = read_generation(store, pointer.generation, pointer.sha256)
    if generation is None:
        raise _damaged(store, POINTER, f"generation {pointer.generation} is not there")
    return pointer, generation


def generations(store: Store) -> tuple[str, ...]:
    """The names of all generations that are whole, oldest first."""
    found = (name for name in store.folders(GENERATIONS) if _is_name(name))
    return tuple(name for name in found if store.head(f"{GENERATIONS}/{name}/{MANIFEST}") is not None)


def number_of(name: str) -> int:
    """NNNNNN. Raises `ValueError` for what is no generation's name."""
    number, dash, digest = name.partition("-")
    if not (dash and digest and number.isdecimal()):
        raise ValueError(f"{name!r} is no generation")
    return int(number)


def _is_name(name: str) -> bool:
    try:
        return number_of(name) > 0
    except ValueError:
        return False


def index_pages(entries: Iterable[IndexEntry]) -> dict[str, bytes]:
    """The index of some entries, by path below the store's top. No clock and no chance: the same entries, the same bytes."""
    by_project: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        by_project.setdefault(entry.wheel.project, []).append(entry)
    projects = []
    for name, some in sorted(by_project.items()):
        files = sorted((entry.file for entry in some), key=lambda file: (Version(file.version), file.filename))
        reasons = [entry.yanked for entry in some if entry.yanked is not None]
        archived = len(reasons) == len(some)
        projects.append(
            Project(name, tuple(files), "archived" if archived else "active", max(reasons) or None if archived else None)
        )
    return {f"simple/{path}": text.encode() for path, text in pages(projects).items()}


def digest_of(files: Mapping[str, bytes]) -> str:
    """Of all files' paths and bytes."""
    return hashlib.sha256("".join(f"{path} {sha(files[path])}\n" for path in sorted(files)).encode()).hexdigest()


def sha(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def missing(store: Store, entries: Sequence[IndexEntry]) -> tuple[IndexEntry, ...]:
    """The entries whose wheel or metadata is not in the store as it should be: to be made again."""
    there = {meta.path: meta.size for meta in store.list("blobs")}
    return tuple(e for e in entries if there.get(e.wheel.blob) != e.wheel.size or f"{e.wheel.blob}.metadata" not in there)


def _damaged(store: Store, path: str, why: object) -> Failed:
    return Failed("store", f"{store.url}/{path} is damaged: {why}", "conda2wheel mirror rollback, to a generation that is whole")
