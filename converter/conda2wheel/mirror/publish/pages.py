"""The mirror's pages: made of its catalogue, and published with the index, in the same generation.

The Pyodides that the pages run lie beside the wheels, below `pyodide/VERSION/`, once for all generations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from conda2wheel.abi import platforms
from conda2wheel.errors import Failed
from conda2wheel.index.pages.catalogue import PackageCatalogue
from conda2wheel.index.pages.site import Pages, Site, pyodide_files
from conda2wheel.mirror.publish.catalogue import MirrorRecord, details_in, make_catalogue
from conda2wheel.mirror.publish.generation import IndexEntry
from conda2wheel.mirror.publish.pypi import OtherIndex
from conda2wheel.mirror.store.base import Store
from conda2wheel.net.cache import cache_folder
from conda2wheel.pyodide.lock import Runtime

PYODIDE = "pyodide"
LOADED = ("micropip",)  # what the try page loads of Pyodide's own packages, with what it depends on
REPORT = "report/report.html"
Log = Callable[[str], None]


def page_files(
    store: Store,
    record: MirrorRecord,
    entries: Sequence[IndexEntry],
    locks: Iterable[str],
    log: Log,
    pypi: OtherIndex | None = None,
) -> Mapping[str, bytes]:
    """Make all pages of an index, by path below the store's top.

    Args:
        store: has the wheels; what the pages need beside them is written there.
        record: what the mirror knows of its channels.
        entries: the index.
        locks: the names of the index's lock files.
        log: called with lines for people.
        pypi: the index with which the pages compare.

    Raises:
        Failed: "dependency" where Jinja2 is missing, "store".
    """
    own = fetched_pyodides(entries, log)
    there = None if pypi is None else pypi.tags(store, (entry.wheel.project for entry in entries if not entry.wheel.is_library))
    catalogue = make_catalogue(record, entries, details_in(store), own, there)
    site = Site(
        report=REPORT,
        tryable=tuple(runtime.version for runtime in own if put_pyodide(store, runtime, log)),
        locks=tuple(name.removeprefix("pyodide-lock-").removesuffix(".json") for name in locks),
        title=site_title(catalogue),
    )
    return Pages(catalogue, site).files()


def site_title(catalogue: PackageCatalogue) -> str:
    """The name of a site: that of its channels."""
    return ", ".join(channel.rstrip("/").rpartition("/")[2] or channel for channel in catalogue.channels) or "conda2wheel"


def fetched_pyodides(entries: Iterable[IndexEntry], log: Log) -> tuple[Runtime, ...]:
    """Every Pyodide of the platforms of wheels, and the newest, with their packages, newest first. A failure is logged."""
    from conda2wheel.pyodide.fetch import pyodide

    tags = {tag for entry in entries for tag in entry.wheel.platform.split(".")}
    rows = [row for row in platforms.platforms() if row.pyodide and not row.prerelease]
    wanted = [row for row in rows if row is rows[-1] or not tags.isdisjoint(row.all_tags)]
    found = []
    for version in reversed([version for row in wanted for version, _ in row.pyodide]):
        try:
            found.append(pyodide(version, cache_folder()))
        except Failed as error:
            log(f"the pages do not say what Pyodide {version} has itself, and cannot run it: {error.message}")
    return tuple(found)


def put_pyodide(store: Store, runtime: Runtime, log: Log) -> bool:
    """Write a Pyodide and the packages that the try page loads beside the wheels; returns whether all of it is there."""
    from conda2wheel.pyodide.fetch import from_pypi, package_cache

    folder = package_cache(runtime, cache_folder())
    problems = from_pypi(runtime, LOADED, folder)
    if problems:
        log(f"the pages cannot run Pyodide {runtime.version}: {problems[0]}")
        return False
    for name in pyodide_files(sorted(path.name for path in runtime.folder.iterdir() if path.is_file())):
        store.put_blob(f"{PYODIDE}/{runtime.version}/{name}", runtime.folder / name)
    for locked in runtime.closure(LOADED):
        store.put_blob(f"{PYODIDE}/{runtime.version}/{locked.file_name}", folder / locked.file_name)
    return True
