"""Convert one work item in a worker: download, convert, check, store. Whatever happens is in the `ItemResult` that it returns.

A worker needs nothing but a `ConversionJob`, on whatever machine it runs: it reads the channel and writes to the store itself.
The job contains the options and recipes as they were when the configuration was loaded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from conda2wheel.abi.micropip import untaken
from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorLibrary, MirrorWheel
from conda2wheel.mirror.state.retries import retries
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.net.urls import Address, redacted, secret_url
from conda2wheel.options import Options
from conda2wheel.recipes.model import RecipeBook, from_document
from conda2wheel.results import ConversionWarning, Planned

if TYPE_CHECKING:
    from conda2wheel.commands.shared_packages import SharedPackages

FRESH = 3600.0  # seconds for which a worker does not read a channel's repodata again
_CLASSES = {"unreadable": "disk", "locked": "store"}  # classes of failure whose error code has another name


@dataclass(frozen=True)
class ConversionJob:
    """All that a worker needs to convert a work item.

    Attributes:
        key: the work item's key.
        package: the package to convert.
        url: the package's URL, with the credentials of a private channel.
        options: `Options.json` as JSON text.
        channels: URLs of the channels in which libraries and names are looked up.
        recipes: recipe documents as JSON text.
        store: the store's URL.
        limits: the bounds on what is opened.
        cache: the download cache on the worker's machine; None for its user's own.
        check: whether the wheel is imported in Pyodide: "no", "yes" or a version.
        memory: bytes, enforced by the executor; 0 for no limit.
        timeout: seconds, enforced by the executor; 0 for no limit.
        beside: the wheels of the index, as (file name, path in the store), that are offered when the wheel is checked.
        sharing: `SharedPackages.json` as JSON text, the libraries that are taken from library wheels; "" for none.
        pages: whether the store has pages, which show the details of wheels.
    """

    key: ItemKey
    package: ChannelPackage
    url: str
    options: str
    channels: tuple[str, ...]
    recipes: tuple[str, ...]
    store: str
    limits: Limits
    cache: str | None = None
    check: str = "no"
    memory: int = 0
    timeout: float = 0.0
    sharing: str = ""
    pages: bool = False
    beside: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        key: ItemKey,
        package: ChannelPackage,
        config: MirrorConfig,
        cache: Path | None = None,
        sharing: SharedPackages | None = None,
    ) -> ConversionJob:
        """Make the job of a planned item."""
        addresses = tuple(map(channel_url, config.channels))
        url = package.url
        for address in addresses:
            if redacted(address) == package.channel and url.startswith(package.channel):
                url = Address(secret_url(address) + url.removeprefix(package.channel))
        return cls(
            key=key,
            package=package,
            url=url,
            options=json.dumps(config.options(key.platform).json()),
            channels=addresses,
            recipes=config.recipes_for(package.name),
            store=config.output.store,
            limits=config.limits,
            cache=None if cache is None else str(cache),
            check=config.work.check,
            memory=config.work.memory,
            timeout=config.work.timeout,
            sharing="" if sharing is None else json.dumps(sharing.json()),
            pages=config.output.pages,
        )


@dataclass
class _Measures:
    """Seconds by stage, and downloaded bytes by URL."""

    seconds: dict[str, float] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a block, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)

    def watch(self, url: str, received: int, _: int | None) -> None:
        """Count the bytes of a download: the `watch` of `Downloads`."""
        self.received[url] = received


def work(job: ConversionJob) -> ItemResult:
    """Convert a job's package. Raises nothing but KeyboardInterrupt and SystemExit."""
    measures = _Measures()
    try:
        with tempfile.TemporaryDirectory(prefix="conda2wheel-mirror-") as folder:
            result = _convert_and_store(job, Path(folder), measures)
    except (KeyboardInterrupt, SystemExit):
        raise
    except Refused as refusal:
        message = _labelled(job, refusal.message)
        result = ItemResult(job.key, "refused", refusal.code, message, refusal.hint, warnings=_noted(refusal.warnings))
    except BaseException as error:  # noqa: BLE001 - panics of Rust code are no Exception
        result = failure_of(job, error)
    return replace(result, seconds=measures.seconds, downloaded=sum(measures.received.values()))


