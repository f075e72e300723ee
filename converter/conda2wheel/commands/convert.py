"""`convert`: conda packages become wheels. The stages are in `commands.pipeline`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Unpack, overload

from conda2wheel.abi.choice import PlatformChoice
from conda2wheel.abi.micropip import untaken
from conda2wheel.abi.platforms import TagForm
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.prefetch import prefetch
from conda2wheel.commands.pipeline import Context, PipelineKeywords, Progress, build, prepare
from conda2wheel.conda.open import expand
from conda2wheel.errors import Conda2WheelError, require_several, unexpected_as_failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.net.urls import is_url, redacted
from conda2wheel.options import DEFAULT_LEVEL, Options, Pins
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import ConversionWarning, Converted, Planned, error_json
from conda2wheel.wheel.name_sources import NameSources
from conda2wheel.wheel.packing import Packing

logger = logging.getLogger(__name__)
Result_co = TypeVar("Result_co", bound=Planned, covariant=True)


class ConvertKeywords(PipelineKeywords, total=False):
    """The keyword arguments of `convert` and `convert_each` beside `dry_run`."""

    out: str | Path
    programs: bool | None


@overload
def convert(source: str | Path, *, dry_run: Literal[False] = False, **keywords: Unpack[ConvertKeywords]) -> Converted: ...


@overload
def convert(source: str | Path, *, dry_run: bool, **keywords: Unpack[ConvertKeywords]) -> Planned: ...


def convert(  # noqa: PLR0913 - a public function
    source: str | Path,
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    channels: Iterable[str] = (),
    platform: PlatformChoice = "auto",
    tags: TagForm | None = None,
    compat_tags: bool | None = None,
    level: int = DEFAULT_LEVEL,
    dry_run: bool = False,
    isolate: bool = True,
    provided: bool = True,
    bridge: bool = True,
    allow: Iterable[str] = (),
    pins: Pins = "metadata",
    strict: bool = False,
    programs: bool | None = None,
    recipes: Iterable[str | Path] | RecipeBook = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
    progress: Progress | None = None,
) -> Planned:
    """Convert one conda package into one wheel.

    The same input, options and version of conda2wheel give the same bytes. The members of the wheel have the package's own
    timestamp, or SOURCE_DATE_EPOCH where it is set. Nothing half-written stays behind.

    Args:
        source: a package file (.tar.bz2, .conda, empack's .tar.gz), an unpacked package, a prefix with one package, a record
            PREFIX/conda-meta/NAME.json, an https or file URL, or a match spec such as "emscripten-forge-4x::numpy=2.4".
        out: the folder for the wheel; made if it does not exist.
        libdirs: where NEEDED libraries are looked up: packages, folders of packages, prefixes; or a `LibraryIndex` to share
            between calls of one thread.
        channels: names or URLs of channels in which match specs are looked up; emscripten-forge-4x if there are none. If channels
            are given, or `source` is a match spec, libraries that no libdir has and the PyPI names of dependencies are looked up
            there, too.
        platform: "auto" (by evidence), a platform tag, a Pyodide version, a `Platform`, or several of these: then the wheel gets
            the tags of all, and is refused if it does not run on each.
        tags: which names of the platform the tag has: "pep783" (the default), which PyPI wants; "pyodide", the older ones, where
            the platform has any; or "both", for micropip before 0.11.1 and an index of your own.
        compat_tags: True is `tags` "both".
        level: the level of compression, 1 to 12 (libdeflate).
        dry_run: plan, link and audit, but write nothing; the result has no path and no hash.
        isolate: rename the symbols that vendored libraries define, so that they cannot clash with those of other wheels or of
            the main module.
        provided: do not vendor a library if Pyodide's main module already provides every symbol used from it.
        bridge: give modules with longjmp of the JavaScript kind an unwinding bridge, where Pyodide has none of it.
        allow: refusal codes that become warnings (`ALLOWABLE`); the wheel records what was allowed.
        pins: whose version limits hold where METADATA and conda's depends differ: "metadata", or "conda" too.
        strict: refuse a wheel of which a part ends the interpreter when it is reached. Otherwise such parts are in `warnings` and
            in `unusable`, and the wheel records them.
        programs: bring the WebAssembly programs of a package along as commands; None: only of a package that has nothing for
            Python; False: refuse such a package (executable).
        recipes: folders of conversion recipes that take precedence over the built-in ones; or a `RecipeBook` to share.
        limits: bounds on members, sizes and ratios of archives.
        downloads: the download cache, and whether the network may be used.
        progress: called with one short line before each step.

    Returns:
        `Converted`, whose `wheel` is the path; with `dry_run` a `Planned`.

    Raises:
        Refused: a verdict about the package, with one of `REFUSAL_CODES`.
        Failed: an accident (network, disk, not-found ...), or a wrong argument (usage).

    >>> convert("numpy-2.4.4-py313hcf5bae3_0.tar.bz2", libdirs=["pkgs"]).filename  # doctest: +SKIP
    'numpy-2.4.4-cp313-cp313-pyemscripten_2025_0_wasm32.whl'
    """
    options = Options.of(
        platform,
        allow,
        tags,
        compat_tags,
        level=level,
        isolate=isolate,
        provided=provided,
        bridge=bridge,
        pins=pins,
        strict=strict,
        programs=programs,
    )
    context = Context.of(libdirs, channels, recipes, limits, downloads, progress)
    with unexpected_as_failed(redacted(str(source)) if is_url(str(source)) else str(source)):
        result = convert_source(str(source), options, context, None if dry_run else Path(out))
    return replace(result, warnings=(*result.warnings, *untaken(platform, result.filename)))


def convert_source(source: str, options: Options, context: Context, out: Path | None) -> Planned:
    """Run the whole pipeline for one source; with `out` None nothing is written. Raises as `convert`."""
    started = context.clock()
    if out is None:
        return replace(
            build(prepare(source, options, context), progress=context.progress).write(None), seconds=context.clock() - started
        )
    with Packing(options.level) as packing:
        built = build(prepare(source, options, context, packing), progress=context.progress, packing=packing)
        context.progress(f"writing {built.plan.filename}")
        return replace(built.write(out, packing), seconds=context.clock() - started)


@dataclass(frozen=True)
class ConvertOutcome(Generic[Result_co]):
    """The outcome of one source: exactly one of `converted` and `error` is set.

    Attributes:
        source: the source, without credentials.
        converted: the result.
        error: `Refused` or `Failed`.
        seconds: how long it took.
        bug: the unexpected exception behind a `Failed` (internal).
    """

    source: str
    converted: Result_co | None
    error: Conda2WheelError | None
    seconds: float
    bug: BaseException | None = None

    def json(self) -> dict[str, Any]:
        """One entry of `results`."""
        if self.converted is not None:
            return self.converted.json()
        if self.error is None:
            raise ValueError("neither a result nor an error")
        return error_json(self.source, self.error, self.seconds)


def expand_all(sources: Iterable[str]) -> list[str]:
    """Replace each prefix by its packages; every other source stays."""
    return [found for source in sources for found in expand(source)]


@overload
def convert_each(
    sources: Iterable[str | Path], *, dry_run: Literal[False] = False, **keywords: Unpack[ConvertKeywords]
) -> Iterator[ConvertOutcome[Converted]]: ...


@overload
def convert_each(
    sources: Iterable[str | Path], *, dry_run: bool, **keywords: Unpack[ConvertKeywords]
) -> Iterator[ConvertOutcome[Planned]]: ...


def convert_each(  # noqa: PLR0913 - a public function
    sources: Iterable[str | Path],
    *,
    out: str | Path = "dist",
    libdirs: Iterable[str | Path] | LibraryIndex = (),
    channels: Iterable[str] = (),
    platform: PlatformChoice = "auto",
    tags: TagForm | None = None,
    compat_tags: bool | None = None,
    level: int = DEFAULT_LEVEL,
    dry_run: bool = False,
    isolate: bool = True,
    provided: bool = True,
    bridge: bool = True,
    allow: Iterable[str] = (),
    pins: Pins = "metadata",
    strict: bool = False,
    programs: bool | None = None,
    recipes: Iterable[str | Path] | RecipeBook = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
    progress: Progress | None = None,
) -> Iterator[ConvertOutcome[Planned]]:
    """Convert several sources in order, with the arguments of `convert`; remote sources are downloaded ahead of their turn.

    Yields:
        One `ConvertOutcome` a source. Two builds of one version have the same file name: the later one replaces the earlier
        one, with the warning `replaced-wheel`.

    Raises:
        Failed: for wrong arguments (usage, not-found), never for a source.
    """
    require_several("sources", sources)
    options = Options.of(
        platform,
        allow,
        tags,
        compat_tags,
        level=level,
        isolate=isolate,
        provided=provided,
        bridge=bridge,
        pins=pins,
        strict=strict,
        programs=programs,
    )
    shared = Context.of(libdirs, channels, recipes, limits, downloads, progress)
    with prefetch([str(source) for source in sources], shared.channels, downloads, shared.limits.download) as prefetched:
        libraries = (
            shared.libraries
            if isinstance(libdirs, LibraryIndex)
            else LibraryIndex(shared.libraries.libdirs, shared.limits, downloads=prefetched.downloads)
        )
        names = NameSources([*libraries.libdirs, *prefetched.sources], shared.limits, prefetched.downloads)
        context = replace(shared, libraries=libraries, names=names, downloads=prefetched.downloads)

        def convert_one(position: int, source: str) -> Planned:
            with prefetched.at(position) as ready_downloads:
                ready = replace(context, downloads=ready_downloads)
                result = convert_source(source, options, ready, None if dry_run else Path(out))
            return replace(result, warnings=(*result.warnings, *untaken(platform, result.filename)))

        yield from _outcomes(prefetched.sources, convert_one)


def _outcomes(sources: Iterable[str], convert_one: Callable[[int, str], Planned]) -> Iterator[ConvertOutcome[Planned]]:
    """Yield the outcome of each source. `convert_one` converts one, given its position and the source."""
    written: dict[str, str] = {}
    for position, source in enumerate(sources):
        started = time.monotonic()
        shown = redacted(source) if is_url(source) else source
        try:
            with unexpected_as_failed(shown):
                result = convert_one(position, source)
        except Conda2WheelError as caught:
            error: Conda2WheelError = caught
        else:
            before = written.get(result.filename)
            if before is not None and before != shown:
                note = ConversionWarning(
                    "replaced-wheel", f"the same file name as the wheel of {before}, which it replaces", result.filename
                )
                result = replace(result, warnings=(*result.warnings, note))
            written[result.filename] = shown
            yield ConvertOutcome(shown, result, None, time.monotonic() - started)
            continue
        logger.info("%s: %s", shown, error)
        bug = error.__cause__ if error.code == "internal" else None
        yield ConvertOutcome(shown, None, error, time.monotonic() - started, bug)
