"""Sets of wheels that share libraries, as `--share-libs` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda2wheel.abi.platforms import parse
from conda2wheel.bundle.shared_wheel import SharedLibraries
from conda2wheel.commands.convert import convert_package
from conda2wheel.conda.open import open_package
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.common import Common
from conda2wheel.link.libraries import LibraryIndex
from conda2wheel.options import Options
from conda2wheel.results import Converted

NAME = "geo-libs"


@dataclass(frozen=True)
class Shared:
    """A set: what is shared and the common wheel (None: nothing), and the wheels of the packages in their order."""

    common: Common | None
    wheel: Converted | None
    users: tuple[Converted, ...]


def shared(
    out: Path, packages: Sequence[Path], libdirs: Sequence[Path], *, name: str = NAME, pyodide: str = "0.29.5", **options: Any
) -> Shared:
    """Convert packages into `out`, with what two of them have in common in a wheel called `name`."""
    platform = parse(pyodide)
    assert platform is not None
    asked = Options.of(**options)
    index = LibraryIndex(libdirs, Limits())
    libraries = SharedLibraries(name, platform, asked)
    opened = [open_package(str(package), Limits()) for package in packages]
    for package in opened:
        libraries.add(package, index, asked)
    found = libraries.finish(out)
    common, wheel = found or (None, None)
    users = tuple(convert_package(package, index, asked, out, common=common) for package in opened)
    return Shared(common, wheel, users)
