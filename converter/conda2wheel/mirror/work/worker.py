"""One work item, in a worker: download, convert, check, store. Whatever happens is in the `ItemResult` that comes back.

A worker gets an `ConversionJob` and nothing else: it reads the channel and writes to the store by itself, on whatever
machine it is. The
order carries the recipes themselves, as they were when the configuration was loaded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from conda2wheel.channels.downloads import Downloads
from conda2wheel.channels.repodata import channel_url
from conda2wheel.commands.convert import convert
from conda2wheel.errors import Conda2WheelError, Failed, Refused
from conda2wheel.files.packagefile import Limits
from conda2wheel.mirror.config import MirrorConfig
from conda2wheel.mirror.state.model import ChannelPackage, ItemKey, ItemResult, MirrorWheel
from conda2wheel.mirror.state.retries import retries
from conda2wheel.mirror.store.base import Store
from conda2wheel.mirror.store.open import open_store
from conda2wheel.net.download import RemoteFile, redacted
from conda2wheel.options import Options
from conda2wheel.recipes.model import RecipeBook, from_document
from conda2wheel.results import Converted

FRESH = 3600.0  # seconds for which a worker does not ask again what a channel lists
EPOCH = "SOURCE_DATE_EPOCH"
_CLASSES = {"unreadable": "disk", "locked": "store"}  # codes of accidents whose class has another name


@dataclass(frozen=True)
class ConversionJob:
    """All that a worker needs. `url` is the package's, with what opens a private channel; `options` as `Options.json` has them;
    `recipes` documents as JSON; `cache` a folder on the worker's machine, None for its user's own; `memory` in bytes, `timeout`
    in seconds, which an executor sees to."""

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

    @classmethod
    def of(cls, key: ItemKey, package: ChannelPackage, config: MirrorConfig, cache: Path | None = None) -> ConversionJob:
        """The order for an item of a plan."""
        addresses = tuple(map(channel_url, config.channels))
        url = package.url
        for address in addresses:
            if redacted(address) == package.channel and url.startswith(package.channel):
                url = address + url.removeprefix(package.channel)
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
        )


@dataclass
class _Clock:
    """Seconds by stage, and bytes by URL."""

    seconds: dict[str, float] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)

    def watch(self, url: str, got: int, _: int | None) -> None:
        """For `Downloads`."""
        self.came[url] = got


def work(order: ConversionJob) -> ItemResult:
    """Do it. Never raises, but for what ends the process itself (KeyboardInterrupt, SystemExit)."""
    clock = _Clock()
    try:
        with tempfile.TemporaryDirectory(prefix="conda2wheel-mirror-") as folder:
            wheel, converted = _made(order, Path(folder), clock)
        done = ItemResult(
            order.key, "done", wheel=wheel, warnings=tuple((each.code, each.message) for each in converted.warnings)
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except Refused as verdict:
        done = ItemResult(order.key, "refused", verdict.code, verdict.message, verdict.hint)
    except BaseException as accident:  # noqa: BLE001 - Rust's panics are no Exception
        done = failed(order, accident)
    return replace(done, seconds=clock.seconds, downloaded=sum(clock.came.values()))


def failed(order: ConversionJob, accident: BaseException) -> ItemResult:
    """What an accident is called, and its one line."""
    what = f"{order.package.subdir}/{order.package.stem}"
    if isinstance(accident, Conda2WheelError):
        code = _CLASSES.get(accident.code, accident.code)
        return ItemResult(order.key, "failed", code if code in retries() else "internal", accident.message, accident.hint)
    if isinstance(accident, MemoryError):
        message = f"{what}: it needs more than {order.memory >> 20} MiB" if order.memory else f"{what}: out of memory"
        return ItemResult(order.key, "failed", "memory", message, "raise [work] memory, or exclude it")
    if isinstance(accident, OSError) and accident.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return ItemResult(order.key, "failed", "disk", f"{what}: {accident}", "set TMPDIR to a place with room")
    frames = traceback.extract_tb(accident.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    line = next(iter(str(accident).splitlines()), "")
    message = f"{what}: {type(accident).__name__}: {line}{where}"
    return ItemResult(order.key, "failed", "internal", message, "this is a bug of conda2wheel")


def _made(order: ConversionJob, folder: Path, clock: _Clock) -> tuple[MirrorWheel, Converted]:
    options = Options.from_json(json.loads(order.options))
    downloads = replace(_downloads(order.cache), watch=clock.watch)
    source = f"{order.url}#sha256={order.package.sha256}"
    if not order.url.startswith("file:"):
        with clock.stage("download"):
            _download(order, downloads)
    with clock.stage("convert"), _epoch(options.epoch):
        converted = convert(
            source,
            out=folder,
            channels=order.channels,
            platform=options.platform or "auto",
            compat_tags=options.compat_tags,
            level=options.level,
            isolate=options.isolate,
            provided=options.provided,
            allow=options.allow,
            pins=options.pins,
            recipes=RecipeBook.of(from_document(json.loads(document)) for document in order.recipes),
            limits=order.limits,
            downloads=downloads,
        )
    if converted.wheel is None or converted.sha256 is None:
        raise Failed("internal", f"{order.package.stem}: converted, and no wheel was written")
    wheel, metadata = describe(converted, converted.wheel, converted.sha256)
    if order.check != "no":
        with clock.stage("check"):
            _check(converted.wheel, order)
    with clock.stage("store"):
        put_wheel(open_store(order.store), wheel, converted.wheel, metadata)
    return wheel, converted


def _download(order: ConversionJob, downloads: Downloads) -> None:
    """What comes with another hash than repodata promise is the channel's accident, not a verdict on the package."""
    try:
        downloads.fetch([RemoteFile(order.url, order.package.sha256, order.package.size)], order.limits.download)
    except Refused as verdict:
        if verdict.code != "corrupt-archive":
            raise
        raise Failed("network", verdict.message, "its channel is being changed; it is tried again") from None


