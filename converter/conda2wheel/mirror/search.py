"""Find the catalogue of an index to search it: at an address, in a store, or of a mirror by its configuration."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from conda2wheel.errors import Failed
from conda2wheel.index.pages.catalogue import NAME, PackageCatalogue
from conda2wheel.mirror.config import MirrorConfig, load
from conda2wheel.mirror.owner import open_state
from conda2wheel.mirror.publish.catalogue import MirrorRecord, StoredDetails, make_catalogue
from conda2wheel.mirror.publish.generation import current_generation
from conda2wheel.mirror.run import plan_of_state
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.net.download import download
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.net.urls import is_url

LARGEST = 512 << 20  # bytes of a catalogue; that of 2,600 packages has some 20 MB
HINT = "a mirror with [output] pages = true, or conda2wheel serve, has one"


def find_catalogue(where: str) -> PackageCatalogue:
    """Read a catalogue.

    Args:
        where: the address of an index or of its `simple/`; a store's folder or URL; or the TOML file of a mirror, whose state is
            read if it has no pages.

    Raises:
        Failed: "not-found", "network", "unreadable", "store", "state", "usage".
    """
    if where.startswith(("http://", "https://")):
        return _at(where)
    if not is_url(where) and (where.endswith(".toml") or Path(where).is_file()):
        return _of_mirror(load(where))
    if not is_url(where) and not Path(where).is_dir():
        raise Failed("not-found", f"{where}: no such folder or file", HINT)
    found = _in_store(open_store(where))
    if found is None:
        raise Failed("not-found", f"{where} has no {NAME}", HINT)
    return found


def _at(address: str) -> PackageCatalogue:
    top = address.partition("#")[0].partition("?")[0].rstrip("/").removesuffix("/simple")
    with tempfile.TemporaryDirectory(prefix="conda2wheel-search-") as folder:
        path = download(RemoteFile(f"{top}/{NAME}"), Path(folder), LARGEST)
        return PackageCatalogue.parse(path.read_bytes())


def _in_store(store: Store) -> PackageCatalogue | None:
    data = store.get(NAME)
    return None if data is None else PackageCatalogue.parse(data)


def _of_mirror(config: MirrorConfig) -> PackageCatalogue:
    """The catalogue that a mirror published; of one without pages that of its state, without what is in the wheels."""
    store = open_store(config.output.store)
    found = _in_store(store) if config.output.pages else None
    if found is not None:
        return found
    if not config.state.exists():
        raise Failed("not-found", f"{config.path}: no run has finished yet", "conda2wheel mirror run")
    with open_state(config) as state:
        record = MirrorRecord.of(config.channels, state, plan_of_state(config, state, time.time()))
    _, generation = current_generation(store)
    entries = () if generation is None else generation.entries
    return make_catalogue(record, entries, lambda _: StoredDetails())
