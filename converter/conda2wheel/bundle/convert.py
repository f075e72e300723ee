"""Convert the packages of a bundle through the pipeline, with the libraries of the bundle as libdirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from conda2wheel.abi.platforms import Platform
from conda2wheel.bundle.lockfile import ConversionStep
from conda2wheel.bundle.packages import ChosenPackage
from conda2wheel.bundle.shared_wheel import SharedLibraries
from conda2wheel.channels.open import open_package
from conda2wheel.commands.pipeline import Context, Opened, build, prepare_package, read_package
from conda2wheel.conda.names import map_name
from conda2wheel.conda.package import CondaPackage
from conda2wheel.errors import Failed, Refused
from conda2wheel.link.common_wheel import CommonWheel
from conda2wheel.link.library_index import LibraryIndex
from conda2wheel.net.remote_file import RemoteFile
from conda2wheel.net.urls import Address, redacted
from conda2wheel.options import Options
from conda2wheel.recipes.model import from_document
from conda2wheel.results import Converted, Planned

# Refusals of packages that a bundle may contain without a wheel: their users do not need one, or get `missing-library`.
NO_WHEEL = ("not-python", "metapackage", "static-library", "executable")
# Warnings about the search for libraries, which the lock records: a locked build does not search.
SEARCH_WARNINGS = ("library-from-channel", "channel-skipped")


@dataclass(frozen=True)
class BundledWheel:
    """A converted wheel, and the step of the lock that converts it again."""

    step: ConversionStep
    wheel: Converted

    @property
    def project(self) -> str:
        """The normalised name of the distribution."""
        return str(canonicalize_name(self.wheel.name))


@dataclass
class BundleConverter:
    """Converts the packages of a bundle into one folder. A package that occurs in several rounds is converted once.

    Attributes:
        folder: where the wheels are written.
        options: how every package is converted, beside its own recipe and names.
        context: libdirs, recipes, limits and downloads. NEEDED libraries that the bundle does not have are searched for in its
            `channels`; a locked build has none.
        wheels: the converted packages, by URL.
        without_wheel: the packages that have no wheel, by URL, with the reason.
    """

    folder: Path
    options: Options
    context: Context
    wheels: dict[str, BundledWheel] = field(default_factory=dict)
    without_wheel: dict[str, Refused] = field(default_factory=dict)

    def fetch(self, packages: Iterable[ChosenPackage]) -> None:
        """Download the packages that are not in the cache, several at a time."""
        wanted = [RemoteFile(each.url, each.sha256, each.size) for each in packages if each.sha256 and "://" in each.url]
        self.context.downloads.fetch([each for each in wanted if not each.url.startswith("file:")], self.context.limits.download)

    def convert(self, packages: Sequence[ChosenPackage], libraries: Sequence[ChosenPackage]) -> Iterator[BundledWheel]:
        """Convert packages.

        Args:
            packages: what is converted.
            libraries: packages of the bundle that may contain NEEDED libraries.

        Yields:
            The wheels, without those of packages that need none.

        Raises:
            Refused: for the first package that cannot become a wheel, after all were tried.
            Failed: as `convert`.
        """
        index = self._index(libraries)
        refused: list[tuple[ChosenPackage, Refused]] = []
        for each in packages:
            if each.url not in self.wheels and each.url not in self.without_wheel:
                try:
                    self.wheels[each.url] = self._convert(each, index)
                except Refused as error:
                    if error.code not in NO_WHEEL:
                        refused.append((each, error))
                    self.without_wheel[each.url] = error
            if each.url in self.wheels:
                yield self.wheels[each.url]
        if refused:
            (_, reason), *others = refused
            more = f" (refused too: {', '.join(f'{each.name}: {other.code}' for each, other in others)})" if others else ""
            refusal = Refused(reason.code, f"{reason.message}{more}", reason.hint)
            refusal.warnings = tuple(dict.fromkeys(note for _, each in refused for note in each.warnings))
            raise refusal

    def replay(self, steps: Sequence[ConversionStep], libraries: Sequence[ChosenPackage]) -> Iterator[BundledWheel]:
        """Convert the packages of a lock again. Raises as `convert`."""
        index = self._index(libraries)
        for step in steps:
            yield self._replay(step, self._index((*libraries, *step.libraries)) if step.libraries else index)

    def share(
        self, name: str, platform: Platform, wheels: Sequence[BundledWheel], libraries: Sequence[ChosenPackage]
    ) -> tuple[list[BundledWheel], Converted | None]:
        """Move the libraries that several wheels need into a common wheel.

        Returns:
            The wheels, converted again to require the common one, and the common wheel; None if no library is shared.

        Raises:
            Failed: usage, for a name or a platform that cannot have a common wheel.
            Refused: a library would not load in the common wheel.
        """
        shared = SharedLibraries(name, platform, self.options)
        index = self._index(libraries)
        own = {each.step.package.url: self._index((*libraries, *each.step.libraries)) for each in wheels if each.step.libraries}
        users = [each for each in wheels if each.wheel.vendored]
        for each in users:
            shared.add(self._opened(each.step, own.get(each.step.package.url, index)))
        found = shared.finish(self.folder)
        if found is None:
            return list(wheels), None
        common, wheel = found
        again = {each.project: self._replay(each.step, own.get(each.step.package.url, index), common) for each in users}
        return [again.get(each.project, each) for each in wheels], written(wheel)

    def _index(self, libraries: Iterable[ChosenPackage]) -> LibraryIndex:
        places = (*self.context.libraries.libdirs, *(each.source for each in libraries))
        return LibraryIndex(places, self.context.limits, downloads=self.context.downloads)

    def _opened(self, step: ConversionStep, libraries: LibraryIndex) -> Opened:
        recipe = None if step.recipe is None else from_document(dict(step.recipe))
        package = open_package(step.package.source, self.context.limits, self.context.downloads)
        return Opened(package, replace(self.options, recipe=recipe, names=step.names), libraries)

    def _replay(self, step: ConversionStep, libraries: LibraryIndex, common: CommonWheel | None = None) -> BundledWheel:
        wheel = written(build(prepare_package(self._opened(step, libraries)), common).write(self.folder))
        notes = tuple(note for note in step.notes if note not in wheel.warnings)
        return BundledWheel(step, replace(wheel, warnings=(*wheel.warnings, *notes)))

    def _convert(self, chosen: ChosenPackage, libraries: LibraryIndex) -> BundledWheel:
        package = open_package(chosen.source, self.context.limits, self.context.downloads)
        opened = read_package(package, self.options, replace(self.context, libraries=libraries), self.context.channels)
        wheel = written(build(prepare_package(opened)).write(self.folder))
        found = tuple(_opened_package(url, other) for url, other in opened.libraries.from_channel.items())
        notes = tuple(warning for warning in wheel.warnings if warning.code in SEARCH_WARNINGS)
        recipe = opened.options.recipe
        return BundledWheel(
            ConversionStep(chosen, found, None if recipe is None else dict(recipe.document), notes, opened.options.names), wheel
        )


def written(result: Planned) -> Converted:
    """Return a result as that of a written wheel. Raises `ValueError` if it was a dry run."""
    if not isinstance(result, Converted):
        raise ValueError(f"{result.filename} was not written")  # noqa: TRY004 - the type says it, the value is wrong
    return result


def _opened_package(url: str, package: CondaPackage) -> ChosenPackage:
    """Describe a package of a channel that provided a NEEDED library."""
    index: Mapping[str, Any] = package.index
    return ChosenPackage(
        name=package.name,
        version=package.version,
        build=package.build,
        subdir=package.subdir or "emscripten-wasm32",
        url=Address(url),
        sha256=package.sha256,
        size=index.get("size") if isinstance(index.get("size"), int) else None,
        channel=redacted(package.channel or ""),
        depends=package.depends,
    )


def may_have_wheel(chosen: ChosenPackage) -> bool:
    """Whether to try a conversion: not for a library whose name is no PyPI project."""
    return not chosen.is_library or map_name(chosen.name).pypi is not None


def require_one_each(wheels: Iterable[BundledWheel]) -> None:
    """Check that no two packages are the same PyPI project, since an index offers only one.

    Raises:
        Failed: conflict.
    """
    seen: dict[str, BundledWheel] = {}
    for each in wheels:
        other = seen.setdefault(each.project, each)
        if other is not each:
            both = f"{other.step.package.stem} and {each.step.package.stem}"
            raise Failed("conflict", f"{both} are both {each.project} on PyPI", "request one of them")