def describe(converted: Converted, path: Path, sha256: str) -> tuple[MirrorWheel, bytes]:
    """A wheel as the mirror keeps it, and its METADATA."""
    import hashlib

    from packaging.utils import canonicalize_name

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
    )
    return wheel, metadata


def put_wheel(store: Store, wheel: MirrorWheel, source: bytes | Path, metadata: bytes) -> None:
    """Put a wheel and its METADATA (PEP 658) where the index will look for them. Raises `Failed` (store)."""
    store.put_blob(f"{wheel.blob}.metadata", metadata)
    store.put_blob(wheel.blob, source)


def _check(path: Path, order: ConversionJob) -> None:
    """Install and import it. Raises `Failed` (check) with what went wrong first; a wheel that fits no Pyodide passes."""
    from conda2wheel.pyodide.check import check_wheels

    try:
        [checked] = check_wheels(
            [path],
            pyodide=None if order.check == "yes" else order.check,
            cache=None if order.cache is None else Path(order.cache),
        )
    except Refused:
        return
    if not checked.ok:
        wrong = [*checked.install_errors, *(f"{each.name}: {each.error}" for each in checked.modules if not each.ok)]
        first = next(iter(str(wrong[0]).strip().splitlines()[-1:]), "") if wrong else checked.crash
        raise Failed("check", f"{path.name}: in Pyodide {checked.pyodide}: {first}", "conda2wheel check says more")


@cache
def _downloads(cache: str | None) -> Downloads:
    """One for a worker's whole life: what channels list is read once."""
    return Downloads(cache=None if cache is None else Path(cache), fresh=FRESH)


@contextlib.contextmanager
def _epoch(epoch: int | None) -> Iterator[None]:
    """SOURCE_DATE_EPOCH as it was where the order was made: a worker on another machine has its own."""
    before = os.environ.get(EPOCH)
    wanted = None if epoch is None else str(epoch)
    if before == wanted:
        yield
        return
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(value: str | None) -> None:
    if value is None:
        os.environ.pop(EPOCH, None)
    else:
        os.environ[EPOCH] = value
