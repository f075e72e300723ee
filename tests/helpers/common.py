"""Sets of wheels that share libraries, as `--share-libs` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conda2wheel.abi.platforms import parse
from conda2wheel.bundle.shared_wheel import SharedLibraries
from conda2wheel.channels.open import open_package
from conda2wheel.commands.pipeline import Opened, build, prepare_package
from conda2wheel.files.packagefile import Limits
from conda2wheel.link.common_wheel import CommonWheel
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.options import Options
from conda2wheel.results import Planned

NAME = "geo-libs"


@dataclass(frozen=True)
class Shared:
    """A set: what is shared and the common wheel (None: nothing), and the wheels of the packages in their order."""

    common: CommonWheel | None
    wheel: Planned | None
    users: tuple[Planned, ...]


def shared(
    out: Path, packages: Sequence[Path], libdirs: Sequence[Path], *, name: str = NAME, pyodide: str = "0.29.5", **options: Any
) -> Shared:
    """Convert packages into `out`, with what two of them have in common in a wheel called `name`."""
    platform = parse(pyodide)
    assert platform is not None
    asked = Options.of(**options)
    index = LibraryIndex(libdirs, Limits())
    libraries = SharedLibraries(name, platform, asked)
    opened = [Opened(open_package(str(package), Limits()), asked, index) for package in packages]
    for each in opened:
        libraries.add(each)
    found = libraries.finish(out)
    common, wheel = found or (None, None)
    users = tuple(build(prepare_package(each), common).write(out) for each in opened)
    return Shared(common, wheel, users)