def failure_of(job: ConversionJob, error: BaseException) -> ItemResult:
    """The result of a job that an error ended: its class of failure, a one-line message and a hint."""
    label = f"{job.package.subdir}/{job.package.stem}"
    if isinstance(error, Conda2WheelError):
        code = _CLASSES.get(error.code, error.code)
        code = code if code in retries() else "internal"
        return ItemResult(job.key, "failed", code, _labelled(job, error.message), error.hint, warnings=_noted(error.warnings))
    if isinstance(error, MemoryError):
        message = f"{label}: it needs more than {job.memory >> 20} MiB" if job.memory else f"{label}: out of memory"
        return ItemResult(job.key, "failed", "memory", message, "raise [work] memory, or exclude it")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return ItemResult(job.key, "failed", "disk", f"{label}: {error}", "set TMPDIR to a folder with free space")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    line = next(iter(str(error).splitlines()), "")
    message = f"{label}: {type(error).__name__}: {line}{where}"
    return ItemResult(job.key, "failed", "internal", message, "this is a bug of conda2wheel")


def _labelled(job: ConversionJob, message: str) -> str:
    """A message that names the package as the channel does, not by the address or path that the job opened."""
    name = re.escape(job.url.rpartition("/")[2])
    label = f"{job.package.subdir}/{job.package.stem}"
    return re.sub(rf"^.*?[/\\]{name}(?:#sha256=\w*)?(?=: )", lambda _: label, message, count=1)


def _noted(warnings: Iterable[ConversionWarning]) -> tuple[tuple[str, str], ...]:
    return tuple((each.code, each.message) for each in warnings)


def _convert_and_store(job: ConversionJob, folder: Path, measures: _Measures) -> ItemResult:
    downloads = replace(_downloads(job.cache, job.key.options), watch=measures.watch)
    if not job.url.startswith("file:"):
        with measures.stage("download"):
            _download(job, downloads)
    with measures.stage("convert"):
        converted, libraries = _convert(job, folder, downloads)
    if converted.wheel is None or converted.sha256 is None:
        raise Failed("internal", f"{job.package.stem}: converted, but no wheel was written")
    wheel, metadata = describe(converted, converted.wheel, converted.sha256)
    if job.check != "no":
        with measures.stage("check"):
            _check(converted.wheel, job, folder)
    with measures.stage("store"):
        store = open_store(job.store)
        for library, path, text in libraries:  # first: a wheel in the store never requires one that is not there
            put_wheel(store, library.wheel, path, text)
        put_wheel(store, wheel, converted.wheel, metadata)
    if job.pages:
        with measures.stage("details"):
            from conda2wheel.mirror.publish.catalogue import put_details

            put_details(store, wheel, converted.wheel)
    return ItemResult(
        job.key,
        "done",
        wheel=wheel,
        warnings=_noted((*converted.warnings, *untaken(job.key.platform, wheel.filename))),
        taken=converted.taken,
        libraries=tuple(library for library, _, _ in libraries),
    )


_WrittenLibrary = tuple[MirrorLibrary, Path, bytes]  # a library wheel, its path on disk, and its METADATA


def _convert(job: ConversionJob, folder: Path, downloads: Downloads) -> tuple[Planned, list[_WrittenLibrary]]:
    """Convert with the job's own options: SOURCE_DATE_EPOCH is that of the process that made it, not of this machine.

    Returns:
        The wheel, and the library wheels that it requires, all written into the folder.
    """
    # Here, for a run that has nothing to convert starts no worker, and needs nothing of these.
    from conda2wheel.commands.pipeline import Context, build, prepare

    recipes = RecipeBook.of(from_document(json.loads(document)) for document in job.recipes)
    context = Context.of(channels=job.channels, recipes=recipes, limits=job.limits, downloads=downloads)
    options = Options.from_json(json.loads(job.options))
    prepared = prepare(f"{job.url}#sha256={job.package.sha256}", options, context)
    if not job.sharing:
        return build(prepared).write(folder), []
    from conda2wheel.commands.library_wheel import LibraryWheelMaker
    from conda2wheel.commands.shared_packages import SharedPackages
    from conda2wheel.link.library_wheel import with_required

    maker = LibraryWheelMaker(SharedPackages.from_json(json.loads(job.sharing)), options, context)
    notes: tuple[ConversionWarning, ...] = ()
    try:
        built = build(prepared, library_wheels=maker)
        required = with_required(built.linked.library_wheels)
    except Refused as error:  # by itself it was converted before
        built, required = build(prepared), ()
        notes = (ConversionWarning("not-shared", f"the wheel has its own copies of shared libraries: {error.message}"),)
    notes += tuple(
        ConversionWarning("not-shared", f"{stem} has no library wheel: {error.message}") for stem, error in maker.refused.items()
    )
    libraries = []
    for wheel in required:
        library = maker.write(wheel.requirement, folder)
        if library.wheel is None or library.sha256 is None:
            raise Failed("internal", f"{library.filename}: not written")
        described, metadata = describe(library, library.wheel, library.sha256)
        package = _listed(maker.package(wheel.requirement))
        libraries.append((MirrorLibrary(replace(described, is_library=True), package), library.wheel, metadata))
    converted = built.write(folder)
    return replace(converted, warnings=(*converted.warnings, *notes)), libraries


