"""`look_up_names` answers what conda packages are called on PyPI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from conda2wheel.channels.downloads import DOWNLOADS, Downloads
from conda2wheel.conda.names import NameMapping, map_name
from conda2wheel.files.packagefile import Limits
from conda2wheel.results import ConversionWarning
from conda2wheel.wheel.name_sources import NameSources

GUESS = "a guess: no table has the name, and no package that was read says it"


def look_up_names(
    conda_names: Sequence[str],
    channels: Sequence[str] = (),
    libdirs: Iterable[str | Path] = (),
    downloads: Downloads = DOWNLOADS,
) -> tuple[list[NameMapping], tuple[ConversionWarning, ...]]:
    """Look up the PyPI names of conda packages: in the dist-info of the packages themselves, else in the tables of names.

    Args:
        conda_names: names without versions.
        channels: channels whose packages are read.
        libdirs: packages, folders of packages or prefixes that are read.
        downloads: how packages of channels are downloaded.

    Returns:
        An answer for each name, in order, and warnings about packages that could not be read.

    Raises:
        Failed: network, disk.
    """
    packages = NameSources(libdirs, Limits(), downloads)
    seen, warnings = packages.seen({name.lower(): name.lower() for name in conda_names}, channels)
    answers = [map_name(name, seen.get(name.lower())) for name in conda_names]
    return [each._replace(note=GUESS) if each.source == "identity" else each for each in answers], warnings
