"""Generations: immutable versions of the index, and the pointer that names the current one.

    generations/NNNNNN-DIGEST8/simple/...       pages; NNNNNN is a counter, DIGEST8 is of the bytes of all pages
    generations/NNNNNN-DIGEST8/generation.json  its manifest, written last: a generation without one is incomplete
    current.json                                the pointer: {"schema", "generation", "sha256" of its generation.json, ...}

Links in pages are relative to the place at the store's top where `serve` puts the pages: `../../blobs/...` from `simple/NAME/`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from conda2wheel.errors import Failed
from conda2wheel.index.simple import IndexFile, Project, pages
from conda2wheel.mirror.state.model import ChannelPackage, MirrorWheel, with_tuples
from conda2wheel.mirror.store.base import Store

GENERATIONS = "generations"
MANIFEST = "generation.json"
POINTER = "current.json"
SCHEMA = 1


@dataclass(frozen=True)
class IndexEntry:
    """A wheel in the index, and the package that it was made of.

    `yanked` is the reason for yanking it (PEP 592), `since` is when it was yanked, in seconds since 1970.
    """

    wheel: MirrorWheel
    package: ChannelPackage
    yanked: str | None = None
    since: float | None = None

    @property
    def file(self) -> IndexFile:
        """Its file in the simple index. Its upload time is the build time of its package."""
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
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> IndexEntry:
        """Read the JSON form. Raises `KeyError` or `TypeError` for anything else."""
        return cls(
            MirrorWheel.from_json(document["wheel"]),
            ChannelPackage(**with_tuples(document["package"])),
            document["yanked"],
            document["since"],
        )


@dataclass(frozen=True)
class Pointer:
    """The object `current.json`, which names the current generation.

    Attributes:
        since: when it was set.
        previous: the generation before.
        withdrawn: the digests of indexes that a rollback withdrew.
        version: the store's version of the object, for the next conditional write.
    """

    generation: str
    sha256: str
    since: float
    previous: str | None = None
    withdrawn: tuple[str, ...] = ()
    version: str | None = None

    @property
    def number(self) -> int:
        """The generation's number."""
        return number_of(self.generation)


@dataclass(frozen=True)
class Generation:
    """A generation as its manifest describes it.

    `sha256` is the manifest's. `files` has the sha256 of its files by path. `state` is the mirror's state at that time, for
    `MirrorState.rebuild`. `inputs` is what the files were made of beside the entries, where that is known.
    """

    name: str
    sha256: str
    digest: str
    created: float
    parent: str | None
    entries: tuple[IndexEntry, ...]
    files: Mapping[str, str]
    state: Mapping[str, Any] = field(repr=False, default_factory=dict)
    inputs: str | None = None


