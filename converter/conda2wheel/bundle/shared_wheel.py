"""`--share-libs NAME`: a common wheel for the libraries that several wheels of a bundle need.

    add      plan and link every package of the bundle, as `convert` does
    share    link.linker: select the libraries that two of them have in common, and isolate their symbols once
    version  derive the version from the content, since the users require exactly that one
    write    write the common wheel; the users are then converted with it

The users contain the version, so every package is linked twice. The wheels load one instance of each library; the price is that
they do not work without the common wheel, and that another package in the bundle or a newer library changes its version.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from conda2wheel.abi.platforms import Platform
from conda2wheel.commands.library_wheel import WheelOfLibraries
from conda2wheel.commands.pipeline import Opened, prepare_package
from conda2wheel.conda.names import is_valid_name
from conda2wheel.errors import Failed
from conda2wheel.link.common_wheel import CommonWheel, SetMember
from conda2wheel.link.library import file_part
from conda2wheel.link.linker import LinkOptions, link_common
from conda2wheel.link.resolution import WheelModules, resolve
from conda2wheel.link.rewrite import libraries_used_by_name
from conda2wheel.options import Options
from conda2wheel.results import Planned


class SharedLibraries:
    """Builds the common wheel of one bundle for one platform.

    `add` every package, `finish`, then convert the packages with the result. Not safe for several threads.
    """

    def __init__(self, name: str, platform: Platform, options: Options) -> None:
        """Prepare a common wheel.

        Args:
            name: its distribution name.
            platform: the platform of the bundle.
            options: the options that its users are converted with.

        Raises:
            Failed: usage, for an invalid name, and for a platform whose loader finds no libraries in other wheels.
        """
        if not is_valid_name(name):
            raise Failed("usage", f"--share-libs {name}: not a distribution name", "letters, digits, - and _, such as geo-libs")
        if not platform.runtime_path:
            why = f"the loader of {platform.tag} does not look into other wheels, so each must contain its libraries"
            raise Failed("usage", f"--share-libs: {why}", "leave it out, or build for Pyodide 0.28 or later")
        self.name = name
        self.platform = platform
        self.options = options
        self._members: list[SetMember] = []

    def add(self, opened: Opened) -> None:
        """Link one package of the bundle. A package for another platform or without side modules is skipped.

        Raises:
            Refused: as `prepare_package`.
            Failed: usage, for a package with the name of the common wheel.
        """
        plan = prepare_package(opened).plan
        if plan.file_part == file_part(self.name):
            raise Failed("usage", f"--share-libs {self.name}: the bundle has a package of that name", "give another name")
        if plan.decision is None or plan.decision.platforms != (self.platform,):
            return
        modules = WheelModules(opened.package, plan.decision.platforms, plan.native, plan.libraries, plan.file_part, plan.texts())
        resolution = resolve(modules, opened.libraries)
        if resolution.vendored:
            self._members.append(SetMember(resolution, libraries_used_by_name(resolution)))

    def finish(self, out: Path | None) -> tuple[CommonWheel, Planned] | None:
        """Build the common wheel.

        Args:
            out: the folder where it is written; None to write nothing.

        Returns:
            What its users are linked with, and the wheel; None if no library is shared.

        Raises:
            Refused: one of its libraries would not load, or uses a symbol that only some of its users define.
        """
        started = time.monotonic()
        link_options = LinkOptions(self.options.isolate, self.options.provided, bridge=self.options.bridge)
        common, linked = link_common(self.name, self.platform, self._members, link_options)
        if not common.files:
            return None
        summary = "Libraries that other wheels share"
        draft = WheelOfLibraries(f"--share-libs {self.name}", common, linked, self.options, summary).judged()
        common = replace(common, version=f"0.{draft.digest()}")
        planned = draft.write(common.version, out)
        return common, replace(planned, seconds=time.monotonic() - started)