def _listed(package: CondaPackage) -> ChannelPackage:
    """A package of a channel as repodata would list it; `record` is empty, since they were not read."""
    number = package.index.get("build_number")
    size = package.index.get("size")
    return ChannelPackage(
        sha256=package.sha256 or "",
        url=redacted(package.source).partition("#")[0],
        channel=redacted(package.channel or ""),
        subdir=package.subdir or "",
        name=package.name,
        version=package.version,
        build=package.build,
        build_number=number if isinstance(number, int) else 0,
        noarch=False,
        depends=package.depends,
        record="",
        size=size if isinstance(size, int) else None,
        timestamp=package.timestamp,
    )


def _download(job: ConversionJob, downloads: Downloads) -> None:
    """Download the package. A hash that differs from repodata is a failure of the channel, not a refusal of the package."""
    try:
        downloads.fetch([RemoteFile(job.url, job.package.sha256, job.package.size)], job.limits.download)
    except Refused as refusal:
        if refusal.code != "corrupt-archive":
            raise
        raise Failed("network", refusal.message, "its channel is changing; it will be tried again") from None


def describe(converted: Planned, path: Path, sha256: str) -> tuple[MirrorWheel, bytes]:
    """Describe a written wheel for the index; also returns its METADATA."""
    import hashlib

    from packaging.utils import canonicalize_name

    from conda2wheel.pyodide.programs import is_of_programs
    from conda2wheel.pyodide.wheelfile import modules, open_wheel
    from conda2wheel.wheel.reader import read_wheel

    read = read_wheel(path)
    core = read.info("METADATA")
    if core is None:
        raise Failed("internal", f"{path.name}: a wheel without METADATA was written")
    metadata = core.blob.read()
    pythons = sorted(tag[2:].partition("-")[0] for tag in converted.tags if tag.startswith("cp3"))
    wheel = MirrorWheel(
        project=canonicalize_name(converted.name),
        version=converted.version,
        filename=path.name,
        sha256=sha256,
        size=path.stat().st_size,
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        platform=converted.platform,
        requires_python=read.metadata.get("Requires-Python"),
        requires=converted.requires,
        imports=modules(open_wheel(path), f"3.{pythons[0][1:]}" if pythons else "3"),
        vendored=tuple(library.name for library in converted.vendored),
        unusable=converted.unusable,
        only_programs=bool(converted.programs) and is_of_programs(path),
    )
    return wheel, metadata


def put_wheel(store: Store, wheel: MirrorWheel, source: bytes | Path, metadata: bytes) -> None:
    """Write a wheel and its METADATA (PEP 658) to the paths that the index links to. Raises `Failed` (store)."""
    store.put_blob(f"{wheel.blob}.metadata", metadata)
    store.put_blob(wheel.blob, source)


def _check(path: Path, job: ConversionJob, folder: Path) -> None:
    """Install and import a wheel in Pyodide, with the library wheels in the folder and the wheels that lie beside it.

    A wheel that fits no Pyodide passes, and one with nothing to import, such as a metapackage or libraries.

    Raises:
        Failed: "check", with the first error.
    """
    from conda2wheel.pyodide.check import check_wheels

    others = folder / "beside"
    others.mkdir()
    store = open_store(job.store)
    for filename, blob in job.beside:
        data = store.get(blob)
        if data is not None:
            (others / filename).write_bytes(data)
    try:
        results = check_wheels(
            [path],
            find_links=[folder, others] if job.sharing else [others],
            pyodide=None if job.check == "yes" else job.check,
            cache=None if job.cache is None else Path(job.cache),
        )
    except Refused:
        return
    for checked in results:
        if checked.unharmed or (checked.unfit and job.check != "yes"):  # a wheel for another Pyodide than the configured one
            continue
        errors = [*checked.install_errors, *(f"{each.name}: {each.error}" for each in checked.modules if not each.ok)]
        first = next(iter(str(errors[0]).strip().splitlines()[-1:]), "") if errors else checked.crash
        raise Failed("check", f"{path.name}: in Pyodide {checked.pyodide}: {first}", "conda2wheel check shows more")


@lru_cache(8)
def _downloads(cache: str | None, options: str) -> Downloads:
    """The worker's downloads, shared by its jobs, so that it reads a channel's repodata once.

    `options` of a key name the channel's builds of shared libraries: repodata from before is not used for a job that knows newer
    ones, whose key promises the newest.
    """
    return Downloads(cache=None if cache is None else Path(cache), fresh=FRESH)