def current(store: Store) -> Pointer | None:
    """Read the pointer; None if nothing was published. Raises `Failed` (store) if it cannot be read or is damaged."""
    found = store.fetch(POINTER)
    if found is None:
        return None
    try:
        document = json.loads(found.data)
        withdrawn = tuple(map(str, document["withdrawn"]))
        number_of(document["generation"])
        return Pointer(
            document["generation"], document["sha256"], document["since"], document["previous"], withdrawn, found.version
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(store, POINTER, error) from None


def set_pointer(store: Store, new: Pointer, before: Pointer | None) -> bool:
    """Set the pointer if it is still `before`; returns whether it was."""
    document = {key: value for key, value in dataclasses.asdict(new).items() if key != "version"}
    data = json.dumps({"schema": SCHEMA, **document}, indent=1).encode() + b"\n"
    if before is None:
        return store.put_new(POINTER, data)
    if before.version is None:
        raise ValueError("the pointer before was not read from a store")
    return store.put_if(POINTER, data, before.version)


def read_generation(store: Store, name: str, sha256: str | None = None) -> Generation | None:
    """Read a generation's manifest, checking its sha256 if given; None if it does not exist."""
    path = f"{GENERATIONS}/{name}/{MANIFEST}"
    data = store.get(path)
    if data is None:
        return None
    if sha256 is not None and sha(data) != sha256:
        raise _damaged(store, path, "its hash is not the one in the pointer")
    try:
        document = json.loads(data)
        entries = tuple(map(IndexEntry.from_json, document["entries"]))
        since, parent, files = document["created"], document["parent"], dict(document["files"])
        state, inputs = dict(document["state"]), document.get("inputs")
        return Generation(name, sha(data), document["digest"], since, parent, entries, files, state, inputs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(store, path, error) from None


def current_generation(store: Store) -> tuple[Pointer | None, Generation | None]:
    """Read the pointer and its generation. Raises `Failed` (store) where either is damaged, or the generation does not exist."""
    pointer = current(store)
    if pointer is None:
        return None, None
    generation = read_generation(store, pointer.generation, pointer.sha256)
    if generation is None:
        raise _damaged(store, POINTER, f"generation {pointer.generation} does not exist")
    return pointer, generation


def generations(store: Store) -> tuple[str, ...]:
    """List the names of all complete generations, oldest first."""
    found = (name for name in store.folders(GENERATIONS) if _is_name(name))
    return tuple(name for name in found if store.head(f"{GENERATIONS}/{name}/{MANIFEST}") is not None)


def number_of(name: str) -> int:
    """Parse the number of a generation's name. Raises `ValueError` for another name."""
    number, dash, digest = name.partition("-")
    if not (dash and digest and number.isdecimal()):
        raise ValueError(f"{name!r} is not the name of a generation")
    return int(number)


def _is_name(name: str) -> bool:
    try:
        return number_of(name) > 0
    except ValueError:
        return False


def index_pages(entries: Iterable[IndexEntry], base: str | None = None) -> dict[str, bytes]:
    """Build the simple index of entries: bytes by path below the store's top. The same entries give the same bytes.

    Addresses of files are relative to their page; below `base`, the address of the store, if that is given.
    """

    def file(entry: IndexEntry) -> IndexFile:
        return entry.file if base is None else replace(entry.file, url=f"{base.rstrip('/')}/{quote(entry.wheel.blob)}")

    by_project: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        by_project.setdefault(entry.wheel.project, []).append(entry)
    projects = [project_of(name, group, file) for name, group in sorted(by_project.items())]
    return {f"simple/{path}": text.encode() for path, text in pages(projects).items()}


def project_of(name: str, entries: Sequence[IndexEntry], file: Callable[[IndexEntry], IndexFile] = lambda e: e.file) -> Project:
    """The project of a page, with the files of its entries. A project of which every file is yanked is archived (PEP 792)."""
    files = sorted(map(file, entries), key=lambda each: (Version(each.version), each.filename))
    reasons = [entry.yanked for entry in entries if entry.yanked is not None]
    archived = bool(entries) and len(reasons) == len(entries)
    return Project(name, tuple(files), "archived" if archived else "active", max(reasons) or None if archived else None)


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 of all files' paths and bytes."""
    return hashlib.sha256("".join(f"{path} {sha(files[path])}\n" for path in sorted(files)).encode()).hexdigest()


def sha(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def missing(store: Store, entries: Sequence[IndexEntry]) -> tuple[IndexEntry, ...]:
    """List the entries whose wheel, in its size, or metadata is not in the store."""
    sizes = store.sizes([path for entry in entries for path in (entry.wheel.blob, f"{entry.wheel.blob}.metadata")])
    return tuple(e for e in entries if sizes.get(e.wheel.blob) != e.wheel.size or f"{e.wheel.blob}.metadata" not in sizes)


def _damaged(store: Store, path: str, reason: object) -> Failed:
    return Failed("store", f"{store.url}/{path} is damaged: {reason}", "conda2wheel mirror rollback to a complete generation")
