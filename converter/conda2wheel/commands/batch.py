"""Several sources, one after the other: each ends in its own outcome, and none stops the others. What lies elsewhere is brought
several at a time, ahead of its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conda2wheel.abi.platforms import Platform
from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.channels.prefetch import ahead
from conda2wheel.commands.convert import convert
from conda2wheel.commands.gate import check_allow
from conda2wheel.conda.open import expand
from conda2wheel.errors import Conda2WheelError, Failed
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.libraries import LibraryIndex
from conda2wheel.net.download import is_url, redacted
from conda2wheel.recipes.model import RecipeBook
from conda2wheel.results import Converted, Warned, error_json
from conda2wheel.wheel.name_sources import Surroundings
from conda2wheel.wheel.pins import Pins


@dataclass(frozen=True)
class Outcome:
    """What one source ended in: exactly one of `converted` and `error` is set. `bug` is the unexpected exception behind
    a `Failed("internal")`."""

    source: str
    converted: Converted | None
    error: Conda2WheelError | None
    seconds: float
    bug: BaseException | None = None

    def json(self) -> dict[str, Any]:
        """One entry of `results`."""
        if self.converted is not None:
            return self.converted.json()
        if self.error is None:
            raise ValueError("an outcome without an outcome")
        return error_json(self.source, self.error, self.seconds)


def expand_all(sources: Iterable[str]) -> list[str]:
    """Prefixes with several packages become their packages; everything else stays."""
    return [found for source in sources for found in expand(source)]


def convert_each(
    sources: Iterable[str],
    *,
    out: str | Path,
    libdirs: Iterable[str | Path] = (),
    channels: Iterable[str] = (),
    platform: str | Platform = "auto",
    compat_tags: bool = False,
    level: int = 6,
    dry_run: bool = False,
    isolate: bool = True,
    provided: bool = True,
    allow: Iterable[str] = (),
    pins: Pins = "metadata",
    recipes: Iterable[str | Path] = (),
    limits: Limits | None = None,
    downloads: Downloads = DOWNLOADS,
) -> Iterator[Outcome]:
    """Convert sources in order, with the arguments of `convert`. Never raises for a source.

    Two builds of one version have the same file name; the later one replaces the earlier, and a warning says so.
    """
    channels = tuple(channels)
    bounds = limits or Limits()
    allow = check_allow(allow)
    book = RecipeBook(recipes)
    with ahead(list(sources), channels, downloads, bounds.download) as coming:
        index = LibraryIndex(libdirs, bounds, downloads=coming.downloads)
        around = Surroundings([*index.places, *coming.sources], bounds, coming.downloads)

        def one(position: int, source: str) -> Converted:
            with coming.at(position) as brought:
                return convert(
                    source,
                    out=out,
                    libdirs=index,
                    channels=channels,
                    platform=platform,
                    compat_tags=compat_tags,
                    level=level,
                    dry_run=dry_run,
                    isolate=isolate,
                    provided=provided,
                    allow=allow,
                    pins=pins,
                    recipes=book,
                    limits=limits,
                    downloads=brought,
                    around=around,
                )

        yield from _outcomes(coming.sources, one)


def _outcomes(sources: Iterable[str], one: Callable[[int, str], Converted]) -> Iterator[Outcome]:
    """What became of each, as `one` makes it of a position and the source there."""
    written: dict[str, str] = {}
    for position, source in enumerate(sources):
        started = time.monotonic()
        shown = redacted(source) if is_url(source) else source
        bug: BaseException | None = None
        try:
            result = one(position, source)
        except Conda2WheelError as caught:
            error: Conda2WheelError = caught
        except Exception as caught:  # noqa: BLE001 - a bug of ours must not stop the other packages; it is reported whole
            bug = caught
            error = Failed(
                "internal", f"{shown}: {type(caught).__name__}: {caught}", "this is a bug of conda2wheel; -v shows where"
            )
        else:
            before = written.get(result.filename)
            if before is not None and before != shown:
                note = Warned("replaced-wheel", f"the same file name as {before} gave; that wheel is replaced", result.filename)
                result = replace(result, warnings=(*result.warnings, note))
            written[result.filename] = shown
            yield Outcome(shown, result, None, time.monotonic() - started)
            continue
        yield Outcome(shown, None, error, time.monotonic() - started, bug)
